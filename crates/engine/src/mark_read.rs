//! Marks a mail read in its mailbox, after its bytes are stored.
//!
//! A job of its own, so that a refused request never delivers a mail twice
//! (design invariant 4).

use postroom_graph::GraphErrorKind;
use postroom_model::{
    MailboxId, MessageId,
    ledger::{Reason, Step},
};
use postroom_store::{Unit, feed::Topic, mailboxes, messages, trace};
use serde_json::json;

use crate::{Engine, jobs::JobError};

impl Engine {
    pub(crate) async fn mark_read(&self, mailbox: MailboxId, id: MessageId) -> Result<Unit, JobError> {
        let db = &self.store().db;
        let Some(message) = messages::find(db, id).await? else { return Ok(Unit::new()) };
        if message.marked_read_at.is_some() || message.stored_at.is_none() {
            return Ok(Unit::new());
        }
        let Some(row) = mailboxes::find(db, mailbox).await? else { return Err(JobError::NotConnected) };
        let reason = match self.mailbox(&row).await?.mark_read(&message.graph_id).await {
            Ok(()) => Reason::Done,
            // Somebody moved or deleted it after we took it: nothing is left to mark.
            Err(error) if error.kind() == GraphErrorKind::Gone => Reason::NotInMailbox,
            Err(error) => return Err(error.into()),
        };
        let now = self.now();
        let mut unit = Unit::new();
        if reason == Reason::Done {
            unit.push(messages::record_marked_read(id, now));
        }
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: Some(id),
            conversation: None,
            step: Step::AfterTaking,
            reason,
            data: json!({ "did": "mark-read" }),
        }));
        unit.changed(now, Topic::Message, id);
        Ok(unit)
    }
}
