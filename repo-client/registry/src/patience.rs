//! How often and when to try again.

use crate::{ClientOptions, Event, RegistryError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread;
use std::time::{Duration, SystemTime};

/// Why one attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The next attempt may succeed; the registry may have named a time for it.
    Passing(RegistryError, Option<Duration>),
    /// The host has never answered: more often a misspelt name than a registry that is just starting.
    Nobody(RegistryError),
    /// It will not.
    Final(RegistryError),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Failure::Final(error)
    }
}

/// Further attempts if the host has never answered.
const RETRIES_NOBODY: u32 = 2;

/// The attempts of one operation. They are counted anew when the operation has come further than ever before, so the
/// size of the transfer bounds their number.
#[derive(Debug)]
pub(crate) struct Patience<'a> {
    options: &'a ClientOptions,
    what: &'a str,
    failed: u32,
    best: u64,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(options: &'a ClientOptions, what: &'a str) -> Self {
        Patience { options, what, failed: 0, best: 0 }
    }

    /// The same after `failed` attempts without progress.
    pub(crate) fn resumed(options: &'a ClientOptions, what: &'a str, failed: u32) -> Self {
        Patience { failed, ..Self::new(options, what) }
    }

    /// The operation has reached `position`.
    pub(crate) fn reached(&mut self, position: u64) {
        if position > self.best {
            self.best = position;
            self.failed = 0;
        }
    }

    /// Waits before the next attempt, or gives up.
    pub(crate) fn after(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let options = self.options;
        let (error, asked, retries) = match failure {
            Failure::Passing(error, asked) => (error, asked, options.retries),
            Failure::Nobody(error) => (error, None, options.retries.min(RETRIES_NOBODY)),
            Failure::Final(error) => return Err(error),
        };
        let wait = jitter(options.backoff.saturating_mul(1 << self.failed.min(16))).max(asked.unwrap_or_default());
        if self.failed >= retries || asked.is_some_and(|asked| asked > options.longest_wait) {
            return Err(error);
        }
        let wait = wait.min(options.longest_wait);
        self.failed += 1;
        let why = error.to_string();
        options.events.event(Event::Retry { what: self.what, failed: self.failed, wait, why: &why });
        thread::sleep(wait);
        Ok(())
    }

    /// Runs `attempt` until it succeeds or no attempt is left.
    pub(crate) fn run<T>(mut self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, RegistryError> {
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => self.after(failure)?,
            }
        }
    }
}

/// Half to all of `wait`, so that many clients do not come back at the same moment.
fn jitter(wait: Duration) -> Duration {
    wait / 2 + wait.mul_f64((random() % 1024) as f64 / 2048.0)
}

/// A random number that need not be secret (RandomState is keyed by the kernel's random numbers).
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The value of a `Retry-After` header: seconds, or a date.
pub(crate) fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        true => Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX)))),
        false => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn retry_after() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        let parse = |text| parse_retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(parse("120"), Some(120));
        assert_eq!(parse(" 0 "), Some(0));
        assert_eq!(parse("Wed, 21 Oct 2015 07:29:00 GMT"), Some(60));
        assert_eq!(parse("Wed, 21 Oct 2015 07:27:00 GMT"), Some(0));
        assert_eq!(parse("99999999999999999999999"), Some(u64::from(u32::MAX)));
        for bad in ["", "-1", "1.5", "soon"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn attempts_end_unless_something_moves() {
        let told = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&told);
        let options = ClientOptions {
            retries: 3,
            backoff: Duration::ZERO,
            events: Arc::new(move |_: Event<'_>| _ = counter.fetch_add(1, Ordering::Relaxed)),
            ..ClientOptions::default()
        };
        let passing = || Failure::Passing(RegistryError::PlainHttp("x".into()), None);
        let mut count = 0;
        let outcome = Patience::new(&options, "x").run(|| -> Result<(), Failure> {
            count += 1;
            Err(passing())
        });
        assert!(outcome.is_err());
        assert_eq!((count, told.load(Ordering::Relaxed)), (4, 3));

        let mut patience = Patience::new(&options, "x");
        for position in 1..100 {
            patience.reached(position);
            patience.after(passing()).unwrap();
        }
        // The same positions again are no progress.
        let mut further = 0;
        while patience.after(passing()).is_ok() {
            patience.reached(further % 99);
            further += 1;
        }
        assert_eq!(further, 2);
        let late = Failure::Passing(RegistryError::PlainHttp("x".into()), Some(Duration::from_secs(3600)));
        assert!(Patience::new(&options, "x").after(late).is_err());
    }
}
