//! What an administrator of the tenant does: applications, their credentials, what
//! was consented to, who may use which mailbox, and the mailboxes themselves.
//!
//! Called by tests and by the control API. Changes of permissions act after the
//! delays that the switches name, as at the real service.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::later;
use crate::directory::{
    AppCertificate, Application, Assignment, CertificateFault, Federation, Policy, PublicKey, ROLES,
};
use crate::entra::keys::KeyFault;
use crate::mailbox::{Mailbox, MailboxKind, MailboxStatus};
use crate::random::mix;
use crate::simulator::Simulator;
use crate::state::State;

/// Where identity providers' assertions are meant for, unless a federation says otherwise.
const EXCHANGE: &str = "api://AzureADTokenExchange";

/// An administrator's wish that can't be met.
#[derive(Debug, Error)]
pub enum AdminError {
    /// There is no such application.
    #[error("no application has the client id {0}")]
    NoApplication(String),
    /// There is no such credential.
    #[error("the application has no credential with the key id {0}")]
    NoCredential(String),
    /// There is no such mailbox.
    #[error("no mailbox of the tenant has the address {0}")]
    NoMailbox(String),
    /// The address is taken.
    #[error("a mailbox of the tenant has the address {0} already")]
    MailboxExists(String),
    /// An address must have an `@` and no space.
    #[error("{0:?} is no address")]
    NoAddress(String),
    /// There is no such permission.
    #[error("no application permission is called {name:?}; there are: {known}")]
    NoRole {
        /// What was asked for.
        name: String,
        /// Every name, separated by commas.
        known: String,
    },
    /// A certificate or key can't be used.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// No signing key could be made.
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// A credential of an application, as the directory shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CredentialView {
    /// Its id in the directory.
    pub key_id: Uuid,
    /// `secret`, `certificate` or `federation`.
    pub kind: &'static str,
    /// Name, subject or issuer.
    pub name: String,
    /// From when on it is valid.
    #[schema(value_type = Option<String>)]
    pub starts: Option<Timestamp>,
    /// Until when it is valid.
    #[schema(value_type = Option<String>)]
    pub ends: Option<Timestamp>,
}

/// An application, as the directory shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApplicationView {
    /// Its client id.
    pub client_id: Uuid,
    /// Its name.
    pub name: String,
    /// Object id of the registration.
    pub object_id: Uuid,
    /// Object id of the service principal.
    pub service_principal_id: Uuid,
    /// Whether it may sign in.
    pub is_enabled: bool,
    /// Consented permissions as they were set last; they may not act yet.
    pub roles: Vec<String>,
    /// Access policies as they were set last.
    pub policies: Vec<Policy>,
    /// RBAC roles as they were set last.
    pub assignments: Vec<Assignment>,
    /// Its credentials, without their secrets.
    pub credentials: Vec<CredentialView>,
}

/// A new secret. This is the only time that its value is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NewSecret {
    /// Its id in the directory.
    pub key_id: Uuid,
    /// What the application signs in with.
    pub secret: String,
    /// Until when it is valid.
    #[schema(value_type = String)]
    pub ends: Timestamp,
}

/// An identity provider outside.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFederation {
    /// `iss` of its assertions, exactly.
    pub issuer: String,
    /// `sub` of its assertions, exactly.
    pub subject: String,
    /// `aud` of its assertions; `api://AzureADTokenExchange` if left out.
    pub audience: Option<String>,
    /// Its RSA public key as PEM. The simulator fetches nothing from issuers.
    pub public_key_pem: String,
}

/// A mailbox, as the directory shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MailboxView {
    /// Primary address.
    pub address: String,
    /// Name that recipients see.
    pub display_name: String,
    /// Further addresses.
    pub aliases: Vec<String>,
    /// Object id of its user.
    pub user_id: Uuid,
    /// Whose it is.
    pub kind: MailboxKind,
    /// Whether Graph can use it.
    pub status: MailboxStatus,
}

