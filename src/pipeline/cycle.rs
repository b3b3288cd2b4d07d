//! `Cycle` runs one bounded pull: it moves events from a source to a sink and commits what was
//! confirmed.
//!
//! The order of commitment lives here: prove both ends, read, drop duplicates, transform, send,
//! confirm, commit. The cycle names no service and opens nothing.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::human::count;
use crate::output::{Counters, Progress};
use crate::pipeline::batch::{BATCH, Batch, EventId, Record};
use crate::pipeline::checkpoint::Commit;
use crate::quota::Quota;
use crate::shutdown::{Shutdown, ShutdownReason};
use crate::sink::{Sink, SinkError};
use crate::source::fetch_error::{FetchError, FetchErrorKind};
use crate::source::{PollContext, Source};
use crate::state::{State, StateError};
use crate::transform::{Outcome, Transform};

/// Longest time that an event stays unconfirmed, if the receiver confirms at once.
const OLDEST: Duration = Duration::from_secs(5);

/// Memory kept for the next batch, in bytes.
const KEPT: usize = 8 * 1024 * 1024;

/// How a cycle ended without an error.
#[derive(Debug)]
pub(crate) enum CycleEnd {
    /// Nothing is left to read now.
    CaughtUp,
    /// At a signal, or when the run's time was over.
    Stopped(ShutdownReason),
    /// At a limit of the source, in its words.
    Limit(&'static str),
    /// The sink was closed.
    Closed,
    /// The quota allows no request now.
    QuotaExceeded(Failure),
}

/// The parts of a cycle.
pub(crate) struct Cycle<'a> {
    /// Where events come from.
    pub(crate) source: &'a mut dyn Source,
    /// Where events go.
    pub(crate) sink: &'a mut dyn Sink,
    /// What happens to each event.
    pub(crate) transform: &'a Transform,
    /// What the service remembers.
    pub(crate) state: &'a mut State,
    /// The time.
    pub(crate) clock: Clock,
    /// Ends the cycle early.
    pub(crate) shutdown: &'a Shutdown,
    /// What is counted.
    pub(crate) counters: &'a mut Counters,
    /// Books each request.
    pub(crate) quota: &'a mut dyn Quota,
    /// Shows how far the run has come.
    pub(crate) progress: &'a Progress,
}

/// Events that were sent and are not confirmed yet.
#[derive(Debug, Default)]
struct Pending {
    events: u64,
    bytes: u64,
    since: Option<Instant>,
    /// Whether they are kept until they are confirmed, since they cannot be requested again.
    once: bool,
    /// The batch to send; its memory is reused.
    out: Batch,
}

/// What ends a pull early.
enum PullError {
    Sink(SinkError),
    Source(FetchError),
    Other(Failure),
}

impl From<SinkError> for PullError {
    fn from(error: SinkError) -> PullError {
        PullError::Sink(error)
    }
}

impl From<FetchError> for PullError {
    fn from(error: FetchError) -> PullError {
        PullError::Source(error)
    }
}

impl From<StateError> for PullError {
    fn from(error: StateError) -> PullError {
        PullError::Other(error.into())
    }
}

impl PullError {
    /// Whether there is no failure: the run is to end.
    fn is_stop(&self) -> bool {
        match self {
            PullError::Sink(error) => matches!(error, SinkError::Stopped(_)),
            PullError::Source(error) => error.is_stop(),
            PullError::Other(_) => false,
        }
    }
}

