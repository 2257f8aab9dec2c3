//! How the simulator reaches the endpoints of its subscribers: over the network
//! or by calling a function in the same process.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};

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
    /// By HTTP.
    Network(Network),
    /// By a call in this process: no socket, works in virtual time.
    InProcess(InProcess),
}

/// An HTTP client that follows no redirects, as Microsoft 365 follows none, and uses no proxy.
/// Cheap to clone. The system's CA certificates are read at the first request: that takes longer
/// than everything else at the start of a simulator.
#[derive(Clone)]
pub struct Network {
    trusted: Vec<reqwest::Certificate>,
    client: Arc<OnceLock<reqwest::Client>>,
}

impl Network {
    /// Trusts the CA certificates in `ca_pem` (may be empty) beside the system's.
    ///
    /// # Errors
    /// When `ca_pem` does not hold certificates in PEM form.
    pub fn trusting(ca_pem: &str) -> Result<Self, OutgoingError> {
        let trusted = reqwest::Certificate::from_pem_bundle(ca_pem.as_bytes())?;
        Ok(Self { trusted, client: Arc::default() })
    }

    fn client(&self) -> Result<&reqwest::Client, OutgoingError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_merge(self.trusted.clone())
            .build()?;
        Ok(self.client.get_or_init(|| made))
    }
}

impl Outgoing {
    /// Sends the request and reads the whole answer; waits as long as it takes.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        match self {
            Self::InProcess(call) => call(request).await,
            Self::Network(network) => {
                let answer = network.client()?.execute(request.try_into()?).await?;
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
