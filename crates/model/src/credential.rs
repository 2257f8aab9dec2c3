//! What an application proves itself with to Microsoft Entra.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::words::words;

words! {
    /// The kind of a credential.
    pub enum CredentialKind {
        /// A client secret.
        Secret = "secret",
        /// A certificate with its private key.
        Certificate = "certificate",
        /// A file in which somebody else keeps a token of an identity provider outside.
        FederatedTokenFile = "federated_token_file",
    }
}

words! {
    /// Who keeps a credential.
    pub enum CredentialOrigin {
        /// The organisation file; applying it changes and removes the credential.
        File = "file",
        /// A command; applying the organisation file leaves the credential alone.
        Command = "command",
    }
}

/// What a credential proves itself with.
#[derive(Clone)]
pub struct Proof {
    /// Of which kind it is.
    pub kind: CredentialKind,
    /// The client secret; certificate and private key in PEM form; or the path of the token file.
    pub text: SecretString,
}

impl Proof {
    /// A client secret.
    pub fn secret(text: impl Into<SecretString>) -> Self {
        Self { kind: CredentialKind::Secret, text: text.into() }
    }
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.text.expose_secret() == other.text.expose_secret()
    }
}

impl Eq for Proof {}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.kind)
    }
}
