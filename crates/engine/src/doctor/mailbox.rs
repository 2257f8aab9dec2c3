//! One mailbox under examination: whether it is there, can be read, announces, is marked and sends.
//!
//! Called by the examination of its integration, with a client that has a token. Rule kept: what is made in
//! the mailbox is removed again.

use jiff::SignedDuration;
use postroom_graph::{
    DraftContent, GraphErrorKind, Mailbox as Lane, Marker, NewSubscription, Recipient, Sought,
};
use postroom_model::{
    MailboxId,
    doctor::{Cause, Check, Finding},
};
use postroom_store::{DbError, Unit, folders, mailboxes::Mailbox, messages, settings, subscriptions};
use secrecy::SecretString;

use super::{
    Signed, Tell,
    causes::{handshake_cause, refused, said},
};
use crate::{Engine, subscribe};

/// The subject of the message that the doctor makes to see it announced. A draft that bears it is
/// ours: nobody but the owner of a mailbox can make a draft in it.
pub const PROBE_SUBJECT: &str = "Postroom doctor: please leave alone, it is removed at once";
/// How the subject begins of the mail that the doctor sends from a mailbox to itself. A word that only we know
/// follows, or everybody could have their mail left aside.
const SENT_SUBJECT: &str = "Postroom doctor, removed at once: ";
/// An announcement takes at most three minutes
/// (<https://learn.microsoft.com/en-us/graph/change-notifications-overview#latency>).
const ANNOUNCED_WITHIN: SignedDuration = SignedDuration::from_mins(3);
/// A mail to oneself stays in the tenant.
const ARRIVED_WITHIN: SignedDuration = SignedDuration::from_mins(3);
/// A mailbox activated so short a time ago may not have its subscription yet, which takes so long at most.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
const SUBSCRIBED_WITHIN: SignedDuration = SignedDuration::from_secs(20);
const LOOK_EVERY: SignedDuration = SignedDuration::from_millis(500);
/// How long the subscription lives with which the handshake is tried; Graph raises less to this.
const HANDSHAKE_LIFE: SignedDuration = SignedDuration::from_mins(45);

/// One mailbox under examination.
pub(super) struct Examined<'e> {
    pub(super) engine: &'e Engine,
    pub(super) graph: &'e Signed,
    pub(super) mailbox: &'e Mailbox,
    pub(super) is_served: bool,
    pub(super) is_public: bool,
    /// Whether a mail is sent to be seen to arrive.
    pub(super) is_sent: bool,
}

