//! One request and its answer, with time-out, identification, count and log line.
//!
//! Used by `token` and `client` for everything that leaves. Rule kept: what is
//! logged holds the kind, status, time and request ids, never an address.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use postroom_model::{Clock, Entropy};
use tokio::time::timeout;

use crate::{
    errors::Failure,
    requests::{Operation, Requests},
    transport::Transport,
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("postroom/", env!("CARGO_PKG_VERSION")));

pub(crate) struct Wire {
    pub(crate) transport: Transport,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) requests: Requests,
}

impl Wire {
    pub(crate) async fn exchange(
        &self,
        operation: Operation,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Failure> {
        let started = self.clock.now();
        let client_request_id = self.entropy.uuid(started).to_string();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(
            "client-request-id",
            HeaderValue::from_str(&client_request_id).expect("a UUID is plain ASCII"),
        );
        self.requests.count(operation);
        let patience = operation.patience();
        let answer = match timeout(patience, self.transport.send(request)).await {
            Ok(answer) => answer.map_err(Failure::Transport),
            Err(_) => Err(Failure::TimedOut { operation, patience }),
        };
        let millis = self.clock.now().duration_since(started).as_millis();
        match &answer {
            Ok(response) => tracing::debug!(
                graph.operation = operation.as_str(),
                graph.client_request_id = client_request_id,
                graph.request_id = response.headers().get("request-id").and_then(|id| id.to_str().ok()),
                http.status = response.status().as_u16(),
                graph.duration_ms = millis,
                "Graph answered {operation} with {}",
                response.status().as_u16(),
            ),
            Err(failure) => tracing::debug!(
                graph.operation = operation.as_str(),
                graph.client_request_id = client_request_id,
                graph.duration_ms = millis,
                "Graph did not answer {operation}: {failure}",
            ),
        }
        answer
    }
}
