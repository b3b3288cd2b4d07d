//! `WindowPoller` requests window by window, and handles windows that fail.
//!
//! A window counts once its answer is complete. [`WindowFailures`] decide what follows one that
//! fails. The poller knows no service: [`WindowLimits`] say what one accepts, [`WindowPlan`] which
//! windows that makes.

use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::clock::{ClockReading, Clocks, undecided};
use super::failures::{NextAttempt, WindowFailures};
use super::plan::{Growth, WindowPlan, WindowRequest};
use crate::clock::utc;
use crate::pipeline::batch::{Pass, RequestId, hour_after};
use crate::pipeline::checkpoint::{Commit, Stalled};
use crate::quota::QuotaError;
use crate::source::api::OpenContext;
use crate::source::fetch_error::FetchError;
use crate::source::retry::{Backoff, Repeats};
use crate::source::windows::WindowLimits;
use crate::source::{PollContext, wire_time};

/// Attempts at the same request before the run ends.
pub(crate) const ATTEMPTS: u32 = 3;
/// Wait before the same request is repeated.
pub(in crate::source) const BACKOFF: Backoff = Backoff {
    first: Wait::from_secs(1),
    longest: Wait::from_secs(60),
};

/// The windows of a run.
#[derive(Debug)]
pub(in crate::source) struct WindowPoller {
    plan: WindowPlan,
    clocks: Clocks,
    /// A new event of a recent window came late if it was created before this.
    late_before: Option<Before>,
    /// For a recheck: before the time of its request.
    recheck_late_before: Option<Before>,
    request: u32,
    failures: WindowFailures,
    /// Why the last window failed, until the next one is requested.
    failed: Option<(FetchError, NextAttempt)>,
    pub(in crate::source) repeats: Repeats,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::source) enum PollStep {
    /// A window to request.
    Ask(WindowRequest),
    /// The rest of a backfill is given up: the service keeps none of it any more.
    GiveUp(WindowRequest, Commit),
}

/// A time to compare with, also in the spelling of the services.
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

    /// How many seconds before this time an event was created, in the spelling of a service; `None`
    /// if it was not before.
    fn seconds_since(&self, created: &str) -> Option<u32> {
        // a fraction may follow or not
        let created = created.get(..wire_time::SECONDS)?;
        // most are not before: comparing text is enough
        if created >= self.text.as_str() {
            return None;
        }
        let created = wire_time::parse(created)?;
        u32::try_from((self.time - created).whole_seconds()).ok()
    }
}

impl WindowPoller {
    /// Starts a run that has requested nothing yet.
    pub(in crate::source) fn new(limits: WindowLimits, context: &OpenContext<'_>) -> WindowPoller {
        let start = &context.start;
        let known = start.begun.is_none() && start.end.is_none();
        WindowPoller {
            plan: WindowPlan::new(limits, start),
            clocks: Clocks::default(),
            late_before: known.then(|| Before::time(start.checkpoint.until())),
            recheck_late_before: None,
            request: 0,
            failures: WindowFailures::new(context.attempts),
            failed: None,
            repeats: Repeats::default(),
        }
    }

    /// What comes next, after a wait if the last window failed; `None` when nothing is left, or the
    /// run is to stop.
    ///
    /// # Errors
    /// With that of the last window, when another attempt in this run is useless, or the run is to
    /// stop.
    pub(in crate::source) fn next(
        &mut self,
        context: &PollContext<'_>,
    ) -> Result<Option<PollStep>, FetchError> {
        self.recover(context)?;
        if context.shutdown.reason().is_some() {
            return Ok(None);
        }
        let clocks = self.clocks.reading(context.now);
        if let Some((step, commit)) = self.plan.give_up(clocks) {
            return Ok(Some(PollStep::GiveUp(step, commit)));
        }
        let step = self.plan.next(clocks);
        let step = step.map_err(|position| undecided(position, clocks))?;
        let second = step.filter(|step| step.pass == Pass::Recheck);
        self.recheck_late_before = second.map(|_| Before::time(context.now));
        Ok(step.map(PollStep::Ask))
    }

    /// Books the request of this window, and numbers it; ordinals start again in each request.
    ///
    /// # Errors
    /// When the quota does not allow it. A repeat that it does not allow ends the run with the error
    /// of the failed window.
    pub(in crate::source) fn ask(
        &mut self,
        step: WindowRequest,
        context: &mut PollContext<'_>,
    ) -> Result<RequestId, FetchError> {
        let booked = match self.failed.take() {
            None => context.quota.book(context.now),
            Some((error, _)) => match context.quota.book_repeat(context.now) {
                Err(QuotaError::RepeatsExceeded(hint)) => return Err(error.with_hint(hint)),
                booked => {
                    self.repeats.note(&error);
                    booked
                }
            },
        };
        booked
            .map_err(|error| FetchError::from(error).context(format_args!("requesting {step}")))?;
        log::debug!("requesting {step}");
        self.request += 1;
        Ok(RequestId {
            number: self.request,
            end_hour: hour_after(step.window.to),
            pass: step.pass,
        })
    }

