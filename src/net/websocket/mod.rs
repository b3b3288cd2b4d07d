//! `WebSocket` reads a WebSocket message by message over our own connections (RFC 6455).
//!
//! Only this folder names the crate `tungstenite`. It reads frames instead of messages, since the
//! crate drops a text that is not UTF-8, and an event is evidence. It does not know what a message
//! contains.

mod handshake;
mod wire;

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use tungstenite::Error;
use tungstenite::error::CapacityError;
use tungstenite::handshake::client::generate_key;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameSocket};

use crate::clock::Instant;
use crate::net::is_wait;
use crate::pipeline::batch::{LARGE, make_room};
pub(crate) use handshake::{HandshakeOutcome, HandshakeRequest};
use wire::{Shared, Wire};

/// Ping interval: a server closes the connection after 300 s of silence.
const PING: Duration = Duration::from_secs(30);
/// Silence after which a connection is dead; single pongs may be missed.
const DEAD: Duration = Duration::from_secs(300);
/// How long a read waits for data; a signal ends it earlier.
const STEP: Duration = Duration::from_secs(1);
/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    /// The server's time when it was opened, if known.
    pub(crate) date: Option<OffsetDateTime>,
    frames: FrameSocket<Shared>,
    wire: Shared,
    /// The start of a message that arrives in fragments.
    partial: Option<Vec<u8>>,
    /// Bytes of the frames so far.
    taken: u64,
    max_message: usize,
    pinged: Instant,
    /// [`PING`] and [`DEAD`], except in tests.
    ping: Duration,
    dead: Duration,
    /// Whether our close frame was sent; nothing may follow it.
    closing: bool,
}

/// The result of reading on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// A message, at the end of the buffer.
    Message,
    /// No message for a moment.
    Nothing,
    /// The end.
    End(CloseReason),
}

/// How a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// By a close frame: its code, or 1005 if it had none, and its reason.
    Closed(u16, String),
    /// By an end of file behind a whole message, without a close frame, which the RFC calls 1006.
    Ended,
    /// In any other way, also called 1006, with the reason: something may be missing.
    Broken(String),
}

impl CloseReason {
    /// Whether the peer ended it normally: code 1000.
    #[must_use]
    pub(crate) fn is_normal(&self) -> bool {
        matches!(self, CloseReason::Closed(1000, _))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, reason) = match self {
            CloseReason::Ended => {
                return f.write_str("the server ended the connection without a close frame (1006)");
            }
            CloseReason::Broken(reason) => {
                return write!(f, "the connection broke (1006): {reason}");
            }
            CloseReason::Closed(code, reason) => (*code, reason),
        };
        let meaning = match code {
            1000 => "the server closed the connection normally",
            1001 => "the server is going away",
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

/// A message that is larger than the limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooLong {
    /// Its size so far, in bytes.
    pub(crate) size: usize,
    /// The limit, in bytes.
    pub(crate) limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { size, limit } = self;
        write!(f, "a message has {size} bytes, and the limit is {limit}")
    }
}

impl std::error::Error for TooLong {}

impl WebSocket {
    /// Takes over after a handshake; `rest` was read together with its answer.
    fn over(
        wire: Wire,
        rest: Vec<u8>,
        opening: &HandshakeRequest<'_>,
    ) -> std::io::Result<WebSocket> {
        let wire = Shared::new(wire, rest.len(), (STEP, DEAD), opening.shutdown)?;
        Ok(WebSocket {
            date: None,
            frames: FrameSocket::from_partially_read(wire.clone(), rest),
            wire,
            partial: None,
            taken: 0,
            max_message: opening.max_message,
            pinged: Instant::now(),
            ping: PING,
            dead: DEAD,
            closing: false,
        })
    }

    /// Appends the next message to `into`, waiting at most a second.
    ///
    /// # Errors
    /// When a message is larger than the limit.
    pub(crate) fn read(&mut self, into: &mut Vec<u8>) -> Result<StreamEvent, TooLong> {
        self.wire.read_for(STEP);
        loop {
            if let Some(heard) = self.read_frame(into)? {
                return Ok(heard);
            }
        }
    }

