//! `service_keys` reads values that keys of several services have: durations, numbers, lists of words,
//! limits of requests, addresses.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::Url;
use super::effective::{ToToml, unless_empty};
use super::suggest::nearest;
use super::table_reader::TableReader;
use super::toml::Value;
use super::value_error::ValueError;
use super::values::parse_duration;
use crate::human;
use crate::quota::Limit;

/// The limits of durations, in seconds.
pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const WEEK: u64 = 7 * DAY;

/// The largest number of requests that Devo's own collectors accept as a limit.
const MAX_REQUESTS: u32 = 9_999_999;

/// The address of an HTTP API, with its path.
fn http_address(text: &str) -> Result<Url, String> {
    with_path(Url::parse(text)?)
}

/// The address of a WebSocket, with its path.
pub(crate) fn web_socket_address(text: &str) -> Result<Url, String> {
    with_path(Url::parse_web_socket(text)?)
}

fn with_path(url: Url) -> Result<Url, String> {
    match url.path() {
        "/" => Err("must be the full address, including its path".into()),
        _ => Ok(url),
    }
}

/// The address that is requested instead of the built-in one.
pub(crate) fn url(table: &mut TableReader) -> Option<Url> {
    const EXAMPLE: &str = "https://tap-api-v2.proofpoint.com/v2/siem/clicks/blocked";
    table.text("url", EXAMPLE, http_address)
}

/// The longest time of a run, unless it is one of a log stream.
pub(crate) fn max_duration(table: &mut TableReader) -> Duration {
    let default = Duration::from_secs(10 * MINUTE);
    table.text_or("max_duration", default, duration(1..=WEEK))
}

/// Reads a duration of so many seconds.
pub(crate) fn duration(span: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| match parse_duration(text)? {
        time if span.contains(&time.as_secs()) => Ok(time),
        _ => Err(format!(
            "must be from {} to {}",
            human::duration(Duration::from_secs(*span.start())),
            human::duration(Duration::from_secs(*span.end()))
        )),
    }
}

/// Reads a whole number; `expected` is what it must be.
pub(crate) fn number<N: FromStr + PartialOrd + Display>(
    expected: &str,
    span: RangeInclusive<N>,
) -> impl FnOnce(Value) -> Result<N, ValueError> {
    move |value| match value {
        Value::Number(number) if number.parse::<i128>().is_ok() => {
            let read = number.parse().ok().filter(|number| span.contains(number));
            read.ok_or_else(|| format!("must be from {} to {}", span.start(), span.end()).into())
        }
        other => Err(other.instead_of(expected)),
    }
}

/// Reads one of these numbers.
pub(crate) fn one_of(numbers: &'static [u32]) -> impl FnOnce(Value) -> Result<u32, ValueError> {
    move |value| {
        let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let all = format!("one of {}", all.join(", "));
        match value {
            Value::Number(number) => {
                let read = number.parse().ok().filter(|read| numbers.contains(read));
                read.ok_or_else(|| format!("must be {all}").into())
            }
            other => Err(other.instead_of(&all)),
        }
    }
}

/// The limits of requests of a service of TAP; an empty list is none.
pub(crate) fn requests(table: &mut TableReader) -> Vec<Limit> {
    let read = |table: &mut TableReader| limits(table).unwrap_or_else(|| vec![Limit::a_day(220)]);
    table.recorded("requests", read, |limits| Some(limits.to_toml()))
}

fn limits(table: &mut TableReader) -> Option<Vec<Limit>> {
    const KEY: &str = "requests";
    const EXAMPLE: &str = "[{ period = \"1d\", at_most = 220 }]";
    let list = table.read(KEY, EXAMPLE, |value| match value {
        Value::List(list) => Ok(list),
        other => Err(other.instead_of(&format!("a list such as {EXAMPLE}"))),
    })?;
    let mut limits = Vec::new();
    for item in list {
        if !matches!(item.value, Value::Table(_) | Value::Unreadable) {
            let said = format!(
                "must be a list of tables, but it contains {}",
                item.value.kind()
            );
            table.complain(item.place, KEY, EXAMPLE, said.into());
            continue;
        }
        let Some(mut table) = table.open(KEY, item) else {
            continue;
        };
        table.need("period", "\"1d\"");
        table.need("at_most", "220");
        let period = table.read_text("period", "1d", duration(1..=30 * DAY));
        let at_most = number("a whole number such as 220", 1..=MAX_REQUESTS);
        let at_most = table.read("at_most", "220", at_most);
        table.close();
        let period = period.and_then(|period| time::Duration::try_from(period).ok());
        limits.extend(
            at_most
                .zip(period)
                .map(|(at_most, period)| Limit { at_most, period }),
        );
    }
    Some(limits)
}

/// A list of some of the words that an API knows; nothing is the same as no list.
pub(crate) fn choices(
    table: &mut TableReader,
    key: &'static str,
    words: &'static [&'static str],
) -> Vec<String> {
    table.recorded(key, |table| chosen(table, key, words), unless_empty)
}

fn chosen(
    table: &mut TableReader,
    key: &'static str,
    words: &'static [&'static str],
) -> Vec<String> {
    let example = format!("[\"{}\"]", words.join("\", \""));
    let Some(list) = table.read(key, &example, |value| match value {
        Value::List(list) => Ok(list),
        Value::Text(text) if words.contains(&&*text) => Err(ValueError::but(
            "must be a list, not a string",
            format!("write {key} = [{text:?}]"),
        )),
        other => Err(other.instead_of(&format!("a list such as {example}"))),
    }) else {
        return Vec::new();
    };
    let mut chosen: Vec<String> = Vec::new();
    for item in list {
        let wrong = match item.value {
            Value::Text(text) if chosen.contains(&text) => {
                ValueError::but("has a value twice", "keep one of the two")
            }
            Value::Text(text) if words.contains(&&*text) => {
                chosen.push(text);
                continue;
            }
            Value::Text(text) => match nearest(&text, words) {
                Some(meant) => ValueError::but(
                    "has a value that TAP does not know",
                    format!("did you mean {meant:?}?"),
                ),
                None => "has a value that TAP does not know".into(),
            },
            other => format!(
                "must be a list of strings, but it contains {}",
                other.kind()
            )
            .into(),
        };
        table.complain(item.place, key, &example, wrong);
    }
    chosen
}
