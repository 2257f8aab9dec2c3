//! Keys that sign assertions, as an application or an identity provider has them.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use serde_json::{Value, json};

/// The application's key. Its certificate is valid all through the year 2026.
pub(crate) static OWN: LazyLock<Signer> = LazyLock::new(Signer::make);
/// A key that belongs to somebody else.
pub(crate) static STRANGER: LazyLock<Signer> = LazyLock::new(Signer::make);

/// An RSA key with a certificate.
pub(crate) struct Signer {
    pair: KeyPair,
    key: rcgen::KeyPair,
    pub(crate) certificate_pem: String,
    der: Vec<u8>,
}

/// Which algorithm signs, and how the header names the certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// RS256 and `x5t`.
    Sha1,
    /// PS256 and `x5t#S256`.
    Sha256,
}

impl Signer {
    fn make() -> Self {
        let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let pair = KeyPair::from_pkcs8(&key.serialize_der()).unwrap();
        let mut signer = Self { pair, key, certificate_pem: String::new(), der: Vec::new() };
        (signer.certificate_pem, signer.der) = signer.certificate(2026, 2027);
        signer
    }

    /// A certificate for the key from the first day of one year to that of another, as PEM and as DER.
    pub(crate) fn certificate(&self, from: i32, to: i32) -> (String, Vec<u8>) {
        let mut params = CertificateParams::new(["app.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let certificate = params.self_signed(&self.key).unwrap();
        (certificate.pem(), certificate.der().to_vec())
    }

    pub(crate) fn public_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// The header of an assertion as a library writes it, with padded thumbprints or bare ones.
    pub(crate) fn header(&self, form: Form, is_padded: bool) -> Value {
        let coder = if is_padded { URL_SAFE } else { URL_SAFE_NO_PAD };
        match form {
            Form::Sha1 => {
                let print = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der);
                json!({ "alg": "RS256", "typ": "JWT", "x5t": coder.encode(print) })
            }
            Form::Sha256 => {
                // MSAL for Python sends the lines of the PEM as they are.
                let text = STANDARD.encode(&self.der);
                let lines: Vec<&str> =
                    text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
                let print = digest(&SHA256, &self.der);
                json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": coder.encode(print), "x5c": [lines.join("\n")] })
            }
        }
    }

    /// A JWT with this header and these claims, signed as the header says.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        let signed = if header["alg"] == "PS256" {
            self.pair.sign(&RSA_PSS_SHA256, &random, text.as_bytes(), &mut signature)
        } else {
            self.pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
        };
        signed.unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
