//! `requests` turns their `requests_limits` into the key `requests`.

use super::draft::Draft;
use super::node::{Node, NodeValue};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Requests of a day that a timer does not make: rechecks, and what is read twice.
const BESIDE: u64 = 48;
/// Requests that TAP allows in a day.
const MOST: u64 = 1_800;
/// Our default.
const DEFAULT: u64 = 220;
/// The longest period of ours.
const LONGEST: u64 = 30 * DAY;

/// Sets `requests` from the lists of all levels, which add up; or, where there are none, so that it fits a
/// timer of this period, for their setting of this name.
pub(super) fn requests(
    draft: &mut Draft,
    table: &str,
    is_tap: bool,
    levels: &[(String, &Node)],
    period: Option<(u64, &str)>,
) {
    let mut limits = Vec::new();
    let mut from = Vec::new();
    for (path, node) in levels {
        let Some(node) = node.get("requests_limits") else {
            continue;
        };
        let theirs = format!("{path}.requests_limits");
        if !is_tap {
            draft.row(&theirs, "", "only TAP counts requests");
            continue;
        }
        let NodeValue::List(list) = &node.value else {
            let said = format!("{theirs}: must be a list of period and number_of_requests");
            draft.fault(
                node.line,
                said,
                "compare it with the examples of the collector",
            );
            continue;
        };
        let before = limits.len();
        for item in list {
            limits.extend(limit(draft, item, &theirs));
        }
        from.push((theirs, node.line, before < limits.len()));
    }
    let first = from
        .iter()
        .find(|(.., has_any)| *has_any)
        .map(|(_, line, _)| *line);
    for (theirs, _, has_any) in &from {
        match has_any {
            true => draft.row(theirs, &format!("{table}.requests"), ""),
            false => draft.row(
                theirs,
                "",
                "no limit; proofpull keeps its default, and that of TAP",
            ),
        }
    }
    match (first, period) {
        (Some(line), _) => {
            draft.line(table, "requests", &format!("[{}]", limits.join(", ")), line);
        }
        (None, Some((period, theirs))) if is_tap && DAY / period.max(1) + BESIDE > DEFAULT => {
            let most = (DAY / period.max(1) + BESIDE).min(MOST);
            let limit = format!("[{{ period = \"1d\", at_most = {most} }}]");
            draft.set(table, "requests", &limit, 0, theirs);
        }
        _ => {}
    }
}

/// A limit in TOML; nothing for one that limits nothing.
fn limit(draft: &mut Draft, item: &Node, theirs: &str) -> Option<String> {
    let mut text = |key: &str| {
        let node = item.get(key)?;
        draft
            .text(node, &format!("{theirs}.{key}"))
            .map(str::to_owned)
    };
    let (period, number) = (text("period"), text("number_of_requests"));
    if number.as_deref() == Some("-1") {
        return None;
    }
    let number = number
        .and_then(|number| number.parse::<u64>().ok())
        .filter(|number| *number > 0);
    let seconds = period.as_deref().and_then(seconds);
    let (Some(number), Some(seconds)) = (number, seconds) else {
        let said = format!("{theirs}: must have a period such as 1d and a number_of_requests");
        draft.fault(
            item.line,
            said,
            "compare it with the examples of the collector",
        );
        return None;
    };
    if seconds > LONGEST {
        let said =
            format!("{theirs}: has a period of more than 30 days, which proofpull does not count");
        draft.fault(item.line, said, "write it for 30 days or less");
        return None;
    }
    let period = crate::human::duration(std::time::Duration::from_secs(seconds));
    Some(format!("{{ period = {period:?}, at_most = {number} }}"))
}

/// A period of theirs: a number and one of `s`, `m`, `h`, `d`, `w`, `M` (30 days) and `y` (365 days).
fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let size = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => DAY,
        'w' => 7 * DAY,
        'M' => 30 * DAY,
        'y' => 365 * DAY,
        _ => return None,
    };
    number.checked_mul(size).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_one_unit() {
        for (text, wanted) in [
            ("1s", Some(1)),
            ("5m", Some(300)),
            ("1d", Some(DAY)),
            ("2w", Some(14 * DAY)),
            ("1M", Some(30 * DAY)),
            ("1y", Some(365 * DAY)),
            ("0d", None),
            ("d", None),
            ("", None),
            ("1é", None),
            ("99999999999999999999s", None),
            ("9999999999999999y", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }
}
