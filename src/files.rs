//! `files` writes files in the one safe way (new file, sync, rename, sync the directory) and locks
//! them.
//!
//! Files have mode 0600. When root runs the program, new files get the owner of their folder, so
//! that the unit's user can still read them. That user may have placed anything under these names:
//! no link is followed, and no file is given away that was not created here.

mod create;
mod disk;
mod lock;

pub(crate) use create::{Owner, create, create_dir, is_root};
pub(crate) use disk::{File, open_regular};
pub(crate) use lock::{Lock, Taken, holder, lock};

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Why something could not be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct FileError {
    /// What was being done, such as `reading`.
    doing: &'static str,
    path: PathBuf,
    /// What the system said.
    source: Error,
}

type Result<T> = std::result::Result<T, FileError>;

impl FileError {
    /// Something went wrong in `doing` something to the file at `path`.
    #[must_use]
    pub(crate) fn new(doing: &'static str, path: &Path, source: Error) -> FileError {
        let path = path.to_owned();
        FileError {
            doing,
            path,
            source,
        }
    }

    /// Whether the system said it, and not we of something that is no regular file.
    #[must_use]
    pub(crate) fn is_of_the_system(&self) -> bool {
        self.source.raw_os_error().is_some()
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub(crate) fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// Says what was being done to which file.
trait While<T> {
    fn on(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> While<T> for std::io::Result<T> {
    fn on(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| FileError::new(doing, path, source))
    }
}

/// Creates the directory and its parents, for the owner alone.
///
/// # Errors
/// When it cannot be created.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    disk::make_dir(dir).on("making", dir)
}

/// Largest file that is read as a whole, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Reads a file that may not exist yet.
///
/// # Errors
/// When it exists and cannot be read, is not a regular file, or is larger than 64 MiB.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match File::open(path).and_then(|file| read_limited(file, LARGEST)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("reading", path),
    }
}

/// Reads to the end, which must come within `limit` bytes.
fn read_limited(file: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(Error::other(format!("it is larger than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// How long a pipe may stay silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Reads what a person names: a file, or a pipe such as that of `<(...)`; returns it open, too.
///
/// # Errors
/// When it cannot be read, is larger than 64 MiB, or nothing comes from a pipe for a minute.
pub(crate) fn read_named(path: &Path) -> std::io::Result<(std::fs::File, Vec<u8>)> {
    read_named_within(path, SILENCE)
}

fn read_named_within(path: &Path, silence: Duration) -> std::io::Result<(std::fs::File, Vec<u8>)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let pipe = PatientReader {
        file: &file,
        silence,
        // to `read`, a pipe that nobody has opened for writing yet looks like one at its end
        is_ready: false,
    };
    let bytes = read_limited(pipe, LARGEST)?;
    Ok((file, bytes))
}

/// Waits for a while where nothing has come yet.
struct PatientReader<'a> {
    file: &'a std::fs::File,
    silence: Duration,
    is_ready: bool,
}

impl Read for PatientReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if !self.is_ready {
                let limit = Timespec::try_from(self.silence).map_err(Error::other)?;
                let mut file = [PollFd::new(self.file, PollFlags::IN)];
                if poll(&mut file, Some(&limit))? == 0 {
                    return Err(Error::new(
                        ErrorKind::TimedOut,
                        "nothing came from the pipe",
                    ));
                }
                self.is_ready = true;
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_ready = false,
                read => return read,
            }
        }
    }
}

