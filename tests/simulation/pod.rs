//! PoD by model: the log stream as its document and its clients say.
//!
//! One session for each type at a time; a live stream that goes on where it was left, for up to an hour, and
//! says each event once; an archive by whole hours, which comes late, in disorder and with repeats.

mod log;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::api::{Api, Reply, Request, Step, Stream};
use super::event::{instant, is_signed, refusal};
use super::rng::Rng;
pub use log::{Log, Mode};
use log::{hour, start};

/// The body of a 409.
const HELD: &str = "Exceeded maximum number of sessions per token\r\n";
/// How often a stream that has nothing to say is asked again.
const IDLE: Wait = Wait::from_secs(3600);

/// The types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamType {
    Message,
    Maillog,
    Audit,
}

impl StreamType {
    pub const ALL: [StreamType; 3] = [StreamType::Message, StreamType::Maillog, StreamType::Audit];

    /// That of a name, as requests and, behind `pod-`, services have it.
    pub fn of(name: &str) -> Option<StreamType> {
        Some(match name {
            "message" => StreamType::Message,
            "maillog" => StreamType::Maillog,
            "audit" => StreamType::Audit,
            _ => return None,
        })
    }
}

/// What is not certain of the server, or what a scenario chooses.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How far back the archive goes.
    pub keep: Duration,
    /// How long the live stream remembers what nobody has heard.
    pub remembered: Duration,
    /// How long after its end an hour is in the archive.
    pub archived_after: Duration,
    /// Whether the archive goes by the time of arrival, and not by the event's own.
    pub is_hour_of_arrival: bool,
    /// Whether the archive spells times in another zone than the live stream.
    pub is_respelt: bool,
    /// Of a hundred events: those that arrive up to half an hour late, those that the live stream never says,
    /// those that come to the archive up to seven hours later, and those that an answer of it has twice.
    pub late: usize,
    pub unsaid: usize,
    pub archived_late: usize,
    pub archive_repeats: usize,
    /// So many events at most are said again when the live stream is opened again.
    pub repeats: usize,
    /// So many events at most are still said behind the client's close frame.
    pub late_words: usize,
    /// Of a hundred messages, those behind which an empty one comes.
    pub empty: usize,
    /// Whether messages end with a line feed.
    pub has_line_feeds: bool,
    /// How long a session is held after its end, and in how many cases of a hundred.
    pub linger: Duration,
    pub lingers: usize,
    /// After so long without an event the live stream ends without a close frame.
    pub idle: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            keep: Duration::days(30),
            remembered: Duration::HOUR,
            archived_after: Duration::minutes(30),
            is_hour_of_arrival: false,
            is_respelt: false,
            late: 0,
            unsaid: 5,
            archived_late: 3,
            archive_repeats: 12,
            repeats: 0,
            late_words: 1,
            empty: 3,
            has_line_feeds: false,
            linger: Duration::seconds(20),
            lingers: 30,
            idle: None,
        }
    }
}

impl Options {
    /// As a scenario may choose them.
    pub fn by_chance(rng: &mut Rng) -> Options {
        Options {
            is_hour_of_arrival: rng.chance(20),
            is_respelt: rng.chance(30),
            late: *rng.pick(&[0, 0, 10]),
            unsaid: *rng.pick(&[0, 5, 30]),
            archived_late: *rng.pick(&[0, 3, 20]),
            archive_repeats: *rng.pick(&[0, 12, 60]),
            repeats: *rng.pick(&[0, 0, 3]),
            late_words: *rng.pick(&[0, 1, 5]),
            empty: *rng.pick(&[0, 3, 30]),
            has_line_feeds: rng.chance(30),
            linger: Duration::seconds(*rng.pick(&[0, 20, 90])),
            lingers: *rng.pick(&[0, 30, 100]),
            idle: *rng.pick(&[
                None,
                None,
                Some(Duration::seconds(20)),
                Some(Duration::minutes(5)),
            ]),
            ..Options::default()
        }
    }
}

