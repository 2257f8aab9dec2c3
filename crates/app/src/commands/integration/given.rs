//! A credential as the command line gives it: where it is, never itself, so that it
//! stands in no history and no process list.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use postroom_model::credential::{CredentialKind, Proof};
use secrecy::SecretString;

use crate::{effects, organization};

/// Where the credential is.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("proof").required(true))]
pub(super) struct Given {
    /// The file with the client secret's value.
    #[arg(long, value_name = "FILE", group = "proof")]
    secret_file: Option<String>,
    /// The environment's variable with the client secret's value.
    #[arg(long, value_name = "NAME", group = "proof")]
    secret_env: Option<String>,
    /// Read the client secret's value from standard input.
    #[arg(long, group = "proof")]
    secret_stdin: bool,
    /// The file with the certificate in PEM form, with its RSA private key or without.
    #[arg(long, value_name = "FILE", group = "proof")]
    certificate_file: Option<String>,
    /// The file with the certificate's private key, if it is not beside it.
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<String>,
    /// The file in which an identity provider outside, like Kubernetes, keeps a token; it is read anew each time.
    #[arg(long, value_name = "FILE", group = "proof")]
    federated_token_file: Option<String>,
}

impl Given {
    /// Reads it; a token file is only named, as its content changes.
    pub(super) fn read(&self) -> Result<Proof, String> {
        if let Some(path) = &self.secret_file {
            return organization::read_secret_file(path).map(Proof::secret);
        }
        if let Some(name) = &self.secret_env {
            return organization::read_secret_variable(name, &effects::environment).map(Proof::secret);
        }
        if let Some(path) = &self.certificate_file {
            let key = self.key_file.as_deref().map(organization::read_secret_file).transpose()?;
            return organization::certificate(&organization::read_secret_file(path)?, key.as_ref());
        }
        if let Some(path) = &self.federated_token_file {
            // The server's working folder may be another one.
            let path = std::path::absolute(Path::new(path))
                .map_err(|error| format!("the token file {path} can't be named in full: {error}"))?;
            let text = path.to_str().ok_or("the token file's path is not UTF-8; give it another name")?;
            return Ok(Proof { kind: CredentialKind::FederatedTokenFile, text: text.into() });
        }
        from_stdin()
    }
}

fn from_stdin() -> Result<Proof, String> {
    if io::stdin().is_terminal() {
        eprintln!("Paste the secret's value, then Enter and Ctrl+D:");
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| format!("the secret can't be read from standard input: {error}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("standard input is empty; write the secret's value to it".to_owned()),
        secret => Ok(Proof::secret(SecretString::from(secret))),
    }
}
