//! The rules of a lane as one pure state: no waiting, no clock, no randomness.
//!
//! Called by `lane` under its lock, with the time and the jitter as parameters.
//! Limits: <https://learn.microsoft.com/en-us/graph/throttling-limits>.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::{LaneConfig, LaneView, ParkReason, Parked, Priority, rights::Rights};

/// Rests up to this long are waited out by the caller.
const MOMENT: SignedDuration = SignedDuration::from_secs(2);
/// How long a slot stays taken after its request was broken off.
const LINGER: SignedDuration = SignedDuration::from_secs(30);
/// After a refusal that names `MailboxConcurrency`: so many at a time, for so long.
const FEWER: usize = 3;
const FEWER_FOR: SignedDuration = SignedDuration::from_mins(10);
/// The time over which sent bytes are counted.
const UPLOAD_WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// A mailbox that has not failed for so long works.
const STEADY: SignedDuration = SignedDuration::from_mins(5);
/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// Waits after throttling without a word of Graph, after failures, and after being shut out:
/// the first, doubled each time, up to the longest.
const THROTTLED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(1), SignedDuration::from_mins(1));
const OUTAGE: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(10), SignedDuration::from_mins(15));
const SHUT_OUT: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_mins(15));

/// A place in the row: priority first, then the order of coming.
pub(super) type Ticket = (Priority, u64);

/// Whether somebody in the row may go.
pub(super) enum Admission {
    /// Yes; as the only one, if it is a probe.
    Enter { probe: bool },
    /// No; look again then, or when woken.
    Wait(Option<Timestamp>),
    /// No, and not for long.
    Parked(Parked),
}

/// How a request ended, as far as the lane is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The mailbox works, whatever became of the item.
    Fine,
    /// Graph asks for patience.
    Throttled { retry_after: Option<SignedDuration>, concurrency: bool },
    /// The mailbox works, but Graph fails at this one item.
    ItemFailed,
    /// No considered word; `answered` if at least the exchange is complete.
    Failed { answered: bool },
    /// We may not, or there is nothing.
    ShutOut,
    /// The mailbox works, but we may not do this.
    NotAllowed,
}

/// How the lane stands after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Now, or the end of the rest.
    pub(crate) rests_until: Timestamp,
    /// Whether the mailbox as a whole is taken for broken.
    pub(crate) broken: bool,
    /// Whether it has not failed for five minutes; what Graph can't do with single items is no failure.
    pub(crate) steady: bool,
}

pub(super) struct State {
    config: LaneConfig,
    breaks: bool,
    row: BTreeMap<Ticket, Arc<Notify>>,
    tickets: u64,
    active: usize,
    /// When slots of broken-off requests are free, in order.
    lingering: VecDeque<Timestamp>,
    fewer_until: Option<Timestamp>,
    /// Requests made, by second.
    spent: Spending,
    /// Bytes sent, by second.
    uploaded: Spending,
    rest: Option<Parked>,
    /// Requests begun up to then say nothing new about the state of the mailbox.
    rest_began: Option<Timestamp>,
    throttled: u32,
    failures: u32,
    failed_at: Option<Timestamp>,
    /// Rests in a row because of failures; above 0 only one at a time tries.
    opened: u32,
    probing: bool,
    pub(super) rights: Rights,
}

impl State {
    pub(super) fn new(config: LaneConfig, breaks: bool) -> Self {
        Self {
            config,
            breaks,
            row: BTreeMap::new(),
            tickets: 0,
            active: 0,
            lingering: VecDeque::new(),
            fewer_until: None,
            spent: Spending::over(config.budget_window, u64::from(config.budget)),
            uploaded: Spending::over(UPLOAD_WINDOW, config.upload_budget),
            rest: None,
            rest_began: None,
            throttled: 0,
            failures: 0,
            failed_at: None,
            opened: 0,
            probing: false,
            rights: Rights::default(),
        }
    }

