//! `text` reads and writes the text that HTTP and WebSocket share: HTTP dates and percent-encoded
//! values.

use std::ops::RangeInclusive;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::format_description::well_known::Rfc2822;
use time::{OffsetDateTime, UtcOffset};

/// All but the unreserved characters of RFC 3986.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Also encodes dots, which have a meaning in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Percent-encodes a value of a query.
pub(crate) fn query_value(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// Percent-encodes one segment of a path.
pub(crate) fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Years that a server's clock may show; with others, arithmetic could leave what a date can be.
const YEARS: RangeInclusive<i32> = 1970..=9000;

/// Parses a date as HTTP writes it (RFC 9110, 5.6.7: IMF-fixdate); `None` for anything else.
pub(crate) fn http_date(text: &str) -> Option<OffsetDateTime> {
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let date = date.checked_to_offset(UtcOffset::UTC)?;
    YEARS.contains(&date.year()).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_and_names_are_encoded_for_a_query() {
        assert_eq!(
            query_value("2026-11-23T10:00:00-0000"),
            "2026-11-23T10%3A00%3A00-0000"
        );
        assert_eq!(query_value("a+b ü.~_"), "a%2Bb%20%C3%BC.~_");
    }

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        assert_eq!(path_segment("0aF-_"), "0aF-_");
        assert_eq!(
            path_segment("../x?y#z%é "),
            "%2E%2E%2Fx%3Fy%23z%25%C3%A9%20"
        );
    }

    #[test]
    fn a_date_of_http_is_read_and_nothing_else() {
        let date = datetime!(2026-11-24 12:30 UTC);
        assert_eq!(http_date("Tue, 24 Nov 2026 12:30:00 GMT"), Some(date));
        assert_eq!(http_date("2026-11-24T12:30:00Z"), None);
        assert_eq!(http_date("soon"), None);
        let old = datetime!(1970-01-01 0:00 UTC);
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(old));
        for absurd in [
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "Wed, 31 Dec 1969 23:59:59 GMT",
        ] {
            assert_eq!(http_date(absurd), None, "{absurd}");
        }
    }
}
