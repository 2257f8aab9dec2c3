//! Brings the bytes of one mail home and makes them durable.
//!
//! Carried out by the `fetch` job. Keeps the rule *bytes before state*: the sealed
//! bytes are durable in the commit that says `stored`, and the mailbox is touched
//! only by a later job.

use postroom_graph::{GraphError, GraphErrorKind, Mailbox as Lane, Priority};
use postroom_mail::Head;
use postroom_model::{
    MailboxId, MessageId, Timestamp,
    ledger::{MessageState, Reason, Step},
    mailbox::{AfterTaking, Opened},
};
use postroom_store::{
    Unit,
    content::{Written, message_context},
    feed::Topic,
    mailboxes::{self, Mailbox},
    messages::{self, Message},
    trace,
};
use serde_json::json;

use crate::{
    Engine,
    doctor::PROBE_SUBJECT,
    jobs::{JobError, TRIES, Work},
};

/// After a notification the mail may not be visible yet: replicas lag by seconds,
/// sometimes minutes. After this many tries it counts as gone.
const TRIES_BEFORE_GONE: u32 = 7;
/// So often the bytes are asked for, over nearly two minutes, before they are put together from JSON
/// where Graph fails at this mail alone. Where nothing is known but that it failed, the last try does it.
const TRIES_BEFORE_REBUILT: u32 = 5;

/// What Graph gave.
enum Given {
    Mail(Written),
    /// A draft of a person or of the doctor, or one that came before mails are taken.
    NoMail(Reason),
}

impl Engine {
    pub(crate) async fn fetch(
        &self,
        mailbox: MailboxId,
        id: MessageId,
        attempts: u32,
    ) -> Result<Unit, JobError> {
        let db = &self.store().db;
        let Some(message) = messages::find(db, id).await? else { return Ok(Unit::new()) };
        if message.stored_at.is_some() || message.state.is_final() {
            return Ok(Unit::new());
        }
        let Some(row) = mailboxes::find(db, mailbox).await? else { return Err(JobError::NotConnected) };
        let graph = self.mailbox(&row).await?;
        if row.opened == Opened::Leave && self.is_opened(&graph, &message.graph_id).await? {
            return Ok(self.ended_unit(&message, MessageState::Ignored, Reason::OpenedByPerson, None));
        }
        let (written, reason) = match self.as_given(&graph, &row, &message).await {
            Ok(Given::Mail(written)) => (written, Reason::BytesAsGiven),
            Ok(Given::NoMail(reason)) => {
                return Ok(self.ended_unit(&message, MessageState::Ignored, reason, None));
            }
            Err(JobError::Graph(error)) if is_gone(&error, attempts) => {
                return Ok(self.ended_unit(&message, MessageState::Gone, Reason::NotInMailbox, None));
            }
            Err(JobError::Graph(error)) if cannot_give(&error, attempts) => {
                (self.rebuilt(&graph, &message).await?, Reason::Rebuilt)
            }
            Err(error) => return Err(error),
        };

        let now = self.now();
        let mut unit = Unit::new().with(messages::record_stored(id, &written, reason, now));
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: Some(id),
            conversation: None,
            step: Step::Stored,
            reason,
            data: json!({ "bytes": written.size }),
        }));
        unit.enqueue(&Work::Process { message: id }.job(self.entropy(), now));
        if row.after_taking != AfterTaking::Nothing {
            unit.enqueue(&Work::AfterTaking { mailbox, message: id }.job(self.entropy(), now));
        }
        unit.changed(now, Topic::Message, id);
        Ok(unit)
    }

    /// The bytes as they come, sealed and stored. Only where they look as if a person had moved them here,
    /// Graph is asked whether they are a draft, or older than what is taken.
    async fn as_given(&self, lane: &Lane, mailbox: &Mailbox, message: &Message) -> Result<Given, JobError> {
        let mut incoming = lane.message_stream(&message.graph_id, Priority::NewMail).await?;
        let mut writer = self.store().write_content(&message_context(message.id), self.now())?;
        let mut head = Head::default();
        while let Some(bytes) = incoming.next().await? {
            head.push(&bytes);
            writer.write(&bytes).await?;
        }
        // The delta query tells the date; an announcement does not.
        let takes_from = mailbox.takes_from().filter(|_| message.received_at.is_none());
        let may_be_older = takes_from.is_some_and(|from| head.received_at().is_none_or(|at| at < from));
        if (!head.was_received() || may_be_older)
            && let Some(reason) = self.is_no_mail(lane, &message.graph_id, takes_from).await?
        {
            return Ok(Given::NoMail(reason));
        }
        if let Some(subject) = head.subject()
            && self.is_sent_by_doctor(&subject).await?
        {
            return Ok(Given::NoMail(Reason::Probe));
        }
        Ok(Given::Mail(writer.finish().await?))
    }

    async fn is_no_mail(
        &self,
        lane: &Lane,
        graph_id: &str,
        takes_from: Option<Timestamp>,
    ) -> Result<Option<Reason>, JobError> {
        match lane.message_meta(graph_id).await {
            Ok(meta) if !meta.is_draft => {
                let is_older = meta.received_at.zip(takes_from).is_some_and(|(at, from)| at < from);
                Ok(is_older.then_some(Reason::Older))
            }
            Ok(meta) if meta.subject.as_deref() == Some(PROBE_SUBJECT) => Ok(Some(Reason::Probe)),
            Ok(_) => Ok(Some(Reason::Draft)),
            // It was here a moment ago, and so are its bytes.
            Err(error) if error.kind() == GraphErrorKind::Gone => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a person has opened the mail. One that is not there is looked for by its bytes.
    async fn is_opened(&self, lane: &Lane, graph_id: &str) -> Result<bool, JobError> {
        match lane.message_meta(graph_id).await {
            Ok(meta) => Ok(meta.is_read),
            Err(error) if error.kind() == GraphErrorKind::Gone => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_gone(error: &GraphError, attempts: u32) -> bool {
    error.kind() == GraphErrorKind::Gone && attempts >= TRIES_BEFORE_GONE
}

fn cannot_give(error: &GraphError, attempts: u32) -> bool {
    match error.kind() {
        GraphErrorKind::ItemBroken => attempts >= TRIES_BEFORE_REBUILT,
        GraphErrorKind::Unknown => attempts >= TRIES,
        _ => false,
    }
}
