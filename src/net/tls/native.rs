//! `native` is TLS by the system's OpenSSL. Only this file names the crate `native_tls`.
//!
//! OpenSSL reads and writes memory, which never ends. So an end of data that it reports is the peer's
//! close_notify: the end of the connection is seen by `Tls` alone. Which alert came and what is wrong with
//! a certificate it says in words. They choose a status and a hint, and no delivery counts by them.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use native_tls::{
    Certificate, HandshakeError, Identity, MidHandshakeTlsStream, Protocol, TlsConnector, TlsStream,
};
use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::refusal::{self, PeerHints};
use super::session::TlsSession;
use crate::error::{Because, Exit, Failure, Result};
use crate::net::NetError;
use crate::net::certificate::{KeyForm, pkcs8};
use crate::secret::pem;

/// Most bytes that are taken from the connection at once.
const READ: usize = 64 * 1024;

/// Whom OpenSSL trusts, and our certificate.
#[derive(Debug, Clone)]
pub(super) struct Connector(TlsConnector);

impl Connector {
    /// Trusts these roots, and those of OpenSSL if `built_in`; with our certificate, those of its issuers
    /// and its key.
    ///
    /// # Errors
    /// When OpenSSL refuses one of them, as the machine's policy may demand.
    pub(super) fn new(
        built_in: bool,
        roots: &[CertificateDer<'_>],
        ours: Option<(Vec<CertificateDer<'_>>, KeyForm, PrivateKeyDer<'_>)>,
    ) -> Result<Connector> {
        const POLICY: &str =
            "check what the policy of this machine's OpenSSL demands of certificates and keys";
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        builder.disable_built_in_roots(!built_in);
        for root in roots {
            let root = Certificate::from_der(root).context("OpenSSL refuses a CA certificate");
            builder.add_root_certificate(root.exit(Exit::Config).hint(POLICY)?);
        }
        if let Some((chain, form, key)) = ours {
            let chain: String = chain.iter().map(|one| pem("CERTIFICATE", one)).collect();
            let key = pkcs8(form, key.secret_der()).context("converting the key");
            let key = pem("PRIVATE KEY", &key.exit(Exit::Config)?);
            let ours = Identity::from_pkcs8(chain.as_bytes(), key.as_bytes());
            let ours = ours.context("OpenSSL refuses [devo] cert or key");
            builder.identity(ours.exit(Exit::Config).hint(POLICY)?);
        }
        let connector = builder.build().context("preparing OpenSSL");
        Ok(Connector(connector.exit(Exit::Config).hint(POLICY)?))
    }

    /// Begins a handshake with the server of this name.
    ///
    /// # Errors
    /// When OpenSSL cannot.
    pub(super) fn begin(&self, name: &str, hints: &'static PeerHints) -> Result<Native, NetError> {
        let pipe = Pipe::default();
        let mut session = Native {
            handshake: None,
            stream: None,
            pipe: pipe.clone(),
            hints,
            ended: false,
            buffer: vec![0; READ],
        };
        // as the DNS writes it, a full name may end with a dot
        let name = name.strip_suffix('.').unwrap_or(name);
        session.after(self.0.connect(name, pipe))?;
        Ok(session)
    }
}

/// A session of OpenSSL.
#[derive(Debug)]
pub(super) struct Native {
    /// Until it is complete.
    handshake: Option<MidHandshakeTlsStream<Pipe>>,
    /// From then on.
    stream: Option<TlsStream<Pipe>>,
    pipe: Pipe,
    hints: &'static PeerHints,
    /// Whether the connection has ended.
    ended: bool,
    buffer: Vec<u8>,
}

impl Native {
    /// Keeps what a step of the handshake has led to.
    fn after(
        &mut self,
        step: Result<TlsStream<Pipe>, HandshakeError<Pipe>>,
    ) -> Result<(), NetError> {
        match step {
            Ok(stream) => self.stream = Some(stream),
            Err(HandshakeError::WouldBlock(handshake)) => self.handshake = Some(handshake),
            Err(HandshakeError::Failure(error)) => {
                return Err(explain(&error.to_string(), self.hints));
            }
        }
        Ok(())
    }

    fn stream(&mut self) -> io::Result<&mut TlsStream<Pipe>> {
        let stream = self.stream.as_mut();
        stream.ok_or_else(|| io::Error::other("the TLS handshake is not complete"))
    }
}

impl TlsSession for Native {
    fn is_handshaking(&self) -> bool {
        self.stream.is_none()
    }

    fn wants_write(&self) -> bool {
        !self.pipe.lock().outgoing.is_empty()
    }

    fn write_tls(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        let mut memory = self.pipe.lock();
        let count = to.write(memory.outgoing.as_slices().0)?;
        memory.outgoing.drain(..count);
        Ok(count)
    }

    fn read_tls(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let count = from.read(&mut self.buffer)?;
        self.ended |= count == 0;
        self.pipe.lock().incoming.extend(&self.buffer[..count]);
        Ok(count)
    }

