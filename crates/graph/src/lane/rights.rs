//! What the application may do beyond reading, where Graph refused it: a mailbox that
//! can be read is read, whatever else the application may not.
//!
//! Part of a lane's state, as pure as the rest. Rule kept: what was refused is tried
//! again by one request after a growing wait, and costs nothing meanwhile.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::state::growing;

/// What an application may be allowed apart from reading
/// (<https://learn.microsoft.com/en-us/graph/permissions-reference#mail-permissions>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// `Mail.ReadWrite`.
    Write,
    /// `Mail.Send`.
    Send,
}

/// The first wait, doubled each time, up to the longest.
const WAITS: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_mins(15));

struct Refusal {
    at: Timestamp,
    until: Timestamp,
    times: u32,
}

/// The rights that were refused.
#[derive(Default)]
pub(super) struct Rights(BTreeMap<Right, Refusal>);

impl Rights {
    /// Until when nothing that needs this right is asked.
    pub(super) fn barred_until(&self, right: Option<Right>, now: Timestamp) -> Option<Timestamp> {
        let refusal = self.0.get(&right?)?;
        (refusal.until > now).then_some(refusal.until)
    }

    /// Graph refused a request that was begun at `begun`; `jitter` is from 0 to 1. Those that were under way
    /// together count once.
    pub(super) fn refuse(&mut self, right: Right, begun: Timestamp, now: Timestamp, jitter: f64) {
        let times = match self.0.get(&right) {
            Some(refusal) if begun <= refusal.at => return,
            Some(refusal) => refusal.times + 1,
            None => 1,
        };
        self.0.insert(right, Refusal { at: now, until: now + growing(WAITS, times, jitter), times });
    }

    /// Graph did what needs this right.
    pub(super) fn allow(&mut self, right: Right) {
        self.0.remove(&right);
    }

    /// Everything is tried again at once.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether any was refused, and not granted since.
    pub(super) fn is_any_refused(&self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_refused_right_is_tried_again_after_growing_waits_and_the_other_is_not_touched() {
        let mut rights = Rights::default();
        let mut now = at(10);
        let mut waits = Vec::new();
        for _ in 0..6 {
            rights.refuse(Right::Write, now, now, 1.0);
            let until = rights.barred_until(Some(Right::Write), now).unwrap();
            waits.push(until.duration_since(now).as_secs());
            // One that was under way beside it.
            rights.refuse(Right::Write, now, now + SignedDuration::from_secs(1), 1.0);
            now = until;
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        assert_eq!(rights.barred_until(Some(Right::Write), now), None);
        assert_eq!(rights.barred_until(Some(Right::Send), at(10)), None);
        assert_eq!(rights.barred_until(None, at(10)), None);
        assert!(rights.is_any_refused());
        rights.allow(Right::Write);
        assert!(!rights.is_any_refused());
    }
}
