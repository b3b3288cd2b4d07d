//! `StateError` says why a file of the state folder cannot be used, and what helps.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::clock::utc;
use crate::error::{Exit, Failure};
use crate::files::FileError;
use crate::net::NetError;

/// A kind of file in the state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFile {
    /// `<service>.json`: the position, and what goes with it.
    State,
    /// `<service>.seen`: the identities of what was delivered.
    Identities,
    /// `quota-<account>.json`: the requests that were made.
    Ledger,
    /// `<service>.runs.json`: what became of the runs.
    Runs,
}

impl fmt::Display for StateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateFile::State => "the state",
            StateFile::Identities => "the identities",
            StateFile::Ledger => "the request ledger",
            StateFile::Runs => "the record of runs",
        })
    }
}

/// Why a file of the state folder cannot be used.
///
/// Not an [`Error`](std::error::Error): only the conversion below turns it into another error, so that its status and
/// its hint are never lost.
#[derive(Debug)]
pub enum StateError {
    /// Its bytes are not those that the program wrote.
    Damaged {
        /// What kind of file it is.
        file: StateFile,
        /// Where it is.
        path: PathBuf,
        /// Which of its bytes are not trusted.
        bytes: Range<u64>,
        /// What is wrong with them.
        reason: String,
    },
    /// It is not there, though others show that it was.
    Missing {
        /// What kind of file it is.
        file: StateFile,
        /// Where it should be.
        path: PathBuf,
        /// A file that shows it.
        beside: PathBuf,
    },
    /// A newer or an older program wrote it.
    OtherVersion {
        /// What kind of file it is.
        file: StateFile,
        /// Where it is.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The version this program knows.
        known: u32,
    },
    /// It was written for another service, or for another kind of one.
    OtherService {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Its position is in the future.
    InFuture {
        /// Where it is.
        path: PathBuf,
        /// Its position.
        position: OffsetDateTime,
    },
    /// It is good, and was to be started over.
    NothingToStartOver {
        /// Where it is.
        path: PathBuf,
    },
    /// Another run of the service has its lock.
    Running {
        /// The name of the service.
        service: &'static str,
        /// What the other wrote into the lock.
        holder: String,
    },
    /// Somebody has had the lock of a ledger for much longer than a booking takes.
    LedgerTaken {
        /// The lock.
        path: PathBuf,
        /// What its holder wrote into it.
        holder: String,
    },
    /// The run is to end, and it did not get a lock.
    Stopped,
    /// The system does not let us read it.
    Unreadable(StateFile, FileError),
    /// The system does not let us write it: no room, read-only, no permission.
    Unwritable(FileError),
}

/// What to do about a state that cannot be used.
const RESTORE_OR_START_OVER: &str = "restore all files of this service from one backup; or set start_time to the time to \
                                     continue from, and run once with --start-over: some events may be delivered again";

impl StateError {
    /// Whether the state is of no use to any run, so that a person has to decide.
    pub(super) fn is_unusable(&self) -> bool {
        match self {
            StateError::Damaged { .. }
            | StateError::Missing { .. }
            | StateError::OtherVersion { .. }
            | StateError::OtherService { .. }
            | StateError::InFuture { .. } => true,
            StateError::Unreadable(_, error) => error.kind() != ErrorKind::PermissionDenied,
            StateError::NothingToStartOver { .. }
            | StateError::Running { .. }
            | StateError::LedgerTaken { .. }
            | StateError::Stopped
            | StateError::Unwritable(_) => false,
        }
    }

    /// The status that a run ends with.
    fn exit(&self) -> Exit {
        match self {
            _ if self.is_unusable() => Exit::Data,
            StateError::NothingToStartOver { .. } => Exit::Usage,
            StateError::Running { .. } | StateError::LedgerTaken { .. } => Exit::TempFail,
            _ => Exit::CantCreate,
        }
    }