impl Examined<'_> {
    pub(super) async fn run(&self, tell: Tell<'_>) -> Result<(), DbError> {
        let lane = self.graph.client.mailbox(&self.mailbox.address);
        // The Inbox is in every mailbox: whether it is found says whether there is one.
        if let Err(error) = lane.folder("inbox").await {
            tell(refused(Check::Mailbox, &error));
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
                Err(error) => tell(refused(Check::Folder, &error).about(&folder.name)),
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
                tell(refused(Check::Read, &error));
                return Ok(());
            }
        }
        tell(self.kind(&lane).await);
        // A refusal parks the lane; the next question is asked all the same.
        lane.end_rest();
        self.wait_for_subscription().await?;
        let is_shaken = self.handshake(&folder, tell).await?;
        self.probe(&lane, &folder, is_shaken, tell).await?;
        if self.is_sent {
            tell(self.sent(&lane).await?);
        } else {
            let send = Finding::cant_tell(Check::Send, Cause::NotTried);
            tell(send.with_detail(if self.has_role("Mail.Send") { "Mail.Send" } else { "" }));
        }
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
            Err(error) => refused(Check::Kind, &error),
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
                None => refused(Check::Handshake, &error),
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
                tell(refused(Check::MarkRead, &error));
                return Ok(());
            }
        };
        tell(match made.address() {
            Some(own) if own.eq_ignore_ascii_case(&self.mailbox.address) => Finding::yes(Check::Address),
            Some(own) => Finding::no(Check::Address, Cause::AddressDiffers).about(own),
            None => Finding::cant_tell(Check::Address, Cause::AddressUntold),
        });
        tell(match lane.mark_read(&made.id).await {
            Ok(()) => Finding::yes(Check::MarkRead),
            Err(error) => refused(Check::MarkRead, &error),
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
        remove(lane, &made.id).await;
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

    /// Sends a mail from the mailbox to itself, waits until it is there, and removes all of it.
    async fn sent(&self, lane: &Lane) -> Result<Finding, DbError> {
        let (engine, address) = (self.engine, &self.mailbox.address);
        let word = engine.entropy().token();
        // Before it can arrive: who fetches it has to know it.
        let known = settings::set(&key_of(&word), address);
        engine.store().commit(Unit::new().with(known)).await?;
        let begun = engine.now();
        let draft = DraftContent {
            subject: format!("{SENT_SUBJECT}{word}"),
            html: String::new(),
            from: None,
            to: vec![Recipient { name: None, address: address.clone() }],
            cc: Vec::new(),
        };
        let marker = Marker::new(engine.entropy().token());
        let asked = match lane.create_draft(&draft, &marker).await {
            Ok(made) => lane.send_draft(&made.id).await,
            Err(error) => Err(error),
        };
        let mut finding = match asked {
            Ok(()) => None,
            Err(error) if error.kind() == GraphErrorKind::OutOfScope => {
                Some(Finding::no(Check::Send, Cause::SendMissing).answered(said(&error)))
            }
            Err(error) => Some(refused(Check::Send, &error)),
        };
        loop {
            let waited = engine.now().duration_since(begun);
            let found = lane.find_mails(Sought::Subject(&word)).await;
            let is_late = waited > ARRIVED_WITHIN || engine.tasks().stopping().is_cancelled();
            if finding.is_none() {
                // The copy that was sent, and the one that came.
                let copies = found.iter().flatten().filter(|mail| !mail.is_draft).count();
                let seconds = format!("{:.1} s", waited.as_secs_f64());
                finding = match copies {
                    2.. => Some(Finding::yes(Check::Send).with_detail(seconds)),
                    _ if is_late => Some(Finding::no(Check::Send, Cause::NotArrived)),
                    _ => None,
                };
            }
            if finding.is_some() {
                for mail in found.iter().flatten() {
                    remove(lane, &mail.id).await;
                }
                if is_late || found.is_ok_and(|found| found.is_empty()) {
                    break;
                }
            }
            engine.sleep_until(engine.now() + LOOK_EVERY).await;
        }
        let finding = finding.unwrap_or_else(|| Finding::no(Check::Send, Cause::NotArrived));
        // What may still arrive has to be known still.
        if finding.cause != Some(Cause::NotArrived) {
            engine.store().commit(Unit::new().with(settings::forget(&key_of(&word)))).await?;
        }
        Ok(finding)
    }
}

impl Engine {
    /// Whether a subject is that of a mail that the doctor sent.
    pub(crate) async fn is_sent_by_doctor(&self, subject: &str) -> Result<bool, DbError> {
        let Some(word) = subject.strip_prefix(SENT_SUBJECT) else { return Ok(false) };
        Ok(settings::find(&self.store().db, &key_of(word.trim())).await?.is_some())
    }
}

fn key_of(word: &str) -> String {
    format!("doctor.sent.{word}")
}

/// Removes a message of ours: what is deleted goes to Deleted Items, and from there for good.
async fn remove(lane: &Lane, id: &str) {
    for _ in 0..2 {
        match lane.delete(id).await {
            Ok(()) => {}
            Err(error) if error.kind() == GraphErrorKind::Gone => return,
            Err(error) => {
                tracing::warn!(error = %error, "The doctor's message could not be removed; remove it by hand");
                return;
            }
        }
    }
}
