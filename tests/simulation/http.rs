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
    /// The right answer in chunks of so many bytes.
    Chunks(usize),
    /// The same, and the connection ends in the place of the last chunk, which is empty.
    CutChunks(usize),
    /// The right answer without its length, up to the end of the connection.
    UntilClose,
    /// The same, but that end comes after so many bytes of the body.
    CutUntilClose(usize),
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
                self.stream = Some(LogStream::new(stream, fault.as_ref()));
                return;
            }
        };
        if let Some((text, is_last)) = fault.as_ref().and_then(|fault| reframed(fault, &answer)) {
            let mut bytes = head_of(&answer, date);
            bytes.extend_from_slice(&text);
            out.send(after, Sent::Bytes(bytes));
            if is_last {
                out.send(after, Sent::End);
                self.is_over = true;
            }
            return;
        }
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

/// An answer whose body has no length in front: what follows its headers, and whether the connection ends then.
fn reframed(fault: &Fault, answer: &Answer) -> Option<(Vec<u8>, bool)> {
    let body = &answer.body;
    match *fault {
        _ if answer.status == 204 => None,
        Fault::Chunks(size) | Fault::CutChunks(size) => {
            let mut text = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in body.chunks(size.max(1)) {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            let is_cut = matches!(fault, Fault::CutChunks(_));
            if !is_cut {
                text.extend_from_slice(b"0\r\n\r\n");
            }
            Some((text, is_cut))
        }
        Fault::UntilClose => Some(([b"\r\n", &body[..]].concat(), true)),
        Fault::CutUntilClose(at) => {
            let kept = body.len().saturating_sub(1).min(at);
            Some(([b"\r\n", &body[..kept]].concat(), true))
        }
        _ => None,
    }
}

/// The status and the headers but for those that frame the body.
fn head_of(answer: &Answer, date: Option<OffsetDateTime>) -> Vec<u8> {
    let mut head = String::with_capacity(160 + answer.body.len());
    // writing to a String cannot fail
    let _ = write!(head, "HTTP/1.1 {} Status\r\n", answer.status);
    if let Some(date) = date {
        write_date(date, &mut head);
    }
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.into_bytes()
}

fn text_of(answer: &Answer, date: Option<OffsetDateTime>) -> Vec<u8> {
    let mut bytes = head_of(answer, date);
    // nothing follows a 204, not even a length
    if answer.status != 204 {
        let length = format!("Content-Length: {}\r\n", answer.body.len());
        bytes.extend_from_slice(length.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
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

#[cfg(test)]
mod tests {
    use super::super::api::{Step, Stream};
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 Status\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\nX: y\r\n";
    const PLAIN: &str = "Content-Length: 12\r\n\r\n{\"n\": [1,2]}";

    /// Answers with a small object; at `/stream` with a stream, at `/none` with 204.
    #[derive(Debug)]
    struct Service;

    impl Api for Service {
        fn answer(&mut self, request: &Request, _: OffsetDateTime) -> Reply {
            let status = match request.path.as_str() {
                "/stream" => return Reply::Stream(Box::new(Silent)),
                "/none" => 204,
                _ => 200,
            };
            let text = if status == 204 { "" } else { "{\"n\": [1,2]}" };
            Reply::Http(Answer {
                status,
                headers: vec![("X".into(), "y".into())],
                body: text.into(),
            })
        }
    }

    #[derive(Debug)]
    struct Silent;

    impl Stream for Silent {
        fn step(&mut self, _: OffsetDateTime) -> Step {
            Step::Wait(Duration::from_secs(1))
        }

        fn closed(&mut self, _: OffsetDateTime) {}
    }

    /// What comes back for these bytes with this fault, how the connection ends, and when the last of it is due.
    fn answered(bytes: &[&[u8]], fault: Option<Fault>) -> (String, Option<Sent>, Duration) {
        let server = Server {
            api: Box::new(Service),
            faults: fault.map(|fault| (0, fault)).into_iter().collect(),
            requests: 0,
            begin: OffsetDateTime::UNIX_EPOCH,
        };
        let mut connection = HttpConnection::to(&Arc::new(Mutex::new(server)));
        let mut out = Outbox::default();
        for bytes in bytes {
            connection.receive(bytes, Duration::from_secs(1), &mut out);
        }
        let due = out.last_due();
        let (mut text, mut end) = (Vec::new(), None);
        for sent in out.sent() {
            match sent {
                Sent::Bytes(bytes) => text.extend(bytes),
                other => end = Some(other),
            }
        }
        (String::from_utf8(text).unwrap(), end, due)
    }

    #[test]
    fn a_request_is_read_from_any_pieces_and_a_connection_takes_more_than_one() {
        let text = b"GET /a?q=a+%26b&n= HTTP/1.1\r\nHost: h\r\nX-Key:  v \r\n\r\nGET";
        let (request, length) = first_request(text).unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("GET", "/a")
        );
        assert_eq!(length, text.len() - 3);
        assert_eq!(request.parameter("q"), Some("a &b"));
        assert_eq!(request.parameter("n"), Some(""));
        assert_eq!(request.header("x-key"), Some("v"));
        assert!(first_request(&text[..length - 1]).is_none());
        let pieces = [&text[..20], &text[20..], b" / HTTP/1.1\r\n\r\n"];
        let twice = format!("{HEAD}{PLAIN}{HEAD}{PLAIN}");
        assert_eq!(answered(&pieces, None), (twice, None, Duration::ZERO));
    }

    #[test]
    fn each_fault_changes_the_answer_as_it_says() {
        let none = Duration::ZERO;
        let status = |retry_after: Option<&str>| Fault::Status {
            code: 429,
            retry_after: retry_after.map(str::to_owned),
            body: "no",
        };
        let second = Duration::from_secs(1);
        let drip = Fault::Drip {
            piece: 50,
            pause: second,
        };
        let refused = "HTTP/1.1 429 Status\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\n";
        let chunks = "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"n\": [\r\n5\r\n1,2]}\r\n";
        let plain = format!("{HEAD}{PLAIN}");
        let without_date = HEAD.replace("Date: Thu, 01 Jan 1970 00:00:01 GMT\r\n", "");
        let wrong_date = HEAD.replace("Thu, 01 Jan 1970 00", "Wed, 31 Dec 1969 23");
        let table = [
            (
                status(None),
                format!("{refused}Content-Length: 2\r\n\r\nno"),
                None,
                none,
            ),
            (
                status(Some("7")),
                format!("{refused}Retry-After: 7\r\nContent-Length: 2\r\n\r\nno"),
                None,
                none,
            ),
            (
                Fault::CutBody(3),
                plain[..plain.len() - 9].to_owned(),
                Some(Sent::End),
                none,
            ),
            (
                Fault::ResetBody(99),
                plain[..plain.len() - 1].to_owned(),
                Some(Sent::Reset),
                none,
            ),
            (
                Fault::Chunks(7),
                format!("{HEAD}{chunks}0\r\n\r\n"),
                None,
                none,
            ),
            (
                Fault::CutChunks(7),
                format!("{HEAD}{chunks}"),
                Some(Sent::End),
                none,
            ),
            (
                Fault::UntilClose,
                format!("{HEAD}\r\n{{\"n\": [1,2]}}"),
                Some(Sent::End),
                none,
            ),
            (
                Fault::CutUntilClose(2),
                format!("{HEAD}\r\n{{\""),
                Some(Sent::End),
                none,
            ),
            (
                Fault::CutUntilClose(12),
                format!("{HEAD}\r\n{{\"n\": [1,2]"),
                Some(Sent::End),
                none,
            ),
            (Fault::Reset, String::new(), Some(Sent::Reset), none),
            (Fault::Close, String::new(), Some(Sent::End), none),
            (Fault::Silence, String::new(), None, none),
            (Fault::Stall(second), plain.clone(), None, second),
            (
                drip,
                plain.clone(),
                None,
                second * plain.len().div_ceil(50) as u32,
            ),
            (Fault::NoDate, format!("{without_date}{PLAIN}"), None, none),
            (
                Fault::WrongDate(time::Duration::hours(-1)),
                format!("{wrong_date}{PLAIN}"),
                None,
                none,
            ),
        ];
        for (fault, text, end, due) in table {
            let answer = answered(&[b"GET / HTTP/1.1\r\n\r\n"], Some(fault.clone()));
            assert_eq!(answer, (text, end, due), "{fault:?}");
        }
        for (fault, body) in [
            (Fault::Junk, "<html>maintenance"),
            (Fault::EmptyBody, ""),
            (Fault::WithoutArray, "{}"),
        ] {
            let (text, end, _) = answered(&[b"GET / HTTP/1.1\r\n\r\n"], Some(fault));
            let end_of_head = format!("Content-Length: {}\r\n\r\n{body}", body.len());
            assert!(
                text.starts_with("HTTP/1.1 200") && text.ends_with(&end_of_head),
                "{text}"
            );
            assert_eq!(end, None);
        }
    }

    #[test]
    fn no_content_has_no_length_and_a_connection_that_is_over_is_reset() {
        let nothing = [b"GET /none HTTP/1.1\r\n\r\n".as_slice()];
        let head = HEAD.replace("200", "204");
        for fault in [None, Some(Fault::Chunks(3)), Some(Fault::UntilClose)] {
            let (text, end, _) = answered(&nothing, fault);
            assert_eq!((text, end), (format!("{head}\r\n"), None));
        }
        let twice = [b"GET / HTTP/1.1\r\n\r\n".as_slice(); 2];
        let (_, end, _) = answered(&twice, Some(Fault::Close));
        assert_eq!(end, Some(Sent::Reset));
    }

    /// The key and its answer are those of RFC 6455, 1.3.
    #[test]
    fn a_handshake_is_answered_with_the_key_of_the_standard() {
        let opening =
            b"GET /stream HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let (text, end, _) = answered(&[opening], None);
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert!(text.contains(accept), "{text}");
        assert_eq!(end, None);
    }
}
