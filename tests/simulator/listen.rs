//! A listening socket whose accepting ends when it is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Accepts until dropped; the socket is closed when the drop returns.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Gives each connection, in the order in which they come, to `accepted`, which returns at once.
    pub fn on(listener: TcpListener, mut accepted: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || {
            for tcp in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(tcp) = tcp {
                    tcp.set_nodelay(true).ok();
                    accepted(tcp);
                }
            }
        });
        Self {
            address,
            over,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // `accept` wakes by a connection only
        let woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            thread.join().ok();
        }
    }
}

/// A free port of the loopback.
pub fn loopback(ipv6: bool) -> TcpListener {
    let host = if ipv6 { "::1" } else { "127.0.0.1" };
    TcpListener::bind((host, 0)).expect("binding a port of the loopback")
}

/// This port of 127.0.0.1, or a free one for 0.
pub fn port(number: u16) -> io::Result<TcpListener> {
    socket(Ipv4Addr::LOCALHOST, number)
}

/// This port of this address.
pub fn socket(address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let bound = TcpListener::bind((address, port));
    bound.map_err(|error| io::Error::new(error.kind(), format!("{address}:{port}: {error}")))
}
