//! `NetStream` is a connection with or without TLS.

use std::io::{self, Read};
use std::time::Duration;

use super::tls::{Tls, Trust};
use super::{NetError, Tcp};
use crate::config::Address;
use crate::error::Exit;

/// A connection that a protocol runs over.
#[derive(Debug)]
pub(crate) enum NetStream {
    /// Without TLS, which the configuration allows for loopback addresses only.
    Plain(Tcp),
    /// With TLS.
    Tls(Box<Tls>),
}

impl NetStream {
    /// Completes the TLS handshake with `to` within `limit`, if `trust` is given.
    ///
    /// # Errors
    /// As [`Tls::handshake`].
    pub(crate) fn secure(
        tcp: Tcp,
        trust: Option<&Trust>,
        to: &Address,
        limit: Duration,
    ) -> Result<NetStream, NetError> {
        let Some(trust) = trust else {
            return Ok(NetStream::Plain(tcp));
        };
        let tls = Tls::handshake(tcp, trust, &to.host, limit).map_err(|error| {
            let error = error.or_exit(Exit::Unavailable);
            error.context(format_args!("connecting to {to}"))
        })?;
        Ok(NetStream::Tls(Box::new(tls)))
    }

    /// The TCP connection below.
    pub(crate) fn tcp(&mut self) -> &mut Tcp {
        match self {
            NetStream::Plain(tcp) => tcp,
            NetStream::Tls(tls) => &mut tls.tcp,
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// When the peer does not take them or is gone, or the wait ends.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), NetError> {
        match self {
            NetStream::Plain(tcp) => tcp.write_whole(bytes),
            NetStream::Tls(tls) => tls.write_all(bytes),
        }
    }
}

impl Read for NetStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            NetStream::Plain(tcp) => tcp.read(buffer),
            NetStream::Tls(tls) => tls.read(buffer),
        }
    }
}
