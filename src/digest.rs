//! `digest` hashes: the fields or the canonical text of a record to its `Digest`, and a hidden
//! value to its pseudonym.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use crate::error::{Because, Result};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::pipeline::batch::{Digest, LARGE};

/// Collects the parts that identify an event. Each part carries its length, so no two lists of
/// parts give the same bytes.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// A hasher for one kind of identity. Kinds never collide.
    #[must_use]
    pub(crate) fn of(kind: &str) -> Hasher {
        let mut hasher = Hasher::default();
        hasher.part(kind.as_bytes());
        hasher
    }

    /// Adds one part.
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.begin_part(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Begins a part of this length, whose bytes are then written.
    fn begin_part(&mut self, length: u64) {
        self.0.update(length.to_le_bytes());
    }

    /// The digest of all parts.
    #[must_use]
    pub(crate) fn finish(self) -> Digest {
        let mut digest = Digest::default();
        digest.copy_from_slice(&self.0.finalize()[..16]);
        digest
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts bytes that are written.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives values stable pseudonyms: HMAC-SHA-256 (RFC 2104) with a secret key, so that nobody
/// without the key can guess a value.
#[derive(Clone)]
pub struct Pseudonyms(Hmac<Sha256>);

impl Pseudonyms {
    /// Takes a key of any length.
    ///
    /// # Errors
    /// None are known: the algorithm takes every key.
    pub fn new(key: &[u8]) -> Result<Pseudonyms> {
        let keyed = Hmac::new_from_slice(key).context("taking the key of HMAC-SHA-256")?;
        Ok(Pseudonyms(keyed))
    }

    /// The pseudonym of a value: 64 hexadecimal digits.
    #[must_use]
    pub fn of(&self, value: &str) -> String {
        hex(&self.0.clone().chain_update(value).finalize().into_bytes())
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(..)")
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// The digest of the `ordinal`-th of several equal records; the first has the digest of the record.
#[must_use]
pub(crate) fn ordinal(digest: Digest, ordinal: u32) -> Digest {
    if ordinal == 0 {
        return digest;
    }
    let mut hasher = Hasher::of("ordinal");
    hasher.part(&digest);
    hasher.part(&ordinal.to_le_bytes());
    hasher.finish()
}

/// The digest of an event whose name another event of other content has in the same answer.
#[must_use]
pub(crate) fn twin(key: Digest, content: u32) -> Digest {
    let mut hasher = Hasher::of("twin");
    hasher.part(&key);
    hasher.part(&content.to_le_bytes());
    hasher.finish()
}

/// A checksum of a text, at a tenth of the cost of its digest.
#[must_use]
pub(crate) fn checksum(text: &[u8]) -> u32 {
    crc32fast::hash(text)
}

/// Parts of a record that are taken apart however small it is. Each takes about 100 bytes of memory.
const FREE_PARTS: usize = 128 * 1024;

/// Whether a record has so many parts that taking it apart takes more memory than the record itself.
/// Commas and brackets outside of strings make parts.
#[must_use]
pub(crate) fn is_too_complex(record: &[u8]) -> bool {
    let most = FREE_PARTS + record.len() / 128;
    if record.len() <= most {
        return false;
    }
    let (mut parts, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in record {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' | b',' if !in_string => parts += 1,
            _ => {}
        }
    }
    parts > most
}

/// The digest of a record's canonical form: keys sorted, spacing dropped, and the arrays under the
/// keys `unordered` sorted.
///
/// A record that is not JSON is split at commas and brackets, and its pieces are sorted: nothing
/// tells which of them may change places. One with too many parts is hashed as it is.
#[must_use]
pub fn canonical(record: &[u8], unordered: &[&str]) -> Digest {
    let mut hasher = Hasher::of("canonical");
    let is_piece = |byte: &u8| b"{}[],".contains(byte);
    let text = std::str::from_utf8(record).ok();
    if is_too_complex(record) {
        hasher.part(record);
        return hasher.finish();
    }
    let canonical = text.and_then(|text| add_canonical(text.trim(), unordered, &mut hasher).ok());
    match canonical {
        Some(()) => {}
        // a piece takes 16 bytes of memory
        None if record.iter().filter(|byte| is_piece(byte)).count()
            > 4 * FREE_PARTS + record.len() / 32 =>
        {
            hasher.part(record);
        }
        None => {
            let mut pieces: Vec<&[u8]> = record.split(is_piece).collect();
            pieces.sort_unstable();
            pieces.iter().for_each(|piece| hasher.part(piece));
        }
    }
    hasher.finish()
}

/// Adds the canonical form of a record as one part. That of a large one is not kept, but written
/// twice: first to learn its length.
///
/// # Errors
/// When it is not JSON; then nothing was added.
fn add_canonical(text: &str, unordered: &[&str], hasher: &mut Hasher) -> serde_json::Result<()> {
    if text.len() < LARGE {
        let mut canonical = Vec::with_capacity(text.len());
        write_canonical(text, unordered, 0, &mut canonical)?;
        hasher.part(&canonical);
        return Ok(());
    }
    let mut length = Length(0);
    write_canonical(text, unordered, 0, &mut length)?;
    hasher.begin_part(length.0);
    write_canonical(text, unordered, 0, hasher)
}

/// The nesting that `serde_json` reads; a deeper record is hashed as if it were not JSON.
const MAX_DEPTH: usize = 128;
/// Longest array that is sorted, in bytes: its elements are copied.
const MAX_SORTED: usize = 4 * 1024 * 1024;

/// Keeps the spelling of numbers and strings: `1.0` and `1` are two values, as in the event.
fn write_canonical<W: Write>(
    text: &str,
    unordered: &[&str],
    depth: usize,
    out: &mut W,
) -> serde_json::Result<()> {
    if depth > MAX_DEPTH {
        return Err(serde::de::Error::custom("too deep"));
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text)?;
            put(out, b"{")?;
            for (key, value) in members {
                write_key(&key, out)?;
                let value = value.get();
                let is_sorted = value.starts_with('[')
                    && value.len() <= MAX_SORTED
                    && unordered.contains(&key.as_ref());
                if is_sorted {
                    write_sorted(value, unordered, depth, out)?;
                } else {
                    write_canonical(value, unordered, depth + 1, out)?;
                }
                put(out, b",")?;
            }
            put(out, b"}")
        }
        Some(b'[') => {
            let Elements(elements) = serde_json::from_str(text)?;
            put(out, b"[")?;
            for element in elements {
                write_canonical(element.get(), unordered, depth + 1, out)?;
                put(out, b",")?;
            }
            put(out, b"]")
        }
        _ if depth == 0 => {
            let value: &RawValue = serde_json::from_str(text)?;
            put(out, value.get().as_bytes())
        }
        // read with the object or array that holds it
        _ => put(out, text.as_bytes()),
    }
}

fn write_key<W: Write>(key: &str, out: &mut W) -> serde_json::Result<()> {
    if key
        .bytes()
        .any(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))
    {
        serde_json::to_writer(&mut *out, key)?;
        return put(out, b":");
    }
    put(out, b"\"")?;
    put(out, key.as_bytes())?;
    put(out, b"\":")
}

/// Writes an array with its elements sorted.
fn write_sorted<W: Write>(
    text: &str,
    unordered: &[&str],
    depth: usize,
    out: &mut W,
) -> serde_json::Result<()> {
    let Elements(elements) = serde_json::from_str(text)?;
    let canonical = |element: &RawValue| {
        let mut one = Vec::new();
        write_canonical(element.get(), unordered, depth + 1, &mut one)?;
        Ok(one)
    };
    let elements: serde_json::Result<Vec<_>> = elements.into_iter().map(canonical).collect();
    let mut elements = elements?;
    elements.sort_unstable();
    put(out, b"[")?;
    for element in elements {
        put(out, &element)?;
        put(out, b",")?;
    }
    put(out, b"]")
}

fn put<W: Write>(out: &mut W, bytes: &[u8]) -> serde_json::Result<()> {
    out.write_all(bytes).map_err(serde_json::Error::io)
}

/// The members of an object, sorted by key. A repeated key keeps its values in order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((MemberName(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                members.sort_by(|(one, _): &(Cow<str>, _), (other, _)| one.cmp(other));
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// A key, borrowed from the text where it has no escape.
#[derive(Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seq;
        impl<'de> Visitor<'de> for Seq {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        canonical(one.as_bytes(), &["parts"]) == canonical(other.as_bytes(), &["parts"])
    }

    #[test]
    fn the_order_of_keys_and_of_unordered_arrays_and_spacing_do_not_matter() {
        assert!(same(
            r#"{"a":1,"b":[1,2]}"#,
            "{ \"b\" : [1 , 2],\n \"a\":1 }"
        ));
        assert!(same(
            r#"{"parts":[{"x":1,"y":2},{"x":3}]}"#,
            r#"{"parts":[{"x":3},{"y":2,"x":1}]}"#
        ));
        assert!(same(r#"{"a":{"parts":[2,1]}}"#, r#"{"a":{"parts":[1,2]}}"#));
        assert!(same(r#"{"\u0061":1}"#, r#"{"a":1}"#));
    }

    #[test]
    fn everything_else_does() {
        assert!(!same(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#));
        assert!(!same(r#"{"a":1.0}"#, r#"{"a":1}"#));
        assert!(!same(r#"{"a":"1"}"#, r#"{"a":1}"#));
        assert!(!same(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#));
        assert!(!same(r#"{"parts":["a,b"]}"#, r#"{"parts":["a","b"]}"#));
        assert!(!same("{broken", "{broken "));
        assert!(same(
            r#"{"a":NaN,"parts":[{"b":1},{"c":2}]}"#,
            r#"{"a":NaN,"parts":[{"c":2},{"b":1}]}"#
        ));
    }

    #[test]
    fn the_digests_of_the_canonical_form_stay_as_they_are() {
        // a changed digest brings every user duplicates: a recipe that must change gets a new kind
        // instead
        let golden = [
            (
                &br#"{"b":[2,1],"a":{"parts":[{"y":1.0},{"x":"\u00e9"}]},"c":null}"#[..],
                "e592a5a9489dddd56fd7f468c50e7835",
            ),
            (
                br#" {"a" : {"parts" : [{"x":"\u00e9"}, {"y":1.0}]}, "b" : [2, 1], "c" : null} "#,
                "e592a5a9489dddd56fd7f468c50e7835",
            ),
            (
                br#"{"a":NaN,"b":[1,2]}"#,
                "1d64dcf81e555118686f10b636eb84cc",
            ),
            (b"{\"a\":\"\xff\"}", "8ffc0f26869f2c1fa2d7539337d19003"),
        ];
        for (record, digest) in golden {
            let text = String::from_utf8_lossy(record);
            assert_eq!(hex(&canonical(record, &["parts"])), digest, "{text}");
        }
        let equals = [
            "78d52d76428dc97484276d7d641af271",
            "01f4e4f86e5489441999073dc8b6d16a",
            "17c633e9394e37dbd56ea546da201c6b",
        ];
        assert_eq!(
            hex(&twin([1; 16], 0x0202_0202)),
            "43e45a4220f8a341d5b37c4aed7f5541"
        );
        for (at, digest) in (0..).zip(equals) {
            assert_eq!(hex(&ordinal(canonical(b"{}", &[]), at)), digest, "{at}");
        }
    }

    #[test]
    fn keys_are_written_as_serde_json_writes_them() {
        let ascii = (0..0x80).map(|code: u8| char::from(code).to_string());
        for key in ascii.chain(["", "a\"b", "\u{e9}\u{2028}", "\u{1f600}\\"].map(str::to_owned)) {
            let mut written = Vec::new();
            write_key(&key, &mut written).unwrap();
            let wanted = serde_json::to_string(&key).unwrap() + ":";
            assert_eq!(String::from_utf8(written).unwrap(), wanted);
        }
    }

    #[test]
    fn a_large_record_is_recognised_as_a_small_one_is() {
        let pad = "x".repeat(LARGE);
        let one = format!(r#"{{"b":[2,1],"a":{{"parts":[{{"y":1}},2]}},"pad":"{pad}"}}"#);
        let same = format!(r#" {{"pad":"{pad}", "a":{{"parts":[2, {{"y":1}}]}}, "b":[2, 1]}}"#);
        let mut hasher = Hasher::of("canonical");
        let form = format!(r#"{{"a":{{"parts":[2,{{"y":1,}},],}},"b":[2,1,],"pad":"{pad}",}}"#);
        hasher.part(form.as_bytes());
        let digest = hasher.finish();
        assert_eq!(canonical(one.as_bytes(), &["parts"]), digest);
        assert_eq!(canonical(same.as_bytes(), &["parts"]), digest);
    }

    #[test]
    fn nesting_without_end_is_no_danger() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert_eq!(
            canonical(deep.as_bytes(), &[]),
            canonical(deep.as_bytes(), &[])
        );
    }

    #[test]
    fn a_pseudonym_is_the_hmac_of_rfc_4231() {
        let check = |key: &[u8], value: &str, expected: &str| {
            assert_eq!(Pseudonyms::new(key).unwrap().of(value), expected);
        };
        check(
            &[0x0b; 20],
            "Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    #[test]
    fn each_ordinal_has_a_digest_of_its_own() {
        let first = canonical(b"{}", &[]);
        assert_eq!(ordinal(first, 0), first);
        assert_ne!(ordinal(first, 1), first);
        assert_ne!(ordinal(first, 1), ordinal(first, 2));
    }
}
