//! `Cycle` runs one bounded pull: it moves events from a source to a sink and commits what was
//! confirmed.
//!
//! The order of commitment lives here: prove both ends, read, drop duplicates, transform, send,
//! confirm, commit. Windows are gathered: one confirmation may commit many. The cycle names no service and
//! opens nothing.

use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::error::{Exit, Failure, Result};
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

/// Longest time that an event stays unconfirmed, if the source returns and the receiver confirms at once.
const OLDEST: Duration = Duration::from_secs(5);

/// Memory kept for the next batch, in bytes.
const KEPT: usize = 8 * 1024 * 1024;

/// The hint for a run in whose time nothing got through.
const TOO_SHORT: &str = "see the warnings before this line, if there are any; check the network and proxies on the way; \
     set a longer max_duration if the peer is only slow";

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
    /// The connection to a receiver that was there broke: what is saved is whole, the rest is unsent.
    Broken(Failure),
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

/// Events that were sent and are not confirmed yet, and what becomes durable with them.
#[derive(Debug, Default)]
struct Pending {
    events: u64,
    bytes: u64,
    /// Since when there is anything.
    since: Option<Instant>,
    /// Of the windows that were read to their end, in order.
    commits: Vec<Commit>,
    /// Whether they are kept until they are confirmed, since they cannot be requested again.
    once: bool,
    /// The batch to send; its memory is reused.
    out: Batch,
}

impl Pending {
    /// Takes on what becomes durable with what was sent before it.
    fn gather(&mut self, commit: Option<&Commit>) {
        if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
            self.commits.push(commit.clone());
            self.since.get_or_insert_with(Instant::now);
        }
    }
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

/// What a run has done that is to end early.
#[derive(Debug, Clone, Copy)]
struct StoppedRun {
    reason: ShutdownReason,
    /// Whether it was waiting for the receiver.
    is_sink_waited_for: bool,
    /// Whether it has delivered an event.
    has_delivered: bool,
    /// Whether it has read an event, or a whole answer without one.
    has_read: bool,
}

/// What is missing in a run that ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Nothing: both ends were proved, or a person wanted the end.
    Nothing,
    /// The receiver confirmed nothing, and was waited for.
    Confirmation,
    /// The service answered nothing.
    Answer,
}

