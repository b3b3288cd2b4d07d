//! `terminal` reads what a person types, hidden where it is a secret.
//!
//! Our own, since a signal in the middle must give the terminal its echo back.

use std::io::{self, BufRead, Stdin};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::shutdown::Shutdown;

/// Time between two looks for a signal.
const STEP: Duration = Duration::from_millis(100);

/// Whether what is typed is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Shown,
    Hidden,
}

/// The terminal at standard input.
#[derive(Debug)]
pub(crate) struct Terminal {
    stdin: Stdin,
    shutdown: Shutdown,
}

impl Terminal {
    /// Reads from standard input; from now on SIGINT and SIGTERM end a question, not the process.
    ///
    /// # Errors
    /// When the handlers of signals cannot be installed.
    pub(crate) fn open() -> io::Result<Terminal> {
        Ok(Terminal {
            stdin: io::stdin(),
            shutdown: Shutdown::on_signals()?,
        })
    }

    /// Reads one line, without its end; `None` at the end of input, or when a signal came. `question` is
    /// called once nothing is shown any more, so that no answer comes too early.
    ///
    /// # Errors
    /// When it cannot be read, or the terminal cannot be told to hide it.
    pub(crate) fn line(&self, echo: Echo, question: impl FnOnce()) -> io::Result<Option<String>> {
        let _hidden = match echo {
            Echo::Hidden => Some(HiddenEcho::start(&self.stdin)?),
            Echo::Shown => None,
        };
        question();
        if !self.wait()? {
            return Ok(None);
        }
        // a terminal gives one whole line at a time, so this neither waits nor takes more
        let mut line = String::new();
        let length = self.stdin.lock().read_line(&mut line)?;
        let text = line.trim_end_matches(['\n', '\r']);
        Ok((length > 0).then(|| text.to_owned()))
    }

    /// Waits until there is a line; whether there is one.
    fn wait(&self) -> io::Result<bool> {
        let limit = Timespec::try_from(STEP).map_err(io::Error::other)?;
        while self.shutdown.reason().is_none() {
            let mut stdin = [PollFd::new(&self.stdin, PollFlags::IN)];
            match poll(&mut stdin, Some(&limit)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

/// A terminal that shows the end of a line only, until this is dropped.
struct HiddenEcho<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl HiddenEcho<'_> {
    fn start(stdin: &Stdin) -> io::Result<HiddenEcho<'_>> {
        let before = tcgetattr(stdin)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(stdin, OptionalActions::Now, &hidden)?;
        Ok(HiddenEcho { stdin, before })
    }
}

impl Drop for HiddenEcho<'_> {
    fn drop(&mut self) {
        // a terminal that has gone needs no echo
        let _ = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}
