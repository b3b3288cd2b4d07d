//! The events of a type of the log stream, and what is expected of them.
//!
//! An event is said once by the live stream, some time after it happened. Later the archive has it, in the hour
//! in which it happened or, as nobody knows better, in which it arrived.

use time::macros::offset;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::super::demand::{Expected, History, Run, sum};
use super::super::event::{Event, Text, local_seconds};
use super::super::rng::Rng;
use super::{Options, StreamType};

/// The least that is between two requests for an hour that is not complete.
const AGAIN: Duration = Duration::minutes(10);
/// An hour that is not complete is given up after this time.
const GIVE_UP: Duration = Duration::hours(24);
/// What the program requests at most, and the edge moves while it works.
const KEPT: Duration = Duration::hours(30 * 24 - 3);
/// Time for a run to come to the live stream, and for clocks that are compared.
const SLACK: Duration = Duration::minutes(1);

/// An event of the log stream.
#[derive(Debug, Clone)]
pub struct LogEvent {
    /// Visible from when the live stream or the archive has it; gone when the archive forgets it.
    pub event: Event,
    /// When it comes to the live stream; `None` if it never does.
    pub arrives: Option<OffsetDateTime>,
    /// When it comes to the archive, and the hour in which it is there, in hours since 1970.
    pub archived_from: OffsetDateTime,
    pub hour: i64,
    /// As the archive spells it.
    pub archived: Text,
    /// When the live stream said it.
    pub said: Vec<OffsetDateTime>,
}

/// How the program reads the log stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Complete,
    Live,
    Archive,
}

/// A type of the log stream.
#[derive(Debug)]
pub struct Log {
    stream: StreamType,
    options: Options,
    rng: Rng,
    /// In the order of their arrival.
    events: Vec<LogEvent>,
    /// The first that the live stream has not said.
    next: usize,
    /// The hours that were requested of the archive, and when.
    asked: Vec<(i64, OffsetDateTime)>,
    /// Whether an answer of the archive did not tell that something was missing.
    had_unclear_ends: bool,
}

impl Log {
    pub(super) fn new(stream: StreamType, options: Options, rng: Rng) -> Log {
        Log {
            stream,
            options,
            rng,
            events: Vec::new(),
            next: 0,
            asked: Vec::new(),
            had_unclear_ends: false,
        }
    }

    /// All events, in the order of their arrival.
    pub fn events(&self) -> &[LogEvent] {
        &self.events
    }

    /// Adds so many events that happen from `from` up to `to`; before the first of them is said.
    pub fn fill(&mut self, (from, to): (OffsetDateTime, OffsetDateTime), count: usize) {
        let length = (to - from).whole_microseconds().max(1).unsigned_abs();
        for _ in 0..count {
            let offset = u128::from(self.rng.bits()) % length;
            let at = from + Duration::microseconds(offset as i64);
            let at = match self.rng.below(10) {
                0 => at.truncate_to_hour().max(from),
                _ => at.truncate_to_microsecond(),
            };
            let late = *self.rng.pick(&[1, 5, 5, 60, 240]);
            let late = match self.rng.chance(self.options.late) {
                true => 1800,
                false => late,
            };
            let arrival = at + Duration::milliseconds(self.rng.below(1000 * late) as i64);
            let is_said = !self.rng.chance(self.options.unsaid);
            let behind = match self.rng.chance(self.options.archived_late) {
                true => Duration::seconds(self.rng.below(7 * 3600) as i64),
                false => Duration::ZERO,
            };
            self.add(at, (arrival.truncate_to_millisecond(), is_said), behind);
        }
        let arrival = |event: &LogEvent| event.arrives.unwrap_or(event.event.at);
        self.events.sort_by_key(arrival);
    }

