//! Where a source stands that asks for one window of time after the other: which clock counts, and
//! what becomes of a window that did not come to its end.
//!
//! A window counts once its answer was whole. What is too much at once is asked for in halves, in
//! this run or the next. Knows no service: what one accepts is its [`WindowLimits`]; which windows that
//! makes, is for [`WindowPlan`] to say.

use std::time::Duration as Wait;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::clock::Clocks;
use super::plan::{WindowPlan, WindowRequest};
use crate::clock::utc;
use crate::error::line;
use crate::net::Stopped;
use crate::net::http::Dropped;
use crate::pipeline::batch::{Pass, RequestId, hour_after};
use crate::pipeline::checkpoint::{Commit, Stalled};
use crate::source::api::OpenContext;
use crate::source::retry::Backoff;
use crate::source::windows::WindowLimits;
use crate::source::{PollContext, wire_time};

/// So many failures of the same question, one after the other, end the run.
pub(crate) const ATTEMPTS: u32 = 3;
/// The wait before the same question is asked again.
pub(in crate::source) const BACKOFF: Backoff = Backoff {
    first: Wait::from_secs(1),
    longest: Wait::from_secs(60),
};

/// The windows of a run.
#[derive(Debug)]
pub(in crate::source) struct WindowPoller {
    plan: WindowPlan,
    /// So many failures of the same question, one after the other, end the run.
    attempts: u32,
    clocks: Clocks,
    /// An event of a first look that is new and was created before this came late.
    late_before: Option<Before>,
    /// For a recheck, that is whatever was created before it was asked.
    recheck_late_before: Option<Before>,
    request: u32,
    /// Failures of the same question since the last window that came to its end.
    failures: u32,
    failed: Option<Failure>,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::source) enum PollStep {
    /// A window to ask for.
    Ask(WindowRequest),
    /// The rest of a backfill, of which the service keeps nothing any more, is given up.
    GiveUp(WindowRequest, Commit),
}

/// Why the last window did not come to its end.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    /// Whether asking again may help.
    again: bool,
    pass: Pass,
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

impl WindowPoller {
    /// Of a run that has asked for nothing yet.
    pub(in crate::source) fn new(limits: WindowLimits, context: &OpenContext<'_>) -> WindowPoller {
        let start = &context.start;
        let known = !start.fresh && start.end.is_none();
        WindowPoller {
            plan: WindowPlan::new(limits, start),
            attempts: context.attempts,
            clocks: Clocks::default(),
            late_before: known.then(|| Before::time(start.checkpoint.until())),
            recheck_late_before: None,
            request: 0,
            failures: 0,
            failed: None,
        }
    }

    /// What comes next, after a wait if the last window failed; `None` when nothing is left or the run
    /// is to stop.
    ///
    /// # Errors
    /// That of the last window, when asking again is of no use in this run.
    pub(in crate::source) fn next(
        &mut self,
        context: &PollContext<'_>,
    ) -> Result<Option<PollStep>> {
        self.recover(context)?;
        if context.shutdown.reason().is_some() {
            return Ok(None);
        }
        let server = self.clocks.server(context.now);
        if let Some((step, commit)) = self.plan.give_up(server) {
            return Ok(Some(PollStep::GiveUp(step, commit)));
        }
        let step = self.plan.next(context.now, server);
        let second = step.filter(|step| step.pass == Pass::Recheck);
        self.recheck_late_before = second.map(|_| Before::time(context.now));
        Ok(step.map(PollStep::Ask))
    }

    /// The number of a question for this window; ordinals count anew in each.
    pub(in crate::source) fn ask(&mut self, step: WindowRequest) -> RequestId {
        log::debug!("requesting {step}");
        self.request += 1;
        RequestId {
            number: self.request,
            end_hour: hour_after(step.window.to),
            pass: step.pass,
        }
    }

    /// Takes on the server's time, as it said it when it was `ours` here.
    pub(in crate::source) fn compare_clocks(
        &mut self,
        server: OffsetDateTime,
        ours: OffsetDateTime,
    ) {
        self.clocks.compare(server, ours);
    }

