//! `WindowPlan` says which windows a run requests, and what each one completes.
//!
//! Pure. New time comes first, from `look_back` before the position on; then the rechecks that are
//! due. What a window is, and how it is read, is the source's.

use time::{Duration, OffsetDateTime};

use crate::clock::utc;
use crate::pipeline::batch::Pass;
use crate::pipeline::checkpoint::Window;
use crate::pipeline::checkpoint::{
    Checkpoint, Commit, Gap, Recheck, ReducedWindow, Stalled, WindowsCheckpoint,
};
use crate::source::api::Start;
use crate::source::windows::WindowLimits;

/// A window to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowRequest {
    /// The window.
    pub(crate) window: Window,
    /// Why it is read.
    pub(crate) pass: Pass,
}

impl std::fmt::Display for WindowRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pass {
            Pass::Recent => write!(f, "{}", self.window),
            Pass::Recheck => write!(f, "{} (recheck)", self.window),
        }
    }
}

/// The windows of a run.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    limits: WindowLimits,
    fresh: bool,
    end: Option<OffsetDateTime>,
    /// The position: everything before it is complete.
    until: OffsetDateTime,
    /// Where the next window starts.
    from: OffsetDateTime,
    length: Duration,
    /// Windows do not grow again before this time.
    narrow_until: OffsetDateTime,
    /// Where this run ends.
    target: Option<OffsetDateTime>,
    second: Option<Second>,
    /// What holds up the service.
    stalled: Option<Stalled>,
}

#[derive(Debug)]
struct Second {
    pass: Recheck,
    after: Duration,
    length: Duration,
}

/// When windows that were halved grow again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Once the window that was too large is complete.
    Later,
    /// Once any window is complete.
    AtOnce,
}

impl WindowPlan {
    /// Creates a plan; nothing is read yet.
    #[must_use]
    pub(crate) fn new(limits: WindowLimits, start: &Start) -> WindowPlan {
        let WindowsCheckpoint {
            until,
            narrow,
            recheck,
            stalled,
        } = start.checkpoint.windows();
        // a new recheck begins with what is read again anyway
        let recheck = recheck.unwrap_or(Recheck::beginning_at(until - start.look_back));
        let seconds = |narrow: ReducedWindow| Duration::seconds(narrow.seconds.into());
        WindowPlan {
            limits,
            fresh: start.fresh,
            end: start.end,
            until,
            from: (until - start.look_back).max(start.since.min(until)),
            length: narrow.map_or(limits.longest, seconds),
            narrow_until: narrow.map_or(until, |narrow| narrow.until),
            target: None,
            second: start.recheck_after.map(|after| Second {
                pass: recheck.within(start.since, until),
                after,
                length: limits.longest,
            }),
            stalled,
        }
    }

    /// The next window when it is `now` here and `server` at the service, if one is left.
    pub(crate) fn next(
        &mut self,
        now: OffsetDateTime,
        server: OffsetDateTime,
    ) -> Option<WindowRequest> {
        let limit = self.limits.limit(now.min(server));
        let end = self.end.map_or(limit, |end| end.min(limit));
        // the run's end is fixed at its start; only a server with a slow clock moves it back
        let target = self.target.map_or(end, |target| target.min(limit));
        self.target = Some(target);
        self.skip_what_is_no_longer_kept(self.limits.oldest(server));
        let first = self.limits.next(self.from, target, self.length);
        let last = || {
            let end = self.end.filter(|end| *end == target);
            end.and_then(|end| self.limits.last(self.from, end))
        };
        let first = first.or_else(last);
        let first = first.map(|window| (window, Pass::Recent));
        let step = first.or_else(|| {
            let Second {
                pass,
                after,
                length,
            } = self.second.as_ref()?;
            let due = self.until.min(now.min(server) - *after);
            Some((pass.next(&self.limits, due, *length)?, Pass::Recheck))
        });
        step.map(|(window, pass)| WindowRequest { window, pass })
    }

    /// Abandons the rest of a backfill if the service keeps none of it any more at its time
    /// `server`. Returns that rest, and where the next run goes on.
    pub(crate) fn give_up(&mut self, server: OffsetDateTime) -> Option<(WindowRequest, Commit)> {
        let end = self.end.filter(|end| self.until < *end)?;
        if self.limits.oldest(server) < end {
            return None;
        }
        let (from, to) = (self.until, end);
        (self.until, self.from) = (end, end);
        let step = WindowRequest {
            window: Window { from, to },
            pass: Pass::Recent,
        };
        let commit = Commit {
            gap: Some(Gap { from, to }),
            ..self.checkpoint().into()
        };
        Some((step, commit))
    }

    fn skip_what_is_no_longer_kept(&mut self, oldest: OffsetDateTime) {
        if self.from < oldest && self.until < oldest && self.fresh {
            // the edge moves while a run starts
            if oldest - self.until > Duration::MINUTE {
                warn_of_a_late_start(self.until, oldest);
            }
            self.until = oldest;
        }
        self.from = self.from.max(oldest);
        if let Some(Second { pass, .. }) = &mut self.second
            && pass.until < oldest
        {
            *pass = Recheck {
                until: oldest,
                ..*pass
            };
        }
    }

