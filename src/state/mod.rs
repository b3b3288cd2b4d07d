//! What a service remembers between its runs: one JSON file, and the identities beside it.
//!
//! A commit writes the identities first and the position second, each synced. What cannot be
//! understood is refused; the program never starts over in silence.

pub mod quota;
pub mod seen;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::event::{Gap, Narrow, Position, Resume, hour_after};
use crate::exit::{Because, Exit, fail};
use crate::files;
use crate::window::whole_seconds;
use seen::{Extent, Seen};

/// What to do when something cannot be written.
const ROOM: &str =
    "the state folder must exist, be writable for the user who runs this, and have room";
/// The version of the file that this program writes.
const VERSION: u32 = 1;
/// Identities are kept at least this long behind the position.
const SHORTEST_MEMORY: Duration = Duration::hours(2);
/// So much may be unconfirmed at once, in bytes, unless confirmations fail.
pub const UNCONFIRMED: u64 = 64 * 1024 * 1024;
/// Failing confirmations do not press it under this.
const LEAST_UNCONFIRMED: u64 = 64 * 1024;

/// The state of a service, as it is and on disk.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    saved: Saved,
    /// The identities of what was delivered.
    pub seen: Seen,
    /// How long identities are kept behind the position.
    memory: Duration,
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u32,
    service: String,
    /// The configured `start_time` it began from.
    #[serde(with = "time::serde::rfc3339::option")]
    start_time: Option<OffsetDateTime>,
    /// A backfill's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<Range>,
    position: SavedPosition,
    /// No re-reading goes before it: what came earlier is not known any more.
    #[serde(with = "time::serde::rfc3339")]
    identities_since: OffsetDateTime,
    identities: Extent,
    gaps: Vec<SavedGap>,
    unconfirmed_limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiver: Option<Receiver>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPosition {
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    narrow: Option<SavedNarrow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedNarrow {
    seconds: u32,
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedGap {
    #[serde(with = "time::serde::rfc3339")]
    from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    to: OffsetDateTime,
    /// Whether a run has ended with the status that says so.
    said: bool,
}

/// A backfill: what was asked for, in the words of the command line, and what it meant then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// `--start-time` and `--end-time` as they were written.
    pub words: [String; 2],
    /// The start it meant.
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    /// The end it meant.
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
}

/// What is remembered of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Its address.
    pub address: String,
    /// Whether it once answered the end of a connection with its own close_notify; then it must
    /// always.
    pub says_goodbye: bool,
}

/// What to begin with where there is no state.
#[derive(Debug, Clone)]
pub struct Start {
    /// The configured `start_time`.
    pub configured: Option<OffsetDateTime>,
    /// A backfill's range.
    pub range: Option<Range>,
    /// Where to start reading.
    pub from: OffsetDateTime,
}

/// A look at a state.
#[derive(Debug)]
pub struct Peek {
    /// Before it everything is complete.
    pub until: OffsetDateTime,
    /// A backfill's range.
    pub range: Option<Range>,
}

/// What became of opening a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    New,
    /// It goes on.
    Known,
    /// `start_time` was changed: it starts over from there.
    Restarted,
}

impl State {
    /// Opens the state at `path` of `service`, or begins one. `memory` is how long identities
    /// are needed behind the position. Nothing is written.
    ///
    /// # Errors
    /// When the file is damaged, newer, or of another service, or has a position in the future.
    pub fn open(
        path: &Path,
        service: &str,
        start: &Start,
        memory: Duration,
        now: OffsetDateTime,
    ) -> Result<(State, Opened)> {
        let memory = memory.max(SHORTEST_MEMORY);
        let what = || format!("reading the state {}", path.display());
        let Some(bytes) = files::read(path).exit(Exit::Data)? else {
            return Ok((
                State::begin(path, service, start, memory, None),
                Opened::New,
            ));
        };
        let saved = parse(&bytes, service).with_context(what)?;
        if is_restart(&saved, start) {
            return Ok((
                State::begin(path, service, start, memory, Some(saved)),
                Opened::Restarted,
            ));
        }
        if saved.position.until > now + Duration::minutes(1) {
            return fail(Exit::Data, format!("its position {} lies in the future", crate::window::utc(saved.position.until)))
                .with_context(what)
                .hint(
                    "set this machine's clock (timedatectl); if the clock is right, set start_time to where the \
                     service is to go on from",
                );
        }
        let oldest = hour_after(saved.position.until - memory);
        let seen = Seen::load(&seen_path(path), &saved.identities, oldest)?;
        let mut state = State {
            path: path.to_owned(),
            saved,
            seen,
            memory,
        };
        state.saved.identities.beside = false;
        Ok((state, Opened::Known))
    }

