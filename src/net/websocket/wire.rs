//! `Wire` is the connection that the crate `tungstenite` reads and writes.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use crate::clock::Instant;
use crate::error::Failure;
use crate::net::{NetStream, is_wait};
use crate::shutdown::Shutdown;

/// A connection, and when it last brought anything.
#[derive(Debug)]
pub(super) struct Wire {
    stream: NetStream,
    heard: Instant,
    /// Bytes since the handshake.
    received: u64,
    /// When to stop reading: a server may send much that is no message.
    until: Option<Instant>,
}

/// A shared handle, so that the frame reader on top can be replaced.
#[derive(Debug, Clone)]
pub(super) struct Shared(Rc<RefCell<Wire>>);

impl Shared {
    /// From now on, a read that finds nothing returns after `step`. What was begun may be finished
    /// after `shutdown`, within its grace. So many bytes were read together with the handshake.
    pub(super) fn new(
        mut wire: Wire,
        received: usize,
        (step, silence): (Duration, Duration),
        shutdown: &Shutdown,
    ) -> io::Result<Shared> {
        let tcp = wire.stream.tcp();
        tcp.end_exchange();
        tcp.wait_longer(step, silence)?;
        tcp.end_at(shutdown.with_grace());
        wire.heard = Instant::now();
        wire.received = received as u64;
        Ok(Shared(Rc::new(RefCell::new(wire))))
    }

    /// From now on, reads return nothing once this time has passed.
    pub(super) fn read_for(&self, time: Duration) {
        self.0.borrow_mut().until = Some(Instant::now() + time);
    }

    /// How many bytes have come since the handshake.
    pub(super) fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// How long nothing has come.
    pub(super) fn silence(&self) -> Duration {
        self.0.borrow().heard.elapsed()
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Wire {
    pub(super) fn new(stream: NetStream) -> Wire {
        let heard = Instant::now();
        Wire {
            stream,
            heard,
            received: 0,
            until: None,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(ErrorKind::WouldBlock.into());
        }
        match self.stream.read(buffer) {
            Ok(count) => {
                self.heard = Instant::now();
                self.received += count as u64;
                Ok(count)
            }
            // the crate knows only this kind of wait
            Err(error) if is_wait(&error) => Err(ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write_all(bytes);
        written.map_err(|error| io::Error::other(Failure::from(error).to_string()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
