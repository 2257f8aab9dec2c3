//! The shape of the two effects that everything needs: time and randomness.
//!
//! The binary makes the real ones, tests make their own; nothing below the
//! binary reads a clock or a random source by itself (design invariant 11).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that answers what `now` answers.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

type Fill = dyn FnMut(&mut [u8]) + Send;

/// Gives random bytes. Cheap to clone; clones share one stream.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<Fill>>);

impl Entropy {
    /// A source that fills buffers by `fill`: the operating system's generator
    /// in the binary, a seeded one in simulation.
    pub fn new(fill: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(fill)))
    }

    /// Fills the buffer.
    pub fn fill(&self, buffer: &mut [u8]) {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (*source)(buffer);
    }

    /// An array of random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A UUID version 7: sorts by `now`, to the millisecond.
    pub fn uuid(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    /// A secret word of 64 hexadecimal digits (256 bits).
    pub fn token(&self) -> String {
        use std::fmt::Write as _;
        self.bytes::<32>().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    }

    /// A number from 0 (included) to 1 (excluded), for jitter.
    pub fn unit(&self) -> f64 {
        let bits = u64::from_le_bytes(self.bytes()) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
