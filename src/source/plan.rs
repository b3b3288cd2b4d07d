//! Which windows a run asks for, and what each that was read makes complete: first what is new,
//! from `look_back` before the position on, then the second looks that are due.
//!
//! Pure, for every service that is read in windows; what a window is and how it is read, is the
//! source's.

use time::{Duration, OffsetDateTime};

use crate::event::{Gap, Held, Look, Narrow, Position, Resume, Stream};
use crate::second_look::SecondLook;
use crate::window::{Rule, Window, utc};

/// From where a run goes on.
#[derive(Debug, Clone)]
pub struct Start {
    /// Before it everything is complete.
    pub position: Position,
    /// Whether nothing was read that the service should have kept: then a start that is too old is no gap.
    pub fresh: bool,
    /// No re-reading goes before this time.
    pub since: OffsetDateTime,
    /// A backfill's end.
    pub end: Option<OffsetDateTime>,
    /// How much is read again each time.
    pub look_back: Duration,
    /// How far the second look has come, and how long after a time it comes; `None` for never.
    pub second_look: Option<(SecondLook, Duration)>,
    /// Where a log stream stands; `None` for what is read in windows.
    pub stream: Option<Stream>,
    /// What held up the runs before, if something did.
    pub held: Option<Held>,
}

/// A window to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The window.
    pub window: Window,
    /// For which look.
    pub look: Look,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.look {
            Look::First => write!(f, "{}", self.window),
            Look::Second => write!(f, "{} once more", self.window),
        }
    }
}

/// What a run asks for.
#[derive(Debug)]
pub struct Plan {
    rule: Rule,
    fresh: bool,
    end: Option<OffsetDateTime>,
    /// Before it everything is complete.
    until: OffsetDateTime,
    /// Where the next window starts.
    from: OffsetDateTime,
    length: Duration,
    /// Before it, windows do not grow again.
    narrow_until: OffsetDateTime,
    /// Up to where this run reads.
    target: Option<OffsetDateTime>,
    second: Option<Second>,
}

#[derive(Debug)]
struct Second {
    look: SecondLook,
    after: Duration,
    length: Duration,
}

impl Plan {
    /// A plan by the rule of the service; nothing is read yet.
    #[must_use]
    pub fn new(rule: Rule, start: &Start) -> Plan {
        let Position { until, narrow } = start.position;
        let seconds = |narrow: Narrow| Duration::seconds(narrow.seconds.into());
        Plan {
            rule,
            fresh: start.fresh,
            end: start.end,
            until,
            from: (until - start.look_back).max(start.since.min(until)),
            length: narrow.map_or(rule.longest, seconds),
            narrow_until: narrow.map_or(until, |narrow| narrow.until),
            target: None,
            second: start.second_look.map(|(look, after)| Second {
                look,
                after,
                length: rule.longest,
            }),
        }
    }

    /// The next window when it is `now` here and `server` there, if one is left.
    pub fn next(&mut self, now: OffsetDateTime, server: OffsetDateTime) -> Option<Step> {
        let limit = self.rule.limit(now.min(server));
        let end = self.end.map_or(limit, |end| end.min(limit));
        // the run's end is fixed at its start; only a server whose clock is behind moves it back
        let target = self.target.map_or(end, |target| target.min(limit));
        self.target = Some(target);
        self.skip_what_is_no_longer_kept(self.rule.oldest(server));
        let first = self.rule.next(self.from, target, self.length);
        let last = || {
            let end = self.end.filter(|end| *end == target);
            end.and_then(|end| self.rule.last(self.from, end))
        };
        let first = first.or_else(last);
        let first = first.map(|window| (window, Look::First));
        let step = first.or_else(|| {
            let Second {
                look,
                after,
                length,
            } = self.second.as_ref()?;
            let due = self.until.min(now.min(server) - *after);
            Some((look.next(&self.rule, due, *length)?, Look::Second))
        });
        step.map(|(window, look)| Step { window, look })
    }

    /// Gives up the rest of a backfill if the service keeps nothing of it any more when it is `server`
    /// there: what it is, and from where the next run goes on.
    pub fn give_up(&mut self, server: OffsetDateTime) -> Option<(Step, Resume)> {
        let end = self.end.filter(|end| self.until < *end)?;
        if self.rule.oldest(server) < end {
            return None;
        }
        let (from, to) = (self.until, end);
        (self.until, self.from) = (end, end);
        let step = Step {
            window: Window { from, to },
            look: Look::First,
        };
        let resume = Resume {
            gap: Some(Gap { from, to }),
            ..self.resume()
        };
        Some((step, resume))
    }

    fn skip_what_is_no_longer_kept(&mut self, oldest: OffsetDateTime) {
        if self.from < oldest && self.until < oldest && self.fresh {
            // the edge moves while a run begins
            if oldest - self.until > Duration::MINUTE {
                warn_of_a_late_start(self.until, oldest);
            }
            self.until = oldest;
        }
        self.from = self.from.max(oldest);
        if let Some(Second { look, .. }) = &mut self.second
            && look.until < oldest
        {
            *look = SecondLook {
                until: oldest,
                ..*look
            };
        }
    }

