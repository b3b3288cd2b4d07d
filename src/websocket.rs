//! A WebSocket over our own connections, read message by message (RFC 6455). The crate
//! `tungstenite` is named here only.
//!
//! Its frames are read below its messages: those would refuse a text that is no UTF-8 and lose it,
//! and an event is evidence. Nothing is known here of what a message holds.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tungstenite::Error;
use tungstenite::error::CapacityError;
use tungstenite::handshake::client::{Request, Response, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::{HandshakeMachine, RoundResult, StageResult};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameSocket};

use crate::config::Url;
use crate::connect::{Network, Patience, Stopped, Stream, is_wait};
use crate::exit::{Because, Exit};
use crate::secret::Secret;
use crate::stop::Stop;

/// How often we ping: a server that hears nothing for 300 s hangs up.
const PING: Duration = Duration::from_secs(30);
/// A connection on which nothing came for so long is dead, though a pong may be missed.
const DEAD: Duration = Duration::from_secs(300);
/// A read that finds nothing returns after this long, or at a signal.
const STEP: Duration = Duration::from_secs(1);
/// So much of the body of a refusal is kept, in bytes.
const SHOWN: usize = 1024;
/// A frame of more bytes is held in memory of its own.
const LARGE: usize = 1024 * 1024;
/// So many moments (of 100 ms) are given to the body of a refusal.
const MOMENTS: usize = 20;

/// What to open.
#[derive(Debug)]
pub struct Opening<'a> {
    /// How to connect.
    pub network: &'a Arc<Network>,
    /// A `ws` or `wss` address.
    pub url: &'a Url,
    /// What stands behind the question mark; percent-encoded here.
    pub query: &'a [(&'a str, &'a str)],
    /// The value of `Authorization`; never shown.
    pub authorization: &'a Secret,
    /// The largest message to take, in bytes.
    pub max_message: usize,
    /// Ends the wait for the handshake.
    pub stop: &'a Stop,
}

/// What became of the handshake.
#[derive(Debug)]
pub enum Opened {
    /// It is open.
    Open(Box<WebSocket>),
    /// The server answered with another status than 101.
    Refused(Refusal),
}

/// Another answer than an open WebSocket.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The beginning of the body, as it came.
    pub body: String,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    frames: FrameSocket<Shared>,
    wire: Shared,
    /// The beginning of a message that came in fragments.
    partial: Option<Vec<u8>>,
    max_message: usize,
    pinged: Instant,
    /// Whether our close frame was sent; nothing may follow it.
    closing: bool,
}

/// What reading on brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, at the end of the buffer.
    Message,
    /// None for a moment.
    Nothing,
    /// The end.
    End(Ending),
}

/// How a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By a close frame: its code, 1005 where it had none, and its reason.
    Closed(u16, String),
    /// Without one, which the RFC calls 1006: what went wrong, in words.
    Broken(String),
}

impl Ending {
    /// Whether the peer said that this was all: 1000.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, Ending::Closed(1000, _))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, reason) = match self {
            Ending::Broken(reason) => return write!(f, "the connection broke (1006): {reason}"),
            Ending::Closed(code, reason) => (*code, reason),
        };
        let meaning = match code {
            1000 => "the server closed the connection in good order",
            1001 => "the server goes away",
            1009 => "the server says that a message was too big",
            1011 => "the server had an internal error, or missed a pong",
            _ => "the server closed the connection",
        };
        match reason.is_empty() {
            true => write!(f, "{meaning} ({code})"),
            false => write!(f, "{meaning} ({code}): {reason}"),
        }
    }
}

/// A message that is larger than what is taken.
#[derive(Debug, Clone, Copy)]
pub struct TooLong {
    /// Its size so far, in bytes.
    pub size: usize,
    /// What is taken, in bytes.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { size, limit } = self;
        write!(f, "a message of {size} bytes, {limit} are taken at most")
    }
}

impl std::error::Error for TooLong {}

