//! A small HTTP/1.1 server: a thread for each connection, kept alive, with faults on the wire.
//!
//! Knows nothing of what is asked or answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::listen::Listening;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, for example.
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    /// Names as they came.
    pub headers: Vec<(String, String)>,
    /// Up to [`LONGEST_BODY`].
    pub body: Vec<u8>,
}

/// What to answer.
pub struct Answer {
    /// Its number; the reason phrase follows from it.
    pub status: u16,
    /// Besides the length.
    pub headers: Vec<(String, String)>,
    /// Already encoded as its headers say.
    pub body: Content,
    /// How the client learns where it ends.
    pub framing: Framing,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// The body of an answer.
pub enum Content {
    /// At hand.
    Bytes(Vec<u8>),
    /// Written while it is made; chunked unless it ends with the connection.
    Stream(Box<Producer>),
}

/// Writes a body.
pub type Producer = dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send;

/// How the client learns where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, with borders at odd places.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Another answer. `text/plain`, unless the headers say otherwise.
    Status {
        /// Its number.
        code: u16,
        /// Its body, often empty.
        body: Vec<u8>,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// 200 with this body, as JSON.
    Body(Vec<u8>),
    /// These bytes instead of an HTTP answer, then the end of the connection.
    Raw(Vec<u8>),
    /// The connection is reset, no answer.
    Reset,
    /// The connection ends, no answer.
    Close,
    /// The right answer, but the connection ends after so many bytes of its body as encoded, or
    /// before the mark of its end when it has no more.
    CutBody {
        /// So many.
        at: usize,
    },
    /// The same with a reset.
    ResetBody {
        /// So many.
        at: usize,
    },
    /// The right answer, with a silence after so many bytes of its body.
    StallBody {
        /// So many.
        at: usize,
        /// So long.
        wait: Duration,
    },
    /// The right answer, after a silence.
    Stall {
        /// So long.
        wait: Duration,
    },
    /// The right answer, its body in pieces.
    Slow {
        /// Bytes in a piece.
        piece: usize,
        /// After each piece.
        pause: Duration,
    },
}

impl Fault {
    /// A status with a text, and nothing else.
    pub fn status(code: u16, text: &str) -> Self {
        Self::Status {
            code,
            body: text.into(),
            headers: Vec::new(),
        }
    }
}

/// Serves until dropped; a connection that stands by then goes on.
pub struct Server(Listening);

impl Server {
    /// Answers every request that comes to `listener`, over TLS when told how.
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Self(Listening::on(listener, move |tcp| {
            let (tls, answer) = (tls.clone(), Arc::clone(&answer));
            thread::spawn(move || Wire::new(tcp, tls).and_then(|wire| converse(wire, &*answer)));
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// Answers one request after the other. An error of the wire ends it, like everything else.
fn converse(wire: Wire, answer: &dyn Fn(&Asked) -> Answer) -> io::Result<()> {
    let mut wire = BufReader::new(wire);
    while let Some(asked) = Asked::read(&mut wire)? {
        let last = asked
            .header("connection")
            .is_some_and(|value| value.contains("close"));
        match send(wire.get_mut(), answer(&asked))? {
            After::Next if last => return wire.into_inner().end(),
            After::Next => {}
            After::End => return wire.into_inner().end(),
            After::Cut => return Ok(()),
            After::Reset => return wire.into_inner().reset(),
        }
    }
    Ok(())
}

impl Asked {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Reads one, or the end of the connection.
    pub fn read(wire: &mut impl BufRead) -> io::Result<Option<Self>> {
        let first = line(wire)?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::Error::other("no request line"));
        };
        let mut asked = Self {
            method,
            target,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let text = line(wire)?;
            let Some((key, value)) = text.split_once(':') else {
                break;
            };
            asked
                .headers
                .push((key.to_owned(), value.trim().to_owned()));
        }
        let length = asked
            .header("content-length")
            .and_then(|value| value.parse().ok());
        let mut body = wire.take(length.unwrap_or(0));
        body.by_ref()
            .take(LONGEST_BODY)
            .read_to_end(&mut asked.body)?;
        io::copy(&mut body, &mut io::sink())?;
        Ok(Some(asked))
    }
}

/// A line without its end; empty at the end of the stream.
fn line(wire: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    wire.take(LONGEST_LINE).read_line(&mut text)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

const LONGEST_LINE: u64 = 64 * 1024;
const LONGEST_BODY: u64 = 64 * 1024;

/// What becomes of the connection.
enum After {
    Next,
    End,
    Cut,
    Reset,
}

fn send(wire: &mut Wire, mut answer: Answer) -> io::Result<After> {
    match answer.fault.take() {
        Some(Fault::Reset) => return Ok(After::Reset),
        Some(Fault::Close) => return Ok(After::Cut),
        Some(Fault::Raw(bytes)) => {
            wire.write_all(&bytes)?;
            return Ok(After::End);
        }
        Some(Fault::Stall { wait }) => thread::sleep(wait),
        Some(Fault::Status {
            code,
            body,
            headers,
        }) => {
            answer.retain_date();
            let kind = headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            if !kind && !body.is_empty() {
                answer
                    .headers
                    .push(("Content-Type".into(), "text/plain".into()));
            }
            answer.headers.extend(headers);
            (answer.status, answer.body) = (code, Content::Bytes(body));
        }
        Some(Fault::Body(body)) => {
            answer.retain_date();
            answer
                .headers
                .push(("Content-Type".into(), "application/json".into()));
            (answer.status, answer.body) = (200, Content::Bytes(body));
        }
        within => answer.fault = within,
    }
    deliver(wire, answer)
}

impl Answer {
    /// Drops what was said about a body that is replaced.
    fn retain_date(&mut self) {
        self.headers.retain(|(name, _)| name == "Date");
        self.framing = Framing::Length;
    }
}

fn deliver(wire: &mut Wire, answer: Answer) -> io::Result<After> {
    let framing = match (&answer.body, answer.framing) {
        (Content::Stream(_), Framing::Length) => Framing::Chunked,
        (_, framing) => framing,
    };
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    match (framing, &answer.body) {
        (Framing::Length, Content::Bytes(body)) => {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        (Framing::UntilClose, _) => head += "Connection: close\r\n",
        _ => head += "Transfer-Encoding: chunked\r\n",
    }
    head += "\r\n";

    let mut body = Body {
        wire,
        framing,
        ready: head.into_bytes(),
        sent: 0,
        fault: answer.fault,
        end: None,
    };
    let written = match answer.body {
        Content::Bytes(bytes) if framing == Framing::Chunked => bytes
            .chunks(ODD_CHUNK)
            .try_for_each(|chunk| body.write_all(chunk)),
        Content::Bytes(bytes) => body.write_all(&bytes),
        Content::Stream(produce) => produce(&mut body),
    };
    let written = written.and_then(|()| body.finish());
    match (body.end.take(), written) {
        (Some(end), _) => Ok(end),
        (None, Err(error)) => Err(error),
        (None, Ok(())) if framing == Framing::UntilClose => Ok(After::End),
        (None, Ok(())) => Ok(After::Next),
    }
}

/// So that the borders of chunks fall anywhere in the text.
const ODD_CHUNK: usize = 4093;

/// The body of an answer on its way: framed, and cut, held up or slowed down where it shall be.
struct Body<'a> {
    wire: &'a mut Wire,
    framing: Framing,
    /// Not yet on the wire.
    ready: Vec<u8>,
    /// Bytes of the body, without those of the framing.
    sent: usize,
    fault: Option<Fault>,
    /// How a fault ended it.
    end: Option<After>,
}

impl Body<'_> {
    /// The mark of its end, and everything on the wire.
    fn finish(&mut self) -> io::Result<()> {
        if matches!(
            self.fault,
            Some(Fault::CutBody { .. } | Fault::ResetBody { .. })
        ) {
            return self.strike();
        }
        if self.framing == Framing::Chunked {
            self.ready.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush()
    }

    /// So many bytes until something goes wrong.
    fn left(&self) -> usize {
        match &self.fault {
            Some(Fault::CutBody { at } | Fault::ResetBody { at } | Fault::StallBody { at, .. }) => {
                at.saturating_sub(self.sent)
            }
            Some(Fault::Slow { piece, .. }) => (*piece).max(1),
            _ => usize::MAX,
        }
    }

    /// Now it goes wrong. An error ends the body; `end` then says how.
    fn strike(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.fault.take() {
            Some(Fault::StallBody { wait, .. }) => thread::sleep(wait),
            Some(Fault::Slow { piece, pause }) => {
                thread::sleep(pause);
                self.fault = Some(Fault::Slow { piece, pause });
            }
            Some(Fault::CutBody { .. }) => self.end = Some(After::Cut),
            _ => self.end = Some(After::Reset),
        }
        if self.end.is_some() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.sent += bytes.len();
        let chunked = self.framing == Framing::Chunked;
        if chunked {
            write!(self.ready, "{:x}\r\n", bytes.len())?;
        }
        if bytes.len() < LARGE {
            self.ready.extend_from_slice(bytes);
        } else {
            self.flush()?;
            self.wire.write_all(bytes)?;
        }
        if chunked {
            self.ready.extend_from_slice(b"\r\n");
        }
        if self.ready.len() < LARGE {
            Ok(())
        } else {
            self.flush()
        }
    }
}

/// Not worth copying.
const LARGE: usize = 64 * 1024;

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = self.left().min(bytes.len());
        self.frame(&bytes[..now])?;
        if now < bytes.len() || matches!(self.fault, Some(Fault::Slow { .. })) {
            self.strike()?;
        }
        if now == 0 { self.write(bytes) } else { Ok(now) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.write_all(&self.ready)?;
        self.ready.clear();
        self.wire.flush()
    }
}

/// A connection, plain or TLS.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(config) = tls else {
            return Ok(Self::Plain(tcp));
        };
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, tcp))))
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Ends it in good order.
    pub(super) fn end(mut self) -> io::Result<()> {
        if let Self::Tls(stream) = &mut self {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.tcp().shutdown(Shutdown::Write)
    }

    pub(super) fn reset(self) -> io::Result<()> {
        reset(self.tcp())
    }
}

/// Lets the kernel send a reset when the socket is closed, which is the caller's next step.
pub fn reset(tcp: &TcpStream) -> io::Result<()> {
    SockRef::from(tcp).set_linger(Some(Duration::ZERO))
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}
