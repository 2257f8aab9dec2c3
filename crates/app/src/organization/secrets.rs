//! Reads the secrets to which the organisation file refers. They go from their
//! place into sealed content and are never printed on the way.

use std::collections::BTreeMap;

use postroom_graph::CertificateKey;
use postroom_model::credential::{CredentialKind, Proof};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Environment,
    document::{Credential, Document},
    problem::{Place, Problems},
    read::Located,
    values::SecretReference,
};

/// Proofs by the place of their credential's name.
pub(super) type Proofs = BTreeMap<Place, Proof>;

/// Reads every proof; those that can't be read are reported.
pub(super) fn find(document: &Document, environment: &Environment<'_>, problems: &mut Problems) -> Proofs {
    let lists =
        document.integrations.iter().flatten().filter_map(|integration| integration.credentials.as_ref());
    let mut proofs = Proofs::new();
    for credential in lists.flat_map(|list| &list.0) {
        let Some(name) = &credential.name else { continue };
        if let Some(proof) = proof(credential, environment, problems) {
            proofs.insert(name.at, proof);
        }
    }
    proofs
}

fn proof(credential: &Credential, environment: &Environment<'_>, problems: &mut Problems) -> Option<Proof> {
    let mut read_or_report = |reference: &Located<SecretReference>| match read(&reference.value, environment)
    {
        Ok(text) => Some(text),
        Err(message) => {
            problems.add(reference.at, message);
            None
        }
    };
    let proof = match (&credential.secret, &credential.certificate, &credential.federated_token_file) {
        (Some(secret), None, None) => Proof::secret(read_or_report(secret)?),
        (None, Some(certificate), None) => {
            let pem = read_or_report(certificate)?;
            let key = match &credential.key {
                Some(key) => Some(read_or_report(key)?),
                None => None,
            };
            match self::certificate(&pem, key.as_ref()) {
                Ok(proof) => proof,
                Err(message) => {
                    problems.add(certificate.at, message);
                    return None;
                }
            }
        }
        (None, None, Some(path)) => {
            Proof { kind: CredentialKind::FederatedTokenFile, text: path.value.0.clone().into() }
        }
        // None or several, which was reported.
        _ => return None,
    };
    if let Some(key) = credential.key.as_ref().filter(|_| proof.kind != CredentialKind::Certificate) {
        problems.add(key.at, "only a certificate has a private key; leave the key out".to_owned());
        return None;
    }
    Some(proof)
}

/// The proof by a certificate, in PEM form, and its private key where that is not beside it.
pub(crate) fn certificate(pem: &SecretString, key: Option<&SecretString>) -> Result<Proof, String> {
    let whole = match key {
        Some(key) => format!("{}\n{}", pem.expose_secret(), key.expose_secret()).into(),
        None => pem.clone(),
    };
    match CertificateKey::from_pem(whole.expose_secret()) {
        Ok(_) => Ok(Proof { kind: CredentialKind::Certificate, text: whole }),
        Err(error) => Err(format!("the certificate can't be used: {error}")),
    }
}

/// Reads the secret that is meant.
pub(super) fn read(
    reference: &SecretReference,
    environment: &Environment<'_>,
) -> Result<SecretString, String> {
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