    /// Up to where the state at `path` has come, if there is one, and a backfill's range.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn peek(path: &Path, service: &str) -> Result<Option<Peek>> {
        let Some(bytes) = files::read(path).exit(Exit::Data)? else {
            return Ok(None);
        };
        let saved = parse(&bytes, service)
            .with_context(|| format!("reading the state {}", path.display()))?;
        Ok(Some(Peek {
            until: saved.position.until,
            range: saved.range,
        }))
    }

    fn begin(
        path: &Path,
        service: &str,
        start: &Start,
        memory: Duration,
        before: Option<Saved>,
    ) -> State {
        let (gaps, receiver) =
            before.map_or((Vec::new(), None), |before| (before.gaps, before.receiver));
        let from = whole_seconds(start.from);
        let saved = Saved {
            version: VERSION,
            service: service.to_owned(),
            start_time: start.configured,
            range: start.range.clone(),
            position: SavedPosition {
                until: from,
                narrow: None,
            },
            identities_since: from,
            identities: Extent::NONE,
            gaps,
            unconfirmed_limit: UNCONFIRMED,
            receiver,
        };
        State {
            path: path.to_owned(),
            saved,
            seen: Seen::empty(&seen_path(path)),
            memory,
        }
    }

    /// From where to go on.
    #[must_use]
    pub fn position(&self) -> Position {
        let SavedPosition { until, narrow } = &self.saved.position;
        let narrow = narrow.as_ref().map(|narrow| Narrow {
            seconds: narrow.seconds,
            until: narrow.until,
        });
        Position {
            until: *until,
            narrow,
        }
    }

    /// No re-reading goes before this time.
    #[must_use]
    pub fn identities_since(&self) -> OffsetDateTime {
        self.saved.identities_since
    }

    /// Whether nothing was ever confirmed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.saved.position.until == self.saved.identities_since
    }

    /// The range of a backfill.
    #[must_use]
    pub fn range(&self) -> Option<&Range> {
        self.saved.range.as_ref()
    }

    /// How many bytes may be unconfirmed.
    #[must_use]
    pub fn unconfirmed_limit(&self) -> u64 {
        self.saved.unconfirmed_limit
    }

    /// What is known of the receiver.
    #[must_use]
    pub fn receiver(&self) -> Option<&Receiver> {
        self.saved.receiver.as_ref()
    }

    /// Writes the state as it is, so that it is known that the next one can be written.
    ///
    /// # Errors
    /// When it cannot be written and synced.
    pub fn prove(&self) -> Result<()> {
        self.save()
    }

    /// What was delivered becomes durable: its identities first, the position second.
    ///
    /// # Errors
    /// When either cannot be written; the run before still counts then.
    pub fn commit(&mut self, resume: Option<&Resume>, receiver: Option<Receiver>) -> Result<()> {
        self.saved.identities = self.seen.commit()?;
        if let Some(Resume { position, gap }) = resume {
            let narrow = position.narrow.map(|narrow| SavedNarrow {
                seconds: narrow.seconds,
                until: narrow.until,
            });
            self.saved.position = SavedPosition {
                until: position.until,
                narrow,
            };
            if let Some(Gap { from, to }) = *gap {
                self.saved.gaps.push(SavedGap {
                    from,
                    to,
                    said: false,
                });
            }
        }
        if receiver.is_some() {
            self.saved.receiver = receiver;
        }
        self.save()
    }

    /// The receiver did not confirm: the next runs send less before they ask it to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn halve_unconfirmed_limit(&mut self) -> Result<()> {
        self.saved.unconfirmed_limit = (self.saved.unconfirmed_limit / 2).max(LEAST_UNCONFIRMED);
        self.save()
    }

    /// At the end of a run in which every confirmation came: what is expired goes, the limit of
    /// the unconfirmed recovers, and gaps not yet said are returned, said from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> Result<Vec<Gap>> {
        let before = (self.saved.unconfirmed_limit, self.saved.gaps.clone());
        self.saved.unconfirmed_limit = (self.saved.unconfirmed_limit * 2).min(UNCONFIRMED);
        let unsaid = self.saved.gaps.iter_mut().filter(|gap| !gap.said);
        let said = unsaid.map(|gap| {
            gap.said = true;
            Gap {
                from: gap.from,
                to: gap.to,
            }
        });
        let unsaid: Vec<Gap> = said.collect();
        if self.seen.is_mostly_expired() {
            let oldest = self.saved.position.until - self.memory;
            self.saved.identities_since = self.saved.identities_since.max(oldest);
            self.saved.identities = self.seen.write_new_file(hour_after(oldest))?;
            self.save()?;
            self.saved.identities = self.seen.take_new_file(&self.saved.identities)?;
            self.save()?;
        } else if before != (self.saved.unconfirmed_limit, self.saved.gaps.clone()) {
            self.save()?;
        }
        Ok(unsaid)
    }

    fn save(&self) -> Result<()> {
        files::replace(&self.path, |out| {
            serde_json::to_writer_pretty(&mut *out, &self.saved)?;
            out.write_all(b"\n")
        })
        .exit(Exit::CantCreate)
        .hint(ROOM)
    }
}

/// Removing `start_time` changes nothing; a new or another one starts over, and so does another
/// range.
fn is_restart(saved: &Saved, start: &Start) -> bool {
    let configured = start.configured.is_some() && start.configured != saved.start_time;
    configured || start.range != saved.range
}

fn parse(bytes: &[u8], service: &str) -> Result<Saved> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    const WAY_OUT: &str = "restore this service's files together from a backup, or move them away and set start_time \
                           to where it is to go on from; what lies between may be delivered again";
    let damaged = |error: serde_json::Error| anyhow::anyhow!("it is damaged: {error}");
    let Version { version } = serde_json::from_slice(bytes)
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
    let saved: Saved = serde_json::from_slice(bytes)
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

fn seen_path(path: &Path) -> PathBuf {
    path.with_extension("seen")
}
