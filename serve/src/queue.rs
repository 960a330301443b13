//! Requests that wait for a prepared instance, first come, first served, and a bounded number of them.
//!
//! The semaphore has at least one permit for each instance that is prepared: the pool reports each one. It may have
//! more of them, since prepared instances can end by themselves. So a request that has a permit and finds no
//! instance waits again; one that finds an instance has used the permit up.

use crate::response::{Reason, Refusal};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, Instant, timeout_at};

#[derive(Debug)]
pub(crate) struct Queue {
    ready: Semaphore,
    waiting: AtomicUsize,
}

/// A request that waits. It no longer does when this is dropped, which also happens when its client goes.
struct Waiting<'a, G: Fn(usize)> {
    count: &'a AtomicUsize,
    grow: G,
}

impl<G: Fn(usize)> Drop for Waiting<'_, G> {
    fn drop(&mut self) {
        let before = self.count.fetch_sub(1, Ordering::Relaxed);
        (self.grow)(before - 1);
    }
}

impl Queue {
    pub(crate) fn new() -> Self {
        Queue { ready: Semaphore::new(0), waiting: AtomicUsize::new(0) }
    }

    /// So many more instances are prepared.
    pub(crate) fn add(&self, count: usize) {
        // Permits beyond the prepared ones are used up by those who find nothing; a semaphore has room for 2^61.
        self.ready.add_permits(count);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until `take` finds an instance. `grow` hears how many requests wait.
    pub(crate) async fn take<T>(
        &self,
        most: usize,
        patience: Duration,
        grow: impl Fn(usize),
        mut take: impl FnMut() -> Result<Option<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let mut taken = |permit: SemaphorePermit<'_>| {
            // If the instance could not be taken, it is still there for the next one.
            let found = take()?;
            permit.forget();
            Ok(found)
        };
        while let Ok(permit) = self.ready.try_acquire() {
            if let Some(found) = taken(permit)? {
                return Ok(found);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { count: &self.waiting, grow };
        if before >= most {
            return Err(Refusal::new(Reason::Queue, "too many requests wait for this function; try again"));
        }
        (waiting.grow)(before + 1);
        let deadline = Instant::now() + patience;
        loop {
            let permit = timeout_at(deadline, self.ready.acquire()).await;
            let Ok(Ok(permit)) = permit else {
                return Err(Refusal::new(Reason::QueueTimeout, "no instance was free in time; try again"));
            };
            if let Some(found) = taken(permit)? {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;
    use std::cell::Cell;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn permits_without_an_instance_are_used_up() {
        let queue = Queue::new();
        queue.add(3);
        let tries = Cell::new(0);
        let take = || {
            tries.set(tries.get() + 1);
            Ok((tries.get() == 3).then_some(7))
        };
        assert_eq!(queue.take(0, LONG, |_| (), take).await.unwrap(), 7);
        // Nothing is left, and nobody may wait.
        let refused = queue.take(0, LONG, |_| (), || Ok(Some(1))).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Queue);
        // A failure leaves the instance for the next one.
        queue.add(1);
        let failed = queue.take::<()>(0, LONG, |_| (), || Err(Refusal::resources("x"))).await;
        assert_eq!(failed.unwrap_err().reason, Reason::Resources);
        assert_eq!(queue.take(0, LONG, |_| (), || Ok(Some(1))).await.unwrap(), 1);
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_counted_and_does_not_wait_for_ever() {
        let queue = Queue::new();
        let grown = Cell::new(0);
        let refused = queue.take(1, LONG, |count| grown.set(grown.get() + count), || Ok(Some(1))).await.unwrap_err();
        assert_eq!((refused.reason, grown.get(), queue.waiting()), (Reason::QueueTimeout, 1, 0));
        // A request whose client goes away leaves its place.
        let wanted = Cell::new(0);
        let gone = tokio::time::timeout(LONG / 2, queue.take(1, LONG, |count| wanted.set(count), || Ok(Some(1)))).await;
        assert!(gone.is_err());
        assert_eq!(wanted.get(), 0);
        assert_eq!(queue.waiting(), 0);
        let (first, ()) = tokio::join!(queue.take(1, LONG, |_| (), || Ok(Some(1))), async { queue.add(1) });
        assert_eq!(first.unwrap(), 1);
    }
}