impl WebSocket {
    /// Connects and completes the handshakes.
    ///
    /// # Errors
    /// With [`Exit::Unavailable`] when nobody answers as a WebSocket does; [`Stopped`] when the run
    /// is to end.
    pub fn open(opening: &Opening<'_>) -> Result<Opened> {
        let Opening { url, network, .. } = opening;
        let what = || format!("opening {url}");
        let trust = match url.scheme_is_tls() {
            true => Some(network.public_trust()?),
            false => None,
        };
        let scheme = if trust.is_some() { "https" } else { "http" };
        let tcp = network
            .dial(url.address(), scheme, opening.stop)
            .with_context(what)?;
        let patience = network.patience(opening.stop);
        let stream = Stream::secure(tcp, trust, url.address(), patience).with_context(what)?;
        let wire = Wire {
            stream,
            network: Arc::clone(network),
            heard: Instant::now(),
        };
        shake_hands(opening, wire)
            .with_context(what)
            .or_exit(Exit::Unavailable)
            .or_hint("check base_url, and what stands between here and there: it must pass on WebSockets")
    }

    /// Reads on, for a second at most: the next message, added to `into`.
    ///
    /// # Errors
    /// With [`TooLong`] in it, when a message is larger than what is taken.
    pub fn read(&mut self, into: &mut Vec<u8>) -> Result<Heard> {
        loop {
            if let Some(heard) = self.read_frame(into)? {
                return Ok(heard);
            }
        }
    }

    /// `None` for a frame that is no whole message.
    fn read_frame(&mut self, into: &mut Vec<u8>) -> Result<Option<Heard>> {
        if self.pinged.elapsed() >= PING {
            self.pinged = Instant::now();
            if let Err(error) = self.say(Frame::ping(Vec::new())) {
                return Ok(Some(broken(&error)));
            }
        }
        let already = self.partial.as_ref().map_or(0, Vec::len);
        let left = self.max_message.saturating_sub(already);
        let frame = match self.frames.read(Some(left.max(CONTROL))) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Some(broken(&"the server ended it without a close frame"))),
            Err(Error::Io(error)) if is_wait(&error) => {
                let silence = self.wire.0.borrow().heard.elapsed();
                return Ok(Some(match silence >= DEAD {
                    true => broken(&format!("nothing came for {} s", silence.as_secs())),
                    false => Heard::Nothing,
                }));
            }
            Err(Error::Capacity(CapacityError::MessageTooLong { size, .. })) => {
                return self.too_long(already.saturating_add(size));
            }
            Err(error) => {
                self.refuse(CloseCode::Protocol);
                return Ok(Some(broken(&error)));
            }
        };
        let heard = self.take(&frame, into);
        if frame.payload().len() > LARGE {
            drop(frame);
            self.let_go();
        }
        heard
    }

    /// The crate keeps the memory of the largest frame; most are small.
    fn let_go(&mut self) {
        let frames = FrameSocket::new(self.wire.clone());
        let (wire, rest) = std::mem::replace(&mut self.frames, frames).into_inner();
        self.frames = FrameSocket::from_partially_read(wire, rest.to_vec());
    }

    /// Says that we want to end it; what still comes before the peer's close frame is to be read.
    pub fn close(&mut self) {
        self.refuse(CloseCode::Normal);
    }

    fn take(&mut self, frame: &Frame, into: &mut Vec<u8>) -> Result<Option<Heard>> {
        let head = frame.header();
        let (last, opcode) = (head.is_final, head.opcode);
        if head.rsv1 || head.rsv2 || head.rsv3 || head.mask.is_some() {
            self.refuse(CloseCode::Protocol);
            return Ok(Some(broken(
                &"the server sent a frame of a kind that was not agreed on",
            )));
        }
        match (opcode, &mut self.partial) {
            (OpCode::Control(control), _) => return Ok(self.control(control, frame)),
            (OpCode::Data(Data::Text | Data::Binary), None) if last => {
                into.extend_from_slice(frame.payload());
                return Ok(Some(Heard::Message));
            }
            (OpCode::Data(Data::Text | Data::Binary), partial @ None) => {
                *partial = Some(frame.payload().to_vec());
            }
            (OpCode::Data(Data::Continue), Some(partial)) => {
                partial.extend_from_slice(frame.payload());
            }
            _ => {
                self.refuse(CloseCode::Protocol);
                return Ok(Some(broken(
                    &"the server mixed up the fragments of a message",
                )));
            }
        }
        let size = self.partial.as_ref().map_or(0, Vec::len);
        if size > self.max_message {
            return self.too_long(size);
        }
        match self.partial.take_if(|_| last) {
            Some(message) => {
                into.extend_from_slice(&message);
                Ok(Some(Heard::Message))
            }
            None => Ok(None),
        }
    }

    fn control(&mut self, control: Control, frame: &Frame) -> Option<Heard> {
        match control {
            Control::Ping => {
                if let Err(error) = self.say(Frame::pong(frame.payload().to_vec())) {
                    return Some(broken(&error));
                }
            }
            Control::Close => {
                let code = frame.payload().first_chunk::<2>();
                let code = code.map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = frame.payload().get(2..).unwrap_or_default();
                let reason = String::from_utf8_lossy(reason).into_owned();
                // the answer to its close frame, unless this is the answer to ours
                self.refuse(match code {
                    1005 => CloseCode::Normal,
                    code => code.into(),
                });
                return Some(Heard::End(Ending::Closed(code, reason)));
            }
            Control::Pong | Control::Reserved(_) => {}
        }
        None
    }

    fn too_long<T>(&mut self, size: usize) -> Result<T> {
        self.refuse(CloseCode::Size);
        let limit = self.max_message;
        Err(anyhow!(TooLong { size, limit }))
    }

    /// Says why we go; it does not matter if the peer no longer listens.
    fn refuse(&mut self, code: CloseCode) {
        let _ = self.say(close_frame(code));
        self.closing = true;
    }

    /// Sends a frame, masked as those of a client must be.
    fn say(&mut self, mut frame: Frame) -> tungstenite::Result<()> {
        if self.closing {
            return Ok(());
        }
        // sixteen random bytes in base64, of which four are used
        frame.header_mut().mask = generate_key().as_bytes().first_chunk::<4>().copied();
        self.frames.send(frame)
    }
}

