//! The archive: one hour at a time, the open ones first.

use time::OffsetDateTime;

use anyhow::Result;

use super::api::Mode;
use super::archive_policy::{self, GIVE_UP, HOUR};
use super::session::{ReadLimits, ReadOutcome, read_batch};
use super::{Pod, PodPhase};
use crate::clock::utc;
use crate::net::websocket::{CloseReason, WebSocket};
use crate::pipeline::batch::{Batch, EventId, Pass, RequestId};
use crate::pipeline::checkpoint::{Gap, OpenHour, OpenReason};
use crate::shutdown::Shutdown;
use crate::source::PollContext;
use std::time::Instant;

/// A batch is handed over at about this size.
const BATCH: usize = 512 * 1024;
/// An answer that is cut off is asked for so often in one run.
const ATTEMPTS: u32 = 3;

/// An hour that is being read.
#[derive(Debug)]
pub(super) struct Hour {
    from: OffsetDateTime,
    request: RequestId,
    socket: WebSocket,
    attempt: u32,
    ended: Option<HourEnd>,
    /// What ends the reading early.
    shutdown: Shutdown,
}

#[derive(Debug)]
enum HourEnd {
    Stopped,
    Closed(CloseReason),
    TooLong,
}

impl Pod {
    /// The next hour to ask for, if one is left for this run.
    pub(super) fn next_hour(&mut self, context: &PollContext) -> Option<OffsetDateTime> {
        if self.mode == Mode::Live || context.shutdown.reason().is_some() {
            return None;
        }
        // what did not fit into a run must not meet the same end again and again
        let is_there = |hour: &OffsetDateTime| self.is_there(*hour, context);
        if let Some(hour) = self.unfinished().filter(is_there) {
            return Some(hour);
        }
        let half = self.half.filter(|_| self.mode == Mode::Complete);
        if half.is_some_and(|half| Instant::now() >= half) {
            return None;
        }
        if let Some((hour, _)) = self.again.filter(|(hour, _)| is_there(hour)) {
            return Some(hour);
        }
        let (now, lag) = (self.now(context), self.lag);
        let due = |hour: &&OpenHour| {
            let is_new = !self.tried.contains(&hour.from);
            is_new && archive_policy::is_due(hour, now, lag) && is_there(&hour.from)
        };
        if let Some(hour) = self.position.open_hours.iter().find(due) {
            return Some(hour.from);
        }
        let limit = self.limits.limit(now);
        let limit = self.end.map_or(limit, |end| end.min(limit));
        let next = self.position.until.max(self.oldest(context.now));
        (next + HOUR <= limit).then_some(next)
    }

    /// Whether the archive has an hour that is open or the next, as far as clocks are known.
    fn is_there(&self, from: OffsetDateTime, context: &PollContext) -> bool {
        let oldest = self.oldest(context.now);
        let is_open = self
            .position
            .open_hours
            .iter()
            .any(|hour| hour.from == from);
        let is_next = from == self.position.until.max(oldest);
        from + HOUR <= self.limits.limit(self.now(context))
            && (is_open && from >= oldest || is_next)
    }

    /// The hour in which the last run ended, until this one has asked for it.
    fn unfinished(&self) -> Option<OffsetDateTime> {
        let open = self.position.open_hours.iter();
        let mut unfinished = open.filter(|hour| hour.why == OpenReason::Unfinished);
        let hour = unfinished.find(|hour| !self.tried.contains(&hour.from));
        hour.map(|hour| hour.from)
    }

    pub(super) fn open_hour(
        &mut self,
        from: OffsetDateTime,
        context: &mut PollContext,
    ) -> Result<Batch> {
        let is_unfinished = self.unfinished() == Some(from);
        let to = from + HOUR;
        let (since_time, to_time) = (stamp(from), stamp(to));
        let times = [
            ("sinceTime", since_time.as_str()),
            ("toTime", to_time.as_str()),
        ];
        log::debug!("asking for the archive hour of {}", utc(from));
        let Some(mut socket) = self.session.open(&times, context)? else {
            return Ok(Batch::default());
        };
        // the server has told its time by now
        if !self.is_there(from, context) {
            socket.close();
            self.come_back_from_the_future(self.now(context));
            return Ok(self.commit_position());
        }
        let given_up = self.give_up_what_is_too_old(context.now);
        if is_unfinished {
            log::warn!(
                "the archive hour of {} did not fit into the last run: it is read to its end now, whatever max_duration says",
                utc(from)
            );
        }
        // its session is open, so that it is our time alone that it takes
        let shutdown = match is_unfinished {
            true => context.shutdown.after(None),
            false => context.shutdown.clone(),
        };
        self.tried.push(from);
        let attempt = match self.again.take() {
            Some((hour, attempt)) if hour == from => attempt + 1,
            _ => 1,
        };
        let request = RequestId {
            number: self.session.requests,
            end_hour: hour_end(from),
            pass: Pass::Recent,
        };
        self.reading = Some(PodPhase::Hour(Hour {
            from,
            request,
            socket,
            attempt,
            ended: None,
            shutdown,
        }));
        Ok(given_up.unwrap_or_default())
    }

