//! `file` reads and writes the files of the state folder that hold one JSON object each.
//!
//! The object's last member is a checksum of everything before it, so that no damage passes for data.

use std::io::Write;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{StateError, StateFile};
use crate::files;

/// How the last member begins, up to the digits of the checksum.
const SEAL: &[u8] = b",\n  \"checksum\": \"crc32:";
/// How a file ends, behind the digits.
const END: &[u8] = b"\"\n}\n";
/// How many digits a checksum has.
const DIGITS: usize = 8;

impl StateFile {
    /// The version that this program writes.
    pub(super) fn version(self) -> u32 {
        match self {
            StateFile::State | StateFile::Runs => 3,
            StateFile::Identities | StateFile::Ledger => 2,
        }
    }

    /// The oldest version that it reads.
    fn oldest(self) -> u32 {
        match self {
            StateFile::Runs => 2,
            StateFile::State | StateFile::Identities | StateFile::Ledger => self.version(),
        }
    }
}

/// Reads a file that may not exist yet.
///
/// # Errors
/// When it is damaged, of another version, or may not be read.
pub(super) fn read<T: DeserializeOwned>(
    file: StateFile,
    path: &Path,
) -> Result<Option<T>, StateError> {
    let bytes = files::read(path).map_err(|error| StateError::Unreadable(file, error))?;
    match bytes {
        Some(bytes) => parse(file, path, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Puts a file in the place of the existing one, all or nothing, durably.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(
    file: StateFile,
    path: &Path,
    value: &impl Serialize,
) -> Result<(), StateError> {
    let written = files::replace(path, |out| write_sealed(file, value, out));
    written.map_err(StateError::Unwritable)
}

/// The same, where no run depends on the file: after a loss of power it may be the old one, or damaged.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_unsynced(
    file: StateFile,
    path: &Path,
    value: &impl Serialize,
) -> Result<(), StateError> {
    let written = files::replace_unsynced(path, |out| write_sealed(file, value, out));
    written.map_err(StateError::Unwritable)
}

fn write_sealed(
    file: StateFile,
    value: &impl Serialize,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let text = match file {
        // written often or long, and not for people
        StateFile::Ledger | StateFile::Runs => serde_json::to_vec(value)?,
        _ => serde_json::to_vec_pretty(value)?,
    };
    out.write_all(&sealed(&text))
}

/// Adds the checksum to an object that has members.
fn sealed(text: &[u8]) -> Vec<u8> {
    let members = text.strip_suffix(b"}").unwrap_or(text).trim_ascii_end();
    let digits = format!("{:08x}", crc32fast::hash(members));
    [members, SEAL, digits.as_bytes(), END].concat()
}

/// Takes the checksum off; `None` if there is none, or another one than the bytes have.
fn unsealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let members = &bytes[..bytes.len().checked_sub(SEAL.len() + DIGITS + END.len())?];
    let text = [members, b"}"].concat();
    (sealed(&text) == bytes).then_some(text)
}

/// Reads the bytes of a file.
///
/// # Errors
/// When it is damaged, or of another version.
fn parse<T: DeserializeOwned>(file: StateFile, path: &Path, bytes: &[u8]) -> Result<T, StateError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |reason: String| StateError::Damaged {
        file,
        path: path.to_owned(),
        bytes: 0..bytes.len() as u64,
        reason,
    };
    let whole = unsealed(bytes);
    // a version that has no checksum, or another one, is told as such
    let text = whole.as_deref().unwrap_or(bytes);
    let version = serde_json::from_slice(text);
    let Version { version: found } = version.map_err(|error| damaged(error.to_string()))?;
    let has_seal = bytes.windows(SEAL.len()).any(|part| part == SEAL);
    let known = file.version();
    if !(file.oldest()..=known).contains(&found) && (whole.is_some() || !has_seal) {
        let path = path.to_owned();
        return Err(StateError::OtherVersion {
            file,
            path,
            found,
            known,
        });
    }
    match whole {
        Some(text) => serde_json::from_slice(&text).map_err(|error| damaged(error.to_string())),
        None => Err(damaged("the checksum does not match".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Saved {
        version: u32,
        text: String,
    }

    fn saved() -> Saved {
        saved_in(StateFile::Runs)
    }

    fn saved_in(file: StateFile) -> Saved {
        Saved {
            version: file.version(),
            text: "a \"quoted\" text }\n".into(),
        }
    }

    fn check(bytes: &[u8]) -> Result<Saved, StateError> {
        parse(StateFile::Runs, Path::new("x"), bytes)
    }

    #[test]
    fn what_is_written_is_json_with_a_checksum_and_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert!(
            read::<Saved>(StateFile::Runs, &path).unwrap().is_none(),
            "none yet"
        );
        for file in [StateFile::State, StateFile::Runs, StateFile::Ledger] {
            write(file, &path, &saved_in(file)).unwrap();
            assert_eq!(read(file, &path).unwrap(), Some(saved_in(file)));
            let json: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(json["text"], saved().text);
        }
    }

    #[test]
    fn no_changed_byte_and_no_cut_is_accepted() {
        let good = sealed(&serde_json::to_vec_pretty(&saved()).unwrap());
        assert_eq!(check(&good).unwrap(), saved());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let error = check(&bad).unwrap_err();
                let all = 0..good.len() as u64;
                assert!(
                    matches!(&error, StateError::Damaged { bytes, .. } if *bytes == all),
                    "byte {at}, bit {bit}: {error:?}"
                );
            }
            let cut = check(&good[..at]).unwrap_err();
            assert!(matches!(cut, StateError::Damaged { .. }), "{at}: {cut:?}");
        }
        let longer = [&good[..], b"\n"].concat();
        assert!(check(&longer).is_err());
    }

    #[test]
    fn another_version_is_told_as_such_with_and_without_a_checksum() {
        for version in [0, 1, 4, 9] {
            let text = format!(r#"{{"version": {version}, "what": "is not known"}}"#);
            for bytes in [text.as_bytes(), &sealed(text.as_bytes())] {
                let error = check(bytes).unwrap_err();
                assert!(
                    matches!(error, StateError::OtherVersion { found, .. } if found == version),
                    "{error:?}"
                );
            }
        }
        // this one has no checksum, and should
        let unsealed = serde_json::to_vec(&saved()).unwrap();
        let error = check(&unsealed).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
    }
}
