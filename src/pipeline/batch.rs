//! What passes from a source through the cycle to a sink.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::checkpoint::Commit;

/// The log target of what is said for each batch, a line or two: only `-vv` shows it.
pub(crate) const BATCH: &str = "batch";

/// What makes an event this event: equal identities are one event, delivered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventId {
    /// The service names its events: the digest of the fields that do.
    Key(Digest),
    /// It does not: the digest of the canonical record, which together with its ordinal among
    /// equals in one window tells two real events from one that was read twice.
    Content(Digest),
    /// As named, and shown as one of the hour that was asked for: an answer without it is not whole.
    ArchivedKey(Digest),
}

/// What is known of events: for a source that must know what was delivered.
pub trait DedupView: std::fmt::Debug {
    /// Whether an event of this digest was delivered, or is on its way.
    fn contains(&self, digest: &Digest) -> bool;
    /// How many events were shown as those of the hour that ends at `hour`, in hours since 1970.
    fn shown(&self, hour: u32) -> u64;
    /// What the answer to the question of this number has held so far.
    fn answer(&self, number: u32) -> AnswerTotals;
}

/// What an answer has held, each event counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerTotals {
    /// All of them.
    pub(crate) events: u64,
    /// Those that were not known.
    pub(crate) new: u64,
    /// Those that were shown before as those of the hour that was asked for.
    pub(crate) shown: u64,
}

/// The first 16 bytes of a SHA-256.
pub(crate) type Digest = [u8; 16];

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// Where its bytes end in the batch's text; they begin where those of the one before end.
    pub end: u32,
    /// What it is recognised by.
    pub identity: EventId,
    /// If it was created before the position from which this run went on, so that an earlier run
    /// should have found it: how long it took to become visible, as far as is known, in seconds.
    pub late: Option<u32>,
}

/// Some events: their bytes one after the other, and where each ends, with its identity.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes of the records, as they came.
    pub text: Vec<u8>,
    /// The records, in the order of their bytes.
    pub records: Vec<Record>,
    /// What was asked for when these came.
    pub(crate) request: RequestId,
    /// Events that cannot be had: they count as known from now on.
    pub(crate) passed_over: Vec<Digest>,
    /// Whether they can never be asked for again: then they are kept until they are confirmed.
    pub(crate) once: bool,
    /// Whether, and as what, everything up to here is to be confirmed and made durable.
    pub(crate) commit: Option<Commit>,
}

impl Batch {
    /// Each record with its bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        let mut start = 0;
        self.records.iter().map(move |record| {
            let end = record.end as usize;
            let bytes = &self.text[start..end];
            start = end;
            (bytes, record)
        })
    }
}

/// The question that a batch answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestId {
    /// Counts the questions of a run, from 1; ordinals count anew in each.
    pub number: u32,
    /// The end of what was asked for, in whole hours since 1970, rounded up.
    pub end_hour: u32,
    /// For which look it was asked.
    pub pass: Pass,
}

/// Why a time is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pass {
    /// For what is new, and what became visible since the last run.
    #[default]
    Recent,
    /// For what became visible later still.
    Recheck,
}

/// Events that became visible late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Late {
    /// How many.
    #[serde(rename = "late")]
    pub(crate) events: u64,
    /// Of them, those that only the recheck found.
    #[serde(rename = "late_by_recheck")]
    pub(crate) by_recheck: u64,
    /// The longest time that one took, in seconds: from its creation to the position of the run that
    /// did not see it, or, if the recheck found it, to that.
    #[serde(rename = "late_seconds_at_most")]
    pub(crate) greatest_seconds: u64,
}

impl Late {
    /// Counts one that took so long.
    pub(crate) fn add(&mut self, seconds: u32, pass: Pass) {
        self.events += 1;
        self.by_recheck += u64::from(pass == Pass::Recheck);
        self.greatest_seconds = self.greatest_seconds.max(seconds.into());
    }
}

/// Hours since 1970 up to `time`, rounded up.
#[must_use]
pub(crate) fn hour_after(time: OffsetDateTime) -> u32 {
    let hours = (time.unix_timestamp() + 3599).div_euclid(3600);
    u32::try_from(hours).unwrap_or(0)
}
