//! Where a source stands that asks for one window of time after the other: which clock counts, and
//! what becomes of a window that did not come to its end.
//!
//! A window counts once its answer was whole. What is too much at once is asked for in halves, in
//! this run or the next. Knows no service: what one accepts is its [`Rule`]; which windows that
//! makes, is for [`Plan`] to say.

use std::time::Duration as Wait;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::clocks::Clocks;
use super::plan::{Plan, Step};
use super::{Opening, Turn, wire_time};
use crate::connect::Stopped;
use crate::event::{Asked, Border, Look, hour_after};
use crate::exit::line;
use crate::http::Dropped;
use crate::window::{Rule, utc};

/// So many failures of the same question, one after the other, end the run.
pub const ATTEMPTS: u32 = 3;

/// The windows of a run.
#[derive(Debug)]
pub(super) struct Windows {
    plan: Plan,
    /// So many failures of the same question, one after the other, end the run.
    attempts: u32,
    clocks: Clocks,
    /// An event of a first look that is new and was created before this came late.
    late_before: Option<Before>,
    /// For a second look, that is whatever was created before it was asked.
    second_late_before: Option<Before>,
    asked: u32,
    /// Failures of the same question since the last window that came to its end.
    failures: u32,
    failed: Option<Failure>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// A window to ask for.
    Ask(Step),
    /// The rest of a backfill, of which the service keeps nothing any more, is given up.
    GiveUp(Step, Border),
}

/// Why the last window did not come to its end.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    /// Whether asking again may help.
    again: bool,
    look: Look,
}

/// A time to which others are compared, and how services write it.
#[derive(Debug)]
struct Before {
    time: OffsetDateTime,
    text: String,
}

impl Before {
    fn time(time: OffsetDateTime) -> Before {
        let mut text = utc(time);
        text.truncate(wire_time::SECONDS);
        Before { time, text }
    }

    /// How many seconds before it this is, as a service writes it; `None` if it is not before.
    fn seconds_since(&self, created: &str) -> Option<u32> {
        // fractions may be written or not
        let created = created.get(..wire_time::SECONDS)?;
        // as text, since most are not
        if created >= self.text.as_str() {
            return None;
        }
        let created = wire_time::parse(created)?;
        u32::try_from((self.time - created).whole_seconds()).ok()
    }
}

impl Windows {
    /// Of a run that has asked for nothing yet.
    pub(super) fn new(rule: Rule, opening: &Opening<'_>) -> Windows {
        let start = &opening.start;
        let known = !start.fresh && start.end.is_none();
        Windows {
            plan: Plan::new(rule, start),
            attempts: opening.attempts,
            clocks: Clocks::default(),
            late_before: known.then(|| Before::time(start.position.until)),
            second_late_before: None,
            asked: 0,
            failures: 0,
            failed: None,
        }
    }

    /// What comes next, after a wait if the last window failed; `None` when nothing is left or the run
    /// is to stop.
    ///
    /// # Errors
    /// That of the last window, when asking again is of no use in this run.
    pub(super) fn next(&mut self, turn: &Turn<'_>) -> Result<Option<Next>> {
        self.recover(turn)?;
        if turn.stop.reason().is_some() {
            return Ok(None);
        }
        let server = self.clocks.server(turn.now);
        if let Some((step, resume)) = self.plan.give_up(server) {
            return Ok(Some(Next::GiveUp(step, Border::Resume(resume))));
        }
        let step = self.plan.next(turn.now, server);
        let second = step.filter(|step| step.look == Look::Second);
        self.second_late_before = second.map(|_| Before::time(turn.now));
        Ok(step.map(Next::Ask))
    }

    /// The number of a question for this window; ordinals count anew in each.
    pub(super) fn ask(&mut self, step: Step) -> Asked {
        log::debug!("asking for {step}");
        self.asked += 1;
        Asked {
            number: self.asked,
            end_hour: hour_after(step.window.to),
            look: step.look,
        }
    }

    /// Takes on the server's time, as it said it when it was `ours` here.
    pub(super) fn compare_clocks(&mut self, server: OffsetDateTime, ours: OffsetDateTime) {
        self.clocks.compare(server, ours);
    }

