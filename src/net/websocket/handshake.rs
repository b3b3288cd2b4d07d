//! `handshake` opens a WebSocket, or returns the server's refusal.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tungstenite::Error;
use tungstenite::handshake::client::{Request, Response, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::{HandshakeMachine, RoundResult, StageResult};

use super::WebSocket;
use super::wire::Wire;
use crate::clock::Instant;
use crate::config::Url;
use crate::error::{Because, Exit, Failure, Result};
use crate::net::text::{http_date, query_value};
use crate::net::{NetError, NetStream, Network, is_wait};
use crate::secret::Secret;
use crate::shutdown::Shutdown;

/// Bytes kept from the body of a refusal.
const SHOWN: usize = 1024;
/// Longest wait for the body of a refusal.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to open.
#[derive(Debug)]
pub(crate) struct HandshakeRequest<'a> {
    /// How to connect.
    pub(crate) network: &'a Arc<Network>,
    /// A `ws` or `wss` address.
    pub(crate) url: &'a Url,
    /// The query parameters, not yet percent-encoded.
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// The value of `Authorization`; never shown.
    pub(crate) authorization: &'a Secret,
    /// Largest message to accept, in bytes.
    pub(crate) max_message: usize,
    /// Ends the wait for the handshake.
    pub(crate) shutdown: &'a Shutdown,
}

/// The result of the handshake.
#[derive(Debug)]
pub(crate) enum HandshakeOutcome {
    /// The WebSocket is open.
    Open(Box<WebSocket>),
    /// The server answered with a status other than 101.
    Refused(Refusal),
}

/// An answer other than an open WebSocket.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The server's time.
    pub(crate) date: Option<OffsetDateTime>,
    /// `Retry-After`, as written.
    pub(crate) retry_after: Option<String>,
    /// The start of the body, as received.
    pub(crate) body: String,
}

impl WebSocket {
    /// Connects and completes the handshakes.
    ///
    /// # Errors
    /// When nobody answers as a WebSocket server, or the run is to end.
    pub(crate) fn open(opening: &HandshakeRequest<'_>) -> Result<HandshakeOutcome, NetError> {
        let HandshakeRequest { url, network, .. } = opening;
        let trust = match url.scheme_is_tls() {
            true => Some(network.public_trust().map_err(NetError::Lasting)?),
            false => None,
        };
        let scheme = if trust.is_some() { "https" } else { "http" };
        let tcp = network.dial(url.address(), scheme, opening.shutdown);
        let stream =
            tcp.and_then(|tcp| NetStream::secure(tcp, trust, url.address(), network.timeout()));
        let stream = stream.map_err(|error| error.context(format_args!("opening {url}")))?;
        WebSocket::open_over(stream, opening)
    }

    /// Completes the handshake over a connection that nothing was sent over.
    ///
    /// # Errors
    /// As [`WebSocket::open`].
    pub(crate) fn open_over(
        mut stream: NetStream,
        opening: &HandshakeRequest<'_>,
    ) -> Result<HandshakeOutcome, NetError> {
        stream.tcp().begin_exchange(opening.network.timeout());
        let opened = shake_hands(opening, Wire::new(stream));
        opened.map_err(|error| {
            let error = error.context(format_args!("opening {}", opening.url));
            error.or_exit(Exit::Unavailable).or_hint(
                "check base_url and url of the service, and that proxies and firewalls on the way \
                 allow WebSockets",
            )
        })
    }
}

fn shake_hands(
    opening: &HandshakeRequest<'_>,
    mut wire: Wire,
) -> Result<HandshakeOutcome, NetError> {
    let broken = |said: &str| NetError::Cut(Failure::new(said));
    let (request, key) = request(opening).map_err(NetError::Lasting)?;
    wire.write_all(&request)?;
    let mut machine = HandshakeMachine::start_read(wire);
    let (wire, answer, rest) = loop {
        machine = match machine.single_round::<Response>().map_err(explained)? {
            RoundResult::WouldBlock(machine) | RoundResult::Incomplete(machine) => machine,
            RoundResult::StageFinished(StageResult::DoneReading {
                stream,
                result,
                tail,
            }) => break (stream, result, tail),
            RoundResult::StageFinished(StageResult::DoneWriting(_)) => {
                return Err(broken("no answer"));
            }
        };
    };
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .and_then(|text| text.to_str().ok())
    };
    let date = header("date").and_then(http_date);
    let status = answer.status().as_u16();
    if status != 101 {
        let length = header("content-length").and_then(|length| length.parse().ok());
        let retry_after = header("retry-after").map(str::to_owned);
        let body = body(wire, rest, length.unwrap_or(usize::MAX));
        return Ok(HandshakeOutcome::Refused(Refusal {
            status,
            date,
            retry_after,
            body,
        }));
    }
    if header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err(broken("the answer is not a valid WebSocket handshake"));
    }
    let socket = WebSocket::over(wire, rest, opening)?;
    Ok(HandshakeOutcome::Open(Box::new(WebSocket {
        date,
        ..socket
    })))
}

/// The start of a body of this length, for messages; `rest` has already arrived.
fn body(mut wire: Wire, mut rest: Vec<u8>, length: usize) -> String {
    let wanted = length.min(SHOWN);
    let mut buffer = [0; SHOWN];
    let started = Instant::now();
    while rest.len() < wanted && started.elapsed() < PATIENCE {
        match wire.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => rest.extend_from_slice(&buffer[..count]),
            Err(error) if is_wait(&error) => {}
            Err(_) => break,
        }
    }
    rest.truncate(wanted);
    String::from_utf8_lossy(&rest).into_owned()
}

/// The bytes of the request, and the key that the answer must match.
fn request(opening: &HandshakeRequest<'_>) -> Result<(Vec<u8>, String)> {
    let pairs = opening.query.iter();
    let pairs = pairs.map(|(key, value)| format!("{key}={}", query_value(value)));
    let target = format!(
        "{}?{}",
        opening.url.path(),
        pairs.collect::<Vec<_>>().join("&")
    );
    let request = Request::builder()
        .uri(target)
        .header("Host", opening.url.address().to_string())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header(
            "User-Agent",
            concat!("proofpull/", env!("CARGO_PKG_VERSION")),
        )
        .header("Authorization", opening.authorization.reveal())
        .body(());
    // an error of the crate could quote the key
    let request = request
        .map_err(|_| {
            Failure::new("the key cannot be sent in a header: it has characters other than ASCII")
        })
        .exit(Exit::Config)
        .hint("check the file or variable that holds it")?;
    generate_request(request).map_err(Failure::from)
}

fn explained(error: Error) -> NetError {
    match error {
        Error::Io(error) => error.into(),
        other => NetError::Cut(other.into()),
    }
}