    /// Books and numbers the window after this one, if it can be told by now, and all goes well.
    pub(in crate::source) fn ask_ahead(
        &mut self,
        step: WindowRequest,
        context: &mut PollContext<'_>,
    ) -> Option<(WindowRequest, RequestId)> {
        let is_in_trouble = self.failed.is_some() || self.failures.in_a_row() > 0;
        if is_in_trouble || context.shutdown.reason().is_some() {
            return None;
        }
        let next = self.plan.after(step)?;
        // whatever forbids it is told when it is its turn
        let request = self.ask(next, context).ok()?;
        Some((next, request))
    }

    /// Notes the server's time, which it told when it was `ours` here.
    pub(in crate::source) fn compare_clocks(
        &mut self,
        server: OffsetDateTime,
        ours: OffsetDateTime,
    ) {
        self.clocks.compare(server, ours);
    }

    /// Whether a refusal of this window only means that we were wrong about what may be requested,
    /// and now know better. `kept` is how much the service says that it keeps.
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
        let changed = limits.oldest(now) > window.from || limits.limit(now) < window.to;
        self.failures.may_repeat() && changed
    }

    /// The error of a window that is too old for the service, while the clocks do not agree on that.
    pub(in crate::source) fn undecided(
        &self,
        step: WindowRequest,
        now: OffsetDateTime,
    ) -> Option<FetchError> {
        let clocks = self.clocks.reading(now);
        let is_disputed = clocks.is_disputed();
        is_disputed.then(|| undecided(step.window.from, clocks).into())
    }

    /// How late an event of the current window is, in seconds, if it came late. `created` is
    /// written as [`utc`] writes it.
    pub(in crate::source) fn seconds_late(&self, created: Option<&str>) -> Option<u32> {
        let before = self
            .recheck_late_before
            .as_ref()
            .or(self.late_before.as_ref());
        before?.seconds_since(created?)
    }

    /// How far the server's clock is ahead of ours, once the server has told its time.
    pub(in crate::source) fn ahead(&self) -> Option<Duration> {
        self.clocks.ahead()
    }

    /// What our clock, which says `now`, and the server's say.
    pub(in crate::source) fn clocks(&self, now: OffsetDateTime) -> ClockReading {
        self.clocks.reading(now)
    }

    /// The position: everything before it is complete.
    pub(in crate::source) fn until(&self) -> OffsetDateTime {
        self.plan.until()
    }

    /// What stalls the service, as last noted.
    pub(in crate::source) fn stalled(&self) -> Option<Stalled> {
        self.plan.stalled()
    }

    /// Notes what stalls the service, and since when.
    pub(in crate::source) fn stall(&mut self, stalled: Stalled) -> Commit {
        self.plan.stall(stalled);
        self.plan.checkpoint().into()
    }

    /// The window is complete, up to the server's time.
    pub(in crate::source) fn complete(
        &mut self,
        step: WindowRequest,
        server: Option<OffsetDateTime>,
        context: &mut PollContext<'_>,
    ) -> Commit {
        context.counters.windows += 1;
        self.failures.complete(step.window.length());
        let clocks = self.clocks.reading(context.now);
        self.plan.complete(step, server, clocks)
    }

    /// A window failed: this run or the next requests it again, or half of it if that may help.
    pub(in crate::source) fn give_up(&mut self, step: WindowRequest, error: FetchError) -> Commit {
        let length = step.window.length();
        let shortest = self.plan.limits().shortest;
        let then = self.failures.add(error.kind, length, shortest);
        self.failed = Some((error, then));
        match then {
            NextAttempt::Repeat | NextAttempt::End => return Commit::default().at_once(),
            NextAttempt::Halve | NextAttempt::EndWithLess => self.plan.halve(step, Growth::Later),
            NextAttempt::EndWithLessOnce => self.plan.halve(step, Growth::AtOnce),
        }
        // a wait may follow
        Commit::from(self.plan.checkpoint()).at_once()
    }

    /// Waits before another attempt, if one follows the failure of the last window.
    fn recover(&mut self, context: &PollContext<'_>) -> Result<(), FetchError> {
        match self.failed.take() {
            None => Ok(()),
            Some((error, then @ (NextAttempt::Repeat | NextAttempt::Halve))) => {
                log::debug!("{error}; {then}");
                let wait = BACKOFF.wait(self.failures.in_a_row(), context.now);
                context.shutdown.sleep(wait);
                self.failed = Some((error, then));
                Ok(())
            }
            Some((error, _)) => Err(error),
        }
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
