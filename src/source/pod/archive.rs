//! The archive: one hour at a time, the open ones first.

use time::OffsetDateTime;

use anyhow::Result;

use super::hours::{self, GIVE_UP, HOUR};
use super::session::{Filled, Filling, fill};
use super::{Pod, Reading};
use crate::config::Mode;
use crate::event::{Asked, Batch, Gap, Identity, Look, OpenHour, Why};
use crate::source::Turn;
use crate::stop::Stop;
use crate::websocket::{Ending, WebSocket};
use crate::window::utc;
use std::time::Instant;

/// A batch is handed over at about this size.
const BATCH: usize = 512 * 1024;
/// An answer that is cut off is asked for so often in one run.
const ATTEMPTS: u32 = 3;

/// An hour that is being read.
#[derive(Debug)]
pub(super) struct Hour {
    from: OffsetDateTime,
    asked: Asked,
    socket: WebSocket,
    attempt: u32,
    ended: Option<End>,
    /// What ends the reading early.
    stop: Stop,
}

#[derive(Debug)]
enum End {
    Stopped,
    Closed(Ending),
    TooLong,
}

impl Pod {
    /// The next hour to ask for, if one is left for this run.
    pub(super) fn next_hour(&mut self, turn: &Turn) -> Option<OffsetDateTime> {
        if self.mode == Mode::Live || turn.stop.reason().is_some() {
            return None;
        }
        // what did not fit into a run must not meet the same end again and again
        let is_there = |hour: &OffsetDateTime| self.is_there(*hour, turn);
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
        let (now, lag) = (self.now(turn), self.lag);
        let due = |hour: &&OpenHour| {
            let is_new = !self.tried.contains(&hour.from);
            is_new && hours::is_due(hour, now, lag) && is_there(&hour.from)
        };
        if let Some(hour) = self.stand.open.iter().find(due) {
            return Some(hour.from);
        }
        let limit = self.rule.limit(now);
        let limit = self.end.map_or(limit, |end| end.min(limit));
        let next = self.stand.until.max(self.oldest(turn.now));
        (next + HOUR <= limit).then_some(next)
    }

    /// Whether the archive has an hour that is open or the next, as far as clocks are known.
    fn is_there(&self, from: OffsetDateTime, turn: &Turn) -> bool {
        let oldest = self.oldest(turn.now);
        let is_open = self.stand.open.iter().any(|hour| hour.from == from);
        let is_next = from == self.stand.until.max(oldest);
        from + HOUR <= self.rule.limit(self.now(turn)) && (is_open && from >= oldest || is_next)
    }

    /// The hour in which the last run ended, until this one has asked for it.
    fn unfinished(&self) -> Option<OffsetDateTime> {
        let open = self.stand.open.iter();
        let mut unfinished = open.filter(|hour| hour.why == Why::Unfinished);
        let hour = unfinished.find(|hour| !self.tried.contains(&hour.from));
        hour.map(|hour| hour.from)
    }

    pub(super) fn open_hour(&mut self, from: OffsetDateTime, turn: &mut Turn) -> Result<Batch> {
        let is_unfinished = self.unfinished() == Some(from);
        let to = from + HOUR;
        let (since_time, to_time) = (stamp(from), stamp(to));
        let times = [
            ("sinceTime", since_time.as_str()),
            ("toTime", to_time.as_str()),
        ];
        log::debug!("asking for the archive hour of {}", utc(from));
        let Some(mut socket) = self.session.open(&times, turn)? else {
            return Ok(Batch::default());
        };
        // the server has told its time by now
        if !self.is_there(from, turn) {
            socket.close();
            self.come_back_from_the_future(self.now(turn));
            return Ok(self.stand_here());
        }
        let given_up = self.give_up_what_is_too_old(turn.now);
        if is_unfinished {
            log::warn!(
                "the archive hour of {} did not fit into the last run: it is read to its end now, whatever max_duration says",
                utc(from)
            );
        }
        // its session is open, so that it is our time alone that it takes
        let stop = match is_unfinished {
            true => turn.stop.after(None),
            false => turn.stop.clone(),
        };
        self.tried.push(from);
        let attempt = match self.again.take() {
            Some((hour, attempt)) if hour == from => attempt + 1,
            _ => 1,
        };
        let asked = Asked {
            number: self.session.asked,
            end_hour: hour_end(from),
            look: Look::First,
        };
        self.reading = Some(Reading::Hour(Hour {
            from,
            asked,
            socket,
            attempt,
            ended: None,
            stop,
        }));
        Ok(given_up.unwrap_or_default())
    }

