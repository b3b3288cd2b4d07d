//! The log stream of Proofpoint on Demand ("Proofpoint on Demand Log API", Rev C, November 2020).
//!
//! The live stream is fast, and what is sent into a connection that dies is gone. The archive has
//! everything by whole hours, some time after their end, and is full of repeats. So closed hours
//! are swept first, which brings what the live stream missed, and then the live stream is drained.
//! `archive_policy` says when an hour counts as read, `event` what an event is recognised by.

pub(crate) mod api;
mod archive;
mod archive_policy;
mod event;
mod hints;
mod live;
mod session;

use std::time::Instant;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::api::OpenContext;
use super::{PollContext, Source};
use crate::clock::utc;
use crate::pipeline::batch::Batch;
use crate::pipeline::checkpoint::{Checkpoint, Commit, Gap, StreamCheckpoint};
use crate::source::windows::WindowLimits;
use api::Mode;
use archive_policy::HOUR;
use session::Session;

/// One type of the log stream.
#[derive(Debug)]
pub(crate) struct Pod {
    session: Session,
    mode: Mode,
    /// How long after its end an hour of the archive is read.
    lag: Duration,
    idle_exit: Option<std::time::Duration>,
    /// Whether nothing was read before: then a start that is too old is no gap.
    fresh: bool,
    /// A backfill's end.
    end: Option<OffsetDateTime>,
    limits: WindowLimits,
    /// Where the reading stands.
    position: StreamCheckpoint,
    /// After it no hour of the archive is begun, so that the live stream gets its time.
    half: Option<Instant>,
    /// The hours that this run has asked for.
    tried: Vec<OffsetDateTime>,
    /// An hour whose answer was cut off, and how often.
    again: Option<(OffsetDateTime, u32)>,
    reading: Option<PodPhase>,
    /// Whether the live stream was ended in good order.
    over: bool,
    /// An error that is told at the end, since it does not hold up the rest.
    failed: Option<anyhow::Error>,
    /// Whether hours that are open were said.
    announced: bool,
}

/// What is open.
#[derive(Debug)]
enum PodPhase {
    Hour(archive::Hour),
    Live(live::Live),
}

impl Source for Pod {
    fn next(&mut self, context: &mut PollContext) -> Result<Option<Batch>> {
        match self.reading.take() {
            Some(PodPhase::Hour(hour)) => self.read_hour(hour, context).map(Some),
            Some(PodPhase::Live(live)) => self.read_live(live, context).map(Some),
            None => self.begin(context),
        }
    }

    fn ahead(&self) -> Option<Duration> {
        self.session.clocks.ahead()
    }
}

impl Pod {
    /// Nothing is asked for yet.
    fn new(
        session: Session,
        mode: Mode,
        lag: Duration,
        idle_exit: Option<std::time::Duration>,
        limits: WindowLimits,
        position: StreamCheckpoint,
        context: &OpenContext<'_>,
    ) -> Pod {
        let (start, left) = (&context.start, context.shutdown.left());
        Pod {
            session,
            mode: match start.end {
                Some(_) => Mode::Archive,
                None => mode,
            },
            lag,
            idle_exit,
            // what the live stream has brought is a beginning, too
            fresh: start.fresh && position.live.is_none(),
            end: start.end,
            limits,
            position,
            half: left.map(|left| Instant::now() + left / 2),
            tried: Vec::new(),
            again: None,
            reading: None,
            over: false,
            failed: None,
            announced: false,
        }
    }

    /// Opens what comes next, or waits until it may be tried again.
    fn begin(&mut self, context: &mut PollContext) -> Result<Option<Batch>> {
        if self.session.must_wait(context.shutdown) && context.shutdown.reason().is_none() {
            return Ok(Some(Batch::default()));
        }
        // only the server's clock tells what that is
        if self.session.opened
            && let Some(batch) = self.give_up_what_is_too_old(context.now)
        {
            return Ok(Some(batch));
        }
        if self.over {
            return self.at_the_end();
        }
        match self.next_hour(context) {
            Some(hour) => self.open_hour(hour, context).map(Some),
            None if context.shutdown.reason().is_some() => {
                self.session.check_that_it_was_ours(context.shutdown)?;
                self.at_the_end()
            }
            None if self.mode == Mode::Archive => {
                // there may have been nothing to open a session for
                let batch = self.give_up_what_is_too_old(context.now);
                batch.map_or_else(|| self.at_the_end(), |batch| Ok(Some(batch)))
            }
            None => self.open_live(context).map(Some),
        }
    }

    /// Nothing is left to read now; an error that did not hold up the rest is told.
    fn at_the_end(&mut self) -> Result<Option<Batch>> {
        let announced = std::mem::replace(&mut self.announced, true);
        if let Some(first) = self.position.open_hours.first().filter(|_| !announced) {
            let (from, why) = (utc(first.from), first.why.in_words());
            let count = self.position.open_hours.len();
            log::info!(
                "hours of the archive that later runs ask for again: {count}; the first is that of {from}: {why}"
            );
        }
        self.failed.take().map_or(Ok(None), Err)
    }

    /// A batch without events that makes durable where the reading stands.
    fn commit_position(&self) -> Batch {
        Batch {
            commit: Some(self.commit(None)),
            ..Batch::default()
        }
    }

    /// What the service no longer keeps is a gap, one border for each.
    fn give_up_what_is_too_old(&mut self, now: OffsetDateTime) -> Option<Batch> {
        let oldest = self.oldest(now);
        let to = self.end.map_or(oldest, |end| end.min(oldest));
        let mut gap = None;
        if self.mode != Mode::Live && self.position.until < to {
            let from = std::mem::replace(&mut self.position.until, to);
            self.position.hour_before = None;
            match self.fresh {
                true => log::warn!(
                    "{} is older than the service keeps: starting at {}",
                    utc(from),
                    utc(to)
                ),
                false => gap = Some(Gap { from, to }),
            }
        }
        let live_alone = self.mode == Mode::Live;
        let mut open = self.position.open_hours.iter();
        let lost = open.position(|hour| live_alone || hour.from < oldest);
        if let Some(lost) = lost.filter(|_| gap.is_none()) {
            let from = self.position.open_hours.remove(lost).from;
            let to = from + HOUR;
            gap = Some(Gap { from, to });
        }
        gap.map(|gap| self.commit_gap(gap))
    }

    /// The same, and what is given up with it.
    fn commit_gap(&self, gap: Gap) -> Batch {
        Batch {
            commit: Some(self.commit(Some(gap))),
            ..Batch::default()
        }
    }

    fn commit(&self, gap: Option<Gap>) -> Commit {
        Commit {
            checkpoint: Some(Checkpoint::Stream(self.position.clone())),
            gap,
        }
    }

    /// The time, by the clock that is behind.
    fn now(&self, context: &PollContext) -> OffsetDateTime {
        self.session.clocks.earlier(context.now)
    }

    /// The oldest hour that the service still keeps when it is `now` here.
    fn oldest(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.limits.oldest(self.session.clocks.server(now))
    }

    /// A clock of ours that was ahead may have made it begin, or go on, where the service has not come.
    fn come_back_from_the_future(&mut self, now: OffsetDateTime) {
        if self.mode != Mode::Live {
            let floor = self.limits.floor(now);
            if self.position.until > floor {
                (self.position.until, self.position.hour_before) = (floor, None);
            }
        }
    }
}
