//! `times` reads points in time as the collectors write them: in their settings and in their state.

use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::config::values::parse_instant;

/// Earliest time that is believed: the collectors are younger, and a small number is none.
const EARLIEST: OffsetDateTime = time::macros::datetime!(2015-01-01 00:00 UTC);
/// How far a clock may be behind the one that wrote the time.
const AHEAD: Duration = Duration::DAY;

/// The time of a text: RFC 3339, the same without a zone, which is UTC then, or seconds,
/// milliseconds or microseconds since 1970. Nothing where it cannot be one.
pub(super) fn time_of_text(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return time_of_number(number, now);
    }
    let time = parse_instant(text).or_else(|_| parse_instant(&format!("{text}Z")));
    believed(time.ok()?, now)
}

/// The time of a number of seconds, milliseconds or microseconds since 1970.
pub(super) fn time_of_number(number: f64, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let units = [1.0, 1e3, 1e6];
    units.into_iter().find_map(|unit| {
        let seconds = Duration::checked_seconds_f64(number / unit)?;
        believed(OffsetDateTime::UNIX_EPOCH.checked_add(seconds)?, now)
    })
}

/// The time, if it is one at which a collector may have been.
pub(super) fn believed(time: OffsetDateTime, now: OffsetDateTime) -> Option<OffsetDateTime> {
    (time >= EARLIEST && time <= now + AHEAD).then_some(time)
}

/// The time of a text in a format of Python's `strptime`, in UTC unless the text says otherwise.
///
/// # Errors
/// What is wrong with the two, without any of them.
pub(super) fn time_in_format(text: &str, format: &str) -> Result<OffsetDateTime, &'static str> {
    const NOT_SO: &str = "is not written in its format";
    const UNKNOWN: &str = "has a format with other parts than %Y %m %d %H %M %S %f %z %Z %%";
    let mut parts = TimeParts::default();
    let mut rest = text.trim();
    let mut format = format.trim().chars();
    while let Some(c) = format.next() {
        if c != '%' {
            rest = rest.strip_prefix(c).ok_or(NOT_SO)?;
            continue;
        }
        let (field, digits) = match format.next() {
            Some('Y') => (&mut parts.year, 4),
            Some('m') => (&mut parts.month, 2),
            Some('d') => (&mut parts.day, 2),
            Some('H') => (&mut parts.hour, 2),
            Some('M') => (&mut parts.minute, 2),
            Some('S') => (&mut parts.second, 2),
            Some('f') => (&mut parts.fraction, 6),
            Some('z' | 'Z') => {
                let zone = rest.find(['Z', '+', '-', 'U', 'G']).ok_or(NOT_SO)?;
                parts.zone = zone_of(&rest[zone..]).ok_or(NOT_SO)?;
                rest = "";
                continue;
            }
            Some('%') => {
                rest = rest.strip_prefix('%').ok_or(NOT_SO)?;
                continue;
            }
            _ => return Err(UNKNOWN),
        };
        let length = rest.bytes().take(digits).take_while(u8::is_ascii_digit);
        let (number, tail) = rest.split_at(length.count());
        let padded = match digits {
            6 => format!("{number:0<6}"),
            _ => number.to_owned(),
        };
        *field = padded.parse().map_err(|_| NOT_SO)?;
        rest = tail;
    }
    match (rest, parts.time()) {
        ("", Some(time)) => Ok(time),
        _ => Err(NOT_SO),
    }
}

struct TimeParts {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    /// In microseconds.
    fraction: u32,
    zone: UtcOffset,
}

impl Default for TimeParts {
    fn default() -> TimeParts {
        TimeParts {
            year: 1900,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            fraction: 0,
            zone: UtcOffset::UTC,
        }
    }
}

impl TimeParts {
    fn time(&self) -> Option<OffsetDateTime> {
        let small = |number: u32| u8::try_from(number).ok();
        let month = Month::try_from(small(self.month)?).ok()?;
        let year = i32::try_from(self.year).ok()?;
        let date = Date::from_calendar_date(year, month, small(self.day)?).ok()?;
        let (hour, minute) = (small(self.hour)?, small(self.minute)?);
        let time = Time::from_hms_micro(hour, minute, small(self.second)?, self.fraction).ok()?;
        let time = PrimitiveDateTime::new(date, time).assume_offset(self.zone);
        time.checked_to_offset(UtcOffset::UTC)
    }
}

/// `Z`, `UTC`, `GMT`, `+02:00` or `+0200`.
fn zone_of(text: &str) -> Option<UtcOffset> {
    if let "Z" | "UTC" | "GMT" = text {
        return Some(UtcOffset::UTC);
    }
    let zone = text.strip_prefix(['+', '-'])?.replace(':', "");
    let (hours, minutes) = zone.split_at_checked(2)?;
    let (hours, minutes): (i8, i8) = (hours.parse().ok()?, minutes.parse().ok()?);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::utc;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-26 12:00 UTC);

    #[test]
    fn a_time_is_told_from_what_is_none() {
        for (text, wanted) in [
            ("2026-11-26T10:00:00Z", "2026-11-26T10:00:00Z"),
            ("2026-11-26T10:00:00.123456", "2026-11-26T10:00:00Z"),
            ("2026-11-26 10:00:00", "2026-11-26T10:00:00Z"),
            ("2026-11-26T10:00:00+02:00", "2026-11-26T08:00:00Z"),
            ("2026-11-26", "2026-11-26T00:00:00Z"),
            ("1795687200", "2026-11-26T10:00:00Z"),
            ("1795687200.5", "2026-11-26T10:00:00Z"),
            ("1795687200000", "2026-11-26T10:00:00Z"),
            ("1795687200000000", "2026-11-26T10:00:00Z"),
            ("1", "-"),
            ("-1795687200", "-"),
            ("nan", "-"),
            ("inf", "-"),
            ("1e300", "-"),
            ("2036-01-01T00:00:00Z", "-"),
            ("1970-01-01T00:00:00Z", "-"),
            ("", "-"),
            ("text", "-"),
        ] {
            let told = time_of_text(text, NOW).map_or("-".into(), utc);
            assert_eq!(told, wanted, "{text}");
        }
    }

    #[test]
    fn a_format_of_python_is_followed() {
        for (text, format, wanted) in [
            (
                "2026-11-26T10:00:00Z",
                "%Y-%m-%dT%H:%M:%SZ",
                "2026-11-26T10:00:00Z",
            ),
            (
                "2026-11-26T10:00:00.5Z",
                "%Y-%m-%dT%H:%M:%S.%fZ",
                "2026-11-26T10:00:00Z",
            ),
            ("26/11/2026", "%d/%m/%Y", "2026-11-26T00:00:00Z"),
            (
                "2026-11-26 10:00:00+0200",
                "%Y-%m-%d %H:%M:%S%z",
                "2026-11-26T08:00:00Z",
            ),
            ("20261126100000", "%Y%m%d%H%M%S", "2026-11-26T10:00:00Z"),
            ("26 11 2026", "%d/%m/%Y", "is not written in its format"),
            ("2026-13-26", "%Y-%m-%d", "is not written in its format"),
            ("2026-11-26x", "%Y-%m-%d", "is not written in its format"),
            (
                "Thu",
                "%a",
                "has a format with other parts than %Y %m %d %H %M %S %f %z %Z %%",
            ),
        ] {
            let told = time_in_format(text, format).map_or_else(String::from, utc);
            assert_eq!(told, wanted, "{text}");
        }
    }
}
