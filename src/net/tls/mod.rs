//! `tls` runs TLS over a connection: whom to trust, who we are, and what its errors mean.
//!
//! It always verifies the server. `TlsSession` is the protocol, which sees no socket: this module reads and
//! writes the connection for it. So whichever library it comes from, the end of a connection and a reset
//! are seen here. Only this folder names the crate `rustls`, and only `native` the crate `native_tls`.

mod clear;
#[cfg(feature = "native-tls")]
mod native;
mod pem;
mod refusal;
mod roots;
mod session;
mod trust;
mod verifier;

use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use super::{NetError, Tcp, is_wait};
use crate::error::{Exit, Failure, Result};
use crate::pipeline::batch::BATCH;
pub use roots::Roots;
pub(crate) use roots::{Unbundled, unbundled};
use session::TlsSession;
pub use trust::Trust;
pub(super) use trust::certificates;

/// TLS write buffer size, in bytes.
pub(crate) const WRITE: usize = 256 * 1024;
/// Most bytes that a peer with nothing to say may send after the handshake: session tickets and alerts.
const HEARD: usize = 16 * 1024;

/// A TLS connection after its handshake.
#[derive(Debug)]
pub(crate) struct Tls {
    session: Box<dyn TlsSession>,
    /// The TCP connection below.
    pub(crate) tcp: Tcp,
    /// Whether the peer's close_notify was read; only its end of file may follow.
    close_notify: bool,
    /// Bytes that came after the handshake and were dropped.
    heard: usize,
}

/// What the peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerEvent {
    /// Nothing came.
    Nothing,
    /// It sent something that does not end the connection.
    Something,
    /// It sent close_notify: nothing more follows.
    CloseNotify,
    /// It ended without close_notify.
    EndOfFile,
}

impl Tls {
    /// Completes the handshake with `name` over `tcp` within `limit`.
    ///
    /// # Errors
    /// When the peer has a wrong certificate, refuses us or goes away; each with a hint.
    pub(crate) fn handshake(
        tcp: Tcp,
        trust: &Trust,
        name: &str,
        limit: Duration,
    ) -> Result<Tls, NetError> {
        let mut tls = Tls {
            session: trust.session(name)?,
            tcp,
            close_notify: false,
            heard: 0,
        };
        tls.tcp.begin_exchange(limit);
        tls.shake_hands().map_err(|error| {
            let error = error.context(format_args!("TLS handshake with {name}"));
            error.or_exit(Exit::Unavailable).or_hint(
                "check that this port speaks TLS and that the server accepts the client \
                 certificate; set a longer [http] timeout if the server is slow",
            )
        })?;
        tls.tcp.end_exchange();
        if let Some(version) = tls.session.version() {
            log::debug!(target: BATCH, "{name} speaks {version}");
        }
        Ok(tls)
    }

    fn shake_hands(&mut self) -> Result<(), NetError> {
        while self.session.is_handshaking() {
            if self.session.wants_write() {
                self.write_out()?;
                continue;
            }
            match self.session.read_tls(&mut self.tcp) {
                Ok(0) => {
                    let closed = Failure::new("the server closed the connection");
                    return Err(NetError::Cut(closed));
                }
                Ok(_) => {}
                Err(error) if is_wait(&error) => continue,
                Err(error) => return Err(error.into()),
            }
            self.process()?;
        }
        self.write_out()
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// When the peer does not take them or is gone, or the wait ends.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), NetError> {
        for piece in bytes.chunks(WRITE) {
            self.session.write(piece)?;
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), NetError> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what has arrived, without waiting, and drops the data.
    ///
    /// # Errors
    /// An alert, any other TLS error, a reset, more than [`HEARD`] bytes.
    pub(crate) fn listen(&mut self) -> Result<PeerEvent, NetError> {
        loop {
            let session = &mut self.session;
            let read = self.tcp.read_now(|stream| session.read_tls(stream));
            match read {
                Ok(0) => return Ok(PeerEvent::EndOfFile),
                Ok(count) => self.hear(count)?,
                Err(error) if is_wait(&error) => return Ok(PeerEvent::Nothing),
                Err(error) => return Err(error.into()),
            }
            if self.process()? == PeerEvent::CloseNotify {
                return Ok(PeerEvent::CloseNotify);
            }
        }
    }

    /// Sends close_notify completely.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn send_close_notify(&mut self) -> Result<(), NetError> {
        self.session.send_close_notify()?;
        self.write_out()
    }

    /// Ends a connection over which nothing was sent; nobody waits for the peer.
    pub(crate) fn close(mut self) {
        // the peer may be gone
        let _ = self.send_close_notify();
        let _ = self.tcp.shutdown_write();
    }

    /// Reads once, for a moment at most, after our close_notify.
    ///
    /// # Errors
    /// As [`Tls::listen`].
    pub(crate) fn read_event(&mut self) -> Result<PeerEvent, NetError> {
        // after close_notify the session reads no more, but the connection may still be open
        let read = match self.close_notify {
            true => self.tcp.read(&mut [0; 4096]),
            false => self.session.read_tls(&mut self.tcp),
        };
        if let Ok(count) = read {
            self.hear(count)?;
        }
        match read {
            Ok(0) => Ok(PeerEvent::EndOfFile),
            Ok(_) if self.close_notify => Ok(PeerEvent::Something),
            Ok(_) => match self.process()? {
                PeerEvent::Nothing => Ok(PeerEvent::Something),
                event => Ok(event),
            },
            Err(error) if is_wait(&error) => Ok(PeerEvent::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts what a peer sends that has nothing to say.
    fn hear(&mut self, count: usize) -> Result<(), NetError> {
        self.heard += count;
        if self.heard <= HEARD {
            return Ok(());
        }
        let message = format!("it sent more than {HEARD} bytes, but a receiver sends nothing");
        let failure = Failure::new(message);
        Err(NetError::Lasting(failure.with_hint(
            "check [devo] address: another kind of server answers there",
        )))
    }

    /// Decrypts what was read, and drops its data.
    fn process(&mut self) -> Result<PeerEvent, NetError> {
        match self.session.process() {
            Ok(closed) => {
                self.close_notify = closed;
                Ok(match closed {
                    true => PeerEvent::CloseNotify,
                    false => PeerEvent::Nothing,
                })
            }
            Err(error) => {
                // our alert tells the peer the reason; it may no longer listen
                let _ = self.session.write_tls(&mut self.tcp);
                Err(error)
            }
        }
    }
}

/// Reads the peer's data, for HTTP.
impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.session.read_tls(&mut self.tcp)?;
        }
    }
}
