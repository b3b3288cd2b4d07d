//! `http` makes HTTP requests over our own connections.
//!
//! Only `net` names the crate `ureq`. A request takes a connection that no other one uses, or opens one.
//! An answer is read as it arrives; a moment without bytes returns control to the reader. The timeout
//! limits the head of an answer and then silence, never the whole answer: a big one may take long.

mod connection;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use time::OffsetDateTime;
use ureq::RequestBuilder;
use ureq::http;

use crate::clock::Instant;
use crate::config::Url;
use crate::error::{Exit, Failure, Result};
use crate::net::body::Body;
use crate::net::text::http_date;
use crate::net::tls::Trust;
use crate::net::{NetError, Network};
use crate::secret::{self, Secret};
use crate::shutdown::Shutdown;
use crate::world::simulated;
use connection::{Dialer, Interruption, Unresolved, Waits};

/// Read buffer size, in bytes.
const READ: usize = 128 * 1024;

/// Bytes kept from the start of an answer.
const START: usize = 1024;

/// Longest wait for the start of an answer, for an error message.
const PATIENCE: Duration = Duration::from_secs(2);

type Response = http::Response<ureq::Body>;
/// Makes a request by an agent.
type SendFn<'a> = &'a dyn Fn(&ureq::Agent) -> Result<Response, ureq::Error>;

/// Makes requests to one server, several at a time if need be. Clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    network: Arc<Network>,
    trust: Option<Trust>,
    shutdown: Shutdown,
    /// Those that no request uses.
    idle: Arc<Mutex<Vec<Lane>>>,
}

/// Makes one request at a time, over a connection that it keeps.
#[derive(Debug, Clone)]
struct Lane {
    agent: ureq::Agent,
    waits: Arc<Waits>,
}

/// A lane in use; dropped, it is idle again.
#[derive(Debug)]
struct Lease {
    lane: Lane,
    idle: Arc<Mutex<Vec<Lane>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.lane.clone());
    }
}

/// A request that a thread of its own makes.
#[derive(Debug)]
pub(crate) struct Underway(mpsc::Receiver<Result<Answer, RequestError>>);

impl Underway {
    /// The head of the answer; `None` if it has not come after this time.
    pub(crate) fn wait(&self, time: Duration) -> Option<Result<Answer, RequestError>> {
        match self.0.recv_timeout(time) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                let failure = Failure::new("the thread of a request panicked");
                Some(Err(RequestError {
                    error: NetError::Lasting(failure.with_exit(Exit::Software)),
                    was_sent: true,
                }))
            }
        }
    }
}

/// An answer whose head has arrived.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The server's time.
    pub(crate) date: Option<OffsetDateTime>,
    /// How long after the request it came.
    pub(crate) took: Duration,
    /// `Retry-After`, as written.
    pub(crate) retry_after: Option<String>,
    body: Body,
    /// The first bytes of the body.
    start: Vec<u8>,
    /// Dropped behind the body, which gives back the connection.
    lease: Lease,
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
        Ok(Client {
            network,
            trust,
            shutdown: shutdown.clone(),
            idle: Arc::default(),
        })
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
        self.ask_twice(url, authorization, &|agent| {
            let request = agent.get(url.to_string());
            let request = request.query_pairs(query.iter().copied());
            signed(request, authorization).call()
        })
    }

    /// The same, while the caller does something else.
    pub(crate) fn begin_get(
        &self,
        url: &Url,
        query: &[(&str, &str)],
        authorization: &Arc<Secret>,
    ) -> Underway {
        let (client, url, authorization) = (self.clone(), url.clone(), Arc::clone(authorization));
        let owned = query.iter();
        let owned = owned.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let owned: Vec<(String, String)> = owned.collect();
        let (sender, receiver) = mpsc::sync_channel(1);
        let of_thread = sender.clone();
        let request = move || {
            let pairs = owned.iter();
            let pairs = pairs.map(|(key, value)| (key.as_str(), value.as_str()));
            let query: Vec<(&str, &str)> = pairs.collect();
            // nobody may wait for it any more
            drop(of_thread.send(client.get(&url, &query, &authorization)));
        };
        if simulated().is_some() {
            request();
            return Underway(receiver);
        }
        let thread = thread::Builder::new().name("request".to_owned());
        if let Err(error) = thread.spawn(request) {
            let error = NetError::from(error).context("starting a thread");
            let was_sent = false;
            drop(sender.send(Err(RequestError { error, was_sent })));
        }
        Underway(receiver)
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
        self.ask_twice(url, authorization, &|agent| {
            let request = agent.post(url.to_string());
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
        send: SendFn<'_>,
    ) -> Result<Answer, RequestError> {
        let lease = self.lease();
        let lane = &lease.lane;
        let started = Instant::now();
        let response = match lane.ask(url, send) {
            Err(RequestError {
                error: NetError::Cut(_),
                ..
            }) if lane.waits.kept_unanswered.load(Relaxed) => {
                log::debug!("the server closed a kept connection: requesting over a new one");
                lane.waits.fresh.store(true, Relaxed);
                lane.ask(url, send)
            }
            response => response,
        }?;
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
        lane.waits.fresh.store(status == 421, Relaxed);
        Ok(Answer {
            status,
            date: header("date").and_then(http_date),
            took: started.elapsed(),
            retry_after: header("retry-after").map(str::to_owned),
            body: Body::of(&encoding, response.into_body().into_reader()),
            start: Vec::new(),
            lease,
        })
    }

    /// A lane that nobody uses, or a new one.
    fn lease(&self) -> Lease {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Lease {
            lane: idle.unwrap_or_else(|| Lane::new(self)),
            idle: Arc::clone(&self.idle),
        }
    }
}

impl Lane {
    fn new(client: &Client) -> Lane {
        let waits = Arc::new(Waits {
            network: Arc::clone(&client.network),
            trust: client.trust.clone(),
            shutdown: client.shutdown.clone(),
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
        Lane { agent, waits }
    }

    fn ask(&self, url: &Url, send: SendFn<'_>) -> Result<Response, RequestError> {
        self.waits.in_body.store(false, Relaxed);
        // a connection that is kept from the last request calls for no new one
        self.waits.connected.store(true, Relaxed);
        self.waits.kept_unanswered.store(true, Relaxed);
        self.waits.take();
        let response = send(&self.agent).map_err(|error| RequestError {
            error: match self.waits.take() {
                Some(Interruption::Failed(error)) => error.explained(),
                Some(Interruption::Waiting) | None => NetError::Cut(error.into()).explained(),
            }
            .context(format_args!("requesting {url}")),
            was_sent: self.waits.connected.load(Relaxed),
        })?;
        self.waits.in_body.store(true, Relaxed);
        Ok(response)
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
                self.lease.lane.waits.take();
                let wanted = START.saturating_sub(self.start.len());
                self.start.extend_from_slice(&buffer[..count.min(wanted)]);
                Ok(Bytes::Some(count))
            }
            Err(error) => {
                let error = match self.lease.lane.waits.take() {
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
