//! `Stdout` writes events to standard output, one per line.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use super::{Sink, SinkError};
use crate::config::Confirmation;
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::net::is_wait;
use crate::pipeline::batch::Batch;
use crate::shutdown::Shutdown;
use crate::state::Receiver;

/// Bytes that a pipe takes without a wait once it takes any (PIPE_BUF of Linux).
const PIECE: usize = 4096;
/// How often a reader that takes nothing is asked again.
const STEP: Duration = Duration::from_millis(100);

/// Standard output.
#[derive(Debug)]
pub(crate) struct Stdout {
    out: File,
    lines: Vec<u8>,
    shutdown: Shutdown,
}

impl Stdout {
    /// Opens the standard output of the process. `shutdown` ends the wait for a reader that takes nothing.
    ///
    /// # Errors
    /// When it is closed, or cannot be written to.
    pub(crate) fn open(shutdown: Shutdown) -> Result<Stdout> {
        let out = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let out = out.and_then(|out| is_closed(&out).map(|is_closed| (out, is_closed)));
        let (out, is_closed) = out.context("opening standard output").exit(Exit::Io)?;
        if is_closed {
            return fail(Exit::Io, "standard output is closed, so events would go nowhere").hint(
                "leave out >&-, or redirect to a file, a pipe or >/dev/null, which is opened for writing alone",
            );
        }
        Ok(Stdout {
            out,
            lines: Vec::new(),
            shutdown,
        })
    }

    /// Writes to a program or a terminal, piece by piece, so that no write blocks.
    fn write_to_reader(&self) -> io::Result<Written> {
        let step = Timespec::try_from(STEP).map_err(io::Error::other)?;
        let mut left = self.lines.as_slice();
        while !left.is_empty() {
            let mut out = [PollFd::new(&self.out, PollFlags::OUT)];
            // a reader that takes a little now and then must not hold the run
            if self.shutdown.reason().is_some() {
                return Ok(Written::Stopped);
            }
            match poll(&mut out, Some(&step)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match (&self.out).write(&left[..left.len().min(PIECE)]) {
                Ok(written) => left = &left[written..],
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
    }
}

/// Whether there was no standard output when the program began, or one that cannot be written to.
///
/// Before `main`, std opens /dev/null for reading and writing in the place of a closed one. Shells
/// open theirs for writing alone.
fn is_closed(out: &File) -> io::Result<bool> {
    let mode = fcntl_getfl(out)? & OFlags::ACCMODE;
    let is_null = || -> io::Result<bool> {
        let [ours, null] = [out.metadata()?, std::fs::metadata("/dev/null")?];
        Ok(ours.file_type().is_char_device() && ours.rdev() == null.rdev())
    };
    Ok(mode == OFlags::RDONLY || mode == OFlags::RDWR && is_null()?)
}

/// What became of writing to a reader.
enum Written {
    All,
    /// The run is to end, and the reader takes no more.
    Stopped,
}

impl Sink for Stdout {
    fn send(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.lines.clear();
        for (event, _) in batch.iter() {
            self.lines.extend_from_slice(event);
            self.lines.push(b'\n');
        }
        let file = self.out.metadata().ok().filter(Metadata::is_file);
        let written = match file {
            Some(_) => self.out.write_all(&self.lines).map(|()| Written::All),
            None => self.write_to_reader(),
        };
        let error = match written {
            Ok(Written::All) => return Ok(()),
            Ok(Written::Stopped) => {
                let failure = Failure::new("the reader of standard output takes no more");
                return Err(SinkError::Stopped(failure.with_exit(Exit::Io)));
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(SinkError::Closed),
            Err(error) => error,
        };
        if let Some(file) = file {
            // half a line would spoil the first one of the next run; if this fails, it stays
            let _ = self.out.set_len(file.len());
        }
        Err(error)
            .context("writing to standard output")
            .exit(Exit::Io)
            .hint("free some space, or write elsewhere; the next run writes the rest")
            .map_err(SinkError::Unconfirmed)
    }

    fn confirm(&mut self) -> Result<(), SinkError> {
        match self.out.sync_data() {
            // pipes and terminals cannot be synced: the kernel or the reader has the events
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            result => result
                .context("syncing standard output")
                .exit(Exit::Io)
                .map_err(SinkError::Unconfirmed),
        }
    }

    fn confirmed_by(&self) -> Option<Confirmation> {
        None
    }

    fn receiver(&self) -> Option<Receiver> {
        None
    }
}
