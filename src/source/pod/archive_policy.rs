//! `archive_policy` says when an hour of the archive counts as read, and when it is requested
//! again.
//!
//! Pure. Nobody has published when the archive of an hour is complete, so an answer is compared
//! with what is known. An hour counts as read once an answer holds what the live stream and earlier
//! answers have shown of it, and nothing new. That proves something only if the live stream was open
//! for the whole hour, and the server has ended the answer in good order; otherwise a second answer
//! must say the same.

use time::{Duration, OffsetDateTime};

use crate::net::websocket::CloseReason;
use crate::pipeline::batch::AnswerTotals;
use crate::pipeline::checkpoint::{LiveStream, OpenHour, OpenReason};

pub(super) const HOUR: Duration = Duration::hours(1);
/// Longest time for which an hour that cannot be read is requested again.
pub(super) const GIVE_UP: Duration = Duration::hours(24);
/// After this time an hour is taken to have everything that it will ever have.
const SETTLED: Duration = Duration::hours(6);
/// How long after its end the live stream may bring events of an hour.
const BEHIND: Duration = Duration::minutes(5);
/// Shortest time between two requests for an hour that was not complete, and between answers that
/// prove it by being equal.
const AGAIN: Duration = Duration::minutes(10);
/// Events of a full hour; the hour after it is unlikely to have none.
const FULL: u64 = 50;
/// One in this many events that were shown before may be missing: clocks differ at the edges of an
/// hour.
const EDGE: u64 = 50;

/// How the server ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerEnd {
    /// In good order: that was all.
    Normal,
    /// Behind a whole message, in a way that does not say whether that was all.
    Unclear,
    /// By a reset, within a message or by silence: something may be missing.
    Broken,
}

impl AnswerEnd {
    /// As the session ended.
    pub(super) fn of(reason: &CloseReason) -> AnswerEnd {
        match reason {
            CloseReason::Closed(..) if reason.is_normal() => AnswerEnd::Normal,
            CloseReason::Closed(..) | CloseReason::Ended => AnswerEnd::Unclear,
            CloseReason::Broken(_) => AnswerEnd::Broken,
        }
    }
}

/// An answer for an hour, and what is known of the hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct HourReading {
    /// What the answer held.
    pub(super) answered: AnswerTotals,
    /// Events of the hour that were shown by now: by the live stream, earlier answers and this one.
    pub(super) shown: u64,
    /// Whether the live stream was open for the whole hour.
    pub(super) is_covered: bool,
    /// Events of the hour before, if known.
    pub(super) before: Option<u64>,
    /// Why the hour was open, if it was.
    pub(super) was: Option<OpenReason>,
    /// How many events the last answer held that came to an end, and how long ago it was requested.
    pub(super) last: Option<(u64, Duration)>,
    /// How the server has ended the answer.
    pub(super) end: AnswerEnd,
    /// How long ago the hour ended.
    pub(super) age: Duration,
}

/// Why the hour does not count as read; `None` if it does.
pub(super) fn verdict(reading: &HourReading) -> Option<OpenReason> {
    let HourReading {
        answered,
        shown,
        is_covered,
        before,
        was,
        last,
        end,
        age,
    } = *reading;
    let is_ended = end == AnswerEnd::Normal;
    let missing = shown.saturating_sub(answered.shown + answered.new);
    let is_full_before = before.is_some_and(|before| before >= FULL);
    let is_odd = answered.events == 0 && !is_covered;
    // there are quiet nights, too: an hour that stays empty for a day is empty
    let is_believed = was == Some(OpenReason::Empty) && age >= GIVE_UP;
    // two equal answers, some time apart, agree however the server ended them; what breaks them off
    // may do so at the same place again
    let is_equal = |(events, ago)| events == answered.events && ago >= AGAIN;
    let is_whole = end != AnswerEnd::Broken && answered.new == 0;
    let agrees = is_whole && last.is_some_and(is_equal);
    let is_second = agrees || matches!(was, Some(OpenReason::Growing | OpenReason::Unproven));
    let is_lacking = missing > shown / EDGE;
    if !is_ended && (is_lacking || !agrees) {
        Some(OpenReason::Cut)
    } else if is_lacking {
        Some(OpenReason::Lacking)
    } else if is_odd
        && (is_full_before || !is_ended || was == Some(OpenReason::Empty))
        && !is_believed
    {
        // a server in trouble may say nothing twice
        Some(OpenReason::Empty)
    } else if answered.new > 0 && age < SETTLED {
        Some(OpenReason::Growing)
    } else if !is_covered && !is_second && age < SETTLED {
        Some(OpenReason::Unproven)
    } else {
        None
    }
}

