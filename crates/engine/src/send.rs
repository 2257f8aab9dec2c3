//! Brings an outbox entry on its way: reply draft with our marker, content, send.
//!
//! Carried out by the `send` job. Keeps *a mail leaves at most once* (design
//! invariant 8): each request is preceded by the commit that says it is about to
//! be made, and after anything whose outcome is not known the marker is looked up
//! in Drafts, Outbox and Sent Items before `model::outbox` decides how to go on.

use std::time::Duration;

use jiff::SignedDuration;
use postroom_graph::{DraftContent, GraphErrorKind, Mailbox as Lane, Marker, Recipient, WellKnown};
use postroom_mail::{Quoted, reply_html, reply_subject};
use postroom_model::{
    MailboxId, OutgoingId,
    ledger::{Reason, Step},
    outbox::{MarkerSeen, Recovery, SendState, recover},
};
use postroom_store::{
    Unit,
    content::{ContentError, outgoing_context},
    conversations::{self, Conversation},
    feed::Topic,
    mailboxes,
    mailboxes::Mailbox,
    messages,
    messages::Message,
    outgoing::{self, Outgoing},
    seal, trace,
};
use serde_json::json;

use crate::{
    Engine,
    jobs::{JobError, Work},
};

/// Sent Items lags behind the answer by seconds; after this many looks nobody can know.
const LOOKS: u32 = 8;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long after sending the sent copy is looked at.
const CONFIRM_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Everything one try needs.
struct Letter {
    entry: Outgoing,
    original: Message,
    conversation: Conversation,
    mailbox: Mailbox,
    lane: Lane,
    marker: Marker,
}

/// What looking for the marker found.
struct Found {
    seen: MarkerSeen,
    id: Option<String>,
    internet_message_id: Option<String>,
}

impl Engine {
    pub(crate) async fn send(&self, mailbox: MailboxId, id: OutgoingId) -> Result<Unit, JobError> {
        let Some(letter) = self.letter(mailbox, id).await? else { return Ok(Unit::new()) };
        let state = letter.entry.state;
        if state.is_final() {
            return Ok(Unit::new());
        }
        match (state, &letter.entry.draft_id) {
            (SendState::Queued, _) => {
                let started = outgoing::record_state(id, SendState::Queued, SendState::Drafting);
                self.store().commit(Unit::new().with(started)).await?;
                self.draft_and_send(&letter).await
            }
            (SendState::Drafted, Some(draft)) => self.finish(&letter, draft).await,
            _ => self.recover(&letter).await,
        }
    }

    async fn letter(&self, mailbox: MailboxId, id: OutgoingId) -> Result<Option<Letter>, JobError> {
        let db = &self.store().db;
        let Some(entry) = outgoing::find(db, id).await? else { return Ok(None) };
        let Some(original) = messages::find(db, entry.reply_to).await? else { return Ok(None) };
        let Some(conversation) = conversations::find(db, entry.conversation).await? else { return Ok(None) };
        let Some(mailbox) = mailboxes::find(db, mailbox).await? else { return Err(JobError::NotConnected) };
        let lane = self.mailbox(&mailbox).await?;
        let marker = Marker::new(&entry.marker);
        Ok(Some(Letter { entry, original, conversation, mailbox, lane, marker }))
    }

    /// Goes on after a crash or a lost answer.
    async fn recover(&self, letter: &Letter) -> Result<Unit, JobError> {
        let entry = &letter.entry;
        let found = look(letter).await?;
        match (recover(entry.state, found.seen, entry.looks, LOOKS), found.id) {
            (Recovery::RecordSent, _) => {
                Ok(self.sent_unit(letter, found.internet_message_id.as_deref(), Reason::FoundInSentItems))
            }
            (Recovery::ContinueWithDraft, Some(draft)) => {
                let stmt = outgoing::record_draft(entry.id, &draft, found.internet_message_id.as_deref());
                self.store().commit(Unit::new().with(stmt)).await?;
                self.finish(letter, &draft).await
            }
            (Recovery::StartAgain | Recovery::ContinueWithDraft, _) => self.draft_and_send(letter).await,
            (Recovery::LookAgain, _) => {
                self.store().commit(Unit::new().with(outgoing::record_look(entry.id))).await?;
                Err(JobError::NotYet(LOOK_EVERY))
            }
            (Recovery::DeclareUncertain, _) => Ok(self.send_ended_unit(
                entry,
                SendState::Uncertain,
                Reason::OutcomeUnknown,
                "it was handed to Microsoft, but is in none of Drafts, Outbox and Sent Items",
            )),
        }
    }

    async fn draft_and_send(&self, letter: &Letter) -> Result<Unit, JobError> {
        let made = match letter.lane.create_reply(&letter.original.graph_id, &letter.marker).await {
            // The customer's mail is no longer in the mailbox: a draft of our own threads by its headers.
            Err(error) if error.kind() == GraphErrorKind::Gone => {
                let content = self.draft_content(letter).await?;
                letter.lane.create_draft(&content, &letter.marker).await?
            }
            made => made?,
        };
        let now = self.now();
        let mut unit = Unit::new().with(outgoing::record_draft(
            letter.entry.id,
            &made.id,
            made.internet_message_id.as_deref(),
        ));
        unit.push(self.outgoing_step(&letter.entry, Step::DraftCreated, Reason::Done, json!({})));
        unit.changed(now, Topic::Conversation, letter.entry.conversation);
        self.store().commit(unit).await?;
        self.finish(letter, &made.id).await
    }

