//! `lock` locks a file while a process uses what it stands for.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::{File, Result, While};
use crate::clock::Instant;
use crate::shutdown::Shutdown;

/// A lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// The result of taking a lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// We hold it.
    Ours(Lock),
    /// Another process holds it; with what that process wrote into it.
    Held(String),
}

/// Takes a lock, waiting up to `wait` while another process holds it.
///
/// The kernel frees it when its holder dies, so no lock is ever stale. `holder` is written into the
/// file for those who find it taken.
///
/// # Errors
/// When the file cannot be opened or locked.
pub(crate) fn lock(
    path: &Path,
    holder: &str,
    wait: Duration,
    shutdown: &Shutdown,
) -> Result<Taken> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = File::own(path, dir).on("locking", path)?;
    // `holder` takes the lock for an instant to look at it: outlast that
    // a wait that no clock can count to has no end
    let until = Instant::now().checked_add(wait.max(INSTANT));
    // some locks are held for a moment, others for a whole run
    let mut step = Duration::from_millis(2);
    loop {
        if file.try_lock().on("locking", path)? {
            break;
        }
        let left = until.map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        });
        if left.is_zero() || shutdown.reason().is_some() {
            let mut held_by = String::new();
            file.read_to_string(&mut held_by).on("locking", path)?;
            return Ok(Taken::Held(held_by.trim().to_owned()));
        }
        shutdown.sleep(left.min(step));
        step = (step * 2).min(Duration::from_millis(200));
    }
    let mut write = || {
        file.set_length(0)?;
        file.write_all(holder.as_bytes())
    };
    write().on("locking", path)?;
    Ok(Taken::Ours(Lock { _file: file }))
}

/// Shortest wait for a lock.
const INSTANT: Duration = Duration::from_millis(200);

/// What the holder of a lock wrote into it; `None` if nobody holds it.
///
/// # Errors
/// When the file exists and cannot be read or locked.
pub(crate) fn holder(path: &Path) -> Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).on("looking at", path),
    };
    // shared, so that two readers do not see each other; dropping the file releases it
    if file.try_lock_shared().on("looking at", path)? {
        return Ok(None);
    }
    let mut held_by = String::new();
    file.read_to_string(&mut held_by).on("looking at", path)?;
    Ok(Some(held_by.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = || lock(&path, "pid 7", Duration::ZERO, &Shutdown::never()).unwrap();
        let Taken::Ours(first) = take() else {
            panic!("nobody has it")
        };
        assert!(matches!(take(), Taken::Held(holder) if holder == "pid 7"));
        assert_eq!(holder(&path).unwrap().as_deref(), Some("pid 7"));
        drop(first);
        // a program that another test starts shares all open files until its exec
        while holder(&path).unwrap().is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(holder(&dir.path().join("none")).unwrap(), None);
        let again = lock(&path, "pid 7", Duration::from_secs(60), &Shutdown::never());
        assert!(matches!(again.unwrap(), Taken::Ours(_)));
    }
}
