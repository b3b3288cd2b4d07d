//! `file` reads and writes the files of the state folder that hold one JSON object each.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{StateError, StateFile};
use crate::files;

impl StateFile {
    /// The version that this program writes, and the only one that it reads.
    pub(super) fn version(self) -> u32 {
        match self {
            StateFile::State => 2,
            StateFile::Identities | StateFile::Ledger | StateFile::Runs => 1,
        }
    }
}

/// Reads a file that may not be there yet.
///
/// # Errors
/// When it is damaged, of another version, or may not be read.
pub(super) fn read<T: DeserializeOwned>(
    file: StateFile,
    path: &Path,
) -> Result<Option<T>, StateError> {
    match files::read(path).map_err(StateError::Unreadable)? {
        Some(bytes) => parse(file, path, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Understands the bytes of a file.
///
/// # Errors
/// When it is damaged, or of another version.
fn parse<T: DeserializeOwned>(file: StateFile, path: &Path, bytes: &[u8]) -> Result<T, StateError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let path = path.to_owned();
    let damaged = |error: serde_json::Error| StateError::Damaged {
        file,
        path: path.clone(),
        reason: error.to_string(),
    };
    let Version { version: found } = serde_json::from_slice(bytes).map_err(damaged)?;
    let known = file.version();
    if found != known {
        return Err(StateError::OtherVersion {
            file,
            path,
            found,
            known,
        });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

/// Puts a file in the place of the one that is there, all or nothing.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let written = files::replace(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    });
    written.map_err(StateError::Unwritable)
}
