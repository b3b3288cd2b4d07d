//! `http` makes HTTP requests over our own connections.
//!
//! Only this file names the crate `ureq`. An answer is read as it arrives; a moment without bytes
//! returns control to the reader. The timeout limits silence, never the whole answer: a big one may
//! take long.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};
use time::OffsetDateTime;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::config::{Address, Url};
use crate::error::Exit;
use crate::net::text::http_date;
use crate::net::tls::Trust;
use crate::net::{IdleTimeout, NetStream, Network, Stopped, is_wait};
use crate::secret::Secret;
use crate::shutdown::Shutdown;

/// Read buffer size, in bytes.
const READ: usize = 128 * 1024;

/// Bytes kept from the start of an answer.
const START: usize = 1024;

/// Makes requests to one server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    waits: Arc<Waits>,
}

/// What ends a wait; shared with the connections.
#[derive(Debug)]
struct Waits {
    network: Arc<Network>,
    trust: Option<Trust>,
    shutdown: Shutdown,
    /// Whether a moment of silence returns to the reader: the head of an answer is read in one go.
    in_body: AtomicBool,
}

/// An answer whose head has arrived.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The server's time.
    pub(crate) date: Option<OffsetDateTime>,
    /// `Retry-After`, as written.
    pub(crate) retry_after: Option<String>,
    body: ureq::BodyReader<'static>,
    /// The first bytes of the body.
    start: Vec<u8>,
    waits: Arc<Waits>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

/// The result of reading on in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// This many bytes, at the start of the buffer.
    Some(usize),
    /// No bytes for a moment.
    Waiting,
    /// The end: the answer is complete, as far as HTTP can tell.
    End,
}

/// A connection or answer that ended too early; another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// No connection was made.
    Unreached,
    /// The server was silent for too long.
    Silent,
    /// The connection broke.
    Cut,
}

impl fmt::Display for Dropped {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// No connection was made, so the request was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsent;

impl fmt::Display for Unsent {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Client {
    /// Creates a client that ends its waits at `shutdown`.
    ///
    /// # Errors
    /// When the trusted roots cannot be read.
    pub(crate) fn new(network: Arc<Network>, server: &Url, shutdown: &Shutdown) -> Result<Client> {
        let trust = if server.scheme_is_tls() {
            Some(network.public_trust()?.clone())
        } else {
            None
        };
        let waits = Arc::new(Waits {
            network,
            trust,
            shutdown: shutdown.clone(),
            in_body: AtomicBool::new(false),
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("proofpull/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .input_buffer_size(READ)
            .build();
        let agent = ureq::Agent::with_parts(config, Dialer(Arc::clone(&waits)), Unresolved);
        Ok(Client { agent, waits })
    }

    /// Requests `url` with these parameters; never shows the value of `authorization`.
    ///
    /// # Errors
    /// [`Dropped`] when no answer came; [`Unsent`] when no connection was made; [`Stopped`] when
    /// the run is to end.
    pub(crate) fn get(
        &self,
        url: &Url,
        query: &[(&str, &str)],
        authorization: &Secret,
    ) -> Result<Answer> {
        self.waits.in_body.store(false, Ordering::Relaxed);
        let request = self
            .agent
            .get(url.to_string())
            .query_pairs(query.iter().copied());
        let response = request
            .header("Authorization", authorization.reveal())
            .call();
        let response = response
            .map_err(dropped)
            .with_context(|| format!("requesting {url}"))?;
        self.waits.in_body.store(true, Ordering::Relaxed);
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        Ok(Answer {
            status: response.status().as_u16(),
            date: header("date").and_then(http_date),
            retry_after: header("retry-after").map(str::to_owned),
            body: response.into_body().into_reader(),
            start: Vec::new(),
            waits: Arc::clone(&self.waits),
        })
    }
}

impl Answer {
    /// Reads on, for a moment at most.
    ///
    /// # Errors
    /// [`Dropped`] when the answer was cut off; [`Stopped`] when the run is to end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Bytes> {
        match self.body.read(buffer) {
            Ok(0) => Ok(Bytes::End),
            Ok(count) => {
                let wanted = START.saturating_sub(self.start.len());
                self.start.extend_from_slice(&buffer[..count.min(wanted)]);
                Ok(Bytes::Some(count))
            }
            Err(error) => match innermost(error) {
                Inner::Io(error) if is_wait(&error) && self.waits.shutdown.reason().is_some() => {
                    Err(anyhow!(Stopped))
                }
                Inner::Io(error) if is_wait(&error) => Ok(Bytes::Waiting),
                inner => Err(inner.explain(Dropped::Cut)).context("reading the answer"),
            },
        }
    }

    /// The first characters of the body, for an error message; reads on if necessary.
    pub(crate) fn beginning(&mut self, characters: usize) -> String {
        let mut buffer = [0; START];
        // an error message is not worth a long wait
        let mut moments = 20;
        while self.start.len() < START && moments > 0 {
            match self.read(&mut buffer) {
                Ok(Bytes::Some(_)) => {}
                Ok(Bytes::Waiting) => moments -= 1,
                Ok(Bytes::End) | Err(_) => break,
            }
        }
        let text = String::from_utf8_lossy(&self.start);
        let words: Vec<&str> = text.split_whitespace().collect();
        let printable = words.join(" ");
        printable
            .chars()
            .filter(|c| !c.is_control())
            .take(characters)
            .collect()
    }
}

/// Carries one of our errors through ureq.
struct CarriedError(anyhow::Error);

impl fmt::Debug for CarriedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for CarriedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::error::line(&self.0))
    }
}

impl std::error::Error for CarriedError {}

fn dropped(error: ureq::Error) -> anyhow::Error {
    match error {
        ureq::Error::Other(other) => match other.downcast::<CarriedError>() {
            Ok(carried) => carried.0,
            Err(other) => Inner::Ureq(ureq::Error::Other(other)).explain(Dropped::Cut),
        },
        ureq::Error::Io(error) => innermost(error).explain(Dropped::Cut),
        error => Inner::Ureq(error).explain(Dropped::Cut),
    }
}

/// The cause under the layers of a read error.
enum Inner {
    Io(io::Error),
    Ureq(ureq::Error),
}

fn innermost(error: io::Error) -> Inner {
    if !error
        .get_ref()
        .is_some_and(|inner| inner.is::<ureq::Error>())
    {
        return Inner::Io(error);
    }
    let kind = error.kind();
    match error
        .into_inner()
        .map(|inner| inner.downcast::<ureq::Error>().map(|error| *error))
    {
        // the decompressor wraps errors of the connection
        Some(Ok(ureq::Error::Decompress(_, error))) => innermost(error),
        Some(Ok(ureq::Error::Io(error))) => innermost(error),
        Some(Ok(error)) => Inner::Ureq(error),
        Some(Err(_)) | None => Inner::Io(kind.into()),
    }
}

impl Inner {
    fn explain(self, otherwise: Dropped) -> anyhow::Error {
        let (error, how) = match self {
            Inner::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Stopped>()) => {
                return anyhow!(Stopped);
            }
            Inner::Io(error) if error.kind() == ErrorKind::TimedOut => {
                (anyhow!(error), Dropped::Silent)
            }
            Inner::Io(error) => (anyhow!(error), otherwise),
            Inner::Ureq(error) => (anyhow!(error), otherwise),
        };
        let hint = match how {
            Dropped::Silent => {
                "set a longer [http] timeout if this repeats; the next run retries, with a shorter \
                 window if needed"
            }
            Dropped::Unreached | Dropped::Cut => {
                "check the network and proxies on the way if this repeats; the next run retries, \
                 with a shorter window if needed"
            }
        };
        let error = error.context(how).context(Exit::Unavailable);
        error.context(crate::error::Hint(hint.to_owned()))
    }
}

