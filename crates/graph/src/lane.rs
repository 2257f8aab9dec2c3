//! The lane of a mailbox: who may ask now, who waits, and when nobody asks.
//!
//! Every call to a mailbox takes a [`Slot`] here first (design invariant 9).
//! Rule kept: a slot is free again when the answer's last byte is there; after a
//! time-out, a broken connection or a cancelled call only 30 s later, because
//! Exchange may still be at work. The rules themselves are in `lane/state.rs`;
//! here is only the waiting.

mod rights;
mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use postroom_model::{Clock, Entropy};
use tokio::{sync::Notify, time};

use crate::errors::GraphError;
use state::{Admission, State, Ticket};

pub(crate) use rights::Right;
pub(crate) use state::{Outcome, Standing};

/// The limits of one mailbox. The defaults are Microsoft's
/// (<https://learn.microsoft.com/en-us/graph/throttling-limits>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneConfig {
    /// Requests at one time, at least 1.
    pub concurrency: usize,
    /// Requests in any `budget_window`, at least 1.
    pub budget: u32,
    /// The time over which the budget is counted, to the second.
    pub budget_window: SignedDuration,
    /// Bytes sent in any five minutes.
    pub upload_budget: u64,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            concurrency: 4,
            budget: 10_000,
            budget_window: SignedDuration::from_mins(10),
            upload_budget: 150 * 1024 * 1024,
        }
    }
}

/// Who is served first when several wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// An answer on its way to a customer.
    Send,
    /// A mail that has just come.
    NewMail,
    /// Looking for mails.
    Delta,
    /// Touching mails that are taken.
    MarkRead,
    /// Everything old.
    Backlog,
}

/// Why nobody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkReason {
    /// Graph asked for patience.
    Throttled,
    /// All requests that Microsoft allows in this time are used.
    Budget,
    /// Requests failed one after the other.
    Outage,
    /// Graph does not let us in, or the mailbox does not exist.
    ShutOut,
    /// Graph lets us read, and refused this.
    NotAllowed,
}

impl fmt::Display for ParkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "Graph asked for patience",
            Self::Budget => "the requests allowed in this time are used up",
            Self::Outage => "requests failed one after the other",
            Self::ShutOut => "Graph does not let the application in, or the mailbox does not exist",
            Self::NotAllowed => "Graph does not let the application do this",
        })
    }
}

/// A lane that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// When it goes on; after an outage with one request as a probe.
    pub until: Timestamp,
    /// Why it rests.
    pub reason: ParkReason,
}

/// How a lane stands at a moment, for status pages and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneView {
    /// Slots in use, those of broken-off requests included.
    pub in_flight: usize,
    /// Slots that may be in use at present.
    pub limit: usize,
    /// Calls that wait for a slot.
    pub waiting: usize,
    /// Set while the lane rests.
    pub parked: Option<Parked>,
    /// Whether the last word was a failure, so that only one request at a time tries.
    pub probing: bool,
    /// Whether Graph refused something beyond reading, and did not grant it since.
    pub is_limited: bool,
    /// Requests that may still be made in this window.
    pub budget_left: u32,
    /// Bytes that may still be sent in this window.
    pub upload_left: u64,
}

pub(crate) struct Lane {
    state: Mutex<State>,
    clock: Clock,
    entropy: Entropy,
}

