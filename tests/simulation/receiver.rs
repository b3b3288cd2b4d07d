//! The Devo receiver by model. It speaks the clear session that takes the place of TLS in a simulation.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::network::{Outbox, Peer, Sent};

const HELLO: u8 = 0;
const DATA: u8 = 1;
const CLOSE_NOTIFY: u8 = 2;
const ALERT: u8 = 3;
const HEADER: usize = 5;
/// How long after its last read a receiver ends that does so early. Its kernel has acknowledged the bytes by then.
const EARLY: Duration = Duration::from_millis(10);
/// Bytes that its kernel takes when it reads no more.
const RECEIVE_BUFFER: usize = 1_024;

/// What a connection of the receiver does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes everything, and answers our close_notify by its own and the end.
    Normal,
    /// The same without a close_notify of its own.
    NoGoodbye,
    /// Nobody listens.
    Refuse,
    /// The connection ends within the handshake.
    CutHandshake,
    /// Nobody answers the handshake.
    Silent,
    /// Refuses us behind the handshake, as TLS 1.3 does with a certificate, and keeps nothing.
    Alert,
    /// Keeps the whole lines among so many bytes, and resets.
    ResetAfter(usize),
    /// Takes so many bytes, keeps nothing, and resets.
    ForgetThenReset(usize),
    /// Takes so many bytes, keeps nothing, and says goodbye as if that were all. What comes then is
    /// answered by a reset.
    ForgetThenClose(usize),
    /// Keeps everything, and resets in the place of its goodbye.
    ResetAtGoodbye,
    /// Keeps nothing, and resets in the place of its goodbye.
    ForgetAtGoodbye,
    /// Keeps everything, and never says goodbye.
    NeverClose,
    /// Reads no more after so many bytes, and its kernel takes no more soon after.
    StopReading(usize),
    /// Says goodbye so long after ours.
    SlowClose(Duration),
}

/// A line that the receiver has kept.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The line, without its end.
    pub line: Vec<u8>,
}

/// What the receiver has by now.
#[derive(Debug, Default)]
pub struct Received {
    /// In the order in which it came.
    pub lines: Vec<Delivery>,
    /// Of each connection: whether it ended as a confirmation does.
    pub confirmed: Vec<bool>,
}

/// The receiver, whose connections come and go.
pub type Receiver = Arc<Mutex<Received>>;

/// A connection of the receiver.
#[derive(Debug)]
pub struct Session {
    receiver: Receiver,
    number: usize,
    behaviour: Behaviour,
    /// Bytes that are no whole record yet.
    partial: Vec<u8>,
    /// Events that are no whole line yet.
    line: Vec<u8>,
    /// Bytes of events so far.
    taken: usize,
    /// Bytes that its kernel has taken.
    arrived: usize,
    is_over: bool,
}

impl Session {
    /// The next connection of the receiver.
    pub fn new(receiver: &Receiver, behaviour: Behaviour) -> Session {
        let mut received = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        received.confirmed.push(false);
        Session {
            receiver: Arc::clone(receiver),
            number: received.confirmed.len() - 1,
            behaviour,
            partial: Vec::new(),
            line: Vec::new(),
            taken: 0,
            arrived: 0,
            is_over: false,
        }
    }

    fn keeps(&self) -> bool {
        !matches!(
            self.behaviour,
            Behaviour::ForgetThenReset(_)
                | Behaviour::ForgetThenClose(_)
                | Behaviour::ForgetAtGoodbye
        )
    }

