//! The time that a command may take (`--timeout`): to the snapshot point, to stop all tasks, and to write the snapshot.

use super::TraceError;
use std::time::{Duration, Instant};

/// When a command gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    end: Instant,
    seconds: f64,
}

impl Deadline {
    /// In `seconds` from now.
    pub(crate) fn after(seconds: f64) -> Self {
        const LONGEST: Duration = Duration::from_secs(1 << 32);
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST);
        Deadline { end: Instant::now() + limit, seconds }
    }

    /// The rest of the time; zero when it has passed.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The whole time, as the user gave it.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// An error once it has passed.
    pub(crate) fn check(&self) -> Result<(), TraceError> {
        match self.left() {
            Duration::ZERO => Err(TraceError::Overdue { seconds: self.seconds }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_end_are_long() {
        assert!(Deadline::after(0.0).check().is_err());
        for seconds in [f64::INFINITY, f64::NAN, -1.0, 1e300] {
            assert!(Deadline::after(seconds).check().is_ok(), "{seconds}");
        }
    }
}