#[derive(Debug)]
struct Dialer(Arc<Waits>);

impl Connector for Dialer {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let uri = details.uri;
        let scheme = uri.scheme_str().unwrap_or("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "http" { 80 } else { 443 });
        let stream = self.0.open(
            scheme,
            &Address {
                host: host.to_owned(),
                port,
            },
        );
        let stream = stream
            .map_err(|error| ureq::Error::Other(Box::new(CarriedError(error.context(Unsent)))))?;
        Ok(Some(Connection {
            stream,
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            idle: self.0.network.idle(&self.0.shutdown),
            waits: Arc::clone(&self.0),
        }))
    }
}

impl Waits {
    fn open(&self, scheme: &str, to: &Address) -> Result<NetStream> {
        let tcp = self
            .network
            .dial(to, scheme, &self.shutdown)
            .map_err(|error| match Exit::of(&error) {
                Exit::Unavailable => error.context(Dropped::Unreached),
                _ => error,
            })?;
        let idle = self.network.idle(&self.shutdown);
        NetStream::secure(tcp, self.trust.as_ref(), to, idle)
    }
}

#[derive(Debug)]
struct Connection {
    stream: NetStream,
    buffers: LazyBuffers,
    idle: IdleTimeout,
    waits: Arc<Waits>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let bytes = &self.buffers.output()[..amount];
        self.idle.progress();
        let written = self.stream.write_all(bytes, &mut self.idle);
        written.map_err(|error| {
            let error = error.context(Dropped::Cut).context(Exit::Unavailable);
            ureq::Error::Other(Box::new(CarriedError(error)))
        })
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.idle.resume();
        loop {
            let free = self.buffers.input_append_buf();
            match self.stream.read(free) {
                Ok(count) => {
                    self.idle.progress();
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) => {
                    let kind = error.kind();
                    self.idle.again(error)?;
                    if self.waits.in_body.load(Ordering::Relaxed) {
                        self.idle.pause();
                        return Err(ureq::Error::Io(kind.into()));
                    }
                }
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // an unexpected TLS record may be a ticket or a close_notify: a new connection is safer
        let open = self.stream.tcp().is_quiet();
        self.idle.progress();
        open
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, NetStream::Tls(_))
    }
}

/// Resolves nothing: names are resolved when connecting, perhaps by the proxy.
#[derive(Debug)]
struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
