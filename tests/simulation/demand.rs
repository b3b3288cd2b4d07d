//! What the oracle may demand of the program for the events of a service: pure.
//!
//! The oracle tells the models what it did with the program, and they say of each serial how often it
//! must have been delivered at least. They demand no more than the program promises: an event that the
//! service showed too late, or that fell out of what it keeps, may be missing.

use time::{Duration, OffsetDateTime};

use super::event::Event;

/// A run of the program, by the service's clock.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub began: OffsetDateTime,
    pub ended: OffsetDateTime,
    /// How far the program's clock was behind the service's; negative if it was ahead.
    pub behind: Duration,
    /// It ended with status 0, since nothing was left to read: not by its time limit or another one.
    pub is_good: bool,
    /// Nothing went wrong during it: no fault of the service, the network or the disk.
    pub is_calm: bool,
}

impl Run {
    /// What the earlier of the two clocks showed at its beginning.
    pub fn present(&self) -> OffsetDateTime {
        self.began - self.behind.max(Duration::ZERO)
    }

    /// Whether it was under way at this time.
    pub fn has(&self, time: OffsetDateTime) -> bool {
        self.began <= time && time <= self.ended
    }
}

/// What was done with the program, and how it was configured.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Where its first run began to read. Nothing before it is wanted.
    pub since: OffsetDateTime,
    /// Nothing before it may come, where the start is configured.
    pub earliest: Option<OffsetDateTime>,
    /// Its runs in their order, those that crashed included.
    pub runs: &'a [Run],
    /// `look_back`, or its default.
    pub look_back: Duration,
    /// `recheck_after`, or its default.
    pub recheck_after: Option<Duration>,
    /// How far the program's clock was ahead of the service's at most while an answer did not tell the
    /// service's time. Zero if every answer told it: then the program heeds the earlier clock.
    pub untold: Duration,
}

impl History<'_> {
    /// How often what is read by this time is delivered at most.
    pub fn most(&self, at: OffsetDateTime) -> usize {
        usize::from(self.earliest.is_none_or(|earliest| at >= earliest))
    }
}

/// How often the events of a serial are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub serial: u64,
    /// So often at least.
    pub least: usize,
    /// So often at most, as long as each commit succeeds; what was sent before one that did not may
    /// come once more.
    pub most: usize,
}

/// Sums up what is expected of each event: its serial, whether it must be delivered, and how often it may
/// be.
pub fn sum(events: impl Iterator<Item = (u64, bool, usize)>) -> Vec<Expected> {
    let mut expected: Vec<Expected> = events
        .map(|(serial, must, most)| Expected {
            serial,
            least: usize::from(must),
            most,
        })
        .collect();
    expected.sort_unstable_by_key(|one| one.serial);
    expected.dedup_by(|next, one| {
        let is_same = next.serial == one.serial;
        if is_same {
            one.least += next.least;
            one.most += next.most;
        }
        is_same
    });
    expected
}

/// How the program reads a service in windows; these are its numbers, not the service's.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// Windows end so long before the present.
    pub margin: Duration,
    /// The shortest window: a rest that is shorter waits for the next run.
    pub shortest: Duration,
    /// What their bounds are rounded to.
    pub grain: Duration,
    /// Nothing older is requested.
    pub keep: Duration,
}

/// TAP's event services, and what is looked up by them.
pub const EVENTS: Windows = Windows {
    margin: Duration::seconds(60),
    shortest: Duration::seconds(30),
    grain: Duration::seconds(1),
    keep: Duration::hours(7 * 24 - 1),
};
/// TAP's campaigns.
pub const CAMPAIGNS: Windows = Windows {
    margin: Duration::seconds(60),
    shortest: Duration::hours(2),
    grain: Duration::hours(2),
    keep: Duration::hours(90 * 24 - 1),
};
/// Isolation, with the default `window_offset`.
pub const ISOLATION: Windows = Windows {
    margin: Duration::minutes(30),
    shortest: Duration::minutes(1),
    grain: Duration::seconds(1),
    keep: Duration::hours(30 * 24 - 1),
};

/// The edge of what is kept moves while a run works.
const SLACK: Duration = Duration::minutes(5);

