//! `new_files` makes files and folders that were not there before: all of them, or none.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Because, Exit, Result, fail};
use crate::files::{self, FileError, Owner};

/// What is to be made at a path.
pub(crate) struct NewEntry {
    pub(crate) path: PathBuf,
    pub(crate) kind: NewKind,
    pub(crate) mode: u32,
    /// Absent: the owner of the folder that it is made in.
    pub(crate) owner: Option<Owner>,
}

/// Cannot be printed: a file may hold a secret.
pub(crate) enum NewKind {
    /// One that is there already is left as it is.
    Folder,
    /// A symbolic link to this; a file or link that is there already is left as it is.
    Link(PathBuf),
    File(Vec<u8>),
}

/// Refuses a file that is there already.
///
/// # Errors
/// Status 73, if anything has this name.
pub(crate) fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("looking at {}", path.display()))
            .exit(Exit::CantCreate),
        Ok(_) => {
            let said = format!(
                "{} is there already, so nothing was written",
                path.display()
            );
            fail(Exit::CantCreate, said).hint("name another folder, or move the file away")
        }
    }
}

/// Makes all entries in their order, and the folders that they are in; returns the paths of those that are
/// new. No file is replaced. Where an entry cannot be made, those before it are taken away again.
///
/// # Errors
/// Status 73, if a file is there already or something cannot be made.
pub(crate) fn make_all(entries: &[NewEntry]) -> Result<Vec<PathBuf>> {
    for entry in entries {
        if let NewKind::File(_) = entry.kind {
            refuse_existing(&entry.path)?;
        }
    }
    let mut made: Vec<PathBuf> = Vec::new();
    for entry in entries {
        if let Err(error) = make(entry, &mut made) {
            take_away(&made);
            return Err(error).exit(Exit::CantCreate);
        }
    }
    Ok(made)
}

fn make(entry: &NewEntry, made: &mut Vec<PathBuf>) -> Result<(), FileError> {
    let NewEntry {
        path, mode, owner, ..
    } = entry;
    if let Some(folder) = path.parent() {
        make_parents(folder, made)?;
    }
    match &entry.kind {
        NewKind::Folder if path.is_dir() => return Ok(()),
        NewKind::Folder => files::create_dir(path, *mode, *owner)?,
        NewKind::Link(_) if path.symlink_metadata().is_ok() => return Ok(()),
        NewKind::Link(to) => {
            symlink(to, path).map_err(|error| FileError::new("making", path, error))?;
        }
        NewKind::File(bytes) => files::create(path, bytes, *mode, *owner)?,
    }
    made.push(path.clone());
    Ok(())
}

/// Makes a folder and those above it, for their owner alone.
fn make_parents(folder: &Path, made: &mut Vec<PathBuf>) -> Result<(), FileError> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_parents(above, made)?;
    }
    files::create_dir(folder, 0o700, None)?;
    made.push(folder.to_owned());
    Ok(())
}

/// What cannot be taken away is named by the error of the next attempt.
fn take_away(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let is_folder = path.symlink_metadata().is_ok_and(|about| about.is_dir());
        let _ = match is_folder {
            // one that holds something else by now stays
            true => std::fs::remove_dir(path),
            false => std::fs::remove_file(path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn entry(path: PathBuf, kind: NewKind, mode: u32) -> NewEntry {
        let owner = None;
        NewEntry {
            path,
            kind,
            mode,
            owner,
        }
    }

    fn file(path: PathBuf, text: &str) -> NewEntry {
        entry(path, NewKind::File(text.into()), 0o600)
    }

    #[test]
    fn entries_have_their_modes_and_what_is_no_file_may_be_there_already() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let folder = || entry(at("a/b"), NewKind::Folder, 0o750);
        let link = || entry(at("a/link"), NewKind::Link("b".into()), 0);
        let made = make_all(&[folder(), link(), file(at("a/b/file"), "one")]).unwrap();
        assert_eq!(made, ["a", "a/b", "a/link", "a/b/file"].map(at));
        for (name, mode) in [("a", 0o700), ("a/b", 0o750), ("a/b/file", 0o600)] {
            assert_eq!(std::fs::metadata(at(name)).unwrap().mode() & 0o777, mode);
        }
        assert_eq!(std::fs::read(at("a/link/file")).unwrap(), b"one");
        let made = make_all(&[folder(), link(), file(at("a/b/other"), "two")]).unwrap();
        assert_eq!(made, [at("a/b/other")]);
    }

    #[test]
    fn a_file_that_is_there_or_cannot_be_made_leaves_all_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("old"), "old").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        for last in ["old", "dangling", "old/inside"] {
            let entries = [file(at("new/file"), "new"), file(at(last), "new")];
            let failure = make_all(&entries).unwrap_err();
            assert_eq!(failure.exit(), Exit::CantCreate);
            assert!(failure.to_string().contains("old") || last == "dangling");
            assert!(!at("new").exists(), "{last}");
        }
        assert_eq!(std::fs::read(at("old")).unwrap(), b"old");
    }
}