/// Replaces a file atomically, even if power fails.
///
/// # Errors
/// When it cannot be written, synced or renamed; the old file is then unchanged.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let (beside, file) = written_beside(path, write)?;
    file.sync_all().on("syncing", &beside)?;
    disk::rename(&beside, path).on("replacing", path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Replaces a file that is for people, atomically. After a loss of power it may be the old one, or damaged.
///
/// # Errors
/// When it cannot be written or renamed; the old file is then unchanged.
pub(crate) fn replace_unsynced(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let (beside, _) = written_beside(path, write)?;
    disk::rename(&beside, path).on("replacing", path)
}

/// The file that is to take the place of the one at `path`, and where it is.
fn written_beside(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(PathBuf, File)> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let beside = beside(path);
    let file = File::made_anew(&beside, dir).on("writing", path)?;
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, file);
    write(&mut out).on("writing", path)?;
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .on("writing", path)?;
    Ok((beside, file))
}

/// A fixed name, so that the next run removes what a killed run left behind.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

/// Replaces a file that everybody may read, atomically. After a loss of power it may be the old
/// one.
///
/// # Errors
/// When it cannot be written or renamed.
pub(crate) fn publish(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let beside = beside(path);
    let write = || {
        let mut file = File::made_anew(&beside, dir)?;
        file.write_all(text.as_bytes())?;
        file.show_to_all()?;
        disk::rename(&beside, path)
    };
    write().on("writing", path)
}

/// Renames a file over another, durably.
///
/// # Errors
/// When it cannot be renamed, or the directory cannot be synced.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    disk::rename(from, to).on("replacing", to)?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Removes a file if it exists.
///
/// # Errors
/// When it exists and cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match disk::remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).on("removing", path),
        _ => Ok(()),
    }
}

/// Writes at `offset`, where the valid part of the file ends, and syncs. Anything beyond is cut
/// off.
///
/// # Errors
/// When it cannot be written or synced.
pub(crate) fn write_at_end(
    path: &Path,
    offset: u64,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let mut end = AppendFile::open(path, offset)?;
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, &mut end.file);
    write(&mut out).on("writing", path)?;
    out.flush().on("writing", path)?;
    drop(out);
    end.sync()
}

/// The end of a growing file. What is written counts once it is synced.
#[derive(Debug)]
pub(crate) struct AppendFile {
    file: File,
    path: PathBuf,
    /// Whether none of it counted, so that it may have no durable name yet.
    is_new: bool,
}

impl AppendFile {
    /// Opens or creates a file at `offset`, where its valid part ends. Anything beyond is cut off.
    ///
    /// # Errors
    /// When it cannot be opened or cut off, or is shorter than `offset`.
    pub(crate) fn open(path: &Path, offset: u64) -> Result<AppendFile> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = File::own(path, dir).on("opening", path)?;
        let mut cut = || {
            if file.length()? < offset {
                return Err(Error::other("it is shorter than before"));
            }
            file.set_length(offset)?;
            file.seek(std::io::SeekFrom::Start(offset))
        };
        cut().on("writing", path)?;
        let path = path.to_owned();
        Ok(AppendFile {
            file,
            path,
            is_new: offset == 0,
        })
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// When it cannot be written; a part of it may have been.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).on("writing", &self.path)
    }

    /// Makes the written bytes durable.
    ///
    /// # Errors
    /// When it cannot be synced.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().on("syncing", &self.path)?;
        match self.is_new {
            true => sync_dir(self.path.parent().unwrap_or(Path::new("."))),
            false => Ok(()),
        }
    }
}

/// The length of a file; `None` if it does not exist.
///
/// # Errors
/// When the length cannot be read, or it is not a regular file.
pub(crate) fn length(path: &Path) -> Result<Option<u64>> {
    match disk::length(path) {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("looking at", path),
    }
}

