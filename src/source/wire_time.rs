//! `wire_time` reads times as the services write them, and nothing else.
//!
//! Identities depend on it: if it reads a spelling differently, known events become new. What
//! people may write is defined in `config::values`; the two share nothing.

use std::borrow::Cow;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Length of a time to the second, in bytes; a fraction and an offset may follow.
pub(super) const SECONDS: usize = "2025-01-14T08:00:00".len();

/// Reads `2025-01-14T08:00:00`, also with a space for the `T`. A fraction may follow, then `Z`,
/// `-08:00` or, as `PoD` and Isolation write it, `-0800`. Without an offset it is UTC. The result
/// is always in UTC. Digits past the nanosecond are dropped. `None` for everything else.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    let (seconds, rest) = text.split_at_checked(SECONDS)?;
    // the crate takes any byte here
    if !matches!(seconds.as_bytes()[10], b'T' | b' ') {
        return None;
    }
    let (fraction, offset) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
    let in_full: Cow<'_, str> = match offset.split_at_checked(3) {
        _ if offset.is_empty() => format!("{text}Z").into(),
        Some((hours, minutes)) if minutes.len() == 2 => {
            format!("{seconds}{fraction}{hours}:{minutes}").into()
        }
        _ => text.into(),
    };
    OffsetDateTime::parse(&in_full, &Rfc3339)
        .ok()?
        .checked_to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn what_the_services_write_is_read_and_nothing_else() {
        let whole = datetime!(2025-01-14 08:12:05 UTC);
        let good = [
            ("2025-01-14T08:12:05Z", whole),
            ("2025-01-14T08:12:05.000Z", whole),
            ("2025-01-14T08:12:05+0000", whole),
            ("2025-01-14T08:12:05-0000", whole),
            ("2025-01-14T08:12:05.000+0000", whole),
            ("2025-01-14T00:12:05-0800", whole),
            ("2025-01-14T00:12:05-08:00", whole),
            ("2025-01-14T13:42:05+05:30", whole),
            ("2025-01-14T08:12:05", whole),
            ("2025-01-14 08:12:05Z", whole),
            (
                "2025-01-14T00:12:05.483127-0800",
                datetime!(2025-01-14 08:12:05.483127 UTC),
            ),
            (
                "2025-01-14T08:12:05.5",
                datetime!(2025-01-14 08:12:05.5 UTC),
            ),
            (
                "2025-01-14T08:12:05.1234567899Z",
                datetime!(2025-01-14 08:12:05.123456789 UTC),
            ),
            (
                "2016-12-31T23:59:60Z",
                datetime!(2016-12-31 23:59:59.999999999 UTC),
            ),
        ];
        for (text, time) in good {
            let found = parse(text);
            assert_eq!(found, Some(time), "{text}");
            assert_eq!(found.map(OffsetDateTime::offset), Some(UtcOffset::UTC));
        }
        let bad = [
            "",
            "soon",
            "1736842325",
            "2025-01-14",
            "2025-01-14T08:12Z",
            "2025-01-14t08:12:05Z",
            "2025-01-14T08:12:05z",
            "2025-01-14_08:12:05Z",
            " 2025-01-14T08:12:05Z",
            "2025-01-14T08:12:05Z ",
            "2025-01-14T08:12:05 +0000",
            "2025-01-14T08:12:05 PST",
            "2025-01-14T08:12:05.Z",
            "2025-01-14T08:12:05,5Z",
            "2025-01-14T08:12:05+00",
            "2025-01-14T08:12:05+0é0",
            "2025-01-14T08:12:0é",
            "2025-02-30T08:12:05Z",
            "2025-01-14T24:00:00Z",
            "9999-12-31T23:59:59-23:59",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
