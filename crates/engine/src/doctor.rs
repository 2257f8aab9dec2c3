//! Examines integrations and mailboxes step by step and names what is wrong.
//!
//! Called by the command and by the page. It asks what the daily work asks, once and in
//! the order in which one thing rests on another, with a client of its own, one request
//! at a time. Rules kept: permissions are decided by trying, what it makes in a mailbox it
//! removes, and the first *no* is the cause of those after it.

mod causes;
mod mailbox;

use std::sync::Arc;

use jiff::SignedDuration;
use postroom_graph::{Cloud, Graph, GraphErrorKind, TokenError, TokenFacts};
use postroom_model::{
    EmailAddress, IntegrationId,
    doctor::{Cause, Check, Finding, endpoint_fault},
};
use postroom_store::{
    credentials::Credential,
    integrations::{self, Integration},
    leases,
    mailboxes::{self, Mailbox},
};
use url::Url;

use self::{
    causes::{by_obstacle, cause_of_token_error, is_private, public_fault, said},
    mailbox::Examined,
};
use crate::{Engine, credentials::ChangeError, in_full};

pub use self::mailbox::PROBE_SUBJECT;

/// Assertions and tokens carry times; Entra ID allows five minutes of difference.
const CLOCKS_MAY_DIFFER: SignedDuration = SignedDuration::from_mins(5);
/// What is sealed, stored and read again; large enough to go where large mails go.
const STORAGE_TRIED: usize = 64 * 1024;
/// Below this much, or this share of the whole, a disk is nearly full.
const LEAST_FREE: u64 = 1024 * 1024 * 1024;
const LEAST_SHARE: f64 = 0.05;
pub(crate) const CLOUDS: [Cloud; 4] = [Cloud::Global, Cloud::UsGov, Cloud::Dod, Cloud::China];

/// The room on a disk that the store uses, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// What lies there.
    pub place: String,
    /// How much is free.
    pub free: u64,
    /// How much there is.
    pub total: u64,
}

/// Looks how much room is left where the store lies; an error names what could not be looked at.
pub type LookAtSpace = Arc<dyn Fn() -> Vec<Result<Space, String>> + Send + Sync>;

/// What is examined beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these mailboxes; all of the integration's if empty.
    pub only: Vec<String>,
    /// Mailboxes that the application must not reach, beside those that the organisation file names.
    pub scope_probe: Vec<String>,
    /// A mail is sent from each mailbox to itself, seen to arrive, and removed.
    pub send_probe: bool,
}

/// What is known of the application once it has a token.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The service principal's object id, which Exchange asks for.
    pub object_id: Option<String>,
}

/// Hears each finding as soon as it is there.
pub type Tell<'t> = &'t mut (dyn FnMut(Finding) + Send);

impl Engine {
    /// Examines the integration of this id and those of its mailboxes that `chosen` wants. Nothing if there
    /// is no such integration.
    ///
    /// # Errors
    /// When the store can't be read, or the integration is set so that no client can be made.
    pub async fn examine_by_id(
        &self,
        id: IntegrationId,
        chosen: impl Fn(&Mailbox) -> bool,
        options: &Options,
        tell: Tell<'_>,
    ) -> Result<Option<Known>, ChangeError> {
        let all = integrations::list(self.store()).await?;
        let Some(integration) = all.into_iter().find(|one| one.id == id) else { return Ok(None) };
        let mut mailboxes = mailboxes::list(&self.store().db).await?;
        mailboxes.retain(|mailbox| mailbox.integration == id && chosen(mailbox));
        self.examine(&integration, &mailboxes, options, tell).await.map(Some)
    }

    /// Examines an integration and its mailboxes.
    ///
    /// # Errors
    /// When the store can't be read, or the integration is set so that no client can be made.
    pub async fn examine(
        &self,
        integration: &Integration,
        mailboxes: &[Mailbox],
        options: &Options,
        tell: Tell<'_>,
    ) -> Result<Known, ChangeError> {
        self.examine_storage(tell).await;
        self.examine_space(tell);
        let is_served = leases::has_living_node(&self.store().db, self.now()).await?;
        let is_public = self.examine_public_url(integration, is_served, tell).await?;
        let Some(graph) = self.examine_integration(integration, tell).await? else {
            return Ok(Known::default());
        };
        let named = integration.scope_probe.iter().map(EmailAddress::as_str);
        for address in named.chain(options.scope_probe.iter().map(String::as_str)) {
            tell(scope(&graph.client, address).await);
        }
        for mailbox in mailboxes {
            let is_asked = options.only.is_empty()
                || options.only.iter().any(|only| only.eq_ignore_ascii_case(&mailbox.address));
            if is_asked && mailbox.integration == integration.id {
                let is_sent = options.send_probe;
                let examined =
                    Examined { engine: self, graph: &graph, mailbox, is_served, is_public, is_sent };
                examined.run(&mut |finding| tell(finding.of_mailbox(&mailbox.address))).await?;
            }
        }
        Ok(Known { object_id: graph.facts.oid.clone() })
    }