impl Lane {
    /// A lane for one mailbox: it also rests when the mailbox does not work.
    pub(crate) fn of_mailbox(config: LaneConfig, clock: Clock, entropy: Entropy) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new(config, true)), clock, entropy })
    }

    /// A lane that many mailboxes share: only throttling makes it rest.
    pub(crate) fn shared(config: LaneConfig, clock: Clock, entropy: Entropy) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new(config, false)), clock, entropy })
    }

    /// Waits for a slot in which `upload` bytes are sent for something that needs `right`, highest priority
    /// first, then first come.
    ///
    /// # Errors
    /// At once when the lane rests for longer than a moment, or the right was refused lately.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        priority: Priority,
        upload: usize,
        right: Option<Right>,
    ) -> Result<Slot, GraphError> {
        let place = Place::take(self, priority);
        loop {
            let now = self.clock.now();
            let admission = {
                let mut state = self.lock();
                match state.rights.barred_until(right, now) {
                    Some(until) => Admission::Parked(Parked { until, reason: ParkReason::NotAllowed }),
                    None => state.admit(place.ticket, upload as u64, now),
                }
            };
            match admission {
                Admission::Enter { probe } => {
                    return Ok(Slot { lane: Arc::clone(self), begun: None, right, probe, ended: false });
                }
                Admission::Parked(parked) => return Err(GraphError::Parked(parked)),
                Admission::Wait(None) => place.woken.notified().await,
                Admission::Wait(Some(until)) => {
                    let wait = until.duration_since(self.clock.now()).try_into().unwrap_or(Duration::ZERO);
                    // Either end of the wait means: look again. Timers count in milliseconds.
                    let _elapsed =
                        time::timeout(wait.max(Duration::from_millis(1)), place.woken.notified()).await;
                }
            }
        }
    }

    pub(crate) fn end_rest(&self) {
        let mut state = self.lock();
        state.end_rest();
        state.wake();
    }

    pub(crate) fn view(&self) -> LaneView {
        self.lock().view(self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the row of those who wait; leaving it, for whatever reason, lets the next one look.
struct Place<'a> {
    lane: &'a Lane,
    ticket: Ticket,
    woken: Arc<Notify>,
}

impl<'a> Place<'a> {
    fn take(lane: &'a Lane, priority: Priority) -> Self {
        let (ticket, woken) = lane.lock().queue_up(priority);
        Self { lane, ticket, woken }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        state.leave(self.ticket);
        state.wake();
    }
}

/// The right to have one request under way.
pub(crate) struct Slot {
    lane: Arc<Lane>,
    begun: Option<Timestamp>,
    right: Option<Right>,
    probe: bool,
    ended: bool,
}

impl Slot {
    /// The request goes out now: from here on, dropping the slot does not free it at once.
    pub(crate) fn begin(&mut self) {
        self.begun = Some(self.lane.clock.now());
    }

    /// The answer is complete, and another request follows in the same slot.
    pub(crate) fn go_on(&mut self) {
        self.begun = None;
        self.lane.lock().spend(0, self.lane.clock.now());
    }

    /// The request has come to its end. Tells how the lane stands now.
    pub(crate) fn finish(mut self, outcome: Outcome) -> Standing {
        self.ended = true;
        let now = self.lane.clock.now();
        let jitter = self.lane.entropy.unit();
        let mut state = self.lane.lock();
        state.release(self.probe, matches!(outcome, Outcome::Failed { answered: false }), now);
        let begun = self.begun.unwrap_or(now);
        match (self.right, outcome) {
            (Some(right), Outcome::NotAllowed) => state.rights.refuse(right, begun, now, jitter),
            (Some(right), Outcome::Fine) => state.rights.allow(right),
            _ => {}
        }
        let standing = state.judge(outcome, begun, now, jitter);
        state.wake();
        standing
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.ended {
            let mut state = self.lane.lock();
            state.release(self.probe, self.begun.is_some(), self.lane.clock.now());
            state.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{clock, entropy};
    use futures_util::future::{join_all, poll_immediate};
    use std::pin::pin;

    fn lane(concurrency: usize) -> Arc<Lane> {
        let config = LaneConfig { concurrency, ..LaneConfig::default() };
        Lane::of_mailbox(config, clock(), entropy())
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_four_are_under_way() {
        let lane = lane(4);
        let started = time::Instant::now();
        join_all((0..40).map(|_| async {
            let mut slot = lane.enter(Priority::NewMail, 0, None).await.unwrap();
            slot.begin();
            assert!(lane.view().in_flight <= 4);
            time::sleep(Duration::from_millis(50)).await;
            slot.finish(Outcome::Fine);
        }))
        .await;
        // Nor fewer: forty in rows of four.
        assert_eq!(started.elapsed(), Duration::from_millis(500));
        assert_eq!((lane.view().in_flight, lane.view().waiting), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_by_priority_then_first_come() {
        let lane = lane(1);
        let first = lane.enter(Priority::Backlog, 0, None).await.unwrap();
        let served = Mutex::new(Vec::new());
        let row = [
            (Priority::Backlog, "old"),
            (Priority::NewMail, "new 1"),
            (Priority::MarkRead, "mark"),
            (Priority::NewMail, "new 2"),
            (Priority::Send, "send"),
            (Priority::Delta, "delta"),
        ];
        let waiting = join_all(row.map(|(priority, name)| {
            let (lane, served) = (&lane, &served);
            async move {
                let slot = lane.enter(priority, 0, None).await.unwrap();
                served.lock().unwrap().push(name);
                time::sleep(Duration::from_millis(10)).await;
                slot.finish(Outcome::Fine);
            }
        }));
        tokio::join!(waiting, async {
            time::sleep(Duration::from_millis(1)).await;
            assert_eq!(lane.view().waiting, 6);
            first.finish(Outcome::Fine);
        });
        assert_eq!(*served.lock().unwrap(), ["send", "new 1", "new 2", "delta", "mark", "old"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_broken_off_keeps_its_slot_for_30_s() {
        let lane = lane(1);
        let started = time::Instant::now();
        let mut slot = lane.enter(Priority::NewMail, 0, None).await.unwrap();
        slot.begin();
        drop(slot);
        assert_eq!(lane.view().in_flight, 1);
        let next = lane.enter(Priority::NewMail, 0, None).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 30);
        // One that was never sent frees its slot at once.
        drop(next);
        assert_eq!(lane.view().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_does_not_stop_those_behind() {
        let lane = lane(1);
        let slot = lane.enter(Priority::NewMail, 0, None).await.unwrap();
        let mut behind = pin!(lane.enter(Priority::Backlog, 0, None));
        {
            let mut ahead = pin!(lane.enter(Priority::Send, 0, None));
            assert!(poll_immediate(&mut ahead).await.is_none());
            assert!(poll_immediate(&mut behind).await.is_none());
            slot.finish(Outcome::Fine);
            // The one ahead was woken, and leaves without having looked.
        }
        assert!(poll_immediate(behind).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_rest_sends_everyone_away_at_once_and_a_short_one_is_waited_out() {
        let lane = lane(1);
        let throttled = |seconds| Outcome::Throttled {
            retry_after: Some(SignedDuration::from_secs(seconds)),
            concurrency: false,
        };
        let started = time::Instant::now();
        lane.enter(Priority::Send, 0, None).await.unwrap().finish(throttled(1));
        let slot = lane.enter(Priority::Send, 0, None).await.unwrap();
        assert!((1..=2).contains(&started.elapsed().as_secs()));

        let mut waiting = pin!(lane.enter(Priority::Backlog, 0, None));
        assert!(poll_immediate(&mut waiting).await.is_none());
        let standing = slot.finish(throttled(60));
        let before = time::Instant::now();
        let error = waiting.await.err().unwrap();
        assert!(matches!(error, GraphError::Parked(parked)
            if parked.until == standing.rests_until && parked.reason == ParkReason::Throttled));
        assert!(lane.enter(Priority::Send, 0, None).await.is_err());
        assert_eq!(before.elapsed(), Duration::ZERO);
        time::sleep(Duration::from_secs(60)).await;
        assert!(lane.enter(Priority::Send, 0, None).await.is_ok());
    }
}
