//! Examines integrations and mailboxes step by step and names what is wrong.
//!
//! Called by the command and by the page. It asks what the daily work asks, once and in
//! the order in which one thing rests on another, with a client of its own, one request
//! at a time. Rules kept: permissions are decided by trying, what it makes in a mailbox it
//! removes, and the first *no* is the cause of those after it.

use jiff::SignedDuration;
use postroom_graph::{
    Answer, Cloud, Failure, Graph, GraphError, GraphErrorKind, Mailbox as Lane, NewSubscription, Obstacle,
    ProofError, TokenError, TokenFacts,
};
use postroom_model::{
    EmailAddress, IntegrationId, MailboxId, Timestamp,
    credential::CredentialKind,
    doctor::{Cause, Check, Finding, cause_of_aadsts, endpoint_fault, is_guid},
};
use postroom_store::{
    DbError,
    credentials::Credential,
    folders,
    integrations::{self, Integration},
    leases,
    mailboxes::{self, Mailbox},
    messages, subscriptions,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use crate::{Engine, credentials::ChangeError, in_full, subscribe};

/// The subject of the message that the doctor makes to see it announced. A draft that bears it is
/// ours: nobody but the owner of a mailbox can make a draft in it.
pub const PROBE_SUBJECT: &str = "Postroom doctor: please leave alone, it is removed at once";
/// An announcement takes at most three minutes
/// (<https://learn.microsoft.com/en-us/graph/change-notifications-overview#latency>).
const ANNOUNCED_WITHIN: SignedDuration = SignedDuration::from_mins(3);
/// A mailbox activated so short a time ago may not have its subscription yet, which takes so long at most.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
const SUBSCRIBED_WITHIN: SignedDuration = SignedDuration::from_secs(20);
const LOOK_EVERY: SignedDuration = SignedDuration::from_millis(500);
/// Assertions and tokens carry times; Entra ID allows five minutes of difference.
const CLOCKS_MAY_DIFFER: SignedDuration = SignedDuration::from_mins(5);
/// How long the subscription lives with which the handshake is tried; Graph raises less to this.
const HANDSHAKE_LIFE: SignedDuration = SignedDuration::from_mins(45);
/// What is sealed, stored and read again; large enough to go where large mails go.
const STORAGE_TRIED: usize = 64 * 1024;
pub(crate) const CLOUDS: [Cloud; 4] = [Cloud::Global, Cloud::UsGov, Cloud::Dod, Cloud::China];

/// What is examined beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these mailboxes; all of the integration's if empty.
    pub only: Vec<String>,
    /// Mailboxes that the application must not reach, beside those that the organisation file names.
    pub scope_probe: Vec<String>,
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
        tell: Tell<'_>,
    ) -> Result<Option<Known>, ChangeError> {
        let all = integrations::list(self.store()).await?;
        let Some(integration) = all.into_iter().find(|one| one.id == id) else { return Ok(None) };
        let mut mailboxes = mailboxes::list(&self.store().db).await?;
        mailboxes.retain(|mailbox| mailbox.integration == id && chosen(mailbox));
        self.examine(&integration, &mailboxes, &Options::default(), tell).await.map(Some)
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
                let examined = Examined { engine: self, graph: &graph, mailbox, is_served, is_public };
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
        let client = self.trial_client(Integration { credentials: Vec::new(), ..integration.clone() })?;
        let finding = match asked.parse() {
            Err(_) => Finding::no(Check::PublicUrl, Cause::PublicStranger),
            Ok(uri) => match client.ask_own_address(uri).await {
                Ok(answer) if answer.status().is_success() && answer.body() == word.as_bytes() => {
                    Finding::yes(Check::PublicUrl)
                }
                Ok(answer) => Finding::no(Check::PublicUrl, Cause::PublicStranger)
                    .answered(format!("HTTP status {}", answer.status().as_u16())),
                Err(_) if !is_served => Finding::cant_tell(Check::PublicUrl, Cause::ServerNotRunning),
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
                    Finding::no(Check::PublicUrl, cause).answered(in_full(&failure))
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
                tell(Finding::cant_tell(Check::UserRead, Cause::SignInNeeded).with_detail(roles));
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
            return Finding::cant_tell(Check::Clock, Cause::EntraStranger);
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

/// One mailbox under examination.
struct Examined<'e> {
    engine: &'e Engine,
    graph: &'e Signed,
    mailbox: &'e Mailbox,
    is_served: bool,
    is_public: bool,
}

impl Examined<'_> {
    async fn run(&self, tell: Tell<'_>) -> Result<(), DbError> {
        let lane = self.graph.client.mailbox(&self.mailbox.address);
        // The Inbox is in every mailbox: whether it is found says whether there is one.
        if let Err(error) = lane.folder("inbox").await {
            tell(self.refused(Check::Mailbox, &error));
            return Ok(());
        }
        tell(Finding::yes(Check::Mailbox));
        let mut watched = None;
        for folder in folders::list_of_mailbox(&self.engine.store().db, self.mailbox.id).await? {
            match lane.find_folder(&folder.name).await {
                Ok(Some(id)) => {
                    tell(Finding::yes(Check::Folder).about(&folder.name));
                    watched.get_or_insert(id);
                }
                Ok(None) => tell(Finding::no(Check::Folder, Cause::FolderMissing).about(&folder.name)),
                Err(error) => tell(self.refused(Check::Folder, &error).about(&folder.name)),
            }
        }
        let Some(folder) = watched else { return Ok(()) };
        match lane.try_reading(&folder).await {
            Ok(()) => tell(Finding::yes(Check::Read)),
            Err(error) if error.kind() == GraphErrorKind::OutOfScope => {
                tell(Finding::no(Check::Read, Cause::ContentMissing).answered(said(&error)));
                return Ok(());
            }
            Err(error) => {
                tell(self.refused(Check::Read, &error));
                return Ok(());
            }
        }
        tell(self.kind(&lane).await);
        // A refusal parks the lane; the next question is asked all the same.
        lane.end_rest();
        self.wait_for_subscription().await?;
        let is_shaken = self.handshake(&folder, tell).await?;
        self.probe(&lane, &folder, is_shaken, tell).await?;
        let send = Finding::cant_tell(Check::Send, Cause::NotTried);
        tell(send.with_detail(if self.has_role("Mail.Send") { "Mail.Send" } else { "" }));
        Ok(())
    }

    /// A mailbox that was activated a moment ago gets its subscription about now; before that nothing is
    /// announced.
    async fn wait_for_subscription(&self) -> Result<(), DbError> {
        let (engine, db) = (self.engine, &self.engine.store().db);
        let begun = engine.now();
        let is_fresh = self.mailbox.activated_at.is_none_or(|at| begun.duration_since(at) < FRESH);
        if !self.is_served || self.mailbox.paused_at.is_some() || !is_fresh {
            return Ok(());
        }
        while engine.now().duration_since(begun) < SUBSCRIBED_WITHIN {
            for folder in folders::list_of_mailbox(db, self.mailbox.id).await? {
                let all = subscriptions::list_of_folder(db, folder.id).await?;
                if subscribe::stands(all.first(), engine.now()) {
                    return Ok(());
                }
            }
            engine.sleep_until(engine.now() + LOOK_EVERY).await;
        }
        Ok(())
    }

    fn has_role(&self, role: &str) -> bool {
        self.graph.facts.roles.iter().any(|own| own == role)
    }

    async fn kind(&self, lane: &Lane) -> Finding {
        match lane.settings().await {
            Ok(settings) => Finding::yes(Check::Kind).with_detail(settings.user_purpose.unwrap_or_default()),
            Err(error) if error.kind() == GraphErrorKind::OutOfScope => {
                Finding::cant_tell(Check::Kind, Cause::PermissionNotNeeded).answered(said(&error))
            }
            Err(error) => self.refused(Check::Kind, &error),
        }
    }

    /// Microsoft's own handshake: seen in the subscription that stands, or by one that is made and removed.
    async fn handshake(&self, folder: &str, tell: Tell<'_>) -> Result<bool, DbError> {
        let db = &self.engine.store().db;
        for own in folders::list_of_mailbox(db, self.mailbox.id).await? {
            let all = subscriptions::list_of_folder(db, own.id).await?;
            if let Some(newest) = all.first()
                && newest.public_url == self.engine.subscribed_url()
                && subscribe::stands(Some(newest), self.engine.now())
            {
                let until = newest.expires_at.map(|at| at.to_string()).unwrap_or_default();
                tell(Finding::yes(Check::Handshake).with_detail(until));
                return Ok(true);
            }
        }
        if !self.is_public {
            tell(Finding::cant_tell(Check::Handshake, Cause::NeedsEarlier));
            return Ok(false);
        }
        let path = format!("{}/hooks/graph/doctor", self.engine.subscribed_url());
        let new = NewSubscription {
            resource: format!("users/{}/mailFolders('{folder}')/messages", self.mailbox.address),
            // Another kind of change than the server's own subscription: Graph takes no two alike.
            change_type: "deleted".to_owned(),
            lifecycle_url: format!("{path}/lifecycle"),
            notification_url: path,
            client_state: SecretString::from(self.engine.entropy().uuid(self.engine.now()).to_string()),
            expires: self.engine.now() + HANDSHAKE_LIFE,
        };
        let finding = match self.graph.client.create_subscription(&new).await {
            Ok(made) => match self.graph.client.delete_subscription(&made.id).await {
                Ok(()) => Finding::yes(Check::Handshake),
                // It ends by itself before the hour is over.
                Err(error) => Finding::yes(Check::Handshake).answered(said(&error)),
            },
            Err(error) => match error.answer().map(handshake_cause) {
                Some(cause) => Finding::no(Check::Handshake, cause).answered(said(&error)),
                None => self.refused(Check::Handshake, &error),
            },
        };
        let is_shaken = finding.cause.is_none();
        tell(finding);
        Ok(is_shaken)
    }

    /// Makes a draft in the watched folder, has it announced, marks it read and removes it.
    async fn probe(&self, lane: &Lane, folder: &str, is_shaken: bool, tell: Tell<'_>) -> Result<(), DbError> {
        let made = match lane.make_probe(folder, PROBE_SUBJECT).await {
            Ok(made) => made,
            Err(error) if error.kind() == GraphErrorKind::OutOfScope => {
                tell(Finding::no(Check::MarkRead, Cause::WriteMissing).answered(said(&error)));
                return Ok(());
            }
            Err(error) => {
                tell(self.refused(Check::MarkRead, &error));
                return Ok(());
            }
        };
        tell(match made.address() {
            Some(own) if own.eq_ignore_ascii_case(&self.mailbox.address) => Finding::yes(Check::Address),
            Some(own) => Finding::no(Check::Address, Cause::AddressDiffers).about(own),
            None => Finding::cant_tell(Check::Address, Cause::PermissionNotNeeded),
        });
        tell(match lane.mark_read(&made.id).await {
            Ok(()) => Finding::yes(Check::MarkRead),
            Err(error) => self.refused(Check::MarkRead, &error),
        });
        tell(if !self.is_served {
            Finding::cant_tell(Check::Notification, Cause::ServerNotRunning)
        } else if self.mailbox.paused_at.is_some() {
            Finding::cant_tell(Check::Notification, Cause::NotActive)
        } else if !is_shaken {
            Finding::cant_tell(Check::Notification, Cause::NeedsEarlier)
        } else {
            self.announced(self.mailbox.id, &made.id).await?
        });
        if let Err(error) = lane.delete(&made.id).await
            && error.kind() != GraphErrorKind::Gone
        {
            tracing::warn!(error = %error, "The doctor's message could not be removed; remove it by hand");
        }
        Ok(())
    }

    /// Waits until the server has heard of a message by its announcement.
    async fn announced(&self, mailbox: MailboxId, graph_id: &str) -> Result<Finding, DbError> {
        let begun = self.engine.now();
        loop {
            let known = messages::list_known(&self.engine.store().db, mailbox, &[graph_id]).await?;
            let waited = self.engine.now().duration_since(begun);
            if known.get(graph_id).copied().unwrap_or_default() {
                let finding = Finding::yes(Check::Notification);
                return Ok(finding.with_detail(format!("{:.1} s", waited.as_secs_f64())));
            }
            if self.engine.tasks().stopping().is_cancelled() {
                return Ok(Finding::cant_tell(Check::Notification, Cause::ServerNotRunning));
            }
            if waited > ANNOUNCED_WITHIN {
                return Ok(Finding::no(Check::Notification, Cause::NotAnnounced));
            }
            self.engine.sleep_until(self.engine.now() + LOOK_EVERY).await;
        }
    }

    /// What an error of Graph means here.
    fn refused(&self, check: Check, error: &GraphError) -> Finding {
        let cause = match error {
            GraphError::Outage(failure) | GraphError::Unknown(failure) => cause_of_failure(failure),
            GraphError::OutOfScope(answer) | GraphError::Refused(answer) => cause_of_refusal(answer),
            GraphError::MailboxMissing(answer) => cause_of_missing(answer),
            GraphError::Unauthorized(_) => Cause::GraphRejects,
            GraphError::Gone(_) => Cause::MailboxUnknown,
            GraphError::Throttled { .. } | GraphError::Parked(_) => Cause::Throttled,
            GraphError::Token(_) => Cause::NeedsEarlier,
            GraphError::ItemBroken(_)
            | GraphError::SyncStateLost(_)
            | GraphError::TrackElsewhere { .. }
            | GraphError::Malformed { .. } => Cause::GraphTrouble,
        };
        let finding = match cause {
            Cause::Throttled | Cause::GraphTrouble | Cause::NeedsEarlier => Finding::cant_tell(check, cause),
            _ => Finding::no(check, cause),
        };
        finding.answered(said(error))
    }
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

fn said(error: &GraphError) -> String {
    match error.answer() {
        Some(answer) => answer.to_string(),
        None => in_full(error),
    }
}

fn cause_of_token_error(credential: &Credential, error: &TokenError, now: Timestamp) -> Cause {
    let has_ended = credential.expires_at.is_some_and(|at| at <= now);
    match error {
        TokenError::Refused { aadsts, .. } => {
            let is_secret = credential.proof.kind == CredentialKind::Secret;
            let looks_like_id = is_secret && is_guid(credential.proof.text.expose_secret().trim());
            match cause_of_aadsts(*aadsts, looks_like_id) {
                Cause::CertificateUnknown if has_ended => Cause::CertificateExpired,
                Cause::AssertionInvalid if credential.proof.kind == CredentialKind::FederatedTokenFile => {
                    Cause::FederationUnknown
                }
                cause => cause,
            }
        }
        TokenError::Unusable { reason, .. } => match reason {
            ProofError::File { .. } | ProofError::EmptyFile { .. } => Cause::TokenFile,
            _ => Cause::AssertionInvalid,
        },
        TokenError::NoCredential | TokenError::UnknownCredential { .. } => Cause::CredentialMissing,
        TokenError::Unavailable { .. } => Cause::EntraTrouble,
        TokenError::Unanswered(_) => Cause::EntraSilent,
        TokenError::Malformed { .. } => Cause::EntraStranger,
    }
}

fn cause_of_failure(failure: &Failure) -> Cause {
    match failure {
        Failure::Answered(answer) if answer.code.as_deref().is_some_and(is_quota) => Cause::MailboxFull,
        Failure::Answered(_) => Cause::GraphTrouble,
        Failure::TimedOut { .. } | Failure::Silent { .. } | Failure::Transport(_) => by_obstacle(
            failure,
            [Cause::GraphName, Cause::GraphRefused, Cause::GraphCertificate, Cause::GraphSilent],
        ),
    }
}

fn is_quota(code: &str) -> bool {
    code.eq_ignore_ascii_case("ErrorQuotaExceeded")
}

/// <https://learn.microsoft.com/en-us/exchange/permissions-exo/application-access-policies>: the code
/// is that of any refusal, only the text names the policy; a subscription has a code of its own for it.
fn cause_of_refusal(answer: &Answer) -> Cause {
    let is_policy = answer.message.contains("RAOP")
        || answer.code.as_deref().is_some_and(|code| code.eq_ignore_ascii_case("ExtensionError"));
    if answer.status == 403 && is_policy { Cause::PolicyBlocks } else { Cause::ReadMissing }
}

/// <https://learn.microsoft.com/en-us/graph/errors>: an address that nobody has, or one without a mailbox
/// in Exchange Online.
fn cause_of_missing(answer: &Answer) -> Cause {
    let code = answer.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    match code.as_str() {
        "mailboxnotenabledforrestapi"
        | "mailboxnotsupportedforrestapi"
        | "mailboxnothostedinexchangeonline" => Cause::MailboxUnlicensed,
        _ => Cause::MailboxUnknown,
    }
}

fn handshake_cause(answer: &Answer) -> Cause {
    let is_validation = answer.message.to_ascii_lowercase().contains("validation");
    match answer.status {
        400 if is_validation => Cause::HandshakeFailed,
        403 => cause_of_refusal(answer),
        _ => Cause::SubscriptionRefused,
    }
}

/// The cause by what stood in the way: name, refusal, certificate, anything else.
fn by_obstacle(failure: &Failure, [name, refused, certificate, silent]: [Cause; 4]) -> Cause {
    let Failure::Transport(error) = failure else { return silent };
    match error.obstacle() {
        Obstacle::Name => name,
        Obstacle::Refused => refused,
        Obstacle::Certificate => certificate,
        Obstacle::Insecure | Obstacle::Other => silent,
    }
}

/// What keeps Microsoft from calling an address, before anybody is asked.
/// <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>
fn public_fault(url: &Url, may_be_private: bool) -> Option<Cause> {
    if may_be_private {
        return None;
    }
    if url.scheme() != "https" {
        return Some(Cause::PublicInsecure);
    }
    is_private(url).then_some(Cause::PublicPrivate)
}

/// Whether an address has no meaning in the internet.
fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        Some(Host::Ipv6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            !name.contains('.')
                || [".local", ".internal", ".lan", ".localhost", ".home.arpa"]
                    .iter()
                    .any(|end| name.ends_with(end))
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_microsoft_can_not_call_is_named() {
        let fault = |url: &str| public_fault(&url.parse().unwrap(), false);
        for (url, expected) in [
            ("https://mail.contoso.com/", None),
            ("https://203.0.113.7:8443/", None),
            ("http://mail.contoso.com/", Some(Cause::PublicInsecure)),
            ("https://localhost/", Some(Cause::PublicPrivate)),
            ("https://10.1.2.3/", Some(Cause::PublicPrivate)),
            ("https://[fd00::1]/", Some(Cause::PublicPrivate)),
            ("https://postroom/", Some(Cause::PublicPrivate)),
            ("https://postroom.corp.internal/", Some(Cause::PublicPrivate)),
        ] {
            assert_eq!(fault(url), expected, "{url}");
        }
    }
}
