//! Settings that act some time after they were made, as changes in Entra ID and
//! Exchange Online do.

use jiff::Timestamp;

/// A value and the changes of it that do not act yet.
#[derive(Clone, Debug)]
pub(crate) struct Lagging<T> {
    first: T,
    /// From when on which value acts, in order.
    changes: Vec<(Timestamp, T)>,
}

impl<T> Lagging<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { first: value, changes: Vec::new() }
    }

    /// What acts at a moment.
    pub(crate) fn at(&self, now: Timestamp) -> &T {
        self.changes.iter().rfind(|(from, _)| *from <= now).map_or(&self.first, |(_, value)| value)
    }

    /// What was set last, whether it acts already or not.
    pub(crate) fn set_last(&self) -> &T {
        self.changes.last().map_or(&self.first, |(_, value)| value)
    }

    /// Sets a value that acts from a moment on. What was to act later than that never does.
    pub(crate) fn set(&mut self, value: T, from: Timestamp) {
        self.changes.retain(|(earlier, _)| *earlier < from);
        self.changes.push((from, value));
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_change_acts_when_its_time_has_come() {
        let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let mut value = Lagging::new(0);
        value.set(1, at(10));
        value.set(2, at(20));
        assert_eq!([at(9), at(10), at(19), at(20)].map(|now| *value.at(now)), [0, 1, 1, 2]);
        value.set(3, at(15));
        assert_eq!((*value.at(at(30)), *value.set_last()), (3, 3));
    }
}
