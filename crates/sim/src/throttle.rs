//! What an application may ask of a mailbox: four requests at a time, 10,000 in ten
//! minutes, 150 MB of uploads in five.
//!
//! Source: <https://learn.microsoft.com/en-us/graph/throttling-limits>. Refused
//! requests count too. Who asks again before the time that a refusal named is over
//! commits a violation, which is counted and nothing more.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::switches::Switches;

const REQUEST_SECONDS: i64 = 600;
const UPLOAD_SECONDS: i64 = 300;

/// What shares one budget: an application and the primary address of a mailbox.
pub(crate) type Scope = (Uuid, String);

/// Which budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Concurrency,
    /// Seconds until there is room again.
    Requests(u32),
    /// Seconds until there is room again.
    Upload(u32),
}

/// A refusal that the client has yet to read: from then on it must wait.
#[derive(Clone, Debug)]
pub(crate) struct Ban {
    pub(crate) scope: Scope,
    pub(crate) until: Timestamp,
}

/// The budgets of all scopes.
#[derive(Default)]
pub(crate) struct Gate {
    scopes: BTreeMap<Scope, Budget>,
}

#[derive(Default)]
struct Budget {
    in_flight: u32,
    requests: Window,
    uploaded: Window,
    /// The latest refusal: from when until when the client must wait.
    wait: Option<(Timestamp, Timestamp)>,
}

/// A sum over the latest seconds.
#[derive(Default)]
struct Window {
    seconds: VecDeque<(i64, u64)>,
    sum: u64,
}

impl Window {
    fn add(&mut self, second: i64, length: i64, amount: u64) {
        while let Some((_, gone)) = self.seconds.pop_front_if(|(old, _)| *old <= second - length) {
            self.sum -= gone;
        }
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += amount,
            _ => self.seconds.push_back((second, amount)),
        }
        self.sum += amount;
    }

    /// Seconds until the sum is no more than `most`, if nothing is added.
    fn wait(&self, second: i64, length: i64, most: u64) -> u32 {
        let mut left = self.sum;
        let room = self.seconds.iter().find(|(_, count)| {
            left = left.saturating_sub(*count);
            left <= most
        });
        room.map_or(1, |(old, _)| u32::try_from(old + length - second).unwrap_or(1).max(1))
    }
}

impl Gate {
    /// Counts a request in and answers how many its scope has in flight now, or which budget it
    /// exceeds. An exceeding one is counted too but not in flight.
    pub(crate) fn enter(
        &mut self,
        scope: &Scope,
        now: Timestamp,
        upload: u64,
        limits: &Switches,
    ) -> Result<u32, Excess> {
        let budget = self.scopes.entry(scope.clone()).or_default();
        let second = now.as_second();
        budget.requests.add(second, REQUEST_SECONDS, 1);
        budget.uploaded.add(second, UPLOAD_SECONDS, upload);
        let (requests, uploads) =
            (u64::from(limits.throttle_requests.0), u64::from(limits.throttle_upload.0));
        if budget.requests.sum > requests {
            // One less: the next one needs room too.
            let wait = budget.requests.wait(second, REQUEST_SECONDS, requests.saturating_sub(1));
            return Err(Excess::Requests(wait));
        }
        if budget.uploaded.sum > uploads {
            let wait = budget.uploaded.wait(second, UPLOAD_SECONDS, uploads.saturating_sub(upload));
            return Err(Excess::Upload(wait));
        }
        if budget.in_flight >= limits.throttle_concurrency.0 {
            return Err(Excess::Concurrency);
        }
        budget.in_flight += 1;
        Ok(budget.in_flight)
    }

    /// Counts a request out.
    pub(crate) fn leave(&mut self, scope: &Scope) {
        if let Some(budget) = self.scopes.get_mut(scope) {
            budget.in_flight = budget.in_flight.saturating_sub(1);
        }
    }

    /// From `from` on the client knows that it must wait.
    pub(crate) fn ban(&mut self, ban: Ban, from: Timestamp) {
        let budget = self.scopes.entry(ban.scope).or_default();
        budget.wait = match budget.wait {
            Some((earlier, until)) if until > from => Some((earlier.min(from), until.max(ban.until))),
            _ => Some((from, ban.until)),
        };
    }

    /// Whether a request that begins now should have waited.
    pub(crate) fn is_violation(&self, scope: &Scope, now: Timestamp) -> bool {
        let wait = self.scopes.get(scope).and_then(|budget| budget.wait);
        wait.is_some_and(|(from, until)| from <= now && now < until)
    }
}

/// `at` plus whole seconds.
pub(crate) fn after_seconds(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switches::Count;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn scope(mailbox: &str) -> Scope {
        (Uuid::nil(), mailbox.into())
    }

    #[test]
    fn the_fifth_is_refused_until_one_leaves_and_mailboxes_do_not_share() {
        let (mut gate, limits) = (Gate::default(), Switches::default());
        let enter = |gate: &mut Gate, mailbox| gate.enter(&scope(mailbox), at(0), 0, &limits);
        for expected in 1..=4 {
            assert_eq!(enter(&mut gate, "a"), Ok(expected));
        }
        assert_eq!(enter(&mut gate, "a"), Err(Excess::Concurrency));
        assert_eq!(enter(&mut gate, "b"), Ok(1));
        gate.leave(&scope("a"));
        assert_eq!(enter(&mut gate, "a"), Ok(4));
    }

    #[test]
    fn ten_thousand_in_ten_minutes_and_then_the_wait_that_makes_room() {
        let (mut gate, limits) = (Gate::default(), Switches::default());
        let scope = scope("a");
        for turn in 0..10_000 {
            assert_eq!(gate.enter(&scope, at(turn / 100), 0, &limits), Ok(1));
            gate.leave(&scope);
        }
        let Err(Excess::Requests(wait)) = gate.enter(&scope, at(100), 0, &limits) else {
            panic!("it let more in")
        };
        assert_eq!(wait, 500);
        assert_eq!(gate.enter(&scope, at(100 + i64::from(wait)), 0, &limits), Ok(1));
    }

    #[test]
    fn uploads_have_a_budget_of_their_own() {
        let mut gate = Gate::default();
        let limits = Switches { throttle_upload: Count(100), ..Switches::default() };
        assert_eq!(gate.enter(&scope("a"), at(0), 60, &limits), Ok(1));
        assert_eq!(gate.enter(&scope("a"), at(1), 60, &limits), Err(Excess::Upload(300)));
        assert_eq!(gate.enter(&scope("b"), at(1), 60, &limits), Ok(1));
    }

    #[test]
    fn only_who_knows_that_it_must_wait_commits_a_violation() {
        let mut gate = Gate::default();
        gate.ban(Ban { scope: scope("a"), until: at(20) }, at(10));
        let violations = [9, 10, 19, 20].map(|second| gate.is_violation(&scope("a"), at(second)));
        assert_eq!(violations, [false, true, true, false]);
        assert!(!gate.is_violation(&scope("b"), at(15)));
    }
}
