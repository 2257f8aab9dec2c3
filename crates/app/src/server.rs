//! Listens, with or without TLS, and ends when the process is told to.

mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::map_request,
    serve::IncomingStream,
};
use postroom_engine::{Tasks, watch::CertificateEnds};
use postroom_model::Timestamp;
use postroom_web::Peer;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use tls::TlsListener;

/// How long an orderly end may take before the process ends anyway.
const PATIENCE: Duration = Duration::from_millis(2500);
/// How often the certificate's files are looked at for a change.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Takes the port.
///
/// # Errors
/// In one line, if somebody has it already.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            anyhow::anyhow!("port {} is in use by another program; choose another one", address.port())
        } else {
            anyhow::Error::new(error).context(format!("can't listen on {address}"))
        }
    })
}

/// Ends when the process gets SIGINT or SIGTERM. Takes both over at once, also
/// where they were inherited as ignored.
pub fn ended() -> impl Future<Output = ()> {
    let signals = [signal(SignalKind::interrupt()), signal(SignalKind::terminate())];
    async move {
        match signals {
            [Ok(mut interrupt), Ok(mut terminate)] => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            _ => std::future::pending().await,
        }
    }
}

/// Asks every task to end and waits for it, but not for ever: what is cut off
/// here is what a crash cuts off, and goes on at the next start.
pub async fn stop(tasks: &Tasks) {
    if tokio::time::timeout(PATIENCE, tasks.stop()).await.is_err() {
        tracing::warn!("Some work did not end in time and goes on at the next start");
    }
}

/// Serves until `end`.
pub async fn serve(listener: TcpListener, router: Router, tls: Option<Tls>, end: CancellationToken) {
    let service = router.layer(map_request(name_peer)).into_make_service_with_connect_info::<Socket>();
    let served = match tls {
        None => axum::serve(listener, service).with_graceful_shutdown(end.cancelled_owned()).await,
        Some(tls) => {
            let listener = TlsListener::new(listener, tls.config);
            axum::serve(listener, service).with_graceful_shutdown(end.cancelled_owned()).await
        }
    };
    if let Err(error) = served {
        tracing::error!(error = %error, "The server has stopped serving");
    }
}

/// The socket at the other end of a connection.
#[derive(Clone, Copy)]
struct Socket(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Socket {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Socket {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Tells the pages who is at the other end.
async fn name_peer(ConnectInfo(Socket(address)): ConnectInfo<Socket>, mut request: Request) -> Request {
    request.extensions_mut().insert(Peer(address.ip()));
    request
}

/// A certificate that is read again when its files change.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificate: Arc<Reloading>,
}

impl Tls {
    /// Reads certificate chain and key.
    ///
    /// # Errors
    /// When they can't be read or don't fit.
    pub fn load(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let files = Files { cert: cert.to_owned(), key: key.to_owned() };
        let first = files.read()?;
        let resolver = Reloading {
            state: RwLock::new(Loaded {
                key: first,
                changed: files.changed(),
                looked: tokio::time::Instant::now(),
            }),
            files,
        };
        let certificate = Arc::new(resolver);
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// Tells when the certificate ends that is shown at present.
    pub fn ends(&self) -> CertificateEnds {
        let certificate = Arc::clone(&self.certificate);
        Arc::new(move || {
            let held = certificate.state.read().unwrap_or_else(PoisonError::into_inner).key.clone();
            let (_, parsed) = x509_parser::parse_x509_certificate(held.cert.first()?).ok()?;
            Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
        })
    }
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn read(&self) -> anyhow::Result<Arc<CertifiedKey>> {
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("[server] tls_cert {} can't be read", self.cert.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("[server] tls_key {} can't be read", self.key.display()))?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .with_context(|| format!("[server] tls_key {} is of an unknown kind", self.key.display()))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().context("[server] tls_cert and tls_key don't belong together")?;
        Ok(Arc::new(certified))
    }

    fn changed(&self) -> Option<(SystemTime, SystemTime)> {
        let at = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        at(&self.cert).zip(at(&self.key))
    }
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    changed: Option<(SystemTime, SystemTime)>,
    looked: tokio::time::Instant,
}

#[derive(Debug)]
struct Reloading {
    files: Files,
    state: RwLock<Loaded>,
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let stale = self.state.read().unwrap_or_else(PoisonError::into_inner).looked.elapsed() >= LOOK_EVERY;
        if stale {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.looked = tokio::time::Instant::now();
            let changed = self.files.changed();
            if changed != state.changed {
                match self.files.read() {
                    Ok(key) => {
                        (state.key, state.changed) = (key, changed);
                        tracing::info!("The TLS certificate was read anew");
                    }
                    Err(error) => {
                        tracing::error!(error = %format!("{error:#}"), "The changed TLS certificate can't be used, the old one stays");
                    }
                }
            }
        }
        Some(self.state.read().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}
