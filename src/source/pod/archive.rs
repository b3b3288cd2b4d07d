//! `archive` reads hours of the archive, one at a time.

use std::time::Duration as Wait;

use time::OffsetDateTime;

use super::archive_policy::{self, AnswerEnd, HOUR};
use super::session::{ReadLimits, ReadOutcome, read_batch};
use super::{Pod, PodReading};
use crate::clock::utc;
use crate::human::count;
use crate::net::websocket::{CloseReason, WebSocket};
use crate::pipeline::batch::{Batch, Pass, RequestId};
use crate::pipeline::checkpoint::OpenReason;
use crate::source::PollContext;
use crate::source::fetch_error::FetchError;

/// Size of a batch, about, in bytes.
const BATCH: usize = 512 * 1024;
/// Time beyond that of the run for an hour that did not fit into the last one.
const LONGER: Wait = Wait::from_secs(60 * 60);

/// An hour whose answer is being read.
#[derive(Debug)]
pub(super) struct Hour {
    from: OffsetDateTime,
    request: RequestId,
    socket: WebSocket,
    ended: Option<HourEnd>,
}

#[derive(Debug)]
enum HourEnd {
    Stopped,
    Closed(CloseReason),
    TooLong,
}

impl Pod {
    pub(super) fn open_hour(
        &mut self,
        from: OffsetDateTime,
        context: &mut PollContext,
    ) -> Result<Batch, FetchError> {
        let to = from + HOUR;
        let (since_time, to_time) = (stamp(from), stamp(to));
        let times = [
            ("sinceTime", since_time.as_str()),
            ("toTime", to_time.as_str()),
        ];
        log::debug!("requesting the archive hour of {}", utc(from));
        let goes_on = self.plan.goes_on_behind(from, &self.moment(context));
        let Some(mut socket) = self.session.open(&times, goes_on, context)? else {
            return Ok(Batch::default());
        };
        // by now the server has told its time
        let Some(begun) = self.plan.begin_hour(from, &self.moment(context)) else {
            socket.close();
            return Ok(Batch::from(self.plan.commit(None)));
        };
        if begun.is_unfinished {
            log::warn!(
                "the archive hour of {} did not fit into the last run: this run goes on \
                 with it for up to an hour beyond max_duration",
                utc(from)
            );
        }
        // nobody else waits for this session: it takes only our time
        if begun.is_unfinished {
            self.extension = context.shutdown.extend(LONGER);
        }
        let request = RequestId {
            number: self.session.requests,
            end_hour: hour_end(from),
            pass: Pass::Recent,
        };
        self.reading = PodReading::Hour(Hour {
            from,
            request,
            socket,
            ended: None,
        });
        Ok(Batch::going_on())
    }

    pub(super) fn read_hour(
        &mut self,
        mut hour: Hour,
        context: &mut PollContext,
    ) -> Result<Batch, FetchError> {
        if let Some(end) = hour.ended.take() {
            return self.end_hour(&hour, end, context);
        }
        let mut batch = Batch {
            request: hour.request,
            ..Batch::default()
        };
        let limits_of_read = ReadLimits {
            most: BATCH,
            shutdown: context.shutdown,
            // the next answer must hold what this one has shown of the hour
            recognise: |found, _| found.identity(true),
        };
        // what came must be in the dedup index before the hour can be judged
        hour.ended = match read_batch(
            &mut hour.socket,
            &mut batch,
            &limits_of_read,
            context.counters,
        ) {
            ReadOutcome::Enough => None,
            ReadOutcome::Stopped => Some(HourEnd::Stopped),
            ReadOutcome::Ended(ending) => Some(HourEnd::Closed(ending)),
            ReadOutcome::TooLong(error) => {
                self.failed.get_or_insert(error);
                Some(HourEnd::TooLong)
            }
        };
        batch.goes_on = hour.ended.is_some();
        self.reading = PodReading::Hour(hour);
        Ok(batch)
    }

    /// Handles the end of an answer.
    fn end_hour(
        &mut self,
        hour: &Hour,
        end: HourEnd,
        context: &mut PollContext,
    ) -> Result<Batch, FetchError> {
        let known = context.dedup.known()?;
        let answered = known.answer(hour.request.number);
        let shown = known.shown(hour.request.end_hour);
        let (name, clocks) = (utc(hour.from), self.clocks(context));
        let mut events = Some(answered.events);
        let why = match end {
            HourEnd::Closed(ending) => {
                let end = AnswerEnd::of(&ending);
                let reading = self.plan.reading(hour.from, (answered, shown), end, clocks);
                let verdict = archive_policy::verdict(&reading);
                let ending = self.session.excerpt(&ending.to_string());
                if end == AnswerEnd::Broken {
                    events = None;
                }
                if end != AnswerEnd::Normal {
                    log::debug!("the answer for the archive hour of {name} ended: {ending}");
                }
                if end == AnswerEnd::Normal || answered.events > 0 {
                    self.session.is_good();
                } else {
                    // a server in trouble gets time; a later run requests the hour again
                    let wait = self.session.wait(context).as_secs_f64();
                    log::info!(
                        "reading the archive hour of {name}: {ending}; going on in {wait:.0} s"
                    );
                }
                if (reading.was, verdict, answered.events) == (Some(OpenReason::Empty), None, 0) {
                    log::info!("the archive hour of {name} counts as empty after a day");
                }
                verdict
            }
            HourEnd::TooLong => {
                events = None;
                Some(OpenReason::Cut)
            }
            HourEnd::Stopped => {
                events = None;
                Some(OpenReason::Unfinished)
            }
        };
        context.counters.windows += u64::from(why != Some(OpenReason::Unfinished));
        log::debug!(
            "the archive hour of {name} has {}, {} of them new{}",
            count(answered.events, "event"),
            answered.new,
            why.map_or(String::new(), |why| format!(": {}", why.in_words()))
        );
        self.is_unconfirmed = true;
        let commit = self.plan.record_hour(hour.from, events, why, clocks);
        // it is confirmed in the time that it got, and before a wait
        Ok(
            match self.extension.is_some() || self.session.is_to_wait() {
                true => commit.at_once().into(),
                false => commit.into(),
            },
        )
    }
}

/// The end of the hour in which a time lies, in hours since 1970.
pub(super) fn hour_end(time: OffsetDateTime) -> u32 {
    let hours = time.unix_timestamp().div_euclid(3600) + 1;
    u32::try_from(hours).unwrap_or(0)
}

/// A time in the spelling of the log stream: `2026-11-23T10:00:00-0000`.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    utc(time).replace('Z', "-0000")
}
