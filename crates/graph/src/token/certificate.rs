//! A certificate with its private key, and the assertions it signs.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials>

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{KeyPair as _, RSA_PSS_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use postroom_model::Entropy;
use secrecy::SecretString;
use serde_json::{Value, json};
use x509_parser::{pem::Pem, public_key::PublicKey, time::ASN1Time};

use super::credential::ProofError;

/// How long an assertion is good; Microsoft advises five to ten minutes.
const LIFE: SignedDuration = SignedDuration::from_mins(10);

/// A certificate of the application with its RSA private key. Cheap to clone.
#[derive(Clone)]
pub struct CertificateKey(Arc<Parts>);

struct Parts {
    pair: KeyPair,
    sha256: String,
    sha1: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The text holds no certificate with its key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateKeyError {
    /// A block of the PEM text can't be decoded.
    #[error("a part of the PEM text is damaged; copy it anew, from each BEGIN line to its END line")]
    Pem,
    /// There is no certificate.
    #[error("the PEM text holds no certificate; add the part from BEGIN CERTIFICATE to END CERTIFICATE")]
    NoCertificate,
    /// There are several certificates.
    #[error(
        "the PEM text holds several certificates; keep the one that is uploaded to the application, without its chain"
    )]
    ManyCertificates,
    /// The certificate can't be read.
    #[error("the certificate can't be read; it must be an X.509 certificate")]
    Certificate,
    /// There is no private key.
    #[error("the PEM text holds no private key; add the part from BEGIN PRIVATE KEY to END PRIVATE KEY")]
    NoKey,
    /// There are several private keys.
    #[error("the PEM text holds several private keys; keep the certificate's own")]
    ManyKeys,
    /// The private key is locked by a pass phrase.
    #[error("the private key is encrypted; write it without a pass phrase (openssl pkey -in key.pem)")]
    EncryptedKey,
    /// The key is of another kind.
    #[error("the key is not an RSA key; Entra ID takes RSA keys only, make the certificate with one")]
    NotRsa,
    /// The private key can't be read or used.
    #[error("the private key can't be used; it must be an RSA key of 2048 to 8192 bits in PKCS#8 or PKCS#1")]
    Key,
    /// Key and certificate are not a pair.
    #[error(
        "the private key does not belong to the certificate; put the two together that were made together"
    )]
    Mismatch,
}

impl CertificateKey {
    /// Reads a certificate and its RSA private key (PKCS#8 or PKCS#1) from PEM
    /// text, in any order, and checks that they are a pair.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateKeyError> {
        let Blocks { certificate, key, is_pkcs1 } = blocks(pem)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| CertificateKeyError::Certificate)?;
        match parsed.public_key().parsed() {
            Ok(PublicKey::RSA(_)) => {}
            Ok(_) => return Err(CertificateKeyError::NotRsa),
            Err(_) => return Err(CertificateKeyError::Certificate),
        }
        let pair = if is_pkcs1 { KeyPair::from_der(&key) } else { KeyPair::from_pkcs8(&key) };
        let pair = pair.map_err(|_| CertificateKeyError::Key)?;
        // Both are the same ASN.1 structure, RSAPublicKey, whose encoding is unique.
        if pair.public_key().as_ref() != parsed.public_key().subject_public_key.data.as_ref() {
            return Err(CertificateKeyError::Mismatch);
        }
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        Ok(Self(Arc::new(Parts {
            pair,
            sha256: URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate)),
            sha1: sha1.as_ref().iter().map(|byte| format!("{byte:02X}")).collect(),
            not_before: moment(parsed.validity().not_before, Timestamp::MIN),
            not_after: moment(parsed.validity().not_after, Timestamp::MAX),
        })))
    }

    /// From when the certificate is good.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// The SHA-256 thumbprint in base64url, as the header of an assertion has it.
    pub fn thumbprint(&self) -> &str {
        &self.0.sha256
    }

    /// The SHA-1 thumbprint in hexadecimal, as the Azure portal shows it.
    pub fn thumbprint_sha1(&self) -> &str {
        &self.0.sha1
    }

    /// A signed statement that this is the application. The salt of the signature
    /// is the one randomness here that can't be a parameter.
    pub(super) fn assertion(
        &self,
        token_endpoint: &str,
        client_id: &str,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<SecretString, ProofError> {
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.0.sha256 });
        let claims = json!({
            "aud": token_endpoint,
            "iss": client_id,
            "sub": client_id,
            "jti": entropy.uuid(now).to_string(),
            "nbf": now.as_second(),
            "iat": now.as_second(),
            "exp": now.as_second() + LIFE.as_secs(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.0.pair.public_modulus_len()];
        self.0
            .pair
            .sign(&RSA_PSS_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| ProofError::Unsigned)?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateKey").field(&self.0.sha1).finish()
    }
}