/// What goes wrong with a session.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// After so many messages it does this.
    After(usize, Step),
    /// The archive has so many of a hundred events, and says that this is all.
    Part(usize),
}

/// PoD. A clone is the same.
#[derive(Debug, Clone)]
pub struct Pod {
    store: Arc<Mutex<Store>>,
}

#[derive(Debug)]
struct Store {
    options: Options,
    rng: Rng,
    logs: [Log; 3],
    held: [Held; 3],
    /// By the number of the session, from 0.
    troubles: BTreeMap<usize, Trouble>,
    sessions: usize,
    refused: usize,
}

/// Whether a type has a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Open,
    /// It has ended at the first time, and blocks the type up to the second.
    Lingering(OffsetDateTime, OffsetDateTime),
}

impl Pod {
    /// Without events.
    pub fn new(options: Options, mut rng: Rng) -> Pod {
        let logs = StreamType::ALL.map(|stream| Log::new(stream, options, Rng::new(rng.bits())));
        let store = Store {
            options,
            rng,
            logs,
            held: [Held::Lingering(OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH); 3],
            troubles: BTreeMap::new(),
            sessions: 0,
            refused: 0,
        };
        Pod {
            store: Arc::new(Mutex::new(store)),
        }
    }

    /// Does something with the events of a type, such as adding some, or asking what is expected.
    pub fn with<T>(&self, stream: StreamType, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.store().logs[stream as usize])
    }

    /// Something goes wrong with the session of this number, counted from 0.
    pub fn trouble(&self, session: usize, trouble: Trouble) {
        self.store().troubles.insert(session, trouble);
    }

    /// How many sessions were opened, and how many were refused since another one was held.
    pub fn sessions(&self) -> (usize, usize) {
        let store = self.store();
        (store.sessions, store.refused)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

/// A panic elsewhere shall not hide behind a second one.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Api for Pod {
    fn answer(&mut self, request: &Request, now: OffsetDateTime) -> Reply {
        let mut store = self.store();
        let (stream, hours) = match store.judge(request, now) {
            Ok(asked) => asked,
            Err((status, said)) => return refusal(status, said),
        };
        let session = store.sessions;
        let trouble = store.troubles.remove(&session);
        store.sessions += 1;
        store.held[stream as usize] = Held::Open;
        let log = &mut store.logs[stream as usize];
        let (part, ends) = match trouble {
            Some(Trouble::Part(part)) => (part, None),
            Some(Trouble::After(count, step)) => (100, Some((count, step))),
            None => (100, None),
        };
        let reading = match hours {
            Some(hours) => {
                if part < 100 || matches!(ends, Some((_, Step::Close(..) | Step::End))) {
                    log.note_unclear_end();
                }
                let mut places = log.archived(hours, part, now);
                places.reverse();
                Reading::Archive(places)
            }
            None => {
                let most = store.options.repeats;
                store.logs[stream as usize].go_back(most);
                Reading::Live(now)
            }
        };
        Reply::Stream(Box::new(Session {
            store: Arc::clone(&self.store),
            stream,
            reading,
            ends,
            latest: now,
            is_empty_next: false,
        }))
    }
}

/// A range of whole hours.
type Hours = (OffsetDateTime, OffsetDateTime);

impl Store {
    /// What a request is for, if a session may be opened.
    fn judge(
        &mut self,
        request: &Request,
        now: OffsetDateTime,
    ) -> Result<(StreamType, Option<Hours>), (u16, &'static str)> {
        if request.path != "/v1/stream" {
            return Err((404, "Not Found"));
        }
        if request.method != "GET" {
            return Err((405, "Method Not Allowed"));
        }
        let given = |name| request.parameter(name).filter(|value| !value.is_empty());
        let (Some(_), Some(name)) = (given("cid"), given("type")) else {
            return Err((400, "cid and type are required"));
        };
        if !is_signed(request, "Bearer ") {
            return Err((401, "Unauthorized"));
        }
        let stream = StreamType::of(name).ok_or((400, "unknown type"))?;
        let hours = hours(given("sinceTime"), given("toTime"), now);
        let hours = hours.ok_or((400, "bad sinceTime or toTime"))?;
        if hours.is_some_and(|(since, _)| since < now - self.options.keep) {
            return Err((400, "sinceTime is too far in the past"));
        }
        let is_free = match self.held[stream as usize] {
            // also when the clock was set back meanwhile
            Held::Lingering(from, to) => !(from..to).contains(&now),
            Held::Open => false,
        };
        if is_free {
            return Ok((stream, hours));
        }
        self.refused += 1;
        Err((409, HELD))
    }

