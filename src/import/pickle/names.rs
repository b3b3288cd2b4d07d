//! `Name` is a name of Python's standard library that stands for plain data; `refused` names what does more.

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

use super::{PickleError, PickleValue};

/// A name of Python's standard library that stands for plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `collections.defaultdict` and `collections.OrderedDict`.
    Dict,
    /// `builtins.list`, what a `defaultdict` makes.
    List,
    /// `datetime.datetime`.
    DateTime,
    /// `datetime.timedelta`.
    Span,
    /// `datetime.timezone`.
    Zone,
}

impl Name {
    /// The name, if it stands for plain data.
    pub(super) fn of(module: &str, name: &str) -> Option<Name> {
        match (module, name) {
            ("collections", "defaultdict" | "OrderedDict") => Some(Name::Dict),
            ("builtins" | "__builtin__", "list") => Some(Name::List),
            ("datetime", "datetime") => Some(Name::DateTime),
            ("datetime", "timedelta") => Some(Name::Span),
            ("datetime", "timezone") => Some(Name::Zone),
            _ => None,
        }
    }

    /// The data that it stands for with these arguments; nothing where they do not fit.
    pub(super) fn given(self, arguments: &[&PickleValue]) -> Option<PickleValue> {
        match (self, arguments) {
            (Name::Dict, [] | [PickleValue::Named(Name::List)]) => {
                Some(PickleValue::Map(Vec::new()))
            }
            (Name::List, []) => Some(PickleValue::List(Vec::new())),
            (Name::DateTime, [PickleValue::Bytes(bytes)]) => time(bytes, UtcOffset::UTC),
            (Name::DateTime, [PickleValue::Bytes(bytes), PickleValue::Zone(zone)]) => {
                time(bytes, *zone)
            }
            (
                Name::Span,
                [
                    PickleValue::Integer(days),
                    PickleValue::Integer(seconds),
                    ..,
                ],
            ) => days
                .checked_mul(86_400)
                .and_then(|days| days.checked_add(*seconds))
                .map(PickleValue::Span),
            (Name::Zone, [PickleValue::Span(seconds), ..]) => i32::try_from(*seconds)
                .ok()
                .and_then(|seconds| UtcOffset::from_whole_seconds(seconds).ok())
                .map(PickleValue::Zone),
            _ => None,
        }
    }
}

/// The ten bytes of a `datetime`: year, month, day, hour, minute, second and microseconds.
fn time(bytes: &[u8], zone: UtcOffset) -> Option<PickleValue> {
    let [y1, y2, month, day, hour, minute, second, micros @ ..] = bytes else {
        return None;
    };
    let [m1, m2, m3] = micros else { return None };
    // the highest bit says which of two equal times is meant where clocks are put back
    let month = Month::try_from(month & 0x7f).ok()?;
    let date = Date::from_calendar_date(u16::from_be_bytes([*y1, *y2]).into(), month, *day).ok()?;
    let micros = u32::from_be_bytes([0, *m1, *m2, *m3]);
    let time = Time::from_hms_micro(*hour, *minute, *second, micros).ok()?;
    let time = OffsetDateTime::new_in_offset(date, time, zone);
    Some(PickleValue::Time(time.checked_to_offset(UtcOffset::UTC)?))
}

/// Says that an instruction does more than build plain data, or is none of the protocols 0 to 5.
pub(super) fn refused(opcode: u8) -> PickleError {
    PickleError::Refused(match opcode {
        b'P' => "PERSID",
        b'Q' => "BINPERSID",
        b'b' => "BUILD",
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        other => return PickleError::Unknown(other),
    })
}