    /// Whether a refusal of this window by a server at this time only says that our idea of what may
    /// be asked for was wrong, and is now right. `kept` is how far back it says that one may ask.
    pub(super) fn replan(
        &mut self,
        step: Step,
        server: Option<OffsetDateTime>,
        kept: Option<Duration>,
    ) -> bool {
        if let Some(kept) = kept {
            // an hour of headroom, since the edge moves while we work
            let keep = kept - Duration::HOUR;
            if keep < self.plan.rule().keep {
                log::warn!("the service keeps only {kept}: asking for no more");
                self.plan.keep_only(keep);
            }
        }
        let (window, rule) = (step.window, self.plan.rule());
        let now = server.unwrap_or(window.to);
        self.failures += 1;
        let changed = rule.oldest(now) > window.from || rule.limit(now) < window.to;
        changed && self.failures < self.attempts
    }

    /// If an event of the window that is being read, new and created at this time, written as [`utc`]
    /// does, came late: how late, in seconds.
    pub(super) fn seconds_late(&self, created: Option<&str>) -> Option<u32> {
        let before = self
            .second_late_before
            .as_ref()
            .or(self.late_before.as_ref());
        before?.seconds_since(created?)
    }

    /// How far the server's clock is ahead of ours, once it has told its time.
    pub(super) fn ahead(&self) -> Option<Duration> {
        self.clocks.ahead()
    }

    /// Before it everything is complete.
    pub(super) fn until(&self) -> OffsetDateTime {
        self.plan.resume().position.until
    }

    /// The window is complete, as far as the server's clock had come.
    pub(super) fn complete(
        &mut self,
        step: Step,
        server: Option<OffsetDateTime>,
        turn: &mut Turn<'_>,
    ) -> Border {
        turn.tally.windows += 1;
        self.failures = 0;
        Border::Resume(self.plan.complete(step, turn.now, server))
    }

    /// A window did not come to its end: asked for again, half of it where it was too much, in this
    /// run or the next.
    pub(super) fn give_up(&mut self, step: Step, error: anyhow::Error) -> Border {
        let again = error.is::<Dropped>();
        let too_much = matches!(error.downcast_ref(), Some(Dropped::Silent | Dropped::Cut));
        let look = step.look;
        self.fail(step, Failure { error, again, look }, too_much)
    }

    /// A window was too much, and its error is the end of this run: the next one asks for half of it.
    pub(super) fn leave_to_the_next_run(&mut self, step: Step, error: anyhow::Error) -> Border {
        let (again, look) = (false, step.look);
        self.fail(step, Failure { error, again, look }, true)
    }

    fn fail(&mut self, step: Step, failure: Failure, too_much: bool) -> Border {
        let stopped = Stopped::is_in(&failure.error);
        if stopped || too_much {
            self.plan.halve(step);
        }
        if !stopped {
            // half as much is another question: only the same one again counts
            let is_halved = too_much && step.window.length() > self.plan.rule().shortest;
            self.failures += u32::from(!is_halved);
            self.failed = Some(failure);
        }
        match stopped || too_much {
            true => Border::Resume(self.plan.resume()),
            false => Border::Here,
        }
    }

    /// Waits before another attempt, if there is to be one.
    fn recover(&mut self, turn: &Turn<'_>) -> Result<()> {
        let Some(Failure { error, again, look }) = self.failed.take() else {
            return Ok(());
        };
        if !again || self.failures >= self.attempts {
            return Err(error);
        }
        log::warn!(
            "{}; asking again, for {} at most",
            line(&error),
            self.plan.longest_now(look)
        );
        pause(self.failures, turn);
        Ok(())
    }
}

/// Waits after so many failures of the same question: 1 s, 2 s, ... and up to half as much again,
/// so that many do not come back at once.
pub(super) fn pause(failures: u32, turn: &Turn<'_>) {
    let base = Wait::from_secs(1 << failures.saturating_sub(1));
    turn.stop
        .sleep(base + base.mul_f64(f64::from(turn.now.nanosecond()) / 2e9));
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn lateness_is_told_in_seconds_where_times_can_be_read() {
        let before = Before::time(datetime!(2025-01-14 08:17:41.5 UTC));
        for (created, seconds) in [
            ("2025-01-14T08:16:41.000Z", Some(60)),
            ("2025-01-14T08:17:40Z", Some(1)),
            ("2025-01-14T08:17:41.400Z", None),
            ("2025-01-14T09:00:00Z", None),
            ("2025-01-14", None),
            ("2025 is the year and", None),
            ("", None),
        ] {
            assert_eq!(before.seconds_since(created), seconds, "{created}");
        }
    }
}
