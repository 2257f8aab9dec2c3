//! Keys of those who sign assertions: certificates of an application, and public
//! keys of identity providers outside.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use thiserror::Error;
use uuid::Uuid;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey as Parsed;

/// Why a certificate or key was not registered.
#[derive(Debug, Error)]
pub enum CertificateFault {
    /// It is not PEM.
    #[error("this is no PEM with a certificate or public key in it")]
    Pem,
    /// It is PEM around something else.
    #[error("the PEM holds no readable certificate or public key")]
    Unreadable,
    /// Entra ID takes RSA keys only.
    #[error("the key is not an RSA key")]
    NotRsa,
}

/// An RSA public key.
#[derive(Clone)]
pub(crate) struct PublicKey(pub(crate) DecodingKey);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey")
    }
}

impl PublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, CertificateFault> {
        let der = contents(pem)?;
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| CertificateFault::Unreadable)?;
        Self::of(&info)
    }

    fn of(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, CertificateFault> {
        match info.parsed() {
            Ok(Parsed::RSA(_)) => Ok(Self(DecodingKey::from_rsa_der(&info.subject_public_key.data))),
            Ok(_) => Err(CertificateFault::NotRsa),
            Err(_) => Err(CertificateFault::Unreadable),
        }
    }
}

/// A certificate that was registered as a credential.
#[derive(Clone, Debug)]
pub(crate) struct AppCertificate {
    pub(crate) key_id: Uuid,
    /// Thumbprint by SHA-1, in base64url without padding, as `x5t` has it.
    pub(crate) sha1: String,
    /// Thumbprint by SHA-256, as `x5t#S256` has it.
    pub(crate) sha256: String,
    pub(crate) subject: String,
    pub(crate) starts: Timestamp,
    pub(crate) ends: Timestamp,
    /// Entra ID knows it from this moment on.
    pub(crate) known_from: Timestamp,
    pub(crate) key: PublicKey,
}

impl AppCertificate {
    /// Reads `-----BEGIN CERTIFICATE-----`.
    pub(crate) fn from_pem(key_id: Uuid, pem: &str, now: Timestamp) -> Result<Self, CertificateFault> {
        let der = contents(pem)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| CertificateFault::Unreadable)?;
        let moment = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| CertificateFault::Unreadable)
        };
        let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &der));
        Ok(Self {
            key_id,
            sha1: thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            sha256: thumbprint(&digest::SHA256),
            subject: parsed.subject().to_string(),
            starts: moment(parsed.validity().not_before)?,
            ends: moment(parsed.validity().not_after)?,
            known_from: now,
            key: PublicKey::of(parsed.public_key())?,
        })
    }
}

fn contents(pem: &str) -> Result<Vec<u8>, CertificateFault> {
    let first = Pem::iter_from_buffer(pem.as_bytes()).next();
    first.and_then(Result::ok).map(|pem| pem.contents).ok_or(CertificateFault::Pem)
}
