//! The credentials of integrations while everything runs: tried, added and removed
//! without a gap.
//!
//! Called by the commands. Rule kept: what is written here is heard by a running
//! server within a second, and what the organisation file keeps is left to it.

use std::{path::Path, sync::Arc};

use postroom_graph::{self as graph, CertificateKey, CertificateKeyError, ReadFile, TokenError};
use postroom_model::{
    credential::{CredentialKind, CredentialOrigin},
    organization::{Credential, Kind},
};
use postroom_store::{
    DbError, Unit,
    credentials::{self, CredentialError, Preference},
    feed::Topic,
    integrations::{self, Integration},
    seal::SealError,
};
use secrecy::ExposeSecret as _;

use crate::{Engine, connections::ConnectError};

/// A credential was not added, removed or tried.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such integration.
    #[error("there is no integration \"{name}\"; there are: {known}")]
    UnknownIntegration {
        /// What was asked for.
        name: String,
        /// The names there are, with commas between.
        known: String,
    },
    /// There is no such credential.
    #[error("integration \"{integration}\" has no credential \"{name}\"; it has: {known}")]
    Unknown {
        /// The integration.
        integration: String,
        /// What was asked for.
        name: String,
        /// The names there are, with commas between.
        known: String,
    },
    /// The name is taken.
    #[error(
        "integration \"{integration}\" has a credential \"{name}\" already; give the new one another name"
    )]
    Taken {
        /// The integration.
        integration: String,
        /// The name.
        name: String,
    },
    /// The organisation file keeps it.
    #[error(
        "credential \"{name}\" stands in the organisation file, which would bring it back; remove it there and \
         apply the file"
    )]
    OfFile {
        /// The name.
        name: String,
    },
    /// Nothing would be left.
    #[error(
        "credential \"{name}\" is the only one of integration \"{integration}\", which would stop; add the next \
         one first, or say --last"
    )]
    Only {
        /// The integration.
        integration: String,
        /// The name.
        name: String,
    },
    /// The credentials can't be read.
    #[error(transparent)]
    Read(#[from] CredentialError),
    /// The credential can't be sealed.
    #[error("the credential can't be sealed; check the key file")]
    Seal(#[from] SealError),
    /// The integration can't be used as it is set.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] DbError),
}

/// A certificate's own dates where no others are given.
pub fn dated(credential: Credential) -> Credential {
    let own = match credential.proof.kind {
        CredentialKind::Certificate => CertificateKey::from_pem(credential.proof.text.expose_secret()).ok(),
        CredentialKind::Secret | CredentialKind::FederatedTokenFile => None,
    };
    let Some(own) = own else { return credential };
    Credential {
        starts_at: credential.starts_at.or(Some(own.not_before())),
        expires_at: credential.expires_at.or(Some(own.not_after())),
        ..credential
    }
}

/// The credential as the Graph client uses it.
pub(crate) fn usable(
    credential: &credentials::Credential,
    read: &ReadFile,
) -> Result<graph::Credential, CertificateKeyError> {
    let (name, text) = (credential.name.clone(), &credential.proof.text);
    let usable = match credential.proof.kind {
        CredentialKind::Secret => graph::Credential::secret(name, text.clone()),
        CredentialKind::Certificate => {
            graph::Credential::certificate(name, CertificateKey::from_pem(text.expose_secret())?)
        }
        CredentialKind::FederatedTokenFile => graph::Credential::federated_token_file(
            name,
            Path::new(text.expose_secret()).to_owned(),
            Arc::clone(read),
        ),
    };
    Ok(graph::Credential {
        starts: credential.starts_at.or(usable.starts),
        expires: credential.expires_at.or(usable.expires),
        ..usable
    })
}

impl Engine {
    /// The integration of this name.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub async fn find_integration(&self, name: &str) -> Result<Integration, ChangeError> {
        let all = integrations::list(self.store()).await?;
        let known = all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = all.into_iter().find(|one| one.name == name);
        found.ok_or_else(|| ChangeError::UnknownIntegration { name: name.to_owned(), known })
    }

    /// Asks Microsoft for a token with exactly this credential, and changes nothing.
    ///
    /// # Errors
    /// When the integration can't be used as it is set.
    pub async fn try_credential(
        &self,
        integration: &Integration,
        credential: &Credential,
    ) -> Result<Result<(), TokenError>, ChangeError> {
        let only = credentials::Credential {
            name: credential.name.clone(),
            proof: credential.proof.clone(),
            starts_at: credential.starts_at,
            expires_at: credential.expires_at,
            origin: CredentialOrigin::Command,
        };
        let graph = self.trial_client(Integration { credentials: vec![only], ..integration.clone() })?;
        Ok(graph.try_credential(&credential.name).await)
    }

    /// Adds a credential, which applying the organisation file leaves alone.
    ///
    /// # Errors
    /// When the name is taken, or it can't be written.
    pub async fn add_credential(
        &self,
        integration: &Integration,
        credential: &Credential,
        preference: Preference,
    ) -> Result<(), ChangeError> {
        let db = &self.store().db;
        let position = credentials::find_position(db, integration.id, preference).await?;
        let insert = credentials::insert(
            self.store(),
            integration.id,
            credential,
            CredentialOrigin::Command,
            position,
        )?;
        let mut unit = Unit::new().with(insert);
        unit.changed(self.now(), Topic::Organization, Kind::Integration);
        match self.store().commit(unit).await {
            Ok(_) => Ok(()),
            Err(DbError::Unique { .. }) => Err(ChangeError::Taken {
                integration: integration.name.clone(),
                name: credential.name.clone(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a credential that a command added; the last one only if `even_last`.
    ///
    /// # Errors
    /// When there is none of this name, the organisation file keeps it, or it is the only one.
    pub async fn remove_credential(
        &self,
        integration: &Integration,
        name: &str,
        even_last: bool,
    ) -> Result<(), ChangeError> {
        let known = || integration.credentials.iter().map(|one| one.name.as_str()).collect::<Vec<_>>();
        let found = integration.credentials.iter().find(|one| one.name == name);
        let found = found.ok_or_else(|| ChangeError::Unknown {
            integration: integration.name.clone(),
            name: name.to_owned(),
            known: known().join(", "),
        })?;
        if found.origin == CredentialOrigin::File {
            return Err(ChangeError::OfFile { name: name.to_owned() });
        }
        if integration.credentials.len() == 1 && !even_last {
            return Err(ChangeError::Only { integration: integration.name.clone(), name: name.to_owned() });
        }
        let mut unit = Unit::new().with(credentials::delete(integration.id, name));
        unit.changed(self.now(), Topic::Organization, Kind::Integration);
        self.store().commit(unit).await?;
        Ok(())
    }
}