/// The largest control frame; those must get through whatever is left for a message.
const CONTROL: usize = 125;

fn close_frame(code: CloseCode) -> Frame {
    Frame::close(Some(CloseFrame {
        code,
        reason: "".into(),
    }))
}

fn broken(why: &dyn fmt::Display) -> Heard {
    Heard::End(Ending::Broken(why.to_string()))
}

fn shake_hands(opening: &Opening<'_>, mut wire: Wire) -> Result<Opened> {
    let (request, key) = request(opening)?;
    wire.write_all(&request)?;
    let patience = opening.network.patience(opening.stop);
    let mut machine = HandshakeMachine::start_read(wire);
    let (mut wire, answer, rest) = loop {
        machine = match machine.single_round::<Response>().map_err(explained)? {
            RoundResult::WouldBlock(machine) => {
                patience.again(ErrorKind::WouldBlock.into())?;
                machine
            }
            RoundResult::Incomplete(machine) => machine,
            RoundResult::StageFinished(StageResult::DoneReading {
                stream,
                result,
                tail,
            }) => break (stream, result, tail),
            RoundResult::StageFinished(StageResult::DoneWriting(_)) => bail!("no answer"),
        };
    };
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .and_then(|text| text.to_str().ok())
    };
    let status = answer.status().as_u16();
    if status != 101 {
        let length = header("content-length").and_then(|length| length.parse().ok());
        let body = wire.body(rest, length.unwrap_or(usize::MAX), opening.stop);
        return Ok(Opened::Refused(Refusal { status, body }));
    }
    if header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        bail!("the answer is not that of a WebSocket server to our question");
    }
    wire.stream.tcp().wait_for(STEP)?;
    wire.heard = Instant::now();
    let wire = Shared(Rc::new(RefCell::new(wire)));
    Ok(Opened::Open(Box::new(WebSocket {
        frames: FrameSocket::from_partially_read(wire.clone(), rest),
        wire,
        partial: None,
        max_message: opening.max_message,
        pinged: Instant::now(),
        closing: false,
    })))
}

