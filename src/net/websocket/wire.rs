//! `Wire` is the connection that the crate `tungstenite` reads and writes.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::net::{IdleTimeout, NetStream, Network, is_wait};
use crate::shutdown::Shutdown;

/// A connection, and when it last brought anything.
#[derive(Debug)]
pub(super) struct Wire {
    stream: NetStream,
    network: Arc<Network>,
    heard: Instant,
    /// When to stop reading: a server may send much that is no message.
    until: Option<Instant>,
}

/// A shared handle, so that the frame reader on top can be replaced.
#[derive(Debug, Clone)]
pub(super) struct Shared(Rc<RefCell<Wire>>);

impl Shared {
    /// From now on, a read that finds nothing returns after `step`.
    pub(super) fn new(mut wire: Wire, step: Duration) -> io::Result<Shared> {
        wire.stream.tcp().wait_for(step)?;
        wire.heard = Instant::now();
        Ok(Shared(Rc::new(RefCell::new(wire))))
    }

    /// From now on, reads return nothing once this time has passed.
    pub(super) fn read_for(&self, time: Duration) {
        self.0.borrow_mut().until = Some(Instant::now() + time);
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
    pub(super) fn new(stream: NetStream, network: Arc<Network>) -> Wire {
        let heard = Instant::now();
        Wire {
            stream,
            network,
            heard,
            until: None,
        }
    }

    /// Writes are small, and must complete even if the run is about to end.
    fn idle(&self) -> IdleTimeout {
        self.network.idle(&Shutdown::never())
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
        let mut idle = self.idle();
        match self.stream.write_all(bytes, &mut idle) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => Err(io::Error::other(Failure::from(error).to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
