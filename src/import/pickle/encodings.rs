//! `encodings` decodes numbers and texts as pickles write them.

use super::{PickleError, PickleValue};

/// A two's complement number of any length.
pub(super) fn little_endian(bytes: &[u8]) -> PickleValue {
    if bytes.len() > 8 {
        return PickleValue::LargeInteger;
    }
    let is_negative = bytes.last().is_some_and(|last| *last >= 0x80);
    let mut all = if is_negative { [0xff; 8] } else { [0; 8] };
    all[..bytes.len()].copy_from_slice(bytes);
    PickleValue::Integer(i64::from_le_bytes(all))
}

/// Whether it is a number in digits.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text of Python's raw-unicode-escape.
pub(super) fn unescaped(line: &str) -> Result<String, PickleError> {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\\u").into_iter().chain(rest.find("\\U")).min() {
        let digits = if rest[at..].starts_with("\\u") { 4 } else { 8 };
        let code = rest.get(at + 2..at + 2 + digits);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        text += &rest[..at];
        text.push(
            char::from_u32(code.ok_or(PickleError::Damaged("UNICODE"))?).unwrap_or('\u{fffd}'),
        );
        rest = &rest[at + 2 + digits..];
    }
    Ok(text + rest)
}
