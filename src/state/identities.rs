//! `Identities` are those of a state: their file is looked at when the state is opened, and read when the
//! first event comes.
//!
//! So a run that finds nothing takes the same time and memory, however many are known.

use std::path::Path;

use super::dedup::DedupIndex;
use super::error::StateError;
use super::seen::{SavedIndex, SeenFile};
use crate::error::Result;
use crate::pipeline::batch::{DedupView, Delivered, EventId, RequestId};

/// The identities of what was delivered.
#[derive(Debug)]
pub(crate) struct Identities {
    index: DedupIndex,
    /// What is not read yet: those from this hour on.
    unread: Option<u32>,
}

impl Identities {
    /// None; the file at `path` begins anew.
    #[must_use]
    pub(super) fn none(path: &Path) -> Identities {
        Identities {
            index: DedupIndex::empty(path),
            unread: None,
        }
    }

    /// Those of the file at `path`, those before `oldest_hour` left out. Its end and its checksums are still to
    /// be read.
    ///
    /// # Errors
    /// When the file is missing, too short, no file of identities, or may not be read.
    pub(super) fn unread(
        path: &Path,
        extent: SavedIndex,
        oldest_hour: u32,
    ) -> Result<Identities, StateError> {
        Ok(Identities {
            index: DedupIndex::of(SeenFile::at(path, extent)?),
            unread: Some(oldest_hour),
        })
    }

    /// Reads them, if that was not done.
    ///
    /// # Errors
    /// When the file is damaged, another than that of the state, or may not be read.
    pub(super) fn read(&mut self) -> Result<&mut DedupIndex, StateError> {
        if let Some(oldest_hour) = self.unread {
            self.index.read(oldest_hour)?;
            self.unread = None;
        }
        Ok(&mut self.index)
    }

    /// Whether they are read; without it nothing is known but what the state says.
    #[must_use]
    pub(super) fn are_read(&self) -> bool {
        self.unread.is_none()
    }

    /// How many the file has.
    #[must_use]
    pub(super) fn in_file(&self) -> u64 {
        self.index.extent().count
    }

    /// Whether an event is new, as [`DedupIndex::insert`].
    ///
    /// # Errors
    /// Those of reading them, when it is the first.
    pub(crate) fn insert(
        &mut self,
        identity: EventId,
        request: RequestId,
    ) -> Result<bool, StateError> {
        Ok(self.read()?.insert(identity, request))
    }

    /// What was admitted since the last commit becomes durable.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is durable then.
    pub(super) fn commit(&mut self) -> Result<SavedIndex, StateError> {
        self.index.commit()
    }

    /// Puts the new file in the place of the old one, if it is the one that counts.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn take_new_file(&mut self) -> Result<SavedIndex, StateError> {
        self.index.take_new_file()
    }
}

impl Delivered for Identities {
    fn known(&mut self) -> Result<&dyn DedupView> {
        Ok(self.read()?)
    }
}
