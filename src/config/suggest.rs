//! `nearest` finds the known name that a misspelt one probably means.

/// A name that is not ours, fit for a line: without control characters, and not too long.
pub(super) fn shown(name: &str) -> String {
    let cut: String = name.chars().take(60).collect();
    cut.escape_debug().to_string()
}

/// The name that was meant, if one is near: one or two slips away, or with something left out or
/// added.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let name = name.to_lowercase();
    let slips = |other: &str| distance(&name, other);
    let near = known
        .iter()
        .map(|other| (slips(&other.to_lowercase()), *other))
        .min();
    let by_slips =
        near.filter(|(slips, other)| *slips <= 2 && *slips < other.len().min(name.len()));
    let part = |other: &&&str| {
        let (short, long) = if other.len() < name.len() {
            (**other, &*name)
        } else {
            (&*name, **other)
        };
        short.len() >= 3 && (long.starts_with(short) || short.len() >= 5 && long.contains(short))
    };
    by_slips
        .map(|(_, other)| other)
        .or_else(|| known.iter().find(part).copied())
}

/// How many characters must be added, removed or exchanged to get from one word to another.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in other.chars().enumerate() {
            let exchanged = before + usize::from(left != right);
            before = row[column + 1];
            row[column + 1] = exchanged.min(before + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