    /// A window was read to its end, at the server's time `server`, if known.
    #[must_use]
    pub(crate) fn complete(
        &mut self,
        step: WindowRequest,
        now: OffsetDateTime,
        server: Option<OffsetDateTime>,
    ) -> Commit {
        let WindowRequest { window, pass } = step;
        // no further than the server's clock
        let to = server.map_or(window.to, |server| window.to.min(self.limits.limit(server)));
        let to = to.max(window.from);
        let mut gap = None;
        match pass {
            Pass::Recent => {
                gap = (window.from > self.until).then_some(Gap {
                    from: self.until,
                    to: window.from,
                });
                self.from = to;
                self.until = self.until.max(to);
                if to >= self.narrow_until {
                    self.length = (self.length + self.length).min(self.limits.longest);
                }
            }
            Pass::Recheck => {
                if let Some(second) = &mut self.second {
                    second.length = (second.length + second.length).min(self.limits.longest);
                }
            }
        }
        if let Some(Second { pass, after, .. }) = &mut self.second {
            let due = server.map_or(now, |server| now.min(server)) - *after;
            *pass = pass.and_read(Window { to, ..window }, due);
        }
        Commit {
            gap,
            ..self.checkpoint().into()
        }
    }

    /// A window was too large: the next one is half as long; for a recent window, in later runs,
    /// too, until windows grow again.
    pub(crate) fn halve(&mut self, step: WindowRequest, growth: Growth) {
        let WindowRequest { window, pass } = step;
        let half = self.limits.half(window.length());
        match (pass, &mut self.second) {
            (Pass::Recheck, Some(second)) => second.length = half,
            _ => {
                self.length = half;
                self.narrow_until = match growth {
                    Growth::Later => window.to,
                    Growth::AtOnce => window.from,
                };
            }
        }
    }

    /// Where the next run goes on.
    #[must_use]
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let narrow = (self.length < self.limits.longest).then(|| ReducedWindow {
            seconds: u32::try_from(self.length.whole_seconds()).unwrap_or(u32::MAX),
            until: self.narrow_until,
        });
        Checkpoint::Windows(WindowsCheckpoint {
            until: self.until,
            narrow,
            recheck: self.second.as_ref().map(|second| second.pass),
            stalled: self.stalled,
        })
    }

    /// The position: everything before it is complete.
    #[must_use]
    pub(crate) fn until(&self) -> OffsetDateTime {
        self.until
    }

    /// What stalls the service, as last noted.
    #[must_use]
    pub(crate) fn stalled(&self) -> Option<Stalled> {
        self.stalled
    }

    /// Notes what stalls the service.
    pub(crate) fn stall(&mut self, stalled: Stalled) {
        self.stalled = Some(stalled);
    }

    /// The service keeps only this much, without headroom.
    pub(crate) fn keep_only(&mut self, keep: Duration) {
        self.limits.keep = keep.max(self.limits.shortest);
    }

    /// The limits by which windows are made.
    #[must_use]
    pub(crate) fn limits(&self) -> WindowLimits {
        self.limits
    }
}

