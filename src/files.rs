//! The one way to write a file: new file, sync, rename, sync the directory; and to lock one.
//!
//! Files are 0600. When root runs the program, they get the owner of their folder, so that the
//! unit's own user can still read them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::stop::Stop;

/// Makes the directory and those above it, for the owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("making {}", dir.display()))
}

/// Reads a file that may not be there yet.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Puts a file in the place of the one that is there, all or nothing, also when power fails.
///
/// # Errors
/// When it cannot be written, synced or renamed; the old one is then as it was.
pub fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let what = || format!("writing {}", path.display());
    let beside = beside(path);
    let file = new_file(OpenOptions::new().truncate(true), &beside, dir).with_context(what)?;
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, file);
    write(&mut out).with_context(what)?;
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .with_context(what)?;
    file.sync_all()
        .with_context(|| format!("syncing {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("replacing {}", path.display()))?;
    sync_dir(dir)
}

/// A name that can be foreseen: what a killed run left behind is overwritten by the next.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

/// Puts a file that everybody may read in the place of the one that is there, all or nothing; after
/// a loss of power it may be the old one.
///
/// # Errors
/// When it cannot be written or renamed.
pub fn publish(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let beside = beside(path);
    let write = || {
        let mut file = new_file(OpenOptions::new().truncate(true), &beside, dir)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        std::fs::rename(&beside, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Renames a file over another, durably.
///
/// # Errors
/// When it cannot be renamed or the directory not be synced.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("replacing {}", to.display()))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Removes a file if it is there.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes at `offset`, where the good part of the file ends, and syncs. What was beyond is cut off.
///
/// # Errors
/// When it cannot be written or synced.
pub fn write_at_end(path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let mut end = End::open(path, offset)?;
    end.write(bytes)?;
    end.sync()
}

/// The end of a file that grows. What is written counts once it is synced.
#[derive(Debug)]
pub struct End {
    file: File,
    path: PathBuf,
}

impl End {
    /// Opens a file at `offset`, where its good part ends, or makes it. What was beyond is cut off.
    ///
    /// # Errors
    /// When it cannot be opened or cut off, or has become shorter.
    pub fn open(path: &Path, offset: u64) -> Result<End> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = new_file(&mut OpenOptions::new(), path, dir)
            .with_context(|| format!("opening {}", path.display()))?;
        let mut cut = || {
            if file.metadata()?.len() < offset {
                return Err(std::io::Error::other("it has become shorter"));
            }
            file.set_len(offset)?;
            file.seek(std::io::SeekFrom::Start(offset))
        };
        cut().with_context(|| format!("writing {}", path.display()))?;
        let path = path.to_owned();
        Ok(End { file, path })
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// When it cannot be written; a part of it may have been.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("writing {}", self.path.display()))
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// When it cannot be synced.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.with_context(|| format!("syncing {}", self.path.display()))
    }
}

/// How long a file is; `None` if it is not there.
///
/// # Errors
/// When that cannot be found out.
pub fn length(path: &Path) -> Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

fn new_file(options: &mut OpenOptions, path: &Path, dir: &Path) -> std::io::Result<File> {
    let file = options.write(true).create(true).mode(0o600).open(path)?;
    let (ours, folder) = (file.metadata()?, std::fs::metadata(dir)?);
    if ours.uid() == 0 && folder.uid() != 0 {
        fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(file)
}

fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().with_context(|| format!("syncing {}", dir.display()))
}

/// A lock held until it is dropped, or the process is gone.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What became of taking a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Somebody has it; what they wrote into it.
    Held(String),
}

/// Takes a lock, waiting for it for as long as `wait` if somebody has it.
///
/// The kernel frees it when its holder dies, so none is ever stale. `holder` is written into the
/// file for those who find it taken.
///
/// # Errors
/// When the file cannot be opened or locked.
pub fn lock(path: &Path, holder: &str, wait: Duration, stop: &Stop) -> Result<Taken> {
    let what = || format!("locking {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = new_file(OpenOptions::new().read(true), path, dir).with_context(what)?;
    // one who only looks whether it is taken holds it for an instant: see `holder`
    let until = std::time::Instant::now() + wait.max(INSTANT);
    // some locks are held for a moment only, others for a whole run
    let mut step = Duration::from_millis(2);
    loop {
        // by full path: the standard library has methods of these names
        match fs2::FileExt::try_lock_exclusive(&file) {
            Ok(()) => break,
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {}
            Err(error) => return Err(error).with_context(what),
        }
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() || stop.reason().is_some() {
            let mut held_by = String::new();
            file.read_to_string(&mut held_by).with_context(what)?;
            return Ok(Taken::Held(held_by.trim().to_owned()));
        }
        stop.sleep(left.min(step));
        step = (step * 2).min(Duration::from_millis(200));
    }
    let mut write = || {
        file.set_len(0)?;
        file.write_all(holder.as_bytes())
    };
    write().with_context(what)?;
    Ok(Taken::Ours(Lock { _file: file }))
}

/// So long a lock is always waited for.
const INSTANT: Duration = Duration::from_millis(200);

/// What the holder of a lock wrote into it; `None` if nobody holds it.
///
/// # Errors
/// When the file is there and cannot be looked at.
pub fn holder(path: &Path) -> Result<Option<String>> {
    let what = || format!("looking at {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(what),
    };
    // two who look do not see each other; it is given back with the file
    match fs2::FileExt::try_lock_shared(&file) {
        Ok(()) => return Ok(None),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {}
        Err(error) => return Err(error).with_context(what),
    }
    let mut held_by = String::new();
    file.read_to_string(&mut held_by).with_context(what)?;
    Ok(Some(held_by.trim().to_owned()))
}

/// Whether files can be made in a folder: one is, and removed.
///
/// # Errors
/// When none can be made.
pub fn try_dir(dir: &Path) -> Result<()> {
    let path = dir.join(format!(".proofpull-check-{}", std::process::id()));
    new_file(&mut OpenOptions::new(), &path, dir)
        .with_context(|| format!("making a file in {}", dir.display()))?;
    remove(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace(&path, |out| out.write_all(b"one")).unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"tw")?;
            Err(std::io::Error::other("disk full"))
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
    fn writing_at_the_end_cuts_off_what_was_beyond_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        write_at_end(&path, 0, b"good torn").unwrap();
        write_at_end(&path, 5, b"new").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"good new");
    }

    #[test]
    fn a_lock_names_its_holder_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = || lock(&path, "pid 7", Duration::ZERO, &Stop::never()).unwrap();
        let Taken::Ours(first) = take() else {
            panic!("nobody has it")
        };
        assert!(matches!(take(), Taken::Held(holder) if holder == "pid 7"));
        assert_eq!(holder(&path).unwrap().as_deref(), Some("pid 7"));
        drop(first);
        assert_eq!(holder(&path).unwrap(), None);
        assert_eq!(holder(&dir.path().join("none")).unwrap(), None);
        assert!(matches!(take(), Taken::Ours(_)));
    }
}
