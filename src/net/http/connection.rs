//! `connection` carries the requests of `http` over our own connections.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::config::Address;
use crate::net::tls::Trust;
use crate::net::{NetError, NetStream, Network, is_wait};
use crate::shutdown::Shutdown;

/// What ends a wait; shared with the connections.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) network: Arc<Network>,
    pub(super) trust: Option<Trust>,
    pub(super) shutdown: Shutdown,
    /// Whether a moment of silence returns to the reader: the head of an answer is read in one go.
    pub(super) in_body: AtomicBool,
    /// Whether a connection was made for the request.
    pub(super) connected: AtomicBool,
    /// Whether the request went over a connection kept from the last one, and no byte came back.
    pub(super) kept_unanswered: AtomicBool,
    /// Whether the next request needs a connection of its own.
    pub(super) fresh: AtomicBool,
    /// Why a connection gave control back. The crate's own errors do not tell.
    pub(super) interruption: Mutex<Option<Interruption>>,
}

/// Why a connection gave control back without bytes.
#[derive(Debug)]
pub(super) enum Interruption {
    /// Nothing came for a moment.
    Waiting,
    /// It failed.
    Failed(NetError),
}

#[derive(Debug)]
pub(super) struct Dialer(pub(super) Arc<Waits>);

impl Connector for Dialer {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let uri = details.uri;
        let scheme = uri.scheme_str().unwrap_or("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "http" { 80 } else { 443 });
        self.0.kept_unanswered.store(false, Relaxed);
        let stream = self.0.open(
            scheme,
            &Address {
                host: host.to_owned(),
                port,
            },
        );
        let stream = stream.map_err(|error| {
            self.0.connected.store(false, Relaxed);
            self.0.fail(error)
        })?;
        self.0.connected.store(true, Relaxed);
        self.0.fresh.store(false, Relaxed);
        Ok(Some(Connection {
            stream,
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            waits: Arc::clone(&self.0),
        }))
    }
}

impl Waits {
    fn open(&self, scheme: &str, to: &Address) -> Result<NetStream, NetError> {
        let tcp = self.network.dial(to, scheme, &self.shutdown)?;
        let limit = self.network.timeout();
        NetStream::secure(tcp, self.trust.as_ref(), to, limit).map_err(NetError::unreached)
    }

    /// Keeps why the crate is given an error.
    fn interrupt(&self, why: Interruption) -> ureq::Error {
        let interruption = self.interruption.lock();
        *interruption.unwrap_or_else(PoisonError::into_inner) = Some(why);
        ureq::Error::Io(ErrorKind::WouldBlock.into())
    }

    fn fail(&self, error: NetError) -> ureq::Error {
        self.interrupt(Interruption::Failed(error))
    }

    /// Why the crate was last given an error.
    pub(super) fn take(&self) -> Option<Interruption> {
        let interruption = self.interruption.lock();
        interruption.unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: NetStream,
    buffers: LazyBuffers,
    waits: Arc<Waits>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let bytes = &self.buffers.output()[..amount];
        // the head of an answer must be complete in time, the body may take long
        let limit = self.waits.network.timeout();
        self.stream.tcp().begin_exchange(limit);
        let written = self.stream.write_all(bytes);
        written.map_err(|error| self.waits.fail(error))
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let in_body = self.waits.in_body.load(Relaxed);
        if in_body {
            self.stream.tcp().end_exchange();
        }
        loop {
            let free = self.buffers.input_append_buf();
            match self.stream.read(free) {
                Ok(count) => {
                    if count > 0 {
                        self.waits.kept_unanswered.store(false, Relaxed);
                    }
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if is_wait(&error) && in_body => {
                    return Err(self.waits.interrupt(Interruption::Waiting));
                }
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(self.waits.fail(error.into())),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // an unexpected TLS record may be a ticket or a close_notify: a new connection is safer
        !self.waits.fresh.load(Relaxed) && self.stream.tcp().is_quiet()
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, NetStream::Tls(_))
    }
}

/// Resolves nothing: names are resolved when connecting, perhaps by the proxy.
#[derive(Debug)]
pub(super) struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
