//! What a service by model is to the network: an API that answers requests, and a log stream.

use std::fmt::Debug;
use std::time::Duration;

use time::OffsetDateTime;

/// A request as a service sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, for example.
    pub method: String,
    /// The path, as written.
    pub path: String,
    /// The parameters, decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// An answer of a service.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Besides its length and the time.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a service does with a request.
#[derive(Debug)]
pub enum Reply {
    /// Answers it.
    Http(Answer),
    /// Opens a log stream.
    Stream(Box<dyn Stream>),
}

/// A service by model. `now` is the time by its own clock.
pub trait Api: Debug + Send {
    /// Answers a request.
    fn answer(&mut self, request: &Request, now: OffsetDateTime) -> Reply;
}

/// What a log stream does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends a message.
    Message(Vec<u8>),
    /// Nothing, for so long at least.
    Wait(Duration),
    /// Closes with this code and reason.
    Close(u16, &'static str),
    /// Ends the connection without a close frame.
    End,
    /// Resets the connection.
    Reset,
}

/// An open log stream. `now` is the time by the clock of the service.
pub trait Stream: Debug + Send {
    /// What it does next.
    fn step(&mut self, now: OffsetDateTime) -> Step;

    /// The client has closed it, or the connection has ended.
    fn closed(&mut self, now: OffsetDateTime);
}
