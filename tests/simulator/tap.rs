//! The SIEM API of Proofpoint TAP (reference/proofpoint-apis.md, part 1), with a store of events, a
//! clock and quotas of its own. What was asked is recorded, and any answer can go wrong.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::certs::{Certs, Pair, server_config};
use super::http::{Answer, Asked, Content, Fault, Framing, Server};
use super::listen::loopback;
use super::rng::Rng;
use super::sample::{ARRAYS, Body, Event, members, message, serial_of};

/// The service principal that may ask.
pub const PRINCIPAL: &str = "11111111-2222-3333-4444-555555555555";
/// Its secret.
pub const SECRET: &str = "tap-secret-6f1d2c";

/// TAP on a port of the loopback, until dropped.
pub struct Tap {
    state: Arc<State>,
    server: Server,
    url: String,
}

/// What was asked, and how it was answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// `/v2/siem/messages/blocked`, for example.
    pub path: String,
    /// Decoded, in order, repeated keys too.
    pub query: Vec<(String, String)>,
    /// Names as they came.
    pub headers: Vec<(String, String)>,
    /// Of the answer; 0 when a fault left none. In a script: that of the right answer.
    pub status: u16,
    /// By the server's clock.
    pub at: OffsetDateTime,
}

impl Request {
    /// The first value of a key of the query.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Start and end of the interval that was asked for, where it can be read.
    pub fn interval(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        let (start, end) = self.param("interval")?.split_once('/')?;
        Some((instant(start)?, instant(end)?))
    }
}

/// How answers are spelt. The events in them are always in another order.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Compressed, where the request accepts it.
    pub gzip: bool,
    /// With line breaks and indentation, the events too.
    pub pretty: bool,
    /// How an answer ends.
    pub framing: Framing,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// The array before `queryEndTime`.
    pub array_first: bool,
    /// Unknown keys with nested values before and after the others.
    pub extra_keys: bool,
    /// The keys of each event in another order each time.
    pub shuffle_keys: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            gzip: true,
            pretty: false,
            framing: Framing::Chunked,
            content_type: "application/json;charset=UTF-8",
            array_first: false,
            extra_keys: false,
            shuffle_keys: false,
        }
    }
}

impl Tap {
    /// Over plain HTTP, on 127.0.0.1.
    pub fn start() -> Self {
        let listener = loopback(false);
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(listener, url, None)
    }

    /// Over plain HTTP, on `::1`.
    pub fn start_ipv6() -> Self {
        let listener = loopback(true);
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(listener, url, None)
    }

    /// Over TLS, as `localhost`, on 127.0.0.1, with the usual server certificate.
    pub fn start_tls(certs: &Certs) -> Self {
        Self::start_tls_with(&Pair {
            cert: certs.server_cert(),
            key: certs.server_key(),
        })
    }

    /// Over TLS, with any server certificate.
    pub fn start_tls_with(pair: &Pair) -> Self {
        let listener = loopback(false);
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        Self::serve(listener, url, Some(pair))
    }

    fn serve(listener: TcpListener, url: String, pair: Option<&Pair>) -> Self {
        let tls = pair.map(|pair| Arc::new(server_config(pair, None, rustls::ALL_VERSIONS)));
        let state = Arc::new(State {
            store: Mutex::default(),
            script: Mutex::default(),
        });
        let answering = Arc::clone(&state);
        let server = Server::start(listener, tls, move |asked| answering.answer(asked));
        Self { state, server, url }
    }

    /// The base URL.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// `127.0.0.1:PORT` or `[::1]:PORT`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// The server's time: the real one and the offset.
    pub fn now(&self) -> OffsetDateTime {
        self.store().now()
    }

    /// Sets the server's clock ahead of the real one, or behind it.
    pub fn set_clock_offset(&self, offset: Duration) {
        self.store().clock_offset = offset;
    }

    /// How far back one may ask; 7 days.
    pub fn set_keep(&self, keep: Duration) {
        self.store().keep = keep;
    }

    /// Requests in 24 hours for clicks/permitted, and for the other three together; 1800 each.
    pub fn set_quota(&self, clicks_permitted: usize, others: usize) {
        self.store().quota = [clicks_permitted, others];
    }

