//! Distribution: offers waiting conversations to agents, and takes back offers
//! that nobody answered.
//!
//! One loop for the whole system, on the node that holds the lease `assign`;
//! woken by the feed and by the next deadline. `model::acd` decides over a
//! snapshot; each offer is a guarded unit of its own, so a lost race costs one
//! offer, which the next round makes again.

use jiff::SignedDuration;
use postroom_model::{
    OfferId, Timestamp, UserId,
    acd::{self, Assignment, Waiting},
    conversation::{ConversationState, OfferState},
    ledger::{Reason, Step},
    user::RoutingStatus,
};
use postroom_store::{
    DbError, Engine as Sql, Unit, conversations,
    feed::Topic,
    leases,
    offers::{self, Offer},
    queues, trace, users,
};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::Engine;

/// How much of what waits in each queue is looked at in one round.
const LOOKED_AT: u32 = 500;

impl Engine {
    pub(crate) async fn run_assign(&self) {
        let mut changes = self.changes();
        loop {
            let next = match self.assign_round().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(error = %error, "Waiting conversations could not be distributed");
                    self.now() + SignedDuration::from_secs(1)
                }
            };
            let sleep = self.sleep_until(next);
            tokio::pin!(sleep);
            loop {
                tokio::select! {
                    () = self.tasks().stopping().cancelled() => return,
                    () = &mut sleep => break,
                    change = changes.recv() => match change {
                        Ok(change) if matches!(change.topic, Topic::Queue | Topic::User | Topic::Organization) => break,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                }
            }
            // What else has come meanwhile is covered by the round that follows.
            while changes.try_recv().is_ok() {}
        }
    }

    /// One round; gives the time of the next one that is due by itself.
    async fn assign_round(&self) -> Result<Timestamp, DbError> {
        let db = &self.store().db;
        let now = self.now();
        let latest = now + self.heartbeat().look;
        if !self.distributes(now).await? {
            return Ok(latest);
        }
        let open = offers::list_open(db).await?;
        for offer in open.iter().filter(|offer| offer.deadline_at <= now) {
            self.time_out(offer).await?;
        }
        let agents = users::list_agents(db).await?;
        if agents.iter().any(|agent| agent.on_queue) {
            let waiting = conversations::list_waiting(db, LOOKED_AT).await?;
            for assignment in acd::assign(&waiting, &agents) {
                if let Some(w) = waiting.iter().find(|w| w.conversation == assignment.conversation) {
                    self.offer(assignment, w).await?;
                }
            }
        }
        let deadline = offers::list_open(db).await?.first().map(|offer| offer.deadline_at);
        Ok(deadline.map_or(latest, |deadline| deadline.min(latest)))
    }

    /// Whether this node is the one that distributes: on SQLite there is no other.
    async fn distributes(&self, now: Timestamp) -> Result<bool, DbError> {
        let db = &self.store().db;
        if db.engine() == Sql::Sqlite {
            return Ok(true);
        }
        let until = now + self.heartbeat().lease;
        Ok(leases::claim(db, "assign", self.node(), now, until).await?.is_some())
    }

    async fn offer(&self, assignment: Assignment, waiting: &Waiting) -> Result<(), DbError> {
        let Assignment { conversation, user } = assignment;
        let now = self.now();
        let Some(queue) = queues::find(&self.store().db, waiting.queue).await? else { return Ok(()) };
        let offer = Offer {
            id: OfferId::from_uuid(self.entropy().uuid(now)),
            conversation,
            user,
            offered_at: now,
            deadline_at: now + SignedDuration::from_micros(queue.alerting_timeout_us),
        };
        let mut unit = Unit::new()
            .with(users::guard_capacity(user))
            .with(conversations::record_state(
                conversation,
                ConversationState::Waiting,
                ConversationState::Alerting,
                Some(user),
            ))
            .with(users::record_offered(user, now))
            .with(offers::insert(&offer));
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: None,
            conversation: Some(conversation),
            step: Step::Alerted,
            reason: Reason::Done,
            data: json!({ "user": user }),
        }));
        self.tell_desk(&mut unit, now, user, &offer, waiting.queue);
        self.store().commit_guarded(unit).await.map(drop)
    }

    async fn time_out(&self, offer: &Offer) -> Result<(), DbError> {
        let unit = self.returned_unit(offer, OfferState::TimedOut, Reason::AlertingTimedOut).await?;
        self.store().commit_guarded(unit).await.map(drop)
    }

    /// The unit that takes an offer back: the conversation waits again with its old
    /// arrival time, the agent is *not responding*.
    pub(crate) async fn returned_unit(
        &self,
        offer: &Offer,
        state: OfferState,
        reason: Reason,
    ) -> Result<Unit, DbError> {
        let now = self.now();
        let mut unit = Unit::new()
            .with(offers::record_answer(offer.id, state, now))
            .with(conversations::record_returned(offer.conversation, offer.user));
        let user = users::find(&self.store().db, offer.user).await?;
        if user.is_some_and(|user| user.routing_status == RoutingStatus::OnQueue)
            && state != OfferState::Withdrawn
        {
            unit.push(users::record_routing_status(offer.user, RoutingStatus::NotResponding, now));
        }
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: None,
            conversation: Some(offer.conversation),
            step: Step::Returned,
            reason,
            data: json!({ "user": offer.user }),
        }));
        if let Some(conversation) = conversations::find(&self.store().db, offer.conversation).await? {
            self.tell_desk(&mut unit, now, offer.user, offer, conversation.queue);
        }
        Ok(unit)
    }

    fn tell_desk(
        &self,
        unit: &mut Unit,
        now: Timestamp,
        user: UserId,
        offer: &Offer,
        queue: postroom_model::QueueId,
    ) {
        unit.changed(now, Topic::User, user);
        unit.changed(now, Topic::Conversation, offer.conversation);
        unit.changed(now, Topic::Queue, queue);
    }
}