    /// Adds an event that arrives at this time, and is said then or never. It comes to the archive so much later
    /// than its hour.
    fn add(
        &mut self,
        at: OffsetDateTime,
        (arrival, is_said): (OffsetDateTime, bool),
        behind: Duration,
    ) {
        let serial = self.events.len() as u64 + 1;
        let hour = hour(if self.options.is_hour_of_arrival {
            arrival
        } else {
            at
        });
        let archived_from = start(hour + 1) + self.options.archived_after + behind;
        let zone = *self.rng.pick(&ZONES);
        let text = text(self.stream, serial, at.to_offset(zone));
        let archived = match self.options.is_respelt {
            true => self::text(self.stream, serial, at),
            false => text.clone(),
        };
        self.events.push(LogEvent {
            event: Event {
                serial,
                at,
                visible_from: if is_said { arrival } else { archived_from },
                gone_from: start(hour) + self.options.keep,
                text,
            },
            arrives: is_said.then_some(arrival),
            archived_from,
            hour,
            archived,
            said: Vec::new(),
        });
    }

    /// What the live stream says next, if it has something to say by now: each event once, unless it is older
    /// than what the server remembers.
    pub(super) fn say(&mut self, now: OffsetDateTime) -> Option<&Text> {
        let oldest = now - self.options.remembered;
        while let Some(place) = self.due(now) {
            self.next = place + 1;
            let event = &mut self.events[place];
            if event.arrives.is_some_and(|arrives| arrives >= oldest) {
                event.said.push(now);
                return Some(&self.events[place].event.text);
            }
        }
        None
    }

    /// The place of the next event that has arrived by now.
    fn due(&self, now: OffsetDateTime) -> Option<usize> {
        let rest = self.events.iter().enumerate().skip(self.next);
        let mut rest = rest.filter_map(|(place, event)| Some((place, event.arrives?)));
        let (place, arrives) = rest.next()?;
        (arrives <= now).then_some(place)
    }

    /// When the next event arrives.
    pub(super) fn next_arrival(&self) -> Option<OffsetDateTime> {
        let mut rest = self.events.iter().skip(self.next);
        rest.find_map(|event| event.arrives)
    }

    /// Goes back by so many events at most, as a server may when the live stream is opened again.
    pub(super) fn go_back(&mut self, most: usize) {
        self.next -= self.rng.below(most + 1).min(self.next);
    }

    /// What the archive has of these hours by now, and so many of a hundred of it alone: in any order, with
    /// repeats.
    pub(super) fn archived(
        &mut self,
        (from, to): (OffsetDateTime, OffsetDateTime),
        part: usize,
        now: OffsetDateTime,
    ) -> Vec<usize> {
        let hours = hour(from)..hour(to);
        self.asked.extend(hours.clone().map(|hour| (hour, now)));
        let mut found = Vec::new();
        for (place, event) in self.events.iter().enumerate() {
            let is_there = event.archived_from <= now && now < event.event.gone_from;
            if hours.contains(&event.hour) && is_there && self.rng.chance(part) {
                found.push(place);
                if self.rng.chance(self.options.archive_repeats) {
                    found.push(place);
                }
            }
        }
        self.rng.shuffle(&mut found);
        found
    }

    /// An answer of the archive ended before its end, or will, by an end of file or a close frame: such an end does
    /// not tell that something is missing, and two that are equal prove the hour to the program.
    pub fn note_unclear_end(&mut self) {
        self.had_unclear_ends = true;
    }

    /// What is expected of the service that reads it like this, and the archive so long after an hour's end.
    pub fn expected(&self, mode: Mode, lag: Duration, history: &History<'_>) -> Vec<Expected> {
        sum(self.events.iter().map(|event| {
            let must = mode != Mode::Archive && is_heard(event, history)
                || mode != Mode::Live && self.is_archived(event, lag, history);
            // hours are read whole
            let most = history.most(start(event.hour + 1) - Duration::SECOND);
            (event.event.serial, must, most)
        }))
    }

