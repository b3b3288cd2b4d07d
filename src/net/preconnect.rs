//! `Preconnect` makes a TLS connection on a thread before it is needed.
//!
//! Nothing depends on it: one that fails, or is not needed soon, is as if it had never been made.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::Network;
use super::tls::{PeerEvent, Tls, Trust};
use crate::config::Address;
use crate::error::Failure;
use crate::shutdown::Shutdown;
use crate::world::simulated;

/// Longest time that the end of a run waits for the goodbye of a connection that is not needed.
const GOODBYE: Duration = Duration::from_millis(100);

/// A connection under way, or ready.
#[derive(Debug)]
pub(crate) struct Preconnect {
    /// Tells the thread whether the connection is wanted.
    is_wanted: Sender<bool>,
    made: Receiver<Box<Tls>>,
}

impl Network {
    /// Begins to connect to `to`, whose certificate must be for `server_name`; `None` where no thread can.
    /// A connection that is not taken within `keep` of its making is closed: peers and load balancers close
    /// one over which nothing comes.
    pub(crate) fn preconnect(
        self: &Arc<Network>,
        to: &Address,
        server_name: &str,
        trust: &Trust,
        keep: Duration,
        shutdown: &Shutdown,
    ) -> Option<Preconnect> {
        if simulated().is_some() {
            return None;
        }
        let (network, to, name) = (Arc::clone(self), to.clone(), server_name.to_owned());
        let (trust, shutdown) = (trust.clone(), shutdown.clone());
        let (is_wanted, wanted) = mpsc::channel();
        let (give, made) = mpsc::channel();
        let connect = move || match network.connect_tls(&to, &name, &trust, &shutdown) {
            Ok(tls) if wanted.recv_timeout(keep) == Ok(true) => {
                // who wants it waits for it
                let _ = give.send(Box::new(tls));
            }
            Ok(unwanted) => unwanted.close(),
            Err(error) => log::debug!("ahead of need: {}", Failure::from(error)),
        };
        let thread = thread::Builder::new().name("preconnect".to_owned());
        let started = thread.spawn(connect);
        started.ok().map(|_| Preconnect { is_wanted, made })
    }
}

impl Preconnect {
    /// The connection, if it can be used; waits until it is made.
    pub(crate) fn ready(self) -> Option<Box<Tls>> {
        self.is_wanted.send(true).ok()?;
        let mut tls = self.made.recv().ok()?;
        if matches!(tls.listen(), Ok(PeerEvent::Nothing)) {
            return Some(tls);
        }
        tls.close();
        None
    }
}

/// One that is not needed ends in good order, if it is made.
impl Drop for Preconnect {
    fn drop(&mut self) {
        if self.is_wanted.send(false).is_ok() {
            // the thread ends, and this wait with it
            let _ = self.made.recv_timeout(GOODBYE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use crate::config::{HttpConfig, TlsLibrary};

    const LONG: Duration = Duration::from_secs(600);

    /// Begins to connect to a server, which stays for one connection. It ends it if it `leaves`; otherwise it
    /// reads, and returns whether close_notify came, and nothing before.
    fn begin(leaves: bool, keep: Duration) -> (Preconnect, JoinHandle<bool>) {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.self_signed(&pair).unwrap();
        std::fs::write(&ca, cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let session = ServerConnection::new(Arc::new(config)).unwrap();
            let mut tls = StreamOwned::new(session, tcp);
            while tls.conn.is_handshaking() {
                tls.conn.complete_io(&mut tls.sock).unwrap();
            }
            !leaves && matches!(tls.read(&mut [0]), Ok(0))
        });
        let http = HttpConfig {
            proxy: None,
            ca: Some(ca),
            tls: TlsLibrary::Rustls,
            timeout: Duration::from_secs(60),
        };
        let network = Arc::new(Network::new(&http, |_| None).unwrap());
        let trust = network.public_trust().unwrap();
        let to = Address {
            host: "localhost".into(),
            port,
        };
        let begun = network.preconnect(&to, "localhost", trust, keep, &Shutdown::never());
        (begun.unwrap(), server)
    }

    #[test]
    fn a_connection_is_ready_and_one_that_the_server_has_left_is_not() {
        let (stays, server) = begin(false, LONG);
        let ready = stays.ready();
        assert!(ready.is_some());
        drop(ready);
        assert!(!server.join().unwrap());
        let (left, server) = begin(true, LONG);
        server.join().unwrap();
        assert!(left.ready().is_none());
    }

    #[test]
    fn one_that_is_not_needed_ends_by_close_notify() {
        let (unneeded, server) = begin(false, LONG);
        drop(unneeded);
        assert!(server.join().unwrap());
    }

    #[test]
    fn one_that_nobody_takes_in_time_ends_by_close_notify_meanwhile() {
        let (forgotten, server) = begin(false, Duration::ZERO);
        assert!(server.join().unwrap());
        assert!(forgotten.ready().is_none());
    }
}
