//! A file of identities of any bytes, beside a state that says anything of it: loaded or refused, and
//! what was loaded goes on. One that was written well and then changed is refused. One of any records in
//! blocks of any size, with their checksums, has these identities.

#![no_main]

mod saved;

use std::collections::BTreeSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use proofpull::error::{Exit, Failure};
use proofpull::pipeline::batch::{EventId, Pass, RequestId};
use proofpull::state::SavedIndex;
use proofpull::state::dedup::DedupIndex;
use saved::DIR;

fuzz_target!(|input: (u64, u64, u32, bool, u32, &[u8])| {
    let (length, count, checksum, beside, oldest_hour, bytes) = input;
    // the highest bit of an hour says something else
    let latest_hour = u32::MAX >> 1;
    let oldest_hour = oldest_hour & latest_hour;
    let path = DIR.path().join("x.seen");
    // half of the time a file that begins as it should
    let mut file = if length % 2 == 0 {
        b"proofpull seen v2  \n".to_vec()
    } else {
        Vec::new()
    };
    file.extend_from_slice(bytes);
    std::fs::write(&path, &file).unwrap();
    let anything = SavedIndex {
        beside,
        // mostly a length that fits
        length: if length % 3 == 0 {
            length
        } else {
            file.len() as u64
        },
        count,
        checksum,
    };
    match DedupIndex::load(&path, anything, oldest_hour) {
        Err(error) => assert_eq!(Failure::from(error).exit(), Exit::Data),
        Ok(mut dedup) => drop(go_on(&path, &mut dedup, &[7; 16])),
    }

    of_records(&path, bytes, length, oldest_hour);

    // each piece is an identity, each second one with a commit of its own
    std::fs::remove_file(&path).unwrap();
    let mut dedup = DedupIndex::empty(&path);
    let mut extent = dedup.commit().unwrap();
    for piece in bytes.chunks(2) {
        let digest: Vec<u8> = piece.iter().copied().cycle().take(16).collect();
        extent = go_on(&path, &mut dedup, &digest);
    }
    if extent.length > 0 {
        let mut file = std::fs::read(&path).unwrap();
        let at = usize::try_from(count % extent.length).unwrap();
        file[at] ^= 1 << (length % 8);
        std::fs::write(&path, &file).unwrap();
        assert!(DedupIndex::load(&path, extent, 0).is_err(), "byte {at}");
    }
});

fn go_on(path: &Path, dedup: &mut DedupIndex, digest: &[u8]) -> SavedIndex {
    let count = dedup.count();
    let fresh = insert(dedup, digest);
    let extent = dedup.commit().unwrap();
    let again = DedupIndex::load(path, extent, 0).unwrap();
    assert!(again.count() >= count + usize::from(fresh));
    extent
}

/// Any records, in blocks of so many as the bits of `sizes` say.
fn of_records(path: &Path, bytes: &[u8], mut sizes: u64, oldest_hour: u32) {
    /// Hours are kept up to this one.
    const LAST_HOUR: u32 = (1 << 20) - 1;
    let (mut records, _) = bytes.as_chunks::<20>();
    let kept = records.iter().filter_map(|record| {
        let (hour, digest) = record.split_first_chunk()?;
        let hour = u32::from_le_bytes(*hour) & u32::MAX >> 1;
        (hour.min(LAST_HOUR) >= oldest_hour).then_some(digest)
    });
    let kept: BTreeSet<&[u8]> = kept.collect();

    let mut file = b"proofpull seen v2  \n".to_vec();
    let (mut count, mut checksum) = (0, 0);
    while !records.is_empty() {
        let size = records.len().min(sizes as usize % 16 + 1);
        sizes = sizes.rotate_right(4);
        let (block, rest) = records.split_at(size);
        let header = (size as u32).to_le_bytes();
        let mut hasher = crc32fast::Hasher::new();
        [
            &u32::to_le_bytes(checksum)[..],
            &header,
            block.as_flattened(),
        ]
        .iter()
        .for_each(|part| hasher.update(part));
        checksum = hasher.finalize();
        file.extend([&header[..], &checksum.to_le_bytes(), block.as_flattened()].concat());
        (records, count) = (rest, count + size as u64);
    }
    std::fs::write(path, &file).unwrap();
    let extent = SavedIndex {
        beside: false,
        length: file.len() as u64,
        count,
        checksum,
    };
    let mut dedup = DedupIndex::load(path, extent, oldest_hour).unwrap();
    assert_eq!(dedup.count(), kept.len());
    for digest in kept {
        assert!(!insert(&mut dedup, digest), "{digest:?} is known");
    }
    assert_eq!(dedup.commit().unwrap(), extent);
}

fn insert(dedup: &mut DedupIndex, digest: &[u8]) -> bool {
    let request = RequestId {
        number: 1,
        end_hour: u32::MAX >> 1,
        pass: Pass::Recent,
    };
    dedup.insert(EventId::Key(digest.try_into().unwrap()), request)
}