    pub(super) fn read_hour(&mut self, mut hour: Hour, turn: &mut Turn) -> Result<Batch> {
        if let Some(end) = hour.ended.take() {
            return Ok(self.end_hour(&hour, end, turn));
        }
        let mut batch = Batch {
            asked: hour.asked,
            ..Batch::default()
        };
        let filling = Filling {
            most: BATCH,
            stop: &hour.stop,
            // what an answer has shown of an hour must be in the next one as well
            recognise: |found, _| Identity::Shown(found.digest),
        };
        // what has come must be known before it can be told whether the hour is whole
        hour.ended = match fill(&mut hour.socket, &mut batch, &filling, turn.tally) {
            Filled::Enough => None,
            Filled::Stopped => Some(End::Stopped),
            Filled::Ended(ending) => Some(End::Closed(ending)),
            Filled::TooLong(error) => {
                self.failed.get_or_insert(error);
                Some(End::TooLong)
            }
        };
        self.reading = Some(Reading::Hour(hour));
        Ok(batch)
    }

    /// Takes on what the end of an answer means.
    fn end_hour(&mut self, hour: &Hour, end: End, turn: &mut Turn) -> Batch {
        let answered = turn.seen.answer(hour.asked.number);
        let name = utc(hour.from);
        let why = match end {
            End::Closed(ending) if ending.is_normal() => {
                self.session.is_good();
                let was = self.stand.open.iter().find(|open| open.from == hour.from);
                let was = was.map(|open| open.why);
                let doubt = hours::doubt(&hours::Reading {
                    answered,
                    shown: turn.seen.shown(hour.asked.end_hour),
                    is_covered: hours::is_covered(self.stand.live, hour.from),
                    before: self.stand.before.filter(|_| hour.from == self.stand.until),
                    was,
                    age: self.now(turn) - hour.from - HOUR,
                });
                if (was, doubt, answered.events) == (Some(Why::Empty), None, 0) {
                    log::info!(
                        "the archive hour of {name} is empty, though the hour before is not"
                    );
                }
                doubt
            }
            // at the end of the run's time there is no other attempt
            End::Closed(ending) if hour.attempt < ATTEMPTS && turn.stop.reason().is_none() => {
                let wait = self.session.wait(turn).as_secs_f64();
                log::warn!(
                    "reading the archive hour of {name}: {ending}; asking again in {wait:.0} s"
                );
                self.again = Some((hour.from, hour.attempt));
                return Batch::default();
            }
            End::Closed(_) | End::TooLong => Some(Why::Cut),
            End::Stopped => Some(Why::Unfinished),
        };
        turn.tally.windows += u64::from(why != Some(Why::Unfinished));
        log::debug!(
            "the archive hour of {name} has {} events, {} of them new{}",
            answered.events,
            answered.new,
            why.map_or(String::new(), |why| format!(": {}", why.in_words()))
        );
        let is_sound = matches!(why, None | Some(Why::Growing | Why::Unproven));
        if is_sound && hour.from == self.stand.until {
            self.stand.before = Some(answered.events);
        }
        self.fresh = false;
        self.settle(hour.from, why, self.now(turn))
    }

    /// Notes what became of an hour.
    fn settle(&mut self, from: OffsetDateTime, why: Option<Why>, now: OffsetDateTime) -> Batch {
        if from == self.stand.until {
            self.stand.until += HOUR;
        }
        let open = &mut self.stand.open;
        // what it was open for before, if that was no loss, gives it no less time
        let was = open.iter().find(|hour| hour.from == from);
        let was = was
            .filter(|hour| why.is_none_or(|why| hours::is_loss(why) == hours::is_loss(hour.why)));
        let since = was.map_or(now, |hour| hour.since);
        open.retain(|hour| hour.from != from);
        let Some(why) = why else {
            return self.stand_here();
        };
        let asked = now;
        if hours::is_loss(why) && now - since >= GIVE_UP {
            let (name, words) = (utc(from), why.in_words());
            log::warn!(
                "giving up the archive hour of {name}, which was asked for since {}: {words}",
                utc(since)
            );
            let to = from + HOUR;
            return self.stand_with(Gap { from, to });
        }
        let at = open.partition_point(|hour| hour.from < from);
        let hour = OpenHour {
            from,
            since,
            asked,
            why,
        };
        open.insert(at, hour);
        self.stand_here()
    }
}

/// The end of the hour in which a time lies, in hours since 1970.
pub(super) fn hour_end(time: OffsetDateTime) -> u32 {
    let hours = time.unix_timestamp().div_euclid(3600) + 1;
    u32::try_from(hours).unwrap_or(0)
}

/// A time as the log stream takes it: `2026-11-23T10:00:00-0000`.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    utc(time).replace('Z', "-0000")
}
