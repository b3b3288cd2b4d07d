//! `Consumer` names who reads events from standard output.

use std::fmt;

/// The longest name; it is a part of file names.
const LONGEST: usize = 64;

/// A name of letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Consumer(String);

impl Consumer {
    /// Reads a name.
    ///
    /// # Errors
    /// What a name must be.
    pub(crate) fn parse(name: &str) -> Result<Consumer, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        match (1..=LONGEST).contains(&name.len()) && name.bytes().all(fits) {
            true => Ok(Consumer(name.to_owned())),
            false => Err(format!(
                "must be 1 to {LONGEST} letters (a to z), digits, - or _"
            )),
        }
    }

    /// The consumer whose run has a file of this name; `stem` is what the names of the service begin
    /// with for standard output.
    pub(crate) fn of_file(name: &str, stem: &str) -> Option<Consumer> {
        let rest = name.strip_prefix(stem)?.strip_prefix('-')?;
        let (consumer, _) = rest.split_once('.')?;
        Consumer::parse(consumer).ok()
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_file_names() {
        let longest = "x".repeat(LONGEST);
        for name in ["alerts", "A-1_b", "-", "backfill", &longest] {
            assert_eq!(Consumer::parse(name).unwrap().to_string(), name);
        }
        let long = "x".repeat(LONGEST + 1);
        for name in ["", "a b", "a/b", "..", "a.b", "é", "a\0", &long] {
            assert!(Consumer::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_consumer_is_found_by_its_files() {
        let cases = [
            ("tap.stdout-alerts.json", Some("alerts")),
            ("tap.stdout-alerts.backfill.lock", Some("alerts")),
            ("tap.stdout-backfill.json", Some("backfill")),
            ("tap.stdout.json", None),
            ("tap.stdout.backfill.json", None),
            ("tap.stdout-.json", None),
            ("tap.stdout-a b.json", None),
            ("tap.stdout-alerts", None),
            ("other.stdout-alerts.json", None),
        ];
        for (file, wanted) in cases {
            let found = Consumer::of_file(file, "tap.stdout");
            assert_eq!(
                found.map(|consumer| consumer.0).as_deref(),
                wanted,
                "{file}"
            );
        }
    }
}