/// What changes about a mailbox; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailboxChange {
    /// Name that recipients see.
    pub display_name: Option<String>,
    /// Whose it is.
    pub kind: Option<MailboxKind>,
    /// Whether Graph can use it. A mailbox that is not active any more loses its subscriptions.
    pub status: Option<MailboxStatus>,
}

impl Simulator {
    /// The applications of the tenant.
    pub fn applications(&self) -> Vec<ApplicationView> {
        self.state().applications.iter().map(view).collect()
    }

    /// One application.
    ///
    /// # Errors
    /// When there is none with this client id.
    pub fn application(&self, client: &str) -> Result<ApplicationView, AdminError> {
        find(&mut self.state(), client).map(|application| view(application))
    }

    /// Registers an application with the usual permissions and no credential.
    pub fn add_application(&self, name: &str) -> ApplicationView {
        let mut state = self.state();
        let client_id = state.random.guid();
        let application = Application::new(client_id, name.to_owned(), &mut state.random);
        let shown = view(&application);
        state.applications.push(application);
        shown
    }

    /// Enables an application or disables it.
    ///
    /// # Errors
    /// When there is none with this client id.
    pub fn enable_application(&self, client: &str, is_enabled: bool) -> Result<(), AdminError> {
        find(&mut self.state(), client)?.is_enabled = is_enabled;
        Ok(())
    }

    /// Adds a secret, for two years unless `ends` says otherwise.
    ///
    /// # Errors
    /// When there is no application with this client id.
    pub fn add_secret(
        &self,
        client: &str,
        name: &str,
        ends: Option<Timestamp>,
    ) -> Result<NewSecret, AdminError> {
        let mut state = self.state();
        let (now, known_from) = (state.now(), known_from(&state));
        let (key_id, secret) = (state.random.guid(), format!("sim8Q~{}", state.random.text(25)));
        let application = find(&mut state, client)?;
        application.add_secret(key_id, name.to_owned(), secret.clone(), now, ends);
        let added = application.secrets.last_mut();
        let ends = added.map_or(now, |added| {
            added.known_from = known_from;
            added.ends
        });
        Ok(NewSecret { key_id, secret, ends })
    }

    /// Adds a certificate (PEM, RSA) and answers its key id.
    ///
    /// # Errors
    /// When there is no application with this client id or the certificate can't be used.
    pub fn add_certificate(&self, client: &str, pem: &str) -> Result<Uuid, AdminError> {
        let mut state = self.state();
        let (key_id, known_from) = (state.random.guid(), known_from(&state));
        let certificate = AppCertificate::from_pem(key_id, pem, known_from)?;
        find(&mut state, client)?.certificates.push(certificate);
        Ok(key_id)
    }

    /// Trusts an identity provider outside, and answers the key id.
    ///
    /// # Errors
    /// When there is no application with this client id or the key can't be used.
    pub fn add_federation(&self, client: &str, new: NewFederation) -> Result<Uuid, AdminError> {
        let mut state = self.state();
        let key_id = state.random.guid();
        let federation = Federation {
            key_id,
            issuer: new.issuer,
            subject: new.subject,
            audience: new.audience.unwrap_or_else(|| EXCHANGE.into()),
            key: PublicKey::from_pem(&new.public_key_pem)?,
        };
        find(&mut state, client)?.federations.push(federation);
        Ok(key_id)
    }

    /// Removes a secret, certificate or federation. Tokens that it brought stay valid.
    ///
    /// # Errors
    /// When there is no such application or credential.
    pub fn remove_credential(&self, client: &str, key_id: &str) -> Result<(), AdminError> {
        let mut state = self.state();
        let application = find(&mut state, client)?;
        let missing = || AdminError::NoCredential(key_id.to_owned());
        let key = Uuid::parse_str(key_id).map_err(|_| missing())?;
        let count = |application: &Application| {
            application.secrets.len() + application.certificates.len() + application.federations.len()
        };
        let before = count(application);
        application.secrets.retain(|secret| secret.key_id != key);
        application.certificates.retain(|certificate| certificate.key_id != key);
        application.federations.retain(|federation| federation.key_id != key);
        if count(application) < before { Ok(()) } else { Err(missing()) }
    }

