//! Takes connections and shakes hands with all of them at once. Who is silent keeps
//! nobody else waiting.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once. Above it the oldest is ended, so that not even many
/// silent clients keep a new one out.
const MOST_HANDSHAKES: usize = 256;

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Hands out the connections whose handshake is done.
pub(super) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    most: usize,
    handshakes: FuturesUnordered<BoxFuture<'static, (u64, Option<Connection>)>>,
    /// What ends each of them, oldest first.
    ends: BTreeMap<u64, AbortHandle>,
    begun: u64,
}

impl TlsListener {
    pub(super) fn new(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self {
            listener,
            acceptor: TlsAcceptor::from(config),
            most: MOST_HANDSHAKES,
            handshakes: FuturesUnordered::new(),
            ends: BTreeMap::new(),
            begun: 0,
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.ends.len() >= self.most
            && let Some((_, oldest)) = self.ends.pop_first()
        {
            oldest.abort();
            tracing::debug!("Too many TLS handshakes at once; the oldest was ended");
        }
        let number = self.begun;
        self.begun += 1;
        let (handshake, end) = abortable(shake_hands(self.acceptor.clone(), stream, peer));
        self.ends.insert(number, end);
        self.handshakes.push(Box::pin(async move { (number, handshake.await.ok().flatten()) }));
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                (stream, peer) = Listener::accept(&mut self.listener) => self.begin(stream, peer),
                Some((number, done)) = self.handshakes.next(), if !self.handshakes.is_empty() => {
                    self.ends.remove(&number);
                    if let Some(connection) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some((stream, peer)),
        Ok(Err(error)) => tracing::debug!(error = %error, "A TLS handshake failed"),
        Err(_late) => tracing::debug!("A TLS handshake took too long"),
    }
    None
}

#[cfg(test)]
mod tests {
    use postroom_sim::Certificate;
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    };
    use tokio::io::AsyncReadExt as _;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::server::Tls;

    async fn listening() -> anyhow::Result<(TlsListener, SocketAddr, TlsConnector)> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::kept(folder.path(), &[])?;
        let tls = Tls::load(&folder.path().join("server.pem"), &folder.path().join("server.key"))?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.ca_pem().as_bytes())?)?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok((TlsListener::new(listener, tls.config), address, TlsConnector::from(Arc::new(client))))
    }

    /// A client comes, shakes hands, and is handed out.
    async fn served(
        listener: &mut TlsListener,
        address: SocketAddr,
        connector: &TlsConnector,
    ) -> anyhow::Result<()> {
        let stream = TcpStream::connect(address).await?;
        let local = stream.local_addr()?;
        let name = ServerName::try_from("localhost")?;
        let ((_stream, peer), shaken) =
            tokio::join!(Listener::accept(listener), connector.connect(name, stream));
        shaken?;
        assert_eq!(peer, local);
        Ok(())
    }

    fn is_open(stream: &TcpStream) -> bool {
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn a_silent_connection_keeps_nobody_waiting() -> anyhow::Result<()> {
        let (mut listener, address, connector) = listening().await?;
        let silent = TcpStream::connect(address).await?;
        served(&mut listener, address, &connector).await?;
        assert!(is_open(&silent), "the second client was served only after the silent one was given up");
        Ok(())
    }

    #[tokio::test]
    async fn of_too_many_silent_connections_the_oldest_makes_room() -> anyhow::Result<()> {
        let (mut listener, address, connector) = listening().await?;
        listener.most = 2;
        let mut silent = Vec::new();
        for _ in 0..3 {
            silent.push(TcpStream::connect(address).await?);
        }
        served(&mut listener, address, &connector).await?;
        assert!(is_open(&silent[2]), "the youngest may still speak");
        served(&mut listener, address, &connector).await?;
        assert_eq!(silent[0].read(&mut [0]).await?, 0, "the oldest was ended");
        assert!(listener.ends.len() <= 2);
        Ok(())
    }
}
