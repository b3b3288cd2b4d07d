//! What happens to an event on its way out: it is made one line, and what was configured is
//! appended to it. Compiled once from the configuration.
//!
//! Bytes that need nothing pass through unchanged: an event is evidence.

use std::borrow::Cow;

/// What to do to each event.
#[derive(Debug, Default)]
pub struct Treat {
    /// Members to append before the last brace, from the comma on; empty: none.
    append: Vec<u8>,
}

impl Treat {
    /// Appends these string members to each event that is an object.
    #[must_use]
    pub fn appending<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Treat {
        let mut append = Vec::new();
        for (key, value) in members {
            for (before, text) in [(b',', key), (b':', value)] {
                append.push(before);
                append.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
            }
        }
        Treat { append }
    }

    /// Adds a record to a batch on its way out.
    pub fn write(&self, record: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let marks = marks(record);
        let text = match marks & FOREIGN {
            0 => Cow::Borrowed(record),
            _ => repaired(record),
        };
        match marks & CONTROL {
            0 => out.extend_from_slice(&text),
            _ => write_in_one_line(&text, out),
        }
        if self.append.is_empty() || out[start..].last() != Some(&b'}') {
            return;
        }
        out.pop();
        let inside = out[start..]
            .iter()
            .rev()
            .find(|byte| !byte.is_ascii_whitespace());
        let comma = usize::from(inside == Some(&b'{'));
        out.extend_from_slice(&self.append[comma..]);
        out.push(b'}');
    }
}

/// In the marks of a record: it has bytes beyond ASCII.
const FOREIGN: u8 = 0x80;
/// It has control characters.
const CONTROL: u8 = 0x01;

fn marks(record: &[u8]) -> u8 {
    // to the end, whatever is found: so it is done for many bytes at once
    record.iter().fold(0, |marks, &byte| {
        marks | (byte & FOREIGN) | (u8::from(byte < 0x20) * CONTROL)
    })
}

/// What is no UTF-8 is replaced.
fn repaired(record: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(record) {
        Ok(_) => Cow::Borrowed(record),
        Err(_) => Cow::Owned(String::from_utf8_lossy(record).into_owned().into_bytes()),
    }
}

/// Line breaks between tokens are dropped; control characters inside of strings, which JSON
/// does not allow but services send, are escaped. A receiver takes a raw one for the end.
fn write_in_one_line(record: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in record {
        if byte < 0x20 {
            match byte {
                // after a backslash the pair reads as an escape of another kind, but stays one line
                _ if escaped => out.extend_from_slice(format!("\\\\u{byte:04x}").as_bytes()),
                _ if in_string => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                b'\t' => out.push(byte),
                b'\n' | b'\r' => {}
                _ => out.push(b' '),
            }
            escaped = false;
            continue;
        }
        out.push(byte);
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(treat: &Treat, record: &[u8], expected: &str) {
        let mut out = b"before".to_vec();
        treat.write(record, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"));
    }

    #[test]
    fn an_event_that_needs_nothing_passes_unchanged() {
        let event = r#"{"a": 1.0, "é":"\u00e9\n", "b":[ ]}"#;
        check(&Treat::default(), event.as_bytes(), event);
    }

    #[test]
    fn an_event_becomes_one_line() {
        check(
            &Treat::default(),
            b"{\r\n  \"a\": 1,\n\t\"b\": 2\n}",
            "{  \"a\": 1,\t\"b\": 2}",
        );
        check(
            &Treat::default(),
            b"{\"a\":\"x\ny\x00\t\\\\\"}",
            r#"{"a":"x\u000ay\u0000\u0009\\"}"#,
        );
        check(
            &Treat::default(),
            b"{\"a\":\"\\\"\n\"\n}",
            r#"{"a":"\"\u000a"}"#,
        );
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        check(
            &Treat::default(),
            b"{\"a\":\"caf\xe9\"}",
            "{\"a\":\"caf\u{fffd}\"}",
        );
    }

    #[test]
    fn members_are_appended_before_the_last_brace() {
        let treat = Treat::appending([("@id", "7"), ("q\"", "é")]);
        check(&treat, br#"{"a":1}"#, r#"{"a":1,"@id":"7","q\"":"é"}"#);
        check(&treat, b"{ }", r#"{ "@id":"7","q\"":"é"}"#);
        check(&treat, b"{\n}", r#"{"@id":"7","q\"":"é"}"#);
        check(&treat, b"[1]", "[1]");
        check(&treat, b"17", "17");
    }
}
