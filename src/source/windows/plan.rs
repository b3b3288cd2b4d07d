//! `WindowPlan` says which windows a run requests, and what each one completes.
//!
//! Pure. New time comes first, from `look_back` before the position on; then the rechecks that are
//! due. What a window is, and how it is read, is the source's.

use time::{Duration, OffsetDateTime};

use crate::clock::utc;
use crate::pipeline::batch::Pass;
use crate::pipeline::checkpoint::Window;
use crate::pipeline::checkpoint::{
    Checkpoint, Commit, Recheck, ReducedWindow, Stalled, WindowsCheckpoint,
};
use crate::source::api::Start;
use crate::source::windows::WindowLimits;
use crate::source::windows::clock::ClockReading;

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
    /// When the state was begun, as long as nothing was read.
    begun: Option<OffsetDateTime>,
    /// Whether the start was counted from our clock, which may be ahead.
    is_counted_back: bool,
    /// Whether the last window was requested before the server had told its time.
    is_blind: bool,
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
        let seconds = |narrow: ReducedWindow| Duration::seconds(narrow.seconds.into());
        // a new recheck begins with what is read again anyway
        let recheck = recheck.unwrap_or(Recheck::beginning_at(until - start.look_back));
        WindowPlan {
            limits,
            begun: start.begun,
            is_counted_back: start.is_counted_back,
            is_blind: false,
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

    /// The next window, if one is left.
    ///
    /// # Errors
    /// With the position, if it is too old, and the clocks do not agree on that.
    pub(crate) fn next(
        &mut self,
        clocks: ClockReading,
    ) -> Result<Option<WindowRequest>, OffsetDateTime> {
        self.correct_start(clocks);
        let limit = self.limits.limit(clocks.earlier());
        let end = self.end.map_or(limit, |end| end.min(limit));
        // the run's end is fixed at its start; only a server with a slow clock moves it back
        let target = self.target.map_or(end, |target| target.min(limit));
        self.target = Some(target);
        let was_blind = std::mem::replace(&mut self.is_blind, clocks.server.is_none());
        let first = if self.is_blind {
            let oldest = self.limits.oldest(clocks.ours);
            if was_blind && self.until < oldest {
                return Err(self.until);
            }
            // the first request tells the server's time; only then is it decided from where
            let first = self.next_recent(self.from.max(oldest), target);
            first.or_else(|| self.next_recent(self.from, target))
        } else {
            self.skip_what_is_no_longer_kept(clocks)?;
            self.next_recent(self.from, target)
        };
        let first = first.map(|window| (window, Pass::Recent));
        let step = first.or_else(|| Some((self.next_recheck(clocks)?, Pass::Recheck)));
        Ok(step.map(|(window, pass)| WindowRequest { window, pass }))
    }

    /// The window that follows a recent one, once that is complete. `None` where its answer may change that:
    /// as long as the server has not told its time, and where windows are reduced.
    pub(crate) fn after(&self, step: WindowRequest) -> Option<WindowRequest> {
        let is_usual = !self.is_blind && self.length == self.limits.longest;
        let target = self
            .target
            .filter(|_| is_usual && step.pass == Pass::Recent)?;
        let window = self.next_recent(step.window.to, target)?;
        Some(WindowRequest { window, ..step })
    }

    fn next_recent(&self, from: OffsetDateTime, target: OffsetDateTime) -> Option<Window> {
        let last = || {
            let end = self.end.filter(|end| *end == target);
            end.and_then(|end| self.limits.last(from, end))
        };
        self.limits.next(from, target, self.length).or_else(last)
    }

    fn next_recheck(&self, clocks: ClockReading) -> Option<Window> {
        let Second {
            pass,
            after,
            length,
        } = self.second.as_ref()?;
        let is_too_old = pass.until < self.limits.oldest(clocks.earlier());
        if clocks.agreed().is_none() && is_too_old {
            return None;
        }
        let due = self.until.min(clocks.earlier() - *after);
        pass.next(&self.limits, due, *length)
    }

    /// A start that was counted from our clock moves back with it to the server's.
    fn correct_start(&mut self, clocks: ClockReading) {
        if clocks.server.is_none() || !std::mem::take(&mut self.is_counted_back) {
            return;
        }
        let ahead = clocks.ours_ahead();
        if ahead > Duration::ZERO {
            let start = self.limits.floor(self.until - ahead);
            (self.until, self.from) = (start, start);
            if let Some(Second { pass, .. }) = &mut self.second {
                *pass = Recheck::beginning_at(start);
            }
        }
        self.begun = self
            .limits
            .begun_by_right_clock(self.begun, self.until, clocks);
    }

    /// Abandons the rest of a backfill if the service keeps none of it any more, and both clocks
    /// agree. Returns that rest, and where the next run goes on.
    pub(crate) fn give_up(&mut self, clocks: ClockReading) -> Option<(WindowRequest, Commit)> {
        let end = self.end.filter(|end| self.until < *end)?;
        if self.limits.oldest(clocks.agreed()?) < end {
            return None;
        }
        let (from, to) = (self.until, end);
        (self.until, self.from) = (end, end);
        let step = WindowRequest {
            window: Window { from, to },
            pass: Pass::Recent,
        };
        let commit = Commit {
            gap: self.limits.lost(from, to, self.begun),
            ..self.checkpoint().into()
        };
        Some((step, commit))
    }

    fn skip_what_is_no_longer_kept(&mut self, clocks: ClockReading) -> Result<(), OffsetDateTime> {
        let oldest = self.limits.oldest(clocks.earlier());
        if clocks.agreed().is_none() {
            if self.until < oldest {
                return Err(self.until);
            }
        } else if let Some(Second { pass, .. }) = &mut self.second {
            pass.until = pass.until.max(oldest);
        }
        // the edge moves while a run starts
        if self.begun.is_some() && oldest - self.from > Duration::MINUTE {
            warn_of_a_late_start(self.from, oldest);
        }
        self.from = self.from.max(oldest);
        Ok(())
    }

    /// A window was read to its end, at the server's time `server`, if known. By now the clocks say
    /// this.
    #[must_use]
    pub(crate) fn complete(
        &mut self,
        step: WindowRequest,
        server: Option<OffsetDateTime>,
        clocks: ClockReading,
    ) -> Commit {
        let WindowRequest { window, pass } = step;
        self.correct_start(clocks);
        // what was requested before the server had told its time counts only if that changes nothing
        if self.is_blind && self.skip_what_is_no_longer_kept(clocks).is_err() {
            return Commit::default();
        }
        let is_late = pass == Pass::Recent && window.from > self.from;
        let is_too_old = clocks
            .agreed()
            .is_some_and(|now| window.to <= self.limits.oldest(now));
        if is_late || is_too_old {
            return Commit::default();
        }
        // no further than the server's clock
        let to = server.map_or(window.to, |server| window.to.min(self.limits.limit(server)));
        let to = to.max(window.from);
        let mut gap = None;
        match pass {
            Pass::Recent => {
                gap = self.limits.lost(self.until, window.from, self.begun);
                self.from = to;
                if to > self.until {
                    (self.until, self.begun) = (to, None);
                }
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
            let due = server.map_or(clocks.ours, |server| clocks.ours.min(server)) - *after;
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
    use crate::pipeline::checkpoint::Gap;
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
            begun: Some(NOON),
            is_counted_back: false,
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
        let clocks = ClockReading::of_both(now);
        while let Some(step) = plan.next(clocks).unwrap() {
            start.checkpoint = plan.complete(step, Some(now), clocks).checkpoint.unwrap();
            start.begun = None;
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
    fn the_window_after_one_is_told_before_it_is_complete_unless_its_answer_may_change_it() {
        let unheard = ClockReading {
            ours: NOON,
            server: None,
        };
        let heard = ClockReading::of_both(NOON);
        let mut plan = WindowPlan::new(LIMITS, &fresh(3));
        let first = plan.next(unheard).unwrap().unwrap();
        assert_eq!(plan.after(first), None, "the server has not told its time");
        let _ = plan.complete(first, Some(NOON), heard);
        let second = plan.next(heard).unwrap().unwrap();
        let told = plan.after(second);
        let _ = plan.complete(second, Some(NOON), heard);
        let third = plan.next(heard).unwrap();
        assert!(told.is_some() && told == third, "{told:?} {third:?}");
        assert_eq!(plan.after(third.unwrap()), None, "it is the last one");
        plan.halve(second, Growth::Later);
        let reduced = plan.next(heard).unwrap().unwrap();
        assert_eq!(plan.after(reduced), None, "windows may grow again");
        let recheck = WindowRequest {
            pass: Pass::Recheck,
            ..first
        };
        assert_eq!(plan.after(recheck), None);
    }

    #[test]
    fn a_position_that_may_be_too_old_is_asked_for_once_before_the_server_has_told_its_time() {
        let unheard = ClockReading {
            ours: NOON,
            server: None,
        };
        let oldest = LIMITS.oldest(NOON);
        for (until, is_too_old) in [(oldest - Duration::SECOND, true), (oldest, false)] {
            let start = Start {
                checkpoint: Checkpoint::windows_at(until),
                since: until,
                ..fresh(0)
            };
            let mut plan = WindowPlan::new(LIMITS, &start);
            let first = plan.next(unheard).unwrap().unwrap();
            assert_eq!(first.window.from, oldest);
            let second = plan.next(unheard);
            assert_eq!(second.is_err(), is_too_old, "{until}: {second:?}");
            // and waits while the two clocks do not agree on it
            let apart = ClockReading {
                ours: NOON,
                server: Some(NOON + Duration::hours(2)),
            };
            let first = WindowPlan::new(LIMITS, &start).next(apart);
            assert_eq!(first.is_err(), is_too_old, "{until}: {first:?}");
        }
    }

    #[test]
    fn a_recheck_that_may_be_too_old_waits_until_both_clocks_agree() {
        let behind = NOON - Duration::hours(2);
        let oldest = LIMITS.oldest(behind);
        for (from, waits) in [(oldest - Duration::SECOND, true), (oldest, false)] {
            let checkpoint = WindowsCheckpoint {
                until: NOON - Duration::MINUTE,
                narrow: None,
                recheck: Some(Recheck::beginning_at(from)),
                stalled: None,
            };
            let start = Start {
                checkpoint: Checkpoint::Windows(checkpoint),
                since: from,
                look_back: Duration::ZERO,
                ..fresh(0)
            };
            let first = |clocks| {
                let step = WindowPlan::new(LIMITS, &start).next(clocks).unwrap();
                step.map(|step| (step.pass, step.window.from))
            };
            let apart = first(ClockReading {
                ours: NOON,
                server: Some(behind),
            });
            let wanted = (!waits).then_some((Pass::Recheck, from));
            assert_eq!(apart, wanted, "{from}");
            let agreed = first(ClockReading::of_both(NOON));
            assert_eq!(agreed, Some((Pass::Recheck, LIMITS.oldest(NOON))));
        }
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
        backfill.begun = None;
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
            let clocks = ClockReading::of_both(server);
            let commit = match plan.give_up(clocks) {
                Some((_, commit)) => commit,
                None => {
                    let step = plan.next(clocks).unwrap().unwrap();
                    plan.complete(step, Some(server), clocks)
                }
            };
            let gap = Gap {
                from: NOON - Duration::hours(48),
                to: NOON - Duration::hours(48) + Duration::seconds(gap),
            };
            assert_eq!(commit.gap, Some(gap), "{left}");
            assert_eq!(commit.checkpoint.unwrap().until(), end, "{left}");
            assert_eq!(plan.next(clocks), Ok(None), "{left}");
            assert!(plan.give_up(clocks).is_none(), "{left}");
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
        let clocks = ClockReading::of_both(now);
        while let Some(step) = plan.next(clocks).unwrap() {
            if step.pass == Pass::Recheck && !failed {
                failed = true;
                plan.halve(step, Growth::Later);
                continue;
            }
            lengths.push((step.pass, step.window.length().whole_minutes()));
            let checkpoint = plan.complete(step, Some(now), clocks).checkpoint.unwrap();
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

    /// The lengths of the windows over four hours of which the second is too large, and its first half as
    /// well. Each window is read by a plan of its own, as in a new run, or all by one.
    fn lengths_after_two_halves(growth: Growth, in_new_runs: bool) -> Vec<i64> {
        let clocks = ClockReading::of_both(NOON + LIMITS.margin);
        let mut start = Start {
            look_back: Duration::ZERO,
            recheck_after: None,
            ..fresh(4)
        };
        let mut plan = WindowPlan::new(LIMITS, &start);
        let (mut lengths, mut halves) = (Vec::new(), 0);
        while let Some(step) = plan.next(clocks).unwrap() {
            if halves < 2 && step.window.from == NOON - Duration::hours(3) {
                halves += 1;
                plan.halve(step, growth);
                start.checkpoint = plan.checkpoint();
            } else {
                lengths.push(step.window.length().whole_minutes());
                let commit = plan.complete(step, clocks.server, clocks);
                start.checkpoint = commit.checkpoint.unwrap();
            }
            if in_new_runs {
                plan = WindowPlan::new(LIMITS, &start);
            }
        }
        lengths
    }

    #[test]
    fn halved_windows_grow_again_once_what_was_too_large_is_complete_in_later_runs_too() {
        for in_new_runs in [false, true] {
            let later = lengths_after_two_halves(Growth::Later, in_new_runs);
            assert_eq!(later, [60, 15, 15, 30, 60, 60], "{in_new_runs}");
            let at_once = lengths_after_two_halves(Growth::AtOnce, in_new_runs);
            assert_eq!(at_once, [60, 15, 30, 60, 60, 15], "{in_new_runs}");
        }
    }

    #[test]
    fn a_window_that_moves_nothing_leaves_the_state_as_begun() {
        let mut plan = WindowPlan::new(LIMITS, &fresh(160));
        let step = plan.next(ClockReading::of_both(NOON)).unwrap().unwrap();
        // the server's clock was behind the whole window
        let server = step.window.from;
        let clocks = ClockReading {
            ours: NOON,
            server: Some(server),
        };
        assert_eq!(plan.complete(step, Some(server), clocks).gap, None);
        // nothing was ever read, so what has become too old since is no gap, but a later start
        let soon = ClockReading::of_both(NOON + Duration::hours(7) + Duration::minutes(30));
        let step = plan.next(soon).unwrap().unwrap();
        assert_eq!(step.window.from, LIMITS.oldest(soon.ours));
        assert_eq!(plan.complete(step, soon.server, soon).gap, None);
    }

    #[test]
    fn a_wrong_clock_of_ours_looks_at_nothing_too_early() {
        let mut start = fresh(24);
        run(&mut start, 0);
        // our clock is a day ahead of the server's
        let (now, server) = (NOON + Duration::days(1), NOON + Duration::minutes(10));
        let mut plan = WindowPlan::new(LIMITS, &start);
        let clocks = ClockReading {
            ours: now,
            server: Some(server),
        };
        while let Some(step) = plan.next(clocks).unwrap() {
            assert_eq!(step.pass, Pass::Recent);
            let _ = plan.complete(step, Some(server), clocks);
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
        let after = plan
            .complete(step, Some(server), clocks)
            .checkpoint
            .unwrap();
        let after = after.windows().recheck.unwrap();
        assert!(after.until <= server - AFTER);
    }

    /// Runs at noon with clocks that are so many hours ahead of it, ours and the server's; `None` if the server
    /// tells no time. A service that keeps a week answers what it has. Returns the first window that counted and
    /// the position, in hours before noon, and what was given up.
    fn run_wrong(
        start: &Start,
        ours: i64,
        server: Option<i64>,
    ) -> Result<(Option<i64>, i64, Vec<Gap>), OffsetDateTime> {
        let now = NOON + Duration::hours(ours);
        let server = server.map(|hours| NOON + Duration::hours(hours));
        let mut clocks = ClockReading {
            ours: now,
            server: None,
        };
        let mut plan = WindowPlan::new(LIMITS, start);
        let (mut first, mut gaps, mut steps) = (None, Vec::new(), 0);
        while let Some(step) = plan.next(clocks)? {
            clocks.server = server;
            steps += 1;
            assert!(steps < 500);
            // it refuses what it does not keep, and what is in its future
            let is_kept = step.window.from >= NOON - Duration::days(7);
            if !is_kept || step.window.to > NOON {
                continue;
            }
            let before = plan.until;
            let commit = plan.complete(step, server, clocks);
            gaps.extend(commit.gap);
            if plan.until > before {
                first.get_or_insert((NOON - step.window.from).whole_hours());
            }
        }
        Ok((first, (NOON - plan.until).whole_hours(), gaps))
    }

    #[test]
    fn no_single_clock_gives_anything_up_moves_a_start_up_or_a_position_beyond_both() {
        const WEEK: i64 = 7 * 24;
        let start = |hours: i64, begun: bool, is_counted_back: bool| Start {
            checkpoint: Checkpoint::windows_at(NOON - Duration::hours(hours)),
            begun: begun.then_some(NOON),
            is_counted_back,
            since: NOON - Duration::hours(hours),
            look_back: Duration::ZERO,
            recheck_after: None,
            ..fresh(hours)
        };
        // a known position and a configured start, 10 and 140 hours ago
        for begun in [false, true] {
            for hours in [10, 140] {
                let start = start(hours, begun, false);
                // nothing but the right present is ever read, whichever clock is ahead
                for (ours, server) in [(0, 0), (156, 0), (164, 0), (192, 0), (0, 960), (0, 144)] {
                    let found = run_wrong(&start, ours, Some(server));
                    let hours = Some(hours).filter(|_| ours <= 0 || server <= 0);
                    assert_eq!(found, Ok((hours, 0, vec![])), "{ours} {server}");
                }
                // no further than the one that is behind
                for (ours, server) in [(-3, 0), (0, -3), (156, -3)] {
                    let found = run_wrong(&start, ours, Some(server));
                    assert_eq!(found, Ok((Some(hours), 3, vec![])), "{ours} {server}");
                }
                // a day behind the position, or in 1970
                for (ours, server) in [(0, -200), (-200, 0), (0, -490_000), (-490_000, 0)] {
                    let found = run_wrong(&start, ours, Some(server));
                    assert_eq!(found, Ok((None, hours, vec![])), "{ours} {server}");
                }
            }
        }
        // what both call too old is a gap if they agree, and waits if not
        let old = start(200, false, false);
        let gap = Gap {
            from: NOON - Duration::hours(200),
            to: NOON - LIMITS.keep,
        };
        let both = |wrong| run_wrong(&old, wrong, Some(0));
        assert_eq!(both(0), Ok((Some(WEEK - 1), 0, vec![gap])));
        for wrong in [-2, 2, 960] {
            assert_eq!(both(wrong), Err(NOON - Duration::hours(200)), "{wrong}");
        }
        // a start that was too old from the beginning is moved up by both
        let old = start(200, true, false);
        assert_eq!(run_wrong(&old, 0, Some(0)), Ok((Some(WEEK - 1), 0, vec![])));
        assert!(run_wrong(&old, 6, Some(0)).is_err());
        // one that was counted back from a clock that was ahead moves back with it
        for ours in [0, 6, 156, 192] {
            let start = start(24 - ours, true, true);
            let found = run_wrong(&start, ours, Some(0));
            assert_eq!(found, Ok((Some(24), 0, vec![])), "{ours}");
        }
    }
}
