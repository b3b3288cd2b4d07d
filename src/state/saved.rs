//! `SavedState` is the state of a service as it is written and read.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::seen::SavedIndex;
use crate::pipeline::batch::Late;
use crate::pipeline::checkpoint::{Checkpoint, Gap};

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedState {
    pub(super) version: u32,
    pub(super) service: String,
    /// The configured `start_time` it began from.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) start_time: Option<OffsetDateTime>,
    /// When it was begun, by our clock, as long as nothing was read.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub(super) begun: Option<OffsetDateTime>,
    /// A backfill's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) range: Option<Range>,
    /// From where the next run goes on; only its source reads it.
    pub(super) checkpoint: Checkpoint,
    /// No re-reading goes before it: what came earlier is not known any more.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) identities_since: OffsetDateTime,
    pub(super) identities: SavedIndex,
    #[serde(default)]
    pub(super) late: Late,
    pub(super) gaps: Vec<SavedGap>,
    #[serde(default, skip_serializing_if = "SavedQuarantine::is_empty")]
    pub(super) quarantine: SavedQuarantine,
    /// The rules of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<SavedRuleStats>,
    pub(super) unconfirmed_limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receiver: Option<Receiver>,
}

/// A backfill: what was asked for, in the words of the command line, and what it meant then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// `--start-time` and `--end-time` as they were written.
    pub(crate) words: [String; 2],
    /// The start it meant.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) from: OffsetDateTime,
    /// The end it meant.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) to: OffsetDateTime,
}

/// What is remembered of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Its address.
    pub(crate) address: String,
    /// Whether it once answered the end of a connection with its own close_notify; then it must
    /// always.
    pub(crate) sends_close_notify: bool,
}

/// Quarantined events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedQuarantine {
    /// How many bytes of their file count.
    pub(super) length: u64,
    /// How many no run has ended with the status that says so.
    pub(super) unreported: u64,
}

impl SavedQuarantine {
    fn is_empty(&self) -> bool {
        *self == SavedQuarantine::default()
    }
}

/// How a rule has fitted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedRuleStats {
    /// What it is known by, in hexadecimal digits.
    pub(super) rule: String,
    pub(super) tried: u64,
    pub(super) matched: bool,
}

impl SavedState {
    /// Whether some of a backfill's range is left to be read.
    pub(super) fn is_left(&self) -> bool {
        let range = self.range.as_ref();
        range.is_some_and(|range| self.checkpoint.is_left_before(range.to))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedGap {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) to: OffsetDateTime,
    /// Whether a run has ended with the status that says so.
    pub(super) said: bool,
}

impl SavedGap {
    /// The gap itself.
    pub(super) fn gap(&self) -> Gap {
        Gap {
            from: self.from,
            to: self.to,
        }
    }
}