    /// Ends the validity of a secret now.
    ///
    /// # Errors
    /// When there is no such application or secret.
    pub fn expire_secret(&self, client: &str, key_id: &str) -> Result<(), AdminError> {
        let mut state = self.state();
        let now = state.now();
        let secrets = &mut find(&mut state, client)?.secrets;
        let secret = secrets.iter_mut().find(|secret| secret.key_id.to_string() == key_id);
        secret.ok_or_else(|| AdminError::NoCredential(key_id.to_owned()))?.ends = now;
        Ok(())
    }

    /// Sets what was consented to. It acts in new tokens, after `consent.propagation_ms`.
    ///
    /// # Errors
    /// When there is no such application or permission.
    pub fn set_roles(&self, client: &str, roles: &[String]) -> Result<(), AdminError> {
        if let Some(name) = roles.iter().find(|role| !ROLES.contains(&role.as_str())) {
            return Err(AdminError::NoRole { name: name.clone(), known: ROLES.join(", ") });
        }
        let mut state = self.state();
        let from = later(state.now(), state.board.tenant().consent_lag.duration());
        find(&mut state, client)?.roles.set(roles.iter().cloned().collect(), from);
        Ok(())
    }

    /// Sets the redirect URIs, to which people are sent back after they signed in.
    ///
    /// # Errors
    /// When there is no such application.
    pub fn set_redirects(&self, client: &str, redirects: &[String]) -> Result<(), AdminError> {
        find(&mut self.state(), client)?.redirects = redirects.iter().cloned().collect();
        Ok(())
    }

    /// Sets the access policies. They act after `policy.propagation_ms`.
    ///
    /// # Errors
    /// When there is no such application.
    pub fn set_policies(&self, client: &str, policies: Vec<Policy>) -> Result<(), AdminError> {
        let mut state = self.state();
        let from = policy_from(&state);
        find(&mut state, client)?.policies.set(policies, from);
        Ok(())
    }

    /// Sets the RBAC roles. They act after `policy.propagation_ms`.
    ///
    /// # Errors
    /// When there is no such application.
    pub fn set_assignments(&self, client: &str, assignments: Vec<Assignment>) -> Result<(), AdminError> {
        let mut state = self.state();
        let from = policy_from(&state);
        find(&mut state, client)?.assignments.set(assignments, from);
        Ok(())
    }