    /// After how many bytes of events something happens.
    fn limit(&self) -> Option<usize> {
        match self.behaviour {
            Behaviour::ResetAfter(bytes)
            | Behaviour::ForgetThenReset(bytes)
            | Behaviour::ForgetThenClose(bytes)
            | Behaviour::StopReading(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Takes events, and returns whether it is at its limit.
    fn take(&mut self, events: &[u8]) -> bool {
        let room = self.limit().map_or(usize::MAX, |limit| limit - self.taken);
        let events = &events[..events.len().min(room)];
        self.taken += events.len();
        self.line.extend_from_slice(events);
        if self.keeps() {
            self.keep_whole_lines();
        }
        self.limit() == Some(self.taken)
    }

    fn keep_whole_lines(&mut self) {
        let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.line.split_off(end + 1);
        let whole = std::mem::replace(&mut self.line, rest);
        let mut received = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = whole.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        received.lines.extend(lines.map(|line| Delivery {
            connection: self.number,
            line: line.to_owned(),
        }));
    }

    /// The client has said that it will send no more.
    fn say_goodbye(&mut self, out: &mut Outbox) {
        let after = match self.behaviour {
            Behaviour::SlowClose(after) => after,
            _ => Duration::ZERO,
        };
        match self.behaviour {
            Behaviour::NeverClose | Behaviour::StopReading(_) => return,
            // one that forgets and says goodbye could not be told from one that keeps
            Behaviour::ResetAtGoodbye
            | Behaviour::ForgetAtGoodbye
            | Behaviour::ForgetThenReset(_)
            | Behaviour::ForgetThenClose(_) => {
                out.send(Duration::ZERO, Sent::Reset);
            }
            Behaviour::NoGoodbye => out.send(Duration::ZERO, Sent::End),
            _ => {
                if !matches!(self.behaviour, Behaviour::SlowClose(_)) {
                    let receiver = self.receiver.lock();
                    receiver.unwrap_or_else(PoisonError::into_inner).confirmed[self.number] = true;
                }
                out.send(after, Sent::Bytes(record(CLOSE_NOTIFY)));
                out.send(after, Sent::End);
            }
        }
        self.is_over = true;
    }

    fn at_limit(&mut self, out: &mut Outbox) {
        match self.behaviour {
            Behaviour::ResetAfter(_) | Behaviour::ForgetThenReset(_) => {
                out.send(EARLY, Sent::Reset);
                self.is_over = true;
            }
            Behaviour::ForgetThenClose(_) => {
                out.send(EARLY, Sent::Bytes(record(CLOSE_NOTIFY)));
                out.send(EARLY, Sent::End);
                self.is_over = true;
            }
            _ => {}
        }
    }

    fn handle(&mut self, kind: u8, content: &[u8], out: &mut Outbox) {
        match kind {
            HELLO => match self.behaviour {
                Behaviour::Silent => {}
                Behaviour::CutHandshake => {
                    out.send(Duration::ZERO, Sent::End);
                    self.is_over = true;
                }
                Behaviour::Alert => {
                    out.send(Duration::ZERO, Sent::Bytes(record(HELLO)));
                    out.send(Duration::ZERO, Sent::Bytes(record(ALERT)));
                    out.send(Duration::ZERO, Sent::End);
                    self.is_over = true;
                }
                _ => out.send(Duration::ZERO, Sent::Bytes(record(HELLO))),
            },
            DATA => {
                if self.take(content) {
                    self.at_limit(out);
                }
            }
            _ => self.say_goodbye(out),
        }
    }
}

impl Peer for Session {
    fn receive(&mut self, bytes: &[u8], _: Duration, out: &mut Outbox) {
        self.arrived += bytes.len();
        if self.is_over {
            // nobody has the socket any more
            out.send(Duration::ZERO, Sent::Reset);
            return;
        }
        self.partial.extend_from_slice(bytes);
        while !self.is_over {
            let Some((kind, content)) = first_record(&self.partial) else {
                return;
            };
            let (content, end) = (content.to_owned(), HEADER + content.len());
            self.partial.drain(..end);
            self.handle(kind, &content, out);
        }
        // what was not read when it closed is answered so
        if !self.partial.is_empty() {
            out.send(Duration::ZERO, Sent::Reset);
        }
    }

    fn end(&mut self, _: Duration, _: &mut Outbox) {}

    fn gone(&mut self, _: Duration) {}

    fn wake(&mut self, _: Duration, _: &mut Outbox) -> Option<Duration> {
        None
    }

    fn room(&self) -> usize {
        match self.behaviour {
            Behaviour::StopReading(bytes) => (bytes + RECEIVE_BUFFER).saturating_sub(self.arrived),
            _ => usize::MAX,
        }
    }
}

/// An empty record.
fn record(kind: u8) -> Vec<u8> {
    vec![kind, 0, 0, 0, 0]
}

fn first_record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let length = u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?);
    Some((bytes[0], bytes.get(HEADER..HEADER + length as usize)?))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::network::Connection;
    use super::*;

    /// What a client notices after a step: each record, `end`, `reset`, or nothing.
    fn noticed(connection: &mut Connection, now: Duration) -> String {
        let mut seen = String::new();
        loop {
            let mut header = [0; HEADER];
            seen += match connection.read(&mut header, now, false) {
                Ok(None) => return seen,
                Ok(Some(0)) => match connection.take_error(now) {
                    Ok(()) => return seen + "end",
                    Err(_) => return seen + "end reset",
                },
                Ok(Some(_)) => match header[0] {
                    HELLO => "hello ",
                    CLOSE_NOTIFY => "goodbye ",
                    _ => "alert ",
                },
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    return seen + "reset";
                }
            };
        }
    }

