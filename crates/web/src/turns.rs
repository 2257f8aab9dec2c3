//! Lets only a few do costly work at once. A check of a password takes 19 MiB and a
//! processor for a while; who comes in between waits their turn.

use std::sync::Arc;

use postroom_engine::Tasks;
use tokio::sync::{Semaphore, oneshot};

/// As many work at once.
const AT_ONCE: usize = 4;

/// The places of those who work.
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Waits for a place, then does the work in a task of its own: a browser that goes away
    /// must not free the place while the work still runs. Gives nothing if the process ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tasks: &Tasks,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let (tell, done) = oneshot::channel();
        tasks.spawn(async move {
            let result = work.await;
            drop(place);
            let _asker_has_gone = tell.send(result);
        });
        done.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{future::join_all, poll};
    use postroom_engine::Cpu;

    use super::*;

    /// Work that begins, and ends when it is let.
    async fn work(begun: Arc<AtomicUsize>, let_end: Arc<Semaphore>) {
        begun.fetch_add(1, Ordering::Relaxed);
        let _let = let_end.acquire().await;
    }

    async fn others_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn only_a_few_work_at_once_even_if_those_who_asked_go_away() {
        let (turns, tasks) = (Turns::new(), Tasks::new(Cpu::Inline));
        let (begun, let_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || turns.run(&tasks, work(Arc::clone(&begun), Arc::clone(&let_end)));

        let mut gone = Box::pin(join_all((0..10).map(|_| ask())));
        assert!(poll!(&mut gone).is_pending());
        others_run().await;
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE);
        drop(gone);

        let mut waiting = Box::pin(join_all((0..3).map(|_| ask())));
        assert!(poll!(&mut waiting).is_pending());
        others_run().await;
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE, "the places are still taken");

        let_end.add_permits(AT_ONCE);
        assert_eq!(waiting.await, [Some(()); 3]);
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE + 3, "who left the queue costs nothing");
    }
}
