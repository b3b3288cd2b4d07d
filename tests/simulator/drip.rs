//! A server that answers everything one byte at a time, and never comes to an end.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::listen::{Listening, loopback};

/// The pause after each byte: no client that limits silence alone ever gives up.
const PAUSE: Duration = Duration::from_millis(20);

/// Such a server on the loopback, until dropped.
pub struct Drip {
    listening: Listening,
    accepted: Arc<AtomicUsize>,
}

impl Drip {
    /// To each client that has said something it sends `start` at once, then a byte of `rest` now and then,
    /// over and over.
    pub fn start(start: &'static [u8], rest: &'static [u8]) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let listening = Listening::on(loopback(false), move |tcp| {
            count.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || drip(tcp, start, rest));
        });
        Self {
            listening,
            accepted,
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.listening.address().to_string()
    }

    /// How many clients have come.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn drip(mut tcp: TcpStream, start: &[u8], rest: &[u8]) -> io::Result<()> {
    tcp.read_exact(&mut [0; 1])?;
    tcp.write_all(start)?;
    for byte in rest.iter().cycle() {
        tcp.write_all(&[*byte])?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
