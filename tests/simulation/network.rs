//! Connections in simulated time. A peer is a state machine: it takes bytes as they arrive, and says what goes
//! back, and when.
//!
//! A byte takes half a round trip. What arrived stays readable behind a reset, as on Linux; the error waits at the
//! socket until it is taken.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{Error, ErrorKind, Result};
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
}

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
}

/// A connection, seen from our side.
#[derive(Debug)]
pub struct Connection {
    peer: Box<dyn Peer>,
    inbox: Outbox,
    /// The error that waits at the socket.
    error: bool,
    /// Whether the peer's end or reset was read.
    has_ended: bool,
    is_reset: bool,
    has_shut_down: bool,
    /// When what was written last is acknowledged, and how much that is.
    unacknowledged: VecDeque<(Duration, u64)>,
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
            error: false,
            has_ended: false,
            is_reset: false,
            has_shut_down: false,
            unacknowledged: VecDeque::new(),
        }
    }

    fn arrival(&mut self, now: Duration) -> Duration {
        let arrival = now + self.inbox.link / 2;
        self.inbox.now = arrival;
        arrival
    }

    /// Writes.
    pub fn write(&mut self, bytes: &[u8], now: Duration) -> Result<usize> {
        self.notice_reset(now);
        if std::mem::take(&mut self.error) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if self.is_reset || self.has_shut_down {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let arrival = self.arrival(now);
        self.peer.receive(bytes, arrival, &mut self.inbox);
        let acknowledged = now + self.inbox.link;
        self.unacknowledged
            .push_back((acknowledged, bytes.len() as u64));
        Ok(bytes.len())
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
            Some((due, Sent::End)) if *due <= now => {
                self.has_ended = true;
                Ok(Some(0))
            }
            Some((due, Sent::Reset)) if *due <= now => match std::mem::take(&mut self.error) {
                true => Err(Error::from(ErrorKind::ConnectionReset)),
                false => Ok(Some(0)),
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
            (self.is_reset, self.error) = (true, true);
        }
    }

    /// Whether an error waits, which is taken.
    pub fn take_error(&mut self, now: Duration) -> Result<()> {
        self.notice_reset(now);
        match std::mem::take(&mut self.error) {
            true => Err(ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    /// Ends our half.
    pub fn shut_down(&mut self, now: Duration) -> Result<()> {
        self.notice_reset(now);
        if self.is_reset {
            return Err(ErrorKind::NotConnected.into());
        }
        if !std::mem::replace(&mut self.has_shut_down, true) {
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
        (!self.is_reset).then(|| self.unacknowledged.iter().map(|(_, bytes)| bytes).sum())
    }

    /// The socket was closed at our side.
    pub fn drop_at(&mut self, now: Duration) {
        self.peer.gone(now);
    }
}
