//! When an hour of the archive counts as read, and when one is asked for again.
//!
//! Pure. Nobody has published when the archive of an hour is whole, so it has to agree with what
//! is known: an hour is read once an answer that the server ended in good order holds what the
//! live stream and earlier answers had shown of it, and brings nothing new.

use time::{Duration, OffsetDateTime};

use crate::event::{Answered, OpenHour, Why};

pub(super) const HOUR: Duration = Duration::hours(1);
/// An hour that could not be read is asked for this long before it is given up.
pub(super) const GIVE_UP: Duration = Duration::hours(24);
/// By then after its end, an hour is taken to have everything that it will ever have.
const SETTLED: Duration = Duration::hours(6);
/// An hour that was not whole is not asked for more often than this.
const AGAIN: Duration = Duration::minutes(10);
/// An hour with so many events is full; one behind it is not likely to have none.
const FULL: u64 = 50;
/// Of what was shown before, one in so many may be missing: at the edges of an hour, clocks differ.
const EDGE: u64 = 50;

/// An answer that the server ended in good order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// What it held.
    pub(super) answered: Answered,
    /// How many events of this hour were shown by now: by the live stream, by earlier answers, and by this one.
    pub(super) shown: u64,
    /// How many events the hour before had, where it is known.
    pub(super) before: Option<u64>,
    /// Why it was open, if it was.
    pub(super) was: Option<Why>,
    /// How long ago the hour ended.
    pub(super) age: Duration,
}

/// Why the hour is not taken for whole, if it is not.
pub(super) fn doubt(reading: &Reading) -> Option<Why> {
    let Reading {
        answered,
        shown,
        before,
        was,
        age,
    } = *reading;
    let missing = shown.saturating_sub(answered.shown + answered.new);
    let is_full_before = before.is_some_and(|before| before >= FULL);
    if missing > shown / EDGE {
        Some(Why::Lacking)
    } else if answered.events == 0 && (is_full_before || was == Some(Why::Empty)) {
        Some(Why::Empty)
    } else if answered.new > 0 && age < SETTLED {
        Some(Why::Growing)
    } else {
        None
    }
}

/// Whether an open hour may be asked for when it is `now`; `lag` is how long after its end an hour is
/// read for the first time, and for the second time after the first.
pub(super) fn is_due(hour: &OpenHour, now: OffsetDateTime, lag: Duration) -> bool {
    let wait = match hour.why {
        Why::Unfinished => Duration::ZERO,
        Why::Growing => lag,
        Why::Cut | Why::Lacking | Why::Empty => AGAIN.min(lag),
    };
    // a clock that went back must not hold it up
    (now - hour.asked).abs() >= wait
}

/// What is wrong with an hour, in words.
pub(super) fn in_words(why: Why) -> &'static str {
    match why {
        Why::Unfinished => "the run ended in it",
        Why::Cut => "the connection ended before the server said that this was all",
        Why::Lacking => "it lacks events that were shown before",
        Why::Empty => "it is empty, and the hour before is not",
        Why::Growing => "it held events that nothing had shown before, so there may be more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    /// `of_shown` says how many of those that were shown before are in the answer, and how many there are.
    fn check(events: u64, new: u64, of_shown: (u64, u64), expected: Option<Why>) {
        let (shown, total) = of_shown;
        let reading = Reading {
            answered: Answered { events, new, shown },
            shown: total + new,
            before: Some(FULL),
            was: None,
            age: HOUR,
        };
        assert_eq!(doubt(&reading), expected, "{reading:?}");
        let settled = Reading {
            age: SETTLED,
            ..reading
        };
        let expected = expected.filter(|why| *why != Why::Growing);
        assert_eq!(doubt(&settled), expected, "{settled:?}");
    }

    #[test]
    fn an_hour_is_read_when_it_agrees_with_what_is_known() {
        check(900, 0, (880, 880), None);
        check(900, 0, (870, 880), None);
        check(900, 20, (880, 880), Some(Why::Growing));
        check(900, 900, (0, 0), Some(Why::Growing));
        check(800, 0, (780, 880), Some(Why::Lacking));
        check(800, 20, (780, 880), Some(Why::Lacking));
        check(3, 0, (2, 3), Some(Why::Lacking));
        check(0, 0, (0, 0), Some(Why::Empty));
        check(0, 0, (0, 3), Some(Why::Lacking));
    }

    #[test]
    fn an_empty_hour_is_one_when_the_hour_before_is_not_full() {
        let reading = |before, was| Reading {
            answered: Answered::default(),
            shown: 0,
            before,
            was,
            age: HOUR,
        };
        assert_eq!(doubt(&reading(Some(FULL - 1), None)), None);
        assert_eq!(doubt(&reading(None, Some(Why::Cut))), None);
        assert_eq!(doubt(&reading(None, Some(Why::Empty))), Some(Why::Empty));
    }

    #[test]
    fn an_open_hour_is_not_asked_for_all_the_time() {
        let lag = Duration::minutes(45);
        let asked = datetime!(2026-01-10 12:00 UTC);
        let table = [
            (Why::Unfinished, 0),
            (Why::Cut, 10),
            (Why::Empty, 10),
            (Why::Lacking, 10),
            (Why::Growing, 45),
        ];
        for (why, minutes) in table {
            let hour = OpenHour {
                from: asked - HOUR * 2,
                since: asked,
                asked,
                why,
            };
            let due = asked + Duration::minutes(minutes);
            assert!(is_due(&hour, due, lag), "{why:?}");
            assert!(minutes == 0 || !is_due(&hour, due - Duration::SECOND, lag));
            assert!(is_due(&hour, asked - HOUR, lag) || minutes == 0);
        }
    }
}