    /// Reads one frame; `None` if it does not complete a message.
    fn read_frame(&mut self, into: &mut Vec<u8>) -> Result<Option<StreamEvent>, TooLong> {
        if self.pinged.elapsed() >= self.ping {
            self.pinged = Instant::now();
            if let Err(error) = self.say(Frame::ping(Vec::new())) {
                return Ok(Some(broken(&error)));
            }
        }
        let already = self.partial.as_ref().map_or(0, Vec::len);
        let left = self.max_message.saturating_sub(already);
        let frame = match self.frames.read(Some(left.max(CONTROL))) {
            Ok(Some(frame)) => frame,
            Ok(None) if self.partial.is_none() && self.taken == self.wire.received() => {
                return Ok(Some(StreamEvent::End(CloseReason::Ended)));
            }
            Ok(None) => {
                return Ok(Some(broken(
                    &"the server ended the connection within a message",
                )));
            }
            Err(Error::Io(error)) if is_wait(&error) => {
                let silence = self.wire.silence();
                return Ok(Some(match silence >= self.dead {
                    true => broken(&format!("no data came for {} s", silence.as_secs())),
                    false => StreamEvent::Nothing,
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
        self.taken += frame.len() as u64;
        if frame.payload().len() >= LARGE {
            self.let_go();
        }
        self.take(frame, into)
    }

    /// Leaves the crate's buffer, which keeps the size of the largest frame, to its last frame.
    fn let_go(&mut self) {
        let frames = FrameSocket::new(self.wire.clone());
        let (wire, rest) = std::mem::replace(&mut self.frames, frames).into_inner();
        self.frames = FrameSocket::from_partially_read(wire, rest.to_vec());
    }

    /// Starts to close it; what still comes before the peer's close frame is to be read.
    pub(crate) fn close(&mut self) {
        self.refuse(CloseCode::Normal);
    }

    fn take(&mut self, frame: Frame, into: &mut Vec<u8>) -> Result<Option<StreamEvent>, TooLong> {
        let head = frame.header();
        let (last, opcode) = (head.is_final, head.opcode);
        if head.rsv1 || head.rsv2 || head.rsv3 || head.mask.is_some() {
            self.refuse(CloseCode::Protocol);
            return Ok(Some(broken(
                &"the server sent a frame that was not negotiated",
            )));
        }
        match (opcode, &mut self.partial) {
            (OpCode::Control(control), _) => return Ok(self.control(control, &frame)),
            (OpCode::Data(Data::Text | Data::Binary), None) if last => {
                match frame.payload().len() < LARGE {
                    true => into.extend_from_slice(frame.payload()),
                    false => append(frame.into_payload().into(), into),
                }
                return Ok(Some(StreamEvent::Message));
            }
            (OpCode::Data(Data::Text | Data::Binary), partial @ None) => {
                *partial = Some(frame.into_payload().into());
            }
            (OpCode::Data(Data::Continue), Some(partial)) => {
                make_room(partial, frame.payload().len());
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
                append(message, into);
                Ok(Some(StreamEvent::Message))
            }
            None => Ok(None),
        }
    }

    fn control(&mut self, control: Control, frame: &Frame) -> Option<StreamEvent> {
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
                // answers the peer's close frame, unless that answers ours
                self.refuse(match code {
                    1005 => CloseCode::Normal,
                    code => code.into(),
                });
                return Some(StreamEvent::End(CloseReason::Closed(code, reason)));
            }
            Control::Pong | Control::Reserved(_) => {}
        }
        None
    }

    fn too_long<T>(&mut self, size: usize) -> Result<T, TooLong> {
        self.refuse(CloseCode::Size);
        let limit = self.max_message;
        Err(TooLong { size, limit })
    }

    /// Sends a close frame with this code; the peer may no longer listen.
    fn refuse(&mut self, code: CloseCode) {
        let _ = self.say(close_frame(code));
        self.closing = true;
    }

    /// Sends a frame, masked as a client must.
    fn say(&mut self, mut frame: Frame) -> tungstenite::Result<()> {
        if self.closing {
            return Ok(());
        }
        // sixteen random bytes in base64, of which four are used
        frame.header_mut().mask = generate_key().as_bytes().first_chunk::<4>().copied();
        self.frames.send(frame)
    }
}

/// Appends a message to a text. A large one is not copied: what was before it is put before it.
fn append(mut message: Vec<u8>, into: &mut Vec<u8>) {
    if message.len() < LARGE {
        into.extend_from_slice(&message);
        return;
    }
    message.splice(..0, into.drain(..));
    *into = message;
}

/// Largest control frame, in bytes; it must get through however little is left for a message.
const CONTROL: usize = 125;

fn close_frame(code: CloseCode) -> Frame {
    Frame::close(Some(CloseFrame {
        code,
        reason: "".into(),
    }))
}

fn broken(why: &dyn fmt::Display) -> StreamEvent {
    StreamEvent::End(CloseReason::Broken(why.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::config::{HttpConfig, SecretRef, TlsLibrary, Url};
    use crate::net::Network;
    use crate::secret;
    use crate::shutdown::Shutdown;

    #[test]
    fn a_message_comes_behind_what_was_there() {
        for size in [3, LARGE] {
            let mut text = b"before".to_vec();
            append(vec![b'x'; size], &mut text);
            assert_eq!(text, [b"before".to_vec(), vec![b'x'; size]].concat());
        }
    }

    #[test]
    fn an_ending_says_its_code() {
        let said = |code| CloseReason::Closed(code, String::new()).to_string();
        for code in [1000, 1001, 1005, 1009, 1011, 4000] {
            assert!(said(code).ends_with(&format!("({code})")));
        }
        let all = CloseReason::Closed(1011, "ping timeout".into()).to_string();
        assert!(all.ends_with("(1011): ping timeout"), "{all}");
        assert!(
            CloseReason::Broken("reset".into())
                .to_string()
                .contains("1006")
        );
    }

    /// A server that answers this many pings and is otherwise silent. It returns when it last
    /// answered, and how many more pings it got.
    fn server(answers: usize) -> (Url, JoinHandle<(Instant, usize)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse_web_socket(&format!("ws://127.0.0.1:{port}")).unwrap();
        let serve = move || {
            let tcp = listener.accept().unwrap().0;
            tungstenite::accept(tcp.try_clone().unwrap()).unwrap();
            let mut frames = FrameSocket::new(tcp);
            let (mut spoke, mut unanswered) = (Instant::now(), 0);
            let mut left = answers;
            while let Ok(Some(frame)) = frames.read(None) {
                assert_eq!(frame.header().opcode, OpCode::Control(Control::Ping));
                if left > 0 {
                    left -= 1;
                    spoke = Instant::now();
                    frames.send(Frame::pong(Vec::new())).unwrap();
                } else {
                    unanswered += 1;
                }
            }
            (spoke, unanswered)
        };
        (url, thread::spawn(serve))
    }

    fn open(url: &Url) -> WebSocket {
        let http = HttpConfig {
            proxy: None,
            ca: None,
            tls: TlsLibrary::Rustls,
            timeout: Duration::from_secs(60),
        };
        let network = Arc::new(Network::new(&http, |_| None).unwrap());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"Bearer x").unwrap();
        let secret = SecretRef::File(file.path().to_owned());
        let opened = WebSocket::open(&HandshakeRequest {
            network: &network,
            url,
            query: &[],
            authorization: &secret::read(&secret, "a key").unwrap(),
            max_message: 1000,
            shutdown: &Shutdown::never(),
        });
        match opened.unwrap() {
            HandshakeOutcome::Open(socket) => *socket,
            HandshakeOutcome::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Longer than a server needs to answer, and than two reads wait.
    const DEAD_AFTER: Duration = Duration::from_millis(2500);

    #[test]
    fn pongs_may_be_missed_until_nothing_at_all_has_come_for_too_long() {
        for answers in [0, 3] {
            let (url, server) = server(answers);
            let mut socket = open(&url);
            socket.ping = Duration::ZERO;
            socket.dead = DEAD_AFTER;
            let mut buffer = Vec::new();
            let end = loop {
                match socket.read(&mut buffer).unwrap() {
                    StreamEvent::Nothing => {}
                    heard => break format!("{heard:?}"),
                }
            };
            assert!(end.contains("no data came for "), "{end}");
            let over = Instant::now();
            drop(socket);
            let (spoke, unanswered) = server.join().unwrap();
            assert!(over - spoke >= DEAD_AFTER);
            assert!(unanswered >= 2, "{unanswered}");
        }
    }
}