    /// A window was read to its end when it was `server` there, if the answer said so.
    #[must_use]
    pub fn complete(
        &mut self,
        step: Step,
        now: OffsetDateTime,
        server: Option<OffsetDateTime>,
    ) -> Resume {
        let Step { window, look } = step;
        // no further than the server's clock had come
        let to = server.map_or(window.to, |server| window.to.min(self.rule.limit(server)));
        let to = to.max(window.from);
        let mut gap = None;
        match look {
            Look::First => {
                gap = (window.from > self.until).then_some(Gap {
                    from: self.until,
                    to: window.from,
                });
                self.from = to;
                self.until = self.until.max(to);
                if to >= self.narrow_until {
                    self.length = (self.length + self.length).min(self.rule.longest);
                }
            }
            Look::Second => {
                if let Some(second) = &mut self.second {
                    second.length = (second.length + second.length).min(self.rule.longest);
                }
            }
        }
        if let Some(Second { look, after, .. }) = &mut self.second {
            let due = server.map_or(now, |server| now.min(server)) - *after;
            *look = look.and_read(Window { to, ..window }, due);
        }
        Resume {
            gap,
            ..self.resume()
        }
    }

    /// A window was too much: half of it next time, for a first look in later runs, too.
    pub fn halve(&mut self, step: Step) {
        let Step { window, look } = step;
        let half = self.rule.half(window.length());
        match (look, &mut self.second) {
            (Look::Second, Some(second)) => second.length = half,
            _ => {
                self.length = half;
                self.narrow_until = window.to;
            }
        }
    }

    /// From where the next run goes on, as it stands.
    #[must_use]
    pub fn resume(&self) -> Resume {
        let narrow = (self.length < self.rule.longest).then(|| Narrow {
            seconds: u32::try_from(self.length.whole_seconds()).unwrap_or(u32::MAX),
            until: self.narrow_until,
        });
        Resume {
            position: Position {
                until: self.until,
                narrow,
            },
            gap: None,
            second_look: self.second.as_ref().map(|second| second.look),
        }
    }

    /// The service keeps only so much, headroom taken off.
    pub fn keep_only(&mut self, keep: Duration) {
        self.rule.keep = keep.max(self.rule.shortest);
    }

    /// By which rule windows are made.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The longest window that is asked for now in a look.
    #[must_use]
    pub fn longest_now(&self, look: Look) -> Duration {
        match (look, &self.second) {
            (Look::Second, Some(second)) => second.length,
            _ => self.length,
        }
    }
}

