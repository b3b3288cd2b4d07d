//! `net` makes every connection: it tries addresses in turn, opens tunnels through proxies, adds
//! TLS and limits time.
//!
//! Its waits notice `shutdown`. It knows neither HTTP answers nor events.

pub(crate) mod certificate;
mod error;
pub(crate) mod http;
pub(crate) mod proxy;
mod stream;
pub(crate) mod tcp_state;
pub(crate) mod text;
pub mod tls;
pub(crate) mod websocket;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, TcpStream, ToSocketAddrs};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::config::{self, Address};
use crate::error::{Exit, Failure, Result};
use crate::shutdown::Shutdown;
pub(crate) use error::NetError;
use proxy::Proxies;
pub(crate) use stream::NetStream;
use tcp_state::Watch;
use tls::Trust;

/// How often a blocked read or write returns to check `shutdown` and the time.
const STEP: Duration = Duration::from_millis(100);
/// Longest wait for one address to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// Makes all connections of a run.
#[derive(Debug)]
pub struct Network {
    proxies: Proxies,
    ca: Option<std::path::PathBuf>,
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
            ca: http.ca.clone(),
            timeout: http.timeout,
            public: OnceLock::new(),
        })
    }

    /// Longest silence of a peer.
    #[must_use]
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A timeout that ends at `shutdown`, or when the peer is silent for too long.
    #[must_use]
    pub(crate) fn idle(&self, shutdown: &Shutdown) -> IdleTimeout {
        IdleTimeout {
            shutdown: shutdown.clone(),
            silence: self.timeout,
            since: Instant::now(),
            paused: None,
        }
    }

    /// The system's roots and the configured CA, read on first use.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn public_trust(&self) -> Result<&Trust> {
        if self.public.get().is_none() {
            let trust = Trust::system(self.ca.as_deref())?;
            return Ok(self.public.get_or_init(|| trust));
        }
        self.public.get().ok_or_else(|| Failure::new("roots"))
    }

    /// Connects to `to`, through a proxy if there is one. `scheme` is the protocol, by which the
    /// environment names proxies.
    ///
    /// # Errors
    /// [`NetError::Unreached`] when nobody answers, [`NetError::Lasting`] when the proxy refuses our
    /// credentials.
    pub(crate) fn dial(
        &self,
        to: &Address,
        scheme: &str,
        shutdown: &Shutdown,
    ) -> Result<Tcp, NetError> {
        let Some(proxy) = self.proxies.lookup(scheme, to) else {
            return tcp(to, self.timeout, shutdown)
                .map_err(|error| error.context(format_args!("connecting to {to}")));
        };
        let through = |error: NetError| {
            error.context(format_args!(
                "connecting to {to} through the proxy {}",
                proxy.address
            ))
        };
        let mut tcp = tcp(&proxy.address, self.timeout, shutdown).map_err(through)?;
        proxy
            .open_tunnel(&mut tcp, to, self.idle(shutdown))
            .map_err(|error| through(error.unreached().or_exit(Exit::Unavailable)))?;
        tcp.through_proxy = true;
        Ok(tcp)
    }
}

fn tcp(to: &Address, timeout: Duration, shutdown: &Shutdown) -> Result<Tcp, NetError> {
    let unreached = |message: String, hint: &str| {
        let failure = Failure::new(message).with_exit(Exit::Unavailable);
        NetError::Unreached(failure.with_hint(hint))
    };
    let name = (to.host.as_str(), to.port);
    let addresses = name.to_socket_addrs().map_err(|error| {
        unreached(
            format!("cannot resolve {}: {error}", to.host),
            "check the name and this machine's DNS",
        )
    })?;
    let mut last = None;
    for address in addresses {
        if shutdown.reason().is_some() {
            return Err(NetError::Stopped);
        }
        match TcpStream::connect_timeout(&address, timeout.min(CONNECT)) {
            Ok(stream) => return Ok(Tcp::new(stream)?),
            Err(error) => last = Some((address, error)),
        }
    }
    Err(match last {
        None => unreached(
            format!("{} has no address", to.host),
            "check the name and this machine's DNS",
        ),
        Some((address, error)) => unreached(
            format!("{address}: {error}"),
            match error.kind() {
                ErrorKind::ConnectionRefused => {
                    "check address and port, and that the server runs: nothing listens there"
                }
                _ => "check the address, and the routes and firewalls on the way",
            },
        ),
    })
}

