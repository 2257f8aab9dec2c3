//! The simulator over the network: plain, with TLS, and behind a proxy that takes
//! Microsoft's host names to it.
//!
//! Called by embedders that have bound their ports; who only calls the routers
//! in the same process needs nothing of this. Rule kept: links in answers begin
//! with the scheme and host that the client asked, as the real service's do, so
//! that a client behind the proxy never learns where the simulator really is.

mod certificate;
mod proxy;
mod tls;

use std::io;

use axum::Router;
use axum::extract::Request;
use axum::serve::ListenerExt as _;
use http::header;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

pub(crate) use certificate::write_private;
pub use certificate::{Certificate, CertificateError};
pub use proxy::serve_proxy;

use crate::simulator::Simulator;
use tls::TlsListener;

/// Hosts of Microsoft that the certificate is for and the proxy takes to the simulator:
/// Entra ID and Graph of each cloud,
/// <https://learn.microsoft.com/en-us/graph/deployments>.
pub const MICROSOFT_HOSTS: [&str; 11] = [
    "login.microsoftonline.com",
    "graph.microsoft.com",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "login.microsoftonline.us",
    "graph.microsoft.us",
    "dod-graph.microsoft.us",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
    "microsoftgraph.chinacloudapi.cn",
];

/// The scheme and host under which a client asked, without a slash at the end.
#[derive(Clone, Debug)]
pub(crate) struct Root(pub(crate) String);

impl Simulator {
    /// Serves Graph and Entra ID without TLS until `stop`.
    ///
    /// # Errors
    /// When the port can't be used any more.
    pub async fn serve_http(&self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let listener = listener.tap_io(at_once);
        axum::serve(listener, rooted(self.graph_router(), "http"))
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }

    /// Serves Graph and Entra ID with TLS (HTTP/2 and HTTP/1.1) until `stop`.
    ///
    /// # Errors
    /// When the port can't be used any more, or the certificate does not work.
    pub async fn serve_https(
        &self,
        listener: TcpListener,
        certificate: &Certificate,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let config = certificate.server_config().map_err(io::Error::other)?;
        axum::serve(TlsListener::new(listener, config), rooted(self.graph_router(), "https"))
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

/// Small answers must not wait for the next packet.
fn at_once(stream: &mut TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "A connection can't be told to send at once");
    }
}

/// Tells every request under which scheme and host it was asked.
fn rooted(router: Router, scheme: &'static str) -> Router {
    router.layer(MapRequestLayer::new(move |mut request: Request| {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
        if let Some(root) = host.map(|host| Root(format!("{scheme}://{host}"))) {
            request.extensions_mut().insert(root);
        }
        request
    }))
}