impl Cycle<'_> {
    /// Runs the cycle to its end.
    ///
    /// # Errors
    /// Those of the source, the sink and the state. What was committed by then is complete.
    pub(crate) fn run(&mut self) -> Result<CycleEnd> {
        let pulled = self.pull();
        let reason = self.shutdown.reason();
        match (pulled, reason) {
            (Ok(()), Some(reason)) => Ok(CycleEnd::Stopped(reason)),
            (Ok(()), None) => Ok(match self.source.limit() {
                Some(limit) => CycleEnd::Limit(limit),
                None => CycleEnd::CaughtUp,
            }),
            (Err(error), Some(reason)) if error.is_stop() => Ok(CycleEnd::Stopped(reason)),
            (Err(PullError::Sink(SinkError::Closed)), _) => Ok(CycleEnd::Closed),
            (Err(PullError::Sink(error)), _) => Err(error.into()),
            (Err(PullError::Source(error)), _) => match error.kind {
                FetchErrorKind::QuotaExceeded => Ok(CycleEnd::QuotaExceeded(error.into())),
                _ => Err(error.into()),
            },
            (Err(PullError::Other(failure)), _) => Err(failure),
        }
    }

    fn pull(&mut self) -> Result<(), PullError> {
        self.state.prove()?;
        self.sink.send(&Batch::default())?;
        self.sink.confirm()?;
        let mut pending = Pending::default();
        loop {
            let mut context = PollContext {
                shutdown: self.shutdown,
                now: self.clock.now(),
                dedup: &self.state.dedup,
                counters: self.counters,
                quota: self.quota,
            };
            match self.source.next(&mut context) {
                Ok(Some(batch)) => self.pass_on(&batch, &mut pending)?,
                Ok(None) => return self.commit(&mut pending, &Commit::default()),
                Err(error) => {
                    self.commit(&mut pending, &Commit::default())?;
                    return Err(error.into());
                }
            }
        }
    }

    fn pass_on(&mut self, batch: &Batch, pending: &mut Pending) -> Result<(), PullError> {
        if pending.once != batch.once {
            self.commit(pending, &Commit::default())?;
            pending.once = batch.once;
        }
        let limit = self.state.unconfirmed_limit();
        for (event, record) in batch.iter() {
            self.counters.received += 1;
            if !self.state.dedup.insert(record.identity, batch.request) {
                self.counters.duplicates += 1;
                continue;
            }
            if let Some(seconds) = record.late {
                self.counters.late.add(seconds, batch.request.pass);
                self.state.found_late(seconds, batch.request.pass);
            }
            let State {
                rule_stats,
                quarantine,
                ..
            } = &mut *self.state;
            match self
                .transform
                .write(event, &mut pending.out.text, rule_stats)
            {
                Outcome::Emit => {}
                Outcome::Filtered => {
                    self.counters.filtered += 1;
                    continue;
                }
                Outcome::Quarantine(why) => {
                    quarantine.add(event, why, self.clock.now())?;
                    self.counters.quarantined += 1;
                    continue;
                }
            }
            let end = u32::try_from(pending.out.text.len())
                .map_err(|error| PullError::Other(error.into()))?;
            pending.out.records.push(Record { end, ..*record });
            if pending.bytes + u64::from(end) >= limit {
                self.send(pending)?;
                self.commit(pending, &Commit::default())?;
            }
        }
        for digest in &batch.passed_over {
            self.state
                .dedup
                .insert(EventId::Key(*digest), batch.request);
        }
        self.send(pending)?;
        self.progress
            .show(self.state.checkpoint().until(), self.counters);
        let old = pending.since.is_some_and(|since| since.elapsed() >= OLDEST);
        match &batch.commit {
            Some(commit) => self.commit(pending, commit),
            // a source hands over an empty batch before it waits
            None if old || batch.records.is_empty() => self.commit(pending, &Commit::default()),
            None => Ok(()),
        }
    }

    fn send(&mut self, pending: &mut Pending) -> Result<(), PullError> {
        let Batch { text, records, .. } = &mut pending.out;
        if records.is_empty() {
            return Ok(());
        }
        log::debug!(target: BATCH, "sending {}", count(records.len() as u64, "event"));
        pending.events += records.len() as u64;
        pending.bytes += text.len() as u64;
        pending.since.get_or_insert_with(Instant::now);
        if pending.once {
            return Ok(());
        }
        if let Err(error) = self.sink.send(&pending.out) {
            return self.unconfirmed(error);
        }
        pending.out.text.clear();
        pending.out.text.shrink_to(KEPT);
        pending.out.records.clear();
        Ok(())
    }

    /// Confirms everything so far, then makes the identities durable, then the position.
    fn commit(&mut self, pending: &mut Pending, commit: &Commit) -> Result<(), PullError> {
        if pending.since.take().is_some() {
            let started = Instant::now();
            let confirmed = match pending.once {
                true => self.send_until_confirmed(&mut pending.out),
                false => self.sink.confirm(),
            };
            if let Err(error) = confirmed {
                return self.unconfirmed(error);
            }
            log::debug!(target: BATCH, "confirmed in {} ms", started.elapsed().as_millis());
        } else if commit.is_empty() {
            return Ok(());
        }
        self.state.commit(commit, self.sink.receiver())?;
        self.counters.delivered += std::mem::take(&mut pending.events);
        self.counters.bytes += std::mem::take(&mut pending.bytes);
        Ok(())
    }

    /// Sends events that cannot be requested again; retries once, in a new transaction.
    fn send_until_confirmed(&mut self, batch: &mut Batch) -> Result<(), SinkError> {
        let mut deliver = || {
            self.sink.send(batch)?;
            self.sink.confirm()
        };
        match deliver() {
            Err(error @ (SinkError::Closed | SinkError::Stopped(_))) => return Err(error),
            Err(error) => {
                log::warn!("{}; sending the batch once more", Failure::from(error));
                deliver()?;
            }
            Ok(()) => {}
        }
        batch.records.clear();
        batch.text.clear();
        batch.text.shrink_to(KEPT);
        Ok(())
    }

    /// A transaction failed: the state is unchanged, but a smaller transaction may succeed.
    fn unconfirmed(&mut self, error: SinkError) -> Result<(), PullError> {
        if error.may_be_too_large() {
            self.state.halve_unconfirmed_limit()?;
        }
        Err(error.into())
    }
}
