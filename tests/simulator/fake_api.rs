//! What the simulated APIs share: what was asked, how answers are spelt, and what goes wrong.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::{Compression, write::GzEncoder};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::http::{Answer, Asked, Content, Fault, Framing};
use super::rng::Rng;
use super::sample::{Body, members};

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
    /// How its `Content-Encoding` is spelt then.
    pub encoding: &'static str,
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
            encoding: "gzip",
            pretty: false,
            framing: Framing::Chunked,
            content_type: "application/json;charset=UTF-8",
            array_first: false,
            extra_keys: false,
            shuffle_keys: false,
        }
    }
}

/// An API behind its socket: a store that answers, a script of faults, a list of what was asked.
pub struct FakeApi<S> {
    store: Mutex<S>,
    /// Apart, so that a script may take its time.
    script: Mutex<Option<(Box<Script>, usize)>>,
    requests: Mutex<Vec<Request>>,
}

/// What goes wrong with a request, by its number.
pub type Script = dyn FnMut(&Request, usize) -> Option<Fault> + Send;

/// What an API knows, and how it answers.
pub trait Store {
    /// By its clock.
    fn now(&self) -> OffsetDateTime;
    /// How answers are spelt.
    fn style(&self) -> Style;
    /// The body of the right answer, or a refusal.
    fn right_answer(&mut self, asked: &Asked, request: &Request) -> Result<Content, Refused>;
}

/// A refusal: its status and text.
pub type Refused = (u16, String);

/// Says no.
pub fn refuse<T>(status: u16, text: &str) -> Result<T, Refused> {
    Err((status, text.to_owned()))
}

impl<S: Store> FakeApi<S> {
    pub fn new(store: S) -> Self {
        Self {
            store: Mutex::new(store),
            script: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    pub fn store(&self) -> MutexGuard<'_, S> {
        lock(&self.store)
    }

    /// Everything asked since the start, or since it was forgotten.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    pub fn forget_requests(&self) {
        lock(&self.requests).clear();
    }

    pub fn set_script(&self, script: Option<Box<Script>>) {
        *lock(&self.script) = script.map(|script| (script, 0));
    }

    /// The answer to a request, or what goes wrong with it.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let (mut request, mut answer) = answer(&mut *self.store(), asked);
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
        lock(&self.requests).push(request);
        answer
    }
}

fn answer(store: &mut impl Store, asked: &Asked) -> (Request, Answer) {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let mut request = Request {
        path: path.to_owned(),
        query: pairs(query),
        headers: asked.headers.clone(),
        status: 200,
        at: store.now(),
    };
    let style = store.style();
    let mut headers = vec![("Date".to_owned(), http_date(request.at))];
    let body = match store.right_answer(asked, &request) {
        Ok(body) => {
            headers.push(("Content-Type".into(), style.content_type.into()));
            let accepted = asked.header("accept-encoding").unwrap_or("");
            if style.gzip && accepted.contains("gzip") {
                headers.push(("Content-Encoding".into(), style.encoding.into()));
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
    let framing = match request.status {
        200 => style.framing,
        _ => Framing::Length,
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

impl Style {
    /// Events between the head and the tail of an answer.
    pub fn spell(self, rng: &mut Rng, head: &str, tail: &str, events: &[Body]) -> Vec<u8> {
        let mut text = head.as_bytes().to_vec();
        let mut event = Vec::new();
        for (number, body) in events.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            event.clear();
            body.write(rng, &mut event);
            if self.shuffle_keys {
                let mut keys: Vec<_> = members(&event)
                    .into_iter()
                    .map(|(from, to)| event[from..to].to_vec())
                    .collect();
                rng.shuffle(&mut keys);
                event = [b"{", keys.join(&b","[..]).as_slice(), b"}"].concat();
            }
            text.extend_from_slice(&event);
        }
        text.extend_from_slice(tail.as_bytes());
        if self.pretty { indented(&text) } else { text }
    }
}

/// A test that failed while it held a lock shall not hide behind a second panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn gzipped(body: Content) -> Content {
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

pub fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

/// As servers read a query: `+` is a blank.
pub fn decoded(text: &str) -> String {
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
pub fn instant(text: &str) -> Option<OffsetDateTime> {
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

pub fn http_date(time: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time.to_offset(UtcOffset::UTC)
        .format(&format)
        .expect("a time with a date")
}
