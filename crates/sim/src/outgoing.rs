//! How the simulator reaches the endpoints of its subscribers: over the network
//! or by calling a function in the same process.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};

/// Why a notification endpoint could not be reached; only its text is used.
pub type OutgoingError = Box<dyn Error + Send + Sync>;

/// The function that takes requests in the same process.
pub type InProcess =
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, OutgoingError>> + Send + Sync>;

/// How notifications leave the simulator.
#[derive(Clone)]
pub enum Outgoing {
    /// By HTTP. The client should follow no redirects: Microsoft 365 follows none.
    Network(reqwest::Client),
    /// By a call in this process: no socket, works in virtual time.
    InProcess(InProcess),
}

impl Outgoing {
    /// Sends the request and reads the whole answer; waits as long as it takes.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        match self {
            Self::InProcess(call) => call(request).await,
            Self::Network(client) => {
                let answer = client.execute(request.try_into()?).await?;
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = answer.status();
                *response.headers_mut() = answer.headers().clone();
                *response.body_mut() = answer.bytes().await?;
                Ok(response)
            }
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network(_) => "Outgoing::Network",
            Self::InProcess(_) => "Outgoing::InProcess",
        })
    }
}