impl Windows {
    /// Whether the program must have read the event, since its service showed it when its time was
    /// read.
    ///
    /// A time is read first when its window is behind the present by the margin; then by each run that
    /// begins soon enough after the position passed it, by the look-back; and once more when it is as
    /// old as the recheck wants.
    pub fn must(&self, history: &History<'_>, event: &Event) -> bool {
        let Event {
            at,
            visible_from,
            gone_from,
            ..
        } = *event;
        if at < history.since {
            return false;
        }
        let passed = at + self.margin + self.shortest + self.grain;
        let lost = gone_from.min(at + self.keep - SLACK);
        let is_good = |run: &&Run| run.is_good && run.ended < lost;
        let good = || history.runs.iter().filter(is_good);
        let visible_from = visible_from + history.untold;
        if visible_from <= at + self.margin && good().any(|run| run.present() >= passed) {
            return true;
        }
        if let Some(after) = history.recheck_after
            && visible_from <= at + after
            && good().any(|run| run.present() >= passed + after + self.shortest.max(Duration::HOUR))
        {
            return true;
        }
        let mut before = None;
        history.runs.iter().any(|run| {
            // no position is later than this when the run begins
            let position = before.replace(run.ended.max(before.unwrap_or(run.ended)));
            let position = position.map(|ended| ended + history.untold - self.margin);
            is_good(&run)
                && run.present() >= passed
                && visible_from <= run.began
                && position.is_none_or(|position| position - history.look_back <= at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Text;
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn minutes(minutes: i64) -> OffsetDateTime {
        NOON + Duration::minutes(minutes)
    }

    fn run(began: i64, is_good: bool) -> Run {
        Run {
            began: minutes(began),
            ended: minutes(began) + Duration::seconds(5),
            behind: Duration::ZERO,
            is_good,
            is_calm: is_good,
        }
    }

    /// An event of noon that is visible so many minutes later, and runs at these minutes.
    #[track_caller]
    fn check(visible: i64, runs: &[Run], expected: bool) {
        let event = Event {
            serial: 1,
            at: NOON,
            visible_from: minutes(visible),
            gone_from: minutes(7 * 24 * 60),
            text: Text::plain(String::new()),
        };
        let history = History {
            since: minutes(-60),
            earliest: None,
            runs,
            look_back: Duration::minutes(45),
            recheck_after: Some(Duration::hours(12)),
            untold: Duration::ZERO,
        };
        assert_eq!(EVENTS.must(&history, &event), expected, "{runs:?}");
        let later = History {
            since: minutes(1),
            ..history
        };
        assert!(!EVENTS.must(&later, &event));
        for (earliest, most) in [(None, 1), (Some(NOON), 1), (Some(minutes(1)), 0)] {
            let history = History {
                earliest,
                ..history
            };
            assert_eq!(history.most(event.at), most);
        }
    }

    #[test]
    fn what_is_visible_at_once_must_be_read_by_a_good_run_behind_it() {
        check(0, &[run(2, true)], true);
        check(0, &[run(1, true)], false);
        check(0, &[run(2, false)], false);
        check(0, &[run(2, false), run(3, true)], true);
        check(0, &[run(7 * 24 * 60, true)], false);
        let slow = Run {
            behind: Duration::minutes(10),
            ..run(9, true)
        };
        check(0, &[slow], false);
        check(
            0,
            &[Run {
                began: minutes(12),
                ..slow
            }],
            true,
        );
    }

    #[test]
    fn what_is_late_must_be_read_again_while_the_look_back_reaches_it() {
        check(20, &[run(2, true), run(25, true)], true);
        check(20, &[run(2, true), run(15, true)], false);
        check(20, &[run(2, true), run(44, true), run(50, true)], true);
        check(50, &[run(2, true), run(47, true), run(60, true)], false);
        check(50, &[run(2, true), run(60, true)], true);
    }

    #[test]
    fn what_is_very_late_must_be_read_by_the_recheck() {
        let often = [run(2, true), run(600, true), run(800, true)];
        check(700, &often, true);
        check(721, &often, false);
        check(700, &[run(2, true), run(600, true), run(770, true)], false);
    }

    #[test]
    fn what_is_expected_of_equal_events_is_summed_up() {
        let events = [(2, true, 1), (1, false, 1), (2, false, 1)];
        let expected = [(1, 0, 1), (2, 1, 2)];
        let expected = expected.map(|(serial, least, most)| Expected {
            serial,
            least,
            most,
        });
        assert_eq!(sum(events.into_iter()), expected);
    }
}
