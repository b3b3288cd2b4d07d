//! `Batch` carries events from a source through the cycle to a sink.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::checkpoint::Commit;
use crate::error::Result;

/// Log target of messages per batch, shown only with `-vv`.
pub(crate) const BATCH: &str = "batch";

/// The identity of an event: events with equal identities are one event, delivered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventId {
    /// The service names its events: the digest of the naming fields.
    Key(Digest),
    /// The service does not name them: the digest of the canonical record. Its ordinal among equals
    /// in one window tells two real events from one that was read twice.
    Content(Digest),
    /// The service names its events, and may give one name to several. Of those with one name in
    /// one answer or session, each with other content is an event.
    Streamed {
        /// The digest of the naming fields.
        key: Digest,
        /// The checksum of all of it: it only tells apart what has one name.
        content: u32,
        /// Whether it was shown as an event of the requested hour: an answer without it is
        /// incomplete.
        is_shown: bool,
    },
}

impl EventId {
    /// The digest by which the event is looked up first.
    #[must_use]
    pub(crate) fn digest(&self) -> Digest {
        match *self {
            EventId::Key(digest) | EventId::Content(digest) => digest,
            EventId::Streamed { key, .. } => key,
        }
    }
}

/// What was delivered before.
pub(crate) trait Delivered: std::fmt::Debug {
    /// What is known of it; it is read when this is asked first.
    ///
    /// # Errors
    /// When it cannot be read.
    fn known(&mut self) -> Result<&dyn DedupView>;
}

/// Tells a source which events were delivered.
pub trait DedupView: std::fmt::Debug {
    /// Whether an event with this digest was delivered or is on its way.
    fn contains(&self, digest: &Digest) -> bool;
    /// How many events were shown for the hour that ends at `hour`, in hours since 1970.
    fn shown(&self, hour: u32) -> u64;
    /// What the answer to the request with this number has contained so far.
    fn answer(&self, number: u32) -> AnswerTotals;
}

/// What an answer contained, each event counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerTotals {
    /// All events.
    pub(crate) events: u64,
    /// Events that were not known.
    pub(crate) new: u64,
    /// Events that were shown before for the requested hour.
    pub(crate) shown: u64,
}

/// The first 16 bytes of a SHA-256.
pub(crate) type Digest = [u8; 16];

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// The end of its bytes in the batch's text; they begin where the previous record ends.
    pub end: u32,
    /// Its identity.
    pub identity: EventId,
    /// For a late event, the known delay until it became visible, in seconds. An event is late if
    /// it was created before the position from which this run started.
    pub late: Option<u32>,
    /// Whether it is known to be UTF-8 without control characters, so that it may be written as it is.
    pub is_plain: bool,
}

/// Some events: their bytes in one text, and the end and identity of each.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes of the records, as received.
    pub text: Vec<u8>,
    /// The records, in the order of their bytes.
    pub records: Vec<Record>,
    /// The request that these records answer.
    pub(crate) request: RequestId,
    /// Events that cannot be had; they count as known from now on.
    pub(crate) passed_over: Vec<Digest>,
    /// Whether a batch without events is no sign of a wait.
    pub(crate) goes_on: bool,
    /// Whether the events can never be requested again; then they are kept until they are
    /// confirmed.
    pub(crate) once: bool,
    /// What may become durable once this batch, and everything before it, is confirmed.
    pub(crate) commit: Option<Commit>,
}

impl Batch {
    /// A batch without events, from a source that goes on at once.
    pub(crate) fn going_on() -> Batch {
        Batch {
            goes_on: true,
            ..Batch::default()
        }
    }

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

/// Size from which a record is large, in bytes.
pub(crate) const LARGE: usize = 1024 * 1024;
/// A block larger than those that an allocator keeps after use, in bytes; glibc keeps 32 MiB.
const OWN_BLOCK: usize = 33 * 1024 * 1024;

/// Makes room for this many more bytes.
///
/// The buffer of a large record gets a block of its own at once. So it is never copied while it grows, and
/// its memory is given back. Room that is not written to takes no memory.
pub(crate) fn make_room(text: &mut Vec<u8>, more: usize) {
    let wanted = text.len() + more;
    if wanted <= text.capacity() {
        return;
    }
    match wanted < LARGE {
        true => text.reserve(more),
        false => text.reserve(wanted.max(OWN_BLOCK) - text.len()),
    }
}

impl From<Commit> for Batch {
    /// A batch without events.
    fn from(commit: Commit) -> Batch {
        Batch {
            commit: Some(commit),
            ..Batch::default()
        }
    }
}

/// The request that a batch answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestId {
    /// The number of the request in this run, from 1; ordinals start anew in each request.
    pub number: u32,
    /// The end of the requested window in hours since 1970, rounded up.
    pub end_hour: u32,
    /// The pass that the request belongs to.
    pub pass: Pass,
}

/// Why a window is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pass {
    /// For new events, and for those that became visible since the last run.
    #[default]
    Recent,
    /// For events that became visible later still.
    Recheck,
}

/// Events that became visible late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Late {
    /// All late events.
    #[serde(rename = "late")]
    pub(crate) events: u64,
    /// Late events that only the recheck found.
    #[serde(rename = "late_by_recheck")]
    pub(crate) by_recheck: u64,
    /// Longest delay of a late event, in seconds: from its creation to the position of the run that
    /// missed it, or to the recheck that found it.
    #[serde(rename = "late_seconds_at_most")]
    pub(crate) greatest_seconds: u64,
}

impl Late {
    /// Counts an event with this delay.
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
