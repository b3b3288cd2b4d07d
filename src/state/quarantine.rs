//! `Quarantine` keeps events that could not be sent, for people.
//!
//! It writes one JSON object per line, for the owner alone, at once, so that none waits in memory.
//! Lines count once they are synced and their length is in the state file. What is beyond that was
//! not committed: it comes again, and is cut off. People may take the file away.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::error::{StateError, StateFile};
use crate::digest::hex;
use crate::files::{self, AppendFile, FileError};

/// The file of quarantined events.
#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    /// How many bytes of it count.
    length: u64,
    /// How many more were written.
    written: u64,
    /// How many events they are.
    events: u64,
    end: Option<AppendFile>,
}

/// A line of the file.
#[derive(Debug, Serialize)]
struct QuarantineLine<'a> {
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    why: &'a str,
    /// The event as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    /// Its bytes, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_hex: Option<Hex<'a>>,
}

/// Bytes that are written as hexadecimal digits, without a copy.
#[derive(Debug)]
struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chunks(1024)
            .try_for_each(|bytes| f.write_str(&hex(bytes)))
    }
}

/// Writes at the end of a file, and counts the bytes.
struct Counting<'a> {
    end: &'a mut AppendFile,
    written: u64,
    error: Option<FileError>,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.end.write(bytes) {
            Ok(()) => {
                self.written += bytes.len() as u64;
                Ok(bytes.len())
            }
            Err(error) => {
                self.error = Some(error);
                Err(ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Quarantine {
    /// The file at `path`, of which `confirmed` bytes count. One that was shortened or taken away
    /// counts as it is. Nothing is written.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub(super) fn open(path: PathBuf, confirmed: u64) -> Result<Quarantine, StateError> {
        let there = files::length(&path).map_err(StateError::Unwritable)?;
        let there = there.unwrap_or(0);
        Ok(Quarantine {
            path,
            length: confirmed.min(there),
            written: 0,
            events: 0,
            end: None,
        })
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes count.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Cuts off what does not count.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) fn cut(&self) -> Result<(), StateError> {
        let cut = || match files::length(&self.path)? {
            Some(there) if there > self.length => AppendFile::open(&self.path, self.length)?.sync(),
            _ => Ok(()),
        };
        cut().map_err(StateError::Unwritable)
    }

    /// Adds an event, with why it is here.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add(
        &mut self,
        event: &[u8],
        why: &str,
        time: OffsetDateTime,
    ) -> Result<(), StateError> {
        self.write(event, why, time).map_err(StateError::Unwritable)
    }

    fn write(&mut self, event: &[u8], why: &str, time: OffsetDateTime) -> Result<(), FileError> {
        let text = std::str::from_utf8(event).ok();
        let line = QuarantineLine {
            time,
            why,
            event: text,
            event_hex: text.is_none().then_some(Hex(event)),
        };
        let end = match &mut self.end {
            Some(end) => end,
            none => none.insert(AppendFile::open(&self.path, self.length)?),
        };
        let (written, error) = (0, None);
        let mut out = BufWriter::new(Counting {
            end,
            written,
            error,
        });
        let done = serde_json::to_writer(&mut out, &line).map_err(io::Error::from);
        let done = done
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        let (counting, _) = out.into_parts();
        if let Err(error) = done {
            let error = || FileError::new("writing", &self.path, error);
            return Err(counting.error.unwrap_or_else(error));
        }
        self.written += counting.written;
        self.events += 1;
        Ok(())
    }

    /// Makes durable what was added; returns how many events that were.
    ///
    /// # Errors
    /// When it cannot be synced.
    pub(super) fn commit(&mut self) -> Result<u64, StateError> {
        if let Some(end) = self.end.as_ref().filter(|_| self.written > 0) {
            end.sync().map_err(StateError::Unwritable)?;
        }
        self.length += std::mem::take(&mut self.written);
        Ok(std::mem::take(&mut self.events))
    }
}

/// How many events stand in the file at `path`.
///
/// # Errors
/// When it is there and cannot be read.
pub(crate) fn count(path: &Path) -> Result<u64, StateError> {
    files::lines(path).map_err(|error| StateError::Unreadable(StateFile::State, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_holds_every_byte_of_an_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::open(dir.path().join("x.quarantine.jsonl"), 0).unwrap();
        quarantine
            .add(b"{\"a\":\n\"x", "it is cut off", NOW)
            .unwrap();
        quarantine
            .add(b"\xff\x00{", "it is not UTF-8", NOW)
            .unwrap();
        assert_eq!(quarantine.commit().unwrap(), 2);
        let time = "2026-11-27T12:00:00Z";
        assert_eq!(
            lines(quarantine.path()),
            [
                json!({"time": time, "why": "it is cut off", "event": "{\"a\":\n\"x"}),
                json!({"time": time, "why": "it is not UTF-8", "event_hex": "ff007b"}),
            ]
        );
        assert_eq!(
            files::length(quarantine.path()).unwrap(),
            Some(quarantine.length())
        );
        assert_eq!(count(quarantine.path()).unwrap(), 2);
        assert_eq!(count(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn what_was_not_committed_is_cut_off_and_the_file_may_be_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.quarantine.jsonl");
        let open = |confirmed| Quarantine::open(path.clone(), confirmed).unwrap();
        let add = |quarantine: &mut Quarantine, why: &str| quarantine.add(b"{", why, NOW).unwrap();
        let whys = || -> Vec<String> {
            let why = |line: Value| line["why"].as_str().unwrap().to_owned();
            lines(&path).into_iter().map(why).collect()
        };
        open(0).cut().unwrap();
        assert!(!path.exists());
        let mut quarantine = open(0);
        add(&mut quarantine, "one");
        quarantine.commit().unwrap();
        let confirmed = quarantine.length();
        add(&mut quarantine, "lost");
        open(confirmed).cut().unwrap();
        assert_eq!(whys(), ["one"]);
        let mut quarantine = open(confirmed);
        add(&mut quarantine, "two");
        quarantine.commit().unwrap();
        assert_eq!(whys(), ["one", "two"]);
        // somebody took it away
        std::fs::remove_file(&path).unwrap();
        let mut quarantine = open(quarantine.length());
        assert_eq!(quarantine.length(), 0);
        add(&mut quarantine, "three");
        quarantine.commit().unwrap();
        assert_eq!(whys(), ["three"]);
    }
}
