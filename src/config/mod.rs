//! `config` turns the text of a configuration into checked values: past this module there is no
//! wrong one.
//!
//! Pure: text in, values or errors out. Secrets are held as references that only `secret` reads.
//! `toml` turns the text into keys that know their place. `table_reader` takes them one by one and
//! records what takes effect. Each table is one file: its keys and the type they become. `file` reads
//! the whole; the keys of a service are read by its API in `source`.

mod devo;
mod effective;
pub mod file;
mod http;
mod rules;
mod secret_ref;
pub(crate) mod service_keys;
mod sign_in;
mod suggest;
mod table_reader;
mod toml;
mod url;
mod value_error;
pub mod values;

use std::fmt;
use std::net::IpAddr;

pub use devo::{ClientIdentity, Compression, Confirmation};
pub(crate) use devo::{DevoConfig, QueryConfig};
pub(crate) use effective::ToToml;
pub use effective::{EffectiveKey, EffectiveKeys, quoted};
pub use http::{HttpConfig, TlsLibrary};
pub(crate) use secret_ref::CommandLine;
pub use secret_ref::{Plain, SecretRef};
pub(crate) use sign_in::{IsolationConfig, PodConfig, SignIn, TapConfig};
pub(crate) use table_reader::TableReader;
pub use url::Url;

use crate::error::Exit;

/// One thing that is wrong: where it stands, what it is, what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// The status of a program that ends because of it.
    pub(crate) exit: Exit,
    /// Table, key and what is wrong, in one line; never with a value.
    pub(crate) message: String,
    /// The remedy, in one line.
    pub hint: String,
}

impl fmt::Display for ConfigError {
    /// `LINE:COLUMN: MESSAGE`, to stand behind the name of the file and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// Whether it never leaves this machine: 127.0.0.0/8, `::1` or `localhost`.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>()
        .map_or(host == "localhost", |address| {
            address.to_canonical().is_loopback()
        })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
