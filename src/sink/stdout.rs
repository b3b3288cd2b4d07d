//! `Stdout` writes events to standard output, one per line.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use super::{Sink, SinkError};
use crate::error::{Because, Exit, Result};
use crate::pipeline::batch::Batch;
use crate::state::Receiver;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Stdout {
    out: File,
    lines: Vec<u8>,
}

impl Stdout {
    /// Opens the standard output of the process.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn open() -> Result<Stdout> {
        let out = std::io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .context("opening standard output")
            .exit(Exit::Io)?;
        Ok(Stdout {
            out: File::from(out),
            lines: Vec::new(),
        })
    }
}

impl Sink for Stdout {
    fn send(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.lines.clear();
        for (event, _) in batch.iter() {
            self.lines.extend_from_slice(event);
            self.lines.push(b'\n');
        }
        let file = self.out.metadata().ok().filter(Metadata::is_file);
        let Err(error) = self.out.write_all(&self.lines) else {
            return Ok(());
        };
        if error.kind() == ErrorKind::BrokenPipe {
            return Err(SinkError::Closed);
        }
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

    fn receiver(&self) -> Option<Receiver> {
        None
    }
}