    #[test]
    fn each_behaviour_keeps_and_ends_as_it_says() {
        let slow = Duration::from_secs(3);
        let all = "one two three";
        // the behaviour, what is kept, whether it is confirmed, and what is noticed after the handshake, after the
        // events, and after our goodbye
        let table = [
            (Behaviour::Normal, all, true, ["hello ", "", "goodbye end"]),
            (Behaviour::NoGoodbye, all, false, ["hello ", "", "end"]),
            (
                Behaviour::ResetAfter(9),
                "one two",
                false,
                ["hello ", "reset", ""],
            ),
            (
                Behaviour::ForgetThenReset(9),
                "",
                false,
                ["hello ", "reset", ""],
            ),
            (
                Behaviour::ForgetThenReset(99),
                "",
                false,
                ["hello ", "", "reset"],
            ),
            (
                Behaviour::ForgetThenClose(14),
                "",
                false,
                ["hello ", "goodbye end", "end reset"],
            ),
            (
                Behaviour::ForgetThenClose(99),
                "",
                false,
                ["hello ", "", "reset"],
            ),
            (
                Behaviour::ResetAtGoodbye,
                all,
                false,
                ["hello ", "", "reset"],
            ),
            (
                Behaviour::ForgetAtGoodbye,
                "",
                false,
                ["hello ", "", "reset"],
            ),
            (Behaviour::NeverClose, all, false, ["hello ", "", ""]),
            (Behaviour::StopReading(5), "one", false, ["hello ", "", ""]),
            (
                Behaviour::SlowClose(slow),
                all,
                false,
                ["hello ", "", "goodbye end"],
            ),
            (Behaviour::Silent, all, true, ["", "", "goodbye end"]),
            (Behaviour::CutHandshake, "", false, ["end", "end reset", ""]),
            (
                Behaviour::Alert,
                "",
                false,
                ["hello alert end", "end reset", ""],
            ),
        ];
        for (behaviour, kept, is_confirmed, seen) in table {
            let receiver = Receiver::default();
            let session = Session::new(&receiver, behaviour.clone());
            let mut connection = Connection::to(Box::new(session), Duration::ZERO);
            let mut data = vec![DATA, 0, 0, 0, 14];
            data.extend_from_slice(b"one\ntwo\nthree\n");
            let mut now = Duration::ZERO;
            for (step, sent) in [record(HELLO), data, record(CLOSE_NOTIFY)]
                .iter()
                .enumerate()
            {
                if connection.write(sent, now).is_ok() {
                    now += slow;
                    let seen = seen[step];
                    assert_eq!(noticed(&mut connection, now), seen, "{behaviour:?}, {step}");
                }
            }
            let received = receiver.lock().unwrap();
            let lines = received.lines.iter().map(|line| line.line.as_slice());
            let lines = lines.collect::<Vec<_>>().join(b" ".as_slice());
            assert_eq!(lines, kept.as_bytes(), "{behaviour:?}");
            assert_eq!(received.confirmed, [is_confirmed], "{behaviour:?}");
        }
    }

    #[test]
    fn events_in_pieces_are_kept_as_whole_lines() {
        let receiver = Receiver::default();
        let mut connections = [(); 2].map(|()| {
            let session = Session::new(&receiver, Behaviour::Normal);
            Connection::to(Box::new(session), Duration::ZERO)
        });
        for bytes in [
            [DATA, 0, 0, 0, 4].as_slice(),
            b"on",
            b"e\n",
            &[DATA, 0, 0, 0, 2],
            b"tw",
        ] {
            connections[1].write(bytes, Duration::ZERO).unwrap();
        }
        let received = receiver.lock().unwrap();
        let [line] = &received.lines[..] else {
            panic!("{received:?}");
        };
        assert_eq!((line.connection, &line.line[..]), (1, b"one".as_slice()));
    }
}
