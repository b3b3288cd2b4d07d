//! `Checkpoint` says how far a source has come.
//!
//! A source makes it and goes on from it; the state keeps it without reading into it.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::clock::utc;

/// What becomes durable, with the identities, after a batch. By default the source stands where it stood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Commit {
    /// From where the next run goes on; `None` leaves it as it was.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What was given up with this.
    pub(crate) gap: Option<Gap>,
}

impl Commit {
    /// Whether it changes nothing but the identities.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Commit::default()
    }
}

impl From<Checkpoint> for Commit {
    fn from(checkpoint: Checkpoint) -> Commit {
        Commit {
            checkpoint: Some(checkpoint),
            gap: None,
        }
    }
}

/// A time to ask for: from its start up to, not including, its end; whole seconds.
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
    /// How long it is.
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
    /// Of a log stream and its archive.
    Stream(StreamCheckpoint),
}

impl Checkpoint {
    /// Of a service that is read in windows, at its beginning.
    #[must_use]
    pub fn windows_at(until: OffsetDateTime) -> Checkpoint {
        Checkpoint::Windows(WindowsCheckpoint::at(until))
    }

    /// Of a log stream, at its beginning.
    #[must_use]
    pub(crate) fn stream_at(until: OffsetDateTime) -> Checkpoint {
        Checkpoint::Stream(StreamCheckpoint::at(until))
    }

    /// Before it everything is complete, apart from open hours of an archive.
    #[must_use]
    pub(crate) fn until(&self) -> OffsetDateTime {
        match self {
            Checkpoint::Windows(windows) => windows.until,
            Checkpoint::Stream(stream) => stream.until,
        }
    }

    /// What the next run goes on with, if it reads in windows. Of another kind only the time counts.
    #[must_use]
    pub(crate) fn windows(&self) -> WindowsCheckpoint {
        match self {
            Checkpoint::Windows(windows) => windows.clone(),
            Checkpoint::Stream(stream) => WindowsCheckpoint::at(stream.until),
        }
    }

    /// What the next run goes on with, if it reads a log stream. Of another kind only the time counts.
    #[must_use]
    pub(crate) fn stream(&self) -> StreamCheckpoint {
        match self {
            Checkpoint::Windows(windows) => StreamCheckpoint::at(windows.until),
            Checkpoint::Stream(stream) => stream.clone(),
        }
    }

    /// Where the reading of a log stream stands, if it is one.
    #[must_use]
    pub(crate) fn as_stream(&self) -> Option<&StreamCheckpoint> {
        match self {
            Checkpoint::Windows(_) => None,
            Checkpoint::Stream(stream) => Some(stream),
        }
    }

    /// Whether something before `end` is left to be read.
    #[must_use]
    pub(crate) fn is_left_before(&self, end: OffsetDateTime) -> bool {
        let is_open = |stream: &StreamCheckpoint| !stream.open_hours.is_empty();
        self.until() < end || self.as_stream().is_some_and(is_open)
    }

    /// From where the next run may read again, apart from what makes up for late events.
    #[must_use]
    pub(crate) fn oldest_reading(&self) -> OffsetDateTime {
        let open = self.as_stream().map(|stream| &*stream.open_hours);
        let open = open.unwrap_or_default().iter().map(|hour| hour.from);
        open.fold(self.until(), OffsetDateTime::min)
    }

    /// From where the recheck goes on, if there is one.
    #[must_use]
    pub(crate) fn recheck_from(&self) -> Option<OffsetDateTime> {
        match self {
            Checkpoint::Windows(windows) => windows.recheck.map(|recheck| recheck.until),
            Checkpoint::Stream(_) => None,
        }
    }

    /// Whether both are of the same kind of source.
    #[must_use]
    pub(crate) fn is_like(&self, other: &Checkpoint) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Where a source stands that is read in windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsCheckpoint {
    /// Before it everything is complete: whole seconds, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// Where a window had to be halved: how to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) narrow: Option<ReducedWindow>,
    /// How far the recheck has come; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recheck: Option<Recheck>,
    /// What holds it up.
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

/// A place that did not come through in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReducedWindow {
    /// The length of the next window, in seconds.
    pub(crate) seconds: u32,
    /// Windows do not grow again before this time, where the place ends: re-reading before it
    /// must not bring back what was too much.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
}

/// How far the recheck has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recheck {
    /// Before it, everything was read late enough.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// Further on, a time that was late enough when it was read first, as after an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) already_covered: Option<Window>,
}

/// What could not be had holds up a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stalled {
    /// Where it stands.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

/// Where the reading of a log stream and of its archive stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamCheckpoint {
    /// Before it, every hour of the archive was read, apart from the open ones.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// The hours before it that are to be asked for again, oldest first.
    pub(crate) open_hours: Vec<OpenHour>,
    /// How many events the archive had for the hour before `until`, where it is known.
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

/// An hour of the archive that is not known to be whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenHour {
    /// Its start.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) from: OffsetDateTime,
    /// When it was first asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
    /// When it was last asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) asked: OffsetDateTime,
    /// Why it is not taken for whole.
    pub(crate) why: OpenReason,
}

/// Why an hour of the archive is not taken for whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OpenReason {
    /// The run ended in it.
    Unfinished,
    /// The connection ended before the server said that it was all.
    Cut,
    /// It lacks events that the live stream or an earlier answer had shown.
    Lacking,
    /// It is empty, and the hour before is full.
    Empty,
    /// It held events that nothing had shown before: there may be more to come.
    Growing,
    /// Nothing shows that it is whole: the live stream was not there for all of it.
    Unproven,
}

impl OpenReason {
    /// What is wrong with the hour.
    #[must_use]
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            OpenReason::Unfinished => "the run ended in it",
            OpenReason::Cut => "the connection ended before the server said that this was all",
            OpenReason::Lacking => "it lacks events that were shown before",
            OpenReason::Empty => "it is empty, and the hour before is not",
            OpenReason::Growing => {
                "it held events that nothing had shown before, so there may be more"
            }
            OpenReason::Unproven => {
                "the live stream was not there for all of it, so there may be more"
            }
        }
    }
}

/// The live stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveStream {
    /// What it brought up to here is confirmed.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) until: OffsetDateTime,
    /// Whether it is open; in a state that is loaded, the run that had it died.
    pub(crate) open: bool,
    /// From when on it brought everything that it had to say, without a break, if that is so.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub(crate) since: Option<OffsetDateTime>,
}

/// A time whose events the service no longer keeps.
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

    /// The format of the file: a change here needs another version of the state.
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