    /// Whether a window holds the events at its very end; it does not.
    pub fn set_end_inclusive(&self, inclusive: bool) {
        self.store().end_inclusive = inclusive;
    }

    /// How answers are spelt.
    pub fn set_style(&self, style: Style) {
        self.store().style = style;
    }

    /// From now on every answer holds so many events of about so many bytes instead of those in the
    /// store, made as they are sent. The same interval asked again gives the same ones.
    pub fn set_flood(&self, events_per_answer: u64, event_size: usize) {
        self.store().flood = Some((events_per_answer, event_size));
    }

    /// How many different events the flood has made.
    pub fn flooded(&self) -> u64 {
        self.store()
            .flooded
            .values()
            .map(|&(_, events)| events)
            .sum()
    }

    /// Adds an event of the service whose array is called so, as `messagesBlocked`.
    pub fn add(&self, array: &str, event: Event) {
        let known = ARRAYS
            .iter()
            .find(|name| **name == array)
            .expect("the name of an array");
        self.store().events.entry(known).or_default().push(event);
    }

    /// Adds the events of a scenario.
    pub fn add_all(&self, events: impl IntoIterator<Item = (&'static str, Event)>) {
        for (array, event) in events {
            self.add(array, event);
        }
    }

    /// Shows the late events from now on.
    pub fn release_late(&self) {
        self.store().late_released = true;
    }

    /// How often each serial number is in the store under an array, shown or not.
    pub fn serials(&self, array: &str) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for event in self.store().events.get(array).into_iter().flatten() {
            if let Some(serial) = serial_of(event.body.text()) {
                *counts.entry(serial).or_default() += 1;
            }
        }
        counts
    }

    /// Everything asked since the start, or since it was forgotten.
    pub fn requests(&self) -> Vec<Request> {
        self.store().requests.clone()
    }

    /// Forgets what was asked, but not for the quota.
    pub fn forget_requests(&self) {
        self.store().requests.clear();
    }

    /// Asked for every request, with its number since this script was set: what goes wrong.
    pub fn script(&self, script: impl FnMut(&Request, usize) -> Option<Fault> + Send + 'static) {
        *lock(&self.state.script) = Some((Box::new(script), 0));
    }

    /// From now on all goes well.
    pub fn no_script(&self) {
        *lock(&self.state.script) = None;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.state.store)
    }
}

struct State {
    store: Mutex<Store>,
    /// Apart, so that a script may take its time.
    script: Mutex<Option<(Box<Script>, usize)>>,
}

type Script = dyn FnMut(&Request, usize) -> Option<Fault> + Send;

struct Store {
    rng: Rng,
    clock_offset: Duration,
    keep: Duration,
    quota: [usize; 2],
    spent: [VecDeque<OffsetDateTime>; 2],
    end_inclusive: bool,
    style: Style,
    events: HashMap<&'static str, Vec<Event>>,
    late_released: bool,
    flood: Option<(u64, usize)>,
    /// For a path and an interval: the first serial number, and how many.
    flooded: HashMap<(String, String), (u64, u64)>,
    requests: Vec<Request>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            rng: Rng::new(0x7a9),
            clock_offset: Duration::ZERO,
            keep: Duration::days(7),
            quota: [1800; 2],
            spent: Default::default(),
            end_inclusive: false,
            style: Style::default(),
            events: HashMap::new(),
            late_released: false,
            flood: None,
            flooded: HashMap::new(),
            requests: Vec::new(),
        }
    }
}

/// A test that failed while it held a lock shall not hide behind a second panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&self, asked: &Asked) -> Answer {
        let (mut request, mut answer) = lock(&self.store).answer(asked);
        if let Some((script, number)) = &mut *lock(&self.script) {
            answer.fault = script(&request, *number);
            *number += 1;
        }
        match &answer.fault {
            Some(Fault::Status { code, .. }) => request.status = *code,
            Some(Fault::Body(_)) => request.status = 200,
            Some(Fault::Raw(_) | Fault::Reset | Fault::Close) => request.status = 0,
            _ => {}
        }
        lock(&self.store).requests.push(request);
        answer
    }
}

/// A refusal: its status and text.
type Refused = (u16, String);

