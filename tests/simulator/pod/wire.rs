//! The server's side of RFC 6455, byte by byte, so that any fault can be told.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tungstenite::handshake::derive_accept_key;

use super::super::http::{Asked, Wire};
use super::super::rng::Rng;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
/// A client that does not read, or does not answer, is left after so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers a handshake.
pub(super) fn shake_hands(wire: &mut Wire, request: &Asked, date: &str) -> io::Result<()> {
    let key = request.header("sec-websocket-key").unwrap_or_default();
    write!(
        wire,
        "HTTP/1.1 101 Switching Protocols\r\nDate: {date}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )?;
    wire.flush()
}

/// What the client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Nothing that matters.
    Nothing,
    /// A ping.
    Ping,
    /// Its close frame.
    Close,
    /// The end of the connection.
    End,
}

/// A connection behind its handshake.
pub(super) struct Frames {
    wire: Wire,
    heard: Vec<u8>,
    /// Frames all alike.
    plain: bool,
    /// Whether pings are answered.
    pongs: bool,
    rng: Rng,
}

impl Frames {
    pub(super) fn new(wire: Wire, plain: bool) -> io::Result<Self> {
        wire.tcp().set_nodelay(true)?;
        // a client that does not read is left
        wire.tcp()
            .set_write_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self {
            wire,
            heard: Vec::new(),
            plain,
            pongs: true,
            rng: Rng::new(7),
        })
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    /// An event a message, and what else a server may send among them.
    pub(super) fn events(&mut self, events: &[Arc<[u8]>]) -> io::Result<()> {
        let mut out = Vec::new();
        for event in events {
            if self.plain {
                frame(FINAL | TEXT, event, &mut out);
                continue;
            }
            let mut event = event.to_vec();
            if self.rng.chance(50) {
                event.push(b'\n');
            }
            let kind = *self.rng.pick(&[TEXT, BINARY]);
            match self.rng.below(10) {
                0 => {
                    let (one, other) = event.split_at(self.rng.below(event.len()));
                    frame(kind, one, &mut out);
                    frame(FINAL | PING, b"in the middle", &mut out);
                    frame(FINAL | CONTINUATION, other, &mut out);
                }
                1 => {
                    frame(FINAL | TEXT, b"", &mut out);
                    frame(FINAL | kind, &event, &mut out);
                    frame(FINAL | TEXT, b"\n", &mut out);
                }
                _ => frame(FINAL | kind, &event, &mut out),
            }
        }
        self.raw(&out)
    }

    pub(super) fn answer_no_pings(&mut self) {
        self.pongs = false;
    }

    /// Hears what the client says, for so long at most.
    pub(super) fn hear(&mut self, wait: Duration) -> io::Result<From> {
        // what came together is heard one after the other
        if let Some(said) = self.said()? {
            return Ok(said);
        }
        let tcp = self.wire.tcp();
        match wait.is_zero() {
            true => tcp.set_nonblocking(true)?,
            false => tcp.set_read_timeout(Some(wait))?,
        }
        let mut buffer = [0; 4096];
        let read = self.wire.read(&mut buffer);
        self.wire.tcp().set_nonblocking(false)?;
        match read {
            Ok(0) => return Ok(From::End),
            Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(From::End),
        }
        Ok(self.said()?.unwrap_or(From::Nothing))
    }

    /// What a frame that has come whole says, if it matters.
    fn said(&mut self) -> io::Result<Option<From>> {
        while let Some((kind, payload)) = self.take() {
            match kind & 0x0f {
                CLOSE => return Ok(Some(From::Close)),
                PING => {
                    let mut out = Vec::new();
                    frame(FINAL | PONG, &payload, &mut out);
                    if self.pongs {
                        self.raw(&out)?;
                    }
                    return Ok(Some(From::Ping));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next frame that has come whole; a client's are masked, and short.
    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&kind, &length) = (self.heard.first()?, self.heard.get(1)?);
        assert!(length & 0x80 != 0, "a client masks its frames");
        let end = 6 + usize::from(length & 0x7f);
        let whole = self.heard.get(..end)?;
        let mask = &whole[2..6];
        let payload = whole[6..].iter().zip(mask.iter().cycle());
        let payload = payload.map(|(byte, mask)| byte ^ mask).collect();
        self.heard.drain(..end);
        Some((kind, payload))
    }

    /// A close frame, and the end once the client has answered or gone.
    pub(super) fn close(mut self, code: u16, reason: &str) -> io::Result<()> {
        let mut out = Vec::new();
        // 1005 is a close frame without a code
        let said = match code {
            1005 => Vec::new(),
            code => [&code.to_be_bytes(), reason.as_bytes()].concat(),
        };
        frame(FINAL | CLOSE, &said, &mut out);
        self.raw(&out)?;
        // to close while the client still reads, and answers pings, would cut off what it has not read
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let From::Close | From::End = self.hear(Duration::from_millis(20))? {
                break;
            }
        }
        self.wire.end()
    }

    pub(super) fn reset(self) -> io::Result<()> {
        self.wire.reset()
    }

    /// The end of the connection in the middle of a frame.
    pub(super) fn break_off(mut self, event: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        frame(FINAL | TEXT, event, &mut out);
        let half = out.len() / 2;
        self.raw(&out[..half.max(1)])?;
        self.end()
    }

    /// The end of the connection.
    pub(super) fn end(mut self) -> io::Result<()> {
        let tcp = self.wire.tcp();
        tcp.shutdown(Shutdown::Write)?;
        // to close while the client still answers pings would cut off what it has not read
        tcp.set_read_timeout(Some(PATIENCE))?;
        io::copy(&mut self.wire, &mut io::sink()).map(drop)
    }

    /// Pings until the client goes.
    pub(super) fn ping_on(mut self) -> io::Result<()> {
        let mut ping = Vec::new();
        frame(FINAL | PING, b"again", &mut ping);
        while self.hear(Duration::from_millis(100))? != From::End {
            self.raw(&ping)?;
        }
        Ok(())
    }

    /// Reads until the client goes, and never says a word.
    pub(super) fn be_silent(mut self) -> io::Result<()> {
        self.wire.tcp().set_read_timeout(None)?;
        io::copy(&mut self.wire, &mut io::sink()).map(drop)
    }
}

/// Adds a frame as a server sends it: without a mask.
fn frame(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    match payload.len() {
        length @ 0..126 => out.push(length as u8),
        length @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
