//! `terminal` colours the answer of a command where a person sees it, and shows it anew.
//!
//! Colours need a terminal, and neither `NO_COLOR` nor `TERM=dumb`.

use console::{Style, Term};

use super::logger::answer;
use crate::error::{Because, Exit, Result};
use crate::human::one_line;

/// What a line means to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Bad,
}

impl Tone {
    /// The line in the colour of its tone.
    #[must_use]
    pub(crate) fn paint(self, line: &str) -> String {
        let style = match self {
            Tone::Plain => return one_line(line),
            Tone::Heading => Style::new().bold(),
            Tone::Good => Style::new().green(),
            Tone::Warning => Style::new().yellow(),
            Tone::Bad => Style::new().red().bold(),
        };
        style.apply_to(one_line(line)).to_string()
    }
}

/// Whether the answer of a command goes to a terminal.
#[must_use]
pub(crate) fn is_terminal() -> bool {
    Term::stdout().is_term()
}

/// Prints the answer of a command in place of everything on the terminal.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn show_anew(text: &str) -> Result<()> {
    let cleared = Term::stdout().clear_screen();
    cleared.context("clearing the terminal").exit(Exit::Io)?;
    answer(text)
}
