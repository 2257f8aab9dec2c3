//! How many requests of one mailbox are served at a time: four.
//!
//! Microsoft 365 allows an application four concurrent requests to a mailbox
//! (<https://learn.microsoft.com/en-us/graph/throttling-limits>). A fifth is
//! answered 429 at once and counted as a violation.

use std::collections::BTreeMap;

/// Most requests of one mailbox that are served at a time.
pub(crate) const CONCURRENCY: u32 = 4;

/// Requests that are being served, by mailbox.
#[derive(Default)]
pub(crate) struct Gate {
    in_flight: BTreeMap<String, u32>,
}

impl Gate {
    /// Counts a request in and returns how many the mailbox has now; `None`
    /// when it already has as many as allowed.
    pub(crate) fn enter(&mut self, mailbox: &str) -> Option<u32> {
        let in_flight = self.in_flight.entry(mailbox.to_owned()).or_insert(0);
        if *in_flight >= CONCURRENCY {
            return None;
        }
        *in_flight += 1;
        Some(*in_flight)
    }

    /// Counts a request out.
    pub(crate) fn leave(&mut self, mailbox: &str) {
        if let Some(in_flight) = self.in_flight.get_mut(mailbox) {
            *in_flight = in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_is_refused_until_one_leaves_and_mailboxes_do_not_share() {
        let mut gate = Gate::default();
        for expected in 1..=CONCURRENCY {
            assert_eq!(gate.enter("a"), Some(expected));
        }
        assert_eq!(gate.enter("a"), None);
        assert_eq!(gate.enter("b"), Some(1));
        gate.leave("a");
        assert_eq!(gate.enter("a"), Some(CONCURRENCY));
    }
}
