//! One request and its answer, with time-out, identification, count and log line.
//!
//! Used by `token` and `client` for everything that leaves. Rules kept: what is
//! logged holds the kind, status, time and request ids, never an address; a body
//! that is not as long as its head said is no answer.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, USER_AGENT},
};
use jiff::{SignedDuration, Timestamp};
use postroom_model::{Clock, Entropy};
use tokio::time::timeout;

use crate::{
    errors::Failure,
    requests::{Operation, Requests},
    transport::{Body, Transport, TransportError},
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("postroom/", env!("CARGO_PKG_VERSION")));
/// A large body on a slow line may take long, but something must come in any such time.
const SILENCE: Duration = Duration::from_secs(30);
/// And it must come to its end while the job that reads it is still its owner's.
const LONGEST: Duration = Duration::from_secs(12 * 60);

pub(crate) struct Wire {
    pub(crate) transport: Transport,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) requests: Requests,
}

impl Wire {
    /// Sends a request and reads its whole answer in the time that the operation may take.
    pub(crate) async fn exchange(
        &self,
        operation: Operation,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Failure> {
        self.open(operation, request).await?.whole().await
    }

    /// Sends a request; gives the answer when its head is there.
    pub(crate) async fn open(
        &self,
        operation: Operation,
        mut request: Request<Bytes>,
    ) -> Result<Incoming, Failure> {
        let begun = self.clock.now();
        let client_request_id = self.entropy.uuid(begun).to_string();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(
            "client-request-id",
            HeaderValue::from_str(&client_request_id).expect("a UUID is plain ASCII"),
        );
        self.requests.count(operation);
        let host = request.uri().host().unwrap_or_default().to_owned();
        let patience = operation.patience();
        let answer = match timeout(patience, self.transport.send(request)).await {
            Ok(answer) => answer.map_err(Failure::Transport),
            Err(_) => Err(Failure::TimedOut { operation, patience }),
        };
        let millis = self.clock.now().duration_since(begun).as_millis();
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
        Ok(Incoming { clock: self.clock.clone(), operation, host, answer: answer?, begun, arrived: 0 })
    }
}

/// An answer whose head is there and whose body is on its way.
pub(crate) struct Incoming {
    clock: Clock,
    operation: Operation,
    host: String,
    answer: Response<Body>,
    begun: Timestamp,
    arrived: u64,
}

impl Incoming {
    pub(crate) fn status(&self) -> StatusCode {
        self.answer.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// The whole answer, in the time that the operation may take.
    pub(crate) async fn whole(mut self) -> Result<Response<Bytes>, Failure> {
        let (operation, patience) = (self.operation, self.operation.patience());
        let Ok(body) = timeout(self.left_of(patience), self.collect()).await else {
            return Err(Failure::TimedOut { operation, patience });
        };
        let (body, (head, _)) = (body?, self.answer.into_parts());
        Ok(Response::from_parts(head, body))
    }

    async fn collect(&mut self) -> Result<Bytes, Failure> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut body = BytesMut::from(first);
        body.extend_from_slice(&second);
        while let Some(chunk) = self.next().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The next chunk; nothing at the end. However long the whole takes, something comes every 30 s.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let operation = self.operation;
        let left = self.left_of(LONGEST);
        match timeout(left.min(SILENCE), self.next()).await {
            Ok(chunk) => chunk,
            Err(_) if left > SILENCE => Err(Failure::Silent { operation, patience: SILENCE }),
            Err(_) => Err(Failure::TimedOut { operation, patience: LONGEST }),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.answer.body_mut().chunk().await {
            Some(Ok(chunk)) => {
                self.arrived += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Some(Err(cause)) => Err(self.dropped(cause)),
            None => match self.promised() {
                Some(length) if length != self.arrived => {
                    let cause = format!("{} of {length} bytes came", self.arrived);
                    Err(self.dropped(io::Error::new(io::ErrorKind::UnexpectedEof, cause).into()))
                }
                _ => Ok(None),
            },
        }
    }

    fn promised(&self) -> Option<u64> {
        self.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    fn dropped(&self, cause: Box<dyn std::error::Error + Send + Sync>) -> Failure {
        Failure::Transport(TransportError::Dropped { host: self.host.clone(), cause })
    }

    fn left_of(&self, patience: Duration) -> Duration {
        let passed = self.clock.now().duration_since(self.begun).max(SignedDuration::ZERO);
        patience.saturating_sub(passed.unsigned_abs())
    }
}
