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
use crate::pipeline::checkpoint::{Checkpoint, Commit};
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
    /// How many bytes may be unconfirmed, if less than the state allows.
    pub(crate) most_unconfirmed: Option<u64>,
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

    /// The position that counts once everything is confirmed; `None` if it is the one that counts now.
    fn checkpoint(&self) -> Option<&Checkpoint> {
        let mut newest = self.commits.iter().rev();
        newest.find_map(|commit| commit.checkpoint.as_ref())
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
        let limit = self.most_unconfirmed.map_or(limit, |most| most.min(limit));
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
            let out = &mut pending.out.text;
            match self
                .transform
                .write(event, record.is_plain, out, rule_stats)
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
                self.commit_and_go_on(pending)?;
            }
        }
        for digest in &batch.passed_over {
            self.state
                .dedup
                .insert(EventId::Key(*digest), batch.request)?;
        }
        self.send(pending)?;
        let is_old = pending.since.is_some_and(|since| since.elapsed() >= OLDEST);
        let is_due = match &batch.commit {
            Some(commit) => commit.at_once || batch.once,
            // a source hands over an empty batch before it waits
            None => batch.records.is_empty() && !batch.goes_on,
        };
        pending.gather(batch.commit.as_ref());
        let reached = pending.checkpoint().unwrap_or(self.state.checkpoint());
        self.progress.show(reached.until(), self.counters);
        match (is_due, is_old) {
            (true, _) => self.commit(pending),
            (false, true) => self.commit_and_go_on(pending),
            (false, false) => Ok(()),
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

    /// The same where more events are likely to follow at once.
    fn commit_and_go_on(&mut self, pending: &mut Pending) -> Result<(), PullError> {
        if pending.events > 0 && !pending.once {
            self.sink.prepare_next();
        }
        self.commit(pending)
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
    use std::collections::VecDeque;

    use crate::config::Confirmation;
    use crate::net::NetError;
    use crate::pipeline::checkpoint::{Gap, Retention};
    use crate::quota::{Pool, QuotaError};
    use crate::state::{Receiver, StartPoint};
    use time::macros::datetime;
    use time::{Duration as Span, OffsetDateTime};

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const START: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

    /// What a source says.
    type Answer = std::result::Result<Option<Batch>, FetchError>;

    /// Both ends of a cycle, and what they see.
    #[derive(Default)]
    struct Ends {
        answers: VecDeque<Answer>,
        limit: Option<&'static str>,
        most_unconfirmed: Option<u64>,
        /// Windows that the source counts before it says the first answer.
        windows: u64,
        sink: FakeSink,
    }

    #[derive(Default)]
    struct FakeSink {
        /// The call that fails, from 0, and how.
        failure: Option<(usize, fn() -> SinkError)>,
        calls: Vec<String>,
        /// The calls before which it was to prepare the next transaction.
        prepared: Vec<usize>,
        open: Vec<u8>,
        /// What was confirmed: a byte for each event.
        delivered: Vec<u8>,
    }

    struct FakeSource<'a>(&'a mut VecDeque<Answer>, Option<&'static str>, u64);

    impl Source for FakeSource<'_> {
        fn next(&mut self, context: &mut PollContext<'_>) -> Answer {
            context.counters.windows = self.2;
            self.0.pop_front().unwrap_or(Ok(None))
        }

        fn limit(&self) -> Option<&'static str> {
            self.1
        }

        fn ahead(&self) -> Option<Span> {
            None
        }
    }

    impl FakeSink {
        fn call(&mut self, call: String) -> std::result::Result<(), SinkError> {
            self.calls.push(call);
            match self.failure {
                Some((number, error)) if number + 1 == self.calls.len() => {
                    self.open.clear();
                    Err(error())
                }
                _ => Ok(()),
            }
        }
    }

    impl Sink for FakeSink {
        fn send(&mut self, batch: &Batch) -> std::result::Result<(), SinkError> {
            self.call(format!("send {}", batch.records.len()))?;
            let events = batch.iter().map(|(event, _)| event[1]);
            self.open.extend(events);
            Ok(())
        }

        fn prepare_next(&mut self) {
            // it cannot fail
            self.prepared.push(self.calls.len());
        }

        fn confirm(&mut self) -> std::result::Result<(), SinkError> {
            self.call("confirm".to_owned())?;
            self.delivered.append(&mut self.open);
            Ok(())
        }

        fn confirmed_by(&self) -> Option<Confirmation> {
            None
        }

        fn receiver(&self) -> Option<Receiver> {
            None
        }
    }

    #[derive(Debug)]
    struct NoQuota;

    impl Quota for NoQuota {
        fn book(&mut self, _: OffsetDateTime) -> std::result::Result<(), QuotaError> {
            Ok(())
        }

        fn use_pool(&mut self, _: Option<&'static Pool>) {}

        fn give_back(&mut self, _: OffsetDateTime) -> Result<()> {
            Ok(())
        }

        fn hold(&mut self, now: OffsetDateTime, _: Span) -> Result<OffsetDateTime> {
            Ok(now)
        }
    }

    /// A state in a folder of its own.
    struct Saved(tempfile::TempDir);

    impl Saved {
        fn new() -> Saved {
            Saved(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> State {
            let start = StartPoint {
                configured: None,
                range: None,
                checkpoint: Checkpoint::windows_at(START),
            };
            let retention = Retention {
                look_back: Span::HOUR,
                recheck: Span::hours(12),
                memory: Span::ZERO,
            };
            let path = self.0.path().join("tap-clicks-blocked.json");
            State::open(&path, "tap-clicks-blocked", &start, retention, NOON)
                .unwrap()
                .0
        }

        /// How many hours it has come.
        fn hours(&self) -> i64 {
            (self.open().checkpoint().until() - START).whole_hours()
        }

        /// Runs a cycle, and returns how it ended and what it counted.
        fn run(&self, ends: &mut Ends, shutdown: &Shutdown) -> (Result<CycleEnd>, Counters) {
            let mut counters = Counters::default();
            let mut state = self.open();
            let end = Cycle {
                source: &mut FakeSource(&mut ends.answers, ends.limit, ends.windows),
                sink: &mut ends.sink,
                transform: &Transform::default(),
                state: &mut state,
                most_unconfirmed: ends.most_unconfirmed,
                clock: Clock::set_to(NOON),
                shutdown,
                counters: &mut counters,
                quota: &mut NoQuota,
                progress: &Progress::hidden(),
            }
            .run();
            (end, counters)
        }
    }

    /// Events, one for each letter: `{a}`.
    fn events(letters: &str) -> Batch {
        let mut batch = Batch::going_on();
        // so that they are remembered
        batch.request.end_hour = (NOON.unix_timestamp() / 3600) as u32;
        for letter in letters.bytes() {
            batch.text.extend([b'{', letter, b'}']);
            let end = batch.text.len() as u32;
            let identity = EventId::Key([letter; 16]);
            batch.records.push(Record {
                end,
                identity,
                late: None,
                is_plain: false,
            });
        }
        batch
    }

    /// The same, which end a window so many hours behind the start.
    fn window(letters: &str, hours: i64) -> Batch {
        let until = START + Span::hours(hours);
        Batch {
            commit: Some(Checkpoint::windows_at(until).into()),
            ..events(letters)
        }
    }

    fn at_once(batch: Batch) -> Batch {
        Batch {
            commit: batch.commit.map(Commit::at_once),
            ..batch
        }
    }

    fn once(batch: Batch) -> Batch {
        Batch {
            once: true,
            ..batch
        }
    }

    #[test]
    fn a_bar_shows_what_was_read_before_it_is_confirmed() {
        let mut pending = Pending::default();
        assert!(pending.checkpoint().is_none());
        for hours in [1, 2] {
            pending.gather(window("", hours).commit.as_ref());
        }
        // what is given up beside it moves nothing
        let gap = Gap {
            from: START,
            to: START + Span::HOUR,
        };
        let commit = Commit {
            gap: Some(gap),
            ..Commit::default()
        };
        pending.gather(Some(&commit));
        let until = pending.checkpoint().map(Checkpoint::until);
        assert_eq!(until, Some(START + Span::hours(2)));
    }

    #[test]
    fn what_was_sent_is_confirmed_before_it_is_committed_and_as_often_as_the_source_wants() {
        let table = [
            (vec![], "", 0),
            (vec![window("ab", 1)], "send 2, confirm", 1),
            // an answer without events needs no confirmation
            (vec![at_once(window("", 1))], "", 1),
            (
                vec![window("ab", 1), window("c", 2)],
                "send 2, send 1, confirm",
                2,
            ),
            (
                vec![at_once(window("ab", 1)), window("c", 2)],
                "send 2, confirm, send 1, confirm",
                2,
            ),
            // a source is about to wait, or is not
            (
                vec![events("ab"), Batch::default(), window("c", 1)],
                "send 2, confirm, send 1, confirm",
                1,
            ),
            (
                vec![events("ab"), Batch::going_on(), window("c", 1)],
                "send 2, send 1, confirm",
                1,
            ),
            (
                vec![
                    Batch {
                        goes_on: false,
                        ..events("ab")
                    },
                    window("c", 1),
                ],
                "send 2, send 1, confirm",
                1,
            ),
            // what cannot be requested again is on its own
            (
                vec![window("ab", 1), once(window("c", 2)), window("d", 3)],
                "send 2, confirm, send 1, confirm, send 1, confirm",
                3,
            ),
            // what is known is not sent
            (vec![window("ab", 1), window("ba", 2)], "send 2, confirm", 2),
        ];
        for (batches, wanted, hours) in table {
            let (saved, mut ends) = (Saved::new(), Ends::default());
            ends.answers = batches.into_iter().map(|batch| Ok(Some(batch))).collect();
            let (end, counters) = saved.run(&mut ends, &Shutdown::default());
            assert!(matches!(end, Ok(CycleEnd::CaughtUp)), "{end:?}");
            let (proof, calls) = ends.sink.calls.split_at(2);
            assert_eq!(proof, ["send 0", "confirm"]);
            assert_eq!(calls.join(", "), wanted);
            assert!(ends.sink.prepared.is_empty(), "{wanted}");
            assert_eq!(saved.hours(), hours, "{wanted}");
            let delivered = ends.sink.delivered.len() as u64;
            assert_eq!(counters.delivered, delivered);
            assert_eq!(counters.received, delivered + counters.duplicates);
            assert_eq!(counters.bytes, 3 * delivered);
        }
    }

    #[test]
    fn much_is_confirmed_in_parts() {
        let (saved, mut ends) = (Saved::new(), Ends::default());
        // two events are less than that, three are as much
        ends.most_unconfirmed = Some(9);
        ends.answers = [Ok(Some(window("abcdefgh", 1)))].into();
        let (end, _) = saved.run(&mut ends, &Shutdown::default());
        assert!(end.is_ok(), "{end:?}");
        let calls = ends.sink.calls[2..].join(", ");
        assert_eq!(calls, "send 3, confirm, send 3, confirm, send 2, confirm");
        // the next transaction is prepared while the one before it is confirmed, and none after the last
        assert_eq!(ends.sink.prepared, [3, 5]);
        assert_eq!(ends.sink.delivered, b"abcdefgh");
        // that was for one run
        assert!(saved.open().unconfirmed_limit() > 9);

        // what a live stream has sent goes on when more comes
        let (saved, mut ends) = (Saved::new(), Ends::default());
        ends.most_unconfirmed = Some(9);
        ends.answers = [Ok(Some(once(window("abcdefgh", 1))))].into();
        let (end, _) = saved.run(&mut ends, &Shutdown::default());
        assert!(end.is_ok(), "{end:?}");
        assert!(ends.sink.prepared.is_empty(), "{:?}", ends.sink.prepared);
        assert_eq!(ends.sink.delivered, b"abcdefgh");
    }

    #[test]
    fn nothing_is_lost_and_one_commit_at_most_is_repeated_whatever_call_fails() {
        let errors: [fn() -> SinkError; 3] = [
            || SinkError::Broken(Failure::new("it broke")),
            || SinkError::Unconfirmed(Failure::new("it said nothing")),
            || SinkError::Closed,
        ];
        let answers = || {
            let batches = [
                at_once(window("ab", 1)),
                window("c", 2),
                window("de", 3),
                once(window("f", 4)),
                window("g", 5),
            ];
            batches.map(|batch| Ok(Some(batch))).into()
        };
        let mut failed = 0;
        for (error, number) in errors
            .into_iter()
            .flat_map(|error| (0..13).map(move |n| (error, n)))
        {
            let saved = Saved::new();
            let mut ends = Ends {
                answers: answers(),
                ..Ends::default()
            };
            ends.sink.failure = Some((number, error));
            let (end, counters) = saved.run(&mut ends, &Shutdown::default());
            failed += usize::from(!matches!(end, Ok(CycleEnd::CaughtUp)));
            let delivered = ends.sink.delivered;
            assert_eq!(counters.delivered, delivered.len() as u64);
            // so much was confirmed up to the end of each hour
            let confirmed = [0, 2, 3, 5, 6, 7][saved.hours() as usize];
            assert_eq!(delivered.len(), confirmed, "{number}");

            let mut ends = Ends {
                answers: answers(),
                ..Ends::default()
            };
            let (end, _) = saved.run(&mut ends, &Shutdown::default());
            assert!(end.is_ok(), "{end:?}");
            let all = [delivered, ends.sink.delivered].concat();
            assert_eq!(all, b"abcdefg", "call {number} failed");
        }
        assert!(failed > 20, "{failed}");
    }

    #[test]
    fn a_cycle_ends_as_its_ends_do() {
        let check = |answers: Vec<Answer>, sink, windows, is_over: bool, wanted: &str| {
            let mut ends = Ends {
                answers: answers.into(),
                windows,
                limit: (windows == 9).then_some("at its limit"),
                ..Ends::default()
            };
            ends.sink.failure = sink;
            let limit = is_over.then_some(Duration::ZERO);
            let shutdown = Shutdown::default().after(limit);
            let said = match Saved::new().run(&mut ends, &shutdown).0 {
                Ok(CycleEnd::QuotaExceeded(failure)) => format!("quota: {failure}"),
                Ok(CycleEnd::Broken(failure)) => format!("broken: {failure}"),
                Ok(end) => format!("{end:?}"),
                Err(failure) => format!("{}: {failure}", failure.exit() as u8),
            };
            assert_eq!(said, wanted);
        };
        let stopped = || Err(QuotaError::Stopped.into());
        let spent = || Err(QuotaError::Exceeded(Failure::new("spent")).into());
        let refused = || {
            let failure = Failure::new("refused").with_exit(Exit::NoPerm);
            Err(NetError::Lasting(failure).into())
        };
        let read = || Ok(Some(events("ab")));
        let waited: fn() -> SinkError =
            || SinkError::Stopped(Failure::new("it did not confirm").with_exit(Exit::Unavailable));
        let broke: fn() -> SinkError =
            || SinkError::Broken(Failure::new("it broke").with_exit(Exit::Unavailable));

        check(vec![], None, 0, false, "CaughtUp");
        check(vec![], None, 9, false, "Limit(\"at its limit\")");
        check(vec![spent()], None, 0, false, "quota: spent");
        check(vec![refused()], None, 0, false, "77: refused");
        check(vec![], Some((0, || SinkError::Closed)), 0, false, "Closed");
        check(vec![], Some((0, broke)), 0, false, "69: it broke");
        check(vec![read()], Some((2, broke)), 0, false, "broken: it broke");

        // its time is over, and something got through, or nothing did
        check(vec![], None, 1, true, "Stopped(Deadline)");
        check(vec![read()], None, 0, true, "Stopped(Deadline)");
        check(vec![read(), stopped()], None, 0, true, "Stopped(Deadline)");
        let nothing = "69: stopped at max_duration: no answer was complete by then";
        check(vec![], None, 0, true, nothing);
        let unread = NetError::stopped();
        let unread = format!("69: stopped at max_duration: {}", Failure::from(unread));
        check(vec![stopped()], None, 0, true, &unread);
        let unconfirmed = "69: stopped at max_duration: it did not confirm";
        check(vec![], Some((1, waited)), 0, true, unconfirmed);
        check(vec![read()], Some((2, waited)), 1, true, unconfirmed);
        let delivered = at_once(window("ab", 1));
        let then = vec![Ok(Some(delivered)), Ok(Some(events("c")))];
        check(then, Some((4, waited)), 0, true, "Stopped(Deadline)");
        // a failure is none the less one
        check(vec![refused()], None, 1, true, "77: refused");
        check(vec![read()], Some((2, broke)), 1, true, "69: it broke");
    }

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