    pub(super) fn queue_up(&mut self, priority: Priority) -> (Ticket, Arc<Notify>) {
        let (ticket, woken) = ((priority, self.tickets), Arc::new(Notify::new()));
        self.tickets += 1;
        self.row.insert(ticket, Arc::clone(&woken));
        (ticket, woken)
    }

    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.row.remove(&ticket);
    }

    /// Lets the first in the row look; everybody, while there is a rest to be told about.
    pub(super) fn wake(&self) {
        let count = if self.rest.is_some() { self.row.len() } else { 1 };
        self.row.values().take(count).for_each(|woken| woken.notify_one());
    }

    pub(super) fn admit(&mut self, ticket: Ticket, upload: u64, now: Timestamp) -> Admission {
        self.settle(now);
        if let Some(rest) = self.rest.filter(|rest| rest.until > now + MOMENT) {
            return Admission::Parked(rest);
        }
        if self.row.keys().next() != Some(&ticket) {
            return Admission::Wait(None);
        }
        if let Some(rest) = self.rest {
            return Admission::Wait(Some(rest.until));
        }
        if let Some(until) = self.broke_until(upload) {
            let parked = Parked { until, reason: ParkReason::Budget };
            return if until > now + MOMENT {
                Admission::Parked(parked)
            } else {
                Admission::Wait(Some(until))
            };
        }
        let full = self.in_flight() >= self.limit();
        if full || self.probing {
            let slot_free = self.lingering.front().copied();
            return Admission::Wait([slot_free, self.fewer_until].into_iter().flatten().min());
        }
        self.active += 1;
        self.probing = self.opened > 0;
        self.spend(upload, now);
        Admission::Enter { probe: self.probing }
    }

    /// Counts a request and what it sends.
    pub(super) fn spend(&mut self, upload: u64, now: Timestamp) {
        self.spent.add(1, now);
        self.uploaded.add(upload, now);
    }

    pub(super) fn release(&mut self, probe: bool, linger: bool, now: Timestamp) {
        self.active -= 1;
        if probe {
            self.probing = false;
        }
        if linger {
            self.lingering.push_back(now + LINGER);
        }
    }

    /// Draws the conclusion from an outcome. `jitter` is from 0 to 1.
    pub(super) fn judge(
        &mut self,
        outcome: Outcome,
        begun: Timestamp,
        now: Timestamp,
        jitter: f64,
    ) -> Standing {
        let stale = self.rest_began.is_some_and(|rest| begun <= rest);
        if matches!(outcome, Outcome::Failed { .. } | Outcome::ShutOut) {
            self.failed_at = Some(now);
        }
        match outcome {
            Outcome::Throttled { retry_after, concurrency } => {
                if concurrency {
                    self.fewer_until = Some(now + FEWER_FOR);
                }
                if !stale {
                    self.throttled += 1;
                }
                let own = growing(THROTTLED, self.throttled, jitter);
                self.rest(now, own.max(retry_after.unwrap_or_default()), ParkReason::Throttled);
            }
            Outcome::Failed { .. } if self.breaks && !stale => {
                self.failures += 1;
                if self.opened > 0 || self.failures >= FAILURES {
                    self.opened += 1;
                    self.rest(now, growing(OUTAGE, self.opened, jitter), ParkReason::Outage);
                }
            }
            Outcome::ShutOut if self.breaks && !stale => {
                self.opened += 1;
                self.rest(now, growing(SHUT_OUT, self.opened, jitter), ParkReason::ShutOut);
            }
            Outcome::Fine | Outcome::ItemFailed | Outcome::NotAllowed if !stale => {
                self.throttled = 0;
                self.failures = 0;
                self.opened = 0;
            }
            Outcome::Fine
            | Outcome::ItemFailed
            | Outcome::NotAllowed
            | Outcome::Failed { .. }
            | Outcome::ShutOut => {}
        }
        let rests_until = self.rest.map_or(now, |rest| rest.until.max(now));
        let steady = self.failed_at.is_none_or(|at| now > at + STEADY);
        Standing { rests_until, broken: self.opened > 0, steady }
    }

    /// Ends a rest that is our own caution.
    pub(super) fn end_rest(&mut self) {
        self.rights.forget();
        self.rest = self.rest.filter(|rest| !matches!(rest.reason, ParkReason::Outage | ParkReason::ShutOut));
    }

    pub(super) fn view(&mut self, now: Timestamp) -> LaneView {
        self.settle(now);
        let broke = self.broke_until(0).map(|until| Parked { until, reason: ParkReason::Budget });
        LaneView {
            in_flight: self.in_flight(),
            limit: self.limit(),
            waiting: self.row.len(),
            parked: self.rest.or(broke),
            probing: self.opened > 0,
            is_limited: self.rights.is_any_refused(),
            budget_left: u32::try_from(self.spent.left()).unwrap_or(u32::MAX),
            upload_left: self.uploaded.left(),
        }
    }

    /// Lets go of everything that lies in the past.
    fn settle(&mut self, now: Timestamp) {
        self.lingering.retain(|until| *until > now);
        self.rest = self.rest.filter(|rest| rest.until > now);
        self.fewer_until = self.fewer_until.filter(|until| *until > now);
        self.spent.settle(now);
        self.uploaded.settle(now);
    }

    fn rest(&mut self, now: Timestamp, wait: SignedDuration, reason: ParkReason) {
        let new = Parked { until: now + wait, reason };
        self.rest_began = Some(now);
        self.rest = Some(self.rest.filter(|old| old.until > new.until).unwrap_or(new));
    }

    /// The end of the wait for budget, if there is none left for a request that sends so much.
    fn broke_until(&self, upload: u64) -> Option<Timestamp> {
        self.spent.broke_until(1).max(self.uploaded.broke_until(upload))
    }

    fn in_flight(&self) -> usize {
        self.active + self.lingering.len()
    }

    fn limit(&self) -> usize {
        let most = if self.fewer_until.is_some() {
            self.config.concurrency.min(FEWER)
        } else {
            self.config.concurrency
        };
        most.max(1)
    }
}