impl Store {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.clock_offset
    }

    fn answer(&mut self, asked: &Asked) -> (Request, Answer) {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let mut request = Request {
            path: path.to_owned(),
            query: pairs(query),
            headers: asked.headers.clone(),
            status: 200,
            at: self.now(),
        };
        let mut headers = vec![("Date".to_owned(), http_date(request.at))];
        let body = match self.right_answer(asked, &request) {
            Ok(body) => {
                headers.push(("Content-Type".into(), self.style.content_type.into()));
                let accepted = asked.header("accept-encoding").unwrap_or("");
                if self.style.gzip && accepted.contains("gzip") {
                    headers.push(("Content-Encoding".into(), "gzip".into()));
                    gzipped(body)
                } else {
                    body
                }
            }
            Err((status, text)) => {
                request.status = status;
                if !text.is_empty() {
                    headers.push(("Content-Type".into(), "text/plain".into()));
                }
                Content::Bytes(text.into())
            }
        };
        let framing = if request.status == 200 {
            self.style.framing
        } else {
            Framing::Length
        };
        let answer = Answer {
            status: request.status,
            headers,
            body,
            framing,
            fault: None,
        };
        (request, answer)
    }

    fn right_answer(&mut self, asked: &Asked, request: &Request) -> Result<Content, Refused> {
        let login = BASE64_STANDARD.encode(format!("{PRINCIPAL}:{SECRET}"));
        if asked.header("authorization") != Some(&format!("Basic {login}")) {
            return refuse(401, "Credentials did not pass authentication");
        }
        let array = match request.path.as_str() {
            "/v2/siem/clicks/blocked" => ARRAYS[0],
            "/v2/siem/clicks/permitted" => ARRAYS[1],
            "/v2/siem/messages/blocked" => ARRAYS[2],
            "/v2/siem/messages/delivered" => ARRAYS[3],
            other => return refuse(404, &format!("There is nothing at {other}")),
        };
        if asked.method != "GET" {
            return refuse(405, "Only GET is allowed");
        }
        let pool = usize::from(array != "clicksPermitted");
        let a_day_ago = request.at - Duration::DAY;
        self.spent[pool].retain(|&at| at > a_day_ago);
        if self.spent[pool].len() >= self.quota[pool] {
            return refuse(429, "");
        }
        self.spent[pool].push_back(request.at);

        let (start, end) = self.window(request)?;
        let end_time = end
            .truncate_to_second()
            .format(&Rfc3339)
            .expect("a time with a date");
        if self.flood.is_some() {
            return Ok(self.flood(request, array, &end_time, start));
        }
        let mut shown = self.shown(request, array, start, end);
        self.rng.shuffle(&mut shown);
        Ok(Content::Bytes(self.spell(array, &end_time, &shown)))
    }

    /// The window that was asked for, if everything about the query is as it must be.
    fn window(&self, request: &Request) -> Result<(OffsetDateTime, OffsetDateTime), Refused> {
        if !request
            .param("format")
            .is_some_and(|format| format.eq_ignore_ascii_case("json"))
        {
            return refuse(400, "This simulator serves format=json only");
        }
        let times = ["interval", "sinceSeconds", "sinceTime"];
        let times = request
            .query
            .iter()
            .filter(|(key, _)| times.contains(&key.as_str()));
        let (1, Some((start, end))) = (times.count(), request.interval()) else {
            return refuse(400, "Exactly one interval of start/end is required");
        };
        let keep = self.keep.as_seconds_f64() / Duration::DAY.as_seconds_f64();
        let length = end - start;
        if length.is_negative() {
            refuse(400, "")
        } else if length < Duration::seconds(30) {
            refuse(
                400,
                "The requested interval is too short. Requests must be for at least 30.00s of data",
            )
        } else if length > Duration::HOUR {
            refuse(
                400,
                "The requested interval is too long. Requests may be for up to 1.00h of data",
            )
        } else if start < request.at - self.keep {
            refuse(
                400,
                &format!(
                    "The requested start time is too far into the past. \
                     Requests for information up to {keep:.2}d are accepted"
                ),
            )
        } else if end > request.at {
            refuse(400, "The requested interval is still current.")
        } else {
            Ok((
                start.to_offset(UtcOffset::UTC),
                end.to_offset(UtcOffset::UTC),
            ))
        }
    }

    fn shown(
        &self,
        request: &Request,
        array: &str,
        start: OffsetDateTime,
        end: OffsetDateTime,
    ) -> Vec<Body> {
        let wanted = Wanted::of(request);
        let events = self.events.get(array).into_iter().flatten();
        events
            .filter(|event| {
                let inside = event.created < end || self.end_inclusive && event.created == end;
                (start <= event.created && inside)
                    && (!event.late || self.late_released)
                    && event.visible_from.is_none_or(|from| from <= request.at)
                    && wanted.admits(event.body.text())
            })
            .map(|event| event.body.clone())
            .collect()
    }

    fn spell(&mut self, array: &str, end_time: &str, events: &[Body]) -> Vec<u8> {
        let style = self.style;
        let (head, tail) = frame(style, array, end_time);
        let mut text = head.into_bytes();
        let mut event = Vec::new();
        for (number, body) in events.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            event.clear();
            body.write(&mut self.rng, &mut event);
            if style.shuffle_keys {
                let mut keys: Vec<_> = members(&event)
                    .into_iter()
                    .map(|(from, to)| event[from..to].to_vec())
                    .collect();
                self.rng.shuffle(&mut keys);
                event = [b"{", keys.join(&b","[..]).as_slice(), b"}"].concat();
            }
            text.extend_from_slice(&event);
        }
        text.extend_from_slice(tail.as_bytes());
        if style.pretty { indented(&text) } else { text }
    }

    fn flood(
        &mut self,
        request: &Request,
        array: &'static str,
        end_time: &str,
        start: OffsetDateTime,
    ) -> Content {
        let (events, size) = self.flood.expect("asked for");
        let made: u64 = self.flooded.values().map(|&(_, events)| events).sum();
        let key = (
            request.path.clone(),
            request.param("interval").unwrap_or("").to_owned(),
        );
        let (first, events) = *self.flooded.entry(key).or_insert((made, events));
        let (head, tail) = frame(self.style, array, end_time);
        let mut block = Block::new(start, size);
        Content::Stream(Box::new(move |wire| {
            wire.write_all(head.as_bytes())?;
            let mut next = first;
            while next < first + events {
                let count = block.number(next, (first + events - next) as usize);
                let from = usize::from(next == first);
                wire.write_all(&block.text[from..count * block.stride])?;
                next += count as u64;
            }
            wire.write_all(tail.as_bytes())
        }))
    }
}

