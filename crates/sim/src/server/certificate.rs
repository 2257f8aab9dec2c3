//! The throw-away certificate of the simulator and the CA that signed it.
//!
//! The CA's own key is forgotten as soon as it has signed this one certificate:
//! who trusts the CA trusts this simulator and nothing else, for ever. With a
//! folder both are kept, so that clients need to be told only once.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use super::MICROSOFT_HOSTS;

/// First and last year of a certificate; X.509 writes years up to 2049 alike.
const YEARS: (i32, i32) = (2020, 2049);
const CA_FILE: &str = "ca.pem";
const CHAIN_FILE: &str = "server.pem";
const KEY_FILE: &str = "server.key";
/// Written last: where it stands, the other three are whole.
const NAMES_FILE: &str = "server.names";

/// A certificate for this machine and Microsoft's hosts, its key, and the CA that signed it.
#[derive(Clone)]
pub struct Certificate {
    ca_pem: String,
    chain_pem: String,
    key_pem: String,
}

/// No certificate could be made, kept or used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A name can't stand in a certificate, or there is no randomness.
    #[error("a certificate can't be made")]
    Make(#[from] rcgen::Error),
    /// A file of the folder can't be read or written.
    #[error("the certificate can't be kept in {path}")]
    Keep {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A kept file is not PEM.
    #[error("the certificate is damaged; empty the state folder and start again")]
    Damaged(#[source] pem::Error),
    /// The kept certificate and key don't work.
    #[error("the certificate can't be used; empty the state folder and start again")]
    Unfit(#[from] rustls::Error),
}

impl Certificate {
    /// A new certificate for this machine, [`MICROSOFT_HOSTS`] and `names` (host names or IP addresses).
    ///
    /// # Errors
    /// [`CertificateError::Make`] when a name can't be used.
    pub fn make(names: &[String]) -> Result<Self, CertificateError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = params(Vec::new(), "Microsoft 365 simulator, throw-away CA")?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let mut server = params(all_names(names), "Microsoft 365 simulator")?;
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let chain_pem = server.signed_by(&key, &issuer)?.pem();
        Ok(Self { ca_pem, chain_pem, key_pem: key.serialize_pem() })
    }

    /// The certificate in `folder`, or a new one that is kept there as `ca.pem`, `server.pem` and
    /// `server.key`. It is made anew when it is not for all of `names`.
    ///
    /// # Errors
    /// When it can't be made, read or written.
    pub fn kept(folder: &Path, names: &[String]) -> Result<Self, CertificateError> {
        let wanted = all_names(names).join("\n");
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read_to_string(&path).map_err(|cause| CertificateError::Keep { path, cause })
        };
        if read(NAMES_FILE).is_ok_and(|kept| kept == wanted) {
            return Ok(Self {
                ca_pem: read(CA_FILE)?,
                chain_pem: read(CHAIN_FILE)?,
                key_pem: read(KEY_FILE)?,
            });
        }
        let made = Self::make(names)?;
        let _stale = fs::remove_file(folder.join(NAMES_FILE));
        fs::create_dir_all(folder).map_err(|cause| CertificateError::Keep { path: folder.into(), cause })?;
        for (file, text, mode) in [
            (KEY_FILE, &made.key_pem, 0o600),
            (CHAIN_FILE, &made.chain_pem, 0o644),
            (CA_FILE, &made.ca_pem, 0o644),
            (NAMES_FILE, &wanted, 0o644),
        ] {
            let path = folder.join(file);
            write(&path, text.as_bytes(), mode).map_err(|cause| CertificateError::Keep { path, cause })?;
        }
        Ok(made)
    }

    /// The CA's certificate as PEM: what clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// How rustls serves it, with HTTP/2 before HTTP/1.1.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(CertificateError::Damaged)?;
        let key =
            PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(CertificateError::Damaged)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn all_names(further: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "::1"].into_iter().chain(MICROSOFT_HOSTS).map(str::to_owned).collect();
    for name in further {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = date_time_ymd(YEARS.0, 1, 1);
    params.not_after = date_time_ymd(YEARS.1, 12, 31);
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// Writes a file, and its folder, that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    write(path, bytes, 0o600)
}

/// Writes a file; `mode` says who may read it from its first byte on.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_certificate_stays_until_it_is_asked_for_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let first = Certificate::kept(folder.path(), &[]).unwrap();
        let second = Certificate::kept(folder.path(), &[]).unwrap();
        assert_eq!(first.chain_pem, second.chain_pem);
        assert_eq!(first.ca_pem, fs::read_to_string(folder.path().join("ca.pem")).unwrap());
        let third = Certificate::kept(folder.path(), &["sim.test".into()]).unwrap();
        assert_ne!(first.ca_pem, third.ca_pem);
        assert!(third.server_config().is_ok());
    }

    #[test]
    fn a_damaged_folder_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        Certificate::kept(folder.path(), &[]).unwrap();
        fs::write(folder.path().join(KEY_FILE), "no key").unwrap();
        let error = Certificate::kept(folder.path(), &[]).unwrap().server_config().unwrap_err();
        assert!(error.to_string().contains("empty the state folder"), "{error}");
    }
}