/// Warns that a start is moved up to the oldest time that the service keeps.
pub(crate) fn warn_of_a_late_start(from: OffsetDateTime, oldest: OffsetDateTime) {
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

    const LIMITS: WindowLimits = WindowLimits {
        shortest: Duration::seconds(30),
        longest: Duration::HOUR,
        keep: Duration::hours(167),
        margin: Duration::seconds(60),
        grain: Duration::seconds(1),
    };
    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const AFTER: Duration = Duration::hours(12);

    /// A first run that starts this many hours before noon.
    fn fresh(hours: i64) -> Start {
        let from = NOON - Duration::hours(hours);
        Start {
            checkpoint: Checkpoint::windows_at(from),
            fresh: true,
            since: from,
            end: None,
            look_back: Duration::minutes(45),
            recheck_after: Some(AFTER),
        }
    }

    /// Runs this many minutes after noon, and returns what was requested; the next run goes on
    /// there.
    fn run(start: &mut Start, minutes: i64) -> Vec<WindowRequest> {
        let now = NOON + Duration::minutes(minutes);
        let mut plan = WindowPlan::new(LIMITS, start);
        let mut steps = Vec::new();
        while let Some(step) = plan.next(now, now) {
            start.checkpoint = plan.complete(step, now, Some(now)).checkpoint.unwrap();
            start.fresh = false;
            steps.push(step);
        }
        steps
    }

    /// Counts recent windows and rechecks.
    fn count(steps: &[WindowRequest]) -> (usize, usize) {
        let second = steps.iter().filter(|step| step.pass == Pass::Recheck);
        let second = second.count();
        (steps.len() - second, second)
    }

    #[test]
    fn a_first_run_reads_what_is_old_once() {
        let mut start = fresh(160);
        assert_eq!(count(&run(&mut start, 0)), (160, 0));
        // what was too recent then is due now
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
            let steps: Vec<WindowRequest> = day.flatten().collect();
            let runs = usize::try_from(24 * 60 / every).unwrap();
            assert_eq!(count(&steps), (runs, 24), "every {every} minutes");
            // each exactly once more, touching, 12 hours later or a little more
            let second = steps.iter().filter(|step| step.pass == Pass::Recheck);
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
        // of the 30 hours all but the last 12 are old enough; before them, 12 were due
        let steps = run(&mut start, 30 * 60);
        assert_eq!(count(&steps), (31, 12));
        let mut last = run(&mut start, 31 * 60);
        last.retain(|step| step.pass == Pass::Recheck);
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].window.from, NOON + Duration::hours(18));
    }

    #[test]
    fn a_first_look_comes_first_and_the_second_keeps_to_the_position() {
        let mut start = fresh(24);
        start.recheck_after = Some(Duration::SECOND);
        let steps = run(&mut start, 0);
        let looks: Vec<Pass> = steps.iter().map(|step| step.pass).collect();
        assert!(looks.is_sorted_by_key(|pass| *pass == Pass::Recheck));
        let until = start.checkpoint.until();
        assert!(steps.iter().all(|step| step.window.to <= until));
    }

    #[test]
    fn there_is_none_in_a_backfill_and_none_of_what_is_no_longer_kept() {
        let mut backfill = fresh(48);
        backfill.end = Some(NOON - Duration::hours(30));
        backfill.recheck_after = None;
        assert_eq!(count(&run(&mut backfill, 0)), (18, 0));

        let mut start = fresh(300);
        assert_eq!(count(&run(&mut start, 0)), (167, 0));
        let recheck = start.checkpoint.windows().recheck;
        assert_eq!(recheck, Some(Recheck::beginning_at(NOON - AFTER)));
    }

    #[test]
    fn the_rest_of_a_backfill_that_is_no_longer_kept_is_given_up_as_a_gap_that_ends_with_it() {
        let mut backfill = fresh(48);
        let end = NOON - Duration::hours(24);
        (backfill.end, backfill.recheck_after) = (Some(end), None);
        backfill.fresh = false;
        // how long before the end is gone, and how much is given up
        for (left, gap) in [
            (3600, 82_800),
            (31, 86_369),
            (10, 86_370),
            (0, 86_400),
            (-9, 86_400),
        ] {
            let mut plan = WindowPlan::new(LIMITS, &backfill);
            let server = end + LIMITS.keep - Duration::seconds(left);
            let commit = match plan.give_up(server) {
                Some((_, commit)) => commit,
                None => {
                    let step = plan.next(server, server).unwrap();
                    plan.complete(step, server, Some(server))
                }
            };
            let gap = Gap {
                from: NOON - Duration::hours(48),
                to: NOON - Duration::hours(48) + Duration::seconds(gap),
            };
            assert_eq!(commit.gap, Some(gap), "{left}");
            assert_eq!(commit.checkpoint.unwrap().until(), end, "{left}");
            assert_eq!(plan.next(server, server), None, "{left}");
            assert!(plan.give_up(server).is_none(), "{left}");
        }
    }

    #[test]
    fn what_is_too_much_is_halved_for_its_look_alone() {
        let mut start = fresh(24);
        run(&mut start, 0);
        let now = NOON + Duration::minutes(90);
        let mut plan = WindowPlan::new(LIMITS, &start);
        let mut lengths = Vec::new();
        let mut failed = false;
        while let Some(step) = plan.next(now, now) {
            if step.pass == Pass::Recheck && !failed {
                failed = true;
                plan.halve(step, Growth::Later);
                continue;
            }
            lengths.push((step.pass, step.window.length().whole_minutes()));
            let checkpoint = plan.complete(step, now, Some(now)).checkpoint.unwrap();
            assert_eq!(checkpoint.windows().narrow, None);
        }
        let expected = [
            (Pass::Recent, 60),
            (Pass::Recent, 60),
            (Pass::Recent, 15),
            (Pass::Recheck, 30),
            (Pass::Recheck, 60),
        ];
        assert_eq!(lengths, expected);
    }

    #[test]
    fn a_wrong_clock_of_ours_looks_at_nothing_too_early() {
        let mut start = fresh(24);
        run(&mut start, 0);
        // our clock is a day ahead of the server's
        let (now, server) = (NOON + Duration::days(1), NOON + Duration::minutes(10));
        let mut plan = WindowPlan::new(LIMITS, &start);
        while let Some(step) = plan.next(now, server) {
            assert_eq!(step.pass, Pass::Recent);
            let _ = plan.complete(step, now, Some(server));
        }
        // and what was requested before that was known counts for nothing
        let mut plan = WindowPlan::new(LIMITS, &start);
        let before = start.checkpoint.windows().recheck.unwrap();
        let step = WindowRequest {
            window: Window {
                from: before.until,
                to: before.until + Duration::HOUR,
            },
            pass: Pass::Recheck,
        };
        let after = plan.complete(step, now, Some(server)).checkpoint.unwrap();
        let after = after.windows().recheck.unwrap();
        assert!(after.until <= server - AFTER);
    }
}
