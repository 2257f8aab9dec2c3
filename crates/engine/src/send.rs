//! Brings an outbox entry on its way: reply draft with our marker, content, send.
//!
//! Carried out by the `send` job. Keeps *a mail leaves at most once* (design
//! invariant 8): each request is preceded by the commit that says it is about to
//! be made, and after anything whose outcome is not known the marker is looked up
//! in Drafts, Outbox and Sent Items before `model::outbox` decides how to go on.

use std::time::Duration;

use jiff::SignedDuration;
use postroom_graph::{
    DraftContent, FoundMessage, GraphErrorKind, Mailbox as Lane, Marker, Recipient, WellKnown,
};
use postroom_mail::{Quoted, reply_html, reply_subject};
use postroom_model::{
    MailboxId, OutgoingId,
    ledger::{Reason, Step},
    outbox::{LOOKS_FOR_DRAFT, LOOKS_FOR_SENT, MarkerSeen, Recovery, SendState, recover},
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
    message: Option<FoundMessage>,
}

impl Found {
    fn internet_message_id(&self) -> Option<&str> {
        self.message.as_ref().and_then(|message| message.internet_message_id.as_deref())
    }
}

impl Engine {
    pub(crate) async fn send(&self, mailbox: MailboxId, id: OutgoingId) -> Result<Unit, JobError> {
        let Some(letter) = self.letter(mailbox, id).await? else { return Ok(Unit::new()) };
        match (letter.entry.state, &letter.entry.draft_id) {
            (state, _) if state.is_final() => Ok(Unit::new()),
            (SendState::Queued, _) => self.draft_and_send(&letter).await,
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
        let found = look(letter, entry.draft_id.as_deref()).await?;
        match (recover(entry.state, found.seen, entry.looks), &found.message, &entry.draft_id) {
            (Recovery::RecordSent, ..) => {
                Ok(self.sent_unit(letter, found.internet_message_id(), Reason::FoundInSentItems))
            }
            (Recovery::AdoptDraft, Some(draft), before) => {
                let (id, message_id) = (&draft.id, draft.internet_message_id.as_deref());
                let stmt = outgoing::record_draft(entry.id, before.as_deref(), id, message_id);
                self.store().commit(Unit::new().with(stmt)).await?;
                self.finish(letter, id).await
            }
            (Recovery::FinishDraft, _, Some(draft)) => self.finish(letter, draft).await,
            (Recovery::SendAgain, _, Some(draft)) => self.send_again(letter, draft).await,
            (Recovery::LookAgain, ..) => self.look_later(entry).await,
            (Recovery::DeclareUncertain, ..) => Ok(self.uncertain_unit(entry)),
            (
                Recovery::StartAgain | Recovery::AdoptDraft | Recovery::FinishDraft | Recovery::SendAgain,
                ..,
            ) => self.draft_and_send(letter).await,
        }
    }

    async fn look_later(&self, entry: &Outgoing) -> Result<Unit, JobError> {
        self.store().commit(Unit::new().with(outgoing::record_look(entry.id))).await?;
        Err(JobError::LookAgain(LOOK_EVERY))
    }

    fn uncertain_unit(&self, entry: &Outgoing) -> Unit {
        self.send_ended_unit(
            entry,
            SendState::Uncertain,
            Reason::OutcomeUnknown,
            "it was handed to Microsoft, but is neither in Outbox nor in Sent Items",
        )
    }

    /// Makes a draft and sends it. Whoever was faster has made the entry's state another one.
    async fn draft_and_send(&self, letter: &Letter) -> Result<Unit, JobError> {
        let id = letter.entry.id;
        let drafting = outgoing::record_drafting(id, letter.entry.draft_id.as_deref());
        self.store().commit(Unit::new().with(drafting)).await?;
        let (made, is_threaded) =
            match letter.lane.create_reply(&letter.original.graph_id, &letter.marker).await {
                // The customer's mail is no longer in the mailbox. A draft of our own answers nothing as far
                // as headers go; subject and quoted text say what it is about.
                Err(error) if error.kind() == GraphErrorKind::Gone => {
                    let content = self.draft_content(letter).await?;
                    (letter.lane.create_draft(&content, &letter.marker).await?, false)
                }
                Err(error) => {
                    if was_not_done(error.kind()) {
                        let back = outgoing::record_state(id, SendState::Drafting, SendState::Queued);
                        self.store().commit(Unit::new().with(back)).await?;
                    }
                    return Err(error.into());
                }
                Ok(made) => (made, true),
            };
        let now = self.now();
        let message_id = made.internet_message_id.as_deref();
        let mut unit = Unit::new().with(outgoing::record_draft(id, None, &made.id, message_id));
        let data = json!({ "threaded": is_threaded });
        unit.push(self.outgoing_step(&letter.entry, Step::DraftCreated, Reason::Done, data));
        unit.changed(now, Topic::Conversation, letter.entry.conversation);
        self.store().commit(unit).await?;
        self.finish(letter, &made.id).await
    }

    /// Completes the draft and sends it, for the first time.
    async fn finish(&self, letter: &Letter, draft: &str) -> Result<Unit, JobError> {
        let entry = &letter.entry;
        let content = self.draft_content(letter).await?;
        let updated = match letter.lane.update_draft(draft, &content).await {
            Ok(updated) => updated,
            // The draft is not where we left it: somebody removed it, or sent it by hand. The marker tells.
            Err(error) if error.kind() == GraphErrorKind::Gone => {
                let found = look(letter, Some(draft)).await?;
                if found.seen == MarkerSeen::Taken {
                    let message_id = found.internet_message_id();
                    return Ok(self.sent_unit(letter, message_id, Reason::FoundInSentItems));
                }
                let anew = outgoing::record_drafting(entry.id, Some(draft));
                self.store().commit(Unit::new().with(anew)).await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let about_to = outgoing::record_state(entry.id, SendState::Drafted, SendState::Sending);
        self.store().commit(Unit::new().with(about_to)).await?;
        match letter.lane.send_draft(draft).await {
            Ok(()) => Ok(self.sent_unit(letter, updated.internet_message_id.as_deref(), Reason::Done)),
            Err(error) if matches!(error.kind(), GraphErrorKind::Refused | GraphErrorKind::Gone) => {
                // Refused for good, or taken a moment ago for another node that had waited for us.
                let found = look(letter, Some(draft)).await?;
                match found.seen {
                    MarkerSeen::Taken => {
                        Ok(self.sent_unit(letter, found.internet_message_id(), Reason::FoundInSentItems))
                    }
                    MarkerSeen::OwnDraft => Err(error.into()),
                    MarkerSeen::OtherDraft | MarkerSeen::Nowhere => self.look_later(entry).await,
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks once more for a draft to be sent that lies in Drafts though it was asked for before. A
    /// refusal proves nothing: the first request may be at work still.
    async fn send_again(&self, letter: &Letter, draft: &str) -> Result<Unit, JobError> {
        let entry = &letter.entry;
        match letter.lane.send_draft(draft).await {
            Ok(()) => {
                let message_id = entry.internet_message_id.as_deref();
                Ok(self.sent_unit(letter, message_id, Reason::Retried))
            }
            Err(error) if matches!(error.kind(), GraphErrorKind::Refused | GraphErrorKind::Gone) => {
                if entry.looks >= LOOKS_FOR_SENT {
                    return Ok(self.uncertain_unit(entry));
                }
                self.look_later(entry).await
            }
            Err(error) => Err(error.into()),
        }
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
        let sent = letter.lane.list_marked(WellKnown::SentItems, &letter.marker).await?;
        let Some(found) = sent.into_iter().next() else {
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

/// Whether the answer says that nothing was done: then nothing need be looked for.
fn was_not_done(kind: GraphErrorKind) -> bool {
    matches!(
        kind,
        GraphErrorKind::Throttled { .. }
            | GraphErrorKind::Parked { .. }
            | GraphErrorKind::Unauthorized
            | GraphErrorKind::OutOfScope
            | GraphErrorKind::MailboxMissing
            | GraphErrorKind::Token
    )
}

/// Looks for the marker; `draft` is the id of the draft that is ours. What was not asked to be sent lies
/// in Drafts if anywhere, and elsewhere only if a person sent it: that is looked at before another draft
/// is made, and not each time.
async fn look(letter: &Letter, draft: Option<&str>) -> Result<Found, JobError> {
    let lane = &letter.lane;
    let nowhere = Found { seen: MarkerSeen::Nowhere, message: None };
    if letter.entry.state != SendState::Sending {
        match look_in_drafts(letter, draft).await? {
            Some(found) => return Ok(found),
            None if letter.entry.state == SendState::Drafting && letter.entry.looks < LOOKS_FOR_DRAFT => {
                return Ok(nowhere);
            }
            None => {}
        }
    }
    for folder in [WellKnown::Outbox, WellKnown::SentItems] {
        if let Some(message) = lane.list_marked(folder, &letter.marker).await?.into_iter().next() {
            return Ok(Found { seen: MarkerSeen::Taken, message: Some(message) });
        }
    }
    Ok(look_in_drafts(letter, draft).await?.unwrap_or(nowhere))
}

async fn look_in_drafts(letter: &Letter, draft: Option<&str>) -> Result<Option<Found>, JobError> {
    let drafts = letter.lane.list_marked(WellKnown::Drafts, &letter.marker).await?;
    let is_own = |message: &FoundMessage| Some(message.id.as_str()) == draft;
    let (own, others): (Vec<_>, Vec<_>) = drafts.into_iter().partition(is_own);
    Ok(match (own.into_iter().next(), others.into_iter().next()) {
        (Some(own), _) => Some(Found { seen: MarkerSeen::OwnDraft, message: Some(own) }),
        (None, Some(other)) => Some(Found { seen: MarkerSeen::OtherDraft, message: Some(other) }),
        (None, None) => None,
    })
}
