//! `Session` opens sessions of the log stream, and waits for one that others hold; `read_batch`
//! reads messages into batches.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::event::{PodEvent, identify, split};
use super::hints::HINTS;
use crate::clock::Instant;
use crate::config::Url;
use crate::error::{Exit, Failure, Result};
use crate::net::websocket::{self, CloseReason, HandshakeOutcome, StreamEvent, TooLong, WebSocket};
use crate::net::{NetError, NetStream, Network, Preconnect};
use crate::output::Counters;
use crate::pipeline::batch::{Batch, EventId, Record};
use crate::secret::{self, Secret};
use crate::shutdown::{Shutdown, ShutdownReason};
use crate::source::PollContext;
use crate::source::api::OpenContext;
use crate::source::fetch_error::FetchError;
use crate::source::retry::{Backoff, retry_after};
use crate::source::windows::clock::Clocks;

/// Wait before another attempt.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(60),
};
/// Longest wait that a server may ask for within a run.
const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);
/// How long others may hold the token, if the run's time is not limited.
const UNLIMITED: Duration = Duration::from_secs(50 * 60);
/// Longest wait before a source returns.
const TURN: Duration = Duration::from_secs(4);
/// How long the connection of the next session waits for its request; no server that is known closes one so soon.
const KEEP: Duration = Duration::from_secs(5);
/// Attempts at an address that has not answered in this run.
const ATTEMPTS: u32 = 3;
/// Longest time from the first message of a batch to its delivery.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens sessions, one at a time.
#[derive(Debug)]
pub(super) struct Session {
    network: Arc<Network>,
    url: Url,
    cluster: String,
    stream: &'static str,
    authorization: Secret,
    /// What errors must not show.
    key: Secret,
    max_message: usize,
    /// Our clock and the server's.
    pub(super) clocks: Clocks,
    /// Since when no session could be opened.
    vain: Option<Instant>,
    /// Failures since the last session.
    failures: u32,
    wait_until: Option<Instant>,
    /// How long the last refusal said to wait.
    asked_wait: Option<Duration>,
    /// Why the last attempt failed.
    refused: Option<Failure>,
    /// Whether a session was opened in this run.
    pub(super) opened: bool,
    /// Sessions opened in this run.
    pub(super) requests: u32,
    /// The connection of the next session: no request was made over it, so it counts as none.
    next: Option<Preconnect>,
}

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// The batch is large or old enough, or nothing came for a while.
    Enough,
    /// The run is to stop.
    Stopped,
    /// The session ended.
    Ended(CloseReason),
    /// The session ended with a message that is too large.
    TooLong(Failure),
}

/// Why no session was opened.
#[derive(Debug)]
pub(super) enum SessionError {
    /// The server answered, and refused.
    Refused(Failure),
    /// The server did not answer, or the run is to end.
    Net(NetError),
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        match error {
            SessionError::Refused(failure) => failure,
            SessionError::Net(error) => error.into(),
        }
    }
}

/// How much is read into a batch, and for how long.
#[derive(Debug)]
pub(super) struct ReadLimits<'a> {
    /// Largest size of a batch, about, in bytes.
    pub(super) most: usize,
    /// What ends reading early.
    pub(super) shutdown: &'a Shutdown,
    /// Gives the identity of an event.
    pub(super) recognise: fn(&PodEvent, hour: u32) -> EventId,
}

impl Session {
    pub(super) fn new(
        context: &OpenContext<'_>,
        url: Url,
        cluster: String,
        stream: &'static str,
        (authorization, key): (Secret, Secret),
        max_message: usize,
    ) -> Session {
        Session {
            network: Arc::clone(context.network),
            url,
            cluster,
            stream,
            authorization,
            key,
            max_message,
            clocks: Clocks::default(),
            vain: None,
            failures: 0,
            wait_until: None,
            asked_wait: None,
            refused: None,
            opened: false,
            requests: 0,
            next: None,
        }
    }

