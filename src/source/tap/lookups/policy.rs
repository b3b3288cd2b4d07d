//! `policy` decides what follows when a lookup fails.
//!
//! Pure. One lookup that fails does not hold up the others of its window, and holds up the service for a
//! day at most.

use time::{Duration, OffsetDateTime};

use crate::error::Exit;
use crate::pipeline::batch::Pass;
use crate::pipeline::checkpoint::{Gap, Stalled};
use crate::source::windows::WindowRequest;
use crate::source::windows::clock::ClockReading;

/// Failures in a row that show that more is wrong than single lookups.
const MOST_IN_A_ROW: u32 = 10;
/// The longest time for which a missing answer holds up the service.
const LONGEST_STALL: Duration = Duration::DAY;

/// What follows the failure of one lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// The same lookup is made again, after a wait.
    Retry,
    /// The other lookups of the window are made first; the next run makes this one again.
    Defer,
    /// The next run makes this one and the rest of the window again.
    DeferTheRest,
    /// The run ends with this error.
    EndTheRun,
}

/// Counts the failures since the last good answer.
#[derive(Debug)]
pub(super) struct LookupFailures {
    in_a_row: u32,
    attempts: u32,
}

impl LookupFailures {
    /// None yet; a lookup is made `attempts` times.
    pub(super) fn new(attempts: u32) -> LookupFailures {
        LookupFailures {
            in_a_row: 0,
            attempts,
        }
    }

    /// An answer was good, or a window is done with.
    pub(super) fn reset(&mut self) {
        self.in_a_row = 0;
    }

    /// How many there are.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Takes on a failure with this status; `is_retryable` tells that another attempt may help.
    pub(super) fn add(&mut self, exit: Exit, is_retryable: bool) -> AfterFailure {
        self.in_a_row += 1;
        // anything else, such as refused credentials or a spent quota, the other lookups would meet as well
        let is_its_own = matches!(exit, Exit::Data | Exit::Unavailable);
        // and whoever asks only once does not ask for others instead
        if !is_its_own || self.attempts == 1 {
            AfterFailure::EndTheRun
        } else if self.in_a_row >= MOST_IN_A_ROW {
            AfterFailure::DeferTheRest
        } else if is_retryable && self.in_a_row < self.attempts {
            AfterFailure::Retry
        } else {
            AfterFailure::Defer
        }
    }
}

/// A window of which lookups were deferred, at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct IncompleteWindow {
    /// What was requested.
    pub(super) request: WindowRequest,
    /// The position: before it everything is complete.
    pub(super) until: OffsetDateTime,
    /// What held up the service when that was last noted.
    pub(super) stalled: Option<Stalled>,
    /// Our clock and the server's.
    pub(super) clocks: ClockReading,
}

/// What becomes of such a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterWindow {
    /// The run ends, and the next one reads the window again.
    Stall(Stalled),
    /// It counts as read, with a gap.
    Abandon,
}

impl IncompleteWindow {
    /// Whether the next run reads it again, or the service has been held up here for a day.
    pub(super) fn verdict(&self) -> AfterWindow {
        let at = match self.request.pass {
            Pass::Recent => self.until,
            Pass::Recheck => self.request.window.from,
        };
        // a clock that is wrong must not make the wait older than it is
        let now = self.clocks.later();
        let since = self.stalled.filter(|stalled| stalled.at == at);
        let since = since.map_or(now, |stalled| stalled.since.min(now));
        let is_long = |now: OffsetDateTime| now - since >= LONGEST_STALL;
        match self.clocks.agreed().is_some_and(is_long) {
            true => AfterWindow::Abandon,
            false => AfterWindow::Stall(Stalled { at, since }),
        }
    }

