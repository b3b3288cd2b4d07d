//! `Recheck` says which windows are read once more, `recheck_after` later, for late events.
//!
//! Pure, for every service that is read in windows.

use time::{Duration, OffsetDateTime};

use crate::pipeline::checkpoint::Recheck;
use crate::pipeline::checkpoint::Window;
use crate::source::windows::WindowLimits;

/// A recheck reads whole hours, or longer windows where a service accepts none: one more request an hour
/// at most, however often the program runs.
const HOUR: Duration = Duration::HOUR;

impl Recheck {
    /// Starts at a time; nothing before it is read once more.
    #[must_use]
    pub(crate) fn beginning_at(start: OffsetDateTime) -> Recheck {
        Recheck {
            until: start,
            already_covered: None,
        }
    }

    /// Moves it between the first known time and the position.
    #[must_use]
    pub(crate) fn within(self, since: OffsetDateTime, until: OffsetDateTime) -> Recheck {
        let fits = |already_covered: &Window| {
            already_covered.from < already_covered.to && already_covered.to <= until
        };
        Recheck {
            until: self.until.max(since).min(until),
            already_covered: self.already_covered.filter(fits),
        }
    }

    /// Notes that a window was read, for any pass, when everything before `due` was old enough.
    #[must_use]
    pub(crate) fn and_read(self, read: Window, due: OffsetDateTime) -> Recheck {
        let read = Window {
            to: read.to.min(due),
            ..read
        };
        let Recheck {
            mut until,
            already_covered,
        } = self;
        if read.to <= read.from {
            return self;
        }
        let already_covered = match already_covered {
            _ if read.from <= until => {
                until = until.max(read.to);
                already_covered
            }
            Some(already_covered)
                if read.from <= already_covered.to && already_covered.from <= read.to =>
            {
                Some(Window {
                    from: already_covered.from.min(read.from),
                    to: already_covered.to.max(read.to),
                })
            }
            // of two that are apart the newer one stays: the other is read again
            _ => Some(read),
        };
        match already_covered {
            Some(already_covered) if already_covered.from <= until => {
                Recheck::beginning_at(until.max(already_covered.to))
            }
            _ => Recheck {
                until,
                already_covered,
            },
        }
    }

