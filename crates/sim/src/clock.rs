//! The simulator's time: what the embedder's clock says, plus an offset of its own.
//!
//! The offset is moved by the control API, so that seven days of a
//! subscription's life pass in a moment. Nothing else in the crate knows the time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Where the simulator takes time from. Cheap to clone; clones share one offset.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ahead_ms: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that answers what `now` answers, until it is advanced.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(now), ahead_ms: Arc::new(AtomicI64::new(0)) }
    }

    /// The present moment of the simulator, the latest possible one at most.
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        (self.source)().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// Moves the offset forward.
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let ahead = self.ahead_ms.load(Ordering::Relaxed).saturating_add(by);
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// `at` moved by `by`, the latest possible moment at most.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// `at` without the fraction of its second: the precision of a message's times.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_offset_and_the_end_of_time_is_not_passed() {
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        let clone = clock.clone();
        clone.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60));
        clone.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
        assert_eq!(later(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
    }
}
