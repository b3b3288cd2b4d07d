//! `Checkpoint` says how far a source has come.
//!
//! The source writes it and continues from it; the state stores it without reading it.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::clock::utc;

/// What becomes durable once everything before it is confirmed, together with the identities. By default
/// the checkpoint stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The checkpoint for the next run; `None` keeps the old one.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The range that is given up with it.
    pub(crate) gap: Option<Gap>,
    /// Whether it waits for no others: the source is about to wait, or to read what it cannot read again.
    pub(crate) at_once: bool,
}

impl Commit {
    /// Whether it only commits identities.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.checkpoint.is_none() && self.gap.is_none()
    }

    /// The same, without a wait for others.
    #[must_use]
    pub(crate) fn at_once(self) -> Commit {
        Commit {
            at_once: true,
            ..self
        }
    }
}

impl From<Checkpoint> for Commit {
    fn from(checkpoint: Checkpoint) -> Commit {
        Commit {
            checkpoint: Some(checkpoint),
            ..Commit::default()
        }
    }
}

/// How far re-reading goes back.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Behind the position, in each run.
    pub look_back: Duration,
    /// Once more, so long after a time; zero for never.
    pub recheck: Duration,
    /// Identities are kept at least this long behind the position.
    pub memory: Duration,
}

/// A range of time to request: from its start up to, but not including, its end; whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// Its start.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) from: OffsetDateTime,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) to: OffsetDateTime,
}

impl Window {
    /// Its length.
    #[must_use]
    pub(crate) fn length(&self) -> Duration {
        self.to - self.from
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", utc(self.from), utc(self.to))
    }
}

/// How far a source has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Checkpoint {
    /// Of a service that is read in windows.
    Windows(WindowsCheckpoint),
    /// Of a log stream with an archive.
    Stream(StreamCheckpoint),
}

impl Checkpoint {
    /// The first checkpoint of a service that is read in windows.
    #[must_use]
    pub fn windows_at(until: OffsetDateTime) -> Checkpoint {
        Checkpoint::Windows(WindowsCheckpoint::at(until))
    }

    /// The first checkpoint of a log stream.
    #[must_use]
    pub(crate) fn stream_at(until: OffsetDateTime) -> Checkpoint {
        Checkpoint::Stream(StreamCheckpoint::at(until))
    }

    /// The position: everything before it is complete, except open hours of an archive.
    #[must_use]
    pub(crate) fn until(&self) -> OffsetDateTime {
        match self {
            Checkpoint::Windows(windows) => windows.until,
            Checkpoint::Stream(stream) => stream.until,
        }
    }

    /// The checkpoint of a source that reads in windows. From another kind only the time is kept.
    #[must_use]
    pub(crate) fn windows(&self) -> WindowsCheckpoint {
        match self {
            Checkpoint::Windows(windows) => windows.clone(),
            Checkpoint::Stream(stream) => WindowsCheckpoint::at(stream.until),
        }
    }

    /// The checkpoint of a source that reads a log stream. From another kind only the time is kept.
    #[must_use]
    pub(crate) fn stream(&self) -> StreamCheckpoint {
        match self {
            Checkpoint::Windows(windows) => StreamCheckpoint::at(windows.until),
            Checkpoint::Stream(stream) => stream.clone(),
        }
    }

    /// The checkpoint of a log stream, if it is one.
    #[must_use]
    pub(crate) fn as_stream(&self) -> Option<&StreamCheckpoint> {
        match self {
            Checkpoint::Windows(_) => None,
            Checkpoint::Stream(stream) => Some(stream),
        }
    }

    /// Whether anything before `end` is left to read.
    #[must_use]
    pub(crate) fn is_left_before(&self, end: OffsetDateTime) -> bool {
        let is_open = |stream: &StreamCheckpoint| !stream.open_hours.is_empty();
        self.until() < end || self.as_stream().is_some_and(is_open)
    }

    /// The earliest time that the next run may read, apart from look-back and recheck.
    #[must_use]
    pub(crate) fn oldest_reading(&self) -> OffsetDateTime {
        let open = self.as_stream().map(|stream| &*stream.open_hours);
        let open = open.unwrap_or_default().iter().map(|hour| hour.from);
        open.fold(self.until(), OffsetDateTime::min)
    }

    /// Where the recheck continues, if there is one.
    #[must_use]
    pub(crate) fn recheck_from(&self) -> Option<OffsetDateTime> {
        match self {
            Checkpoint::Windows(windows) => windows.recheck.map(|recheck| recheck.until),
            Checkpoint::Stream(_) => None,
        }
    }

    /// Whether both belong to the same kind of source.
    #[must_use]
    pub(crate) fn is_like(&self, other: &Checkpoint) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// How far a source that reads in windows has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsCheckpoint {
    /// The position: everything before it is complete. Whole seconds, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// Set after a window had to be halved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) narrow: Option<ReducedWindow>,
    /// How far the recheck has come; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recheck: Option<Recheck>,
    /// Set while the position waits for something that cannot be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stalled: Option<Stalled>,
}

impl WindowsCheckpoint {
    fn at(until: OffsetDateTime) -> WindowsCheckpoint {
        WindowsCheckpoint {
            until,
            narrow: None,
            recheck: None,
            stalled: None,
        }
    }
}

/// A shorter window, after one that was too large to come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReducedWindow {
    /// The length of the next window, in seconds.
    pub(crate) seconds: u32,
    /// The end of the window that was too large. Windows do not grow again before it, so that
    /// look-back does not bring back what was too much.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
}

