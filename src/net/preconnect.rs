//! `Preconnect` makes a TLS connection on a thread before it is needed.
//!
//! Nothing depends on it: one that fails, or is not needed soon, is as if it had never been made.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::Network;
use super::tls::{PeerEvent, Tls, Trust};
use crate::clock::Instant;
use crate::config::Address;
use crate::error::Failure;
use crate::shutdown::Shutdown;
use crate::world::simulated;

/// How long a connection may wait for its use: servers and load balancers close one over which nothing
/// comes, but none so soon.
const FRESH: Duration = Duration::from_secs(5);

/// A connection under way, or ready.
#[derive(Debug)]
pub(crate) struct Preconnect(Receiver<(Box<Tls>, Instant)>);

impl Network {
    /// Begins to connect to `to`, whose certificate must be for `server_name`; `None` where no thread can.
    pub(crate) fn preconnect(
        self: &Arc<Network>,
        to: &Address,
        server_name: &str,
        trust: &Trust,
        shutdown: &Shutdown,
    ) -> Option<Preconnect> {
        if simulated().is_some() {
            return None;
        }
        let (network, to, name) = (Arc::clone(self), to.clone(), server_name.to_owned());
        let (trust, shutdown) = (trust.clone(), shutdown.clone());
        let (sender, receiver) = mpsc::sync_channel(1);
        let connect = move || {
            let tcp = network.dial(&to, "https", &shutdown);
            let limit = network.timeout();
            match tcp.and_then(|tcp| Tls::handshake(tcp, &trust, &name, limit)) {
                Ok(tls) => {
                    if let Err(unwanted) = sender.send((Box::new(tls), Instant::now())) {
                        unwanted.0.0.close();
                    }
                }
                Err(error) => log::debug!("connecting to {to} ahead: {}", Failure::from(error)),
            }
        };
        let thread = thread::Builder::new().name("preconnect".to_owned());
        thread.spawn(connect).ok().map(|_| Preconnect(receiver))
    }
}

impl Preconnect {
    /// The connection, if it can be used; waits until it is made.
    pub(crate) fn ready(self) -> Option<Box<Tls>> {
        let (mut tls, made) = self.0.recv().ok()?;
        if made.elapsed() < FRESH && matches!(tls.listen(), Ok(PeerEvent::Nothing)) {
            return Some(tls);
        }
        tls.close();
        None
    }
}

/// One that is not needed ends in good order.
impl Drop for Preconnect {
    fn drop(&mut self) {
        if let Ok((tls, _)) = self.0.try_recv() {
            tls.close();
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

    /// Begins to connect to a server, which stays for one connection. It ends it if it `leaves`; otherwise it
    /// reads, and returns whether close_notify came, and nothing before.
    fn begin(leaves: bool) -> (Preconnect, JoinHandle<bool>) {
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
        let begun = network.preconnect(&to, "localhost", trust, &Shutdown::never());
        (begun.unwrap(), server)
    }

    #[test]
    fn a_connection_is_ready_and_one_that_the_server_has_left_is_not() {
        let (stays, server) = begin(false);
        let ready = stays.ready();
        assert!(ready.is_some());
        drop(ready);
        assert!(!server.join().unwrap());
        let (left, server) = begin(true);
        server.join().unwrap();
        assert!(left.ready().is_none());
    }

    #[test]
    fn one_that_is_not_needed_ends_by_close_notify() {
        let (unneeded, server) = begin(false);
        drop(unneeded);
        assert!(server.join().unwrap());
    }
}