/// The bytes of the request, and the key that the answer must fit.
fn request(opening: &Opening<'_>) -> Result<(Vec<u8>, String)> {
    let pairs = opening.query.iter();
    let pairs = pairs.map(|(key, value)| format!("{key}={}", percent_encoded(value)));
    let target = format!(
        "{}?{}",
        opening.url.path(),
        pairs.collect::<Vec<_>>().join("&")
    );
    let request = Request::builder()
        .uri(target)
        .header("Host", opening.url.address().to_string())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header(
            "User-Agent",
            concat!("proofpull/", env!("CARGO_PKG_VERSION")),
        )
        .header("Authorization", opening.authorization.reveal())
        .body(());
    // an error of the crate could show what it was given
    let request = request
        .map_err(|_| {
            anyhow!("the key cannot stand in a header: it has other characters than ASCII")
        })
        .exit(Exit::Config)
        .hint("check the file or variable that holds it")?;
    generate_request(request).map_err(|error| anyhow!(explained(error)))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// Errors of the connection as they are, so that a stop is found in them.
fn explained(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// The connection as the crate sees it.
#[derive(Debug)]
struct Wire {
    stream: Stream,
    network: Arc<Network>,
    /// When anything last came.
    heard: Instant,
}

/// The connection, so that what reads frames from it can be exchanged.
#[derive(Debug, Clone)]
struct Shared(Rc<RefCell<Wire>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Wire {
    /// The beginning of a body of this length, for people; `rest` has come already.
    fn body(&mut self, mut rest: Vec<u8>, length: usize, stop: &Stop) -> String {
        let wanted = length.min(SHOWN);
        let mut buffer = [0; SHOWN];
        let mut moments = MOMENTS;
        while rest.len() < wanted && moments > 0 && stop.reason().is_none() {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => rest.extend_from_slice(&buffer[..count]),
                Err(error) if is_wait(&error) => moments -= 1,
                Err(_) => break,
            }
        }
        rest.truncate(wanted);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// What is written is little; the peer must take it whatever the run is about to do.
    fn patience(&self) -> Patience {
        self.network.patience(&Stop::never())
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(count) => {
                self.heard = Instant::now();
                Ok(count)
            }
            // the crate knows one kind of wait alone
            Err(error) if is_wait(&error) => Err(ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut patience = self.patience();
        match self.stream.write_all(bytes, &mut patience) {
            Ok(()) => Ok(bytes.len()),
            Err(error) if Stopped::is_in(&error) => Err(io::Error::other(Stopped)),
            Err(error) => Err(error
                .downcast::<io::Error>()
                .unwrap_or_else(|error| io::Error::other(crate::exit::line(&error)))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_names_are_encoded_for_a_query() {
        assert_eq!(
            percent_encoded("2026-11-23T10:00:00-0000"),
            "2026-11-23T10%3A00%3A00-0000"
        );
        assert_eq!(percent_encoded("a+b ü"), "a%2Bb%20%C3%BC");
    }

    #[test]
    fn an_ending_says_its_code() {
        let said = |code| Ending::Closed(code, String::new()).to_string();
        for code in [1000, 1001, 1005, 1009, 1011, 4000] {
            assert!(said(code).ends_with(&format!("({code})")));
        }
        let all = Ending::Closed(1011, "ping timeout".into()).to_string();
        assert!(all.ends_with("(1011): ping timeout"), "{all}");
        assert!(Ending::Broken("reset".into()).to_string().contains("1006"));
    }
}