/// What was used up of something that is allowed so often in any window of time.
struct Spending {
    window: SignedDuration,
    budget: u64,
    /// By second.
    spent: VecDeque<(i64, u64)>,
}

impl Spending {
    fn over(window: SignedDuration, budget: u64) -> Self {
        Self { window, budget: budget.max(1), spent: VecDeque::new() }
    }

    fn add(&mut self, amount: u64, now: Timestamp) {
        if amount == 0 {
            return;
        }
        let second = now.as_second();
        match self.spent.back_mut() {
            Some((last, count)) if *last >= second => *count += amount,
            _ => self.spent.push_back((second, amount)),
        }
    }

    /// Forgets what lies before the window.
    fn settle(&mut self, now: Timestamp) {
        let horizon = now.as_second() - self.window.as_secs();
        // What was used in that very second may have been used after its begin.
        while self.spent.front().is_some_and(|(second, _)| *second < horizon) {
            self.spent.pop_front();
        }
    }

    fn left(&self) -> u64 {
        self.budget.saturating_sub(self.spent.iter().map(|(_, count)| count).sum())
    }

    /// When there is room for so much more, if there is none now. What is more than the whole
    /// budget goes once nothing else is counted.
    fn broke_until(&self, wanted: u64) -> Option<Timestamp> {
        let mut over = wanted.min(self.budget).saturating_sub(self.left());
        self.spent
            .iter()
            .find(|(_, count)| {
                let enough = over > 0 && *count >= over;
                over = over.saturating_sub(*count);
                enough
            })
            .and_then(|(second, _)| Timestamp::from_second(second + self.window.as_secs() + 1).ok())
    }
}