fn refuse<T>(status: u16, text: &str) -> Result<T, Refused> {
    Err((status, text.to_owned()))
}

/// What the query wants of an event's threats; empty lists want anything.
struct Wanted {
    types: Vec<String>,
    statuses: Vec<String>,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        let values = |key: &str| {
            let of_key = request.query.iter().filter(|(name, _)| name == key);
            of_key
                .map(|(_, value)| value.to_ascii_lowercase())
                .collect()
        };
        Self {
            types: values("threatType"),
            statuses: values("threatStatus"),
        }
    }

    fn admits(&self, event: &[u8]) -> bool {
        if self.types.is_empty() && self.statuses.is_empty() {
            return true;
        }
        let Ok(event) = serde_json::from_slice::<Value>(event) else {
            return false;
        };
        let fits = |threat: &Value, key: &str, wanted: &[String]| {
            let value = threat
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_ascii_lowercase);
            wanted.is_empty() || value.is_none_or(|value| wanted.contains(&value))
        };
        let threat_fits = |threat: &Value| {
            fits(threat, "threatType", &self.types) && fits(threat, "threatStatus", &self.statuses)
        };
        match event.get("threatsInfoMap").and_then(Value::as_array) {
            Some(threats) => threats.iter().any(threat_fits),
            None => threat_fits(&event),
        }
    }
}

