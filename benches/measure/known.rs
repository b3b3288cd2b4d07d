//! Makes known identities, without the runs that would deliver them.

use std::path::Path;
use std::process::Command;

use proofpull::pipeline::batch::{EventId, RequestId};
use proofpull::state::SavedIndex;
use proofpull::state::dedup::DedupIndex;
use time::OffsetDateTime;

/// Says that this process makes a file of identities, and names count, hour and path.
const ROLE: &str = "PROOFPULL_BENCH_KNOWN";

/// Makes a file of identities, if this process was started for that.
pub(crate) fn is_maker() -> bool {
    let Ok(role) = std::env::var(ROLE) else {
        return false;
    };
    let [count, hour, path] = &role.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        panic!("{role:?} names no file of identities");
    };
    let (count, hour) = (
        count.parse().expect("how many"),
        hour.parse().expect("an hour"),
    );
    let extent = make(path.as_ref(), count, hour);
    println!("{}", serde_json::to_string(&extent).expect("JSON"));
    true
}

/// Makes a file of identities by a child: what that takes must not count as memory of what reads the file.
pub(crate) fn made_elsewhere(path: &Path, count: u64, hour: u32) -> SavedIndex {
    let made = Command::new(std::env::current_exe().expect("this program"))
        .env(ROLE, format!("{count} {hour} {}", path.display()))
        .output()
        .expect("it runs");
    serde_json::from_slice(&made.stdout).expect("the file was made")
}

/// Lets the service whose state is at `path` know so many identities, of this hour. Returns its state, of half an hour
/// ago, for further runs that know the same.
pub(crate) fn know(path: &Path, count: u64) -> Vec<u8> {
    // that of the end of their windows, so that the run still remembers them
    let hour = OffsetDateTime::now_utc().unix_timestamp() / 3600 + 1;
    let hour = hour.try_into().expect("hours until the year 490000");
    let extent = made_elsewhere(&path.with_extension("seen"), count, hour);
    let state = with_identities(path, extent);
    std::fs::write(path, &state).expect("the state");
    state
}

/// The state at `path` from half an hour ago, with these identities.
fn with_identities(path: &Path, extent: SavedIndex) -> Vec<u8> {
    let text = std::fs::read_to_string(path).expect("the state");
    let (text, _) = text.split_once(",\n  \"checksum\"").expect("a checksum");
    let mut state: serde_json::Value = serde_json::from_str(&format!("{text}}}")).expect("JSON");
    state["identities"] = serde_json::to_value(extent).expect("JSON");
    let since = state["identities_since"].clone();
    state["checkpoint"]["until"] = since;
    let text = serde_json::to_string(&state).expect("JSON");
    let members = text.strip_suffix('}').expect("an object");
    let sum = crc32fast::hash(members.as_bytes());
    format!("{members},\n  \"checksum\": \"crc32:{sum:08x}\"\n}}\n").into_bytes()
}

fn make(path: &Path, count: u64, hour: u32) -> SavedIndex {
    let mut dedup = DedupIndex::empty(path);
    for number in 0..count {
        insert(&mut dedup, number, hour);
        if number % 1_000_000 == 0 {
            dedup.commit().expect("there is room");
        }
    }
    dedup.commit().expect("there is room")
}

/// Adds an identity: the number, spread over all digests as a hash is.
pub(crate) fn insert(dedup: &mut DedupIndex, number: u64, end_hour: u32) {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    digest[8..].copy_from_slice(&number.to_le_bytes());
    let request = RequestId {
        number: 1,
        end_hour,
        ..RequestId::default()
    };
    assert!(dedup.insert(EventId::Key(digest), request), "each is new");
}
