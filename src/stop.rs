//! The one flag that ends a run early in good order: SIGTERM, SIGINT, or the run's time is over.
//!
//! It is looked at between batches and in every wait on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether to stop, and why. Clones share the signal.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    signal: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Why a run stops early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// SIGTERM or SIGINT came.
    Signal,
    /// `max_duration` is over.
    Deadline,
}

impl Stop {
    /// A flag that SIGTERM and SIGINT raise.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Stop> {
        let stop = Stop::default();
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop.signal))?;
        }
        Ok(stop)
    }

    /// The same flag, raised as well once `limit` has gone by from now.
    #[must_use]
    pub fn after(&self, limit: Option<Duration>) -> Stop {
        Stop {
            signal: Arc::clone(&self.signal),
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
        }
    }

    /// A flag that nothing raises, for what must be finished, such as a confirmation.
    #[must_use]
    pub fn never() -> Stop {
        Stop::default()
    }

    /// Why to stop now, if so.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if self.signal.load(Ordering::Relaxed) {
            Some(Reason::Signal)
        } else if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            Some(Reason::Deadline)
        } else {
            None
        }
    }

    /// Waits for `time`; less if the flag is raised meanwhile.
    pub fn sleep(&self, time: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let until = Instant::now() + time;
        while self.reason().is_none() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(STEP)),
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_stops_and_its_absence_does_not() {
        assert_eq!(Stop::never().reason(), None);
        assert_eq!(
            Stop::never().after(Some(Duration::ZERO)).reason(),
            Some(Reason::Deadline)
        );
        assert_eq!(Stop::never().after(None).reason(), None);
    }
}
