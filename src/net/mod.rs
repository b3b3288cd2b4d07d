//! `net` makes every connection: it tries addresses in turn, opens tunnels through proxies, adds
//! TLS and limits time.
//!
//! Its waits notice `shutdown`. It knows neither HTTP answers nor events.

pub(crate) mod certificate;
pub(crate) mod http;
pub(crate) mod proxy;
mod stream;
pub(crate) mod tcp_state;
pub(crate) mod text;
pub mod tls;
pub(crate) mod websocket;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, TcpStream, ToSocketAddrs};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::config::{self, Address};
use crate::error::{Because, Exit, fail};
use crate::shutdown::Shutdown;
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
        self.public.get().context("roots")
    }

    /// Connects to `to`, through a proxy if there is one. `scheme` is the protocol, by which the
    /// environment names proxies.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] when nobody answers, [`Exit::NoPerm`] when the proxy refuses our
    /// credentials, [`Stopped`] when `shutdown` was raised.
    pub(crate) fn dial(&self, to: &Address, scheme: &str, shutdown: &Shutdown) -> Result<Tcp> {
        let Some(proxy) = self.proxies.lookup(scheme, to) else {
            return tcp(to, self.timeout, shutdown).with_context(|| format!("connecting to {to}"));
        };
        let through = || format!("connecting to {to} through the proxy {}", proxy.address);
        let mut tcp = tcp(&proxy.address, self.timeout, shutdown).with_context(through)?;
        proxy
            .open_tunnel(&mut tcp, to, self.idle(shutdown))
            .with_context(through)?;
        tcp.through_proxy = true;
        Ok(tcp)
    }
}

fn tcp(to: &Address, timeout: Duration, shutdown: &Shutdown) -> Result<Tcp> {
    let addresses = (to.host.as_str(), to.port)
        .to_socket_addrs()
        .map_err(|error| anyhow::anyhow!("cannot resolve {}: {error}", to.host))
        .exit(Exit::Unavailable)
        .hint("check the name and this machine's DNS")?;
    let mut last = None;
    for address in addresses {
        if shutdown.reason().is_some() {
            bail!(Stopped);
        }
        match TcpStream::connect_timeout(&address, timeout.min(CONNECT)) {
            Ok(stream) => return Ok(Tcp::new(stream)?),
            Err(error) => last = Some((address, error)),
        }
    }
    let Some((address, error)) = last else {
        return fail(Exit::Unavailable, format!("{} has no address", to.host));
    };
    let refused = error.kind() == ErrorKind::ConnectionRefused;
    let result = Err(error)
        .with_context(|| format!("{address}"))
        .exit(Exit::Unavailable);
    match refused {
        true => {
            result.hint("check address and port, and that the server runs: nothing listens there")
        }
        false => result.hint("check the address, and the routes and firewalls on the way"),
    }
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
    /// `error` itself, unless it only says that nothing has come yet; then [`Stopped`], or
    /// `TimedOut` after too long a silence.
    pub(crate) fn again(&self, error: io::Error) -> io::Result<()> {
        if !is_wait(&error) {
            return Err(error);
        }
        if self.shutdown.reason().is_some() {
            return Err(io::Error::other(Stopped));
        }
        if self.since.elapsed() >= self.silence {
            let silence = format!("no progress for {:?}", self.silence);
            return Err(io::Error::new(ErrorKind::TimedOut, silence));
        }
        Ok(())
    }
}

/// Whether a socket error only says that nothing came within the time that a call waits.
#[must_use]
pub(crate) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The run is to end; there is no failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// Whether this is the cause of `error`.
    #[must_use]
    pub(crate) fn is_in(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| {
            let io = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            cause.is::<Stopped>() || io.is_some_and(|inner| inner.is::<Stopped>())
        })
    }
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
        assert_eq!(Exit::of(&error), Exit::Unavailable);
        assert!(
            error
                .downcast_ref::<crate::error::Hint>()
                .unwrap()
                .0
                .contains("nothing listens there")
        );
    }
}
