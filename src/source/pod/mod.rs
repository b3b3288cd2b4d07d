//! `Pod` reads the log stream of Proofpoint on Demand ("Proofpoint on Demand Log API", Rev C,
//! November 2020).
//!
//! The live stream is fast, but loses what is sent into a connection that dies. The archive has
//! everything, in whole hours, some time after their end, with many repeats. So a run first reads
//! the archive of past hours, which brings what the live stream lost, and then the live stream.
//! `plan` says what comes next, `archive_policy` when an hour counts as read, `live_policy` what
//! the live stream has lost, `event` what identifies an event.

pub(crate) mod api;
mod archive;
mod archive_policy;
mod event;
mod hints;
mod live;
mod live_policy;
mod plan;
mod session;

use time::Duration;

use super::fetch_error::FetchError;
use super::windows::clock::{ClockReading, undecided};
use super::{PollContext, Source};
use crate::clock::{Instant, utc};
use crate::error::Failure;
use crate::human::count;
use crate::pipeline::batch::Batch;
use crate::shutdown::{Extension, Shutdown};
use plan::{Moment, PodPhase, PodPlan};
use session::Session;

/// One type of the log stream.
#[derive(Debug)]
pub(crate) struct Pod {
    session: Session,
    plan: PodPlan,
    /// The silence of the live stream that ends a run, if one does.
    idle_exit: Option<std::time::Duration>,
    /// When half of the run's time is over.
    half: Option<Instant>,
    reading: PodReading,
    /// An error that does not hold up the rest: it ends the run once nothing is left to read.
    failed: Option<Failure>,
    /// Time beyond that of the run, for an hour that did not fit into the last one.
    extension: Option<Extension>,
    /// Whether an hour was read whose events may not be confirmed yet.
    is_unconfirmed: bool,
    /// Whether the run has ended with hours left to read.
    is_left: bool,
}

/// What is being read.
#[derive(Debug)]
enum PodReading {
    /// Nothing: the next phase is to be chosen.
    Nothing,
    Hour(archive::Hour),
    Live(live::Live),
    /// Nothing more: the live stream has ended, or the run has left it.
    Drained,
}

impl Source for Pod {
    fn next(&mut self, context: &mut PollContext) -> Result<Option<Batch>, FetchError> {
        match std::mem::replace(&mut self.reading, PodReading::Nothing) {
            PodReading::Hour(hour) => self.read_hour(hour, context).map(Some),
            PodReading::Live(live) => self.read_live(live, context).map(Some),
            none => {
                self.reading = none;
                self.begin(context)
            }
        }
    }

    fn limit(&self) -> Option<&'static str> {
        self.is_left
            .then_some("stopped reading the archive at half of max_duration")
    }

    fn ahead(&self) -> Option<Duration> {
        self.session.clocks.ahead()
    }
}

impl Pod {
    /// Requests nothing yet. `shutdown` tells how much time the run has.
    fn new(
        session: Session,
        plan: PodPlan,
        idle_exit: Option<std::time::Duration>,
        shutdown: &Shutdown,
    ) -> Pod {
        let left = shutdown.left();
        Pod {
            session,
            plan,
            idle_exit,
            half: left.map(|left| Instant::now() + left / 2),
            reading: PodReading::Nothing,
            failed: None,
            extension: None,
            is_unconfirmed: false,
            is_left: false,
        }
    }

    /// Starts the next phase, or waits until a session may be opened again.
    fn begin(&mut self, context: &mut PollContext) -> Result<Option<Batch>, FetchError> {
        // by now the end of the hour is confirmed
        self.extension = None;
        if self.session.must_wait(context.shutdown) && context.shutdown.reason().is_none() {
            return Ok(Some(Batch::default()));
        }
        match self.plan.next(&self.moment(context)) {
            PodPhase::GiveUp(gap) => Ok(Some(Batch::from(self.plan.commit(Some(gap))))),
            PodPhase::Archive(hour) => self.open_hour(hour, context).map(Some),
            // the stream waits for nobody once it is open
            PodPhase::Live if std::mem::take(&mut self.is_unconfirmed) => {
                Ok(Some(Batch::default()))
            }
            PodPhase::Live => self.open_live(context).map(Some),
            PodPhase::End => {
                self.session.check_that_it_was_ours(context.shutdown)?;
                self.is_left = self.plan.is_left(&self.moment(context));
                let clocks = self.clocks(context);
                if let Some(position) = self.plan.undecided(clocks) {
                    self.failed.get_or_insert(undecided(position, clocks));
                }
                self.end()
            }
        }
    }

    /// How the run stands.
    fn moment(&self, context: &PollContext) -> Moment {
        Moment {
            clocks: self.clocks(context),
            is_stopping: context.shutdown.reason().is_some(),
            is_half_over: self.half.is_some_and(|half| Instant::now() >= half),
            is_drained: matches!(self.reading, PodReading::Drained),
        }
    }

    /// Nothing is left to read now.
    ///
    /// # Errors
    /// With an error that did not hold up the rest.
    fn end(&mut self) -> Result<Option<Batch>, FetchError> {
        if let [first, ..] = self.plan.open_hours() {
            let (from, why) = (utc(first.from), first.why.in_words());
            let hours = count(self.plan.open_hours().len() as u64, "open archive hour");
            log::info!("{hours}, requested again by later runs; the first is {from}: {why}");
        }
        self.failed
            .take()
            .map_or(Ok(None), |failure| Err(failure.into()))
    }

    /// What our clock and the server's say.
    fn clocks(&self, context: &PollContext) -> ClockReading {
        self.session.clocks.reading(context.now)
    }
}