    pub(super) fn read_hour(&mut self, mut hour: Hour, context: &mut PollContext) -> Result<Batch> {
        if let Some(end) = hour.ended.take() {
            return Ok(self.end_hour(&hour, end, context));
        }
        let mut batch = Batch {
            request: hour.request,
            ..Batch::default()
        };
        let limits_of_read = ReadLimits {
            most: BATCH,
            shutdown: &hour.shutdown,
            // what an answer has shown of an hour must be in the next one as well
            recognise: |found, _| EventId::ArchivedKey(found.digest),
        };
        // what has come must be known before it can be told whether the hour is whole
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
        self.reading = Some(PodPhase::Hour(hour));
        Ok(batch)
    }

    /// Takes on what the end of an answer means.
    fn end_hour(&mut self, hour: &Hour, end: HourEnd, context: &mut PollContext) -> Batch {
        let answered = context.dedup.answer(hour.request.number);
        let name = utc(hour.from);
        let why = match end {
            HourEnd::Closed(ending) if ending.is_normal() => {
                self.session.is_good();
                let was = self
                    .position
                    .open_hours
                    .iter()
                    .find(|open| open.from == hour.from);
                let was = was.map(|open| open.why);
                let verdict = archive_policy::verdict(&archive_policy::HourReading {
                    answered,
                    shown: context.dedup.shown(hour.request.end_hour),
                    is_covered: archive_policy::is_covered(self.position.live, hour.from),
                    before: self
                        .position
                        .hour_before
                        .filter(|_| hour.from == self.position.until),
                    was,
                    age: self.now(context) - hour.from - HOUR,
                });
                if (was, verdict, answered.events) == (Some(OpenReason::Empty), None, 0) {
                    log::info!(
                        "the archive hour of {name} is empty, though the hour before is not"
                    );
                }
                verdict
            }
            // at the end of the run's time there is no other attempt
            HourEnd::Closed(ending)
                if hour.attempt < ATTEMPTS && context.shutdown.reason().is_none() =>
            {
                let wait = self.session.wait(context).as_secs_f64();
                log::warn!(
                    "reading the archive hour of {name}: {ending}; asking again in {wait:.0} s"
                );
                self.again = Some((hour.from, hour.attempt));
                return Batch::default();
            }
            HourEnd::Closed(_) | HourEnd::TooLong => Some(OpenReason::Cut),
            HourEnd::Stopped => Some(OpenReason::Unfinished),
        };
        context.counters.windows += u64::from(why != Some(OpenReason::Unfinished));
        log::debug!(
            "the archive hour of {name} has {} events, {} of them new{}",
            answered.events,
            answered.new,
            why.map_or(String::new(), |why| format!(": {}", why.in_words()))
        );
        let is_sound = matches!(why, None | Some(OpenReason::Growing | OpenReason::Unproven));
        if is_sound && hour.from == self.position.until {
            self.position.hour_before = Some(answered.events);
        }
        self.fresh = false;
        self.record_hour(hour.from, why, self.now(context))
    }

    /// Notes what became of an hour.
    fn record_hour(
        &mut self,
        from: OffsetDateTime,
        why: Option<OpenReason>,
        now: OffsetDateTime,
    ) -> Batch {
        if from == self.position.until {
            self.position.until += HOUR;
        }
        let open = &mut self.position.open_hours;
        // what it was open for before, if that was no loss, gives it no less time
        let was = open.iter().find(|hour| hour.from == from);
        let was = was.filter(|hour| {
            why.is_none_or(|why| archive_policy::is_loss(why) == archive_policy::is_loss(hour.why))
        });
        let since = was.map_or(now, |hour| hour.since);
        open.retain(|hour| hour.from != from);
        let Some(why) = why else {
            return self.commit_position();
        };
        let asked = now;
        if archive_policy::is_loss(why) && now - since >= GIVE_UP {
            let (name, words) = (utc(from), why.in_words());
            log::warn!(
                "giving up the archive hour of {name}, which was asked for since {}: {words}",
                utc(since)
            );
            let to = from + HOUR;
            return self.commit_gap(Gap { from, to });
        }
        let at = open.partition_point(|hour| hour.from < from);
        let hour = OpenHour {
            from,
            since,
            asked,
            why,
        };
        open.insert(at, hour);
        self.commit_position()
    }
}

/// The end of the hour in which a time lies, in hours since 1970.
pub(super) fn hour_end(time: OffsetDateTime) -> u32 {
    let archive_policy = time.unix_timestamp().div_euclid(3600) + 1;
    u32::try_from(archive_policy).unwrap_or(0)
}

/// A time as the log stream takes it: `2026-11-23T10:00:00-0000`.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    utc(time).replace('Z', "-0000")
}