    /// Whether the archive must have brought an event: a sound run requested its hour, or had to.
    fn is_archived(&self, event: &LogEvent, lag: Duration, history: &History<'_>) -> bool {
        let asked = || {
            let all = self.asked.iter().filter(|(hour, _)| *hour == event.hour);
            all.map(|(_, at)| *at)
        };
        let begins = start(event.hour);
        let due = begins + Duration::HOUR + lag + SLACK;
        let is_due = |run: &Run| run.present() >= due && run.ended < begins + KEPT;
        let first = asked().next();
        sound(history).any(|run| {
            if asked().any(|at| run.has(at) && event.archived_from <= at) {
                return true;
            }
            let known = first.filter(|first| *first < run.began);
            let Some(first) = known else {
                // it is the first that comes to this hour
                return begins >= history.since && is_due(run) && event.archived_from <= run.began;
            };
            // an hour that was not complete is requested again; one that was had the event
            let last = asked().take_while(|at| *at < run.began).last();
            let so_far = last.unwrap_or(first) - first;
            let wait = so_far.min(GIVE_UP - so_far).max(AGAIN).max(lag) + SLACK;
            !self.had_unclear_ends
                && so_far < GIVE_UP
                && event.archived_from <= first
                && is_due(run)
                && run.present() >= first + so_far + wait
        })
    }
}

/// The runs that have everything that came: they went well to their end, and nothing disturbed them.
fn sound<'a>(history: &'a History<'_>) -> impl Iterator<Item = &'a Run> {
    history.runs.iter().filter(|run| run.is_good && run.is_calm)
}

/// Whether the live stream must have brought an event: it said it to a sound run, or had to. What it said to
/// a connection that broke is lost, and so is what it forgot before anybody came.
fn is_heard(event: &LogEvent, history: &History<'_>) -> bool {
    let Some(arrives) = event.arrives else {
        return false;
    };
    let is_remembered = |run: &Run| {
        event.said.is_empty() && arrives <= run.began && run.began < arrives + Duration::minutes(50)
    };
    sound(history).any(|run| event.said.iter().any(|at| run.has(*at)) || is_remembered(run))
}

/// The hour of a time, counted since 1970.
pub(super) fn hour(time: OffsetDateTime) -> i64 {
    time.unix_timestamp().div_euclid(3600)
}

/// When an hour begins.
pub(super) fn start(hour: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::hours(hour)
}

/// The zones of agents.
const ZONES: [UtcOffset; 3] = [offset!(-8), offset!(+2), UtcOffset::UTC];