    /// What a person can do about it.
    fn hint(&self) -> &'static str {
        match self {
            StateError::OtherVersion { found, known, .. } if found > known => {
                "run the newer proofpull that wrote it"
            }
            StateError::InFuture { .. } => {
                "correct this machine's clock (timedatectl); if it is right, set start_time to the time to continue from, \
                 and run once with --start-over"
            }
            StateError::NothingToStartOver { .. } => {
                "leave out --start-over; to deliver a past range again, use --start-time; to start over, change start_time"
            }
            StateError::Running { .. } => "let it finish, or wait for it with --wait-lock 10m",
            StateError::LedgerTaken { .. } => {
                "check why that process hangs: a booking takes only a moment"
            }
            StateError::Stopped => "the next run goes on from there",
            StateError::Unreadable(_, error) if error.kind() == ErrorKind::PermissionDenied => {
                "give it to the user running proofpull, as all files of the state folder: chown USER: \
             FILE"
            }
            StateError::OtherService { .. } => RESTORE_OR_START_OVER,
            StateError::Damaged { file, .. }
            | StateError::Missing { file, .. }
            | StateError::OtherVersion { file, .. }
            | StateError::Unreadable(file, _) => match file {
                StateFile::State | StateFile::Identities => RESTORE_OR_START_OVER,
                StateFile::Ledger => {
                    "move it away: requests of the last 24 hours are then not counted"
                }
                StateFile::Runs => {
                    "move it away: only status and metrics use it, and the next run creates another"
                }
            },
            StateError::Unwritable(_) => {
                "check that the state folder exists, is writable by the user running proofpull, and has free \
     space"
            }
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        let (exit, hint) = (error.exit(), error.hint());
        let reading = |file: StateFile, path: &Path, said: String| {
            Failure::new(format!("reading {file} {}: {said}", path.display()))
        };
        let failure = match error {
            StateError::Damaged {
                file,
                path,
                bytes: Range { start, end },
                reason,
            } => reading(
                file,
                &path,
                format!("it is damaged in bytes {start} to {end}: {reason}"),
            ),
            StateError::Missing { file, path, beside } => reading(
                file,
                &path,
                format!(
                    "it is missing, and {} shows that it was there",
                    beside.display()
                ),
            ),
            StateError::NothingToStartOver { path } => Failure::new(format!(
                "starting over: the state {} is good",
                path.display()
            )),
            StateError::OtherVersion {
                file,
                path,
                found,
                known,
            } => reading(
                file,
                &path,
                format!("it has version {found}, but this proofpull supports version {known}"),
            ),
            StateError::OtherService { path, reason } => reading(StateFile::State, &path, reason),
            StateError::InFuture { path, position } => reading(
                StateFile::State,
                &path,
                format!("its position {} is in the future", utc(position)),
            ),
            StateError::Running { service, holder } => Failure::new(format!(
                "running {service}: another run of this service is in progress ({holder})"
            )),
            StateError::LedgerTaken { path, holder } => Failure::new(format!(
                "booking a request: {} is locked ({holder})",
                path.display()
            )),
            StateError::Stopped => return NetError::stopped().into(),
            StateError::Unreadable(_, error) | StateError::Unwritable(error) => error.into(),
        };
        failure.with_exit(exit).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;
    use time::macros::datetime;

    fn system(doing: &'static str, kind: ErrorKind) -> FileError {
        FileError::new(doing, Path::new("/s/x.json"), Error::from(kind))
    }

    fn damaged(file: StateFile) -> StateError {
        StateError::Damaged {
            file,
            path: "/s/x".into(),
            bytes: 20..108,
            reason: "no end".into(),
        }
    }

    fn version(found: u32) -> StateError {
        StateError::OtherVersion {
            file: StateFile::State,
            path: "/s/x.json".into(),
            found,
            known: 5,
        }
    }

    #[test]
    fn each_has_one_status_one_line_and_one_hint() {
        use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, StorageFull};
        use StateError::{Unreadable, Unwritable};
        let (holder, path) = (String::from("pid 7"), PathBuf::from("/s/x.json"));
        let table = [
            (
                damaged(StateFile::State),
                Exit::Data,
                "reading the state /s/x: it is damaged in bytes 20 to 108: no end",
                "start_time",
            ),
            (
                damaged(StateFile::Identities),
                Exit::Data,
                "the identities /s/x",
                "from one backup",
            ),
            (
                damaged(StateFile::Ledger),
                Exit::Data,
                "the request ledger /s/x",
                "24 hours",
            ),
            (
                damaged(StateFile::Runs),
                Exit::Data,
                "the record of runs /s/x",
                "metrics",
            ),
            (
                version(6),
                Exit::Data,
                "version 6, but this proofpull supports version 5",
                "newer proofpull",
            ),
            (version(4), Exit::Data, "version 4", "--start-over"),
            (
                StateError::Missing {
                    file: StateFile::State,
                    path: path.clone(),
                    beside: "/s/x.seen".into(),
                },
                Exit::Data,
                "reading the state /s/x.json: it is missing, and /s/x.seen shows that it was there",
                "--start-over",
            ),
            (
                StateError::NothingToStartOver { path: path.clone() },
                Exit::Usage,
                "starting over: the state /s/x.json is good",
                "--start-time",
            ),
            (
                StateError::OtherService {
                    path: path.clone(),
                    reason: "it is another's".into(),
                },
                Exit::Data,
                "reading the state /s/x.json: it is another's",
                "from one backup",
            ),
            (
                StateError::InFuture {
                    path: path.clone(),
                    position: datetime!(2100-01-01 0:00 UTC),
                },
                Exit::Data,
                "its position 2100-01-01T00:00:00Z is in the future",
                "timedatectl",
            ),
            (
                StateError::Running {
                    service: "pod-audit",
                    holder: holder.clone(),
                },
                Exit::TempFail,
                "running pod-audit: another run of this service is in progress (pid 7)",
                "--wait-lock",
            ),
            (
                StateError::LedgerTaken { path, holder },
                Exit::TempFail,
                "/s/x.json is locked (pid 7)",
                "moment",
            ),
            (
                Unreadable(StateFile::State, system("reading", PermissionDenied)),
                Exit::CantCreate,
                "reading /s/x.json: permission denied",
                "chown",
            ),
            (
                Unreadable(StateFile::State, system("reading", InvalidInput)),
                Exit::Data,
                "reading /s/x.json: invalid",
                "backup",
            ),
            (
                Unwritable(system("writing", StorageFull)),
                Exit::CantCreate,
                "writing /s/x.json: no storage",
                "free space",
            ),
            (
                Unwritable(system("writing", ReadOnlyFilesystem)),
                Exit::CantCreate,
                "writing /s/x.json: read-only",
                "writable",
            ),
            (
                Unwritable(system("locking", PermissionDenied)),
                Exit::CantCreate,
                "locking /s/x.json: permission denied",
                "writable",
            ),
        ];
        for (error, exit, said, hint) in table {
            let failure = Failure::from(error);
            let line = failure.to_string();
            assert!(line.contains(said), "{said}: {line}");
            assert_eq!(failure.exit(), exit, "{said}");
            let remedy = failure.hint().unwrap();
            assert!(remedy.contains(hint), "{said}: {remedy}");
        }
    }
}
