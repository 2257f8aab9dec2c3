//! The application's credentials: what each proves itself with, in which order
//! they are tried, and how each fared.
//!
//! Rule kept: what lies in a file is read through a function that is a parameter,
//! and anew each time, because it is replaced there.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use postroom_model::credential::CredentialKind;
use secrecy::SecretString;

use super::certificate::CertificateKey;

/// One credential of the application.
#[derive(Clone)]
pub struct Credential {
    /// The operator's name for it.
    pub name: String,
    /// What it proves itself with.
    pub proof: Proof,
    /// From when it is good, as far as the operator knows.
    pub starts: Option<Timestamp>,
    /// When it ends, as far as the operator knows.
    pub expires: Option<Timestamp>,
}

/// Reads a text file: the real file system in the binary, anything in tests.
pub type ReadFile = Arc<dyn Fn(&Path) -> io::Result<String> + Send + Sync>;

/// What a credential proves itself with.
#[derive(Clone)]
pub enum Proof {
    /// A client secret: its value, not its id.
    Secret(SecretString),
    /// A certificate, by an assertion signed with its key.
    /// <https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials>
    Certificate(CertificateKey),
    /// A file with an assertion of an identity provider outside, as Kubernetes mounts it.
    /// <https://learn.microsoft.com/en-us/entra/workload-id/workload-identity-federation>
    FederatedTokenFile {
        /// Where the file is.
        path: PathBuf,
        /// Reads it, at each request for a token: its content is replaced every hour or so.
        read: ReadFile,
    },
}

/// A credential gives no proof.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProofError {
    /// The token file can't be read.
    #[error("the token file {} can't be read ({error}); check that it is mounted and that this process may read it", .path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        error: Arc<io::Error>,
    },
    /// The token file has no content.
    #[error("the token file {} is empty; check what writes it", .path.display())]
    EmptyFile {
        /// Where it is.
        path: PathBuf,
    },
    /// The certificate's key gave no signature.
    #[error("the certificate's private key does not sign; make a new certificate and add it")]
    Unsigned,
}

impl Credential {
    /// A client secret without dates.
    pub fn secret(name: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self { name: name.into(), proof: Proof::Secret(secret.into()), starts: None, expires: None }
    }

    /// A certificate, with its own dates.
    pub fn certificate(name: impl Into<String>, key: CertificateKey) -> Self {
        let (starts, expires) = (Some(key.not_before()), Some(key.not_after()));
        Self { name: name.into(), proof: Proof::Certificate(key), starts, expires }
    }

    /// A token file; it has no dates, its tokens have.
    pub fn federated_token_file(name: impl Into<String>, path: impl Into<PathBuf>, read: ReadFile) -> Self {
        let proof = Proof::FederatedTokenFile { path: path.into(), read };
        Self { name: name.into(), proof, starts: None, expires: None }
    }

    fn is_in_time(&self, now: Timestamp) -> bool {
        self.starts.is_none_or(|at| at <= now) && self.expires.is_none_or(|at| now < at)
    }
}

impl Proof {
    /// Which kind it is.
    pub const fn kind(&self) -> CredentialKind {
        match self {
            Self::Secret(_) => CredentialKind::Secret,
            Self::Certificate(_) => CredentialKind::Certificate,
            Self::FederatedTokenFile { .. } => CredentialKind::FederatedTokenFile,
        }
    }
}

/// The assertion in a token file.
pub(super) fn federated_token(path: &Path, read: &ReadFile) -> Result<SecretString, ProofError> {
    let text = SecretString::from(
        read(path).map_err(|error| ProofError::File { path: path.into(), error: Arc::new(error) })?,
    );
    let token = secrecy::ExposeSecret::expose_secret(&text).trim();
    if token.is_empty() {
        return Err(ProofError::EmptyFile { path: path.into() });
    }
    Ok(token.into())
}

/// A credential and how it fared in this process, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialState {
    /// The operator's name for it.
    pub name: String,
    /// Its kind.
    pub kind: CredentialKind,
    /// From when it is good, if known.
    pub starts: Option<Timestamp>,
    /// When it ends, if known.
    pub expires: Option<Timestamp>,
    /// Why it gave no token when it was last asked; none if it gave one.
    pub last_error: Option<String>,
    /// When it last gave a token.
    pub last_used: Option<Timestamp>,
}

/// All credentials, the preferred one first.
pub(super) struct Credentials(Vec<Entry>);

pub(super) struct Entry {
    pub(super) credential: Credential,
    history: Mutex<History>,
}

#[derive(Clone, Default)]
struct History {
    last_error: Option<String>,
    last_used: Option<Timestamp>,
}

impl Credentials {
    pub(super) fn new(credentials: Vec<Credential>) -> Self {
        let entry = |credential| Entry { credential, history: Mutex::default() };
        Self(credentials.into_iter().map(entry).collect())
    }

    /// In the order to try them. One out of its time comes last but is not left
    /// out: the dates are what somebody once typed.
    pub(super) fn in_order(&self, now: Timestamp) -> impl Iterator<Item = &Entry> {
        let (good, rest): (Vec<&Entry>, Vec<&Entry>) =
            self.0.iter().partition(|entry| entry.credential.is_in_time(now));
        good.into_iter().chain(rest)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.credential.name == name)
    }

    pub(super) fn states(&self) -> Vec<CredentialState> {
        self.0.iter().map(Entry::state).collect()
    }
}

impl Entry {
    pub(super) fn succeeded(&self, now: Timestamp) {
        *self.history() = History { last_error: None, last_used: Some(now) };
    }

    pub(super) fn failed(&self, error: String) {
        self.history().last_error = Some(error);
    }

    fn state(&self) -> CredentialState {
        let Credential { name, proof, starts, expires } = &self.credential;
        let History { last_error, last_used } = self.history().clone();
        CredentialState {
            name: name.clone(),
            kind: proof.kind(),
            starts: *starts,
            expires: *expires,
            last_error,
            last_used,
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
