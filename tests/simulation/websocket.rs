//! The WebSocket of a log stream by model (RFC 6455), from the side of the server.

use std::time::Duration;

use time::OffsetDateTime;

use super::api::{Step, Stream};
use super::http::Fault;
use super::network::{Outbox, Sent};

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// Messages that are sent at once, before the client has read any.
const AT_ONCE: usize = 64;

/// An open log stream.
#[derive(Debug)]
pub struct LogStream {
    stream: Box<dyn Stream>,
    /// Bytes of the client that are no whole frame yet.
    partial: Vec<u8>,
    /// After how many messages it breaks, and how.
    breaks: Option<(usize, Fault)>,
    messages: usize,
    /// Nothing is sent before this time.
    waits_until: Duration,
    is_over: bool,
}

impl LogStream {
    /// A stream with whose messages this goes wrong.
    pub fn new(stream: Box<dyn Stream>, fault: Option<Fault>) -> LogStream {
        let breaks = fault.map(|fault| match fault {
            // so many bytes of an answer are about so many messages
            Fault::CutBody(at) | Fault::ResetBody(at) => (at / 256, fault),
            _ => (usize::MAX, fault),
        });
        LogStream {
            stream,
            partial: Vec::new(),
            breaks,
            messages: 0,
            waits_until: Duration::ZERO,
            is_over: false,
        }
    }

    /// Bytes of the client have come.
    pub fn receive(&mut self, bytes: &[u8], clock: OffsetDateTime, out: &mut Outbox) {
        self.partial.extend_from_slice(bytes);
        while let Some((opcode, content, length)) = first_frame(&self.partial) {
            self.partial.drain(..length);
            match opcode {
                PING if !self.is_over => out.send(Duration::ZERO, frame(PONG, &content)),
                CLOSE => {
                    if !self.is_over {
                        out.send(Duration::ZERO, frame(CLOSE, &content));
                    }
                    out.send(Duration::ZERO, Sent::End);
                    self.gone(clock);
                }
                _ => {}
            }
        }
    }

    /// The connection is gone.
    pub fn gone(&mut self, clock: OffsetDateTime) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.stream.closed(clock);
        }
    }

    /// Sends what is due, and returns when there is more.
    pub fn wake(
        &mut self,
        clock: OffsetDateTime,
        now: Duration,
        out: &mut Outbox,
    ) -> Option<Duration> {
        if self.is_over {
            return None;
        }
        if now < self.waits_until {
            return Some(self.waits_until);
        }
        for _ in 0..AT_ONCE {
            if self
                .breaks
                .as_ref()
                .is_some_and(|(after, _)| self.messages >= *after)
            {
                let is_reset = matches!(self.breaks, Some((_, Fault::ResetBody(_))));
                out.send(
                    Duration::ZERO,
                    if is_reset { Sent::Reset } else { Sent::End },
                );
                self.gone(clock);
                return None;
            }
            match self.stream.step(clock) {
                Step::Message(text) => {
                    self.messages += 1;
                    out.send(Duration::ZERO, frame(TEXT, &text));
                }
                Step::Wait(time) => {
                    self.waits_until = now + time.max(Duration::from_millis(1));
                    return Some(self.waits_until);
                }
                Step::Close(code, reason) => {
                    let content = [&code.to_be_bytes(), reason.as_bytes()].concat();
                    out.send(Duration::ZERO, frame(CLOSE, &content));
                    self.gone(clock);
                    return None;
                }
                Step::End | Step::Reset => {
                    out.send(Duration::ZERO, Sent::End);
                    self.gone(clock);
                    return None;
                }
            }
        }
        None
    }
}

/// A frame of the server, which is not masked.
fn frame(opcode: u8, content: &[u8]) -> Sent {
    let mut bytes = vec![0x80 | opcode];
    match content.len() {
        length @ ..126 => bytes.push(length as u8),
        length @ ..65_536 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    Sent::Bytes(bytes)
}

/// The first frame of a client, which is masked: its opcode, its content, and its length as a whole. Clients
/// send control frames alone, which are short.
fn first_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (opcode, length) = (bytes.first()? & 0xf, usize::from(bytes.get(1)? & 0x7f));
    let mask = bytes.get(2..6)?;
    let content = bytes.get(6..6 + length)?;
    let content = content.iter().zip(mask.iter().cycle());
    let content = content.map(|(byte, mask)| byte ^ mask).collect();
    Some((opcode, content, 6 + length))
}
