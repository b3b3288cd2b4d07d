//! `values` parses durations, instants and hosts as people write them.
//!
//! Pure. Every error ends a sentence that begins with what was asked for ("must be …"). It never
//! quotes the text: the value may be a secret that was put under the wrong key.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Seconds per unit of a duration, in the order in which they are written.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

const A_DURATION: &str = "must be a duration such as 45m, 90s or 1h30m";
const AN_INSTANT: &str =
    "must be a time such as 2026-11-20T00:00:00Z, or a date such as 2026-11-20";
const A_HOST: &str = "must have a host name or an IP address, of letters, digits, - and .";

/// Parses a duration such as `45m`, `0s` or `1d12h`: days, hours, minutes and seconds, each once.
///
/// # Errors
/// What it must be instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut units = UNITS.iter();
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return Err(A_DURATION.into());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| A_DURATION)?;
        let Some(unit) = tail.chars().next() else {
            return Err("must have a unit: d, h, m or s, as in 45m".into());
        };
        // only smaller units are left, so that 30m1h and 1m1m are refused
        let (_, size) = units.find(|(name, _)| *name == unit).ok_or(A_DURATION)?;
        let more = number
            .checked_mul(*size)
            .and_then(|more| seconds.checked_add(more));
        seconds = more.ok_or(A_DURATION)?;
        rest = &tail[unit.len_utf8()..];
    }
    Ok(Duration::from_secs(seconds))
}

/// Parses RFC 3339. The offset may lack its colon, `T` may be a space, letters may be in lower
/// case, and seconds may be missing. A bare date is its midnight in UTC.
///
/// # Errors
/// What it must be instead.
pub fn parse_instant(text: &str) -> Result<OffsetDateTime, String> {
    let text = in_full(text);
    match OffsetDateTime::parse(&text, &Rfc3339) {
        Ok(instant) => instant
            .checked_to_offset(UtcOffset::UTC)
            .ok_or_else(|| AN_INSTANT.into()),
        Err(_) if OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).is_ok() => {
            Err("must have a time zone: add Z for UTC, or an offset such as -07:00".into())
        }
        Err(_) => Err(AN_INSTANT.into()),
    }
}

/// Parses an instant, or an age such as `3d` or `12h30m` before `now`.
///
/// # Errors
/// What it must be instead.
pub(crate) fn parse_instant_or_age(
    text: &str,
    now: OffsetDateTime,
) -> Result<OffsetDateTime, String> {
    if let Ok(age) = parse_duration(text) {
        let age = time::Duration::try_from(age).ok();
        let then = age.and_then(|age| now.checked_sub(age));
        return then.ok_or_else(|| "must not be that far in the past".into());
    }
    // a missing time zone has a message of its own
    parse_instant(text).map_err(|said| match said == AN_INSTANT {
        true => format!("{AN_INSTANT}, or an age such as 3d, 90m or 12h30m"),
        false => said,
    })
}

/// Adds what people may leave out of RFC 3339.
fn in_full(text: &str) -> String {
    let text = text.trim().to_ascii_uppercase();
    let Some((date, rest)) = text.split_at_checked(10) else {
        return text;
    };
    if rest.is_empty() {
        return format!("{date}T00:00:00Z");
    }
    let (clock, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
    let clock = clock.strip_prefix(['T', ' ']).unwrap_or(clock).trim_end();
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    match zone.split_at_checked(3) {
        Some((hours, minutes)) if minutes.len() == 2 => {
            format!("{date}T{clock}{seconds}{hours}:{minutes}")
        }
        _ => format!("{date}T{clock}{seconds}{zone}"),
    }
}

/// Parses `host:port` or `host`, an IPv6 address in brackets. Returns the host in lower case
/// without brackets, and the port.
///
/// # Errors
/// What it must be instead.
pub(crate) fn parse_host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    if text.contains("://") {
        return Err("must not have a scheme such as https://".into());
    }
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
        Some(_) => return Err("must have an IPv6 address between its brackets".into()),
        None if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 => {
            return Err("must have brackets around an IPv6 address, as in [::1]:443".into());
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if !is_host(host) {
        return Err(A_HOST.into());
    }
    let host = host.to_ascii_lowercase();
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port
        .strip_prefix(':')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        None | Some(0) => Err("must end with a port from 1 to 65535".into()),
        port => Ok((host, port)),
    }
}

/// Whether it is an IP address, or a DNS name that TLS accepts: labels of 1 to 63 letters, digits,
/// `-` and `_`, the last one not a number, 253 characters in all.
#[must_use]
pub(crate) fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let hex = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number =
        last.bytes().all(|byte| byte.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(hex);
    text.len() <= 253 && !number && name.split('.').all(label)
}

/// The longest tag that Devo's own collectors accept.
const MAX_TAG: usize = 1024;

