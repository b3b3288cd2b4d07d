//! Connections in simulated time. A peer is a state machine: it takes bytes as they arrive, and says what goes
//! back, and when.
//!
//! A byte takes half a round trip. What arrived stays readable behind a reset, as on Linux; the error waits at the
//! socket until it is taken.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{ErrorKind, Result};
use std::time::Duration;

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of its half.
    End,
    /// A reset of the connection.
    Reset,
}

/// What a peer sends, and when it arrives.
#[derive(Debug, Default)]
pub struct Outbox {
    now: Duration,
    link: Duration,
    items: VecDeque<(Duration, Sent)>,
}

impl Outbox {
    /// Sends something so long after now.
    pub fn send(&mut self, after: Duration, sent: Sent) {
        let due = self.now + after + self.link / 2;
        // nothing overtakes what was sent before it
        let due = self.items.back().map_or(due, |(last, _)| due.max(*last));
        self.items.push_back((due, sent));
    }

    /// Everything that was sent.
    #[cfg(test)]
    pub fn sent(self) -> Vec<Sent> {
        self.items.into_iter().map(|(_, sent)| sent).collect()
    }

    /// When the last of it arrives.
    #[cfg(test)]
    pub fn last_due(&self) -> Duration {
        self.items.back().map(|(due, _)| *due).unwrap_or_default()
    }
}

/// Bytes that our kernel keeps for a peer whose kernel takes no more.
const SEND_BUFFER: usize = 16 * 1024;

/// The other end of a connection. Times are those of the world, since it began.
pub trait Peer: Debug + Send {
    /// These bytes have arrived.
    fn receive(&mut self, bytes: &[u8], now: Duration, out: &mut Outbox);

    /// Nothing more will arrive: the end of our half.
    fn end(&mut self, now: Duration, out: &mut Outbox);

    /// The connection is gone at our side.
    fn gone(&mut self, now: Duration);

    /// Our side waits: what the peer does by itself until then. Returns when it does more, if it will.
    fn wake(&mut self, now: Duration, out: &mut Outbox) -> Option<Duration>;

    /// How many more bytes its kernel takes. Once that is fewer than were written, it never takes any again.
    fn room(&self) -> usize {
        usize::MAX
    }
}

/// A connection, seen from our side.
#[derive(Debug)]
pub struct Connection {
    peer: Box<dyn Peer>,
    inbox: Outbox,
    /// The error that waits at the socket.
    error: Option<ErrorKind>,
    is_reset: bool,
    has_shut_down: bool,
    /// When what was written last is acknowledged, and how much that is.
    unacknowledged: VecDeque<(Duration, u64)>,
    /// Bytes that our kernel keeps, because the peer's kernel takes no more.
    kept: usize,
}

impl Connection {
    /// A connection that was just made.
    pub fn to(peer: Box<dyn Peer>, link: Duration) -> Connection {
        Connection {
            peer,
            inbox: Outbox {
                link,
                ..Outbox::default()
            },
            error: None,
            is_reset: false,
            has_shut_down: false,
            unacknowledged: VecDeque::new(),
            kept: 0,
        }
    }

    fn arrival(&mut self, now: Duration) -> Duration {
        let arrival = now + self.inbox.link / 2;
        self.inbox.now = arrival;
        arrival
    }

