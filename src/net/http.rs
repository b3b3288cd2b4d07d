//! `http` makes HTTP requests over our own connections.
//!
//! Only this file names the crate `ureq`. An answer is read as it arrives; a moment without bytes
//! returns control to the reader. The timeout limits the head of an answer and then silence, never the
//! whole answer: a big one may take long.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use ureq::RequestBuilder;
use ureq::config::Config;
use ureq::http::{self, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::config::{Address, Url};
use crate::error::Result;
use crate::net::body::Body;
use crate::net::text::http_date;
use crate::net::tls::Trust;
use crate::net::{NetError, NetStream, Network, is_wait};
use crate::secret::{self, Secret};
use crate::shutdown::Shutdown;

/// Read buffer size, in bytes.
const READ: usize = 128 * 1024;

/// Bytes kept from the start of an answer.
const START: usize = 1024;

/// Longest wait for the start of an answer, for an error message.
const PATIENCE: Duration = Duration::from_secs(2);

type Response = http::Response<ureq::Body>;

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
    /// Whether a connection was made for the request.
    connected: AtomicBool,
    /// Whether the request went over a connection kept from the last one, and no byte came back.
    kept_unanswered: AtomicBool,
    /// Whether the next request needs a connection of its own.
    fresh: AtomicBool,
    /// Why a connection gave control back. The crate's own errors do not tell.
    interruption: Mutex<Option<Interruption>>,
}

/// Why a connection gave control back without bytes.
#[derive(Debug)]
enum Interruption {
    /// Nothing came for a moment.
    Waiting,
    /// It failed.
    Failed(NetError),
}

/// An answer whose head has arrived.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The server's time.
    pub(crate) date: Option<OffsetDateTime>,
    /// `Retry-After`, as written.
    pub(crate) retry_after: Option<String>,
    body: Body,
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

/// Why no answer came.
#[derive(Debug)]
pub(crate) struct RequestError {
    /// What failed.
    pub(crate) error: NetError,
    /// Whether the request may have reached the server.
    pub(crate) was_sent: bool,
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
            connected: AtomicBool::new(false),
            kept_unanswered: AtomicBool::new(false),
            fresh: AtomicBool::new(false),
            interruption: Mutex::new(None),
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
    /// When no answer came.
    pub(crate) fn get(
        &self,
        url: &Url,
        query: &[(&str, &str)],
        authorization: &Secret,
    ) -> Result<Answer, RequestError> {
        self.ask_twice(url, authorization, &|| {
            let request = self.agent.get(url.to_string());
            let request = request.query_pairs(query.iter().copied());
            signed(request, authorization).call()
        })
    }

    /// Posts a JSON text that changes nothing, such as a query; never shows the value of `authorization`.
    ///
    /// # Errors
    /// When no answer came.
    pub(crate) fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        json: &str,
        authorization: &Secret,
    ) -> Result<Answer, RequestError> {
        self.ask_twice(url, authorization, &|| {
            let request = self.agent.post(url.to_string());
            let request = request.header("Content-Type", "application/json");
            let request = headers.iter().fold(request, |request, (name, value)| {
                request.header(*name, *value)
            });
            signed(request, authorization).send(json)
        })
    }

    /// A server may close a kept connection just when it is used again. Then the request is made
    /// once more at once, over a new one.
    fn ask_twice(
        &self,
        url: &Url,
        authorization: &Secret,
        send: &dyn Fn() -> Result<Response, ureq::Error>,
    ) -> Result<Answer, RequestError> {
        match self.ask(url, authorization, send) {
            Err(RequestError {
                error: NetError::Cut(_),
                ..
            }) if self.waits.kept_unanswered.load(Relaxed) => {
                log::debug!("the server closed a kept connection: requesting over a new one");
                self.waits.fresh.store(true, Relaxed);
                self.ask(url, authorization, send)
            }
            answer => answer,
        }
    }

    fn ask(
        &self,
        url: &Url,
        authorization: &Secret,
        send: &dyn Fn() -> Result<Response, ureq::Error>,
    ) -> Result<Answer, RequestError> {
        self.waits.in_body.store(false, Relaxed);
        // a connection that is kept from the last request calls for no new one
        self.waits.connected.store(true, Relaxed);
        self.waits.kept_unanswered.store(true, Relaxed);
        self.waits.take();
        let response = send();
        let response = response.map_err(|error| RequestError {
            error: match self.waits.take() {
                Some(Interruption::Failed(error)) => error.explained(),
                Some(Interruption::Waiting) | None => NetError::Cut(error.into()).explained(),
            }
            .context(format_args!("requesting {url}")),
            was_sent: self.waits.connected.load(Relaxed),
        })?;
        self.waits.in_body.store(true, Relaxed);
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let encoding = header("content-encoding").unwrap_or_default();
        let encoding = secret::excerpt(encoding, &[authorization]);
        let status = response.status().as_u16();
        // 421: the server answers requests for this name over other connections only
        self.waits.fresh.store(status == 421, Relaxed);
        Ok(Answer {
            status,
            date: header("date").and_then(http_date),
            retry_after: header("retry-after").map(str::to_owned),
            body: Body::of(&encoding, response.into_body().into_reader()),
            start: Vec::new(),
            waits: Arc::clone(&self.waits),
        })
    }
}