/// The two parts in DER.
struct Blocks {
    certificate: Vec<u8>,
    key: Vec<u8>,
    is_pkcs1: bool,
}

/// The certificate and the key among the blocks of a PEM text. Labels:
/// <https://www.rfc-editor.org/rfc/rfc7468#section-4>; those of OpenSSL beside them.
fn blocks(pem: &str) -> Result<Blocks, CertificateKeyError> {
    let (mut certificates, mut keys) = (Vec::new(), Vec::new());
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let Ok(Pem { label, contents }) = block else {
            // OpenSSL's older form of encryption stands in lines that are no base64.
            let is_encrypted = pem.contains("Proc-Type: 4,ENCRYPTED");
            return Err(if is_encrypted {
                CertificateKeyError::EncryptedKey
            } else {
                CertificateKeyError::Pem
            });
        };
        match label.as_str() {
            "CERTIFICATE" => certificates.push(contents),
            "PRIVATE KEY" => keys.push((contents, false)),
            "RSA PRIVATE KEY" => keys.push((contents, true)),
            "ENCRYPTED PRIVATE KEY" => return Err(CertificateKeyError::EncryptedKey),
            "EC PRIVATE KEY" => return Err(CertificateKeyError::NotRsa),
            _ => {}
        }
    }
    let certificate =
        only(certificates, CertificateKeyError::NoCertificate, CertificateKeyError::ManyCertificates)?;
    let (key, is_pkcs1) = only(keys, CertificateKeyError::NoKey, CertificateKeyError::ManyKeys)?;
    Ok(Blocks { certificate, key, is_pkcs1 })
}

fn only<T>(
    mut found: Vec<T>,
    none: CertificateKeyError,
    many: CertificateKeyError,
) -> Result<T, CertificateKeyError> {
    let last = found.pop().ok_or(none)?;
    if found.is_empty() { Ok(last) } else { Err(many) }
}