/// Says that a start is moved up to the oldest time that the service keeps.
pub fn warn_of_a_late_start(from: OffsetDateTime, oldest: OffsetDateTime) {
    log::warn!(
        "{} is older than the service keeps: starting at {}",
        utc(from),
        utc(oldest)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const RULE: Rule = Rule {
        shortest: Duration::seconds(30),
        longest: Duration::HOUR,
        keep: Duration::hours(167),
        margin: Duration::seconds(60),
        grain: Duration::seconds(1),
    };
    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const AFTER: Duration = Duration::hours(12);

    /// A state that starts so many hours before noon.
    fn fresh(hours: i64) -> Start {
        let from = NOON - Duration::hours(hours);
        Start {
            position: Position {
                until: from,
                narrow: None,
            },
            fresh: true,
            since: from,
            end: None,
            look_back: Duration::minutes(45),
            second_look: Some((SecondLook::beginning_at(from), AFTER)),
            stream: None,
            held: None,
        }
    }

    /// A run when it is so many minutes after noon: what it asked for. The next one goes on there.
    fn run(start: &mut Start, minutes: i64) -> Vec<Step> {
        let now = NOON + Duration::minutes(minutes);
        let mut plan = Plan::new(RULE, start);
        let mut steps = Vec::new();
        while let Some(step) = plan.next(now, now) {
            let resume = plan.complete(step, now, Some(now));
            start.position = resume.position;
            start.second_look = resume.second_look.map(|look| (look, AFTER));
            start.fresh = false;
            steps.push(step);
        }
        steps
    }

    /// How many first and second looks those are.
    fn count(steps: &[Step]) -> (usize, usize) {
        let second = steps.iter().filter(|step| step.look == Look::Second);
        let second = second.count();
        (steps.len() - second, second)
    }

    #[test]
    fn a_first_run_reads_what_is_old_once() {
        let mut start = fresh(160);
        assert_eq!(count(&run(&mut start, 0)), (160, 0));
        // what was too young then is due now
        assert_eq!(count(&run(&mut start, 10)), (1, 0));
        assert_eq!(count(&run(&mut start, 50)), (2, 0));
        assert_eq!(count(&run(&mut start, 60)), (1, 1));
    }

    #[test]
    fn a_timer_asks_once_a_run_and_once_more_an_hour() {
        for every in [5, 10, 15] {
            let mut start = fresh(24);
            run(&mut start, 0);
            let day = (1..=24 * 60 / every).map(|number| run(&mut start, number * every));
            let steps: Vec<Step> = day.flatten().collect();
            let runs = usize::try_from(24 * 60 / every).unwrap();
            assert_eq!(count(&steps), (runs, 24), "every {every} minutes");
            // each time exactly once more, touching, 12 hours later or a little more
            let second = steps.iter().filter(|step| step.look == Look::Second);
            let mut until = NOON - AFTER;
            for step in second {
                assert_eq!(step.window.from, until);
                until = step.window.to;
            }
        }
    }

    #[test]
    fn after_an_outage_what_was_read_late_enough_is_not_read_again() {
        let mut start = fresh(24);
        run(&mut start, 0);
        // of the 30 hours, all but the last 12 are old enough; before them, 12 were due
        let steps = run(&mut start, 30 * 60);
        assert_eq!(count(&steps), (31, 12));
        let mut last = run(&mut start, 31 * 60);
        last.retain(|step| step.look == Look::Second);
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].window.from, NOON + Duration::hours(18));
    }

    #[test]
    fn a_first_look_comes_first_and_the_second_keeps_to_the_position() {
        let mut start = fresh(24);
        start.second_look = Some((
            SecondLook::beginning_at(NOON - Duration::hours(24)),
            Duration::SECOND,
        ));
        let steps = run(&mut start, 0);
        let looks: Vec<Look> = steps.iter().map(|step| step.look).collect();
        assert!(looks.is_sorted_by_key(|look| *look == Look::Second));
        let until = start.position.until;
        assert!(steps.iter().all(|step| step.window.to <= until));
    }

    #[test]
    fn there_is_none_in_a_backfill_and_none_of_what_is_no_longer_kept() {
        let mut backfill = fresh(48);
        backfill.end = Some(NOON - Duration::hours(30));
        backfill.second_look = None;
        assert_eq!(count(&run(&mut backfill, 0)), (18, 0));

        let mut start = fresh(300);
        assert_eq!(count(&run(&mut start, 0)), (167, 0));
        let (look, _) = start.second_look.unwrap();
        assert_eq!(look, SecondLook::beginning_at(NOON - AFTER));
    }

    #[test]
    fn the_rest_of_a_backfill_that_is_no_longer_kept_is_given_up_as_a_gap_that_ends_with_it() {
        let mut backfill = fresh(48);
        let end = NOON - Duration::hours(24);
        (backfill.end, backfill.second_look) = (Some(end), None);
        backfill.fresh = false;
        // how long before it is gone, how much of it is given up
        for (left, gap) in [
            (3600, 82_800),
            (31, 86_369),
            (10, 86_370),
            (0, 86_400),
            (-9, 86_400),
        ] {
            let mut plan = Plan::new(RULE, &backfill);
            let server = end + RULE.keep - Duration::seconds(left);
            let resume = match plan.give_up(server) {
                Some((_, resume)) => resume,
                None => {
                    let step = plan.next(server, server).unwrap();
                    plan.complete(step, server, Some(server))
                }
            };
            let gap = Gap {
                from: NOON - Duration::hours(48),
                to: NOON - Duration::hours(48) + Duration::seconds(gap),
            };
            assert_eq!(resume.gap, Some(gap), "{left}");
            assert_eq!(resume.position.until, end, "{left}");
            assert_eq!(plan.next(server, server), None, "{left}");
            assert!(plan.give_up(server).is_none(), "{left}");
        }
    }

    #[test]
    fn what_is_too_much_is_halved_for_its_look_alone() {
        let mut start = fresh(24);
        run(&mut start, 0);
        let now = NOON + Duration::minutes(90);
        let mut plan = Plan::new(RULE, &start);
        let mut lengths = Vec::new();
        let mut failed = false;
        while let Some(step) = plan.next(now, now) {
            if step.look == Look::Second && !failed {
                failed = true;
                plan.halve(step);
                continue;
            }
            lengths.push((step.look, step.window.length().whole_minutes()));
            assert_eq!(plan.complete(step, now, Some(now)).position.narrow, None);
        }
        let expected = [
            (Look::First, 60),
            (Look::First, 60),
            (Look::First, 15),
            (Look::Second, 30),
            (Look::Second, 60),
        ];
        assert_eq!(lengths, expected);
    }

    #[test]
    fn a_wrong_clock_of_ours_looks_at_nothing_too_early() {
        let mut start = fresh(24);
        run(&mut start, 0);
        // ours is a day ahead of the server's
        let (now, server) = (NOON + Duration::days(1), NOON + Duration::minutes(10));
        let mut plan = Plan::new(RULE, &start);
        while let Some(step) = plan.next(now, server) {
            assert_eq!(step.look, Look::First);
            let _ = plan.complete(step, now, Some(server));
        }
        // and what it asked for before it knew, counts for nothing
        let mut plan = Plan::new(RULE, &start);
        let before = start.second_look.unwrap().0;
        let step = Step {
            window: Window {
                from: before.until,
                to: before.until + Duration::HOUR,
            },
            look: Look::Second,
        };
        let after = plan.complete(step, now, Some(server)).second_look.unwrap();
        assert!(after.until <= server - AFTER);
    }
}