/// How far the recheck has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recheck {
    /// Everything before it was read late enough.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// A later range that was late enough when it was first read, as after an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) already_covered: Option<Window>,
}

/// A position that waits for something that cannot be had for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stalled {
    /// Where it waits.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    /// When it began to wait.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

/// How far a log stream and its archive were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamCheckpoint {
    /// The position: every hour of the archive before it was read, except the open ones.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// The hours before it to request again, oldest first.
    pub(crate) open_hours: Vec<OpenHour>,
    /// The number of events that the archive had for the hour before `until`, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hour_before: Option<u64>,
    /// The live stream, if it was ever opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<LiveStream>,
}

impl StreamCheckpoint {
    fn at(until: OffsetDateTime) -> StreamCheckpoint {
        StreamCheckpoint {
            until,
            open_hours: Vec::new(),
            hour_before: None,
            live: None,
        }
    }
}

/// An hour of the archive that is not known to be complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenHour {
    /// Its start.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) from: OffsetDateTime,
    /// When it was first requested.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
    /// When it was last requested.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) asked: OffsetDateTime,
    /// How many events the last answer had, however it ended; `None` if the run did not read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<u64>,
    /// Why it is open.
    pub(crate) why: OpenReason,
}

/// Why an hour of the archive is not known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OpenReason {
    /// The run ended while it was read.
    Unfinished,
    /// The session did not end in good order, and no earlier answer was equal.
    Cut,
    /// Events that the live stream or an earlier answer had shown are missing in it.
    Lacking,
    /// It is empty, and the hour before is full.
    Empty,
    /// It had events that nothing had shown before: more may follow.
    Growing,
    /// Nothing shows that it is complete: the live stream did not cover all of it.
    Unproven,
}

impl OpenReason {
    /// The reason, for messages.
    #[must_use]
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            OpenReason::Unfinished => "the run ended while it was read",
            OpenReason::Cut => {
                "the server did not end the answer in good order, and no equal one confirms it"
            }
            OpenReason::Lacking => "events that were seen before are missing in it",
            OpenReason::Empty => "it is empty, which is not certain",
            OpenReason::Growing => "it had new events, so there may be more",
            OpenReason::Unproven => "the live stream did not cover all of it, so there may be more",
        }
    }
}

/// The live stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveStream {
    /// Everything it brought before this time is confirmed.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// Whether it is open. In a loaded state that means that the run died.
    pub(crate) open: bool,
    /// The start of the unbroken time in which it brought everything, if there is one.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub(crate) since: Option<OffsetDateTime>,
}

/// A range of time whose events were not collected and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Its start.
    pub(crate) from: OffsetDateTime,
    /// Its end.
    pub(crate) to: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use time::Duration;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    /// Holds the format of the file: a change needs another version of the state.
    fn check_golden(checkpoint: &Checkpoint, golden: &str) {
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_value(checkpoint).unwrap(), golden);
        let read: Checkpoint = serde_json::from_value(golden.clone()).unwrap();
        assert_eq!(read, *checkpoint);
        let mut more = golden;
        more["more"] = json!(1);
        assert!(serde_json::from_value::<Checkpoint>(more).is_err());
    }

    #[test]
    fn a_checkpoint_of_windows_is_written_as_its_golden_file() {
        let hour_ago = NOON - Duration::HOUR;
        let checkpoint = Checkpoint::Windows(WindowsCheckpoint {
            until: NOON,
            narrow: Some(ReducedWindow {
                seconds: 1800,
                until: NOON + Duration::HOUR,
            }),
            recheck: Some(Recheck {
                until: NOON - Duration::hours(12),
                already_covered: Some(Window {
                    from: hour_ago,
                    to: NOON,
                }),
            }),
            stalled: Some(Stalled {
                at: NOON,
                since: hour_ago,
            }),
        });
        check_golden(&checkpoint, include_str!("golden/windows.json"));
        check_golden(
            &Checkpoint::windows_at(NOON),
            r#"{"kind": "windows", "until": "2026-11-24T12:00:00Z"}"#,
        );
    }

    #[test]
    fn a_checkpoint_of_a_stream_is_written_as_its_golden_file() {
        let hour = |hours: i64, why| OpenHour {
            from: NOON - Duration::hours(hours),
            since: NOON - Duration::hours(1),
            asked: NOON,
            events: None,
            why,
        };
        let reasons = [
            OpenReason::Unfinished,
            OpenReason::Cut,
            OpenReason::Lacking,
            OpenReason::Empty,
            OpenReason::Growing,
            OpenReason::Unproven,
        ];
        let hours = (2..8).rev().zip(reasons);
        let checkpoint = Checkpoint::Stream(StreamCheckpoint {
            until: NOON,
            open_hours: hours.map(|(hours, why)| hour(hours, why)).collect(),
            hour_before: Some(7),
            live: Some(LiveStream {
                until: NOON,
                open: true,
                since: Some(NOON - Duration::HOUR),
            }),
        });
        check_golden(&checkpoint, include_str!("golden/stream.json"));
        check_golden(
            &Checkpoint::stream_at(NOON),
            r#"{"kind": "stream", "until": "2026-11-24T12:00:00Z", "open_hours": []}"#,
        );
        assert!(checkpoint.is_left_before(NOON));
        assert!(!Checkpoint::stream_at(NOON).is_left_before(NOON));
        assert_eq!(checkpoint.oldest_reading(), NOON - Duration::hours(7));
    }
}
