//! `write` carries a plan out: files that were not there before, for their owner alone.

use std::path::{Path, PathBuf};

use super::{PlannedContent, PlannedFile};
use crate::error::{Because, Exit, Result, fail};
use crate::files;
use crate::new_files::{self, NewEntry, NewKind};

/// Writes the files of a plan into a folder; returns their paths. No file is replaced, and where one cannot
/// be written, those before it are taken away again.
///
/// # Errors
/// When a file is there already, cannot be written, or a certificate is not found.
pub(crate) fn write(planned: &[PlannedFile], into: &Path) -> Result<Vec<PathBuf>> {
    for file in planned {
        new_files::refuse_existing(&into.join(&file.path))
            .hint("name another folder with --into, or move the file away")?;
    }
    // what cannot be read is known before anything is written
    let entries = planned.iter().map(|file| {
        Ok(NewEntry {
            path: into.join(&file.path),
            kind: NewKind::File(content(file)?),
            mode: 0o600,
            owner: None,
        })
    });
    let entries: Vec<NewEntry> = entries.collect::<Result<_>>()?;
    new_files::make_all(&entries)?;
    Ok(entries.into_iter().map(|entry| entry.path).collect())
}

fn content(file: &PlannedFile) -> Result<Vec<u8>> {
    let candidates = match &file.content {
        PlannedContent::Text(text) | PlannedContent::Secret(text) => {
            return Ok(text.clone().into_bytes());
        }
        PlannedContent::CopyOf(candidates) => candidates,
    };
    for candidate in candidates {
        if let Some(bytes) = files::read(candidate).exit(Exit::Config)? {
            return Ok(bytes);
        }
    }
    let places: Vec<String> = candidates
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let said = format!(
        "{} is to be copied, and is at none of {}",
        file.path.display(),
        places.join(", ")
    );
    fail(Exit::Config, said)
        .hint("put the collector's file there, or correct its name in the configuration")
}