    /// Whether a refusal of this window by a server at this time only says that our idea of what may
    /// be asked for was wrong, and is now right. `kept` is how far back it says that one may ask.
    pub(in crate::source) fn replan(
        &mut self,
        step: WindowRequest,
        server: Option<OffsetDateTime>,
        kept: Option<Duration>,
    ) -> bool {
        if let Some(kept) = kept {
            // an hour of headroom, since the edge moves while we work
            let keep = kept - Duration::HOUR;
            if keep < self.plan.limits().keep {
                log::warn!("the service keeps only {kept}: requesting no more");
                self.plan.keep_only(keep);
            }
        }
        let (window, limits) = (step.window, self.plan.limits());
        let now = server.unwrap_or(window.to);
        self.failures += 1;
        let changed = limits.oldest(now) > window.from || limits.limit(now) < window.to;
        changed && self.failures < self.attempts
    }

    /// If an event of the window that is being read, new and created at this time, written as [`utc`]
    /// does, came late: how late, in seconds.
    pub(in crate::source) fn seconds_late(&self, created: Option<&str>) -> Option<u32> {
        let before = self
            .recheck_late_before
            .as_ref()
            .or(self.late_before.as_ref());
        before?.seconds_since(created?)
    }

    /// How far the server's clock is ahead of ours, once it has told its time.
    pub(in crate::source) fn ahead(&self) -> Option<Duration> {
        self.clocks.ahead()
    }

    /// Before it everything is complete.
    pub(in crate::source) fn until(&self) -> OffsetDateTime {
        self.plan.until()
    }

    /// What held up the service when that was last noted.
    pub(in crate::source) fn stalled(&self) -> Option<Stalled> {
        self.plan.stalled()
    }

    /// Notes what holds up the service, and since when.
    pub(in crate::source) fn stall(&mut self, stalled: Stalled) -> Commit {
        self.plan.stall(stalled);
        self.plan.checkpoint().into()
    }

    /// The window is complete, as far as the server's clock had come.
    pub(in crate::source) fn complete(
        &mut self,
        step: WindowRequest,
        server: Option<OffsetDateTime>,
        context: &mut PollContext<'_>,
    ) -> Commit {
        context.counters.windows += 1;
        self.failures = 0;
        self.plan.complete(step, context.now, server)
    }

    /// A window did not come to its end: asked for again, half of it where it was too much, in this
    /// run or the next.
    pub(in crate::source) fn give_up(
        &mut self,
        step: WindowRequest,
        error: anyhow::Error,
    ) -> Commit {
        let again = error.is::<Dropped>();
        let too_much = matches!(error.downcast_ref(), Some(Dropped::Silent | Dropped::Cut));
        let pass = step.pass;
        self.fail(step, Failure { error, again, pass }, too_much)
    }

    /// A window was too much, and its error is the end of this run: the next one asks for half of it.
    pub(in crate::source) fn leave_to_the_next_run(
        &mut self,
        step: WindowRequest,
        error: anyhow::Error,
    ) -> Commit {
        let (again, pass) = (false, step.pass);
        self.fail(step, Failure { error, again, pass }, true)
    }

    fn fail(&mut self, step: WindowRequest, failure: Failure, too_much: bool) -> Commit {
        let stopped = Stopped::is_in(&failure.error);
        if stopped || too_much {
            self.plan.halve(step);
        }
        if !stopped {
            // half as much is another question: only the same one again counts
            let is_halved = too_much && step.window.length() > self.plan.limits().shortest;
            self.failures += u32::from(!is_halved);
            self.failed = Some(failure);
        }
        match stopped || too_much {
            true => self.plan.checkpoint().into(),
            false => Commit::default(),
        }
    }

    /// Waits before another attempt, if there is to be one.
    fn recover(&mut self, context: &PollContext<'_>) -> Result<()> {
        let Some(Failure { error, again, pass }) = self.failed.take() else {
            return Ok(());
        };
        if !again || self.failures >= self.attempts {
            return Err(error);
        }
        log::warn!(
            "{}; retrying with a window of at most {}",
            line(&error),
            self.plan.longest_now(pass)
        );
        let wait = BACKOFF.wait(self.failures, context.now);
        context.shutdown.sleep(wait);
        Ok(())
    }
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