/// A run whose time was over before anything got through has failed: another one like it would not
/// get further, and nobody would know.
fn missing(run: &StoppedRun) -> Missing {
    match *run {
        StoppedRun {
            reason: ShutdownReason::Signal,
            ..
        } => Missing::Nothing,
        StoppedRun {
            is_sink_waited_for: true,
            has_delivered: false,
            ..
        } => Missing::Confirmation,
        StoppedRun {
            has_read: false, ..
        } => Missing::Answer,
        _ => Missing::Nothing,
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
            (Ok(()), Some(reason)) => self.stopped(reason, None),
            (Ok(()), None) => Ok(match self.source.limit() {
                Some(limit) => CycleEnd::Limit(limit),
                None => CycleEnd::CaughtUp,
            }),
            (Err(error), Some(reason)) if error.is_stop() => self.stopped(reason, Some(error)),
            (Err(PullError::Sink(SinkError::Closed)), _) => Ok(CycleEnd::Closed),
            (Err(PullError::Sink(SinkError::Broken(failure))), None) => {
                Ok(CycleEnd::Broken(failure))
            }
            (Err(PullError::Sink(error)), _) => Err(error.into()),
            (Err(PullError::Source(error)), _) => match error.kind {
                FetchErrorKind::QuotaExceeded => Ok(CycleEnd::QuotaExceeded(error.into())),
                _ => Err(error.into()),
            },
            (Err(PullError::Other(failure)), _) => Err(failure),
        }
    }

    /// The end of a run that was stopped, perhaps in a wait that this `error` tells of.
    fn stopped(&self, reason: ShutdownReason, error: Option<PullError>) -> Result<CycleEnd> {
        let missing = missing(&StoppedRun {
            reason,
            is_sink_waited_for: matches!(error, Some(PullError::Sink(_))),
            has_delivered: self.counters.delivered > 0,
            has_read: self.counters.windows > 0 || self.counters.received > 0,
        });
        let failure = match (missing, error) {
            (Missing::Nothing, _) => return Ok(CycleEnd::Stopped(reason)),
            (Missing::Confirmation, Some(PullError::Sink(error))) => error.into(),
            (_, Some(PullError::Source(error))) => {
                Failure::from(error).with_exit(Exit::Unavailable)
            }
            _ => Failure::new("no answer was complete by then").with_exit(Exit::Unavailable),
        };
        let failure = failure.or_hint(TOO_SHORT);
        Err(failure.context("stopped at max_duration"))
    }

    fn pull(&mut self) -> Result<(), PullError> {
        self.state.prove()?;
        let proof = self.sink.send(&Batch::default());
        proof
            .and_then(|()| self.sink.confirm())
            .map_err(SinkError::for_good)?;
        let mut pending = Pending::default();
        loop {
            let mut context = PollContext {
                shutdown: self.shutdown,
                now: self.clock.now(),
                dedup: &mut self.state.dedup,
                counters: self.counters,
                quota: self.quota,
            };
            match self.source.next(&mut context) {
                Ok(Some(batch)) => self.pass_on(&batch, &mut pending)?,
                Ok(None) => return self.commit(&mut pending),
                Err(error) => {
                    self.commit(&mut pending)?;
                    return Err(error.into());
                }
            }
        }
    }

    fn pass_on(&mut self, batch: &Batch, pending: &mut Pending) -> Result<(), PullError> {
        if pending.once != batch.once {
            self.commit(pending)?;
            pending.once = batch.once;
        }
        let limit = self.state.unconfirmed_limit();
        for (event, record) in batch.iter() {
            self.counters.received += 1;
            if !self.state.dedup.insert(record.identity, batch.request)? {
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
                self.commit(pending)?;
            }
        }
        for digest in &batch.passed_over {
            self.state
                .dedup
                .insert(EventId::Key(*digest), batch.request)?;
        }
        self.send(pending)?;
        self.progress
            .show(self.state.checkpoint().until(), self.counters);
        let is_old = pending.since.is_some_and(|since| since.elapsed() >= OLDEST);
        let is_due = match &batch.commit {
            Some(commit) => commit.at_once || batch.once,
            // a source hands over an empty batch before it waits
            None => batch.records.is_empty() && !batch.goes_on,
        };
        pending.gather(batch.commit.as_ref());
        match is_old || is_due {
            true => self.commit(pending),
            false => Ok(()),
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
        let most = &mut self.counters.most_unconfirmed;
        *most = pending.bytes.max(*most);
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
    fn commit(&mut self, pending: &mut Pending) -> Result<(), PullError> {
        if pending.since.take().is_none() {
            return Ok(());
        }
        if pending.events > 0 {
            let started = Instant::now();
            let confirmed = match pending.once {
                true => self.send_until_confirmed(&mut pending.out),
                false => self.sink.confirm(),
            };
            if let Err(error) = confirmed {
                return self.unconfirmed(error);
            }
            log::debug!(target: BATCH, "confirmed in {} ms", started.elapsed().as_millis());
        }
        self.state.commit(&pending.commits, self.sink.receiver())?;
        pending.commits.clear();
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
                deliver().map_err(SinkError::for_good)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_time_was_over_before_anything_got_through_has_failed() {
        use Missing::{Answer, Confirmation, Nothing};
        // waits for the receiver, has read, has delivered
        let table = [
            // in the first handshake or the first confirmation
            (true, false, false, Confirmation),
            // events were read, and the receiver does not take them
            (true, true, false, Confirmation),
            // it took others before
            (true, true, true, Nothing),
            // no answer, or errors alone
            (false, false, false, Answer),
            // an answer without events, or with known ones
            (false, true, false, Nothing),
            (false, true, true, Nothing),
        ];
        for (is_sink_waited_for, has_read, has_delivered, wanted) in table {
            let run = |reason| StoppedRun {
                reason,
                is_sink_waited_for,
                has_delivered,
                has_read,
            };
            assert_eq!(
                missing(&run(ShutdownReason::Deadline)),
                wanted,
                "{run:?}",
                run = run(ShutdownReason::Deadline)
            );
            assert_eq!(missing(&run(ShutdownReason::Signal)), Nothing);
        }
    }
}
