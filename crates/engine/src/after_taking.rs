//! Shows in the mailbox that a mail was taken: read flag, category or folder.
//!
//! A job of its own, so that a refused request never delivers a mail twice
//! (design invariant 4). What is done is what the mailbox is set to now.

use std::sync::PoisonError;

use postroom_graph::{GraphError, GraphErrorKind, Mailbox as Lane};
use postroom_model::{
    MailboxId, MessageId,
    ledger::{Reason, Step},
    mailbox::AfterTaking,
};
use postroom_store::{Unit, feed::Topic, mailboxes, messages, trace};
use serde_json::json;

use crate::{Engine, jobs::JobError};

impl Engine {
    pub(crate) async fn after_taking(&self, mailbox: MailboxId, id: MessageId) -> Result<Unit, JobError> {
        let db = &self.store().db;
        let Some(message) = messages::find(db, id).await? else { return Ok(Unit::new()) };
        if message.touched_at.is_some() || message.stored_at.is_none() {
            return Ok(Unit::new());
        }
        let Some(row) = mailboxes::find(db, mailbox).await? else { return Err(JobError::NotConnected) };
        let lane = self.mailbox(&row).await?;
        let reason = match self.touch(&row, &lane, &message.graph_id).await {
            Ok(()) if row.after_taking == AfterTaking::Nothing => Reason::LeftUntouched,
            Ok(()) => Reason::Done,
            // Somebody moved or deleted it after we took it: nothing is left to mark.
            Err(error) if error.kind() == GraphErrorKind::Gone => Reason::NotInMailbox,
            Err(error) => return Err(error.into()),
        };
        let now = self.now();
        let mut unit = Unit::new();
        if reason == Reason::Done {
            unit.push(messages::record_touched(id, now));
        }
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: Some(id),
            conversation: None,
            step: Step::AfterTaking,
            reason,
            data: json!({ "did": row.after_taking.to_string() }),
        }));
        unit.changed(now, Topic::Message, id);
        Ok(unit)
    }

    async fn touch(
        &self,
        mailbox: &mailboxes::Mailbox,
        lane: &Lane,
        graph_id: &str,
    ) -> Result<(), GraphError> {
        match &mailbox.after_taking {
            AfterTaking::MarkRead => lane.mark_read(graph_id).await,
            AfterTaking::Nothing => Ok(()),
            AfterTaking::Category(category) => lane.categorize(graph_id, category).await,
            AfterTaking::Move(path) => {
                let key = (mailbox.id, path.clone());
                let known = self.lock_folders().get(&key).cloned();
                let folder = match known {
                    Some(folder) => folder,
                    None => {
                        let found = lane.folder_at(path).await?;
                        self.lock_folders().insert(key.clone(), found.clone());
                        found
                    }
                };
                let moved = lane.move_to(graph_id, &folder).await;
                if moved.as_ref().is_err_and(|error| error.kind() == GraphErrorKind::Gone) {
                    // Either the mail or the folder is gone: the folder is looked up anew, and the
                    // answer of the second time is the mail's.
                    let again = lane.folder_at(path).await?;
                    self.lock_folders().insert(key, again.clone());
                    return lane.move_to(graph_id, &again).await;
                }
                moved
            }
        }
    }

    fn lock_folders(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<(MailboxId, String), String>> {
        self.0.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
