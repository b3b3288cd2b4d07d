//! `NetError` says why a connection failed, by what the caller can do about it.

use std::fmt;
use std::io;

use super::tcp::is_stop;
use crate::error::{Exit, Failure};

/// Why a connection failed.
///
/// Not an [`Error`](std::error::Error): callers decide by its variants, so nothing may hide them.
#[derive(Debug)]
pub(crate) enum NetError {
    /// The run is to end; says what was not done by then.
    Stopped(Failure),
    /// No connection was made. Another attempt may help.
    Unreached(Failure),
    /// The peer was silent for too long. Another attempt may help.
    Silent(Failure),
    /// The connection broke. Another attempt may help.
    Cut(Failure),
    /// The peer refuses us, or something here is configured wrong. Another attempt is useless.
    Lasting(Failure),
}

/// What is said of a wait that the end of the run ended.
pub(super) const STOPPED: &str = "not done when the run was to end";

/// The hint for a peer that was silent.
const SILENT: &str = "set a longer [http] timeout if this repeats; the next run retries, with a shorter \
     window if needed";
/// The hint for a connection that broke.
const CUT: &str = "check the network and proxies on the way if this repeats; the next run retries, with \
     a shorter window if needed";

impl NetError {
    /// Adds the status and the hint of a request that failed on the way.
    #[must_use]
    pub(super) fn explained(self) -> NetError {
        let error = self.or_exit(Exit::Unavailable);
        match error {
            NetError::Silent(_) => error.or_hint(SILENT),
            error => error.or_hint(CUT),
        }
    }

    /// The run is to end.
    #[must_use]
    pub(crate) fn stopped() -> NetError {
        NetError::Stopped(Failure::new(STOPPED))
    }

    fn map(self, change: impl FnOnce(Failure) -> Failure) -> NetError {
        match self {
            NetError::Stopped(failure) => NetError::Stopped(change(failure)),
            NetError::Unreached(failure) => NetError::Unreached(change(failure)),
            NetError::Silent(failure) => NetError::Silent(change(failure)),
            NetError::Cut(failure) => NetError::Cut(change(failure)),
            NetError::Lasting(failure) => NetError::Lasting(change(failure)),
        }
    }

    /// Says what was being done.
    #[must_use]
    pub(crate) fn context(self, doing: impl fmt::Display) -> NetError {
        self.map(|failure| failure.context(doing))
    }

    /// Sets the status, unless one was given.
    #[must_use]
    pub(crate) fn or_exit(self, exit: Exit) -> NetError {
        self.map(|failure| failure.or_exit(exit))
    }

    /// Sets the hint, unless one was given.
    #[must_use]
    pub(crate) fn or_hint(self, hint: &str) -> NetError {
        self.map(|failure| failure.or_hint(hint))
    }

    /// The same for a connection that was not made: what was transient on the way is so now, too.
    #[must_use]
    pub(crate) fn unreached(self) -> NetError {
        match self {
            NetError::Silent(failure) | NetError::Cut(failure) => NetError::Unreached(failure),
            other => other,
        }
    }
}

/// An error of a socket.
impl From<io::Error> for NetError {
    fn from(error: io::Error) -> NetError {
        match error.kind() {
            _ if is_stop(&error) => NetError::stopped(),
            io::ErrorKind::TimedOut => NetError::Silent(error.into()),
            _ => NetError::Cut(error.into()),
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Failure {
        match error {
            NetError::Stopped(failure) => failure.or_exit(Exit::TempFail),
            NetError::Unreached(failure)
            | NetError::Silent(failure)
            | NetError::Cut(failure)
            | NetError::Lasting(failure) => failure,
        }
    }
}