    /// The session of a type has ended, in good order or not.
    fn free(&mut self, stream: StreamType, now: OffsetDateTime, in_good_order: bool) {
        let lingers = !in_good_order && self.rng.chance(self.options.lingers);
        let linger = if lingers {
            self.options.linger
        } else {
            Duration::ZERO
        };
        self.held[stream as usize] = Held::Lingering(now, now + linger);
    }
}

/// The hours that are requested, if any: the first is rounded down, the last up. Without an end they are all
/// up to now.
fn hours(since: Option<&str>, to: Option<&str>, now: OffsetDateTime) -> Option<Option<Hours>> {
    let (since, to) = match (since, to) {
        (None, None) => return Some(None),
        (None, Some(_)) => return None,
        (Some(since), None) => (instant(since)?, now),
        (Some(since), Some(to)) => (instant(since)?, instant(to)?),
    };
    let last = hour(to - Duration::nanoseconds(1)) + 1;
    (since < to).then(|| Some((start(hour(since)), start(last))))
}

/// An open session.
#[derive(Debug)]
struct Session {
    store: Arc<Mutex<Store>>,
    stream: StreamType,
    reading: Reading,
    /// What it does after so many messages.
    ends: Option<(usize, Step)>,
    /// When it did something last.
    latest: OffsetDateTime,
    /// Whether an empty message comes next.
    is_empty_next: bool,
}

/// What a session sends.
#[derive(Debug)]
enum Reading {
    /// The live stream, which had something to say last then.
    Live(OffsetDateTime),
    /// The places of these events, from the last one on.
    Archive(Vec<usize>),
    /// So many events of the live stream at most: the client has closed it.
    Closing(usize),
    Over,
}

impl Session {
    /// What comes next, were it not for what goes wrong.
    fn usual(&mut self, now: OffsetDateTime) -> Step {
        let mut store = lock(&self.store);
        let Store { options, logs, .. } = &mut *store;
        let log = &mut logs[self.stream as usize];
        let text = match &mut self.reading {
            Reading::Over => return Step::End,
            Reading::Archive(places) => places.pop().map(|place| &log.events()[place].archived),
            Reading::Live(heard) => match log.say(now) {
                Some(text) => {
                    *heard = now;
                    Some(text)
                }
                None => {
                    let until = options.idle.map(|idle| *heard + idle);
                    if until.is_some_and(|until| until <= now) {
                        return Step::End;
                    }
                    let arrives = logs[self.stream as usize].next_arrival();
                    let soonest = [arrives, until].into_iter().flatten().min();
                    let wait =
                        soonest.map_or(IDLE, |time| Wait::try_from(time - now).unwrap_or(IDLE));
                    return Step::Wait(wait.max(Wait::from_millis(1)));
                }
            },
            Reading::Closing(0) => None,
            Reading::Closing(left) => {
                *left -= 1;
                log.say(now)
            }
        };
        let Some(text) = text else {
            return Step::Close(1000, "");
        };
        let mut message = text.bytes().to_vec();
        if options.has_line_feeds {
            message.push(b'\n');
        }
        Step::Message(message)
    }