/// Tags have two to six levels (Devo's documents, "About Devo tags").
pub(super) fn tag(text: &str) -> Result<String, &'static str> {
    let level = |level: &str| {
        !level.is_empty()
            && level
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let levels = text.split('.').count();
    match (2..=6).contains(&levels) && text.split('.').all(level) && text.len() <= MAX_TAG {
        true => Ok(text.into()),
        false => Err("must be two to six levels of letters, digits, - and _, separated by dots"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    #[test]
    fn durations_are_numbers_with_units_from_large_to_small() {
        let good = [
            ("45m", 2_700),
            ("60s", 60),
            ("1h", 3_600),
            ("90m", 5_400),
            ("1d", 86_400),
            ("0s", 0),
        ];
        for (text, seconds) in
            good.into_iter()
                .chain([("1h30m", 5_400), ("1d12h", 129_600), (" 5s ", 5)])
        {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        let bad = [
            "", " ", "m", "45M", "-1m", "+1m", "1.5h", "30m1h", "1m1m", "1h 30m", "5w", "500ms",
            "1é", "٣m",
        ];
        for text in bad
            .into_iter()
            .chain(["99999999999999999999s", "213503982334602d", "1m-1s"])
        {
            assert!(
                parse_duration(text).unwrap_err().contains("such as 45m"),
                "{text}"
            );
        }
        assert!(parse_duration("45").unwrap_err().contains("unit"));
        assert!(parse_duration("1h30").unwrap_err().contains("unit"));
    }

    #[test]
    fn instants_are_rfc_3339_or_a_little_less_and_come_out_in_utc() {
        let seven = datetime!(2026-11-20 07:00 UTC);
        let good = [
            ("2026-11-20T07:00:00Z", seven),
            ("2026-11-20t07:00:00z", seven),
            ("2026-11-20 07:00:00Z", seven),
            (" 2026-11-20 07:00:00 Z ", seven),
            ("2026-11-20T07:00Z", seven),
            ("2026-11-20T00:00:00-07:00", seven),
            ("2026-11-20T00:00:00-0700", seven),
            ("2026-11-20 12:30:00 +0530", seven),
            ("2026-11-20T07:00:00.000Z", seven),
            ("2026-11-20", datetime!(2026-11-20 00:00 UTC)),
            (
                "2026-11-20T07:00:00.25+00:00",
                datetime!(2026-11-20 07:00:00.25 UTC),
            ),
            ("0001-01-01", datetime!(0001-01-01 00:00 UTC)),
        ];
        for (text, instant) in good {
            assert_eq!(parse_instant(text), Ok(instant), "{text}");
            assert_eq!(
                parse_instant(text).map(OffsetDateTime::offset),
                Ok(UtcOffset::UTC),
                "{text}"
            );
        }
        let bad = [
            "",
            "x",
            "3d",
            "2026-13-01",
            "2026-02-30T00:00:00Z",
            "20261120",
            "1763596800",
            "07:00:00",
        ];
        let more = [
            "2026-11-20T24:00:00Z",
            "2026-11-20T07:00:00+7",
            "9999-12-31T23:59:59-23:59",
            "2026-11-2é",
        ];
        for text in bad.into_iter().chain(more) {
            assert_eq!(parse_instant(text), Err(AN_INSTANT.into()), "{text}");
        }
        for text in [
            "2026-11-20T07:00:00",
            "2026-11-20 07:00",
            "2026-11-20T07:00:00.5",
        ] {
            assert!(parse_instant(text).unwrap_err().contains("add Z"), "{text}");
        }
    }

    #[test]
    fn an_age_counts_back_from_now() {
        for (text, instant) in [
            ("3d", datetime!(2026-11-24 12:00 UTC)),
            ("90m", datetime!(2026-11-27 10:30 UTC)),
            ("12h30m", datetime!(2026-11-26 23:30 UTC)),
            ("0s", NOW),
            ("2026-11-20", datetime!(2026-11-20 00:00 UTC)),
        ] {
            assert_eq!(parse_instant_or_age(text, NOW), Ok(instant), "{text}");
        }
        assert!(
            parse_instant_or_age("yesterday", NOW)
                .unwrap_err()
                .contains("an age such as 3d")
        );
        assert!(
            parse_instant_or_age("2026-11-20T07:00:00", NOW)
                .unwrap_err()
                .contains("add Z")
        );
        assert!(
            parse_instant_or_age("99999999d", NOW)
                .unwrap_err()
                .contains("that far in the past")
        );
        assert!(
            parse_instant_or_age("200000000000000d", NOW)
                .unwrap_err()
                .contains("that far in the past")
        );
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in [
            (
                "collector-us.devo.io:443",
                "collector-us.devo.io",
                Some(443),
            ),
            ("Collector", "collector", None),
            ("10.0.0.1:6514", "10.0.0.1", Some(6514)),
            ("[::1]:443", "::1", Some(443)),
            ("[2001:DB8::1]", "2001:db8::1", None),
            ("my_host.example.:1", "my_host.example.", Some(1)),
            ("host:00443", "host", Some(443)),
        ] {
            assert_eq!(parse_host_and_port(text), Ok((host.into(), port)), "{text}");
        }
        for (text, said) in [
            ("", "host name"),
            (":443", "host name"),
            ("https://h:443", "scheme"),
            ("h:", "port"),
            ("h:0", "port"),
            ("h:65536", "port"),
            ("h:+443", "port"),
            ("h:https", "port"),
            ("[::1]443", "port"),
            ("[::1", "between its brackets"),
            ("[h]:443", "between its brackets"),
            ("::1", "brackets around"),
            ("::1:443", "brackets around"),
            ("a:b:443", "brackets around"),
            ("a b:443", "host name"),
            ("user@h:443", "host name"),
            ("h/x:443", "host name"),
            ("1.2.3:443", "host name"),
        ] {
            let error = parse_host_and_port(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name_of_the_dns() {
        for text in [
            "localhost",
            "a-b.c_d.e1",
            "1.2.3.4",
            "::1",
            "xn--bcher-kva.example",
            "0x.example",
            "host.",
        ] {
            assert!(is_host(text), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(127);
        for text in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "bücher",
            "256.1.1.1",
            "a.0x1f",
            "a.9",
            "[::1]",
            &long,
            &longer,
        ] {
            assert!(!is_host(text), "{text}");
        }
    }
}
