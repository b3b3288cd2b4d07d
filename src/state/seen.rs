//! `SeenFile` is the file of identities: records of one size, in blocks with a checksum each. It
//! only grows.
//!
//! A checksum covers its block and the checksum before it. The state names the last one, so that a file that was
//! exchanged is found out like one that was damaged. What lies beyond the length in the state was not committed.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{StateError, StateFile};
use crate::files::{self, File, FileError};
use crate::pipeline::batch::Digest;

/// How a file begins.
const MAGIC: &[u8; 20] = b"proofpull seen v2  \n";
/// Length of a record: the hour as four bytes, little-endian, and the digest.
const RECORD: usize = 20;
/// Length of what stands before a block's records: how many they are, and the checksum, four bytes each.
const HEADER: usize = 8;
/// Most records of a block.
const BLOCK: usize = 4096;

/// What is wrong with a file that is whole.
const OTHER: &str = "it is not the file that belongs to the state";

/// An identity as it is written.
pub(super) type SeenRecord = [u8; RECORD];

/// Makes the record of an identity and its hour.
#[must_use]
pub(super) fn record(digest: Digest, hour: u32) -> SeenRecord {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&hour.to_le_bytes());
    record[4..].copy_from_slice(&digest);
    record
}

/// Where the identities of a state are, as its file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedIndex {
    /// Whether they are in the new file that a clean-up has written beside the old one.
    pub beside: bool,
    /// How many bytes of it count.
    pub length: u64,
    /// How many identities these are.
    pub count: u64,
    /// The checksum of the last block.
    pub checksum: u32,
}

impl SavedIndex {
    /// No identities at all.
    pub(crate) const NONE: SavedIndex = SavedIndex {
        beside: false,
        length: 0,
        count: 0,
        checksum: 0,
    };
}

/// The file, and how much of it counts.
#[derive(Debug)]
pub(super) struct SeenFile {
    path: PathBuf,
    extent: SavedIndex,
}

impl SeenFile {
    /// The file at `path`, of which nothing counts.
    #[must_use]
    pub(super) fn empty(path: &Path) -> SeenFile {
        SeenFile {
            path: path.to_owned(),
            extent: SavedIndex::NONE,
        }
    }

    /// The file at `path`, of which as much counts as the state says. No record is read yet.
    ///
    /// # Errors
    /// When it is missing, too short, no file of identities, or may not be read.
    pub(super) fn at(path: &Path, extent: SavedIndex) -> Result<SeenFile, StateError> {
        let file = SeenFile {
            path: path.to_owned(),
            extent,
        };
        file.blocks(&beside(path))?;
        Ok(file)
    }

    /// What `keep` makes of each record.
    ///
    /// # Errors
    /// When the file is damaged, missing, another than that of the state, or may not be read.
    pub(super) fn read<T>(
        &self,
        keep: impl Fn(Digest, u32) -> Option<T>,
    ) -> Result<Vec<T>, StateError> {
        let mut kept = Vec::new();
        let beside = beside(&self.path);
        let Some(mut reader) = self.blocks(&beside)? else {
            return Ok(kept);
        };
        // what is not filled takes no memory
        kept.reserve_exact(usize::try_from(self.extent.count).unwrap_or_default());
        while let Some(records) = reader.next()? {
            let (records, _) = records.as_chunks();
            kept.extend(records.iter().filter_map(|record: &SeenRecord| {
                let (hour, digest) = record.split_first_chunk()?;
                keep(digest.try_into().ok()?, u32::from_le_bytes(*hour))
            }));
        }
        Ok(kept)
    }

    /// The blocks that count, in the file or in the new one beside it; `None` if there are none.
    fn blocks<'a>(&'a self, beside: &'a Path) -> Result<Option<BlockReader<'a>>, StateError> {
        let is_empty = SavedIndex {
            beside: false,
            ..self.extent
        } == SavedIndex::NONE;
        if is_empty {
            return Ok(None);
        }
        // a clean-up that was interrupted after the state had named its file
        let is_there = self.extent.beside && is_there(beside)?;
        BlockReader::open(if is_there { beside } else { &self.path }, self.extent).map(Some)
    }

