//! Where background work runs: tasks that end together, and CPU work that in
//! virtual time stays on the one thread.
//!
//! Made by the binary or a test; everything below spawns only through it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where CPU work above a millisecond goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// To the blocking pool.
    Pool,
    /// It stays where it is: one thread, virtual time.
    Inline,
}

/// A loop that panicked begins again after this long.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Owns every spawned task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
    cpu: Cpu,
}

impl Tasks {
    /// An empty set of tasks.
    pub fn new(cpu: Cpu) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            cpu,
        }
    }

    /// Runs `task` in the background until it ends or everything is killed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = kill.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs a loop in the background until it ends by itself, and anew a second after a panic: a mishap
    /// must not end the care of a mailbox for good. `name` stands in the log.
    pub fn keep<F>(&self, name: String, run: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(async move {
            while AssertUnwindSafe(run()).catch_unwind().await.is_err() {
                tracing::error!(name, "A loop panicked; it begins again. Please report this as a bug");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        });
    }

    /// Carries out CPU work without holding up other tasks.
    pub async fn cpu<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.cpu {
            Cpu::Inline => work(),
            Cpu::Pool => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "this is the seam that everything else must use"
                )]
                let done = tokio::task::spawn_blocking(work).await;
                match done {
                    Ok(value) => value,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
        }
    }

    /// Cancelled when tasks are to end in an orderly way.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Asks every task to end, and waits until all have.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Drops every task at its next await, as a power cut would, and waits until all are gone.
    pub async fn kill(&self) {
        self.kill.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_begins_again_and_one_that_ends_is_over() {
        let (tasks, times) = (Tasks::new(Cpu::Inline), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&times);
        tasks.keep("test".into(), move || {
            let time = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(time >= 2, "a mishap") }
        });
        tokio::time::sleep(10 * AFTER_PANIC).await;
        assert_eq!(times.load(Ordering::Relaxed), 3);
        tasks.stop().await;
    }
}