/// A TCP connection whose blocked reads and writes return after [`STEP`] with `WouldBlock`.
#[derive(Debug)]
pub(crate) struct Tcp {
    stream: TcpStream,
    /// Whether an end of file may come from a proxy.
    pub(crate) through_proxy: bool,
}

impl Tcp {
    fn new(stream: TcpStream) -> io::Result<Tcp> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP))?;
        stream.set_write_timeout(Some(STEP))?;
        Ok(Tcp {
            stream,
            through_proxy: false,
        })
    }

    /// Makes a blocked read wait this long; a signal still ends it.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn wait_for(&self, step: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(step))
    }

    /// Reads without waiting.
    fn read_now(
        &mut self,
        read: impl FnOnce(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let result = read(&mut self.stream);
        self.stream.set_nonblocking(false)?;
        result
    }

    /// Whether the peer has neither closed nor sent anything; does not wait.
    #[must_use]
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let peeked = self.read_now(|stream| stream.peek(&mut byte));
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown(net::Shutdown::Write)
    }

    /// Checks for a pending error on the socket, such as a reset.
    ///
    /// # Errors
    /// That error.
    pub(crate) fn pending_error(&self) -> io::Result<()> {
        self.stream.take_error()?.map_or(Ok(()), Err)
    }

    /// A watch on the connection in the kernel, which also works once the peer is gone.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn watch(&self) -> io::Result<Watch> {
        Ok(Watch::new(
            self.stream.local_addr()?,
            self.stream.peer_addr()?,
        ))
    }
}

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends a wait at `shutdown`, or after too long without progress.
#[derive(Debug)]
pub(crate) struct IdleTimeout {
    shutdown: Shutdown,
    silence: Duration,
    since: Instant,
    /// How long the peer had been silent when the wait was paused.
    paused: Option<Duration>,
}

impl IdleTimeout {
    /// Notes progress: the timeout starts again.
    pub(crate) fn progress(&mut self) {
        self.since = Instant::now();
    }

    /// Pauses the timeout while nobody waits for the peer.
    pub(crate) fn pause(&mut self) {
        self.paused = Some(self.since.elapsed());
    }

    /// Continues a paused timeout.
    pub(crate) fn resume(&mut self) {
        if let Some(waited) = self.paused.take() {
            self.since = Instant::now()
                .checked_sub(waited)
                .unwrap_or_else(Instant::now);
        }
    }

    /// Whether to go on after `error`, which a blocked call returned.
    ///
    /// # Errors
    /// `error` itself, unless it only says that nothing has come yet; then [`NetError::Stopped`], or
    /// [`NetError::Silent`] after too long a silence.
    pub(crate) fn again(&self, error: io::Error) -> Result<(), NetError> {
        match is_wait(&error) {
            true => self.check(),
            false => Err(error.into()),
        }
    }

    /// Whether to go on waiting.
    ///
    /// # Errors
    /// [`NetError::Stopped`], or [`NetError::Silent`] after too long a silence.
    pub(crate) fn check(&self) -> Result<(), NetError> {
        if self.shutdown.reason().is_some() {
            return Err(NetError::Stopped);
        }
        if self.since.elapsed() >= self.silence {
            let silence = format!("no progress for {:?}", self.silence);
            return Err(NetError::Silent(Failure::new(silence)));
        }
        Ok(())
    }
}

/// Whether a socket error only says that nothing came within the time that a call waits.
#[must_use]
pub(crate) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // where localhost is also ::1, that address refuses
        let to = Address {
            host: "localhost".into(),
            port,
        };
        assert!(tcp(&to, Duration::from_secs(5), &Shutdown::never()).is_ok());
    }

    #[test]
    fn a_refused_connection_is_unavailable_and_says_what_to_do() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let error = tcp(
            &Address {
                host: "127.0.0.1".into(),
                port,
            },
            CONNECT,
            &Shutdown::never(),
        )
        .unwrap_err();
        let NetError::Unreached(failure) = error else {
            panic!("{error:?}");
        };
        assert_eq!(failure.exit(), Exit::Unavailable);
        assert!(failure.hint().unwrap().contains("nothing listens there"));
    }
}
