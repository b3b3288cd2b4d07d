//! `TlsSession` is the protocol of one connection without the connection: encrypted bytes in and out.

use std::fmt;
use std::io::{self, Read, Write};

use rustls::{CertificateError, ClientConnection};

use super::WRITE;
use super::refusal::{self, PeerHints};
use super::verifier::SelfSigned;
use crate::error::{Exit, Failure};
use crate::net::NetError;

/// A TLS session of a client.
pub(super) trait TlsSession: fmt::Debug + Send + Sync {
    /// Whether the handshake is not complete.
    fn is_handshaking(&self) -> bool;

    /// Whether bytes for the peer wait to be written.
    fn wants_write(&self) -> bool;

    /// Writes bytes for the peer.
    ///
    /// # Errors
    /// Those of `to`.
    fn write_tls(&mut self, to: &mut dyn Write) -> io::Result<usize>;

    /// Takes bytes of the peer; 0 is the end of the connection.
    ///
    /// # Errors
    /// Those of `from`.
    fn read_tls(&mut self, from: &mut dyn Read) -> io::Result<usize>;

    /// Goes on with what was taken, and drops its data. Returns whether the peer's close_notify came.
    ///
    /// # Errors
    /// An alert, or any other error of TLS.
    fn process(&mut self) -> Result<bool, NetError>;

    /// Decrypts data of the peer; 0 comes after its close_notify alone.
    ///
    /// # Errors
    /// `WouldBlock` if more bytes must be taken, `UnexpectedEof` if there are no more; an error of TLS.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Encrypts at most [`WRITE`] bytes.
    ///
    /// # Errors
    /// When the session has failed.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes a close_notify for the peer.
    ///
    /// # Errors
    /// When the session has failed.
    fn send_close_notify(&mut self) -> io::Result<()>;

    /// The version of TLS, if the library tells.
    fn version(&self) -> Option<String>;
}

/// A session of rustls.
#[derive(Debug)]
pub(super) struct Rustls {
    session: ClientConnection,
    hints: &'static PeerHints,
}

impl Rustls {
    pub(super) fn new(mut session: ClientConnection, hints: &'static PeerHints) -> Rustls {
        session.set_buffer_limit(Some(WRITE));
        Rustls { session, hints }
    }
}

impl TlsSession for Rustls {
    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    fn write_tls(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        self.session.write_tls(to)
    }

    fn read_tls(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        self.session.read_tls(from)
    }

    fn process(&mut self) -> Result<bool, NetError> {
        let state = self.session.process_new_packets();
        let state = state.map_err(|error| explain(error, self.hints))?;
        if !self.session.is_handshaking() {
            let mut waste = [0; 4096];
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                left -= self.session.reader().read(&mut waste)?.min(left);
            }
        }
        Ok(state.peer_has_closed())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session
            .process_new_packets()
            .map_err(io::Error::other)?;
        self.session.reader().read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(bytes)
    }

    fn send_close_notify(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        Ok(())
    }

    fn version(&self) -> Option<String> {
        let version = self.session.protocol_version();
        version.map(|version| format!("{version:?}"))
    }
}

/// Adds status and hint to a TLS error.
fn explain(error: rustls::Error, hints: &PeerHints) -> NetError {
    use rustls::Error as E;
    if let Some(kind) = SelfSigned::of(&error) {
        let hint = match kind {
            SelfSigned::Unknown => hints.self_signed,
            SelfSigned::Authority => {
                "ask the operator of the server for a certificate of a CA, or one that is made with \
                 openssl req -x509 -addext basicConstraints=critical,CA:FALSE"
            }
        };
        let failure = Failure::from(kind).with_exit(Exit::Unavailable);
        return NetError::Lasting(failure.with_hint(hint));
    }
    let hint = match &error {
        E::AlertReceived(alert) => match refusal::of_alert(*alert) {
            Some((exit, hint)) => {
                let failure = Failure::from(error).with_exit(exit);
                return NetError::Lasting(failure.with_hint(hint));
            }
            None => return NetError::Cut(error.into()),
        },
        E::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => refusal::EXPIRED,
        E::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => refusal::NOT_YET,
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => hints.other_name,
        E::InvalidCertificate(CertificateError::UnknownIssuer) => refusal::UNKNOWN_ISSUER,
        E::InvalidCertificate(_) => refusal::INVALID,
        E::InvalidMessage(_) => refusal::NO_TLS,
        E::PeerIncompatible(_) => refusal::INCOMPATIBLE,
        _ => return NetError::Cut(error.into()),
    };
    let failure = Failure::from(error).with_exit(Exit::Unavailable);
    NetError::Lasting(failure.with_hint(hint))
}