    /// How much of it counts.
    #[must_use]
    pub(super) fn extent(&self) -> SavedIndex {
        self.extent
    }

    /// Adds records, durably. They count once the state names the new extent.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn append(&mut self, records: &[SeenRecord]) -> Result<(), StateError> {
        self.take_new_file()?;
        let mut extent = self.extent;
        let written = files::write_at_end(&self.path, extent.length, |out| {
            write_blocks(out, &mut extent, records.iter().copied())
        });
        written.map_err(StateError::Unwritable)?;
        self.extent = extent;
        Ok(())
    }

    /// Writes a new file with these records beside. It counts once the state names its extent; then
    /// [`SeenFile::take_new_file`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write_new_file(
        &mut self,
        records: impl Iterator<Item = SeenRecord>,
    ) -> Result<(), StateError> {
        let mut extent = SavedIndex {
            beside: true,
            ..SavedIndex::NONE
        };
        files::replace(&beside(&self.path), |out| {
            write_blocks(out, &mut extent, records)
        })
        .map_err(StateError::Unwritable)?;
        self.extent = extent;
        Ok(())
    }

    /// Puts the new file in the place of the old one, if what counts is in it.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn take_new_file(&mut self) -> Result<(), StateError> {
        let beside = beside(&self.path);
        // after a crash it may have taken its place already
        if self.extent.beside && is_there(&beside)? {
            files::rename(&beside, &self.path).map_err(StateError::Unwritable)?;
        }
        self.extent.beside = false;
        Ok(())
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("seen.next")
}

fn is_there(path: &Path) -> Result<bool, StateError> {
    let length = files::length(path);
    let length = length.map_err(|error| StateError::Unreadable(StateFile::Identities, error));
    length.map(|length| length.is_some())
}

/// Writes records behind what counts, in blocks, and lets them count.
fn write_blocks(
    mut out: impl Write,
    extent: &mut SavedIndex,
    mut records: impl Iterator<Item = SeenRecord>,
) -> std::io::Result<()> {
    if extent.length == 0 {
        out.write_all(MAGIC)?;
        extent.length = MAGIC.len() as u64;
    }
    let mut block = Vec::new();
    loop {
        block.clear();
        block.extend(records.by_ref().take(BLOCK).flatten());
        let count = (block.len() / RECORD) as u32;
        if count == 0 {
            return Ok(());
        }
        extent.checksum = checksum(extent.checksum, count, &block);
        out.write_all(&count.to_le_bytes())?;
        out.write_all(&extent.checksum.to_le_bytes())?;
        out.write_all(&block)?;
        extent.count += u64::from(count);
        extent.length += (HEADER + block.len()) as u64;
    }
}

/// The checksum of a block that follows the one with the checksum `before`.
fn checksum(before: u32, count: u32, records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.update(records);
    hasher.finalize()
}

/// Reads block by block: the file is never in memory as a whole.
struct BlockReader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// What the state says.
    extent: SavedIndex,
    /// What was read.
    read: SavedIndex,
    block: Vec<u8>,
}

