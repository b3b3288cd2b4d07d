//! `clear` is a session without encryption, for the connections of a simulation.
//!
//! A record is a byte for its kind, its length in four bytes, and its content. What ends a session,
//! and what an end proves, is as with TLS.

use std::io::{self, ErrorKind, Read, Write};

use super::session::TlsSession;
use crate::error::Failure;
use crate::net::NetError;

/// Begins a session, in both directions.
const HELLO: u8 = 0;
/// Has bytes of the protocol above.
const DATA: u8 = 1;
/// Says that no more data will come.
const CLOSE_NOTIFY: u8 = 2;
/// Ends a session by an error.
const ALERT: u8 = 3;
/// Length of what stands before the content of a record.
const HEADER: usize = 5;

/// A session of a client.
#[derive(Debug)]
pub(super) struct Clear {
    /// What is to be written.
    out: Vec<u8>,
    /// What was read and has not been looked at.
    taken: Vec<u8>,
    has_shaken_hands: bool,
    peer_has_closed: bool,
}

impl Clear {
    /// A session that begins with its handshake.
    pub(super) fn new() -> Clear {
        let mut session = Clear {
            out: Vec::new(),
            taken: Vec::new(),
            has_shaken_hands: false,
            peer_has_closed: false,
        };
        session.put(HELLO, b"");
        session
    }

    fn put(&mut self, kind: u8, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.out.push(kind);
        self.out.extend(length.to_be_bytes());
        self.out.extend_from_slice(content);
    }

    /// Takes the next whole record, and returns its kind.
    fn next(&mut self) -> Option<u8> {
        let kind = *self.taken.first()?;
        let length = u32::from_be_bytes(*self.taken.get(1..)?.first_chunk()?);
        let end = HEADER + length as usize;
        if self.taken.len() < end {
            return None;
        }
        self.taken.drain(..end);
        Some(kind)
    }
}

impl TlsSession for Clear {
    fn is_handshaking(&self) -> bool {
        !self.has_shaken_hands
    }

    fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    fn write_tls(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        let count = to.write(&self.out)?;
        self.out.drain(..count);
        Ok(count)
    }

    fn read_tls(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let mut piece = [0; 4096];
        let count = from.read(&mut piece)?;
        self.taken.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    fn process(&mut self) -> Result<bool, NetError> {
        while let Some(kind) = self.next() {
            match kind {
                HELLO => self.has_shaken_hands = true,
                DATA => {}
                CLOSE_NOTIFY => self.peer_has_closed = true,
                ALERT => return Err(NetError::Cut(Failure::new("an alert of the peer"))),
                _ => return Err(NetError::Cut(Failure::new("an unknown record"))),
            }
        }
        Ok(self.peer_has_closed)
    }

    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        // the APIs of a simulation are reached over plain HTTP, and a receiver sends no data
        Err(ErrorKind::Unsupported.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(DATA, bytes);
        Ok(())
    }

    fn send_close_notify(&mut self) -> io::Result<()> {
        self.put(CLOSE_NOTIFY, b"");
        Ok(())
    }

    fn version(&self) -> Option<String> {
        None
    }
}