/// The same request, with what each of ours has.
fn signed<B>(request: RequestBuilder<B>, authorization: &Secret) -> RequestBuilder<B> {
    request
        .header("Authorization", authorization.reveal())
        .header("Accept-Encoding", "gzip")
}

impl Answer {
    /// Reads on, for a moment at most.
    ///
    /// # Errors
    /// When the answer was cut off, or the run is to end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Bytes, NetError> {
        match self.body.read(buffer)? {
            Ok(0) => Ok(Bytes::End),
            Ok(count) => {
                // an interruption before these bytes must not explain a later error
                self.waits.take();
                let wanted = START.saturating_sub(self.start.len());
                self.start.extend_from_slice(&buffer[..count.min(wanted)]);
                Ok(Bytes::Some(count))
            }
            Err(error) => {
                let error = match self.waits.take() {
                    Some(Interruption::Waiting) => return Ok(Bytes::Waiting),
                    Some(Interruption::Failed(error)) => error,
                    None => NetError::Cut(error.into()),
                };
                Err(error.explained().context("reading the answer"))
            }
        }
    }

    /// The start of the body, for an error message; reads on if necessary.
    pub(crate) fn beginning(&mut self) -> String {
        let mut buffer = [0; START];
        let started = Instant::now();
        while self.start.len() < START && started.elapsed() < PATIENCE {
            match self.read(&mut buffer) {
                Ok(Bytes::Some(_) | Bytes::Waiting) => {}
                Ok(Bytes::End) | Err(_) => break,
            }
        }
        String::from_utf8_lossy(&self.start).into_owned()
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
        self.0.kept_unanswered.store(false, Relaxed);
        let stream = self.0.open(
            scheme,
            &Address {
                host: host.to_owned(),
                port,
            },
        );
        let stream = stream.map_err(|error| {
            self.0.connected.store(false, Relaxed);
            self.0.fail(error)
        })?;
        self.0.connected.store(true, Relaxed);
        self.0.fresh.store(false, Relaxed);
        Ok(Some(Connection {
            stream,
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            waits: Arc::clone(&self.0),
        }))
    }
}

impl Waits {
    fn open(&self, scheme: &str, to: &Address) -> Result<NetStream, NetError> {
        let tcp = self.network.dial(to, scheme, &self.shutdown)?;
        let limit = self.network.timeout();
        NetStream::secure(tcp, self.trust.as_ref(), to, limit).map_err(NetError::unreached)
    }

    /// Keeps why the crate is given an error.
    fn interrupt(&self, why: Interruption) -> ureq::Error {
        let interruption = self.interruption.lock();
        *interruption.unwrap_or_else(PoisonError::into_inner) = Some(why);
        ureq::Error::Io(ErrorKind::WouldBlock.into())
    }

    fn fail(&self, error: NetError) -> ureq::Error {
        self.interrupt(Interruption::Failed(error))
    }

    /// Why the crate was last given an error.
    fn take(&self) -> Option<Interruption> {
        let interruption = self.interruption.lock();
        interruption.unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
struct Connection {
    stream: NetStream,
    buffers: LazyBuffers,
    waits: Arc<Waits>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let bytes = &self.buffers.output()[..amount];
        // the head of an answer must be complete in time, the body may take long
        let limit = self.waits.network.timeout();
        self.stream.tcp().begin_exchange(limit);
        let written = self.stream.write_all(bytes);
        written.map_err(|error| self.waits.fail(error))
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let in_body = self.waits.in_body.load(Relaxed);
        if in_body {
            self.stream.tcp().end_exchange();
        }
        loop {
            let free = self.buffers.input_append_buf();
            match self.stream.read(free) {
                Ok(count) => {
                    if count > 0 {
                        self.waits.kept_unanswered.store(false, Relaxed);
                    }
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if is_wait(&error) && in_body => {
                    return Err(self.waits.interrupt(Interruption::Waiting));
                }
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(self.waits.fail(error.into())),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // an unexpected TLS record may be a ticket or a close_notify: a new connection is safer
        !self.waits.fresh.load(Relaxed) && self.stream.tcp().is_quiet()
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
