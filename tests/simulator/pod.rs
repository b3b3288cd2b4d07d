//! The PoD log stream as the reference says that it behaves: one session for each token and type, a
//! live stream that goes on where it was left and never says anything twice, an archive by whole
//! hours that comes late, in disorder and with repeats.

mod sample;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration as Wait, Instant};

use rustls::ServerConfig;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::certs::{Certs, Pair, server_config};
use super::fake_api::http_date;
use super::http::{Asked as Request, Wire};
use super::listen::{Listening, loopback};
use super::rng::Rng;
use super::sample::serial_of;
pub use sample::pod_event;
use wire::{Frames, From};

/// The one token.
pub const TOKEN: &str = "pod-token-0f3c9a27d15e";
/// The cluster to which it belongs.
pub const CLUSTER: &str = "examplecorp_hosted";
/// The types.
pub const STREAMS: [&str; 3] = ["message", "maillog", "audit"];

/// An hour is in the archive so long after its end.
const BEHIND: Duration = Duration::minutes(30);
/// The live stream remembers so much.
const REMEMBERED: Duration = Duration::hours(1);
const KEPT: Duration = Duration::days(30);
const HOUR: i64 = 3600;
/// About so many bytes are written at once.
const PIECE: usize = 64 * 1024;

/// A log stream on the loopback, until dropped.
pub struct Pod {
    shared: Arc<Shared>,
    _listening: Listening,
    url: String,
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `message`, for example.
    pub stream: String,
    /// The whole hours, if it was the archive.
    pub hours: Option<(OffsetDateTime, OffsetDateTime)>,
    /// As it stood in the request line.
    pub target: String,
    /// What it was answered.
    pub status: u16,
}

