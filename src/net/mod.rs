//! `net` makes every connection: it tries addresses in turn, opens tunnels through proxies, adds
//! TLS and limits time.
//!
//! `Tcp` ends each wait, whatever runs over it. It knows neither HTTP answers nor events.

mod body;
pub(crate) mod certificate;
mod error;
pub(crate) mod http;
mod preconnect;
pub(crate) mod proxy;
mod socket;
mod stream;
mod tcp;
pub(crate) mod tcp_state;
pub(crate) mod text;
pub mod tls;
pub(crate) mod websocket;

use std::sync::OnceLock;
use std::time::Duration;

use crate::config::{self, Address};
use crate::error::{Exit, Failure, Result};
use crate::shutdown::Shutdown;
pub(crate) use error::NetError;
pub(crate) use preconnect::Preconnect;
use proxy::Proxies;
pub(crate) use socket::Watch;
pub(crate) use stream::NetStream;
pub(crate) use tcp::{Tcp, is_wait};
use tls::{Roots, Tls, Trust};

/// Makes all connections of a run.
#[derive(Debug)]
pub struct Network {
    proxies: Proxies,
    roots: Roots,
    tls: config::TlsLibrary,
    timeout: Duration,
    public: OnceLock<Trust>,
}

impl Network {
    /// Creates it from the configuration; `env` looks up the usual proxy variables.
    ///
    /// # Errors
    /// When a proxy variable is not the address of a proxy.
    pub fn new(http: &config::HttpConfig, env: impl Fn(&str) -> Option<String>) -> Result<Network> {
        let proxies = Proxies::new(http.proxy.as_ref(), env)?;
        Ok(Network {
            proxies,
            roots: Roots::system(http.ca.as_deref()),
            tls: http.tls,
            timeout: http.timeout,
            public: OnceLock::new(),
        })
    }

    /// Longest silence of a peer.
    #[must_use]
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The system's roots and the configured CA.
    #[must_use]
    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Trust in them for APIs; they are read on first use.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn public_trust(&self) -> Result<&Trust> {
        if self.public.get().is_none() {
            let trust = Trust::api(self.tls, &self.roots)?;
            return Ok(self.public.get_or_init(|| trust));
        }
        self.public.get().ok_or_else(|| Failure::new("roots"))
    }

    /// Connects to `to` by TLS, through a proxy if there is one; its certificate must be for `server_name`.
    ///
    /// # Errors
    /// As [`Network::dial`] and [`Tls::handshake`].
    pub(crate) fn connect_tls(
        &self,
        to: &Address,
        server_name: &str,
        trust: &Trust,
        shutdown: &Shutdown,
    ) -> Result<Tls, NetError> {
        let tcp = self.dial(to, "https", shutdown)?;
        let tls = Tls::handshake(tcp, trust, server_name, self.timeout);
        tls.map_err(|error| error.context(format_args!("connecting to {to}")))
    }

    /// Connects to `to`, through a proxy if there is one. `scheme` is the protocol, by which the
    /// environment names proxies.
    ///
    /// # Errors
    /// [`NetError::Unreached`] when nobody answers, [`NetError::Lasting`] when the proxy refuses our
    /// credentials, [`NetError::Stopped`].
    pub(crate) fn dial(
        &self,
        to: &Address,
        scheme: &str,
        shutdown: &Shutdown,
    ) -> Result<Tcp, NetError> {
        let Some(proxy) = self.proxies.lookup(scheme, to) else {
            return Tcp::connect(to, self.timeout, shutdown)
                .map_err(|error| error.context(format_args!("connecting to {to}")));
        };
        let through = |error: NetError| {
            error.context(format_args!(
                "connecting to {to} through the proxy {}",
                proxy.address
            ))
        };
        let mut tcp = Tcp::connect(&proxy.address, self.timeout, shutdown).map_err(through)?;
        tcp.begin_exchange(self.timeout);
        proxy
            .open_tunnel(&mut tcp, to)
            .map_err(|error| through(error.unreached().or_exit(Exit::Unavailable)))?;
        tcp.through_proxy = true;
        Ok(tcp)
    }
}
