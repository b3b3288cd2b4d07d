//! `human` writes durations, counts and sizes for people.

use std::time::Duration;

/// A duration in its two largest units: `2d 3h`, `1m 5s`.
#[must_use]
pub(crate) fn age(age: Duration) -> String {
    let units = units(age);
    let largest = units.iter().skip_while(|(number, _)| *number == 0).take(2);
    joined(largest, " ")
}

/// A duration without loss, as the configuration takes it: `1h30m`.
#[must_use]
pub(crate) fn duration(duration: Duration) -> String {
    joined(units(duration).iter(), "")
}

fn units(duration: Duration) -> [(u64, char); 4] {
    let seconds = duration.as_secs();
    [
        (seconds / 86_400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ]
}

fn joined<'a>(units: impl Iterator<Item = &'a (u64, char)>, between: &str) -> String {
    let units = units.filter(|(number, _)| *number > 0);
    let units: Vec<String> = units
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    match units.is_empty() {
        true => "0s".to_owned(),
        false => units.join(between),
    }
}

/// Whether a character can mislead in a terminal or a log: control characters, line and paragraph
/// separators, and marks that change the direction of a text.
#[must_use]
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The text on one line, with a space for each character that can mislead.
#[must_use]
pub(crate) fn one_line(text: &str) -> String {
    text.replace(is_unprintable, " ")
}

/// A count with its noun: `1 window`, `2 windows`.
#[must_use]
pub(crate) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// A size in the largest decimal unit that leaves a whole number before the point: `600 bytes`, `5.7 MB`.
#[must_use]
pub(crate) fn bytes(number: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", number as f64 / size as f64),
        None => count(number, "byte"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_two_units_and_durations_in_all() {
        let table = [
            (0, "0s", "0s"),
            (59, "59s", "59s"),
            (65, "1m 5s", "1m5s"),
            (3600, "1h", "1h"),
            (90_061, "1d 1h", "1d1h1m1s"),
            (172_800, "2d", "2d"),
        ];
        for (seconds, said, written) in table {
            let time = Duration::from_secs(seconds);
            assert_eq!(
                (age(time).as_str(), duration(time).as_str()),
                (said, written)
            );
        }
    }

    #[test]
    fn a_line_stays_one_line_and_cannot_mislead() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        for c in [
            '\0', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{200f}',
        ] {
            assert_eq!(one_line(&format!("a{c}b")), "a b", "{c:?}");
        }
        assert_eq!(one_line("é\u{1f6a8}"), "é\u{1f6a8}");
    }

    #[test]
    fn a_count_agrees_with_its_noun() {
        assert_eq!(
            [count(0, "window"), count(1, "window")],
            ["0 windows", "1 window"]
        );
    }

    #[test]
    fn sizes_are_said_in_one_unit() {
        let said = [1, 999, 1000, 5_656_787, 40_000_000_000].map(bytes);
        assert_eq!(said, ["1 byte", "999 bytes", "1.0 kB", "5.7 MB", "40.0 GB"]);
    }
}