/// What goes wrong with a session.
#[derive(Debug, Clone)]
pub enum StreamFault {
    /// Another answer than 101.
    Status(u16, &'static str),
    /// 503 with this `Retry-After`.
    Later(&'static str),
    /// It ends after so many frames with events.
    After(usize, Ends),
    /// The archive has so many of a hundred events, and says that it is all.
    Part(usize),
    /// These bytes come first, behind the handshake.
    First(Vec<u8>),
    /// Pings of the client are not answered.
    NoPongs,
    /// Pings, more often than once a second, and nothing else.
    Pings,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// The connection is reset; what was on its way is gone.
    Reset,
    /// It ends in good order, but in the middle of a frame.
    InAFrame,
    /// It ends in good order behind a whole frame, but without a close frame.
    EndOfFile,
    /// A close frame of this code.
    Code(u16),
    /// The same with a reason.
    Reason(u16, &'static str),
    /// Not at all: the connection stays, but nothing comes by it any more, whatever the client says; what was
    /// on its way is gone.
    Silent,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    store: Mutex<Store>,
    script: Mutex<Option<Box<Script>>>,
}

type Script = dyn FnMut(&Asked, usize) -> Option<StreamFault> + Send;
type Text = Arc<[u8]>;

struct Store {
    /// The server's time, and when it was set.
    clock: (OffsetDateTime, Instant),
    /// How far what it tells in `Date` is ahead of that.
    date_offset: Duration,
    streams: HashMap<String, Log>,
    /// By stream: sessions that are open, or until when a dead one counts.
    sessions: HashMap<String, Held>,
    linger: Wait,
    /// Events that are still sent after the client's close frame.
    late_words: usize,
    plain: bool,
    asked: Vec<Asked>,
    /// When a client has pinged.
    pings: Vec<Instant>,
}

#[derive(Default)]
struct Log {
    live: Vec<(OffsetDateTime, Text)>,
    /// What the live stream says next.
    next: usize,
    /// By hours since 1970.
    archive: BTreeMap<i64, Vec<Text>>,
}

enum Held {
    Open,
    Until(Instant),
}

impl Pod {
    /// Over plain WebSocket, on 127.0.0.1.
    pub fn start() -> Self {
        Self::on(loopback(false))
    }

    /// Over plain WebSocket, on this socket.
    pub fn on(listener: TcpListener) -> Self {
        let url = format!("ws://{}", listener.local_addr().unwrap());
        Self::serve(listener, url, None)
    }

    /// Over TLS, as `localhost`, with the usual server certificate.
    pub fn start_tls(certs: &Certs) -> Self {
        let pair = Pair {
            cert: certs.server_cert(),
            key: certs.server_key(),
        };
        Self::on_tls(loopback(false), "localhost", &pair)
    }

    /// Over TLS, as this host, on this socket.
    pub fn on_tls(listener: TcpListener, host: &str, pair: &Pair) -> Self {
        let port = listener.local_addr().unwrap().port();
        let config = server_config(pair, None, rustls::ALL_VERSIONS);
        let url = format!("wss://{host}:{port}");
        Self::serve(listener, url, Some(Arc::new(config)))
    }

    fn serve(listener: TcpListener, url: String, tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(Shared {
            tls,
            store: Mutex::new(Store {
                clock: (OffsetDateTime::now_utc(), Instant::now()),
                date_offset: Duration::ZERO,
                streams: HashMap::new(),
                sessions: HashMap::new(),
                linger: Wait::ZERO,
                late_words: 0,
                plain: false,
                asked: Vec::new(),
                pings: Vec::new(),
            }),
            script: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::on(listener, move |tcp| {
            let shared = Arc::clone(&serving);
            // an error of the wire ends it
            thread::spawn(move || shared.converse(tcp));
        });
        Self {
            shared,
            _listening: listening,
            url,
        }
    }

    /// The base URL.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The server's time.
    pub fn now(&self) -> OffsetDateTime {
        self.store().now()
    }

    /// Sets the server's clock, which runs on from there.
    pub fn set_now(&self, now: OffsetDateTime) {
        self.store().clock = (now, Instant::now());
    }

    /// Sets how far the time in its answers is ahead of its clock.
    pub fn set_date_offset(&self, offset: Duration) {
        self.store().date_offset = offset;
    }

    /// How long a session that was not ended by a close frame blocks its token.
    pub fn set_linger(&self, linger: Wait) {
        self.store().linger = linger;
    }

    /// How many events still come between the client's close frame and the server's.
    pub fn set_late_words(&self, events: usize) {
        self.store().late_words = events;
    }

    /// Frames all alike, for masses of them: text, whole, nothing else among them.
    pub fn set_plain(&self) {
        self.store().plain = true;
    }

    /// Something happens: the live stream says it, and later the archive has it.
    pub fn happen(&self, stream: &str, time: OffsetDateTime, text: impl Into<Vec<u8>>) {
        let text: Text = text.into().into();
        let mut store = self.store();
        let now = store.now();
        let log = store.streams.entry(stream.to_owned()).or_default();
        log.live.push((now, Arc::clone(&text)));
        log.archive.entry(hour(time)).or_default().push(text);
    }

    /// The live stream says these, and the archive does not have them.
    pub fn say<T: Into<Vec<u8>>>(&self, stream: &str, texts: impl IntoIterator<Item = T>) {
        let mut store = self.store();
        let now = store.now();
        let log = store.streams.entry(stream.to_owned()).or_default();
        let texts = texts.into_iter().map(|text| (now, text.into().into()));
        log.live.extend(texts);
    }

    /// Something happened before: the archive alone has it.
    pub fn archive(&self, stream: &str, time: OffsetDateTime, text: impl Into<Vec<u8>>) {
        let mut store = self.store();
        let log = store.streams.entry(stream.to_owned()).or_default();
        let hour = log.archive.entry(hour(time)).or_default();
        hour.push(text.into().into());
    }

    /// Fills the archive of a stream, evenly, with so many events an hour from `from` up to `to`;
    /// serial numbers from `first` on. Returns the next one.
    pub fn fill(
        &self,
        stream: &str,
        (from, to): (OffsetDateTime, OffsetDateTime),
        per_hour: u64,
        first: u64,
    ) -> u64 {
        let count = (to - from).whole_hours() as u64 * per_hour;
        for number in 0..count {
            let time = from + Duration::HOUR * (number as f64 / per_hour as f64);
            let serial = first + number;
            self.archive(
                stream,
                time,
                pod_event(stream, &mut Rng::new(serial), time, serial),
            );
        }
        first + count
    }

    /// Every serial number of a stream, and how many different events have it.
    pub fn serials(&self, stream: &str) -> BTreeMap<u64, usize> {
        let store = self.store();
        let mut counts = BTreeMap::new();
        let log = store.streams.get(stream);
        for text in log.iter().flat_map(|log| log.archive.values()).flatten() {
            let serial = serial_of(text).expect("events have one");
            *counts.entry(serial).or_default() += 1;
        }
        counts
    }

    /// How many events the live stream has said.
    pub fn said(&self, stream: &str) -> usize {
        self.store().streams.get(stream).map_or(0, |log| log.next)
    }

    /// Whether a session of this stream is open, or still counts.
    pub fn is_held(&self, stream: &str) -> bool {
        let mut store = self.store();
        !store.is_free(stream)
    }

    /// Another collector has the session.
    pub fn hold(&self, stream: &str) {
        self.store().sessions.insert(stream.to_owned(), Held::Open);
    }

    /// And leaves.
    pub fn release(&self, stream: &str) {
        self.store().sessions.remove(stream);
    }

    /// Every question, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.store().asked.clone()
    }

    /// When live streams were pinged by their clients.
    pub fn pings(&self) -> Vec<Instant> {
        self.store().pings.clone()
    }

    /// The script says of every question, with its number, what goes wrong.
    pub fn script(
        &self,
        script: impl FnMut(&Asked, usize) -> Option<StreamFault> + Send + 'static,
    ) {
        *lock(&self.shared.script) = Some(Box::new(script));
    }

    /// Nothing goes wrong.
    pub fn no_script(&self) {
        *lock(&self.shared.script) = None;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }
}

fn hour(time: OffsetDateTime) -> i64 {
    time.unix_timestamp().div_euclid(HOUR)
}

/// A test that failed while it held a lock shall not hide behind a second panic.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    fn now(&self) -> OffsetDateTime {
        self.clock.0 + Duration::try_from(self.clock.1.elapsed()).expect("a short time")
    }

    fn is_free(&mut self, stream: &str) -> bool {
        match self.sessions.get(stream) {
            Some(Held::Open) => false,
            Some(Held::Until(time)) => Instant::now() >= *time,
            None => true,
        }
    }

    /// The answer to a question, as status and body.
    fn judge(&mut self, request: &Request, asked: &mut Asked) -> (u16, &'static str) {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        if path != "/v1/stream" {
            return (404, "Not Found");
        }
        if request.method != "GET" {
            return (405, "Method Not Allowed");
        }
        let param = |name: &str| {
            let pair = query.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then_some(value)
            });
            pair.map(decoded).filter(|value| !value.is_empty())
        };
        let token = format!("Bearer {TOKEN}");
        let (Some(cluster), Some(stream)) = (param("cid"), param("type")) else {
            return (400, "cid and type are required");
        };
        if request.header("authorization") != Some(&token) || cluster != CLUSTER {
            return (401, "Unauthorized");
        }
        if !STREAMS.contains(&stream.as_str()) {
            return (400, "unknown type");
        }
        let (since, to) = (param("sinceTime"), param("toTime"));
        let times = (since.as_deref().map(parse), to.as_deref().map(parse));
        asked.stream.clone_from(&stream);
        asked.hours = match times {
            (None, None) => None,
            (Some(Some(since)), Some(Some(to))) if since < to => Some(whole_hours(since, to)),
            (Some(Some(since)), None) => Some(whole_hours(since, self.now())),
            _ => return (400, "bad sinceTime or toTime"),
        };
        if asked
            .hours
            .is_some_and(|(since, _)| since < self.now() - KEPT)
        {
            return (400, "sinceTime is too far in the past");
        }
        if !self.is_free(&stream) {
            return (409, "Exceeded maximum number of sessions per token\r\n");
        }
        (101, "")
    }

    /// What the archive has of these hours by now.
    fn archived(&self, asked: &Asked, part: usize) -> Vec<Text> {
        let (Some((since, to)), Some(log)) = (asked.hours, self.streams.get(&asked.stream)) else {
            return Vec::new();
        };
        let visible = hour(self.now() - BEHIND);
        let hours = hour(since)..hour(to).min(visible).max(hour(since));
        let mut texts: Vec<Text> = log
            .archive
            .range(hours)
            .flat_map(|(_, texts)| texts.clone())
            .collect();
        let rng = &mut Rng::new(texts.len() as u64);
        texts.truncate(texts.len() * part / 100);
        if !self.plain && !texts.is_empty() {
            for _ in 0..texts.len() / 8 {
                let again = Arc::clone(rng.pick(&texts));
                texts.push(again);
            }
            rng.shuffle(&mut texts);
        }
        texts
    }

    /// What the live stream says next, at most so many events, about a piece.
    fn next_words(&mut self, stream: &str, most: usize) -> Vec<Text> {
        let oldest = self.now() - REMEMBERED;
        let Some(log) = self.streams.get_mut(stream) else {
            return Vec::new();
        };
        let (mut words, mut bytes) = (Vec::new(), 0);
        while words.len() < most && bytes < PIECE {
            let Some((time, text)) = log.live.get(log.next) else {
                break;
            };
            log.next += 1;
            if *time >= oldest {
                bytes += text.len();
                words.push(Arc::clone(text));
            }
        }
        words
    }
}

