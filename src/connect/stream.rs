//! A connection with or without TLS.

use std::io::{self, Read, Write};

use anyhow::{Context, Result};

use super::tls::{Tls, Trust};
use super::{Patience, Tcp};
use crate::config::Address;
use crate::exit::{Because, Exit};

/// A connection over which a protocol is spoken.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS, which the configuration allows for loopback addresses alone.
    Plain(Tcp),
    /// With it.
    Tls(Box<Tls>),
}

impl Stream {
    /// Completes the TLS handshake with `to` over a connection, if there is somebody to trust.
    ///
    /// # Errors
    /// As [`Tls::handshake`].
    pub fn secure(
        tcp: Tcp,
        trust: Option<&Trust>,
        to: &Address,
        patience: Patience,
    ) -> Result<Stream> {
        let Some(trust) = trust else {
            return Ok(Stream::Plain(tcp));
        };
        let tls = Tls::handshake(tcp, trust, &to.host, patience)
            .or_exit(Exit::Unavailable)
            .with_context(|| format!("connecting to {to}"))?;
        Ok(Stream::Tls(Box::new(tls)))
    }

    /// What it runs over.
    pub fn tcp(&mut self) -> &mut Tcp {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &mut tls.tcp,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the peer does not take it, is gone, or the wait ends.
    pub fn write_all(&mut self, bytes: &[u8], patience: &mut Patience) -> Result<()> {
        let tcp = match self {
            Stream::Tls(tls) => return tls.write_all(bytes, patience),
            Stream::Plain(tcp) => tcp,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match tcp.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) => patience.again(error)?,
            }
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}
