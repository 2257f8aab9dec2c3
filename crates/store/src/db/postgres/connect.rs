//! Where the server is and how to reach it, encrypted or not.

use std::{path::Path, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::DbError;

/// Longest wait for a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for one of the pool to become free.
const POOL_TIMEOUT: Duration = Duration::from_secs(30);
/// After so long without an acknowledgement a connection counts as lost.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the server keeps what a node holds that vanished without a word, in the middle of a
/// transaction: it ends transactions that stand idle, and notices dead connections as soon as we do.
/// Nobody waits for a lock longer than a node's leases last. What the url says counts more.
/// <https://www.postgresql.org/docs/current/runtime-config-client.html>
const OPTIONS: &str = "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s \
    -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3";

/// A server: its address and what it needs to be trusted.
pub(super) struct Server {
    pub(super) config: Config,
    /// Absent: in the clear.
    pub(super) tls: Option<MakeRustlsConnect>,
}

impl Server {
    pub(super) fn new(url: &SecretString, ca_file: Option<&Path>) -> Result<Self, DbError> {
        let mut config: Config = url.expose_secret().parse().map_err(|error| DbError::Config {
            detail: format!("the PostgreSQL url is not valid: {error}"),
        })?;
        let tls = match ca_file {
            Some(path) => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(trust(path)?))
            }
            None if config.get_ssl_mode() == SslMode::Require => {
                return Err(DbError::Config {
                    detail: "the PostgreSQL url asks for sslmode=require; name a ca_file \
                             with the certificate that vouches for the server"
                        .to_owned(),
                });
            }
            None => None,
        };
        if config.get_application_name().is_none() {
            config.application_name("postroom");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let options = [OPTIONS, config.get_options().unwrap_or_default()].join(" ");
        config.options(options.trim_end());
        config.keepalives_idle(SILENCE_TIMEOUT / 2).keepalives_interval(SILENCE_TIMEOUT / 6);
        config.keepalives_retries(3).tcp_user_timeout(SILENCE_TIMEOUT);
        Ok(Self { config, tls })
    }

    pub(super) fn pool(&self, max_connections: usize) -> Result<Pool, DbError> {
        // A lost connection is noticed by its own task; asking the server each time costs a round trip.
        let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &self.tls {
            Some(tls) => Manager::from_config(self.config.clone(), tls.clone(), recycle),
            None => Manager::from_config(self.config.clone(), NoTls, recycle),
        };
        Pool::builder(manager)
            .max_size(max_connections.max(1))
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_TIMEOUT))
            .wait_timeout(Some(POOL_TIMEOUT))
            .build()
            .map_err(DbError::unavailable)
    }
}

fn trust(ca_file: &Path) -> Result<ClientConfig, DbError> {
    let refuse = |reason: &dyn std::fmt::Display| DbError::Config {
        detail: format!("the certificates in {} can't be used: {reason}", ca_file.display()),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|error| refuse(&error))? {
        let certificate = certificate.map_err(|error| refuse(&error))?;
        roots.add(certificate).map_err(|error| refuse(&error))?;
    }
    if roots.is_empty() {
        return Err(refuse(&"there is none"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| refuse(&error))?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_without_a_certificate_to_trust_is_refused_and_says_what_to_do() {
        let url = SecretString::from("postgres://me:pass@db.contoso.example/postroom?sslmode=require");
        let error = Server::new(&url, None).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("name a ca_file"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("ca.pem");
        std::fs::write(&empty, "").unwrap();
        let error = Server::new(&url, Some(&empty)).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("there is none"), "{error}");
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_it() {
        let error = Server::new(&SecretString::from("postgres://me:pass@host:x/"), None).map(|_| ());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("not valid") && !text.contains("pass"), "{text}");
    }
}
