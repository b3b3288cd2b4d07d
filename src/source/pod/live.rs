//! `live` reads the live stream, which goes on where it was left, for up to an hour.
//!
//! It never repeats what it has sent: the cycle keeps each batch until it is confirmed.

use std::time::Duration as Wait;

use super::api::Mode;
use super::archive::hour_end;
use super::live_policy::{LiveStatus, LiveStep, next_step};
use super::session::{ReadLimits, ReadOutcome, read_batch};
use super::{Pod, PodReading};
use crate::clock::Instant;
use crate::net::websocket::WebSocket;
use crate::pipeline::batch::{Batch, EventId, Pass, RequestId};
use crate::source::PollContext;
use crate::source::fetch_error::FetchError;
use crate::source::windows::clock::ClockReading;

/// Size of a batch, about, in bytes.
const BATCH: usize = 4 * 1024 * 1024;
/// How often it becomes durable that nothing came.
const NOTE: Wait = Wait::from_secs(60);
/// A session of at least this length is no failure when it ends.
const LASTED: Wait = Wait::from_secs(60);

/// The live stream while it is open.
#[derive(Debug)]
pub(super) struct Live {
    socket: WebSocket,
    number: u32,
    opened: Instant,
    /// When the last event came.
    heard: Instant,
    noted: Instant,
    /// When we sent our close frame.
    closing: Option<Instant>,
}

impl Pod {
    pub(super) fn open_live(&mut self, context: &mut PollContext) -> Result<Batch, FetchError> {
        let Some(socket) = self.session.open(&[], false, context)? else {
            return Ok(Batch::default());
        };
        log::debug!("the live stream is open");
        context.counters.windows += 1;
        let opened = Instant::now();
        self.reading = PodReading::Live(Live {
            socket,
            number: self.session.requests,
            opened,
            heard: opened,
            noted: opened,
            closing: None,
        });
        Ok(Batch::from(self.plan.begin_live(self.clocks(context))))
    }

    pub(super) fn read_live(
        &mut self,
        mut live: Live,
        context: &mut PollContext,
    ) -> Result<Batch, FetchError> {
        let started = Instant::now();
        let mut batch = Batch {
            request: RequestId {
                number: live.number,
                // by the clock that is ahead: no wrong one may make an event be forgotten too early
                end_hour: hour_end(self.clocks(context).later()),
                pass: Pass::Recent,
            },
            once: true,
            ..Batch::default()
        };
        // after our close frame, what still comes is read although the run is to stop
        let in_grace = context.shutdown.with_grace();
        let limits_of_read = ReadLimits {
            most: BATCH,
            shutdown: live.closing.map_or(context.shutdown, |_| &in_grace),
            recognise,
        };
        let filled = read_batch(
            &mut live.socket,
            &mut batch,
            &limits_of_read,
            context.counters,
        );
        let came = !batch.records.is_empty();
        if came {
            live.heard = Instant::now();
        }
        let mut is_over = false;
        match filled {
            ReadOutcome::Enough => match next_step(&self.live_status(&live, context)) {
                LiveStep::Stay => {}
                LiveStep::Close => live.close(),
                LiveStep::Leave => {
                    self.plan.lose_track();
                    is_over = true;
                }
            },
            ReadOutcome::Stopped => live.close(),
            ReadOutcome::Ended(ending) if live.closing.is_some() => {
                let said = self.session.excerpt(&ending.to_string());
                log::debug!("the live stream is closed: {said}");
                if !ending.is_normal() {
                    self.plan.lose_track();
                }
                is_over = true;
            }
            ReadOutcome::Ended(ending) => {
                // a close frame in good order follows everything that was sent before
                if !ending.is_normal() {
                    self.plan.lose_track();
                }
                let why = self.session.excerpt(&ending.to_string());
                self.broken(&live, &why, context);
                return Ok(self.hand_over(batch, &live, self.clocks_after(context, started)));
            }
            ReadOutcome::TooLong(error) => {
                self.failed = Some(error);
                self.plan.lose_track();
                is_over = true;
            }
        }
        if came || is_over || live.noted.elapsed() >= NOTE {
            live.noted = Instant::now();
            let clocks = self.clocks_after(context, started);
            batch.commit = Some(self.plan.record_live(clocks, !is_over));
        }
        self.reading = match is_over {
            true => PodReading::Drained,
            false => PodReading::Live(live),
        };
        Ok(batch)
    }

    /// What the clocks say now that something was read since `started`.
    fn clocks_after(&self, context: &PollContext, started: Instant) -> ClockReading {
        self.session.clocks.reading(context.now + started.elapsed())
    }

    fn live_status(&self, live: &Live, context: &PollContext) -> LiveStatus {
        LiveStatus {
            closing: live.closing.map(|since| since.elapsed()),
            silent: live.heard.elapsed(),
            idle_exit: self.idle_exit,
            is_stopping: context.shutdown.reason().is_some(),
        }
    }

    /// The connection broke, or the server ended it: it is opened again after a wait.
    fn broken(&mut self, live: &Live, why: &str, context: &PollContext) {
        if live.opened.elapsed() >= LASTED {
            self.session.is_good();
        }
        if context.shutdown.reason().is_some() {
            self.reading = PodReading::Drained;
            return;
        }
        let wait = self.session.wait(context).as_secs_f64();
        match self.plan.mode {
            Mode::Live => log::warn!(
                "the live stream: {why}; reopening it in {wait:.0} s. Events in transit are lost; \
                 mode = \"complete\" would find them in the archive"
            ),
            Mode::Complete | Mode::Archive => {
                log::info!("the live stream: {why}; reopening it in {wait:.0} s");
            }
        }
    }

    fn hand_over(&mut self, mut batch: Batch, live: &Live, clocks: ClockReading) -> Batch {
        log::debug!("the live stream was open for {:?}", live.opened.elapsed());
        batch.commit = Some(self.plan.record_live(clocks, false));
        batch
    }
}

impl Live {
    fn close(&mut self) {
        self.socket.close();
        self.closing = Some(Instant::now());
    }
}

/// The archive of an hour must have every event that the live stream has shown within that hour,
/// whether the archive goes by the time of the event or of its arrival.
fn recognise(found: &super::event::PodEvent, hour: u32) -> EventId {
    found.identity(found.time.is_some_and(|time| hour_end(time) == hour))
}