/// Whether the live stream has brought everything of the hour from `from` on.
pub(super) fn is_covered(live: Option<LiveStream>, from: OffsetDateTime) -> bool {
    live.is_some_and(|live| {
        live.since.is_some_and(|since| since <= from) && live.until >= from + HOUR + BEHIND
    })
}

/// Whether an answer with this verdict tells how many events the hour has.
pub(super) fn is_sound(why: Option<OpenReason>) -> bool {
    matches!(why, None | Some(OpenReason::Growing | OpenReason::Unproven))
}

/// Whether an hour that stays open for this reason for a day is a gap: part of it is known to be
/// missing.
pub(super) fn is_loss(why: OpenReason) -> bool {
    match why {
        OpenReason::Cut | OpenReason::Lacking => true,
        OpenReason::Unfinished | OpenReason::Empty | OpenReason::Growing | OpenReason::Unproven => {
            false
        }
    }
}

/// Whether an open hour is requested again at `now`. `lag` is how long after its end an hour is
/// read first, and how long after that a second time. If nothing changes, the time between requests
/// doubles; a last one comes before the hour is given up.
pub(super) fn is_due(hour: &OpenHour, now: OffsetDateTime, lag: Duration) -> bool {
    let wait = match hour.why {
        OpenReason::Unfinished => Duration::ZERO,
        OpenReason::Growing | OpenReason::Unproven => lag,
        OpenReason::Cut | OpenReason::Lacking | OpenReason::Empty => {
            let so_far = hour.asked - hour.since;
            so_far.min(GIVE_UP - so_far).max(AGAIN)
        }
    };
    // a clock that went back must not delay it
    (now - hour.asked).abs() >= wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    /// `of_shown`: how many of the events that were shown before the answer holds, and how many
    /// there are.
    fn check(events: u64, new: u64, of_shown: (u64, u64), expected: Option<OpenReason>) {
        let (shown, total) = of_shown;
        let reading = HourReading {
            answered: AnswerTotals { events, new, shown },
            shown: total + new,
            is_covered: true,
            before: Some(FULL),
            was: None,
            last: None,
            end: AnswerEnd::Normal,
            age: HOUR,
        };
        assert_eq!(verdict(&reading), expected, "{reading:?}");
        let settled = HourReading {
            age: SETTLED,
            ..reading
        };
        let expected = expected.filter(|why| *why != OpenReason::Growing);
        assert_eq!(verdict(&settled), expected, "{settled:?}");
    }

    #[test]
    fn an_hour_for_which_the_live_stream_was_not_there_is_read_when_a_second_answer_agrees() {
        let reading = |events, new, was| HourReading {
            answered: AnswerTotals {
                events,
                new,
                shown: 0,
            },
            shown: 0,
            is_covered: false,
            before: None,
            was,
            last: None,
            end: AnswerEnd::Normal,
            age: HOUR,
        };
        for events in [0, 30] {
            let first = reading(events, 0, None);
            assert_eq!(verdict(&first), Some(OpenReason::Unproven));
            for was in [OpenReason::Unfinished, OpenReason::Cut, OpenReason::Lacking] {
                assert_eq!(
                    verdict(&reading(events, 0, Some(was))),
                    Some(OpenReason::Unproven)
                );
            }
            for was in [OpenReason::Growing, OpenReason::Unproven] {
                assert_eq!(verdict(&reading(events, 0, Some(was))), None);
            }
            let age = SETTLED;
            assert_eq!(verdict(&HourReading { age, ..first }), None);
        }
        let grown = reading(40, 10, Some(OpenReason::Unproven));
        assert_eq!(verdict(&grown), Some(OpenReason::Growing));
    }

    #[test]
    fn the_live_stream_covers_an_hour_from_its_start_until_a_little_after_its_end() {
        let from = datetime!(2026-01-10 12:00 UTC);
        let live = |since, until| {
            Some(LiveStream {
                until: from + until,
                open: true,
                since: Some(from + since),
            })
        };
        let (start, end) = (Duration::ZERO, HOUR + BEHIND);
        assert!(is_covered(live(start, end), from));
        assert!(!is_covered(live(Duration::SECOND, end), from));
        assert!(!is_covered(live(start, end - Duration::SECOND), from));
        let broken = live(start, end).map(|live| LiveStream {
            since: None,
            ..live
        });
        assert!(!is_covered(broken, from) && !is_covered(None, from));
    }

    #[test]
    fn an_hour_is_read_when_it_agrees_with_what_is_known() {
        check(900, 0, (880, 880), None);
        check(900, 0, (870, 880), None);
        check(900, 20, (880, 880), Some(OpenReason::Growing));
        check(900, 900, (0, 0), Some(OpenReason::Growing));
        check(800, 0, (780, 880), Some(OpenReason::Lacking));
        check(800, 20, (780, 880), Some(OpenReason::Lacking));
        check(3, 0, (2, 3), Some(OpenReason::Lacking));
        check(0, 0, (0, 0), None);
        check(0, 0, (0, 3), Some(OpenReason::Lacking));
    }

    #[test]
    fn an_empty_hour_behind_a_full_one_is_one_when_nothing_else_was_said_for_a_day() {
        let reading = |before, was| HourReading {
            answered: AnswerTotals::default(),
            shown: 0,
            is_covered: false,
            before,
            was,
            last: None,
            end: AnswerEnd::Normal,
            age: SETTLED,
        };
        assert_eq!(verdict(&reading(Some(FULL), None)), Some(OpenReason::Empty));
        assert_eq!(verdict(&reading(Some(FULL - 1), None)), None);
        assert_eq!(verdict(&reading(None, Some(OpenReason::Cut))), None);
        assert_eq!(
            verdict(&reading(None, Some(OpenReason::Empty))),
            Some(OpenReason::Empty)
        );
        for (before, was, expected) in [
            (Some(FULL), None, Some(OpenReason::Empty)),
            (None, Some(OpenReason::Empty), None),
        ] {
            let age = GIVE_UP;
            let old = HourReading {
                age,
                ..reading(before, was)
            };
            assert_eq!(verdict(&old), expected);
        }
    }

    #[test]
    fn of_several_doubts_the_one_that_says_most_counts() {
        let quiet = HourReading {
            answered: AnswerTotals::default(),
            shown: 0,
            is_covered: false,
            before: Some(FULL),
            was: None,
            last: None,
            end: AnswerEnd::Normal,
            age: HOUR,
        };
        let answered = |events, new, shown| AnswerTotals { events, new, shown };
        // it is empty behind a full hour, no live stream proves it, and it lacks what was shown
        let mut reading = HourReading { shown: 3, ..quiet };
        assert_eq!(verdict(&reading), Some(OpenReason::Lacking));
        // that holds for ever
        reading.age = GIVE_UP * 2;
        assert_eq!(verdict(&reading), Some(OpenReason::Lacking));
        assert_eq!(verdict(&quiet), Some(OpenReason::Empty));
        let covered = HourReading {
            is_covered: true,
            ..quiet
        };
        assert_eq!(verdict(&covered), None);
        let growing = HourReading {
            answered: answered(9, 9, 0),
            shown: 9,
            ..quiet
        };
        assert_eq!(verdict(&growing), Some(OpenReason::Growing));
        let again = HourReading {
            answered: answered(9, 0, 9),
            shown: 9,
            ..quiet
        };
        assert_eq!(verdict(&again), Some(OpenReason::Unproven));
        let second = HourReading {
            was: Some(OpenReason::Growing),
            ..again
        };
        assert_eq!(verdict(&second), None);
    }

    #[test]
    fn one_in_fifty_of_what_was_shown_may_be_missing() {
        for (shown, missing, is_lacking) in [
            (49, 1, true),
            (50, 1, false),
            (50, 2, true),
            (99, 2, true),
            (100, 2, false),
        ] {
            let expected = is_lacking.then_some(OpenReason::Lacking);
            check(shown, 0, (shown - missing, shown), expected);
        }
    }

    /// How an answer ended, what the last one held and how many minutes ago it was requested: the verdict
    /// for one with so many events, so many of them new, when so many were shown before.
    #[track_caller]
    fn check_end(
        end: AnswerEnd,
        (was, last): (Option<OpenReason>, Option<(u64, i64)>),
        (events, new, shown): (u64, u64, u64),
        is_covered: bool,
        expected: Option<OpenReason>,
    ) {
        let reading = HourReading {
            answered: AnswerTotals {
                events,
                new,
                shown: events - new,
            },
            shown: shown + new,
            is_covered,
            before: None,
            was,
            last: last.map(|(events, minutes)| (events, Duration::minutes(minutes))),
            end,
            age: HOUR,
        };
        assert_eq!(verdict(&reading), expected, "{reading:?}");
    }

    #[test]
    fn two_equal_answers_some_time_apart_prove_an_hour_however_the_server_ended_them() {
        use OpenReason::{Cut, Empty, Growing, Lacking, Unfinished, Unproven};
        let first = (None, None);
        let after = |why, events, minutes| (Some(why), Some((events, minutes)));
        for is_covered in [false, true] {
            let check = |before, answer, expected| {
                check_end(AnswerEnd::Unclear, before, answer, is_covered, expected);
            };
            check(first, (60, 60, 0), Some(Cut));
            check(first, (60, 0, 60), Some(Cut));
            check(first, (0, 0, 0), Some(Cut));
            check(after(Cut, 60, 10), (60, 0, 60), None);
            check(after(Cut, 60, 600), (60, 0, 60), None);
            for why in [Growing, Unproven, Lacking] {
                check(after(why, 60, 45), (60, 0, 60), None);
            }
            // too soon, or by a clock that went back
            check(after(Cut, 60, 9), (60, 0, 60), Some(Cut));
            check(after(Cut, 60, -1440), (60, 0, 60), Some(Cut));
            // they differ
            check(after(Cut, 40, 10), (60, 20, 40), Some(Cut));
            check(after(Cut, 60, 10), (60, 1, 59), Some(Cut));
            check(after(Cut, 60, 10), (40, 0, 60), Some(Cut));
            check((Some(Unfinished), None), (60, 0, 60), Some(Cut));
            // something else speaks: the live stream has shown more
            check(after(Cut, 60, 10), (60, 0, 90), Some(Cut));
        }
        // what breaks answers off may do so at the same place again
        for why in [Cut, Growing, Unproven, Lacking] {
            let before = after(why, 60, 45);
            check_end(AnswerEnd::Broken, before, (60, 0, 60), true, Some(Cut));
        }
        check_end(
            AnswerEnd::Broken,
            after(Cut, 0, 10),
            (0, 0, 0),
            true,
            Some(Cut),
        );
        // a server in trouble may say nothing twice, unless the live stream said nothing either
        check_end(AnswerEnd::Unclear, after(Cut, 0, 10), (0, 0, 0), true, None);
        check_end(
            AnswerEnd::Unclear,
            after(Cut, 0, 10),
            (0, 0, 0),
            false,
            Some(Empty),
        );
        check_end(
            AnswerEnd::Unclear,
            after(Empty, 0, 10),
            (0, 0, 0),
            false,
            Some(Empty),
        );
        // one of the two was ended in good order
        check_end(
            AnswerEnd::Normal,
            after(Cut, 60, 10),
            (60, 0, 60),
            false,
            None,
        );
        check_end(
            AnswerEnd::Normal,
            after(Cut, 60, 9),
            (60, 0, 60),
            false,
            Some(Unproven),
        );
        check_end(
            AnswerEnd::Normal,
            after(Cut, 60, 10),
            (60, 0, 90),
            false,
            Some(Lacking),
        );
    }

    #[test]
    fn an_hour_that_stays_empty_is_empty_after_a_day_however_its_answers_end() {
        for (age, expected) in [
            (GIVE_UP - Duration::SECOND, Some(OpenReason::Empty)),
            (GIVE_UP, None),
        ] {
            let reading = HourReading {
                answered: AnswerTotals::default(),
                shown: 0,
                is_covered: false,
                before: Some(FULL),
                was: Some(OpenReason::Empty),
                last: Some((0, HOUR)),
                end: AnswerEnd::Unclear,
                age,
            };
            assert_eq!(verdict(&reading), expected);
        }
    }

    #[test]
    fn what_each_reason_says_of_an_hour() {
        // whether its events count, whether it is a loss
        let table = [
            (None, true, false),
            (Some(OpenReason::Unfinished), false, false),
            (Some(OpenReason::Cut), false, true),
            (Some(OpenReason::Lacking), false, true),
            (Some(OpenReason::Empty), false, false),
            (Some(OpenReason::Growing), true, false),
            (Some(OpenReason::Unproven), true, false),
        ];
        for (why, sound, loss) in table {
            assert_eq!(is_sound(why), sound, "{why:?}");
            assert_eq!(why.is_some_and(is_loss), loss, "{why:?}");
        }
    }

    #[test]
    fn an_hour_that_stays_as_it_is_is_asked_for_ten_times_in_a_day() {
        for lag in [Duration::minutes(45), Duration::minutes(10)] {
            let since = datetime!(2026-01-10 12:00 UTC);
            let mut hour = OpenHour {
                from: since - HOUR * 2,
                since,
                asked: since,
                events: None,
                why: OpenReason::Empty,
            };
            let (mut now, mut times) = (since, 1);
            while now < since + GIVE_UP {
                now += Duration::MINUTE;
                if is_due(&hour, now, lag) {
                    hour.asked = now;
                    times += 1;
                }
            }
            assert_eq!((hour.asked, times), (now, 10));
        }
    }

    #[test]
    fn an_open_hour_is_not_asked_for_all_the_time() {
        let lag = Duration::minutes(45);
        let asked = datetime!(2026-01-10 12:00 UTC);
        let table = [
            (OpenReason::Unfinished, 0),
            (OpenReason::Cut, 10),
            (OpenReason::Empty, 10),
            (OpenReason::Lacking, 10),
            (OpenReason::Growing, 45),
            (OpenReason::Unproven, 45),
        ];
        for (why, minutes) in table {
            let hour = OpenHour {
                from: asked - HOUR * 2,
                since: asked,
                asked,
                events: None,
                why,
            };
            let due = asked + Duration::minutes(minutes);
            assert!(is_due(&hour, due, lag), "{why:?}");
            assert!(minutes == 0 || !is_due(&hour, due - Duration::SECOND, lag));
            assert!(is_due(&hour, asked - HOUR, lag) || minutes == 0);
        }
    }
}
