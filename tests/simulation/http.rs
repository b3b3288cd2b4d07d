//! The HTTP server of a service by model, its log streams, and what goes wrong with its answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use tungstenite::handshake::derive_accept_key;

use super::api::{Answer, Api, Reply, Request};
use super::network::{Outbox, Peer, Sent};
use super::websocket::LogStream;

/// What goes wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Another one.
    Status {
        /// Its status.
        code: u16,
        /// Its `Retry-After`.
        retry_after: Option<String>,
        /// Its body.
        body: &'static str,
    },
    /// The connection ends after so many bytes of the body.
    CutBody(usize),
    /// The same with a reset.
    ResetBody(usize),
    /// A reset, and no answer.
    Reset,
    /// The end, and no answer.
    Close,
    /// Nothing at all.
    Silence,
    /// The right answer, after this time.
    Stall(Duration),
    /// The right answer in pieces.
    Drip {
        /// The bytes of a piece.
        piece: usize,
        /// The time between two.
        pause: Duration,
    },
    /// 200 and a page of HTML.
    Junk,
    /// 200 and nothing.
    EmptyBody,
    /// 200 and an empty object.
    WithoutArray,
    /// The right answer with a time so far ahead.
    WrongDate(time::Duration),
    /// The right answer without a time.
    NoDate,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// The service.
    pub api: Box<dyn Api>,
    /// What goes wrong with the answers of a run, by their numbers from 0.
    pub faults: BTreeMap<usize, Fault>,
    /// Requests in the run so far.
    pub requests: usize,
    /// When the world began, by the clock of the service.
    pub begin: OffsetDateTime,
}

/// A server that its connections share.
pub type SharedServer = Arc<Mutex<Server>>;

impl Server {
    fn clock(&self, now: Duration) -> OffsetDateTime {
        self.begin + now
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct HttpConnection {
    server: SharedServer,
    /// Bytes that are no whole request yet.
    partial: Vec<u8>,
    stream: Option<LogStream>,
    is_over: bool,
}

impl HttpConnection {
    /// A new connection.
    pub fn to(server: &SharedServer) -> HttpConnection {
        HttpConnection {
            server: Arc::clone(server),
            partial: Vec::new(),
            stream: None,
            is_over: false,
        }
    }

    fn answer(&mut self, request: &Request, now: Duration, out: &mut Outbox) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let number = server.requests;
        server.requests += 1;
        let fault = server.faults.remove(&number);
        let clock = server.clock(now);
        let mut after = Duration::ZERO;
        let mut date = Some(clock);
        match fault {
            Some(Fault::Status {
                code,
                ref retry_after,
                body,
            }) => {
                let retry_after = retry_after.iter();
                let headers = retry_after.map(|value| ("Retry-After".to_owned(), value.clone()));
                let refusal = Answer {
                    status: code,
                    headers: headers.collect(),
                    body: body.into(),
                };
                return out.send(after, Sent::Bytes(text_of(&refusal, date)));
            }
            Some(Fault::Silence) => return,
            Some(Fault::Reset) => {
                self.is_over = true;
                return out.send(after, Sent::Reset);
            }
            Some(Fault::Close) => {
                self.is_over = true;
                return out.send(after, Sent::End);
            }
            Some(Fault::Stall(wait)) => after = wait,
            Some(Fault::NoDate) => date = None,
            Some(Fault::WrongDate(by)) => date = Some(clock + by),
            Some(Fault::Junk) => return out.send(after, Sent::Bytes(page("<html>maintenance"))),
            Some(Fault::EmptyBody) => return out.send(after, Sent::Bytes(page(""))),
            Some(Fault::WithoutArray) => return out.send(after, Sent::Bytes(page("{}"))),
            _ => {}
        }
        let answer = match server.api.answer(request, clock) {
            Reply::Http(answer) => answer,
            Reply::Stream(stream) => {
                let key = request.header("sec-websocket-key").unwrap_or_default();
                let accept = derive_accept_key(key.as_bytes());
                let mut head =
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n".to_owned();
                head += &format!("Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n");
                if let Some(date) = date {
                    write_date(date, &mut head);
                }
                head += "\r\n";
                out.send(after, Sent::Bytes(head.into()));
                self.stream = Some(LogStream::new(stream, fault));
                return;
            }
        };
        let bytes = text_of(&answer, date);
        let body = bytes.len() - answer.body.len();
        match fault {
            Some(Fault::CutBody(at)) | Some(Fault::ResetBody(at)) => {
                let kept = bytes.len().saturating_sub(1).min(body + at);
                out.send(after, Sent::Bytes(bytes[..kept].to_owned()));
                let is_reset = matches!(fault, Some(Fault::ResetBody(_)));
                out.send(after, if is_reset { Sent::Reset } else { Sent::End });
                self.is_over = true;
            }
            Some(Fault::Drip { piece, pause }) => {
                for piece in bytes.chunks(piece) {
                    after += pause;
                    out.send(after, Sent::Bytes(piece.to_owned()));
                }
            }
            _ => out.send(after, Sent::Bytes(bytes)),
        }
    }
}

impl Peer for HttpConnection {
    fn receive(&mut self, bytes: &[u8], now: Duration, out: &mut Outbox) {
        if self.is_over {
            return out.send(Duration::ZERO, Sent::Reset);
        }
        let clock = |server: &SharedServer| {
            let server = server.lock().unwrap_or_else(PoisonError::into_inner);
            server.clock(now)
        };
        if let Some(stream) = &mut self.stream {
            return stream.receive(bytes, clock(&self.server), out);
        }
        self.partial.extend_from_slice(bytes);
        while let Some((request, length)) = first_request(&self.partial) {
            self.partial.drain(..length);
            self.answer(&request, now, out);
        }
    }

    fn end(&mut self, now: Duration, out: &mut Outbox) {
        self.gone(now);
        out.send(Duration::ZERO, Sent::End);
    }

    fn gone(&mut self, now: Duration) {
        self.is_over = true;
        if let Some(stream) = &mut self.stream {
            let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
            stream.gone(server.clock(now));
        }
    }

    fn wake(&mut self, now: Duration, out: &mut Outbox) -> Option<Duration> {
        let stream = self.stream.as_mut()?;
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = server.clock(now);
        drop(server);
        stream.wake(clock, now, out)
    }
}

fn page(text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{text}")
        .into()
}

fn text_of(answer: &Answer, date: Option<OffsetDateTime>) -> Vec<u8> {
    let mut head = String::with_capacity(160 + answer.body.len());
    // writing to a String cannot fail
    let _ = write!(head, "HTTP/1.1 {} Status\r\n", answer.status);
    if let Some(date) = date {
        write_date(date, &mut head);
    }
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    // nothing follows a 204, not even a length
    if answer.status != 204 {
        let _ = write!(head, "Content-Length: {}\r\n", answer.body.len());
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}

/// A `Date` header (RFC 9110, 5.6.7).
fn write_date(date: OffsetDateTime, head: &mut String) {
    let (day, time) = (date.date(), date.time());
    let weekday = &day.weekday().to_string()[..3];
    let month = &day.month().to_string()[..3];
    let (hour, minute, second) = time.as_hms();
    let _ = write!(
        head,
        "Date: {weekday}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT\r\n",
        day.day(),
        day.year(),
    );
}

/// The first request without a body, and its length.
fn first_request(bytes: &[u8]) -> Option<(Request, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: pairs
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
    };
    Some((request, end + 4))
}