/// Counts the lines of a file of any size; zero if it does not exist.
///
/// # Errors
/// When it exists and cannot be read.
pub(crate) fn lines(path: &Path) -> Result<u64> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).on("reading", path),
    };
    let (mut piece, mut lines) = (vec![0; 64 * 1024], 0);
    loop {
        match file.read(&mut piece).on("reading", path)? {
            0 => return Ok(lines),
            read => lines += piece[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

fn sync_dir(dir: &Path) -> Result<()> {
    disk::sync_dir(dir).on("syncing", dir)
}

/// Tests whether files can be created in a folder, by creating and removing one.
///
/// # Errors
/// When none can be created.
pub(crate) fn try_dir(dir: &Path) -> Result<()> {
    let path = dir.join(format!(".proofpull-check-{}", std::process::id()));
    File::made_anew(&path, dir).on("creating a file in", dir)?;
    remove(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Shutdown;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace(&path, |out| out.write_all(b"one")).unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"tw")?;
            Err(Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_published_can_be_read_by_all_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("figures.prom");
        for text in ["one", "two"] {
            publish(&path, text).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), text.as_bytes());
        }
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(publish(&dir.path().join("none/figures.prom"), "").is_err());
    }

    #[test]
    fn a_folder_is_tried_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        try_dir(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(try_dir(&dir.path().join("none")).is_err());
    }

    #[test]
    fn no_link_is_followed_when_a_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let prey = dir.path().join("prey");
        let path = dir.path().join("state");
        let lay = || {
            std::fs::write(&prey, "whole").unwrap();
            for name in ["state", "state.new"] {
                let name = dir.path().join(name);
                let _ = std::fs::remove_file(&name);
                std::os::unix::fs::symlink(&prey, name).unwrap();
            }
        };
        let says = |error: FileError| {
            let said = error.source.to_string();
            assert!(said.contains("symbolic link"), "{said}");
        };
        lay();
        says(AppendFile::open(&path, 0).unwrap_err());
        says(lock(&path, "pid 7", Duration::ZERO, &Shutdown::never()).unwrap_err());
        // the new files replace the links themselves
        replace(&path, |out| out.write_all(b"one")).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        lay();
        publish(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(read(&prey).unwrap().unwrap(), b"whole");
    }

    /// All are answered at once, though nobody reads from or writes to what is there.
    #[test]
    fn nothing_but_a_regular_file_is_opened_and_the_error_names_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &Path, kind: &str| {
            let never = Shutdown::never();
            let errors = [
                read(path).unwrap_err(),
                lines(path).unwrap_err(),
                length(path).unwrap_err(),
                holder(path).unwrap_err(),
                AppendFile::open(path, 0).unwrap_err(),
                lock(path, "pid 7", Duration::ZERO, &never).unwrap_err(),
            ];
            for FileError { doing, source, .. } in errors {
                let said = source.to_string();
                assert!(
                    said.starts_with(&format!("it is {kind}, not a")),
                    "{doing}: {said}"
                );
            }
        };
        check(dir.path(), "a folder");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        check(&pipe, "a named pipe");
        let socket = dir.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        check(&socket, "a socket");
        check(Path::new("/dev/null"), "a device");
    }

    #[test]
    fn what_a_person_names_may_be_a_pipe_which_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let silent = read_named_within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // this waits until somebody reads
                let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
                for piece in ["one, ", "two"] {
                    pipe.write_all(piece.as_bytes()).unwrap();
                }
            });
            let (_, bytes) = read_named_within(&path, Duration::from_secs(60)).unwrap();
            assert_eq!(bytes, b"one, two");
        });
        let file = dir.path().join("file");
        std::fs::write(&file, "all").unwrap();
        assert_eq!(read_named(&file).unwrap().1, b"all");
        assert!(read_named(dir.path()).is_err());
        assert_eq!(read_named(Path::new("/dev/null")).unwrap().1, b"");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_it() {
        let said = read_limited(std::io::repeat(0), 1000).unwrap_err();
        assert_eq!(said.to_string(), "it is larger than 1000 bytes");
        assert_eq!(read_limited(&b"all"[..], 3).unwrap(), b"all");
    }

    #[test]
    fn writing_at_the_end_cuts_off_what_was_beyond_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        write_at_end(&path, 0, |out| out.write_all(b"good torn")).unwrap();
        write_at_end(&path, 5, |out| out.write_all(b"new")).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"good new");
    }
}