    /// It is over, and its end is as good as this step.
    fn end(&mut self, last: &Step) {
        let is_held = matches!(self.reading, Reading::Live(_) | Reading::Archive(_));
        self.reading = Reading::Over;
        if is_held {
            let is_good = matches!(last, Step::Close(1000, _));
            lock(&self.store).free(self.stream, self.latest, is_good);
        }
    }
}

impl Stream for Session {
    fn step(&mut self, now: OffsetDateTime) -> Step {
        self.latest = now;
        if std::mem::take(&mut self.is_empty_next) {
            return Step::Message(Vec::new());
        }
        let is_due = |count: usize| count == 0;
        let mut step = match &self.ends {
            Some((count, step)) if is_due(*count) => step.clone(),
            _ => self.usual(now),
        };
        if let Some((count, instead)) = &mut self.ends {
            match &step {
                Step::Message(_) => *count -= 1,
                // an end that lies behind the last event comes in the place of the good one
                Step::Close(1000, _) if !matches!(self.reading, Reading::Closing(_)) => {
                    step = instead.clone();
                }
                _ => {}
            }
        }
        match &step {
            Step::Message(_) => {
                let mut store = lock(&self.store);
                let empty = store.options.empty;
                self.is_empty_next = store.rng.chance(empty);
            }
            Step::Wait(_) => {}
            Step::Close(..) | Step::End | Step::Reset => self.end(&step),
        }
        step
    }

    fn closed(&mut self, now: OffsetDateTime) {
        self.latest = now;
        let late_words = match self.reading {
            Reading::Live(_) => lock(&self.store).options.late_words,
            Reading::Archive(_) => 0,
            Reading::Closing(_) | Reading::Over => return,
        };
        lock(&self.store).free(self.stream, now, false);
        self.reading = Reading::Closing(late_words);
    }
}

