//! Layers at a time.

use crate::RepoError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Runs `job` for each of `count`, `jobs` at a time. If one fails, no further one begins, and the function returns its
/// error.
pub(crate) fn all<T: Send>(
    count: usize,
    jobs: usize,
    job: impl Fn(usize) -> Result<T, RepoError> + Sync,
) -> Result<Vec<T>, RepoError> {
    let board = Board::new(count);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            scope.spawn(|| board.work(&job));
        }
        (0..count).map(|index| board.take(index)).collect()
    })
}

/// Results that come in any order, and for which callers wait.
#[derive(Debug)]
pub(crate) struct Board<T> {
    slots: Mutex<Vec<Option<Result<T, RepoError>>>>,
    changed: Condvar,
    next: AtomicUsize,
    stop: AtomicBool,
}

impl<T> Board<T> {
    pub(crate) fn new(count: usize) -> Self {
        Board {
            slots: Mutex::new((0..count).map(|_| None).collect()),
            changed: Condvar::new(),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Works on one after the other until all are done or one has failed. Several threads call it at once.
    pub(crate) fn work(&self, job: impl Fn(usize) -> Result<T, RepoError>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.len() {
                return;
            }
            let result = match self.stop.load(Ordering::Relaxed) {
                true => Err(RepoError::Stopped),
                false => job(index),
            };
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let failed = result.is_err();
            slots[index] = Some(result);
            // The flag is set last, so that a thread that finds a job cancelled also finds the error.
            if failed {
                self.stop();
            }
            self.changed.notify_all();
        }
    }

    /// Lets no further job begin.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn len(&self) -> usize {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for one result. If another job has failed, returns that one's error.
    pub(crate) fn take(&self, index: usize) -> Result<T, RepoError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slots.get_mut(index).map(Option::take) {
                Some(Some(Err(RepoError::Stopped))) | None => {
                    let failed = slots
                        .iter_mut()
                        .find(|slot| matches!(slot, Some(Err(error)) if !matches!(error, RepoError::Stopped)));
                    return match failed.and_then(Option::take) {
                        Some(Err(error)) => Err(error),
                        _ => Err(RepoError::Stopped),
                    };
                }
                Some(Some(result)) => return result,
                Some(None) => slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_job_that_failed() {
        for round in 0..500 {
            let result = all(12, 4, |index| match index == round % 12 {
                true => Err(RepoError::NoName(index.to_string())),
                false => Ok(index),
            });
            assert!(matches!(&result, Err(RepoError::NoName(name)) if *name == (round % 12).to_string()), "{result:?}");
        }
        assert_eq!(all(5, 3, Ok).unwrap(), [0, 1, 2, 3, 4]);
        assert!(all(0, 3, Ok).unwrap().is_empty());
    }
}
