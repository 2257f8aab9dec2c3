//! How fast endpoints answer, and what comes of it.
//!
//! Over ten minutes: more than 10 % of answers later than 3 s make an endpoint slow,
//! and new notifications to it wait ten minutes; more than 15 % later than 10 s make
//! it drop, and new ones are thrown away for ten minutes. Source:
//! <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>.
//! That fewer than ten answers condemn nobody is our reading.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::clock::later;

const WINDOW: SignedDuration = SignedDuration::from_mins(10);
const PENALTY: Duration = Duration::from_secs(600);
/// An answer after this is a slow one.
pub(crate) const SLOW: SignedDuration = SignedDuration::from_secs(3);
/// An answer after this is a late one; nobody waits longer.
pub(crate) const LATE: SignedDuration = SignedDuration::from_secs(10);
const FEWEST: usize = 10;

/// What happens to new notifications of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    /// They wait until then.
    Slow(Timestamp),
    /// They are thrown away until then.
    Drop(Timestamp),
}

/// All endpoints, by host.
#[derive(Default)]
pub(crate) struct Health {
    hosts: BTreeMap<String, Host>,
}

#[derive(Default)]
struct Host {
    answers: VecDeque<(Timestamp, SignedDuration)>,
    penalty: Option<Condition>,
}

impl Health {
    /// Notes how long an endpoint took to answer.
    pub(crate) fn note(&mut self, url: &str, now: Timestamp, took: SignedDuration) {
        let host = self.hosts.entry(host(url)).or_default();
        host.answers.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        host.answers.push_back((now, took));
        let all = host.answers.len();
        if all < FEWEST || host.condition(now) != Condition::Well {
            return;
        }
        let slower = |than| host.answers.iter().filter(|(_, took)| *took >= than).count();
        let end = later(now, PENALTY);
        host.penalty = if slower(LATE) * 100 > all * 15 {
            Some(Condition::Drop(end))
        } else if slower(SLOW) * 100 > all * 10 {
            Some(Condition::Slow(end))
        } else {
            None
        };
    }

    /// What happens now to a new notification.
    pub(crate) fn condition(&self, url: &str, now: Timestamp) -> Condition {
        self.hosts.get(&host(url)).map_or(Condition::Well, |host| host.condition(now))
    }
}

impl Host {
    fn condition(&self, now: Timestamp) -> Condition {
        match self.penalty {
            Some(penalty @ (Condition::Slow(end) | Condition::Drop(end))) if now < end => penalty,
            _ => Condition::Well,
        }
    }
}

fn host(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://hooks.example/a";

    fn judged(took: [i64; 20]) -> Condition {
        let mut health = Health::default();
        for seconds in took {
            health.note(URL, Timestamp::UNIX_EPOCH, SignedDuration::from_secs(seconds));
        }
        health.condition("https://hooks.example/b", Timestamp::UNIX_EPOCH)
    }

    fn with(slow: usize, seconds: i64) -> [i64; 20] {
        std::array::from_fn(|at| if at >= 20 - slow { seconds } else { 0 })
    }

    #[test]
    fn one_in_ten_may_be_slow_and_three_in_twenty_late() {
        let end = later(Timestamp::UNIX_EPOCH, PENALTY);
        assert_eq!(judged(with(2, 4)), Condition::Well);
        assert_eq!(judged(with(3, 4)), Condition::Slow(end));
        assert_eq!(judged([10; 20]), Condition::Drop(end));
    }

    #[test]
    fn a_penalty_ends_and_old_answers_are_forgotten() {
        let mut health = Health::default();
        for _ in 0..20 {
            health.note(URL, Timestamp::UNIX_EPOCH, LATE);
        }
        let end = later(Timestamp::UNIX_EPOCH, PENALTY);
        assert_eq!(health.condition(URL, end), Condition::Well);
        for _ in 0..20 {
            health.note(URL, end, SignedDuration::ZERO);
        }
        assert_eq!(health.condition(URL, end), Condition::Well);
        assert_eq!(health.condition("https://other.example/", Timestamp::UNIX_EPOCH), Condition::Well);
    }
}
