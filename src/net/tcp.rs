//! `Tcp` is a TCP connection that no peer can hold: each call ends the wait itself.
//!
//! A read or write returns after [`STEP`] if nothing can be done, and fails once the run is to end,
//! the peer is silent for too long, or the time of a handshake is over. So no loop can forget to
//! check.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::NetError;
use super::socket::{Socket, Watch};
use crate::clock::{Instant, sleep};
use crate::config::Address;
use crate::error::{Exit, Failure};
use crate::shutdown::Shutdown;
use crate::world;

/// How often a blocked call returns to check whether it may go on.
const STEP: Duration = Duration::from_millis(100);
/// Longest wait for one address to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// A TCP connection whose blocked reads and writes return after [`STEP`] with `WouldBlock`.
#[derive(Debug)]
pub(crate) struct Tcp {
    socket: Socket,
    /// Whether an end of file may come from a proxy.
    pub(crate) through_proxy: bool,
    shutdown: Shutdown,
    /// Longest silence of the peer.
    silence: Duration,
    /// How long calls have waited since the last progress; a time without calls does not count.
    waited: Duration,
    /// When the current exchange must be complete, and its limit.
    until: Option<(Instant, Duration)>,
}

/// Whether the run is to end: not the peer's fault. No call on a socket fails like this by itself.
pub(super) fn is_stop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}

