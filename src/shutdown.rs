//! `Shutdown` ends a run early and cleanly: on SIGTERM, on SIGINT, or when the run's time is over.
//!
//! It is checked between batches and in every wait on a connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Says whether to stop, and why. Clones share the signal.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    signal: Arc<AtomicBool>,
    deadline: Option<Instant>,
    grace: Option<Grace>,
}

/// Extra time after the flag was raised, and when that was first seen.
#[derive(Debug, Clone)]
struct Grace {
    time: Duration,
    since: Arc<OnceLock<Instant>>,
}

/// Why a run stops early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutdownReason {
    /// SIGTERM or SIGINT arrived.
    Signal,
    /// `max_duration` is over.
    Deadline,
}

impl Shutdown {
    /// A flag that SIGTERM and SIGINT raise.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn on_signals() -> std::io::Result<Shutdown> {
        let shutdown = Shutdown::default();
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&shutdown.signal))?;
        }
        Ok(shutdown)
    }

    /// The same flag, also raised once `limit` has passed from now.
    #[must_use]
    pub(crate) fn after(&self, limit: Option<Duration>) -> Shutdown {
        Shutdown {
            signal: Arc::clone(&self.signal),
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            grace: None,
        }
    }

    /// The same flag, seen `time` later by those who must finish something first.
    #[must_use]
    pub(crate) fn with_grace(&self, time: Duration) -> Shutdown {
        Shutdown {
            grace: Some(Grace {
                time,
                since: Arc::default(),
            }),
            ..self.clone()
        }
    }

    /// The rest of the run's time, if that is limited.
    #[must_use]
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// A flag that is never raised, for work that must be finished, such as a confirmation.
    #[must_use]
    pub fn never() -> Shutdown {
        Shutdown::default()
    }

    /// Why to stop now, if the flag is raised.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<ShutdownReason> {
        let raised = self.raised()?;
        let seen = |grace: &Grace| grace.since.get_or_init(Instant::now).elapsed() >= grace.time;
        self.grace.as_ref().is_none_or(seen).then_some(raised)
    }

    fn raised(&self) -> Option<ShutdownReason> {
        if self.signal.load(Ordering::Relaxed) {
            Some(ShutdownReason::Signal)
        } else if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            Some(ShutdownReason::Deadline)
        } else {
            None
        }
    }

    /// Sleeps for `time`, or until the flag is raised.
    pub(crate) fn sleep(&self, time: Duration) {
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
    fn grace_begins_when_the_flag_is_first_seen() {
        let shutdown = Shutdown::never().after(Some(Duration::ZERO));
        assert_eq!(
            shutdown.with_grace(Duration::from_secs(3600)).reason(),
            None
        );
        let none = shutdown.with_grace(Duration::ZERO);
        assert_eq!(none.reason(), Some(ShutdownReason::Deadline));
    }

    #[test]
    fn a_deadline_stops_and_its_absence_does_not() {
        assert_eq!(Shutdown::never().reason(), None);
        assert_eq!(
            Shutdown::never().after(Some(Duration::ZERO)).reason(),
            Some(ShutdownReason::Deadline)
        );
        assert_eq!(Shutdown::never().after(None).reason(), None);
    }
}