/// What stands before and after the events.
fn frame(style: Style, array: &str, end_time: &str) -> (String, String) {
    let end_time = format!(r#""queryEndTime":"{end_time}""#);
    let (before, after) = match style.array_first {
        true => (String::new(), format!(",{end_time}")),
        false => (format!("{end_time},"), String::new()),
    };
    let (first, last) = match style.extra_keys {
        true => (
            r#""notice":{"lines":["a ] or } in a \"string\"",[],{}],"n":-1.5e3,"none":null},"#,
            r#","page":[{"messagesBlocked":[1,[2]]},true],"took":"4 ms""#,
        ),
        false => ("", ""),
    };
    (
        format!(r#"{{{first}{before}"{array}":["#),
        format!("]{after}{last}}}"),
    )
}

/// Events of a flood: rendered once, then only numbered.
struct Block {
    text: Vec<u8>,
    /// Bytes from one event to the next, with the comma before it.
    stride: usize,
    /// Where the number stands in an event, 12 digits each.
    marks: [usize; 2],
}

impl Block {
    fn new(created: OffsetDateTime, size: usize) -> Self {
        const SERIAL: u64 = 999_999_999_999;
        let recipient = "dana.reyes@examplecorp.example";
        let body = message(&mut Rng::new(1), created, SERIAL, recipient);
        let natural = str::from_utf8(body.text()).expect("a sample is UTF-8");
        let mut text = format!(",{natural}");
        if size > natural.len() {
            let filling = "x".repeat(size - natural.len() + "null".len() - 2);
            text = text.replace(r#""xmailer":null"#, &format!(r#""xmailer":"{filling}""#));
        }
        let id = r#""id":"xxxxxxxx-xxxx-4xxx-9xxx-"#;
        let id = text.find(&id[..6]).expect("a sample has an id") + id.len();
        let serial = text.find(&SERIAL.to_string()).unwrap();
        let stride = text.len();
        let text = text.repeat((256 * 1024 / stride).max(1)).into_bytes();
        Self {
            text,
            stride,
            marks: [id, serial],
        }
    }

    /// Numbers as many events as there are, at most `count`, and says how many.
    fn number(&mut self, first: u64, count: usize) -> usize {
        let count = count.min(self.text.len() / self.stride);
        for (event, serial) in self.text.chunks_mut(self.stride).take(count).zip(first..) {
            let mut digits = [0; 12];
            let mut rest = serial;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            for mark in self.marks {
                event[mark..mark + 12].copy_from_slice(&digits);
            }
        }
        count
    }
}

fn gzipped(body: Content) -> Content {
    match body {
        Content::Bytes(bytes) => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).expect("into memory");
            Content::Bytes(encoder.finish().expect("into memory"))
        }
        Content::Stream(produce) => Content::Stream(Box::new(move |wire| {
            let mut encoder = GzEncoder::new(wire, Compression::fast());
            produce(&mut encoder)?;
            encoder.finish().map(drop)
        })),
    }
}

/// JSON with a line for each member and element; strings and numbers stay as they are.
fn indented(text: &[u8]) -> Vec<u8> {
    let (mut out, mut depth) = (Vec::with_capacity(text.len() * 3 / 2), 0_usize);
    let (mut string, mut escaped) = (false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.extend_from_slice(b"\r\n");
        out.resize(out.len() + 2 * depth, b' ');
    };
    for &byte in text {
        if string {
            out.push(byte);
            string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if matches!(byte, b'}' | b']') {
            depth = depth.saturating_sub(1);
            line(&mut out, depth);
        }
        out.push(byte);
        match byte {
            b'"' => string = true,
            b'{' | b'[' => depth += 1,
            b':' => out.push(b' '),
            _ => {}
        }
        if matches!(byte, b'{' | b'[' | b',') {
            line(&mut out, depth);
        }
    }
    out
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

/// As servers read a query: `+` is a blank.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, more @ ..] = rest {
        let hex = more.get(..2).and_then(|hex| str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &more[2..];
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
        rest = more;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// RFC 3339, and an offset without its colon too.
fn instant(text: &str) -> Option<OffsetDateTime> {
    let text = match text
        .len()
        .checked_sub(5)
        .and_then(|at| text.split_at_checked(at))
    {
        Some((time, offset)) if offset.starts_with(['+', '-']) && !offset.contains(':') => {
            format!("{time}{}:{}", &offset[..3], &offset[3..])
        }
        _ => text.to_owned(),
    };
    OffsetDateTime::parse(&text, &Rfc3339).ok()
}

fn http_date(time: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time.to_offset(UtcOffset::UTC)
        .format(&format)
        .expect("a time with a date")
}