impl BlockReader<'_> {
    fn open(path: &Path, extent: SavedIndex) -> Result<BlockReader<'_>, StateError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StateError::Missing {
                file: StateFile::Identities,
                path: path.to_owned(),
                beside: path.with_extension("json"),
            },
            _ => unreadable(path, error),
        })?;
        let there = file.length().map_err(|error| unreadable(path, error))?;
        let mut reader = BlockReader {
            path,
            file: BufReader::with_capacity(64 * 1024, file),
            extent,
            read: SavedIndex::NONE,
            block: Vec::new(),
        };
        let length = extent.length;
        if there < length {
            return Err(reader.damaged(there..length, "they are missing"));
        }
        if length < MAGIC.len() as u64 || extent.count > length / RECORD as u64 {
            return Err(reader.damaged(0..length, OTHER));
        }
        if reader.take::<{ MAGIC.len() }>()? != *MAGIC {
            return Err(reader.damaged(
                0..MAGIC.len() as u64,
                "a file of identities begins otherwise",
            ));
        }
        reader.read.length = MAGIC.len() as u64;
        Ok(reader)
    }

    /// The records of the next block; `None` at the end of what counts.
    fn next(&mut self) -> Result<Option<&[u8]>, StateError> {
        let start = self.read.length;
        let left = self.extent.length - start;
        if left == 0 {
            return match (self.read.count, self.read.checksum) {
                read if read == (self.extent.count, self.extent.checksum) => Ok(None),
                _ => Err(self.damaged(0..start, OTHER)),
            };
        }
        let rest = start..start + left.min((HEADER + BLOCK * RECORD) as u64);
        if left < (HEADER + RECORD) as u64 {
            return Err(self.damaged(rest, "a block of identities is longer"));
        }
        let count = u32::from_le_bytes(self.take()?);
        let wanted = u32::from_le_bytes(self.take()?);
        let block = start..start + HEADER as u64 + u64::from(count) * RECORD as u64;
        if count == 0 || count as usize > BLOCK || block.end > self.extent.length {
            return Err(self.damaged(rest, "no block has so many identities"));
        }
        self.block.resize(count as usize * RECORD, 0);
        let read = self.file.read_exact(&mut self.block);
        read.map_err(|error| unreadable(self.path, error))?;
        let found = checksum(self.read.checksum, count, &self.block);
        if found != wanted {
            return Err(self.damaged(block, "the checksum does not match"));
        }
        self.read = SavedIndex {
            beside: false,
            length: block.end,
            count: self.read.count + u64::from(count),
            checksum: found,
        };
        Ok(Some(&self.block))
    }

    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], StateError> {
        let mut bytes = [0; LENGTH];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|error| unreadable(self.path, error))?;
        Ok(bytes)
    }

    fn damaged(&self, bytes: Range<u64>, reason: &str) -> StateError {
        StateError::Damaged {
            file: StateFile::Identities,
            path: self.path.to_owned(),
            bytes,
            reason: reason.to_owned(),
        }
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> StateError {
    StateError::Unreadable(
        StateFile::Identities,
        FileError::new("reading", path, error),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these numbers of records, each in a commit of its own.
    fn filled(commits: &[u64]) -> (tempfile::TempDir, SeenFile) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SeenFile::empty(&dir.path().join("x.seen"));
        let mut number: u64 = 0;
        for count in commits {
            let records = (0..*count).map(|_| {
                number += 1;
                numbered(number)
            });
            file.append(&records.collect::<Vec<_>>()).unwrap();
        }
        (dir, file)
    }

    fn numbered(number: u64) -> SeenRecord {
        let mut digest = [7; 16];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        record(digest, 500)
    }

    fn load(path: &Path, extent: SavedIndex) -> Result<Vec<SeenRecord>, StateError> {
        SeenFile::at(path, extent)?.read(|digest, hour| Some(record(digest, hour)))
    }

    #[track_caller]
    fn check_damaged(path: &Path, extent: SavedIndex, at: u64) {
        match load(path, extent) {
            Err(StateError::Damaged { bytes, .. }) => {
                assert!(
                    bytes.contains(&at),
                    "{bytes:?} are named, and byte {at} is damaged"
                );
            }
            other => panic!("byte {at} is damaged, and this came of it: {other:?}"),
        }
    }

    #[test]
    fn what_was_appended_is_read_again_in_order() {
        for commits in [&[][..], &[1], &[3, 1, 2], &[4095, 4096, 4097], &[10_000, 1]] {
            let (_dir, file) = filled(commits);
            let extent = file.extent();
            let records = load(&file.path, extent).unwrap();
            let all: Vec<SeenRecord> = (1..=commits.iter().sum()).map(numbered).collect();
            assert!(records == all, "{commits:?}");
            assert_eq!(extent.count, all.len() as u64);
        }
    }

    #[test]
    fn every_changed_byte_is_found_with_its_place() {
        let (_dir, file) = filled(&[1, 2, 3]);
        let good = std::fs::read(&file.path).unwrap();
        assert_eq!(good.len() as u64, file.extent().length);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                std::fs::write(&file.path, bad).unwrap();
                check_damaged(&file.path, file.extent(), at as u64);
            }
        }
    }

    #[test]
    fn a_byte_in_any_block_of_a_large_file_is_found_with_its_place() {
        let (_dir, file) = filled(&[9000, 4096, 77]);
        let good = std::fs::read(&file.path).unwrap();
        // spread over the file, at another place of a record each time
        for at in (0..good.len()).step_by(997) {
            let mut bad = good.clone();
            bad[at] = !bad[at];
            std::fs::write(&file.path, bad).unwrap();
            check_damaged(&file.path, file.extent(), at as u64);
        }
    }

    #[test]
    fn a_block_of_a_wrong_size_is_not_trusted_up_to_the_end_of_a_full_one() {
        let (_dir, file) = filled(&[9000, 77]);
        let good = std::fs::read(&file.path).unwrap();
        let full = HEADER + BLOCK * RECORD;
        let ends = [1, 2].map(|blocks| (MAGIC.len() + blocks * full) as u64);
        for count in [0, BLOCK as u32 + 1, u32::MAX] {
            let mut bad = good.clone();
            bad[MAGIC.len() + full..][..4].copy_from_slice(&count.to_le_bytes());
            std::fs::write(&file.path, bad).unwrap();
            let Err(StateError::Damaged { bytes, .. }) = load(&file.path, file.extent()) else {
                panic!("{count} identities in a block");
            };
            assert_eq!(bytes, ends[0]..ends[1], "{count}");
        }
    }

    #[test]
    fn a_cut_is_found_unless_only_what_was_not_committed_is_lost() {
        let (_dir, mut file) = filled(&[1, 2]);
        let committed = file.extent();
        file.append(&[numbered(8), numbered(9)]).unwrap();
        let good = std::fs::read(&file.path).unwrap();
        for length in 0..=good.len() as u64 {
            std::fs::write(&file.path, &good[..length as usize]).unwrap();
            match length >= committed.length {
                true => assert_eq!(load(&file.path, committed).unwrap().len(), 3),
                false => check_damaged(&file.path, committed, length),
            }
        }
        // and a torn end is overwritten
        std::fs::write(&file.path, &good[..good.len() - 5]).unwrap();
        let mut file = SeenFile::at(&file.path, committed).unwrap();
        file.append(&[numbered(10)]).unwrap();
        let last = load(&file.path, file.extent()).unwrap().pop();
        assert_eq!(last, Some(numbered(10)));
    }

    #[test]
    fn blocks_out_of_order_and_another_file_are_found() {
        let (_dir, file) = filled(&[1, 1, 1]);
        let good = std::fs::read(&file.path).unwrap();
        let block = |number: usize| &good[MAGIC.len() + number * 28..][..28];
        for order in [[0, 2, 1], [1, 0, 2], [0, 1, 1], [0, 0, 1]] {
            let bad = [MAGIC, block(order[0]), block(order[1]), block(order[2])].concat();
            std::fs::write(&file.path, bad).unwrap();
            let loaded = load(&file.path, file.extent());
            assert!(
                matches!(loaded, Err(StateError::Damaged { .. })),
                "{order:?}"
            );
        }
        let (_other_dir, other) = filled(&[3]);
        let wrong = [
            SavedIndex {
                checksum: 1,
                ..other.extent()
            },
            SavedIndex {
                count: 2,
                ..other.extent()
            },
            SavedIndex {
                count: u64::MAX,
                ..other.extent()
            },
            SavedIndex {
                length: u64::MAX,
                ..other.extent()
            },
            SavedIndex {
                length: 1,
                ..other.extent()
            },
            file.extent(),
        ];
        for extent in wrong {
            let loaded = load(&other.path, extent);
            assert!(
                matches!(loaded, Err(StateError::Damaged { .. })),
                "{extent:?}"
            );
        }
        assert_eq!(load(&other.path, other.extent()).unwrap().len(), 3);
    }
}
