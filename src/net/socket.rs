//! `socket` makes the calls of `tcp`: to the system, or to the world of a simulation.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::tcp_state::{KernelWatch, View};
use crate::world::{WorldSocket, WorldWatch};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// Of the machine.
    System(TcpStream),
    /// Of a simulation.
    Simulated {
        /// The socket.
        socket: Box<dyn WorldSocket>,
        /// How long its calls wait.
        step: Duration,
    },
}

impl Socket {
    /// A socket of the machine, whose blocked reads and writes return after `step` with `WouldBlock`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn of(stream: TcpStream, step: Duration) -> io::Result<Socket> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(step))?;
        stream.set_write_timeout(Some(step))?;
        Ok(Socket::System(stream))
    }

    /// The same of a simulation.
    pub(super) fn simulated(mut socket: Box<dyn WorldSocket>, step: Duration) -> Socket {
        socket.set_step(step);
        Socket::Simulated { socket, step }
    }

    /// From now on, a blocked read returns after `step`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn set_step(&mut self, step: Duration) -> io::Result<()> {
        match self {
            Socket::System(stream) => stream.set_read_timeout(Some(step)),
            Socket::Simulated { socket, step: own } => {
                *own = step;
                socket.set_step(step);
                Ok(())
            }
        }
    }

    /// Makes a call that does not wait.
    ///
    /// # Errors
    /// Those of the call.
    pub(super) fn now(
        &mut self,
        call: impl FnOnce(&mut Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.set_waiting(false)?;
        let result = call(self);
        self.set_waiting(true)?;
        result
    }

    fn set_waiting(&mut self, waits: bool) -> io::Result<()> {
        match self {
            Socket::System(stream) => stream.set_nonblocking(!waits),
            Socket::Simulated { socket, step } => {
                socket.set_step(if waits { *step } else { Duration::ZERO });
                Ok(())
            }
        }
    }

    /// Copies bytes that a read would return, and leaves them there.
    ///
    /// # Errors
    /// As a read.
    pub(super) fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::System(stream) => stream.peek(buffer),
            Socket::Simulated { socket, .. } => socket.peek(buffer),
        }
    }

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Socket::System(stream) => stream.shutdown(Shutdown::Write),
            Socket::Simulated { socket, .. } => socket.shutdown_write(),
        }
    }

    /// Takes the error that waits at the socket, such as a reset.
    ///
    /// # Errors
    /// That error.
    pub(super) fn pending_error(&self) -> io::Result<()> {
        match self {
            Socket::System(stream) => stream.take_error()?.map_or(Ok(()), Err),
            Socket::Simulated { socket, .. } => socket.take_error(),
        }
    }

    /// A watch on the connection, which also works once the peer is gone.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn watch(&self) -> io::Result<Watch> {
        Ok(match self {
            Socket::System(stream) => {
                Watch::System(KernelWatch::new(stream.local_addr()?, stream.peer_addr()?))
            }
            Socket::Simulated { socket, .. } => Watch::Simulated(socket.watch()),
        })
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::System(stream) => stream.read(buffer),
            Socket::Simulated { socket, .. } => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::System(stream) => stream.write(bytes),
            Socket::Simulated { socket, .. } => socket.write(bytes),
        }
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::System(stream) => stream.write_vectored(bytes),
            Socket::Simulated { socket, .. } => socket.write_vectored(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Watches one connection in the kernel, also after its peer is gone.
#[derive(Debug)]
pub(crate) enum Watch {
    /// Of the machine.
    System(KernelWatch),
    /// Of a simulation.
    Simulated(Arc<dyn WorldWatch>),
}

impl Watch {
    /// `None` if the kernel does not tell, or no longer knows the connection.
    #[must_use]
    pub(crate) fn view(&self) -> Option<View> {
        match self {
            Watch::System(watch) => watch.view(),
            Watch::Simulated(watch) => watch.unacknowledged().map(View::of),
        }
    }
}
