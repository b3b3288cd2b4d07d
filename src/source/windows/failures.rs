//! `WindowFailures` decides what follows a window that failed.
//!
//! Pure. A window is halved only where half of it may get through: after a time-out or a cut answer,
//! not because a server is down. One of several servers may be bad, so a window that is no longer
//! than one that got through is requested once more before it is halved.

use std::fmt;

use time::Duration;

use crate::source::fetch_error::FetchErrorKind;

/// What follows a window that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// The same window is requested again, after a wait.
    Repeat,
    /// Half of it is requested, after a wait.
    Halve,
    /// The run ends.
    End,
    /// The run ends; the next one requests half of it.
    EndWithLess,
    /// The same; windows grow again as soon as one gets through.
    EndWithLessOnce,
}

impl fmt::Display for NextAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NextAttempt::Repeat => "requesting the same window again",
            NextAttempt::Halve => "requesting half of the window",
            NextAttempt::End => "ending the run",
            NextAttempt::EndWithLess | NextAttempt::EndWithLessOnce => {
                "ending the run; the next one requests half of the window"
            }
        })
    }
}

/// The failures since the last complete window.
#[derive(Debug)]
pub(super) struct WindowFailures {
    /// Attempts at the same request before the run ends.
    attempts: u32,
    /// Failures of the same request.
    in_a_row: u32,
    /// The longest window that is complete since one was halved.
    got_through: Duration,
}

impl WindowFailures {
    /// None yet; the same window is requested `attempts` times.
    pub(super) fn new(attempts: u32) -> WindowFailures {
        WindowFailures {
            attempts,
            in_a_row: 0,
            got_through: Duration::ZERO,
        }
    }

    /// How often the same request failed.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// A window of this length is complete.
    pub(super) fn complete(&mut self, length: Duration) {
        self.in_a_row = 0;
        self.got_through = self.got_through.max(length);
    }

    /// Counts a failure of the same request; returns whether it may be made again.
    pub(super) fn may_repeat(&mut self) -> bool {
        self.in_a_row += 1;
        self.in_a_row < self.attempts
    }

    /// Takes on the failure of a window of this length.
    pub(super) fn add(
        &mut self,
        kind: FetchErrorKind,
        length: Duration,
        shortest: Duration,
    ) -> NextAttempt {
        let is_first = self.in_a_row == 0;
        match kind {
            FetchErrorKind::Stopped | FetchErrorKind::TooSlow => NextAttempt::EndWithLess,
            FetchErrorKind::TooMuch
                if self.attempts > 1
                    && length > shortest
                    && !(is_first && length <= self.got_through) =>
            {
                self.got_through = Duration::ZERO;
                NextAttempt::Halve
            }
            FetchErrorKind::Transient | FetchErrorKind::ServerFailed | FetchErrorKind::TooMuch => {
                match (self.may_repeat(), kind) {
                    (true, _) => NextAttempt::Repeat,
                    (false, FetchErrorKind::ServerFailed) => NextAttempt::EndWithLessOnce,
                    (false, _) => NextAttempt::End,
                }
            }
            FetchErrorKind::QuotaExceeded | FetchErrorKind::NoRecords | FetchErrorKind::Lasting => {
                NextAttempt::End
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FetchErrorKind::{Lasting, NoRecords, ServerFailed, TooMuch, TooSlow, Transient};
    use NextAttempt::{End, EndWithLess, EndWithLessOnce, Halve, Repeat};

    /// What follows each failure of a window of so many seconds; `None`: it is complete.
    fn check(rows: &[(Option<FetchErrorKind>, i64, Option<NextAttempt>)]) {
        let mut failures = WindowFailures::new(3);
        for (number, (kind, seconds, expected)) in rows.iter().enumerate() {
            let length = Duration::seconds(*seconds);
            let found = kind.map(|kind| failures.add(kind, length, Duration::seconds(30)));
            if found.is_none() {
                failures.complete(length);
            }
            assert_eq!(found, *expected, "row {number} of {rows:?}");
        }
    }

    fn failure(
        kind: FetchErrorKind,
        seconds: i64,
        then: NextAttempt,
    ) -> (Option<FetchErrorKind>, i64, Option<NextAttempt>) {
        (Some(kind), seconds, Some(then))
    }

    const DONE: (Option<FetchErrorKind>, i64, Option<NextAttempt>) = (None, 3600, None);

    #[test]
    fn a_server_that_is_down_is_asked_a_few_times_for_the_same_window() {
        check(&[
            failure(Transient, 3600, Repeat),
            failure(Transient, 3600, Repeat),
            failure(Transient, 3600, End),
        ]);
        // every second server is bad
        check(&[
            failure(Transient, 3600, Repeat),
            DONE,
            failure(Transient, 3600, Repeat),
            DONE,
            failure(Transient, 3600, Repeat),
        ]);
    }

    #[test]
    fn failures_of_one_request_are_counted_until_a_window_is_complete() {
        let mut failures = WindowFailures::new(3);
        let hour = Duration::HOUR;
        for count in 0..3 {
            assert_eq!(failures.in_a_row(), count);
            failures.add(Transient, hour, Duration::MINUTE);
        }
        failures.complete(hour);
        assert_eq!(failures.in_a_row(), 0);
    }

    #[test]
    fn a_server_that_always_breaks_down_on_a_window_is_asked_for_half_of_it_by_the_next_run() {
        check(&[
            failure(ServerFailed, 3600, Repeat),
            failure(Transient, 3600, Repeat),
            failure(ServerFailed, 3600, EndWithLessOnce),
        ]);
    }

    #[test]
    fn a_window_that_is_too_much_is_halved_down_to_the_shortest() {
        check(&[
            failure(TooMuch, 3600, Halve),
            failure(TooMuch, 1800, Halve),
            failure(TooMuch, 31, Halve),
            failure(TooMuch, 30, Repeat),
            failure(TooMuch, 30, Repeat),
            failure(TooMuch, 30, End),
        ]);
        check(&[failure(TooSlow, 3600, EndWithLess)]);
    }

    #[test]
    fn a_window_as_long_as_one_that_got_through_is_requested_once_more_before_it_is_halved() {
        check(&[
            DONE,
            failure(TooMuch, 3600, Repeat),
            failure(TooMuch, 3600, Halve),
            failure(TooMuch, 1800, Halve),
            failure(TooMuch, 900, Halve),
            (None, 450, None),
            failure(TooMuch, 450, Repeat),
            (None, 450, None),
            failure(TooMuch, 900, Halve),
        ]);
    }

    #[test]
    fn what_no_attempt_helps_ends_the_run() {
        check(&[failure(Lasting, 3600, End)]);
        check(&[failure(NoRecords, 3600, End)]);
        let mut once = WindowFailures::new(1);
        let hour = Duration::HOUR;
        for kind in [Transient, TooMuch] {
            assert_eq!(once.add(kind, hour, Duration::MINUTE), End);
        }
    }
}
