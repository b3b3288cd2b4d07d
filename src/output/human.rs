//! `human` formats durations, tables and single lines for people.

use std::time::Duration;

/// A duration in its two largest units: `2d 3h`, `1m 5s`.
#[must_use]
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let said: Vec<String> = units
        .iter()
        .skip_while(|(n, _)| *n == 0)
        .take(2)
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if said.is_empty() {
        "0s".to_owned()
    } else {
        said.join(" ")
    }
}

/// A count with its noun: `1 window`, `2 windows`.
#[must_use]
pub(crate) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Rows as lines with aligned columns, two blanks apart.
#[must_use]
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let padded = cells.map(|(cell, width)| format!("{:width$}", one_line(cell)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The text on one line; text from outside may contain line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_two_units() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (65, "1m 5s"),
            (3600, "1h"),
            (90_061, "1d 1h"),
            (172_800, "2d"),
        ];
        for (seconds, said) in table {
            assert_eq!(age(Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn columns_stand_below_one_another() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect();
        let rows = [
            row(&["a", "long", "x"]),
            row(&["service", "é"]),
            row(&["b\n", "", ""]),
        ];
        assert_eq!(table(&rows), "a        long  x\nservice  é\nb\n");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
    }
}
