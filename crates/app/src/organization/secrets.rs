//! Reads the secrets to which the organisation file refers. They go from their
//! place into sealed content and are never printed on the way.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{
    Environment,
    document::Document,
    problem::{Place, Problems},
    values::SecretReference,
};

/// Secrets by the place of their references.
pub(super) type Secrets = BTreeMap<Place, SecretString>;

/// Reads every secret; those that can't be read are reported.
pub(super) fn find(document: &Document, environment: &Environment<'_>, problems: &mut Problems) -> Secrets {
    let lists =
        document.integrations.iter().flatten().filter_map(|integration| integration.credentials.as_ref());
    let credentials = lists.flat_map(|list| &list.0);
    let mut secrets = Secrets::new();
    for reference in credentials.filter_map(|credential| credential.secret.as_ref()) {
        match read(&reference.value, environment) {
            Ok(secret) => {
                secrets.insert(reference.at, secret);
            }
            Err(message) => problems.add(reference.at, message),
        }
    }
    secrets
}

fn read(reference: &SecretReference, environment: &Environment<'_>) -> Result<SecretString, String> {
    let (text, whence) = match reference {
        SecretReference::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                format!("the secret file {path} can't be read ({error}); check the path and who may read it")
            })?;
            (text, format!("the secret file {path}"))
        }
        SecretReference::Environment(name) => {
            let text = environment(name).ok_or_else(|| {
                format!("the environment has no variable {name}; set it where `postroom apply` runs")
            })?;
            (text, format!("the variable {name}"))
        }
    };
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(format!("{whence} is empty; write the secret into it"));
    }
    Ok(SecretString::from(secret))
}