/// Whether a socket error only says that nothing came within the time that a call waits.
#[must_use]
pub(crate) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Tcp {
    /// Connects to `to`, trying its addresses in turn; `timeout` is the longest silence.
    ///
    /// # Errors
    /// [`NetError::Unreached`] when nobody answers, [`NetError::Stopped`].
    pub(super) fn connect(
        to: &Address,
        timeout: Duration,
        shutdown: &Shutdown,
    ) -> Result<Tcp, NetError> {
        let socket = match world::simulated() {
            None => {
                let stream = Tcp::dial(to, timeout, shutdown)?;
                Socket::of(stream.map_err(|error| error.explain(to))?, STEP)?
            }
            Some(world) => {
                let socket = world.connect(&to.host, to.port, timeout.min(CONNECT));
                let refused = |error| ConnectError::Refused(to.to_string(), error).explain(to);
                Socket::simulated(socket.map_err(refused)?, STEP)
            }
        };
        Ok(Tcp {
            socket,
            through_proxy: false,
            shutdown: shutdown.clone(),
            silence: timeout,
            waited: Duration::ZERO,
            until: None,
        })
    }

    /// Tries the addresses in turn.
    fn dial(
        to: &Address,
        timeout: Duration,
        shutdown: &Shutdown,
    ) -> Result<Result<TcpStream, ConnectError>, NetError> {
        let name = (to.host.clone(), to.port);
        let stopped = shutdown.clone();
        on_a_thread(shutdown, move || {
            let addresses = name.to_socket_addrs().map_err(ConnectError::Unresolved)?;
            let mut error = ConnectError::NoAddress;
            for address in addresses {
                match TcpStream::connect_timeout(&address, timeout.min(CONNECT)) {
                    Ok(stream) => return Ok(stream),
                    Err(why) => error = ConnectError::Refused(address.to_string(), why),
                }
                if stopped.reason().is_some() {
                    break;
                }
            }
            Err(error)
        })
    }

    /// Notes progress that no call shows: the silence starts again.
    pub(crate) fn progress(&mut self) {
        self.waited = Duration::ZERO;
    }

    /// Waits without reading.
    ///
    /// # Errors
    /// When the wait ends, as for a read.
    pub(crate) fn pause(&mut self, time: Duration) -> io::Result<()> {
        let paused = self.call(|_| {
            sleep(time);
            Err(ErrorKind::WouldBlock.into())
        });
        match paused {
            Err(error) if !is_wait(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// From now on, calls end with this flag.
    pub(crate) fn end_at(&mut self, shutdown: Shutdown) {
        self.shutdown = shutdown;
    }

    /// Begins an exchange that must be complete within `limit`, however its bytes drip in.
    pub(crate) fn begin_exchange(&mut self, limit: Duration) {
        self.waited = Duration::ZERO;
        self.until = Instant::now().checked_add(limit).map(|end| (end, limit));
    }

    /// The exchange is complete: from now on only silence is limited.
    pub(crate) fn end_exchange(&mut self) {
        self.until = None;
    }

    /// Makes a blocked read wait for `step`, where a signal still ends it, and allows a longer silence.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn wait_longer(&mut self, step: Duration, silence: Duration) -> io::Result<()> {
        self.silence = silence;
        self.socket.set_step(step)
    }

    /// Whether a call may go on.
    fn check(&self) -> io::Result<()> {
        if self.shutdown.reason().is_some() {
            return Err(Errno::CANCELED.into());
        }
        let late = |limit: Duration, what| {
            io::Error::new(ErrorKind::TimedOut, format!("{what} {limit:?}"))
        };
        match self.until {
            Some((end, limit)) if Instant::now() >= end => {
                return Err(late(limit, "not complete after"));
            }
            _ => {}
        }
        match self.waited >= self.silence {
            true => Err(late(self.silence, "no progress for")),
            false => Ok(()),
        }
    }

    /// Makes a call that may block.
    fn call(&mut self, call: impl FnOnce(&mut Socket) -> io::Result<usize>) -> io::Result<usize> {
        self.check()?;
        let started = Instant::now();
        let result = call(&mut self.socket);
        match &result {
            Ok(_) => self.waited = Duration::ZERO,
            Err(error) if is_wait(error) => {
                self.waited += started.elapsed();
                self.check()?;
            }
            Err(_) => {}
        }
        result
    }

    /// Reads without waiting.
    ///
    /// # Errors
    /// As a read.
    pub(super) fn read_now(
        &mut self,
        read: impl FnOnce(&mut Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.check()?;
        self.socket.now(read)
    }

    /// Whether the peer has neither closed nor sent anything; does not wait.
    #[must_use]
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let peeked = self.read_now(|socket| socket.peek(&mut byte));
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    /// Checks for a pending error on the socket, such as a reset.
    ///
    /// # Errors
    /// That error.
    pub(crate) fn pending_error(&self) -> io::Result<()> {
        self.socket.pending_error()
    }

    /// A watch on the connection in the kernel, which also works once the peer is gone.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn watch(&self) -> io::Result<Watch> {
        self.socket.watch()
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// When the peer does not take them or is gone, or the wait ends.
    pub(crate) fn write_whole(&mut self, mut bytes: &[u8]) -> Result<(), NetError> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|socket| socket.read(buffer))
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|socket| socket.write(bytes))
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.call(|socket| socket.write_vectored(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why there is no connection.
enum ConnectError {
    Unresolved(io::Error),
    NoAddress,
    /// The last address, and why it did not take us.
    Refused(String, io::Error),
}

impl ConnectError {
    fn explain(self, to: &Address) -> NetError {
        const DNS: &str = "check the name and this machine's DNS";
        let (message, hint) = match self {
            ConnectError::Unresolved(error) => {
                (format!("cannot resolve {}: {error}", to.host), DNS)
            }
            ConnectError::NoAddress => (format!("{} has no address", to.host), DNS),
            ConnectError::Refused(address, error) => {
                let hint = match error.kind() {
                    ErrorKind::ConnectionRefused => {
                        "check address and port, and that the server runs: nothing listens there"
                    }
                    _ => "check the address, and the routes and firewalls on the way",
                };
                let message = match address == to.to_string() {
                    true => error.to_string(),
                    false => format!("{address}: {error}"),
                };
                (message, hint)
            }
        };
        let failure = Failure::new(message).with_exit(Exit::Unavailable);
        NetError::Unreached(failure.with_hint(hint))
    }
}

/// Waits for `work`, which no flag can end: a look-up of a name may take the system minutes. If the run
/// is to end, the thread is left to itself.
fn on_a_thread<T: Send + 'static>(
    shutdown: &Shutdown,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NetError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("connect".to_owned());
    // nobody may listen any more
    thread.spawn(move || drop(sender.send(work())))?;
    loop {
        if shutdown.reason().is_some() {
            return Err(NetError::stopped());
        }
        match receiver.recv_timeout(STEP) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(NetError::Lasting(Failure::new("a thread panicked")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LONG: Duration = Duration::from_secs(3600);

    /// A connection, and its peer, which does not close it.
    fn connected(silence: Duration, shutdown: &Shutdown) -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Address {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        let tcp = Tcp::connect(&to, silence, shutdown).unwrap();
        (tcp, listener.accept().unwrap().0)
    }

    /// Reads like a loop that checks nothing, with a byte always there.
    fn read_on(tcp: &mut Tcp, peer: &mut TcpStream) -> NetError {
        loop {
            peer.write_all(b"x").unwrap();
            match tcp.read(&mut [0; 1]) {
                Ok(_) => {}
                Err(error) if is_wait(&error) => {}
                Err(error) => return error.into(),
            }
        }
    }

    #[test]
    fn a_peer_that_always_has_a_byte_holds_nobody() {
        let soon = Shutdown::never().after(Some(Duration::from_millis(300)));
        let (mut tcp, mut peer) = connected(LONG, &soon);
        let error = read_on(&mut tcp, &mut peer);
        assert!(matches!(error, NetError::Stopped(_)), "{error:?}");
        for error in [
            tcp.write(b"x").unwrap_err(),
            tcp.read_now(|stream| stream.read(&mut [0])).unwrap_err(),
        ] {
            assert!(is_stop(&error), "{error}");
        }
        let (mut tcp, mut peer) = connected(LONG, &Shutdown::never());
        tcp.begin_exchange(Duration::from_millis(300));
        let error = read_on(&mut tcp, &mut peer);
        assert!(matches!(error, NetError::Silent(_)), "{error:?}");
        tcp.end_exchange();
        assert!(tcp.check().is_ok());
    }

    #[test]
    fn silence_counts_while_a_call_waits_and_bytes_end_it() {
        let (mut tcp, mut peer) = connected(STEP * 3, &Shutdown::never());
        let wait = |tcp: &mut Tcp| tcp.read(&mut [0; 1]).unwrap_err();
        assert!(is_wait(&wait(&mut tcp)));
        assert!(tcp.waited > Duration::ZERO);
        peer.write_all(b"x").unwrap();
        while tcp.read(&mut [0; 1]).is_err() {}
        assert_eq!(tcp.waited, Duration::ZERO);
        let error = loop {
            match wait(&mut tcp) {
                error if is_wait(&error) => {}
                error => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }

    #[test]
    fn a_look_up_that_hangs_ends_with_the_run() {
        let soon = Shutdown::never().after(Some(Duration::from_millis(50)));
        let result = on_a_thread(&soon, || {
            loop {
                thread::park();
            }
        });
        assert!(matches!(result, Err::<(), _>(NetError::Stopped(_))));
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // where localhost is also ::1, that address refuses
        let to = Address {
            host: "localhost".into(),
            port,
        };
        assert!(Tcp::connect(&to, LONG, &Shutdown::never()).is_ok());
    }

    #[test]
    fn an_address_is_said_once_and_each_error_says_what_to_do() {
        let refused = || io::Error::from(ErrorKind::ConnectionRefused);
        let slow = || io::Error::from(ErrorKind::TimedOut);
        let at = |address: &str, error| ConnectError::Refused(address.to_owned(), error);
        let table = [
            (
                "a.example",
                at("192.0.2.1:1", refused()),
                "192.0.2.1:1: connection refused",
                "nothing listens",
            ),
            (
                "192.0.2.1",
                at("192.0.2.1:1", refused()),
                "connection refused",
                "nothing listens",
            ),
            (
                "::1",
                at("[::1]:1", slow()),
                "timed out",
                "routes and firewalls",
            ),
            (
                "a.example",
                ConnectError::NoAddress,
                "a.example has no address",
                "DNS",
            ),
            (
                "a.example",
                ConnectError::Unresolved(slow()),
                "cannot resolve a.example: timed out",
                "DNS",
            ),
        ];
        for (host, error, said, hint) in table {
            let to = Address {
                host: host.into(),
                port: 1,
            };
            let NetError::Unreached(failure) = error.explain(&to) else {
                panic!("{host}");
            };
            assert_eq!(failure.to_string(), said);
            assert_eq!(failure.exit(), Exit::Unavailable);
            assert!(failure.hint().unwrap().contains(hint), "{host}");
        }
    }
}
