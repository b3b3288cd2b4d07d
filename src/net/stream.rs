//! `NetStream` is a connection with or without TLS.

use std::io::{self, Read, Write};

use super::tls::{Tls, Trust};
use super::{IdleTimeout, NetError, Tcp};
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
    /// Completes the TLS handshake with `to`, if `trust` is given.
    ///
    /// # Errors
    /// As [`Tls::handshake`].
    pub(crate) fn secure(
        tcp: Tcp,
        trust: Option<&Trust>,
        to: &Address,
        idle: IdleTimeout,
    ) -> Result<NetStream, NetError> {
        let Some(trust) = trust else {
            return Ok(NetStream::Plain(tcp));
        };
        let tls = Tls::handshake(tcp, trust, &to.host, idle).map_err(|error| {
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
    pub(crate) fn write_all(
        &mut self,
        bytes: &[u8],
        idle: &mut IdleTimeout,
    ) -> Result<(), NetError> {
        let tcp = match self {
            NetStream::Tls(tls) => return tls.write_all(bytes, idle),
            NetStream::Plain(tcp) => tcp,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match tcp.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) => idle.again(error)?,
            }
        }
        Ok(())
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