    /// Writes as much as the kernels take; `WouldBlock` if that is nothing.
    pub fn write(&mut self, bytes: &[u8], now: Duration) -> Result<usize> {
        self.take_error(now)?;
        if self.is_reset || self.has_shut_down {
            return Err(ErrorKind::BrokenPipe.into());
        }
        // what is kept goes first
        let room = if self.kept > 0 { 0 } else { self.peer.room() };
        let (taken, rest) = bytes.split_at(bytes.len().min(room));
        if !taken.is_empty() {
            let arrival = self.arrival(now);
            self.peer.receive(taken, arrival, &mut self.inbox);
            let acknowledged = now + self.inbox.link;
            self.unacknowledged
                .push_back((acknowledged, taken.len() as u64));
        }
        let kept = rest.len().min(SEND_BUFFER - self.kept);
        self.kept += kept;
        match taken.len() + kept {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Reads what has arrived; `Ok(None)` if nothing has.
    pub fn read(&mut self, buffer: &mut [u8], now: Duration, keep: bool) -> Result<Option<usize>> {
        self.notice_reset(now);
        match self.inbox.items.front_mut() {
            Some((due, Sent::Bytes(bytes))) if *due <= now => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                if !keep {
                    bytes.drain(..count);
                    if bytes.is_empty() {
                        self.inbox.items.pop_front();
                    }
                }
                Ok(Some(count))
            }
            // as on Linux, an end comes before the error of a reset behind it
            Some((due, Sent::End)) if *due <= now => Ok(Some(0)),
            Some((due, Sent::Reset)) if *due <= now => match self.error.take() {
                Some(error) => Err(error.into()),
                None => Ok(Some(0)),
            },
            _ => Ok(None),
        }
    }

    /// Lets the peer act by itself. Returns when there may be something to read, if ever.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.inbox.now = now;
        let wakes = self.peer.wake(now, &mut self.inbox);
        let arrives = self.inbox.items.front().map(|(due, _)| *due);
        [wakes, arrives].into_iter().flatten().min()
    }

    /// A reset is known as soon as it has arrived, whatever stands before it.
    fn notice_reset(&mut self, now: Duration) {
        let is_due = matches!(self.inbox.items.back(), Some((due, Sent::Reset)) if *due <= now);
        if is_due && !self.is_reset {
            let mut items = self.inbox.items.iter();
            // as on Linux, where the peer had ended its half, and ours was open
            let is_behind_end = items.any(|(_, sent)| *sent == Sent::End) && !self.has_shut_down;
            self.is_reset = true;
            self.error = Some(match is_behind_end {
                true => ErrorKind::BrokenPipe,
                false => ErrorKind::ConnectionReset,
            });
        }
    }