/// The `times`th wait of a growing row: between three and four quarters of the doubled first.
pub(super) fn growing(
    (first, longest): (SignedDuration, SignedDuration),
    times: u32,
    jitter: f64,
) -> SignedDuration {
    let doubled = first.saturating_mul(1 << times.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.75 + jitter / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    fn state() -> State {
        State::new(LaneConfig::default(), true)
    }

    /// Asks for a slot and leaves the row.
    fn ask(state: &mut State, now: Timestamp) -> Admission {
        let (ticket, _) = state.queue_up(Priority::NewMail);
        let admission = state.admit(ticket, 0, now);
        state.leave(ticket);
        admission
    }

    /// One request from its begin to its end at the same moment, if the lane lets it.
    fn one(state: &mut State, now: Timestamp, outcome: Outcome) -> Option<Standing> {
        let Admission::Enter { probe } = ask(state, now) else { return None };
        state.release(probe, outcome == Outcome::Failed { answered: false }, now);
        Some(state.judge(outcome, now, now, 1.0))
    }

    fn throttled(retry_after: Option<i64>) -> Outcome {
        Outcome::Throttled { retry_after: retry_after.map(SignedDuration::from_secs), concurrency: false }
    }

    #[test]
    fn the_wait_is_the_longer_of_graphs_word_and_our_own_growing_one() {
        let mut state = state();
        assert_eq!(one(&mut state, at(0), throttled(Some(30))).unwrap().rests_until, at(30));
        // Graph says 1 each time; our own goes 2, 4, 8 ... 60.
        let mut now = at(30);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let until = one(&mut state, now, throttled(Some(1))).unwrap().rests_until;
            waits.push(until.duration_since(now).as_secs());
            now = until;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        one(&mut state, now, Outcome::Fine);
        assert_eq!(
            one(&mut state, now, throttled(None)).unwrap().rests_until,
            now + SignedDuration::from_secs(1)
        );
    }

    #[test]
    fn four_refused_at_once_count_as_one() {
        let mut state = state();
        for _ in 0..4 {
            assert!(matches!(ask(&mut state, at(0)), Admission::Enter { probe: false }));
        }
        for _ in 0..4 {
            state.release(false, false, at(1));
            state.judge(throttled(None), at(0), at(1), 1.0);
        }
        assert_eq!(state.view(at(1)).parked.unwrap().until, at(2));
    }

    #[test]
    fn a_refusal_that_names_concurrency_lowers_the_lane_to_three_for_ten_minutes() {
        let mut state = state();
        one(&mut state, at(0), Outcome::Throttled { retry_after: None, concurrency: true });
        assert_eq!(state.view(at(2)).limit, 3);
        for _ in 0..3 {
            assert!(matches!(ask(&mut state, at(2)), Admission::Enter { .. }));
        }
        assert!(matches!(ask(&mut state, at(2)), Admission::Wait(Some(until)) if until == at(600)));
        assert!(matches!(ask(&mut state, at(600)), Admission::Enter { .. }));
    }

    #[test]
    fn in_no_ten_minutes_more_requests_than_the_budget() {
        let config = LaneConfig { budget: 100, ..LaneConfig::default() };
        let mut state = State::new(config, true);
        let mut made = Vec::new();
        for tenth in 0..20_000 {
            let now = START + SignedDuration::from_millis(tenth * 100);
            if one(&mut state, now, Outcome::Fine).is_some() {
                made.push(now);
            }
        }
        for (index, first) in made.iter().enumerate() {
            let window = made[index..].iter().take_while(|t| t.duration_since(*first) < config.budget_window);
            assert!(window.count() <= 100);
        }
        // 2,000 s: four windows have begun, each was used up.
        assert_eq!(made.len(), 400);
        let left = state.view(at(2_000));
        assert_eq!((left.budget_left, left.parked.map(|p| p.reason)), (0, Some(ParkReason::Budget)));
    }

    #[test]
    fn the_budget_carries_more_than_eight_mails_a_second_for_ever() {
        let mut state = state();
        // Two requests a mail, 8.2 mails a second, for an hour.
        for request in 0..59_040_i64 {
            let now = START + SignedDuration::from_micros(request * 1_000_000 * 10 / 164);
            assert!(one(&mut state, now, Outcome::Fine).is_some(), "refused after {request} requests");
        }
    }

    #[test]
    fn five_failures_in_a_row_open_the_breaker_and_one_success_closes_it() {
        let mut state = state();
        let failed = Outcome::Failed { answered: true };
        for _ in 0..4 {
            assert!(!one(&mut state, at(0), failed).unwrap().broken);
        }
        let standing = one(&mut state, at(0), failed).unwrap();
        assert_eq!(standing, Standing { rests_until: at(10), broken: true, steady: false });
        assert!(matches!(
            ask(&mut state, at(5)),
            Admission::Parked(Parked { reason: ParkReason::Outage, .. })
        ));
        // One probe at a time; nobody else goes along.
        let Admission::Enter { probe: true } = ask(&mut state, at(10)) else { panic!("no probe") };
        assert!(matches!(ask(&mut state, at(10)), Admission::Wait(None)));
        state.release(true, false, at(11));
        assert_eq!(state.judge(failed, at(10), at(11), 1.0).rests_until, at(31));
        assert_eq!(
            one(&mut state, at(31), Outcome::Fine).unwrap(),
            Standing { rests_until: at(31), broken: false, steady: false }
        );
        assert!(!one(&mut state, at(31), failed).unwrap().broken);
    }

    #[test]
    fn probes_of_a_mailbox_that_shuts_us_out_come_at_least_every_quarter_of_an_hour() {
        let mut state = state();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let until = one(&mut state, now, Outcome::ShutOut).unwrap().rests_until;
            waits.push(until.duration_since(now).as_mins());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15]);
    }

    #[test]
    fn what_began_before_the_rest_neither_ends_nor_lengthens_it() {
        let mut state = state();
        for _ in 0..3 {
            ask(&mut state, at(0));
        }
        state.release(false, false, at(1));
        state.judge(Outcome::ShutOut, at(0), at(1), 1.0);
        for outcome in [Outcome::Fine, Outcome::ShutOut] {
            state.release(false, false, at(2));
            let standing = state.judge(outcome, at(0), at(2), 1.0);
            assert_eq!(standing, Standing { rests_until: at(61), broken: true, steady: false });
        }
    }

    #[test]
    fn a_shared_lane_rests_for_throttling_only() {
        let mut state = State::new(LaneConfig::default(), false);
        for _ in 0..20 {
            assert!(!one(&mut state, at(0), Outcome::Failed { answered: true }).unwrap().broken);
            assert!(!one(&mut state, at(0), Outcome::ShutOut).unwrap().broken);
        }
        assert!(one(&mut state, at(0), throttled(Some(20))).is_some());
        assert!(one(&mut state, at(1), Outcome::Fine).is_none());
    }

    #[test]
    fn what_is_sent_is_counted_over_five_minutes_and_a_giant_goes_alone() {
        let mut state = State::new(LaneConfig { upload_budget: 100, ..LaneConfig::default() }, true);
        let mut send = |bytes, now| {
            let (ticket, _) = state.queue_up(Priority::Send);
            let admission = state.admit(ticket, bytes, now);
            state.leave(ticket);
            match admission {
                Admission::Enter { probe } => {
                    state.release(probe, false, now);
                    Ok(())
                }
                Admission::Parked(parked) => Err(parked.until),
                Admission::Wait(_) => panic!("nobody else waits"),
            }
        };
        assert_eq!(send(60, at(0)), Ok(()));
        assert_eq!(send(40, at(10)), Ok(()));
        assert_eq!(send(1, at(20)), Err(at(301)));
        assert_eq!(send(0, at(20)), Ok(()), "reading costs nothing");
        assert_eq!(send(60, at(301)), Ok(()));
        assert_eq!(send(1_000, at(302)), Err(at(602)));
        assert_eq!(send(1_000, at(602)), Ok(()));
    }
}
