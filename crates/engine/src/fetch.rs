//! Brings the bytes of one mail home and makes them durable.
//!
//! Carried out by the `fetch` job. Keeps the rule *bytes before state*: the sealed
//! bytes are durable in the commit that says `stored`, and the mailbox is touched
//! only by a later job.

use aws_lc_rs::digest;
use postroom_graph::{GraphErrorKind, Mailbox as Lane, Priority};
use postroom_model::{
    MailboxId, MessageId,
    ledger::{MessageState, Reason, Step},
    mailbox::{AfterTaking, Opened},
};
use postroom_store::{Unit, content::message_context, feed::Topic, mailboxes, messages, trace};
use serde_json::json;

use crate::{
    Engine,
    jobs::{JobError, Work},
};

/// After a notification the mail may not be visible yet: replicas lag by seconds,
/// sometimes minutes. After this many tries it counts as gone.
const TRIES_BEFORE_GONE: u32 = 7;

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
        let bytes = match graph.message_bytes(&message.graph_id, Priority::NewMail).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == GraphErrorKind::Gone && attempts >= TRIES_BEFORE_GONE => {
                return Ok(self.ended_unit(&message, MessageState::Gone, Reason::NotInMailbox, None));
            }
            Err(error) => return Err(error.into()),
        };
        let sha256 = digest::digest(&digest::SHA256, &bytes);
        let content = self.store().seal_content(&message_context(id), &bytes, self.now()).await?;

        let now = self.now();
        let mut unit = Unit::new().with(messages::record_stored(
            id,
            &content,
            sha256.as_ref(),
            bytes.len(),
            Reason::BytesAsGiven,
            now,
        ));
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: Some(id),
            conversation: None,
            step: Step::Stored,
            reason: Reason::BytesAsGiven,
            data: json!({ "bytes": bytes.len() }),
        }));
        unit.enqueue(&Work::Process { message: id }.job(self.entropy(), now));
        if row.after_taking != AfterTaking::Nothing {
            unit.enqueue(&Work::AfterTaking { mailbox, message: id }.job(self.entropy(), now));
        }
        unit.changed(now, Topic::Message, id);
        Ok(unit)
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