    /// Signs tokens with another key from now on.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn roll_signing_key(&self) -> Result<(), AdminError> {
        let keys = std::sync::Arc::clone(&self.state().keys);
        Ok(keys.roll_over()?)
    }

    /// The mailboxes of the tenant, those that are gone included.
    pub fn mailbox_views(&self) -> Vec<MailboxView> {
        self.state().mailboxes.iter().map(mailbox_view).collect()
    }

    /// Makes a mailbox.
    ///
    /// # Errors
    /// When the address is none or is taken.
    pub fn add_mailbox(
        &self,
        address: &str,
        display_name: &str,
        aliases: &[String],
        kind: MailboxKind,
    ) -> Result<MailboxView, AdminError> {
        let mut state = self.state();
        let addresses: Vec<String> = std::iter::once(address)
            .chain(aliases.iter().map(String::as_str))
            .map(str::to_ascii_lowercase)
            .collect();
        for address in &addresses {
            if !address.contains('@') || address.contains(char::is_whitespace) {
                return Err(AdminError::NoAddress(address.clone()));
            }
            if state.find_recipient(address).is_some() {
                return Err(AdminError::MailboxExists(address.clone()));
            }
        }
        let guid = state.random.guid();
        let mut mailbox = Mailbox::new(addresses, display_name.to_owned(), guid);
        mailbox.kind = kind;
        let shown = mailbox_view(&mailbox);
        state.mailboxes.push(mailbox);
        Ok(shown)
    }

    /// Changes a mailbox.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn change_mailbox(&self, address: &str, change: MailboxChange) -> Result<MailboxView, AdminError> {
        let mut state = self.state();
        let wanted = address.to_ascii_lowercase();
        let at = state.mailboxes.iter().position(|mailbox| mailbox.address == wanted);
        let at = at.ok_or_else(|| AdminError::NoMailbox(address.to_owned()))?;
        if change.status.is_some_and(|status| status != MailboxStatus::Active) {
            state.tell_lifecycle(at, "subscriptionRemoved");
        }
        let mailbox = state.mailboxes.get_mut(at).ok_or_else(|| AdminError::NoMailbox(address.to_owned()))?;
        mailbox.display_name = change.display_name.unwrap_or_else(|| mailbox.display_name.clone());
        mailbox.kind = change.kind.unwrap_or(mailbox.kind);
        mailbox.status = change.status.unwrap_or(mailbox.status);
        let shown = mailbox_view(mailbox);
        drop(state);
        self.wake();
        Ok(shown)
    }

    /// Puts this many short mails into a mailbox at once, without telling anybody: a past that was there
    /// before. The same seed writes the same mails.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn fill_mailbox(&self, address: &str, mails: u32) -> Result<(), AdminError> {
        let mut state = self.state();
        let at = state.find_recipient(address).ok_or_else(|| AdminError::NoMailbox(address.to_owned()))?;
        for turn in 0..u64::from(mails) {
            let word = mix(turn ^ (at as u64) << 32);
            let mime = format!(
                "Received: from mx.customer.example by mx.contoso.example; Thu, 1 Jan 2026 00:00:00 +0000\r\n\
                 From: Customer {turn} <c{turn}@customer.example>\r\nTo: {address}\r\nSubject: Question {turn}\r\n\
                 Message-ID: <{word:016x}@customer.example>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\
                 MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nWhere is my order {turn}?\r\n"
            );
            state.deliver(at, crate::state::read(mime.into()));
        }
        Ok(())
    }
}

fn known_from(state: &State) -> Timestamp {
    later(state.now(), state.board.tenant().secret_lag.duration())
}

fn policy_from(state: &State) -> Timestamp {
    later(state.now(), state.board.tenant().policy_lag.duration())
}

fn find<'a>(state: &'a mut State, client: &str) -> Result<&'a mut Application, AdminError> {
    let id = Uuid::parse_str(client).ok();
    let found = state.applications.iter_mut().find(|application| Some(application.client_id) == id);
    found.ok_or_else(|| AdminError::NoApplication(client.to_owned()))
}

fn view(application: &Application) -> ApplicationView {
    let secrets = application.secrets.iter().map(|secret| CredentialView {
        key_id: secret.key_id,
        kind: "secret",
        name: secret.name.clone(),
        starts: Some(secret.starts),
        ends: Some(secret.ends),
    });
    let certificates = application.certificates.iter().map(|certificate| CredentialView {
        key_id: certificate.key_id,
        kind: "certificate",
        name: certificate.subject.clone(),
        starts: Some(certificate.starts),
        ends: Some(certificate.ends),
    });
    let federations = application.federations.iter().map(|federation| CredentialView {
        key_id: federation.key_id,
        kind: "federation",
        name: federation.issuer.clone(),
        starts: None,
        ends: None,
    });
    ApplicationView {
        client_id: application.client_id,
        name: application.name.clone(),
        object_id: application.object_id,
        service_principal_id: application.principal_id,
        is_enabled: application.is_enabled,
        roles: application.roles.set_last().iter().cloned().collect(),
        policies: application.policies.set_last().clone(),
        assignments: application.assignments.set_last().clone(),
        credentials: secrets.chain(certificates).chain(federations).collect(),
    }
}

fn mailbox_view(mailbox: &Mailbox) -> MailboxView {
    MailboxView {
        address: mailbox.address.clone(),
        display_name: mailbox.display_name.clone(),
        aliases: mailbox.addresses.iter().skip(1).cloned().collect(),
        user_id: mailbox.guid,
        kind: mailbox.kind,
        status: mailbox.status,
    }
}
