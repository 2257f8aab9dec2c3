//! What is written when something can't go on by itself, and how it is let go on.
//!
//! Called by the jobs and the runner. Rule kept: nothing ends without a visible
//! state and a reason (design invariant 1).

use postroom_model::outbox::SendState;
use postroom_model::{
    MessageId,
    ledger::{MessageState, Reason, Step},
};
use postroom_store::{DbError, Unit, feed::Topic, messages, messages::Message, outgoing, trace};
use serde_json::json;

use crate::{
    Engine,
    jobs::{JobError, Work, in_full},
};

impl Engine {
    /// The unit that holds a message for a reason; empty if it has gone on meanwhile.
    pub(crate) fn held_unit(&self, message: &Message, reason: Reason, detail: Option<&str>) -> Unit {
        self.moved_unit(message, MessageState::Held, Step::Held, reason, detail)
    }

    /// The unit that ends a message for a reason.
    pub(crate) fn ended_unit(
        &self,
        message: &Message,
        state: MessageState,
        reason: Reason,
        detail: Option<&str>,
    ) -> Unit {
        self.moved_unit(message, state, Step::Ended, reason, detail)
    }

    fn moved_unit(
        &self,
        message: &Message,
        to: MessageState,
        step: Step,
        reason: Reason,
        detail: Option<&str>,
    ) -> Unit {
        if !message.state.next().contains(&to) {
            return Unit::new();
        }
        let now = self.now();
        let mut unit = Unit::new()
            .with(messages::record_state(message.id, message.state, to, reason, detail))
            .with(trace::record(&trace::NewEntry {
                at: now,
                message: Some(message.id),
                conversation: message.conversation,
                step,
                reason,
                data: detail.map_or_else(|| json!({}), |detail| json!({ "detail": detail })),
            }));
        unit.changed(now, Topic::Message, message.id);
        unit
    }

    /// What is written when a job has had all its tries, or can never succeed.
    pub(crate) async fn give_up(&self, work: Work, error: &JobError) -> Result<Unit, DbError> {
        let db = &self.store().db;
        let detail = in_full(error);
        match work {
            Work::Fetch { message, .. } | Work::Process { message } => {
                let Some(row) = messages::find(db, message).await? else { return Ok(Unit::new()) };
                let reason = match error {
                    JobError::Content(_) => Reason::CannotOpen,
                    JobError::Graph(_) if self.is_refusal(error) => Reason::Refused,
                    _ => Reason::TooManyTries,
                };
                Ok(self.held_unit(&row, reason, Some(&detail)))
            }
            Work::AfterTaking { message, .. } => Ok(Unit::new().with(trace::record(&trace::NewEntry {
                at: self.now(),
                message: Some(message),
                conversation: None,
                step: Step::AfterTaking,
                reason: if self.is_refusal(error) { Reason::Refused } else { Reason::TooManyTries },
                data: json!({ "detail": detail }),
            }))),
            Work::Send { outgoing: id, .. } => {
                let Some(entry) = outgoing::find(db, id).await? else { return Ok(Unit::new()) };
                if entry.state.is_final() {
                    return Ok(Unit::new());
                }
                // What Microsoft refused has not left; what was asked to be sent may have.
                let (state, reason) = if entry.state == SendState::Sending && !self.is_refusal(error) {
                    (SendState::Uncertain, Reason::OutcomeUnknown)
                } else if self.is_refusal(error) {
                    (SendState::Failed, Reason::Refused)
                } else {
                    (SendState::Failed, Reason::TooManyTries)
                };
                Ok(self.send_ended_unit(&entry, state, reason, &detail))
            }
            Work::ConfirmSent { .. } => Ok(Unit::new()),
        }
    }

    fn is_refusal(&self, error: &JobError) -> bool {
        matches!(error, JobError::Graph(graph) if graph.kind() == postroom_graph::GraphErrorKind::Refused)
    }

    /// Lets every message go on that was held because no route was declared for it.
    pub(crate) async fn release_unrouted(&self) -> Result<(), DbError> {
        for id in messages::list_held_for(&self.store().db, Reason::NoRoute).await? {
            self.process_again(id).await?;
        }
        Ok(())
    }

    async fn process_again(&self, id: MessageId) -> Result<(), DbError> {
        let mut unit = Unit::new();
        unit.enqueue(&Work::Process { message: id }.job(self.entropy(), self.now()));
        self.store().commit(unit).await.map(drop)
    }
}