    /// What is given up with it, now that everything before `until` counts as complete.
    pub(super) fn gap(&self, until: OffsetDateTime) -> Option<Gap> {
        let (from, to) = match self.request.pass {
            Pass::Recent => (self.until, until),
            Pass::Recheck => (self.request.window.from, self.request.window.to),
        };
        (from < to).then_some(Gap { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::checkpoint::Window;
    use time::macros::datetime;

    const ATTEMPTS: u32 = 3;
    const GONE: (Exit, bool) = (Exit::Unavailable, true);
    const BAD: (Exit, bool) = (Exit::Data, false);

    /// Failures one after the other, and what follows each.
    fn check(attempts: u32, failures: &[((Exit, bool), AfterFailure)]) {
        let mut counted = LookupFailures::new(attempts);
        for (number, ((exit, is_retryable), expected)) in failures.iter().enumerate() {
            let found = counted.add(*exit, *is_retryable);
            assert_eq!(found, *expected, "{number} of {failures:?}");
        }
    }

    #[test]
    fn what_may_pass_is_retried_and_then_deferred() {
        use AfterFailure::{Defer, Retry};
        check(ATTEMPTS, &[(GONE, Retry), (GONE, Retry), (GONE, Defer)]);
        // another lookup gets no more attempts until an answer is good
        check(
            ATTEMPTS,
            &[(GONE, Retry), (GONE, Retry), (GONE, Defer), (GONE, Defer)],
        );
        check(ATTEMPTS, &[(BAD, Defer), (GONE, Retry), (GONE, Defer)]);
        // cut off is another matter than unavailable
        check(ATTEMPTS, &[((Exit::Unavailable, false), Defer)]);
        check(ATTEMPTS, &[((Exit::Data, true), Retry)]);
    }

    #[test]
    fn a_good_answer_gives_back_all_attempts() {
        let mut counted = LookupFailures::new(ATTEMPTS);
        for _ in 0..50 {
            assert_eq!(counted.add(GONE.0, GONE.1), AfterFailure::Retry);
            assert_eq!(counted.in_a_row(), 1);
            counted.reset();
        }
    }

    #[test]
    fn what_others_would_meet_as_well_ends_the_run() {
        use AfterFailure::EndTheRun;
        for exit in [
            Exit::NoPerm,
            Exit::TempFail,
            Exit::Config,
            Exit::CantCreate,
            Exit::Io,
            Exit::Software,
        ] {
            for is_retryable in [true, false] {
                check(ATTEMPTS, &[((exit, is_retryable), EndTheRun)]);
            }
        }
    }

    #[test]
    fn whoever_asks_once_does_not_ask_for_others_instead() {
        use AfterFailure::EndTheRun;
        for failure in [GONE, BAD] {
            check(1, &[(failure, EndTheRun)]);
        }
    }

    #[test]
    fn ten_failures_in_a_row_leave_the_rest_to_the_next_run() {
        use AfterFailure::{Defer, DeferTheRest, EndTheRun};
        let nine = [(BAD, Defer); 9];
        check(ATTEMPTS, &[&nine[..], &[(BAD, DeferTheRest)]].concat());
        check(ATTEMPTS, &[&nine[..], &[(GONE, DeferTheRest)]].concat());
        let refused = (Exit::NoPerm, false);
        check(ATTEMPTS, &[&nine[..], &[(refused, EndTheRun)]].concat());
    }

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    /// The last hour before noon; everything before it is complete.
    fn window(pass: Pass, stalled: Option<(i64, i64)>) -> IncompleteWindow {
        let from = NOON - Duration::HOUR;
        IncompleteWindow {
            request: WindowRequest {
                window: Window { from, to: NOON },
                pass,
            },
            // a recheck lies long before the position
            until: match pass {
                Pass::Recent => from,
                Pass::Recheck => NOON + Duration::hours(12),
            },
            stalled: stalled.map(|(at, since)| Stalled {
                at: from + Duration::minutes(at),
                since: NOON - Duration::minutes(since),
            }),
            clocks: ClockReading::of_both(NOON),
        }
    }

    /// A window that stalled elsewhere or here, so many minutes ago: since how many minutes it stalls
    /// now, or `None` if it is abandoned.
    fn check_window(stalled: Option<(i64, i64)>, expected: Option<i64>) {
        for pass in [Pass::Recent, Pass::Recheck] {
            let window = window(pass, stalled);
            let found = match window.verdict() {
                AfterWindow::Stall(stalled) => {
                    assert_eq!(stalled.at, NOON - Duration::HOUR, "{window:?}");
                    Some((NOON - stalled.since).whole_minutes())
                }
                AfterWindow::Abandon => None,
            };
            assert_eq!(found, expected, "{window:?}");
        }
    }

    #[test]
    fn a_window_holds_up_the_service_for_a_day_from_the_first_failure_there() {
        const DAY: i64 = 24 * 60;
        check_window(None, Some(0));
        check_window(Some((0, 10)), Some(10));
        check_window(Some((0, DAY - 1)), Some(DAY - 1));
        check_window(Some((0, DAY)), None);
        check_window(Some((0, 10 * DAY)), None);
        // what stalled elsewhere says nothing of this one
        check_window(Some((-60, DAY)), Some(0));
        check_window(Some((60, DAY)), Some(0));
        // what a clock that was ahead has noted counts from now
        check_window(Some((0, -30)), Some(0));
    }

    #[test]
    fn no_single_clock_abandons_anything() {
        let day = (0, 24 * 60);
        for pass in [Pass::Recent, Pass::Recheck] {
            let window = window(pass, Some(day));
            let is_abandoned = |ours: i64, server: Option<i64>| {
                let time = |minutes| NOON + Duration::minutes(minutes);
                let (ours, server) = (time(ours), server.map(time));
                let clocks = ClockReading { ours, server };
                let window = IncompleteWindow { clocks, ..window };
                window.verdict() == AfterWindow::Abandon
            };
            assert!(is_abandoned(0, Some(0)) && is_abandoned(1, Some(0)));
            for (ours, server) in [
                (0, None),
                (5, Some(0)),
                (1, Some(-1)),
                (-1, Some(5)),
                (0, Some(60_000)),
            ] {
                assert!(!is_abandoned(ours, server), "{ours} {server:?}");
            }
        }
    }

    #[test]
    fn what_is_abandoned_is_a_gap() {
        let (from, to) = (NOON - Duration::HOUR, NOON);
        let gap = Some(Gap { from, to });
        let recent = window(Pass::Recent, None);
        assert_eq!(recent.gap(to), gap);
        // nothing is given up that was complete before
        assert_eq!(recent.gap(from), None);
        assert_eq!(recent.gap(from - Duration::SECOND), None);
        let recheck = window(Pass::Recheck, None);
        assert_eq!(recheck.gap(recheck.until), gap);
    }
}
