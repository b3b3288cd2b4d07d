//! `Link` is a connection with a delay in front of a server of this machine, without a limit of its rate.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Passes on the bytes of each connection, each way after half a round trip.
///
/// What a client sends first waits for a round trip more, as the handshake of TCP takes one: on the
/// loopback it takes none. That the kernel acknowledges at once stays.
pub(crate) struct Link {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Link {
    /// In front of the server at `to`, such as `localhost:443`; until the process ends.
    pub(crate) fn start(to: &str, round_trip: Duration) -> Link {
        let to = to.to_socket_addrs().expect("an address");
        let to: Vec<SocketAddr> = to.filter(SocketAddr::is_ipv4).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counted.fetch_add(1, SeqCst);
                let server = TcpStream::connect(to.as_slice()).expect("the server listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("an open socket");
                }
                let ends = (clone(&client), clone(&server));
                pass_on(ends.0, ends.1, round_trip / 2, round_trip);
                pass_on(server, client, round_trip / 2, Duration::ZERO);
            }
        });
        Link {
            address,
            connections,
        }
    }

    /// The port of 127.0.0.1 where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections there were since this was asked last.
    pub(crate) fn take_connections(&self) -> usize {
        self.connections.swap(0, SeqCst)
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor is free")
}

/// Passes on in one direction, each byte `delay` after it came, and all of them `first` later. The end
/// of the connection is passed on as well.
fn pass_on(mut from: TcpStream, to: TcpStream, delay: Duration, first: Duration) {
    let (sender, receiver) = mpsc::channel();
    let begun = Instant::now();
    thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            let due = (Instant::now() + delay).max(begun + first + delay);
            let is_over = read == 0;
            if sender.send((due, buffer[..read].to_vec())).is_err() || is_over {
                return;
            }
        }
    });
    thread::spawn(move || write_on(&receiver, to));
}

fn write_on(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
