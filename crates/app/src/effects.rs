//! The real effects: the system's clock, its random generator, its files, its environment.

use std::path::PathBuf;
use std::sync::Arc;

use postroom_engine::doctor::{LookAtSpace, Space};
use postroom_graph::ReadFile;
use postroom_model::{Clock, Entropy, Timestamp};

/// The system's clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn system_clock() -> Clock {
    Clock::new(Timestamp::now)
}

/// The operating system's random generator.
pub fn system_entropy() -> Entropy {
    Entropy::new(|buffer| {
        aws_lc_rs::rand::fill(buffer)
            .expect("the operating system's generator gives bytes or the process is unsafe to run");
    })
}

/// A clock that starts at `start` and goes with tokio's: in a paused runtime it is virtual time.
pub fn tokio_clock(start: Timestamp) -> Clock {
    let begun = tokio::time::Instant::now();
    Clock::new(move || {
        let gone = jiff::SignedDuration::try_from(begun.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
        start.checked_add(gone).unwrap_or(Timestamp::MAX)
    })
}

/// A generator that gives the same bytes for the same seed.
pub fn seeded_entropy(seed: u64) -> Entropy {
    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
    let mut source = SmallRng::seed_from_u64(seed);
    Entropy::new(move |buffer| source.fill_bytes(buffer))
}

/// Reads a small text file.
pub fn read_file() -> ReadFile {
    Arc::new(|path| std::fs::read_to_string(path))
}

/// Looks how much room is left on the disks of these places, by their names.
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstatvfs.html>
pub fn look_at_space(places: Vec<(&'static str, PathBuf)>) -> LookAtSpace {
    Arc::new(move || {
        let look = |(place, path): &(&'static str, PathBuf)| match rustix::fs::statvfs(path) {
            Ok(disk) => Ok(Space {
                place: format!("{place}: {}", path.display()),
                free: disk.f_bavail.saturating_mul(disk.f_frsize),
                total: disk.f_blocks.saturating_mul(disk.f_frsize),
            }),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        places.iter().map(look).collect()
    })
}

/// One variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
