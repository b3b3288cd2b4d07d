//! `Shutdown` ends a run early and cleanly: on SIGTERM, on SIGINT, or when the run's time is over.
//!
//! It is checked between batches and in every wait on a connection.

use crate::clock::{Instant, sleep};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Time to finish what was begun, such as a confirmation, once the run is to end.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Says whether to stop, and why. Clones share the signal.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    signal: Arc<Signal>,
    deadline: Option<Instant>,
    /// The milliseconds by which the deadline is put off for now.
    extension: Arc<AtomicU64>,
    grace: Duration,
}

/// A flag that signals raise, and when that was first seen.
#[derive(Debug, Default)]
struct Signal {
    raised: Arc<AtomicBool>,
    seen: OnceLock<Instant>,
}

/// The flag that the handlers of the process raise, for waits without a [`Shutdown`].
static SIGNALS: OnceLock<Arc<Signal>> = OnceLock::new();

/// Whether SIGTERM or SIGINT has arrived.
#[must_use]
pub(crate) fn has_signal() -> bool {
    SIGNALS
        .get()
        .is_some_and(|signal| signal.raised.load(Ordering::Relaxed))
}

/// Puts off the deadline until it is dropped; a deadline that has passed by then is then.
#[derive(Debug)]
pub(crate) struct Extension {
    extension: Arc<AtomicU64>,
    deadline: Instant,
}

impl Drop for Extension {
    fn drop(&mut self) {
        let beyond = Instant::now().saturating_duration_since(self.deadline);
        self.extension.store(millis(beyond), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
            signal_hook::flag::register(signal, Arc::clone(&shutdown.signal.raised))?;
        }
        // a later flag of the same process gets the same signals
        let _ = SIGNALS.set(Arc::clone(&shutdown.signal));
        Ok(shutdown)
    }

    /// The same flag, also raised once `limit` has passed from now.
    #[must_use]
    pub(crate) fn after(&self, limit: Option<Duration>) -> Shutdown {
        Shutdown {
            signal: Arc::clone(&self.signal),
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            ..Shutdown::default()
        }
    }

    /// The same flag, seen [`GRACE`] later by those who must finish something first.
    #[must_use]
    pub(crate) fn with_grace(&self) -> Shutdown {
        Shutdown {
            grace: GRACE,
            ..self.clone()
        }
    }

    /// Puts off the deadline, if there is one, by `time` for all clones, until the extension is
    /// dropped.
    #[must_use]
    pub(crate) fn extend(&self, time: Duration) -> Option<Extension> {
        let deadline = self.deadline?;
        self.extension.store(millis(time), Ordering::Relaxed);
        Some(Extension {
            extension: Arc::clone(&self.extension),
            deadline,
        })
    }

    /// The rest of the run's time, if that is limited.
    #[must_use]
    pub(crate) fn left(&self) -> Option<Duration> {
        let deadline = self.deadline?.checked_add(self.extension())?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// A flag that is never raised.
    #[must_use]
    pub fn never() -> Shutdown {
        Shutdown::default()
    }

    /// Raises the flag, as a signal does.
    pub fn raise(&self) {
        self.signal.raised.store(true, Ordering::Relaxed);
    }

    /// Why to stop now, if the flag is raised.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<ShutdownReason> {
        let now = Instant::now();
        let raised = self.signal.raised.load(Ordering::Relaxed);
        let signal = raised.then(|| *self.signal.seen.get_or_init(|| now));
        let deadline = self
            .deadline
            .and_then(|deadline| deadline.checked_add(self.extension()));
        reason(signal, deadline, self.grace, now)
    }

    fn extension(&self) -> Duration {
        Duration::from_millis(self.extension.load(Ordering::Relaxed))
    }

    /// Sleeps for `time`, or until the flag is raised.
    pub(crate) fn sleep(&self, time: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let until = Instant::now() + time;
        while self.reason().is_none() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => sleep(left.min(STEP)),
                _ => break,
            }
        }
    }
}

/// Why to stop at `now`: each reason counts once its grace is over.
fn reason(
    signal: Option<Instant>,
    deadline: Option<Instant>,
    grace: Duration,
    now: Instant,
) -> Option<ShutdownReason> {
    let is_over = |since: Instant| since.checked_add(grace).is_some_and(|end| now >= end);
    if signal.is_some_and(is_over) {
        return Some(ShutdownReason::Signal);
    }
    deadline
        .is_some_and(is_over)
        .then_some(ShutdownReason::Deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_counts_from_the_signal_or_the_deadline() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let check = |signal: Option<u64>, deadline: Option<u64>, grace, now, reason_| {
            let grace = Duration::from_secs(grace);
            let why = reason(signal.map(at), deadline.map(at), grace, at(now));
            assert_eq!(why, reason_, "{signal:?} {deadline:?} {grace:?} {now}");
        };
        let (signal, deadline) = (ShutdownReason::Signal, ShutdownReason::Deadline);
        check(None, None, 0, 100, None);
        check(Some(5), None, 0, 5, Some(signal));
        check(Some(5), None, 10, 14, None);
        check(Some(5), None, 10, 15, Some(signal));
        check(None, Some(5), 0, 4, None);
        check(None, Some(5), 0, 5, Some(deadline));
        check(None, Some(5), 10, 14, None);
        check(None, Some(5), 10, 15, Some(deadline));
        check(Some(9), Some(5), 10, 15, Some(deadline));
        check(Some(5), Some(5), 10, 15, Some(signal));
    }

    #[test]
    fn an_extension_puts_off_the_deadline_of_all_clones_until_it_is_dropped() {
        let shutdown = Shutdown::never().after(Some(Duration::ZERO));
        let clone = shutdown.with_grace();
        let extension = shutdown.extend(Duration::from_secs(3600));
        assert_eq!(shutdown.reason(), None);
        assert!(clone.left() > Some(Duration::from_secs(3000)));
        drop(extension);
        assert_eq!(shutdown.reason(), Some(ShutdownReason::Deadline));
        assert_eq!(clone.left(), Some(Duration::ZERO));
        assert!(Shutdown::never().extend(Duration::ZERO).is_none());
        assert_eq!(clone.reason(), None, "in its grace");
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
