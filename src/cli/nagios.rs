//! `nagios` writes the line of a Nagios check.

/// What a Nagios check answers ("Nagios Plugins Development Guidelines", plugin return codes).
const NAGIOS: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];

/// The code of a check that cannot tell.
pub(super) const UNKNOWN: u8 = 3;

/// The line of a check: its code in words, what is said, and its figures.
#[must_use]
pub(super) fn line(code: u8, said: &str, figures: &[String]) -> String {
    // a bar begins the figures
    let said = said.replace(['|', '\n'], " ");
    let word = NAGIOS.get(usize::from(code)).unwrap_or(&"UNKNOWN");
    let bar = if figures.is_empty() { "" } else { " | " };
    format!("PROOFPULL {word} - {said}{bar}{}\n", figures.join(" "))
}
