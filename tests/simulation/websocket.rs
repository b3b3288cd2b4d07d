//! The WebSocket of a log stream by model (RFC 6455), from the side of the server.

use std::time::Duration;

use time::OffsetDateTime;

use super::api::{Step, Stream};
use super::http::Fault;
use super::network::{Outbox, Sent};

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// The bit of the last frame of a message.
const LAST: u8 = 0x80;
/// Messages that are sent at once, before the client has read any.
const AT_ONCE: usize = 64;
/// So many bytes of an answer are about a message.
const MESSAGE: usize = 256;

/// An open log stream.
#[derive(Debug)]
pub struct LogStream {
    stream: Box<dyn Stream>,
    /// Bytes of the client that are no whole frame yet.
    partial: Vec<u8>,
    /// After how many messages it breaks, how many bytes of the next one come, and how it ends then.
    breaks: Option<(usize, usize, Sent)>,
    /// Messages come in fragments of so many bytes, with a ping in each.
    fragment: Option<usize>,
    messages: usize,
    /// Nothing is sent before this time.
    waits_until: Duration,
    is_over: bool,
}

impl LogStream {
    /// A stream with whose messages this goes wrong.
    pub fn new(stream: Box<dyn Stream>, fault: Option<&Fault>) -> LogStream {
        let (mut breaks, mut fragment) = (None, None);
        match fault {
            Some(&Fault::CutBody(at)) => breaks = Some((at / MESSAGE, at % MESSAGE, Sent::End)),
            Some(&Fault::ResetBody(at)) => breaks = Some((at / MESSAGE, at % MESSAGE, Sent::Reset)),
            Some(&Fault::Drip { piece, .. }) => fragment = Some(piece),
            _ => {}
        }
        LogStream {
            stream,
            partial: Vec::new(),
            breaks,
            fragment,
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
                PING if !self.is_over => {
                    out.send(Duration::ZERO, Sent::Bytes(frame(PONG, &content)));
                }
                CLOSE => {
                    if !self.is_over {
                        out.send(Duration::ZERO, Sent::Bytes(frame(CLOSE, &content)));
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
            let breaks = self.breaks.take_if(|(after, ..)| self.messages >= *after);
            match (self.stream.step(clock), breaks) {
                (Step::Message(text), Some((_, bytes, end))) => {
                    let mut part = frame(TEXT, &text);
                    part.truncate(bytes.min(part.len() - 1));
                    return self.end(&part, end, clock, out);
                }
                (Step::Wait(_), Some((.., end))) => return self.end(&[], end, clock, out),
                (Step::Message(text), None) => {
                    self.messages += 1;
                    self.send(&text, out);
                }
                (Step::Wait(time), None) => {
                    self.waits_until = now + time.max(Duration::from_millis(1));
                    return Some(self.waits_until);
                }
                (Step::Close(code, reason), _) => {
                    let content = [&code.to_be_bytes(), reason.as_bytes()].concat();
                    out.send(Duration::ZERO, Sent::Bytes(frame(CLOSE, &content)));
                    self.gone(clock);
                    return None;
                }
                (Step::End, _) => return self.end(&[], Sent::End, clock, out),
                (Step::Reset, _) => return self.end(&[], Sent::Reset, clock, out),
            }
        }
        None
    }

    /// Ends the connection behind the part of a frame.
    fn end(
        &mut self,
        part: &[u8],
        end: Sent,
        clock: OffsetDateTime,
        out: &mut Outbox,
    ) -> Option<Duration> {
        if !part.is_empty() {
            out.send(Duration::ZERO, Sent::Bytes(part.to_owned()));
        }
        out.send(Duration::ZERO, end);
        self.gone(clock);
        None
    }

    /// Sends a message.
    fn send(&self, text: &[u8], out: &mut Outbox) {
        let Some(piece) = self.fragment.filter(|piece| *piece < text.len()) else {
            return out.send(Duration::ZERO, Sent::Bytes(frame(TEXT, text)));
        };
        let mut frames = Vec::with_capacity(text.len() * 2);
        for (number, fragment) in text.chunks(piece).enumerate() {
            let opcode = if number == 0 { TEXT } else { CONTINUATION };
            let mut next = frame(opcode, fragment);
            if (number + 1) * piece < text.len() {
                next[0] &= !LAST;
            }
            frames.append(&mut next);
            if number == 0 {
                frames.append(&mut frame(PING, b"there?"));
            }
        }
        out.send(Duration::ZERO, Sent::Bytes(frames));
    }
}

/// A frame of the server, which is not masked.
fn frame(opcode: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 10);
    bytes.push(LAST | opcode);
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
    bytes
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const CLOCK: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// Makes these steps, then waits. Notes whether it was closed.
    #[derive(Debug)]
    struct Steps(Vec<Step>, Arc<Mutex<bool>>);

    impl Stream for Steps {
        fn step(&mut self, _: OffsetDateTime) -> Step {
            match self.0.is_empty() {
                true => Step::Wait(Duration::from_secs(1)),
                false => self.0.remove(0),
            }
        }

        fn closed(&mut self, _: OffsetDateTime) {
            *self.1.lock().unwrap() = true;
        }
    }

    fn message(text: &str) -> Step {
        Step::Message(text.into())
    }

    /// What is sent when the client waits, when the next steps are due, and whether the stream was closed.
    fn woken(
        steps: Vec<Step>,
        fault: Option<&Fault>,
    ) -> (Vec<u8>, Vec<Sent>, Option<Duration>, bool) {
        let is_closed = Arc::default();
        let stream = Steps(steps, Arc::clone(&is_closed));
        let mut stream = LogStream::new(Box::new(stream), fault);
        let mut out = Outbox::default();
        let next = stream.wake(CLOCK, Duration::ZERO, &mut out);
        let (mut bytes, mut rest) = (Vec::new(), Vec::new());
        for sent in out.sent() {
            match sent {
                Sent::Bytes(sent) => bytes.extend_from_slice(&sent),
                end => rest.push(end),
            }
        }
        let is_closed = *is_closed.lock().unwrap();
        (bytes, rest, next, is_closed)
    }

    #[test]
    fn what_a_stream_does_is_framed() {
        let two = || vec![message("one"), message("two")];
        let second = Some(Duration::from_secs(1));
        let framed = b"\x81\x03one\x81\x03two".to_vec();
        assert_eq!(
            woken(two(), None),
            (framed.clone(), Vec::new(), second, false)
        );
        let closing = [two(), vec![Step::Close(1001, "bye")]].concat();
        let closed = [&framed[..], b"\x88\x05\x03\xe9bye"].concat();
        assert_eq!(woken(closing, None), (closed, Vec::new(), None, true));
        for (step, end) in [(Step::End, Sent::End), (Step::Reset, Sent::Reset)] {
            let ending = [two(), vec![step]].concat();
            assert_eq!(woken(ending, None), (framed.clone(), vec![end], None, true));
        }
        for (length, head) in [
            (125, b"\x81\x7d".as_slice()),
            (126, b"\x81\x7e\x00\x7e"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let (bytes, ..) = woken(vec![Step::Message(vec![b'x'; length])], None);
            assert!(bytes.starts_with(head), "{length}");
            assert_eq!(bytes.len(), head.len() + length);
        }
    }

    #[test]
    fn a_fault_cuts_a_frame_or_breaks_messages_into_fragments() {
        let two = || vec![message("one"), message("two")];
        let cut = [
            (Fault::CutBody(0), b"".as_slice(), Sent::End),
            (Fault::CutBody(3), b"\x81\x03o", Sent::End),
            (
                Fault::ResetBody(MESSAGE + 99),
                b"\x81\x03one\x81\x03tw",
                Sent::Reset,
            ),
            (
                Fault::CutBody(2 * MESSAGE),
                b"\x81\x03one\x81\x03two",
                Sent::End,
            ),
        ];
        for (fault, bytes, end) in cut {
            let said = (bytes.to_vec(), vec![end], None, true);
            assert_eq!(woken(two(), Some(&fault)), said, "{fault:?}");
        }
        let drip = Fault::Drip {
            piece: 2,
            pause: Duration::ZERO,
        };
        let (bytes, ..) = woken(vec![message("abcde"), message("ab")], Some(&drip));
        let framed = b"\x01\x02ab\x89\x06there?\x00\x02cd\x80\x01e\x81\x02ab";
        assert_eq!(bytes, framed);
    }

    #[test]
    fn a_ping_and_a_close_of_the_client_are_answered_though_they_come_in_pieces() {
        let is_closed = Arc::default();
        let stream = Steps(Vec::new(), Arc::clone(&is_closed));
        let mut stream = LogStream::new(Box::new(stream), None);
        let mut out = Outbox::default();
        // both are masked: with 01 02 03 04, and with 00 00 00 00
        for bytes in [
            b"\x89\x83\x01\x02".as_slice(),
            b"\x03\x04ikz",
            b"\x88\x82\0\0\0\0\x03",
            b"\xe8",
        ] {
            assert!(!*is_closed.lock().unwrap());
            stream.receive(bytes, CLOCK, &mut out);
        }
        assert!(*is_closed.lock().unwrap());
        let answers = [b"\x8a\x03hiy".to_vec(), b"\x88\x02\x03\xe8".to_vec()];
        let answers = answers.map(Sent::Bytes).into_iter().chain([Sent::End]);
        assert_eq!(stream.wake(CLOCK, Duration::ZERO, &mut out), None);
        assert_eq!(out.sent(), answers.collect::<Vec<_>>());
    }
}
