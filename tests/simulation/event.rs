//! What the services by model share: an event, its serial, its text, and how times are written and read.
//!
//! An event exists ahead of time. It says by which time its service selects it, and from when until when
//! the service shows it; so an answer follows from the time at which it is given.

use std::fmt::Write;

use memchr::memmem;
use time::{Date, Month, OffsetDateTime, UtcOffset};

use super::api::{Answer, Reply, Request};

/// Stands before the serial in a text.
const MARK: &[u8] = b"serial.";

/// An event of a service.
#[derive(Debug, Clone)]
pub struct Event {
    /// The model's own identity. Events of different serials have different identities, by the
    /// program's recipes; one serial is one identity, unless the service names nothing: then it is
    /// shared by events that are equal, and are several all the same.
    pub serial: u64,
    /// The time by which the service selects it.
    pub at: OffsetDateTime,
    /// The service shows it from this time on.
    pub visible_from: OffsetDateTime,
    /// It does not show it any more from this time on.
    pub gone_from: OffsetDateTime,
    /// Its JSON.
    pub text: Text,
}

impl Event {
    /// Whether the service shows it.
    pub fn is_shown(&self, now: OffsetDateTime) -> bool {
        self.visible_from <= now && now < self.gone_from
    }
}

/// The JSON of an event: always the same bytes, but for the order of two elements of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    bytes: Vec<u8>,
    /// Where the first of the two begins, where the comma between them stands, and where the second
    /// ends.
    pair: [usize; 3],
}

impl Text {
    /// A text that is always the same.
    pub fn plain(text: String) -> Text {
        Text {
            bytes: text.into(),
            pair: [0; 3],
        }
    }

    /// A text with two elements that come in either order.
    pub fn with_pair(head: &str, [first, second]: [&str; 2], tail: &str) -> Text {
        let comma = head.len() + first.len();
        Text {
            bytes: [head, first, ",", second, tail].concat().into(),
            pair: [head.len(), comma, comma + 1 + second.len()],
        }
    }

    /// Its bytes, in the first order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends it, with the two elements in the other order if it `is_turned`.
    pub fn write(&self, is_turned: bool, into: &mut Vec<u8>) {
        let [start, comma, end] = self.pair;
        if !is_turned || start == end {
            return into.extend_from_slice(&self.bytes);
        }
        into.extend_from_slice(&self.bytes[..start]);
        into.extend_from_slice(&self.bytes[comma + 1..end]);
        into.push(b',');
        into.extend_from_slice(&self.bytes[start..comma]);
        into.extend_from_slice(&self.bytes[end..]);
    }
}

/// The serial in a text or a delivered line.
pub fn serial(line: &[u8]) -> Option<u64> {
    let digits = &line[memmem::find(line, MARK)? + MARK.len()..];
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let serial = count.fold((0_u64, false), |(number, _), digit| {
        (number.wrapping_mul(10) + u64::from(digit - b'0'), true)
    });
    serial.1.then_some(serial.0)
}

/// A time to the second, without a zone, in UTC: `2026-11-24T10:00:00`.
pub fn seconds(at: OffsetDateTime) -> String {
    local_seconds(at.to_offset(UtcOffset::UTC))
}

/// The same in its own zone.
pub fn local_seconds(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    let mut text = String::with_capacity(32);
    let _ = write!(
        text,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    text
}

/// A time as TAP writes it: `2026-11-24T10:00:00.000Z`.
pub fn milliseconds(at: OffsetDateTime) -> String {
    let mut text = seconds(at);
    let _ = write!(text, ".{:03}Z", at.millisecond());
    text
}

/// Reads a time as the program requests it: in UTC, to the second, whether it says so or not.
pub fn instant(text: &str) -> Option<OffsetDateTime> {
    let (seconds, rest) = text.split_at_checked("2026-11-24T10:00:00".len())?;
    let rest = rest.strip_prefix(".000").unwrap_or(rest);
    if !matches!(rest, "" | "Z" | "-0000" | "+0000" | "+00:00") {
        return None;
    }
    let number = |range: std::ops::Range<usize>| seconds.get(range)?.parse::<u8>().ok();
    let month = Month::try_from(number(5..7)?).ok()?;
    let date = Date::from_calendar_date(seconds.get(..4)?.parse().ok()?, month, number(8..10)?);
    let time = date
        .ok()?
        .with_hms(number(11..13)?, number(14..16)?, number(17..19)?);
    Some(time.ok()?.assume_utc())
}

/// Whether the request has a sign-in of this scheme. Which one it is does not matter to a model.
pub fn is_signed(request: &Request, scheme: &str) -> bool {
    let value = request.header("authorization");
    value.is_some_and(|value| value.starts_with(scheme))
}

/// An answer with JSON.
pub fn json(body: Vec<u8>) -> Reply {
    answer(200, "application/json;charset=UTF-8", body)
}

/// A refusal with a text, or without one.
pub fn refusal(status: u16, text: &str) -> Reply {
    answer(status, "text/plain", text.into())
}

fn answer(status: u16, kind: &str, body: Vec<u8>) -> Reply {
    let headers = match body.is_empty() {
        true => Vec::new(),
        false => vec![("Content-Type".to_owned(), kind.to_owned())],
    };
    Reply::Http(Answer {
        status,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_serial_is_found_in_a_line() {
        for (line, expected) in [
            (r#"{"id":"<serial.17@mail>","x":1}"#, Some(17)),
            ("serial.0", Some(0)),
            ("a serial.x", None),
            ("nothing", None),
        ] {
            assert_eq!(serial(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn two_elements_come_in_either_order() {
        let text = Text::with_pair("[", ["1", "23"], "]");
        let written = |is_turned| {
            let mut bytes = Vec::new();
            text.write(is_turned, &mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(text.bytes(), b"[1,23]");
        assert_eq!((&*written(false), &*written(true)), ("[1,23]", "[23,1]"));
        let mut plain = Vec::new();
        Text::plain("[1,23]".into()).write(true, &mut plain);
        assert_eq!(plain, b"[1,23]");
    }

    #[test]
    fn times_are_read_as_the_program_writes_them() {
        let time = datetime!(2026-11-24 10:02:03 UTC);
        for zone in ["", "Z", ".000", "-0000", "+00:00"] {
            let text = format!("2026-11-24T10:02:03{zone}");
            assert_eq!(instant(&text), Some(time), "{text}");
        }
        for text in [
            "2026-11-24",
            "2026-11-24T10:02:03+0100",
            "2026-02-30T10:02:03Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
        let late = time + time::Duration::milliseconds(45);
        assert_eq!(milliseconds(late), "2026-11-24T10:02:03.045Z");
    }
}