    /// Seals, stores, reads and removes something.
    async fn examine_storage(&self, tell: Tell<'_>) {
        let store = self.store();
        let tried = async {
            let bytes = vec![0; STORAGE_TRIED];
            let mut writer = store.write_content("doctor", self.now())?;
            writer.write(&bytes).await?;
            let written = writer.finish().await?;
            let opened = store.open_content("doctor", &written.content).await?;
            store.forget_content(&written.content).await?;
            Ok::<_, postroom_store::content::ContentError>(opened == bytes)
        };
        tell(match tried.await {
            Ok(true) => Finding::yes(Check::Storage),
            Ok(false) => Finding::no(Check::Storage, Cause::StorageFails),
            Err(error) => Finding::no(Check::Storage, Cause::StorageFails).answered(in_full(&error)),
        });
    }

    /// Whether there is room where the store lies.
    fn examine_space(&self, tell: Tell<'_>) {
        let Some(look) = &self.0.parts.look_at_space else { return };
        for looked in look() {
            tell(match looked {
                Ok(space) => {
                    let share = space.free as f64 / space.total.max(1) as f64;
                    let is_low = space.free < LEAST_FREE || share < LEAST_SHARE;
                    let finding = match is_low {
                        true => Finding::no(Check::Space, Cause::SpaceLow),
                        false => Finding::yes(Check::Space),
                    };
                    let gib = space.free as f64 / f64::from(1 << 30);
                    finding.about(&space.place).with_detail(format!("{gib:.1} GiB, {:.0} %", share * 100.0))
                }
                Err(error) => Finding::cant_tell(Check::Space, Cause::SpaceUntold).answered(error),
            });
        }
    }

    /// Whether our address is one that Microsoft can call, and this server answers there.
    async fn examine_public_url(
        &self,
        integration: &Integration,
        is_served: bool,
        tell: Tell<'_>,
    ) -> Result<bool, ChangeError> {
        let url = self.subscribed_url();
        // A simulator on this machine may call this machine; Microsoft may not.
        let inside = integration.graph_url.as_deref().and_then(|url| Url::parse(url).ok());
        let may_be_private = inside.is_some_and(|url| is_private(&url));
        if let Some(cause) = public_fault(self.public_url(), may_be_private) {
            tell(Finding::no(Check::PublicUrl, cause).about(url));
            return Ok(false);
        }
        let word = self.entropy().uuid(self.now()).to_string();
        let asked = format!("{url}/hooks/graph/doctor?validationToken={word}");
        let client = self.outside_client(integration, may_be_private)?;
        let finding = match asked.parse() {
            Err(_) => Finding::no(Check::PublicUrl, Cause::PublicStranger),
            Ok(uri) => match client.ask_own_address(uri).await {
                Ok(answer) if answer.status().is_success() && answer.body() == word.as_bytes() => {
                    Finding::yes(Check::PublicUrl)
                }
                Ok(answer) => Finding::no(Check::PublicUrl, Cause::PublicStranger)
                    .answered(format!("HTTP status {}", answer.status().as_u16())),
                Err(failure) => {
                    let cause = by_obstacle(
                        &failure,
                        [
                            Cause::PublicName,
                            Cause::PublicRefused,
                            Cause::PublicCertificate,
                            Cause::PublicSilent,
                        ],
                    );
                    match cause {
                        // A wrong name and a wrong certificate are wrong whoever runs.
                        Cause::PublicRefused | Cause::PublicSilent if !is_served => {
                            Finding::cant_tell(Check::PublicUrl, Cause::ServerNotRunning)
                        }
                        cause => Finding::no(Check::PublicUrl, cause).answered(in_full(&failure)),
                    }
                }
            },
        };
        let is_well = finding.cause.is_none();
        tell(finding.about(url));
        Ok(is_well)
    }

