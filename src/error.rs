//! `Failure` is what ends a command: its message, its status (sysexits(3)) and its hint.
//!
//! Whoever knows the cause attaches the status and the hint. Errors that the program decides by are
//! types of their own; each becomes a `Failure` at the edge.

use std::any::Any;
use std::fmt;

/// A status of the program, as the manual lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Caught up, or stopped in good order at a limit or a signal.
    Ok = 0,
    /// Wrong arguments.
    Usage = 2,
    /// Done, but some events could not be delivered; recorded and named.
    Gap = 3,
    /// The state, or an answer as a whole, cannot be understood.
    Data = 65,
    /// An API or the receiver cannot be reached, or answers 5xx.
    Unavailable = 69,
    /// A bug.
    Software = 70,
    /// The state cannot be written, or may not be read; nothing was asked for.
    CantCreate = 73,
    /// The receiver did not confirm; what was not confirmed is sent again.
    Io = 74,
    /// Temporary; the next run retries.
    TempFail = 75,
    /// Credentials or the client certificate refused, a secret that others can use, or a configuration
    /// that others can change.
    NoPerm = 77,
    /// The configuration is refused.
    Config = 78,
}

impl Exit {
    /// From those that the next run heals by itself to those that need a person.
    const BY_SEVERITY: [Exit; 11] = [
        Exit::Ok,
        Exit::TempFail,
        Exit::Unavailable,
        Exit::Io,
        Exit::Gap,
        Exit::Data,
        Exit::CantCreate,
        Exit::NoPerm,
        Exit::Config,
        Exit::Usage,
        Exit::Software,
    ];

    /// The worse of two statuses.
    #[must_use]
    pub(crate) fn worse(self, other: Exit) -> Exit {
        let rank = |exit: Exit| Exit::BY_SEVERITY.iter().position(|one| *one == exit);
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }

    /// The name that the manual and systemd use for it.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Usage => "usage",
            Exit::Gap => "gap",
            Exit::Data => "data",
            Exit::Unavailable => "unavailable",
            Exit::Software => "software",
            Exit::CantCreate => "cantcreat",
            Exit::Io => "io",
            Exit::TempFail => "tempfail",
            Exit::NoPerm => "noperm",
            Exit::Config => "config",
        }
    }
}

/// Why a command failed.
///
/// Not an [`Error`](std::error::Error), so that any error becomes one with `?`.
#[derive(Debug)]
pub struct Failure {
    exit: Option<Exit>,
    hint: Option<String>,
    message: String,
}

/// A result whose error is a [`Failure`] unless another is named.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Says what failed, without a status and a hint.
    #[must_use]
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure {
            exit: None,
            hint: None,
            message: message.into(),
        }
    }

    /// The status that the program ends with; a failure that was given none is a bug.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::Software)
    }

    /// The status, if one was given.
    #[must_use]
    pub(crate) fn known_exit(&self) -> Option<Exit> {
        self.exit
    }

    /// What a person can do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Sets the status.
    #[must_use]
    pub(crate) fn with_exit(self, exit: Exit) -> Failure {
        let exit = Some(exit);
        Failure { exit, ..self }
    }

    /// Sets the status, unless one was given.
    #[must_use]
    pub(crate) fn or_exit(self, exit: Exit) -> Failure {
        let exit = self.exit.or(Some(exit));
        Failure { exit, ..self }
    }

    /// Sets the hint.
    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Failure {
        let hint = Some(hint.into());
        Failure { hint, ..self }
    }

    /// Sets the hint, unless one was given.
    #[must_use]
    pub(crate) fn or_hint(self, hint: &str) -> Failure {
        let hint = self.hint.or_else(|| Some(hint.to_owned()));
        Failure { hint, ..self }
    }

    /// Puts what was being done before the message, with a colon between them.
    #[must_use]
    pub(crate) fn context(self, doing: impl fmt::Display) -> Failure {
        let message = format!("{doing}: {}", self.message);
        Failure { message, ..self }
    }
}

/// The line for a person: what was being done and what went wrong, with colons between them.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message += &format!(": {error}");
            cause = error.source();
        }
        Failure::new(message)
    }
}

/// Makes a [`Failure`] of whatever can fail.
pub(crate) trait Because<T> {
    /// Sets the status.
    fn exit(self, exit: Exit) -> Result<T>;
    /// Sets what a person can do about it.
    fn hint(self, hint: impl Into<String>) -> Result<T>;
    /// Says what was being done.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
    /// Says what was being done, in words that are only made for an error.
    fn with_context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Failure>> Because<T> for Result<T, E> {
    fn exit(self, exit: Exit) -> Result<T> {
        self.map_err(|error| error.into().with_exit(exit))
    }

    fn hint(self, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.into().with_hint(hint))
    }

    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(doing))
    }

    fn with_context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(doing()))
    }
}

/// A failure with its status.
pub(crate) fn fail<T>(exit: Exit, message: impl Into<String>) -> Result<T> {
    Err(Failure::new(message).with_exit(exit))
}

/// What a panic said, if that is a literal: another message may hold data.
#[must_use]
pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref().copied().unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_a_hint_travel_with_a_failure_and_are_not_in_its_line() {
        let failure = fail::<()>(Exit::Io, "connection reset")
            .hint("try again")
            .context("confirming 3 events")
            .unwrap_err();
        assert_eq!(failure.to_string(), "confirming 3 events: connection reset");
        assert_eq!(failure.exit(), Exit::Io);
        assert_eq!(failure.hint(), Some("try again"));
    }

    #[test]
    fn the_worse_of_two_statuses_is_the_later_of_those_in_the_manual() {
        let order = Exit::BY_SEVERITY.map(|exit| (exit as u8).to_string());
        let order = order.join(", ");
        assert!(
            include_str!("../man/proofpull.1").contains(&order),
            "{order}"
        );
        for (at, one) in Exit::BY_SEVERITY.into_iter().enumerate() {
            for (other_at, other) in Exit::BY_SEVERITY.into_iter().enumerate() {
                let worse = Exit::BY_SEVERITY[at.max(other_at)];
                assert_eq!(one.worse(other), worse);
            }
        }
    }

    #[test]
    fn a_failure_without_a_status_is_a_bug() {
        assert_eq!(Failure::new("what").exit(), Exit::Software);
        assert_eq!(Failure::new("what").or_exit(Exit::Io).exit(), Exit::Io);
    }

    #[test]
    fn every_cause_of_an_error_is_in_the_line() {
        let inner = std::io::Error::other("no room");
        let outer = std::io::Error::other(inner);
        assert_eq!(Failure::from(outer).to_string(), "no room");
    }
}