/// A date of a certificate; "no end" is written as a date beyond what a timestamp holds:
/// <https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5>.
fn moment(time: ASN1Time, beyond: Timestamp) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{OWN, STRANGER, entropy};
    use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{CertificateParams, KeyPair as AnyKey, date_time_ymd};
    use secrecy::ExposeSecret as _;

    fn der(pem: &str) -> Vec<u8> {
        Pem::iter_from_buffer(pem.as_bytes()).next().unwrap().unwrap().contents
    }

    fn block(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    fn fault(pem: &str) -> CertificateKeyError {
        CertificateKey::from_pem(pem).unwrap_err()
    }

    #[test]
    fn an_assertion_is_signed_by_the_certificates_key_and_says_who_asks_where_and_when() {
        let key = CertificateKey::from_pem(&OWN.pem()).unwrap();
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let source = entropy();
        let make = || key.assertion("https://login.example/t/token", "app id", now, &source).unwrap();
        let (first, second) = (make(), make());
        let (text, signature) = first.expose_secret().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let certificate = der(&OWN.certificate);
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        let public = &parsed.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
            .verify(text.as_bytes(), &signature)
            .expect("the signature is the certificate's");

        let part = |assertion: &SecretString, index: usize| -> Value {
            let part = assertion.expose_secret().split('.').nth(index).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let print = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate));
        assert_eq!(part(&first, 0), json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": print }));
        assert_eq!(key.thumbprint(), print);
        let claims = part(&first, 1);
        assert_eq!(claims["aud"], "https://login.example/t/token");
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app id"), &json!("app id")));
        assert_eq!(claims["nbf"], now.as_second());
        assert_eq!(claims["exp"], now.as_second() + 600);
        assert_ne!(claims["jti"], part(&second, 1)["jti"]);
    }

    #[test]
    fn key_and_certificate_are_taken_in_any_order_form_and_company() {
        let (certificate, key) = (&OWN.certificate, &OWN.key);
        let pkcs8 = der(key);
        // PKCS#8 has 26 bytes before the PKCS#1 key of an RSA key of this size.
        let pkcs1 = block("RSA PRIVATE KEY", &pkcs8[26..]);
        for pem in [
            format!("{certificate}{key}"),
            format!("Bag Attributes\n{key}subject=/CN=app\n{certificate}\n\n"),
            format!("{certificate}{pkcs1}"),
            format!("{}{key}{certificate}", block("PUBLIC KEY", b"anything")),
            format!("{certificate}{key}").replace('\n', "\r\n"),
        ] {
            let read = CertificateKey::from_pem(&pem).unwrap();
            assert_eq!(read.not_before().to_string(), "2026-01-01T00:00:00Z");
            assert_eq!(read.not_after().to_string(), "2027-01-01T00:00:00Z");
            assert_eq!(read.thumbprint_sha1().len(), 40);
            assert_eq!(format!("{read:?}"), format!("CertificateKey({:?})", read.thumbprint_sha1()));
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let pem = format!("{}{}", OWN.certificate, STRANGER.key);
        assert_eq!(fault(&pem), CertificateKeyError::Mismatch);
    }

    #[test]
    fn whatever_can_not_be_used_is_refused_by_its_own_name() {
        use CertificateKeyError::*;
        let (certificate, key) = (&OWN.certificate, &OWN.key);
        assert_eq!(fault(""), NoCertificate);
        assert_eq!(fault(key), NoCertificate);
        assert_eq!(fault(certificate), NoKey);
        assert_eq!(fault(&format!("{certificate}{key}{}", STRANGER.certificate)), ManyCertificates);
        assert_eq!(fault(&format!("{certificate}{key}{}", STRANGER.key)), ManyKeys);
        assert_eq!(fault(&format!("{key}{}", block("CERTIFICATE", b"no certificate"))), Certificate);
        assert_eq!(fault(&format!("{certificate}{}", block("PRIVATE KEY", b"no key"))), Key);
        assert_eq!(fault(&format!("{certificate}{}", block("ENCRYPTED PRIVATE KEY", b"x"))), EncryptedKey);
        let old = key.replace(
            "-----BEGIN PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
        );
        assert_eq!(fault(&format!("{certificate}{old}")), EncryptedKey);
        assert_eq!(fault(&format!("{certificate}{}", key.replace("END", "ENDE"))), Pem);
        let curve = AnyKey::generate().unwrap();
        let of_curve =
            CertificateParams::new(["app.example".to_owned()]).unwrap().self_signed(&curve).unwrap();
        assert_eq!(fault(&format!("{}{}", of_curve.pem(), curve.serialize_pem())), NotRsa);
    }

    #[test]
    fn a_certificate_without_an_end_ends_at_the_end_of_time() {
        let key = AnyKey::from_pem(&OWN.key).unwrap();
        let mut params = CertificateParams::new(["app.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(9999, 12, 31);
        let pem = format!("{}{}", params.self_signed(&key).unwrap().pem(), OWN.key);
        assert_eq!(CertificateKey::from_pem(&pem).unwrap().not_after(), Timestamp::MAX);
    }
}
