//! Where a source stands that asks for one window of time after the other: which one is next, what
//! is complete, and what becomes of one that did not come to its end.
//!
//! A window counts once its answer was whole. What is too much at once is asked for in halves, in
//! this run or the next. Knows no service: what one accepts is its [`Rule`].

use std::time::Duration as Wait;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::{Opening, Turn};
use crate::connect::Stopped;
use crate::event::{Asked, Border, Gap, Narrow, Position, Resume, hour_after};
use crate::exit::line;
use crate::http::Dropped;
use crate::window::{Rule, Window, utc, whole_seconds};

/// So many failures of the same question, one after the other, end the run.
const ATTEMPTS: u32 = 3;
/// Clocks that are further apart than this deserve a word.
const SKEW: Duration = Duration::seconds(60);

/// The windows of a run.
#[derive(Debug)]
pub(super) struct Windows {
    rule: Rule,
    /// Whether nothing was read before: then a start that is too old is no gap.
    fresh: bool,
    /// A backfill's end.
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
    /// How far the server's clock is ahead of ours.
    ahead: Option<Duration>,
    /// Before it, an event that is new came late.
    late_before: Option<String>,
    asked: u32,
    /// Failures of the same question since the last window that came to its end.
    failures: u32,
    failed: Option<Failure>,
}

/// Why the last window did not come to its end.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    /// Whether asking again may help.
    again: bool,
}

impl Windows {
    /// Of a run that has asked for nothing yet. It reads again `look_back` before the position, but
    /// nothing of which the identities are gone; a backfill reads nothing again.
    pub(super) fn new(rule: Rule, opening: &Opening<'_>) -> Windows {
        let Position { until, narrow } = opening.position;
        let look_back = match opening.end {
            None => Duration::try_from(opening.settings.look_back).unwrap_or(rule.longest),
            Some(_) => Duration::ZERO,
        };
        let whole = |narrow: Narrow| Duration::seconds(narrow.seconds.into());
        Windows {
            rule,
            fresh: opening.fresh,
            end: opening.end,
            until,
            from: (until - look_back).max(opening.since.min(until)),
            length: narrow.map_or(rule.longest, whole),
            narrow_until: narrow.map_or(until, |narrow| narrow.until),
            target: None,
            ahead: None,
            late_before: (!opening.fresh && opening.end.is_none()).then(|| utc(until)),
            asked: 0,
            failures: 0,
            failed: None,
        }
    }

    /// The next window to ask for, after a wait if the last one failed; `None` when none is left or
    /// the run is to stop.
    ///
    /// # Errors
    /// That of the last window, when asking again is of no use in this run.
    pub(super) fn next(&mut self, turn: &Turn<'_>) -> Result<Option<Window>> {
        self.recover(turn)?;
        match turn.stop.reason() {
            Some(_) => Ok(None),
            None => Ok(self.plan(turn.now)),
        }
    }

    fn plan(&mut self, now: OffsetDateTime) -> Option<Window> {
        let server = self.ahead.map_or(now, |ahead| now + ahead);
        let limit = self.rule.limit(now.min(server));
        let end = self.end.map_or(limit, |end| end.min(limit));
        // the run's end is fixed at its start; only a server whose clock is behind moves it back
        let target = self.target.map_or(end, |target| target.min(limit));
        self.target = Some(target);
        let oldest = self.rule.oldest(server);
        if self.from < oldest && self.until < oldest && self.fresh {
            log::warn!(
                "{} is older than the service keeps: starting at {}",
                utc(self.until),
                utc(oldest)
            );
            self.until = oldest;
        }
        self.from = self.from.max(oldest);
        let next = self.rule.next(self.from, target, self.length);
        next.or_else(|| {
            self.end
                .filter(|end| *end == target)
                .and_then(|end| self.rule.last(self.from, end))
        })
    }

    /// The number of a question for this window; ordinals count anew in each.
    pub(super) fn ask(&mut self, window: Window) -> Asked {
        log::debug!("asking for {window}");
        self.asked += 1;
        Asked {
            number: self.asked,
            end_hour: hour_after(window.to),
        }
    }