    /// Completes the draft and sends it.
    async fn finish(&self, letter: &Letter, draft: &str) -> Result<Unit, JobError> {
        let content = self.draft_content(letter).await?;
        let updated = match letter.lane.update_draft(draft, &content).await {
            Ok(updated) => updated,
            // The draft is not where we left it: sent, or removed by somebody. The marker tells.
            Err(error) if error.kind() == GraphErrorKind::Gone => {
                let found = look(letter).await?;
                return match found.seen {
                    MarkerSeen::Taken => Ok(self.sent_unit(
                        letter,
                        found.internet_message_id.as_deref(),
                        Reason::FoundInSentItems,
                    )),
                    MarkerSeen::InDrafts | MarkerSeen::Nowhere => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let about_to = outgoing::record_state(letter.entry.id, SendState::Drafted, SendState::Sending);
        self.store().commit(Unit::new().with(about_to)).await?;
        letter.lane.send_draft(draft).await?;
        Ok(self.sent_unit(letter, updated.internet_message_id.as_deref(), Reason::Done))
    }

    async fn draft_content(&self, letter: &Letter) -> Result<DraftContent, JobError> {
        let entry = &letter.entry;
        let text = self.open_outgoing(entry)?;
        let mail = self.read_mail(letter.original.id).await?;
        let quoted = Quoted::of(&mail);
        let to = mail.reply_to.first().or(mail.from.as_ref());
        Ok(DraftContent {
            subject: reply_subject(&mail.subject),
            html: reply_html(&text, Some(&quoted)),
            to: to
                .map(|to| Recipient { name: to.name.clone(), address: to.address.clone() })
                .into_iter()
                .collect(),
            cc: Vec::new(),
            from: Some(Recipient {
                name: letter.conversation.from_name.clone(),
                address: letter.mailbox.address.clone(),
            }),
        })
    }

    /// Opens the text of an outbox entry.
    pub(crate) fn open_outgoing(&self, entry: &Outgoing) -> Result<String, ContentError> {
        let opened = seal::open(&self.store().keys, &outgoing_context(entry.id), &entry.sealed)?;
        Ok(String::from_utf8_lossy(&opened).into_owned())
    }

    fn sent_unit(&self, letter: &Letter, internet_message_id: Option<&str>, reason: Reason) -> Unit {
        let entry = &letter.entry;
        let now = self.now();
        let mut unit = Unit::new().with(outgoing::record_sent(entry.id, internet_message_id, now));
        unit.push(conversations::ensure_participant(entry.conversation, &letter.mailbox.address));
        unit.push(self.outgoing_step(entry, Step::Sent, reason, json!({})));
        let confirm = Work::ConfirmSent { mailbox: entry.mailbox, outgoing: entry.id };
        unit.enqueue(&confirm.job_at(self.entropy(), now, now + CONFIRM_AFTER));
        unit.changed(now, Topic::Conversation, entry.conversation);
        unit
    }

    /// The unit that ends an outbox entry which did not leave, or of which nobody knows.
    pub(crate) fn send_ended_unit(
        &self,
        entry: &Outgoing,
        state: SendState,
        reason: Reason,
        detail: &str,
    ) -> Unit {
        let now = self.now();
        let mut unit = Unit::new().with(outgoing::record_end(entry.id, entry.state, state, reason, detail));
        unit.push(self.outgoing_step(entry, Step::SendFailed, reason, json!({ "detail": detail })));
        unit.changed(now, Topic::Conversation, entry.conversation);
        unit
    }

    fn outgoing_step(
        &self,
        entry: &Outgoing,
        step: Step,
        reason: Reason,
        mut data: serde_json::Value,
    ) -> postroom_store::Stmt {
        data["outgoing"] = json!(entry.id);
        trace::record(&trace::NewEntry {
            at: self.now(),
            message: None,
            conversation: Some(entry.conversation),
            step,
            reason,
            data,
        })
    }

    /// Looks at the sent copy: Exchange may have given it another Message-ID than
    /// the draft had, and the customer's answer will name that one.
    pub(crate) async fn confirm_sent(&self, mailbox: MailboxId, id: OutgoingId) -> Result<Unit, JobError> {
        let Some(letter) = self.letter(mailbox, id).await? else { return Ok(Unit::new()) };
        let Some(found) = letter.lane.find_marked(WellKnown::SentItems, &letter.marker).await? else {
            return Err(JobError::NotYet(LOOK_EVERY));
        };
        let mut unit = Unit::new().with(outgoing::record_confirmed(id, found.internet_message_id.as_deref()));
        unit.push(self.outgoing_step(
            &letter.entry,
            Step::SentConfirmed,
            Reason::FoundInSentItems,
            json!({}),
        ));
        unit.changed(self.now(), Topic::Conversation, letter.entry.conversation);
        Ok(unit)
    }
}

async fn look(letter: &Letter) -> Result<Found, JobError> {
    // In the order of its way: a mail that moves on while we look is then seen in one of them.
    for (folder, seen) in [
        (WellKnown::Drafts, MarkerSeen::InDrafts),
        (WellKnown::Outbox, MarkerSeen::Taken),
        (WellKnown::SentItems, MarkerSeen::Taken),
    ] {
        if let Some(found) = letter.lane.find_marked(folder, &letter.marker).await? {
            let (id, internet_message_id) = (Some(found.id), found.internet_message_id);
            return Ok(Found { seen, id, internet_message_id });
        }
    }
    Ok(Found { seen: MarkerSeen::Nowhere, id: None, internet_message_id: None })
}
