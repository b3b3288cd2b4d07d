//! A relay that looks at nothing: it receives over HTTP, encrypts with AES-256-GCM, and sends. What a program that
//! delivers confirmed and once takes more than this is the price of that.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use base64::{Engine, prelude::BASE64_STANDARD};
use proofpull::clock::utc;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use time::{Duration, OffsetDateTime};

use super::super::simulator::{Certs, PRINCIPAL, Pair, SECRET, server_config};
use super::{Cost, run};

/// Says that this process is the relay, and names the API, the receiver and its authority.
const ROLE: &str = "PROOFPULL_BENCH_RELAY";
/// Read buffer size, as the program's.
const PIECE: usize = 128 * 1024;

/// Relays, if this process was started for that.
pub(crate) fn is_relay() -> bool {
    let Ok(role) = std::env::var(ROLE) else {
        return false;
    };
    let [api, receiver, ca] = &role.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{role:?} names no relay");
    };
    relay(api, receiver, ca.into());
    true
}

/// What a relay from this API, of plain HTTP, takes.
pub(crate) fn measure(api: &str, certs: &Certs) -> Cost {
    let receiver = start_receiver(certs);
    let role = format!("{api} {receiver} {}", certs.ca().display());
    let this = std::env::current_exe().expect("this program");
    run(Command::new(this).env(ROLE, role)).1
}

fn relay(api: &str, receiver: &str, ca: PathBuf) {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).expect("a CA");
    roots.add(ca).expect("a CA");
    let all = ring::default_provider().cipher_suites.into_iter();
    let wanted = "TLS13_AES_256_GCM_SHA384";
    let provider = CryptoProvider {
        cipher_suites: all
            .filter(|suite| suite.suite().as_str() == Some(wanted))
            .collect(),
        ..ring::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("it has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    session.set_buffer_limit(None);
    let mut out = TcpStream::connect(receiver).expect("the receiver");
    let mut api = ask(api);
    let mut piece = vec![0; PIECE];
    loop {
        let count = api.read(&mut piece).expect("the answer");
        if count == 0 {
            break;
        }
        session.writer().write_all(&piece[..count]).expect("room");
        session.complete_io(&mut out).expect("the receiver");
    }
    session.send_close_notify();
    session.complete_io(&mut out).expect("the receiver");
    // it closes once it has read everything
    out.shutdown(std::net::Shutdown::Write).expect("an end");
    out.read_to_end(&mut Vec::new()).expect("its end");
}

/// Requests the last half hour, to the end of the connection.
fn ask(api: &str) -> TcpStream {
    let until = OffsetDateTime::now_utc() - Duration::MINUTE;
    let interval = format!("{}/{}", utc(until - Duration::minutes(29)), utc(until));
    let signed = BASE64_STANDARD.encode(format!("{PRINCIPAL}:{SECRET}"));
    let mut api = TcpStream::connect(api).expect("the API");
    let request = format!(
        "GET /v2/siem/messages/blocked?format=json&interval={interval} HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Basic {signed}\r\nConnection: close\r\n\r\n"
    );
    api.write_all(request.as_bytes()).expect("the API");
    api
}

/// Reads what one connection sends over TLS, drops it, and closes at its end.
fn start_receiver(certs: &Certs) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let pair = Pair {
        cert: certs.server_cert(),
        key: certs.server_key(),
    };
    let config = Arc::new(server_config(&pair, None, rustls::ALL_VERSIONS));
    thread::spawn(move || {
        let (mut tcp, _) = listener.accept().expect("a connection");
        let mut session = ServerConnection::new(config).expect("a session");
        let mut piece = vec![0; PIECE];
        while session.is_handshaking() {
            session.complete_io(&mut tcp).expect("a handshake");
        }
        loop {
            match session.reader().read(&mut piece) {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => {
                    session.read_tls(&mut tcp).expect("more");
                    session.process_new_packets().expect("TLS");
                }
            }
        }
    });
    address
}