fn text(stream: StreamType, serial: u64, at: OffsetDateTime) -> Text {
    let ts = {
        let (seconds, micros) = (local_seconds(at), at.microsecond());
        let (hours, minutes, _) = at.offset().as_hms();
        format!("{seconds}.{micros:06}{hours:+03}{minutes:02}")
    };
    Text::plain(match stream {
        StreamType::Message => format!(
            r#"{{"guid":"message-{serial}","ts":"{ts}","metadata":{{"origin":{{"data":{{"agent":"m0290417.ppops.net","cid":"corp_hosted"}}}}}},"filter":{{"qid":"4f2k-{serial}","disposition":"discard"}},"msg":{{"header":{{"message-id":["<serial.{serial}@mail.example>"],"subject":["Überfällig, Ö"]}}}}}}"#
        ),
        StreamType::Maillog => format!(
            r#"{{"id":"maillog-{serial}","ts":"{ts}","data":"{ts} m0290417 sendmail[18342]: to=<dana.reyes@corp.example>, stat=Sent (serial.{serial})","pps":{{"agent":"m0290417.ppops.net","cid":"corp_hosted"}},"sm":{{"stat":"Sent","to":["<dana.reyes@corp.example>"],"pri":"168211"}}}}"#
        ),
        StreamType::Audit => format!(
            r#"{{"guid":"audit-{serial}","ts":"{ts}","audit":{{"action":"login","level":"INFO","resourceType":"authorization","tags":[],"user":{{"email":"admin@corp.example","id":"serial.{serial}"}}}},"metadata":{{"origin":{{"type":"cadmin-api-gateway"}}}}}}"#
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn at(minutes: i64) -> OffsetDateTime {
        NOON + Duration::minutes(minutes)
    }

    /// A log with one event at each of these minutes, said at once and archived half an hour behind the hour.
    fn log(minutes: &[i64]) -> Log {
        let mut log = Log::new(StreamType::Audit, Options::default(), Rng::new(1));
        for minutes in minutes {
            log.add(at(*minutes), (at(*minutes), true), Duration::ZERO);
        }
        log
    }

    fn run(began: i64, minutes: i64, is_sound: bool) -> Run {
        Run {
            began: at(began),
            ended: at(began + minutes),
            behind: Duration::ZERO,
            is_good: true,
            is_calm: is_sound,
        }
    }

    #[track_caller]
    fn check(log: &Log, mode: Mode, runs: &[Run], expected: &[u64]) {
        let history = History {
            since: at(-600),
            earliest: None,
            runs,
            look_back: Duration::ZERO,
            recheck_after: None,
            untold: Duration::ZERO,
        };
        let found = log.expected(mode, Duration::minutes(45), &history);
        let must = found.iter().filter(|one| one.least == 1);
        assert_eq!(
            must.map(|one| one.serial).collect::<Vec<_>>(),
            expected,
            "{runs:?}"
        );
    }

    #[test]
    fn the_live_stream_says_each_event_once_and_forgets_it_after_an_hour() {
        let mut log = log(&[0, 30, 59, 70]);
        let mut said = |minutes| {
            let mut said = Vec::new();
            while let Some(text) = log.say(at(minutes)) {
                said.extend(super::super::super::event::serial(text.bytes()));
            }
            said
        };
        assert_eq!(said(0), [1]);
        assert!(said(0).is_empty());
        assert_eq!(said(100), [3, 4]);
        assert_eq!(log.next_arrival(), None);
        log.go_back(0);
        assert!(log.say(at(101)).is_none());
        check(
            &log,
            Mode::Live,
            &[run(0, 5, true), run(99, 5, true)],
            &[1, 3, 4],
        );
        // what it said to a run that was disturbed may be lost
        check(
            &log,
            Mode::Live,
            &[run(0, 5, true), run(99, 5, false)],
            &[1],
        );
        // it had to be asked
        check(&log, Mode::Live, &[run(40, 5, true)], &[2]);
    }

    #[test]
    fn an_hour_of_the_archive_must_be_read_once_it_is_there() {
        let hours = (at(0), at(60));
        let unread = log(&[10]);
        check(&unread, Mode::Archive, &[run(104, 5, true)], &[]);
        check(&unread, Mode::Archive, &[run(106, 5, true)], &[1]);
        check(&unread, Mode::Archive, &[run(106, 5, false)], &[]);
        let mut read = log(&[10]);
        assert!(read.archived(hours, 100, at(89)).is_empty());
        assert_eq!(read.archived(hours, 100, at(90)).first(), Some(&0));
        check(&read, Mode::Archive, &[run(88, 1, true)], &[]);
        check(&read, Mode::Archive, &[run(88, 5, true)], &[1]);
    }

    #[test]
    fn an_hour_that_a_disturbed_run_has_read_must_be_complete_in_the_end() {
        let mut log = log(&[10]);
        log.archived((at(0), at(60)), 100, at(110));
        let disturbed = run(108, 5, false);
        check(&log, Mode::Archive, &[disturbed, run(120, 5, true)], &[]);
        check(&log, Mode::Archive, &[disturbed, run(157, 5, true)], &[1]);
        log.note_unclear_end();
        check(&log, Mode::Archive, &[disturbed, run(157, 5, true)], &[]);
    }

    #[test]
    fn texts_are_json_whose_time_and_id_are_those_of_the_archive() {
        let options = Options {
            is_respelt: true,
            ..Options::default()
        };
        for stream in StreamType::ALL {
            let mut log = Log::new(stream, options, Rng::new(5));
            log.fill((at(-600), at(0)), 40);
            let mut differ = 0;
            for event in log.events() {
                let texts = [&event.event.text, &event.archived];
                let [one, other] = texts.map(|text| -> serde_json::Value {
                    assert!(text.bytes().len() < 420);
                    serde_json::from_slice(text.bytes()).expect("JSON")
                });
                assert_eq!((&one["id"], &one["guid"]), (&other["id"], &other["guid"]));
                differ += usize::from(one["ts"] != other["ts"]);
                assert!(event.archived_from >= event.event.at);
            }
            assert!(differ > 0);
        }
    }
}