/// Since is rounded down, to is rounded up.
fn whole_hours(since: OffsetDateTime, to: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
    let at = |hours: i64| OffsetDateTime::from_unix_timestamp(hours * HOUR).expect("a time");
    (
        at(hour(since)),
        at(-(-to.unix_timestamp()).div_euclid(HOUR)),
    )
}

/// With an offset that has no colon, as the document says, and as others write it.
fn parse(text: &str) -> Option<OffsetDateTime> {
    let text = text.replace(' ', "+");
    let colon = match text.len().checked_sub(5).map(|at| text.split_at(at)) {
        Some((time, offset)) if offset.starts_with(['+', '-']) && time.contains('T') => {
            format!("{time}{}:{}", &offset[..3], &offset[3..])
        }
        _ => text,
    };
    OffsetDateTime::parse(&colon, &Rfc3339).ok()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let code: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&code, 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Shared {
    fn converse(&self, tcp: TcpStream) -> io::Result<()> {
        let mut wire = BufReader::new(Wire::new(tcp, self.tls.clone())?);
        let Some(request) = Request::read(&mut wire)? else {
            return Ok(());
        };
        let mut wire = wire.into_inner();
        let mut asked = Asked {
            stream: String::new(),
            hours: None,
            target: request.target.clone(),
            status: 0,
        };
        let (status, body, number) = {
            let mut store = lock(&self.store);
            let (status, body) = store.judge(&request, &mut asked);
            (status, body, store.asked.len())
        };
        let trouble = lock(&self.script)
            .as_mut()
            .and_then(|script| script(&asked, number));
        let (status, body) = match (&trouble, status) {
            (Some(StreamFault::Status(status, body)), _) => (*status, *body),
            (Some(StreamFault::Later(_)), _) => (503, "later"),
            // of two that came at once, one is too late
            (_, 101) if !self.take_session(&asked.stream) => {
                (409, "Exceeded maximum number of sessions per token\r\n")
            }
            _ => (status, body),
        };
        asked.status = status;
        let date = {
            let mut store = lock(&self.store);
            store.asked.push(asked.clone());
            http_date(store.now() + store.date_offset)
        };
        let later = match &trouble {
            Some(StreamFault::Later(wait)) => format!("Retry-After: {wait}\r\n"),
            _ => String::new(),
        };
        if status != 101 {
            write!(
                wire,
                "HTTP/1.1 {status} No\r\nDate: {date}\r\n{later}Content-Type: text/plain;charset=iso-8859-1\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )?;
            // in a packet of its own, as servers do
            wire.flush()?;
            wire.write_all(body.as_bytes())?;
            wire.flush()?;
            return wire.end();
        }
        let shaken = wire::shake_hands(&mut wire, &request, &date);
        let talked = shaken.and_then(|()| self.talk(wire, &asked, trouble));
        match talked {
            // the next one may be there already
            Ok(Over::Told) => {}
            Ok(Over::InGoodOrder) => self.free_session(&asked.stream, true),
            Ok(Over::Cut) | Err(_) => self.free_session(&asked.stream, false),
        }
        talked.map(drop)
    }

    fn free_session(&self, stream: &str, in_good_order: bool) {
        let mut store = lock(&self.store);
        let linger = match in_good_order {
            true => Wait::ZERO,
            false => store.linger,
        };
        let held = Held::Until(Instant::now() + linger);
        store.sessions.insert(stream.to_owned(), held);
    }

    fn take_session(&self, stream: &str) -> bool {
        let mut store = lock(&self.store);
        let free = store.is_free(stream);
        if free {
            store.sessions.insert(stream.to_owned(), Held::Open);
        }
        free
    }

    fn talk(&self, wire: Wire, asked: &Asked, trouble: Option<StreamFault>) -> io::Result<Over> {
        let (mut part, mut end) = (100, None);
        let mut frames = Frames::new(wire, lock(&self.store).plain)?;
        match trouble {
            Some(StreamFault::Part(percent)) => part = percent,
            Some(StreamFault::After(count, how)) => end = Some((count, how)),
            Some(StreamFault::First(bytes)) => frames.raw(&bytes)?,
            Some(StreamFault::NoPongs) => frames.answer_no_pings(),
            Some(StreamFault::Pings) => return frames.ping_on().map(|()| Over::Cut),
            Some(StreamFault::Status(..) | StreamFault::Later(_)) | None => {}
        }
        match asked.hours {
            Some(_) => {
                let texts = lock(&self.store).archived(asked, part);
                let mut rest = texts.as_slice();
                while !rest.is_empty() {
                    let left = end.map_or(usize::MAX, |(count, _)| count);
                    let (piece, later) = rest.split_at(rest.len().min(64).min(left));
                    frames.events(piece)?;
                    rest = later;
                    if let Some((count, how)) = &mut end {
                        *count -= piece.len();
                        if *count == 0 {
                            self.free_session(&asked.stream, false);
                            return Ok(told(cut(frames, *how, rest.first())));
                        }
                    }
                    if let From::Close | From::End = frames.hear(Wait::ZERO)? {
                        return frames.close(1000, "").map(|()| Over::InGoodOrder);
                    }
                }
                // an end that lies behind the last event comes instead of the good one
                self.free_session(&asked.stream, end.is_none());
                Ok(told(match end {
                    Some((_, how)) => cut(frames, how, None).map(drop),
                    None => frames.close(1000, ""),
                }))
            }
            None => self.live(frames, &asked.stream, end),
        }
    }

    fn live(
        &self,
        mut frames: Frames,
        stream: &str,
        mut end: Option<(usize, Ends)>,
    ) -> io::Result<Over> {
        let mut idle = Wait::ZERO;
        loop {
            match frames.hear(idle)? {
                From::Nothing => {}
                From::Ping => lock(&self.store).pings.push(Instant::now()),
                From::End => return Ok(Over::Cut),
                From::Close => {
                    let most = lock(&self.store).late_words;
                    let words = match most {
                        0 => Vec::new(),
                        most => lock(&self.store).next_words(stream, most),
                    };
                    frames.events(&words)?;
                    return frames.close(1000, "").map(|()| Over::InGoodOrder);
                }
            }
            let most = end.map_or(usize::MAX, |(count, _)| count);
            let words = lock(&self.store).next_words(stream, most);
            idle = Wait::from_millis(if words.is_empty() { 10 } else { 0 });
            frames.events(&words)?;
            if let Some((count, how)) = &mut end {
                *count -= words.len();
                if *count == 0 {
                    let next = match how {
                        Ends::InAFrame => lock(&self.store).next_words(stream, 1),
                        Ends::Silent => lock(&self.store).next_words(stream, usize::MAX),
                        Ends::Reset | Ends::EndOfFile | Ends::Code(_) | Ends::Reason(..) => {
                            Vec::new()
                        }
                    };
                    return cut(frames, *how, next.first());
                }
            }
        }
    }
}

/// How it was over.
#[derive(Debug, Clone, Copy)]
enum Over {
    InGoodOrder,
    Cut,
    /// Either, and its session was free before the client learned of it.
    Told,
}

/// Whatever came of the end, the session is free.
fn told<T>(_: io::Result<T>) -> Over {
    Over::Told
}

fn cut(frames: Frames, how: Ends, next: Option<&Text>) -> io::Result<Over> {
    match how {
        Ends::Reset => frames.reset()?,
        Ends::InAFrame => frames.break_off(next.map_or(b"{}", |text| text))?,
        Ends::EndOfFile => frames.end()?,
        Ends::Code(code) => frames.close(code, "")?,
        Ends::Reason(code, reason) => frames.close(code, reason)?,
        Ends::Silent => frames.be_silent()?,
    }
    Ok(Over::Cut)
}