    fn process(&mut self) -> Result<bool, NetError> {
        if let Some(handshake) = self.handshake.take() {
            self.after(handshake.handshake())?;
        }
        let hints = self.hints;
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut waste = [0; 4096];
        loop {
            match stream.read(&mut waste) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(explain(&error.to_string(), hints)),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ended = self.ended;
        match self.stream()?.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && ended => {
                Err(ErrorKind::UnexpectedEof.into())
            }
            result => result,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream()?.write_all(bytes)
    }

    fn send_close_notify(&mut self) -> io::Result<()> {
        self.stream()?.shutdown()
    }

    fn version(&self) -> Option<String> {
        None
    }
}

/// What stands between OpenSSL and the connection. Both ends hold it.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    incoming: VecDeque<u8>,
    outgoing: VecDeque<u8>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe(..)")
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut memory = self.lock();
        match memory.incoming.is_empty() {
            // an end would be one of the connection
            true => Err(ErrorKind::WouldBlock.into()),
            false => memory.incoming.read(buffer),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds status and hint to what OpenSSL says. What is not known here may be tried again.
fn explain(said: &str, hints: &PeerHints) -> NetError {
    let failure = Failure::new(said);
    let (exit, hint) = match alert(said) {
        Some(alert) => match refusal::of_alert(alert) {
            Some(known) => known,
            None => return NetError::Cut(failure),
        },
        None => {
            let said = said.to_lowercase();
            let names_one = |(words, _): &&(&[&str], _)| words.iter().any(|one| said.contains(one));
            match reasons(hints).iter().find(names_one) {
                Some((_, hint)) => (Exit::Unavailable, *hint),
                None => return NetError::Cut(failure),
            }
        }
    };
    NetError::Lasting(failure.with_exit(exit).with_hint(hint))
}

/// The alert of the peer that OpenSSL names by its number.
fn alert(said: &str) -> Option<AlertDescription> {
    let (_, number) = said.split_once("SSL alert number ")?;
    let end = number.find(|c: char| !c.is_ascii_digit());
    let number: u8 = number[..end.unwrap_or(number.len())].parse().ok()?;
    Some(number.into())
}

/// Words of OpenSSL 1.1.1 and 3, in small letters, and what helps; the first row that fits counts.
fn reasons(hints: &PeerHints) -> [(&'static [&'static str], &'static str); 8] {
    [
        (&["certificate has expired"], refusal::EXPIRED),
        (&["certificate is not yet valid"], refusal::NOT_YET),
        (
            &["hostname mismatch", "ip address mismatch"],
            hints.other_name,
        ),
        (
            &[
                "(unable to get local issuer certificate",
                "(unable to get issuer certificate",
                "(unable to verify the first certificate",
                "(self-signed certificate in certificate chain",
                "(self signed certificate in certificate chain",
            ],
            refusal::UNKNOWN_ISSUER,
        ),
        (
            &["(self-signed certificate", "(self signed certificate"],
            hints.self_signed,
        ),
        (&["certificate verify failed"], refusal::INVALID),
        (
            &[
                "wrong version number",
                "packet length too long",
                "bad record type",
                "http request",
            ],
            refusal::NO_TLS,
        ),
        (
            &[
                "unsupported protocol",
                "no protocols available",
                "legacy renegotiation",
            ],
            refusal::INCOMPATIBLE,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::refusal::RECEIVER;

    #[test]
    fn what_openssl_says_chooses_a_status_and_a_hint() {
        const OF_1_1_1: &str = "error:14094418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:ssl/record/rec_layer_s3.c:1563:SSL alert number 48";
        const OF_3: &str = "error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:../ssl/record/rec_layer_s3.c:1605:SSL alert number 116";
        const VERIFY: &str = "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:../ssl/statem/statem_clnt.c:1889:";
        let verify = |why: &str| format!("{VERIFY} ({why})");
        let table = [
            (OF_1_1_1.to_owned(), Some((Exit::NoPerm, "who signed it"))),
            (
                OF_3.to_owned(),
                Some((Exit::NoPerm, "requires a client certificate")),
            ),
            (
                verify("certificate has expired"),
                Some((Exit::Unavailable, refusal::EXPIRED)),
            ),
            (
                verify("Hostname mismatch"),
                Some((Exit::Unavailable, RECEIVER.other_name)),
            ),
            (
                verify("IP address mismatch"),
                Some((Exit::Unavailable, RECEIVER.other_name)),
            ),
            (
                verify("self-signed certificate"),
                Some((Exit::Unavailable, RECEIVER.self_signed)),
            ),
            (
                verify("self-signed certificate in certificate chain"),
                Some((Exit::Unavailable, refusal::UNKNOWN_ISSUER)),
            ),
            (
                verify("unable to get local issuer certificate"),
                Some((Exit::Unavailable, refusal::UNKNOWN_ISSUER)),
            ),
            (
                verify("CRL has expired"),
                Some((Exit::Unavailable, refusal::INVALID)),
            ),
            (
                "error:0A00010B:SSL routines:ssl3_get_record:wrong version number:x.c:354:"
                    .to_owned(),
                Some((Exit::Unavailable, refusal::NO_TLS)),
            ),
            // an alert that says nothing lasting, and words of another version
            (OF_3.replace("116", "80"), None),
            (OF_3.replace("116", "1160"), None),
            ("something else".to_owned(), None),
        ];
        for (said, wanted) in table {
            match (explain(&said, &RECEIVER), wanted) {
                (NetError::Lasting(failure), Some((exit, hint))) => {
                    assert_eq!(failure.exit(), exit, "{said}");
                    assert!(failure.hint().unwrap().contains(hint), "{said}");
                    assert_eq!(failure.to_string(), said);
                }
                (NetError::Cut(_), None) => {}
                (error, _) => panic!("{said}: {error:?}"),
            }
        }
    }
}
