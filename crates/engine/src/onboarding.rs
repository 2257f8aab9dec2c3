//! Connects a tenant as an administrator asks for it on the page: the integration once
//! Microsoft gave a token, its mailboxes paused until they are activated.
//!
//! Called by the page and the commands. Rule kept: the organisation is changed by the same
//! plan as by its file, and what the file does not name stays when it is applied.

use postroom_model::{
    EmailAddress, IntegrationId, Timestamp,
    credential::{CredentialOrigin, Proof},
    doctor::{Cause, Check, Finding, Verdict},
    onboarding::{self, Fault, Field, JoinFault, NewMailboxes, Pasted, Setup, field_of},
    organization::{
        self, Action, Integration, IntegrationKind, Kind, Limits, Organization, User, list_unnamed, plan,
    },
    user::Role,
};
use postroom_store::{
    DbError, Unit,
    credentials::{self, CredentialError, Preference},
    feed::Topic,
    integrations,
    mailboxes::{self, Mailbox},
    organization::{self as stored, WriteError},
};

use crate::{Engine, credentials::ChangeError, doctor::CLOUDS};

/// Somebody else may change the organisation between reading and writing it: so often is it tried anew.
const ATTEMPTS: u32 = 5;

/// The organisation could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum OnboardingError {
    /// It can't be read.
    #[error(transparent)]
    Read(#[from] CredentialError),
    /// It can't be written down.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The credential can't be tried or added.
    #[error(transparent)]
    Credential(#[from] ChangeError),
    /// The store failed.
    #[error("the organisation could not be written")]
    Store(#[from] DbError),
}

/// What came of connecting a tenant.
#[derive(Debug)]
pub enum Onboarded {
    /// It is connected.
    Yes(IntegrationId),
    /// Something is wrong with what was pasted.
    Faults(Vec<Fault>),
    /// Something is wrong that stands in no field.
    Trouble(Box<Finding>),
}

impl Engine {
    /// Connects a tenant of `cloud`: looks at what was pasted, asks Microsoft for a token, and stores it
    /// with its secret, which ends at `expires_at`, if that is so.
    ///
    /// # Errors
    /// When the organisation can't be read or written.
    pub async fn onboard(
        &self,
        pasted: &Pasted,
        cloud: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<Onboarded, OnboardingError> {
        let own = CLOUDS.into_iter().find(|one| one.as_str() == cloud).unwrap_or_default();
        let setup = match onboarding::check(pasted, own.login(), &CLOUDS.map(|cloud| cloud.login())) {
            Ok(setup) => setup,
            Err(faults) => return Ok(Onboarded::Faults(faults)),
        };
        let taken = Fault { field: Field::Name, cause: Cause::NameTaken };
        if self.is_taken(&setup).await? {
            return Ok(Onboarded::Faults(vec![taken]));
        }
        let secret = credentials::Credential {
            name: format!("secret-{}", self.now().strftime("%Y-%m-%d")),
            proof: Proof::secret(setup.secret.clone()),
            starts_at: None,
            expires_at,
            origin: CredentialOrigin::Command,
        };
        if let Some(trouble) = self.try_setup(&setup, own.as_str(), &secret).await? {
            return Ok(
                match trouble.cause.and_then(|cause| Some(Fault { field: field_of(cause)?, cause })) {
                    Some(fault) => Onboarded::Faults(vec![fault]),
                    None => Onboarded::Trouble(Box::new(trouble)),
                },
            );
        }
        let cloud = own.as_str();
        let made = self.change_organization(|present| with_integration(present, &setup, cloud)).await?;
        if made.is_err() {
            return Ok(Onboarded::Faults(vec![taken]));
        }
        let integration = self.find_integration(&setup.name).await?;
        self.add_credential(&integration, &secret.declared(), Preference::Last).await?;
        Ok(Onboarded::Yes(integration.id))
    }

    /// Whether the name belongs to another integration, or to one that signs in already.
    async fn is_taken(&self, setup: &Setup) -> Result<bool, OnboardingError> {
        let all = integrations::list_overviews(&self.store().db).await?;
        Ok(all.iter().any(|one| {
            // What was broken off before its secret was stored goes on.
            let is_begun = one.token_endpoint == setup.token_endpoint
                && one.client_id == setup.client_id
                && one.credentials.is_empty();
            one.name == setup.name && !is_begun
        }))
    }

    /// Asks Microsoft for a token. Gives what is wrong if there is none.
    async fn try_setup(
        &self,
        setup: &Setup,
        cloud: &str,
        secret: &credentials::Credential,
    ) -> Result<Option<Finding>, OnboardingError> {
        let integration = integrations::Integration {
            id: IntegrationId::from_uuid(self.entropy().uuid(self.now())),
            name: setup.name.clone(),
            token_endpoint: setup.token_endpoint.clone(),
            client_id: setup.client_id.clone(),
            cloud: cloud.to_owned(),
            graph_url: setup.graph_url.clone(),
            limits: Limits::default(),
            scope_probe: Vec::new(),
            user_read_at: None,
            credentials: vec![secret.clone()],
        };
        let mut findings = Vec::new();
        let signed = self.examine_integration(&integration, &mut |finding| findings.push(finding)).await?;
        if signed.is_some() {
            return Ok(None);
        }
        let is_no = |finding: &Finding| finding.verdict == Verdict::No;
        let place =
            findings.iter().position(is_no).or_else(|| findings.iter().position(|one| one.cause.is_some()));
        Ok(Some(match place {
            Some(place) => findings.swap_remove(place),
            None => Finding::cant_tell(Check::Credential, Cause::EntraTrouble),
        }))
    }

    /// Connects mailboxes, which nobody follows before they are activated.
    ///
    /// # Errors
    /// When the organisation can't be read or written.
    pub async fn join_mailboxes(&self, new: &NewMailboxes) -> Result<Result<(), JoinFault>, OnboardingError> {
        self.change_organization(|present| onboarding::join(present, new)).await
    }

    /// Has the mailboxes of an integration followed that wait for it. Gives how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activate(&self, integration: IntegrationId) -> Result<usize, DbError> {
        self.renew_token(integration);
        let mut waiting = mailboxes::list(&self.store().db).await?;
        waiting.retain(|mailbox| mailbox.integration == integration && mailbox.is_not_active_yet());
        let mut unit = Unit::new();
        unit.extend(waiting.iter().map(|mailbox: &Mailbox| mailboxes::record_resumed(mailbox.id)));
        unit.changed(self.now(), Topic::Organization, Kind::Mailbox);
        self.store().commit_guarded(unit).await?;
        Ok(waiting.len())
    }

    /// What the organisation file would say of an integration and its mailboxes.
    ///
    /// # Errors
    /// When the organisation can't be read.
    pub async fn declare(&self, integration: &str) -> Result<String, OnboardingError> {
        let present = stored::find(self.store()).await?;
        Ok(onboarding::declaration(&present.organization, integration))
    }

    /// Adds somebody who signs in, or changes their roles and name.
    ///
    /// # Errors
    /// When the organisation can't be read or written.
    pub async fn put_user(
        &self,
        email: &EmailAddress,
        name: &str,
        role: Role,
    ) -> Result<(), OnboardingError> {
        let put =
            |present: &Organization| Ok::<_, std::convert::Infallible>(with_user(present, email, name, role));
        let Ok(()) = self.change_organization(put).await?;
        Ok(())
    }

    /// Changes the organisation as `change` says. New mailboxes wait for their activation.
    async fn change_organization<E>(
        &self,
        change: impl Fn(&Organization) -> Result<Organization, E>,
    ) -> Result<Result<(), E>, OnboardingError> {
        let mut attempt = 1;
        loop {
            let present = stored::find(self.store()).await?;
            let desired = match change(&present.organization) {
                Ok(desired) => desired,
                Err(refused) => return Ok(Err(refused)),
            };
            debug_assert!(list_unnamed(&desired, &present.organization).is_empty(), "nothing is taken away");
            let plan = plan(&desired, &present.organization, &organization::Uses::new(), false);
            let now = self.now();
            let mut unit = stored::write(self.store(), &present, &plan, now)?;
            let made = plan.steps.iter().filter(|step| step.action == Action::Create);
            unit.extend(
                made.filter(|step| step.thing.kind == Kind::Mailbox)
                    .map(|step| mailboxes::record_not_active_yet(&step.thing.name, now)),
            );
            match self.store().commit(unit).await {
                Ok(_) => return Ok(Ok(())),
                Err(DbError::Lost | DbError::Unique { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The organisation with an integration that has no credential yet.
///
/// # Errors
/// When another has its name.
fn with_integration(present: &Organization, setup: &Setup, cloud: &str) -> Result<Organization, Cause> {
    let new = Integration {
        name: setup.name.clone(),
        kind: IntegrationKind::MicrosoftGraph,
        token_endpoint: setup.token_endpoint.clone(),
        client_id: setup.client_id.clone(),
        cloud: cloud.to_owned(),
        graph_url: setup.graph_url.clone(),
        limits: Limits::default(),
        scope_probe: Vec::new(),
        credentials: Vec::new(),
    };
    let mut organization = present.clone();
    match organization.integrations.iter().find(|known| known.name == new.name) {
        Some(known) if *known == new => {}
        Some(_) => return Err(Cause::NameTaken),
        None => organization.integrations.push(new),
    }
    Ok(organization)
}

/// How many mail conversations somebody may have at once who was added by hand.
const CAPACITY: u32 = 1;

fn with_user(present: &Organization, email: &EmailAddress, name: &str, role: Role) -> Organization {
    let mut organization = present.clone();
    if organization.name.is_empty() {
        // The first person gives a new store its name; the organisation file may give another.
        organization.name = email.domain().to_owned();
        organization.languages = vec!["en".to_owned()];
    }
    match organization.users.iter_mut().find(|user| user.email == *email) {
        Some(user) => {
            user.roles.insert(role);
        }
        None => organization.users.push(User {
            email: email.clone(),
            name: name.to_owned(),
            roles: [role].into(),
            skills: Default::default(),
            languages: Default::default(),
            capacity: CAPACITY,
        }),
    }
    organization
}