    /// The next window to read once more, of at most `length`, when everything before `due` is old
    /// enough.
    #[must_use]
    pub(crate) fn next(
        &self,
        limits: &WindowLimits,
        due: OffsetDateTime,
        length: Duration,
    ) -> Option<Window> {
        let step = HOUR.max(limits.shortest);
        let steps = (due - self.until).whole_seconds() / step.whole_seconds();
        let end = match self.already_covered {
            Some(already_covered) if already_covered.from <= due => already_covered.from,
            _ => self.until + step * i32::try_from(steps.max(0)).unwrap_or(i32::MAX),
        };
        limits
            .next(self.until, end, length)
            .or_else(|| limits.last(self.until, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const MIDNIGHT: OffsetDateTime = datetime!(2026-11-24 00:00 UTC);
    const LIMITS: WindowLimits = WindowLimits {
        shortest: Duration::seconds(30),
        longest: Duration::HOUR,
        keep: Duration::hours(167),
        margin: Duration::seconds(60),
        grain: Duration::seconds(1),
    };

    /// This many minutes from midnight on.
    fn at(minutes: i64) -> OffsetDateTime {
        MIDNIGHT + Duration::minutes(minutes)
    }

    fn window(from: i64, to: i64) -> Window {
        Window {
            from: at(from),
            to: at(to),
        }
    }

    fn minutes(window: Window) -> (i64, i64) {
        let from_midnight = |time: OffsetDateTime| (time - MIDNIGHT).whole_minutes();
        (from_midnight(window.from), from_midnight(window.to))
    }

    /// From midnight on, windows are read, each when everything before its third number was old
    /// enough: how far the recheck has come, and what is covered.
    fn check(read: &[(i64, i64, i64)], until: i64, already_covered: Option<(i64, i64)>) {
        let look = read
            .iter()
            .fold(Recheck::beginning_at(MIDNIGHT), |look, &(from, to, due)| {
                look.and_read(window(from, to), at(due))
            });
        let is = (look.until, look.already_covered.map(minutes));
        assert_eq!(is, (at(until), already_covered), "{read:?}");
    }

    #[test]
    fn only_what_was_old_enough_when_it_was_read_counts() {
        check(&[(0, 60, -700)], 0, None);
        check(&[(0, 60, 20)], 20, None);
        check(&[(0, 60, 900), (60, 120, 900)], 120, None);
        check(&[(0, 60, 90), (60, 120, 90)], 90, None);
        // a window that is read again changes nothing
        check(&[(0, 60, 900), (0, 30, 900)], 60, None);
    }

    #[test]
    fn what_a_late_first_look_has_read_is_spared_once_it_is_reached() {
        check(&[(600, 660, 900), (660, 720, 900)], 0, Some((600, 720)));
        check(&[(600, 660, 630), (660, 720, 630)], 0, Some((600, 630)));
        check(&[(600, 720, 900), (0, 60, 900)], 60, Some((600, 720)));
        check(&[(600, 720, 900), (0, 600, 900)], 720, None);
        check(&[(600, 720, 900), (0, 700, 900)], 720, None);
        // of two the newer one stays
        check(&[(600, 720, 900), (800, 860, 900)], 0, Some((800, 860)));
    }

    #[test]
    fn it_stays_between_the_first_known_time_and_the_position() {
        let within = |until: i64, covered: Option<(i64, i64)>| {
            let saved = Recheck {
                until: at(until),
                already_covered: covered.map(|(from, to)| window(from, to)),
            };
            let is = saved.within(at(60), at(600));
            let minute = (is.until - MIDNIGHT).whole_minutes();
            (minute, is.already_covered.map(minutes))
        };
        assert_eq!(within(0, None), (60, None));
        assert_eq!(within(90, None), (90, None));
        assert_eq!(within(700, None), (600, None));
        // a range that no run saves, or that ends after the position, is read again
        let right = Some((200, 600));
        assert_eq!(within(90, right), (90, right));
        for wrong in [(200, 601), (300, 300), (400, 300), (700, 650)] {
            assert_eq!(within(90, Some(wrong)), (90, None), "{wrong:?}");
        }
    }

    /// The windows that are read one after the other when everything before `due` is old enough.
    fn check_next(mut look: Recheck, due: i64, length: Duration, expected: &[(i64, i64)]) {
        let mut asked = Vec::new();
        while let Some(window) = look.next(&LIMITS, at(due), length) {
            asked.push(minutes(window));
            look = look.and_read(window, at(due));
        }
        assert_eq!(asked, expected, "up to {due}");
    }

    #[test]
    fn it_goes_on_by_whole_hours() {
        let start = Recheck::beginning_at(MIDNIGHT);
        let hour = Duration::HOUR;
        check_next(start, -5, hour, &[]);
        check_next(start, 59, hour, &[]);
        check_next(start, 60, hour, &[(0, 60)]);
        check_next(start, 150, hour, &[(0, 60), (60, 120)]);
        // in halves where an hour is too large; the rest of an hour waits for the next
        check_next(start, 61, hour / 2, &[(0, 30)]);
        check_next(start, 90, hour / 2, &[(0, 30), (30, 60)]);
    }

    #[test]
    fn it_leaps_over_what_is_spared() {
        let start = |from, to| Recheck {
            until: MIDNIGHT,
            already_covered: Some(window(from, to)),
        };
        let hour = Duration::HOUR;
        check_next(start(90, 240), 310, hour, &[(0, 60), (60, 90), (240, 300)]);
        check_next(start(60, 300), 310, hour, &[(0, 60)]);
        // what is spared was old enough by a clock that has gone back since
        check_next(start(90, 240), 61, hour, &[(0, 60)]);
        let mut short = start(60, 300);
        short.until = at(60) - Duration::seconds(5);
        let window = short.next(&LIMITS, at(310), hour).unwrap();
        assert_eq!(window.length(), LIMITS.shortest);
        assert_eq!(
            short.and_read(window, at(310)),
            Recheck::beginning_at(at(300))
        );
    }
}
