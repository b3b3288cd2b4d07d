//! The file of a state, as it is written and read.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dedup::SavedIndex;
use super::{LogStream, Range, Receiver};
use crate::error::{Because, Exit, fail};
use crate::pipeline::batch::{Gap, Late, LiveStream, OpenHour, Stalled};
use crate::recheck::Recheck;
use crate::window::Window;

/// The version of the file that this program writes.
pub(super) const VERSION: u32 = 1;

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
    pub(super) position: SavedPosition,
    /// No re-reading goes before it: what came earlier is not known any more.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) identities_since: OffsetDateTime,
    pub(super) identities: SavedIndex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recheck: Option<SavedRecheck>,
    /// What holds it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Stalled>,
    #[serde(default)]
    pub(super) late: Late,
    pub(super) gaps: Vec<SavedGap>,
    #[serde(default, skip_serializing_if = "SavedQuarantine::is_empty")]
    pub(super) quarantine: SavedQuarantine,
    /// The rules of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<SavedRuleStats>,
    /// Of a log stream, what the position does not tell.
    #[serde(default, skip_serializing_if = "SavedStream::is_none")]
    pub(super) stream: SavedStream,
    pub(super) unconfirmed_limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receiver: Option<Receiver>,
}

/// Events set aside.
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
        let open = !self.stream.open_hours.is_empty();
        let range = self.range.as_ref();
        range.is_some_and(|range| open || self.position.until < range.to)
    }

    /// From where the next run may read again, apart from what makes up for late events.
    pub(super) fn oldest_reading(&self) -> OffsetDateTime {
        let open = self.stream.open_hours.iter().map(|hour| hour.from);
        open.fold(self.position.until, OffsetDateTime::min)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedStream {
    #[serde(default)]
    pub(super) open_hours: Vec<OpenHour>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hour_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) live: Option<LiveStream>,
}

impl SavedStream {
    /// Nothing of a service that is no log stream.
    pub(super) fn log_stream(self) -> Option<LogStream> {
        (!self.is_none()).then_some(LogStream {
            open_hours: self.open_hours,
            live: self.live,
        })
    }

    fn is_none(&self) -> bool {
        *self == SavedStream::default()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedPosition {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) until: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) narrow: Option<SavedReducedWindow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedReducedWindow {
    pub(super) seconds: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) until: OffsetDateTime,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedRecheck {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) until: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) already_covered: Option<SavedWindow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedWindow {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) to: OffsetDateTime,
}

impl From<Recheck> for SavedRecheck {
    fn from(look: Recheck) -> Self {
        let Recheck {
            until,
            already_covered,
        } = look;
        let saved = |Window { from, to }| SavedWindow { from, to };
        SavedRecheck {
            until,
            already_covered: already_covered.map(saved),
        }
    }
}

impl From<&SavedRecheck> for Recheck {
    fn from(saved: &SavedRecheck) -> Self {
        let window = |saved: &SavedWindow| Window {
            from: saved.from,
            to: saved.to,
        };
        Recheck {
            until: saved.until,
            already_covered: saved.already_covered.as_ref().map(window),
        }
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
    const WAY_OUT: &str = "restore this service's files together from a backup, or move them away and set start_time \
                           to where it is to go on from; what lies between may be delivered again";
    let damaged = |error: serde_json::Error| anyhow::anyhow!("it is damaged: {error}");
    let StateVersion { version } = serde_json::from_slice(bytes)
        .map_err(damaged)
        .exit(Exit::Data)
        .hint(WAY_OUT)?;
    if version != VERSION {
        return fail(
            Exit::Data,
            format!("it has version {version}, and this program knows version {VERSION}"),
        )
        .hint("run the newer program that wrote it");
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
