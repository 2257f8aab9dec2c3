//! Where background work runs: tasks that end together, and CPU work that in
//! virtual time stays on the one thread.
//!
//! Made by the binary or a test; everything below spawns only through it.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where CPU work above a millisecond goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// To the blocking pool.
    Pool,
    /// It stays where it is: one thread, virtual time.
    Inline,
}

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