    /// Opens a session; `None` if another attempt follows after a wait. If the run `goes_on` with another
    /// one behind it, that one's connection is made meanwhile.
    ///
    /// # Errors
    /// When another attempt is useless.
    pub(super) fn open(
        &mut self,
        times: &[(&str, &str)],
        goes_on: bool,
        context: &mut PollContext,
    ) -> Result<Option<WebSocket>, FetchError> {
        context.counters.requests += 1;
        let next = match goes_on && self.failures == 0 {
            true => self.preconnect(context.shutdown),
            false => None,
        };
        let connection = std::mem::replace(&mut self.next, next);
        let opened = self.try_to_open(times, connection, context.shutdown, context.now);
        let failure = match opened {
            Ok(socket) => {
                self.opened = true;
                self.vain = None;
                self.requests += 1;
                return Ok(Some(socket));
            }
            Err(SessionError::Refused(failure)) if failure.exit() == Exit::Unavailable => failure,
            Err(SessionError::Refused(failure) | SessionError::Net(NetError::Lasting(failure))) => {
                return Err(failure.into());
            }
            Err(SessionError::Net(NetError::Stopped(failure))) => {
                let failure = failure.or_exit(Exit::Unavailable);
                self.refused.get_or_insert(failure);
                return Ok(None);
            }
            Err(SessionError::Net(error)) if !self.opened && self.failures + 1 >= ATTEMPTS => {
                return Err(error.into());
            }
            Err(SessionError::Net(error)) => error.into(),
        };
        let too_long = is_too_long(&mut self.vain, Instant::now());
        if context.shutdown.left().is_none() && too_long {
            return Err(failure.into());
        }
        let wait = self.wait(context);
        log::warn!("{failure}; retrying in {:.0} s", wait.as_secs_f64());
        self.refused = Some(failure);
        Ok(None)
    }

    /// Opens a session at `now`, with one attempt, over this `connection` if there is one.
    ///
    /// # Errors
    /// When no session was opened.
    pub(super) fn try_to_open(
        &mut self,
        times: &[(&str, &str)],
        connection: Option<Preconnect>,
        shutdown: &Shutdown,
        now: OffsetDateTime,
    ) -> Result<WebSocket, SessionError> {
        let started = Instant::now();
        let mut query = vec![("cid", self.cluster.as_str()), ("type", self.stream)];
        query.extend_from_slice(times);
        let opening = websocket::HandshakeRequest {
            network: &self.network,
            url: &self.url,
            query: &query,
            authorization: &self.authorization,
            max_message: self.max_message,
            shutdown,
        };
        let opened = match connection.and_then(Preconnect::ready) {
            Some(tls) => match WebSocket::open_over(NetStream::Tls(tls), &opening) {
                // the server may have closed it just then
                Err(NetError::Cut(_)) => WebSocket::open(&opening),
                opened => opened,
            },
            None => WebSocket::open(&opening),
        };
        let opened = opened.map_err(SessionError::Net)?;
        let date = match &opened {
            HandshakeOutcome::Open(socket) => socket.date,
            HandshakeOutcome::Refused(refusal) => refusal.date,
        };
        if let Some(date) = date {
            self.clocks.compare(date, now + started.elapsed());
        }
        match opened {
            HandshakeOutcome::Open(socket) => Ok(*socket),
            HandshakeOutcome::Refused(refusal) => {
                self.asked_wait = retry_after(refusal.retry_after.as_deref(), refusal.date)
                    .and_then(|wait| Duration::try_from(wait).ok());
                let body = self.excerpt(&refusal.body);
                let failure = Failure::from(HINTS.refusal(refusal.status, &body));
                let doing = format_args!("opening {}", self.url);
                Err(SessionError::Refused(failure.context(doing)))
            }
        }
    }

    /// Begins to connect, where the connection has TLS.
    fn preconnect(&self, shutdown: &Shutdown) -> Option<Preconnect> {
        if !self.url.scheme_is_tls() {
            return None;
        }
        let trust = self.network.public_trust().ok()?;
        let to = self.url.address();
        self.network.preconnect(to, &to.host, trust, KEEP, shutdown)
    }

    /// Schedules the next attempt, and returns the wait.
    pub(super) fn wait(&mut self, context: &PollContext) -> Duration {
        self.failures += 1;
        let asked = self.asked_wait.take().unwrap_or_default();
        let wait = BACKOFF.wait(self.failures, context.now);
        let wait = wait.max(asked.min(LONGEST_ASKED));
        self.wait_until = Some(Instant::now() + wait);
        wait
    }

    /// What the server said, for a message.
    pub(super) fn excerpt(&self, text: &str) -> String {
        secret::excerpt(text, &[&self.key])
    }

    /// Notes that a session was good.
    pub(super) fn is_good(&mut self) {
        self.failures = 0;
        self.refused = None;
    }

    /// Whether another attempt is scheduled.
    pub(super) fn is_to_wait(&self) -> bool {
        self.wait_until.is_some()
    }