impl Drop for Session {
    /// A connection that broke.
    fn drop(&mut self) {
        self.end(&Step::Reset);
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::serial;
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn at(minutes: i64) -> OffsetDateTime {
        NOON + Duration::minutes(minutes)
    }

    /// Everything as it should be.
    const PLAIN: Options = Options {
        keep: Duration::days(30),
        remembered: Duration::HOUR,
        archived_after: Duration::minutes(30),
        is_hour_of_arrival: false,
        is_respelt: false,
        late: 0,
        unsaid: 0,
        archived_late: 0,
        archive_repeats: 0,
        repeats: 0,
        late_words: 1,
        empty: 0,
        has_line_feeds: false,
        linger: Duration::seconds(20),
        lingers: 100,
        idle: None,
    };

    fn pod(options: Options, events: usize) -> Pod {
        let pod = Pod::new(options, Rng::new(1));
        pod.with(StreamType::Message, |log| log.fill((at(0), at(60)), events));
        pod
    }

    fn ask(pod: &Pod, query: &[(&str, &str)], now: OffsetDateTime) -> Result<Box<dyn Stream>, u16> {
        let query = query
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        let request = Request {
            method: "GET".into(),
            path: "/v1/stream".into(),
            query: query.collect(),
            headers: vec![("authorization".into(), "Bearer x".into())],
        };
        match pod.clone().answer(&request, now) {
            Reply::Stream(stream) => Ok(stream),
            Reply::Http(answer) => Err(answer.status),
        }
    }

    const LIVE: [(&str, &str); 2] = [("cid", "corp_hosted"), ("type", "message")];
    const ARCHIVE: [(&str, &str); 4] = [
        LIVE[0],
        LIVE[1],
        ("sinceTime", "2026-11-24T12:10:00-0000"),
        ("toTime", "2026-11-24T12:50:00-0000"),
    ];

    /// The serials that come until something else does, and that.
    fn read(stream: &mut dyn Stream, now: OffsetDateTime) -> (Vec<u64>, Step) {
        let mut serials = Vec::new();
        loop {
            match stream.step(now) {
                Step::Message(message) => serials.extend(serial(&message)),
                step => return (serials, step),
            }
        }
    }

    #[test]
    fn the_live_stream_goes_on_where_it_was_left() {
        let pod = pod(PLAIN, 30);
        let mut first = ask(&pod, &LIVE, at(30)).unwrap();
        let (said, step) = read(first.as_mut(), at(30));
        assert!(matches!(step, Step::Wait(wait) if wait < Wait::from_secs(1800)));
        assert_eq!(ask(&pod, &LIVE, at(40)).err(), Some(409));
        // an event that comes between the client's close frame and the server's
        first.closed(at(60));
        let (late, step) = read(first.as_mut(), at(60));
        assert_eq!((late.len(), step), (1, Step::Close(1000, "")));
        assert_eq!(ask(&pod, &LIVE, at(60)).err(), Some(409));
        let mut second = ask(&pod, &LIVE, at(61)).unwrap();
        let (rest, _) = read(second.as_mut(), at(70));
        assert_eq!(said.len() + late.len() + rest.len(), 30);
        assert_eq!(pod.sessions(), (2, 2));
    }

    #[test]
    fn the_archive_has_whole_hours_and_ends() {
        let pod = pod(PLAIN, 30);
        let mut early = ask(&pod, &ARCHIVE, at(89)).unwrap();
        assert_eq!(
            read(early.as_mut(), at(89)),
            (vec![], Step::Close(1000, ""))
        );
        let mut stream = ask(&pod, &ARCHIVE, at(90)).unwrap();
        let (serials, step) = read(stream.as_mut(), at(90));
        assert_eq!((serials.len(), step), (30, Step::Close(1000, "")));
        assert!(!serials.is_sorted());
        // its session was ended in good order
        assert!(ask(&pod, &LIVE, at(90)).is_ok());
    }

    #[test]
    fn a_session_that_broke_is_held_for_a_while() {
        let pod = pod(PLAIN, 0);
        drop(ask(&pod, &LIVE, at(0)).unwrap());
        assert_eq!(ask(&pod, &LIVE, at(0)).err(), Some(409));
        assert!(ask(&pod, &LIVE, at(1)).is_ok());
    }

    #[test]
    fn what_goes_wrong_does_so_after_so_many_messages() {
        let pod = pod(PLAIN, 30);
        pod.trouble(0, Trouble::After(7, Step::Reset));
        pod.trouble(1, Trouble::After(99, Step::End));
        pod.trouble(2, Trouble::Part(50));
        let mut sessions = [100, 200, 300].map(|minutes| {
            let mut stream = ask(&pod, &ARCHIVE, at(minutes)).unwrap();
            read(stream.as_mut(), at(minutes))
        });
        assert_eq!((sessions[0].0.len(), &sessions[0].1), (7, &Step::Reset));
        assert_eq!((sessions[1].0.len(), &sessions[1].1), (30, &Step::End));
        let (part, step) = &mut sessions[2];
        assert!((5..25).contains(&part.len()), "{part:?}");
        assert_eq!(*step, Step::Close(1000, ""));
    }

    #[test]
    fn a_silent_stream_ends_where_the_server_does_not_keep_it() {
        let idle = Some(Duration::minutes(5));
        let pod = pod(Options { idle, ..PLAIN }, 0);
        let mut stream = ask(&pod, &LIVE, at(0)).unwrap();
        assert_eq!(stream.step(at(1)), Step::Wait(Wait::from_secs(240)));
        assert_eq!(stream.step(at(5)), Step::End);
    }

    #[test]
    fn a_request_that_is_not_accepted_says_why() {
        let pod = pod(PLAIN, 0);
        for (query, status) in [
            (&LIVE[..1], 400),
            (&[LIVE[0], ("type", "sendmail")], 400),
            (
                &[LIVE[0], LIVE[1], ("toTime", "2026-11-24T12:50:00-0000")],
                400,
            ),
            (
                &[LIVE[0], LIVE[1], ("sinceTime", "2026-10-25T11:00:00-0000")],
                400,
            ),
        ] {
            assert_eq!(ask(&pod, query, at(0)).err(), Some(status), "{query:?}");
        }
    }
}