    /// Whether an error waits, which is taken.
    pub fn take_error(&mut self, now: Duration) -> Result<()> {
        self.notice_reset(now);
        self.error.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Ends our half.
    pub fn shut_down(&mut self, now: Duration) -> Result<()> {
        self.notice_reset(now);
        if self.is_reset {
            return Err(ErrorKind::NotConnected.into());
        }
        if !std::mem::replace(&mut self.has_shut_down, true) {
            if self.kept > 0 {
                self.kept += 1;
                return Ok(());
            }
            let arrival = self.arrival(now);
            self.peer.end(arrival, &mut self.inbox);
            self.unacknowledged.push_back((now + self.inbox.link, 1));
        }
        Ok(())
    }

    /// What the peer's kernel has not acknowledged; `None` after a reset.
    pub fn unacknowledged(&mut self, now: Duration) -> Option<u64> {
        self.notice_reset(now);
        self.unacknowledged.retain(|(due, _)| *due > now);
        let sent = self.unacknowledged.iter().map(|(_, bytes)| bytes);
        (!self.is_reset).then(|| sent.sum::<u64>() + self.kept as u64)
    }

    /// The socket was closed at our side.
    pub fn drop_at(&mut self, now: Duration) {
        self.peer.gone(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Duration = Duration::from_millis(10);

    /// Answers what arrives first.
    #[derive(Debug)]
    struct Answers(Vec<(Duration, Sent)>, usize);

    impl Peer for Answers {
        fn receive(&mut self, bytes: &[u8], _: Duration, out: &mut Outbox) {
            self.1 = self.1.saturating_sub(bytes.len());
            for (after, sent) in self.0.drain(..) {
                out.send(after, sent);
            }
        }

        fn end(&mut self, _: Duration, out: &mut Outbox) {
            out.send(Duration::ZERO, Sent::End);
        }

        fn gone(&mut self, _: Duration) {}

        fn wake(&mut self, _: Duration, _: &mut Outbox) -> Option<Duration> {
            None
        }

        fn room(&self) -> usize {
            self.1
        }
    }

    /// A connection over which something was written at the beginning.
    fn asked(answers: Vec<(Duration, Sent)>) -> Connection {
        let mut connection = Connection::to(Box::new(Answers(answers, 1_000)), LINK);
        assert_eq!(connection.write(b"question", Duration::ZERO).unwrap(), 8);
        connection
    }

    fn bytes(text: &str) -> Sent {
        Sent::Bytes(text.into())
    }

    fn read(connection: &mut Connection, now: Duration) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; 4];
        let count = connection.read(&mut buffer, now, false)?;
        Ok(count.map(|count| buffer[..count].to_vec()))
    }

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn an_answer_and_an_acknowledgement_take_a_round_trip() {
        let late = vec![(ms(3), bytes("answer")), (ms(0), Sent::End)];
        let mut connection = asked(late);
        assert_eq!(connection.unacknowledged(ms(9)), Some(8));
        assert_eq!(connection.unacknowledged(ms(10)), Some(0));
        assert_eq!(read(&mut connection, ms(12)).unwrap(), None);
        assert_eq!(connection.wait(ms(12)), Some(ms(13)));
        let mut peeked = [0; 2];
        assert_eq!(connection.read(&mut peeked, ms(13), true).unwrap(), Some(2));
        for part in ["answ", "er", "", ""] {
            let part = Some(part.as_bytes().to_vec());
            assert_eq!(read(&mut connection, ms(13)).unwrap(), part);
        }
        connection.shut_down(ms(20)).unwrap();
        assert_eq!(connection.unacknowledged(ms(20)), Some(1));
        let error = connection.write(b"x", ms(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn bytes_stay_readable_behind_a_reset_whose_error_is_told_once() {
        let sent = || vec![(ms(0), bytes("last")), (ms(5), Sent::Reset)];
        let mut connection = asked(sent());
        assert!(connection.take_error(ms(14)).is_ok());
        let error = connection.take_error(ms(15)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(connection.take_error(ms(15)).is_ok());
        assert_eq!(connection.unacknowledged(ms(15)), None);
        let last = read(&mut connection, ms(15)).unwrap();
        assert_eq!(last, Some(b"last".to_vec()));
        assert_eq!(read(&mut connection, ms(15)).unwrap(), Some(Vec::new()));
        let error = connection.write(b"x", ms(15)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(connection.shut_down(ms(15)).is_err());
        // the other way round
        let mut connection = asked(sent());
        assert!(read(&mut connection, ms(15)).unwrap().is_some());
        let error = read(&mut connection, ms(15)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(connection.take_error(ms(15)).is_ok());
    }

    #[test]
    fn a_reset_behind_an_end_is_a_broken_pipe_and_does_not_hide_the_end() {
        let mut connection = asked(vec![(ms(0), Sent::End), (ms(0), Sent::Reset)]);
        assert_eq!(read(&mut connection, ms(10)).unwrap(), Some(Vec::new()));
        let error = connection.take_error(ms(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_peer_whose_kernel_is_full_blocks_us_once_ours_is_full_too() {
        let mut connection = asked(Vec::new());
        assert_eq!(connection.write(&[0; 1_000], ms(0)).unwrap(), 1_000);
        assert_eq!(connection.unacknowledged(ms(10)), Some(8));
        assert_eq!(
            connection.write(&[0; SEND_BUFFER], ms(10)).unwrap(),
            SEND_BUFFER - 8
        );
        let error = connection.write(b"x", ms(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        connection.shut_down(ms(10)).unwrap();
        // our end comes behind what is kept
        assert_eq!(
            connection.unacknowledged(ms(99)),
            Some(SEND_BUFFER as u64 + 1)
        );
        assert_eq!(read(&mut connection, ms(99)).unwrap(), None);
    }
}
