//! A connection with or without TLS.

use std::io::{self, Read, Write};

use anyhow::{Context, Result};

use super::tls::{Tls, Trust};
use super::{IdleTimeout, Tcp};
use crate::config::Address;
use crate::error::{Because, Exit};

/// A connection over which a protocol is spoken.
#[derive(Debug)]
pub(crate) enum NetStream {
    /// Without TLS, which the configuration allows for loopback addresses alone.
    Plain(Tcp),
    /// With it.
    Tls(Box<Tls>),
}

impl NetStream {
    /// Completes the TLS handshake with `to` over a connection, if there is somebody to trust.
    ///
    /// # Errors
    /// As [`Tls::handshake`].
    pub(crate) fn secure(
        tcp: Tcp,
        trust: Option<&Trust>,
        to: &Address,
        idle: IdleTimeout,
    ) -> Result<NetStream> {
        let Some(trust) = trust else {
            return Ok(NetStream::Plain(tcp));
        };
        let tls = Tls::handshake(tcp, trust, &to.host, idle)
            .or_exit(Exit::Unavailable)
            .with_context(|| format!("connecting to {to}"))?;
        Ok(NetStream::Tls(Box::new(tls)))
    }

    /// What it runs over.
    pub(crate) fn tcp(&mut self) -> &mut Tcp {
        match self {
            NetStream::Plain(tcp) => tcp,
            NetStream::Tls(tls) => &mut tls.tcp,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the peer does not take it, is gone, or the wait ends.
    pub(crate) fn write_all(&mut self, bytes: &[u8], idle: &mut IdleTimeout) -> Result<()> {
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