    /// Takes on the server's time, as it said it when it was `ours` here.
    pub(super) fn compare_clocks(&mut self, server: OffsetDateTime, ours: OffsetDateTime) {
        let ahead = server - whole_seconds(ours);
        if ahead.abs() > SKEW && self.ahead.is_none() {
            let (by, how) = (
                ahead.abs(),
                if ahead.is_negative() {
                    "ahead of"
                } else {
                    "behind"
                },
            );
            log::warn!(
                "this machine's clock is {by} {how} the service's: set it (timedatectl, chronyc)"
            );
        }
        self.ahead = Some(ahead);
    }

    /// Whether a refusal of this window by a server at this time only says that our idea of what may
    /// be asked for was wrong, and is now right. `kept` is how far back it says that one may ask.
    pub(super) fn replan(
        &mut self,
        window: Window,
        server: Option<OffsetDateTime>,
        kept: Option<Duration>,
    ) -> bool {
        if let Some(kept) = kept {
            // an hour of headroom, since the edge moves while we work
            let keep = (kept - Duration::HOUR).max(self.rule.shortest);
            if keep < self.rule.keep {
                log::warn!("the service keeps only {kept}: asking for no more");
                self.rule.keep = keep;
            }
        }
        let now = server.unwrap_or(window.to);
        self.failures += 1;
        let changed = self.rule.oldest(now) > window.from || self.rule.limit(now) < window.to;
        changed && self.failures < ATTEMPTS
    }

    /// Whether an event that is new came late if it was created at this time, written as
    /// [`utc`] does; what is longer is cut.
    pub(super) fn is_late(&self, created: Option<&str>) -> bool {
        const SECONDS: usize = "2025-01-14T08:00:00".len();
        let created = created.and_then(|time| time.get(..SECONDS));
        let before = self.late_before.as_ref().map(|time| &time[..SECONDS]);
        matches!((created, before), (Some(created), Some(before)) if created < before)
    }

    /// The window is complete, as far as the server's clock had come.
    pub(super) fn complete(
        &mut self,
        window: Window,
        server: Option<OffsetDateTime>,
        turn: &mut Turn<'_>,
    ) -> Border {
        let to = server.map_or(window.to, |server| window.to.min(self.rule.limit(server)));
        let gap = (window.from > self.until).then_some(Gap {
            from: self.until,
            to: window.from,
        });
        turn.tally.windows += 1;
        self.failures = 0;
        self.from = to.max(window.from);
        self.until = self.until.max(to);
        if to >= self.narrow_until {
            self.length = (self.length + self.length).min(self.rule.longest);
        }
        Border::Resume(Resume {
            position: self.position(),
            gap,
        })
    }

    fn position(&self) -> Position {
        let narrow = (self.length < self.rule.longest).then(|| Narrow {
            seconds: u32::try_from(self.length.whole_seconds()).unwrap_or(u32::MAX),
            until: self.narrow_until,
        });
        Position {
            until: self.until,
            narrow,
        }
    }

    /// A window did not come to its end: asked for again, half of it where it was too much, in this
    /// run or the next.
    pub(super) fn give_up(&mut self, window: Window, error: anyhow::Error) -> Border {
        let again = error.is::<Dropped>();
        let too_much = matches!(error.downcast_ref(), Some(Dropped::Silent | Dropped::Cut));
        self.fail(window, Failure { error, again }, too_much)
    }

    /// A window was too much, and its error is the end of this run: the next one asks for half of it.
    pub(super) fn leave_to_the_next_run(&mut self, window: Window, error: anyhow::Error) -> Border {
        let again = false;
        self.fail(window, Failure { error, again }, true)
    }

    fn fail(&mut self, window: Window, failure: Failure, too_much: bool) -> Border {
        let stopped = Stopped::is_in(&failure.error);
        if stopped || too_much {
            self.length = self.rule.half(window.length());
            self.narrow_until = window.to;
        }
        if !stopped {
            // half as much is another question: only the same one again counts
            let is_halved = too_much && window.length() > self.rule.shortest;
            self.failures += u32::from(!is_halved);
            self.failed = Some(failure);
        }
        match stopped || too_much {
            true => Border::Resume(Resume {
                position: self.position(),
                gap: None,
            }),
            false => Border::Here,
        }
    }

    /// Waits before another attempt, if there is to be one.
    fn recover(&mut self, turn: &Turn<'_>) -> Result<()> {
        let Some(Failure { error, again }) = self.failed.take() else {
            return Ok(());
        };
        if !again || self.failures >= ATTEMPTS {
            return Err(error);
        }
        log::warn!(
            "{}; asking again, for {} at most",
            line(&error),
            self.length
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
