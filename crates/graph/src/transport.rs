//! The only seam to the network: a request goes out, an answer comes back, its body
//! chunk by chunk.
//!
//! Used by `wire`; made by the binary (network) or by tests and simulation (in
//! process). Rule kept: nothing is sent without TLS except to this machine, no
//! redirect is followed and nothing is repeated here.

use std::{error::Error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::{Request, Response, Uri};
use reqwest::{Certificate, Client, ClientBuilder, redirect, retry};

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A connection on which nothing comes back any more is found out by pings, else
/// every request on it would wait for its time-out.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// A function that answers requests in this process. An [`io::Error`] stands for
/// a connection that was refused (`ConnectionRefused`) or broke (all others).
pub type InProcess =
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, io::Result<Response<Body>>> + Send + Sync>;

type Cause = Box<dyn Error + Send + Sync>;

/// The body of an answer, chunk by chunk.
pub struct Body(BoxStream<'static, Result<Bytes, Cause>>);

impl Body {
    /// A body of these chunks, which breaks off at an error.
    pub fn stream<S, E>(chunks: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        Self(chunks.map_err(Into::into).boxed())
    }

    /// The next chunk; nothing at the end.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, Cause>> {
        self.0.next().await
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self::stream(stream::iter([Ok::<_, Cause>(whole)]))
    }
}

/// How Microsoft is reached.
#[derive(Clone)]
pub enum Transport {
    /// Over the network.
    Network(Network),
    /// By a function call.
    InProcess(InProcess),
}

/// The HTTP clients: this machine is never reached through a proxy.
#[derive(Clone)]
pub struct Network {
    outside: Client,
    loopback: Client,
}

/// A request got no complete answer, or the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The CA file is not a bundle of PEM certificates.
    #[error("the file of CA certificates can't be read; it must hold certificates in PEM form")]
    Certificates(#[source] reqwest::Error),
    /// The HTTP client could not be made.
    #[error("the HTTP client can't be set up")]
    Setup(#[source] reqwest::Error),
    /// The address has no TLS and is not on this machine.
    #[error("{host} is only asked through https; correct the address")]
    Insecure {
        /// The host of the address.
        host: String,
    },
    /// No connection: the request was certainly not sent.
    #[error("no connection to {host}; check the network, name resolution, proxy and certificates")]
    Unreachable {
        /// The host that was tried.
        host: String,
        /// What the HTTP client says.
        #[source]
        cause: Cause,
    },
    /// The connection broke after the request may have been sent.
    #[error("the connection to {host} broke before the answer was complete")]
    Dropped {
        /// The host that was asked.
        host: String,
        /// What the HTTP client says.
        #[source]
        cause: Cause,
    },
}

/// What stood between us and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The address is to be asked without TLS.
    Insecure,
    /// Its name has no address.
    Name,
    /// Nobody listens there, or a firewall says no.
    Refused,
    /// The certificate is not one that is trusted here, or of another name, or out of its time.
    Certificate,
    /// Something else.
    Other,
}

impl TransportError {
    /// What stood in the way, as far as the system says.
    pub fn obstacle(&self) -> Obstacle {
        let cause = match self {
            Self::Insecure { .. } => return Obstacle::Insecure,
            Self::Unreachable { cause, .. } | Self::Dropped { cause, .. } => cause,
            Self::Certificates(_) | Self::Setup(_) => return Obstacle::Other,
        };
        let mut next: Option<&(dyn Error + 'static)> = Some(cause.as_ref());
        while let Some(error) = next {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            // The HTTP client gives its resolver's and its TLS library's errors by their words only.
            let words = error.to_string();
            if kind == Some(io::ErrorKind::ConnectionRefused) {
                return Obstacle::Refused;
            }
            if words.contains("dns error") {
                return Obstacle::Name;
            }
            if words.contains("certificate") {
                return Obstacle::Certificate;
            }
            next = error.source();
        }
        Obstacle::Other
    }
}

impl Transport {
    /// The network, trusting the certificates in `ca_pem` beside those of the system.
    ///
    /// # Errors
    /// When the certificates can't be read or the client can't be made.
    pub fn network(ca_pem: Option<&[u8]>) -> Result<Self, TransportError> {
        let trusted = match ca_pem {
            None => Vec::new(),
            Some(pem) => Certificate::from_pem_bundle(pem).map_err(TransportError::Certificates)?,
        };
        let client = |builder: ClientBuilder| {
            builder
                .tls_certs_merge(trusted.clone())
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .connect_timeout(CONNECT_PATIENCE)
                .http2_keep_alive_interval(PING_EVERY)
                .http2_keep_alive_timeout(PING_PATIENCE)
                .build()
                .map_err(TransportError::Setup)
        };
        Ok(Self::Network(Network {
            outside: client(Client::builder())?,
            loopback: client(Client::builder().no_proxy())?,
        }))
    }

    /// Answers come from `answer`, in this process, with a body that is whole or a stream.
    pub fn in_process<F, A, B>(answer: F) -> Self
    where
        F: Fn(Request<Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Response<B>>> + Send + 'static,
        B: Into<Body>,
    {
        Self::InProcess(Arc::new(move |request| {
            let answer = answer(request);
            Box::pin(async move { Ok(answer.await?.map(Into::into)) })
        }))
    }

    /// Sends a request; gives the answer when its head is there.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        match self {
            Self::Network(network) => network.send(host, request).await,
            Self::InProcess(answer) => answer(request).await.map_err(|cause| match cause.kind() {
                io::ErrorKind::ConnectionRefused => TransportError::Unreachable { host, cause: cause.into() },
                _ => TransportError::Dropped { host, cause: cause.into() },
            }),
        }
    }
}

impl Network {
    async fn send(&self, host: String, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let loopback = is_loopback(request.uri());
        if !loopback && request.uri().scheme_str() != Some("https") {
            return Err(TransportError::Insecure { host });
        }
        let client = if loopback { &self.loopback } else { &self.outside };
        let (parts, body) = request.into_parts();
        let mut builder = client.request(parts.method, parts.uri.to_string()).headers(parts.headers);
        if !body.is_empty() {
            builder = builder.body(body);
        }
        // Addresses of mailboxes are in the path, so no error keeps the address it belongs to.
        let mut answer = builder.send().await.map_err(|error| {
            let unreachable = error.is_connect() || error.is_builder();
            let cause = error.without_url().into();
            if unreachable {
                TransportError::Unreachable { host, cause }
            } else {
                TransportError::Dropped { host, cause }
            }
        })?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut response =
            Response::new(Body::stream(answer.bytes_stream().map_err(reqwest::Error::without_url)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
    use tokio::net::TcpListener;

    fn to(uri: &str) -> Request<Bytes> {
        Request::get(uri).body(Bytes::new()).unwrap()
    }

    async fn read(answer: Response<Body>) -> Result<Response<Vec<u8>>, Cause> {
        let (head, mut body) = answer.into_parts();
        let mut whole = Vec::new();
        while let Some(chunk) = body.chunk().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(Response::from_parts(head, whole))
    }

    async fn asked(router: Router, path: &str) -> Result<Response<Vec<u8>>, Cause> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}{path}", listener.local_addr().unwrap());
        let transport = Transport::network(None).unwrap();
        let serving = std::future::IntoFuture::into_future(axum::serve(listener, router));
        tokio::select! {
            ended = serving => panic!("the server ended: {ended:?}"),
            answer = async { read(transport.send(to(&uri)).await?).await } => answer,
        }
    }

    #[tokio::test]
    async fn bytes_come_back_as_they_were_sent() {
        let junk: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let body = junk.clone();
        let router = Router::new().route("/v", get(|| async move { body }));
        assert_eq!(asked(router, "/v").await.unwrap().into_body(), junk);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let elsewhere =
            || async { (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response() };
        let answer = asked(Router::new().route("/", get(elsewhere)), "/").await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND);
    }

    #[tokio::test]
    async fn without_tls_only_this_machine_is_asked() {
        let transport = Transport::network(None).unwrap();
        let refused = transport.send(to("http://graph.microsoft.com/v1.0/me")).await.err().unwrap();
        assert!(matches!(refused, TransportError::Insecure { host } if host == "graph.microsoft.com"));
        for (uri, local) in
            [("http://localhost:1/", true), ("http://[::1]:1/", true), ("http://127.0.0.1.example/", false)]
        {
            assert_eq!(is_loopback(&uri.parse().unwrap()), local, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_unreachable_and_the_error_keeps_no_path() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/users/somebody%40contoso.example", listener.local_addr().unwrap());
        drop(listener);
        let error = Transport::network(None).unwrap().send(to(&uri)).await.err().unwrap();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("somebody"));
    }

    #[tokio::test]
    async fn what_stood_in_the_way_is_known() {
        let transport = Transport::network(None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        for (uri, obstacle) in [
            (closed.as_str(), Obstacle::Refused),
            ("https://no-such-host.invalid/", Obstacle::Name),
            ("http://example.invalid/", Obstacle::Insecure),
        ] {
            let error = transport.send(to(uri)).await.err().unwrap();
            assert_eq!(error.obstacle(), obstacle, "{uri}: {error:?}");
        }
    }

    #[test]
    fn a_ca_file_that_holds_no_certificate_is_refused() {
        let refused =
            Transport::network(Some(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"));
        assert!(refused.is_err());
    }
}
