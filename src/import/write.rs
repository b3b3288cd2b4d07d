//! `write` carries a plan out: files that were not there before, for their owner alone.

use std::path::{Path, PathBuf};

use super::{PlannedContent, PlannedFile};
use crate::error::{Because, Exit, Result, fail};
use crate::files;

/// Writes the files of a plan into a folder; returns their paths. No file is replaced, and where one cannot
/// be written, those before it are taken away again.
///
/// # Errors
/// When a file is there already, cannot be written, or a certificate is not found.
pub(crate) fn write(planned: &[PlannedFile], into: &Path) -> Result<Vec<PathBuf>> {
    for file in planned {
        let path = into.join(&file.path);
        if path.symlink_metadata().is_ok() {
            let said = format!(
                "{} is there already, so nothing was written",
                path.display()
            );
            return fail(Exit::CantCreate, said)
                .hint("name another folder with --into, or move the file away");
        }
    }
    // what cannot be read is known before anything is written
    let contents: Vec<Vec<u8>> = planned.iter().map(content).collect::<Result<_>>()?;
    let mut written: Vec<PathBuf> = Vec::new();
    for (file, bytes) in planned.iter().zip(&contents) {
        let path = into.join(&file.path);
        let folder = path.parent().unwrap_or(into);
        let made = files::make_dir(folder).and_then(|()| files::create(&path, bytes));
        if let Err(error) = made {
            for path in &written {
                // what cannot be taken away is named by the error about the next attempt
                let _ = files::remove(path.as_path());
            }
            return Err(error).exit(Exit::CantCreate);
        }
        written.push(path);
    }
    Ok(written)
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