    /// Waits for a while; returns whether more of the wait is left, also when the run is to stop.
    pub(super) fn must_wait(&mut self, shutdown: &Shutdown) -> bool {
        let Some(until) = self.wait_until else {
            return false;
        };
        shutdown.sleep(until.saturating_duration_since(Instant::now()).min(TURN));
        let is_left = Instant::now() < until;
        if !is_left {
            self.wait_until = None;
        }
        is_left
    }

    /// Checks at the end of the run's time that a session was opened.
    ///
    /// # Errors
    /// When no session could be opened in all that time.
    pub(super) fn check_that_it_was_ours(&mut self, shutdown: &Shutdown) -> Result<()> {
        if self.opened || shutdown.reason() != Some(ShutdownReason::Deadline) {
            return Ok(());
        }
        self.refused.take().map_or(Ok(()), Err)
    }
}

/// Whether sessions were requested in vain for too long, from a first time that is noted in `vain`.
fn is_too_long(vain: &mut Option<Instant>, now: Instant) -> bool {
    now.saturating_duration_since(*vain.get_or_insert(now)) >= UNLIMITED
}

/// Reads messages into a batch, each an event, until it is large or old enough.
pub(super) fn read_batch(
    socket: &mut WebSocket,
    batch: &mut Batch,
    limits_of_read: &ReadLimits<'_>,
    counters: &mut Counters,
) -> ReadOutcome {
    let started = Instant::now();
    let mut first = None;
    loop {
        if limits_of_read.shutdown.reason().is_some() {
            return ReadOutcome::Stopped;
        }
        let start = batch.text.len();
        match socket.read(&mut batch.text) {
            Ok(StreamEvent::Message) => {
                if take(batch, start, limits_of_read, counters) {
                    first.get_or_insert_with(Instant::now);
                }
            }
            // nothing came for a second
            Ok(StreamEvent::Nothing) if first.is_none() => return ReadOutcome::Enough,
            Ok(StreamEvent::Nothing) => {}
            Ok(StreamEvent::End(ending)) => return ReadOutcome::Ended(ending),
            Err(error) => return ReadOutcome::TooLong(too_long(error)),
        }
        let old = first.unwrap_or(started).elapsed() >= PATIENCE;
        if batch.text.len() >= limits_of_read.most || old {
            return ReadOutcome::Enough;
        }
    }
}

/// Makes an event of what was read from `start` on, or several; returns whether there was any.
fn take(
    batch: &mut Batch,
    start: usize,
    limits_of_read: &ReadLimits<'_>,
    counters: &mut Counters,
) -> bool {
    let message = &batch.text[start..];
    let end = start + message.trim_ascii_end().len();
    let blanks = message.len() - message.trim_ascii_start().len();
    batch.text.truncate(end.max(start));
    if end == start {
        return false;
    }
    batch.text.drain(start..start + blanks);
    let found = identify(&batch.text[start..]);
    let message = &batch.text[start..];
    if !found.readable
        && let pieces @ [_, _, ..] = &*split(message)
    {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        log::debug!("a message has {} events", pieces.len());
        batch.text.truncate(start);
        for piece in pieces {
            batch.text.extend_from_slice(&piece);
            add(batch, &identify(&piece), limits_of_read, counters);
        }
        return true;
    }
    add(batch, &found, limits_of_read, counters);
    true
}

/// Adds the event at the end of the batch's text.
fn add(
    batch: &mut Batch,
    found: &PodEvent,
    limits_of_read: &ReadLimits<'_>,
    counters: &mut Counters,
) {
    counters.unreadable += u64::from(!found.readable);
    counters.replaced += u64::from(!found.utf8);
    batch.records.push(Record {
        end: u32::try_from(batch.text.len()).unwrap_or(u32::MAX),
        identity: (limits_of_read.recognise)(found, batch.request.end_hour),
        late: None,
        is_plain: false,
    });
}

fn too_long(message: TooLong) -> Failure {
    let hint = format!(
        "set max_frame_bytes of the service to more than {}; the message is not lost while the \
         archive keeps it",
        message.size
    );
    let failure = Failure::from(message).context("reading the log stream");
    failure.with_exit(Exit::Data).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_others_may_hold_the_token_counts_from_the_last_session() {
        let start = Instant::now();
        let mut vain = None;
        assert!(!is_too_long(&mut vain, start));
        assert!(!is_too_long(&mut vain, start + UNLIMITED / 2));
        assert!(is_too_long(&mut vain, start + UNLIMITED));
        // a session was opened
        vain = None;
        assert!(!is_too_long(&mut vain, start + UNLIMITED * 2));
        assert!(is_too_long(&mut vain, start + UNLIMITED * 3));
    }
}