    /// Token endpoint, credentials, clock, consent. Gives a client if there is a token for it.
    pub(crate) async fn examine_integration(
        &self,
        integration: &Integration,
        tell: Tell<'_>,
    ) -> Result<Option<Signed>, ChangeError> {
        let cloud: Cloud = integration.cloud.parse().unwrap_or_default();
        let logins = CLOUDS.map(Cloud::login);
        if let Some(cause) = endpoint_fault(&integration.token_endpoint, cloud.login(), &logins) {
            tell(Finding::no(Check::TokenEndpoint, cause).about(&integration.token_endpoint));
            return Ok(None);
        }
        tell(Finding::yes(Check::TokenEndpoint).about(&integration.token_endpoint));
        if integration.credentials.is_empty() {
            tell(Finding::no(Check::Credential, Cause::CredentialMissing));
            return Ok(None);
        }
        let mut signed = None;
        let mut is_reached = false;
        for credential in &integration.credentials {
            let alone = Integration { credentials: vec![credential.clone()], ..integration.clone() };
            let client = match self.trial_client(alone) {
                Ok(client) => client,
                Err(error) => {
                    let finding = Finding::no(Check::Credential, Cause::AssertionInvalid);
                    tell(finding.about(&credential.name).answered(in_full(&error)));
                    continue;
                }
            };
            let asked = client.examine_credential(&credential.name).await;
            if let Err(TokenError::Unanswered(failure)) = &asked {
                let cause = by_obstacle(
                    failure,
                    [Cause::EntraName, Cause::EntraRefused, Cause::EntraCertificate, Cause::EntraSilent],
                );
                tell(Finding::no(Check::EntraReached, cause).answered(in_full(failure.as_ref())));
                return Ok(None);
            }
            if !is_reached && !matches!(asked, Err(TokenError::Unusable { .. })) {
                is_reached = true;
                tell(match &asked {
                    Err(TokenError::Malformed { status }) => {
                        Finding::no(Check::EntraReached, Cause::EntraStranger)
                            .answered(format!("HTTP status {status}"))
                    }
                    Err(TokenError::Unavailable { status }) => {
                        Finding::cant_tell(Check::EntraReached, Cause::EntraTrouble)
                            .answered(format!("HTTP status {status}"))
                    }
                    _ => Finding::yes(Check::EntraReached),
                });
            }
            tell(self.about_credential(credential, &asked));
            if let Ok(facts) = asked {
                signed.get_or_insert(Signed { client, facts });
            }
        }
        match &signed {
            Some(signed) => {
                tell(self.about_clock(&signed.facts));
                let roles = signed.facts.roles.join(", ");
                tell(match integration.user_read_at {
                    Some(at) => Finding::yes(Check::UserRead).with_detail(format!("{roles}; {at:.0}")),
                    None => Finding::cant_tell(Check::UserRead, Cause::SignInNeeded).with_detail(roles),
                });
            }
            None => tell(Finding::cant_tell(Check::Mailbox, Cause::NeedsEarlier)),
        }
        Ok(signed)
    }

    fn about_credential(&self, credential: &Credential, asked: &Result<TokenFacts, TokenError>) -> Finding {
        let now = self.now();
        let ends = credential.expires_at.map(|at| at.to_string());
        let finding = match asked {
            Ok(_) => Finding::yes(Check::Credential),
            Err(error) => {
                let cause = cause_of_token_error(credential, error, now);
                let said = match error {
                    TokenError::Refused { said, aadsts, error, .. } if said.is_empty() => {
                        format!("{error}, AADSTS{aadsts}")
                    }
                    TokenError::Refused { said, .. } => said.clone(),
                    other => in_full(other),
                };
                match cause {
                    Cause::EntraTrouble | Cause::TokenLoop => Finding::cant_tell(Check::Credential, cause),
                    _ => Finding::no(Check::Credential, cause),
                }
                .answered(said)
            }
        };
        let finding = finding.about(&credential.name);
        match ends {
            Some(ends) => finding.with_detail(ends),
            None => finding,
        }
    }

    fn about_clock(&self, facts: &TokenFacts) -> Finding {
        let Some(theirs) = facts.server_time else {
            return Finding::cant_tell(Check::Clock, Cause::ClockUntold);
        };
        let differs = self.now().duration_since(theirs);
        let finding = if differs.abs() > CLOCKS_MAY_DIFFER {
            Finding::no(Check::Clock, Cause::ClockWrong)
        } else {
            Finding::yes(Check::Clock)
        };
        finding.with_detail(format!("{:+} s", differs.as_secs()))
    }
}

/// A client that has a token, and what came with it.
pub(crate) struct Signed {
    client: Graph,
    facts: TokenFacts,
}

/// Whether a mailbox that must be refused is.
async fn scope(client: &Graph, address: &str) -> Finding {
    let finding = match client.mailbox(address).folder("inbox").await {
        Ok(_) => Finding::no(Check::Scope, Cause::ScopeOpen),
        Err(error) => match error.kind() {
            GraphErrorKind::OutOfScope => Finding::yes(Check::Scope),
            GraphErrorKind::MailboxMissing | GraphErrorKind::Gone => {
                Finding::no(Check::Scope, Cause::ScopeUnknown)
            }
            _ => Finding::cant_tell(Check::Scope, Cause::GraphTrouble),
        }
        .answered(said(&error)),
    };
    finding.about(address)
}
