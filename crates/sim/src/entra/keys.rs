//! The keys that sign access tokens, and the document that publishes them.
//!
//! Two stand in the document, as at the real service: the one in use and the one
//! that a rollover will take. Making one takes a tenth of a second, so it is made
//! when it is first needed, and the first of a process serves all its simulators.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use thiserror::Error;

/// No key could be made or read.
#[derive(Debug, Error)]
pub enum KeyFault {
    /// The machine gave none.
    #[error("a signing key can't be made")]
    Make,
    /// A kept key is not one.
    #[error("the signing key in {0} is damaged; remove it and start again")]
    Damaged(String),
    /// A kept key can't be read or written.
    #[error("the signing key can't be kept in {path}")]
    Keep {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// A key that signs access tokens.
pub(crate) struct SigningKey {
    pair: KeyPair,
    /// Its name in tokens: the thumbprint of its certificate.
    id: String,
    certificate: Vec<u8>,
}

impl SigningKey {
    fn make() -> Result<Self, KeyFault> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyFault::Make)?;
        Self::of(pair)
    }

    fn of(pair: KeyPair) -> Result<Self, KeyFault> {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyFault::Make)?;
        let signer = rcgen::KeyPair::try_from(der.as_ref()).map_err(|_| KeyFault::Make)?;
        let params = rcgen::CertificateParams::new(["accounts.accesscontrol.windows.net".to_owned()])
            .map_err(|_| KeyFault::Make)?;
        let certificate = params.self_signed(&signer).map_err(|_| KeyFault::Make)?.der().to_vec();
        let id = URL_SAFE_NO_PAD.encode(digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate));
        Ok(Self { pair, id, certificate })
    }

    /// The key in `folder`, or a new one that is kept there.
    fn kept(folder: &Path) -> Result<Self, KeyFault> {
        let path = folder.join("signing.key");
        let shown = path.display().to_string();
        match std::fs::read(&path) {
            Ok(der) => Self::of(KeyPair::from_pkcs8(&der).map_err(|_| KeyFault::Damaged(shown))?),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let made = Self::make()?;
                let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&made.pair).map_err(|_| KeyFault::Make)?;
                crate::server::write_private(&path, der.as_ref())
                    .map_err(|cause| KeyFault::Keep { path: shown, cause })?;
                Ok(made)
            }
            Err(cause) => Err(KeyFault::Keep { path: shown, cause }),
        }
    }

    /// A signed JWT with these claims, RS256.
    fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5t": self.id, "kid": self.id });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn published(&self, issuer: &str) -> Value {
        let public = self.pair.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.id,
            "x5t": self.id,
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
            "x5c": [STANDARD.encode(&self.certificate)],
            "cloud_instance_name": "microsoftonline.com",
            "issuer": issuer,
        })
    }
}

/// The keys of a simulator: the one in use is last but one when its successor is made.
#[derive(Default)]
pub(crate) struct SigningKeys {
    current: Mutex<Option<Arc<SigningKey>>>,
    next: Mutex<Option<Arc<SigningKey>>>,
}

/// The first key of this process.
static FIRST: Mutex<Option<Arc<SigningKey>>> = Mutex::new(None);

fn filled(
    slot: &Mutex<Option<Arc<SigningKey>>>,
    make: impl FnOnce() -> Result<Arc<SigningKey>, KeyFault>,
) -> Result<Arc<SigningKey>, KeyFault> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = &*slot {
        return Ok(Arc::clone(key));
    }
    let made = make()?;
    *slot = Some(Arc::clone(&made));
    Ok(made)
}

impl SigningKeys {
    /// Begins with the key in `folder`, which is made if there is none.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(), KeyFault> {
        filled(&self.current, || Ok(Arc::new(SigningKey::kept(folder)?))).map(|_| ())
    }

    /// A signed JWT with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyFault> {
        self.current()?.sign(claims).ok_or(KeyFault::Make)
    }

    /// The JWKS document.
    pub(crate) fn published(&self, issuer: &str) -> Result<Value, KeyFault> {
        let keys = [self.current()?, self.next()?];
        Ok(json!({ "keys": keys.map(|key| key.published(issuer)) }))
    }

    /// Signs with the other key from now on; the old one is forgotten.
    pub(crate) fn roll_over(&self) -> Result<(), KeyFault> {
        let next = self.next()?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn current(&self) -> Result<Arc<SigningKey>, KeyFault> {
        filled(&self.current, || filled(&FIRST, || Ok(Arc::new(SigningKey::make()?))))
    }

    fn next(&self) -> Result<Arc<SigningKey>, KeyFault> {
        filled(&self.next, || Ok(Arc::new(SigningKey::make()?)))
    }
}
