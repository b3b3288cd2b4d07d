//! The file of a state, as it is written and read.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dedup::SavedIndex;
use super::{Range, Receiver};
use crate::error::{Because, Exit, fail};
use crate::pipeline::batch::Late;
use crate::pipeline::checkpoint::{Checkpoint, Gap};

/// The version of the file that this program writes.
pub(super) const VERSION: u32 = 2;

/// What helps when it cannot be used.
pub(super) const WAY_OUT: &str = "restore this service's files together from a backup, or move them away and set \
                                  start_time to where it is to go on from; what lies between may be delivered again";

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedState {
    pub(super) version: u32,
    pub(super) service: String,
    /// The configured `start_time` it began from.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) start_time: Option<OffsetDateTime>,
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

/// Reads the state of a service.
///
/// # Errors
/// When it is damaged, newer, or another's.
pub(super) fn parse(bytes: &[u8], service: &str) -> Result<SavedState> {
    #[derive(Deserialize)]
    struct StateVersion {
        version: u32,
    }
    const OLDER: &str = "an older program wrote it: move this service's files away and set start_time to where it is to \
                         go on from; what is read again is delivered again";
    let damaged = |error: serde_json::Error| anyhow::anyhow!("it is damaged: {error}");
    let StateVersion { version } = serde_json::from_slice(bytes)
        .map_err(damaged)
        .exit(Exit::Data)
        .hint(WAY_OUT)?;
    if version != VERSION {
        let is_newer = version > VERSION;
        return fail(
            Exit::Data,
            format!("it has version {version}, and this program knows version {VERSION}"),
        )
        .hint(match is_newer {
            true => "run the newer program that wrote it",
            false => OLDER,
        });
    }
    let saved: SavedState = serde_json::from_slice(bytes)
        .map_err(damaged)
        .exit(Exit::Data)
        .hint(WAY_OUT)?;
    if saved.service != service {
        return fail(
            Exit::Data,
            format!("it is the state of {}, not of {service}", saved.service),
        )
        .hint(WAY_OUT);
    }
    Ok(saved)
}
