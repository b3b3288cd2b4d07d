//! What a configuration says, as checked values: past this module there is no wrong one.
//!
//! Pure: text in, values or faults out. Secrets are held as references that only `secret` reads.
//! `values` reads the small things, as the command line does; `toml` turns the text into keys
//! that know their place; `keys` turns those into values and collects everything that is wrong.

mod effective;
pub mod keys;
mod reader;
mod rules;
pub(crate) mod toml;
mod url;
pub mod values;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

pub use effective::{EffectiveKey, EffectiveKeys, quoted};
pub use url::Url;

use crate::error::Exit;
use crate::quota::Limit;
use crate::service::Service;
use crate::transform::Rule;

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

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// Collector or tenant, for reports; the host's name when absent.
    pub(crate) name: Option<String>,
    /// Where state is kept; absent: `$STATE_DIRECTORY`, else `/var/lib/proofpull`.
    pub(crate) state_dir: Option<PathBuf>,
    /// The receiver.
    pub(crate) devo: Option<DevoConfig>,
    /// Sign-in for TAP.
    pub(crate) tap: Option<TapConfig>,
    /// Sign-in for Isolation.
    pub(crate) isolation: Option<IsolationConfig>,
    /// Sign-in for PoD.
    pub(crate) pod: Option<PodConfig>,
    /// How connections are made.
    pub(crate) http: HttpConfig,
    /// `[obfuscation]` key: makes pseudonyms. There wherever a rule needs it.
    pub(crate) pseudonym_key: Option<SecretRef>,
    /// Where the figures of each run are left for Prometheus.
    pub(crate) metrics: Option<MetricsConfig>,
    /// Each key with the value that takes effect, and where it stands.
    pub record: EffectiveKeys,
    /// The settings of every service, by name.
    services: BTreeMap<&'static str, Settings>,
    /// Set where a secret is taken from the text, so that no later kind of secret is forgotten.
    secret_inside: bool,
}

impl Config {
    /// The settings of a service: what its table says, and the defaults.
    #[must_use]
    pub fn settings(&self, service: &Service) -> Settings {
        // there are some for every row of the table of services
        self.services.get(service.name).cloned().unwrap_or_default()
    }

    /// Every secret, with the name of its key.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        let tap = self.tap.as_ref().map(|tap| ("tap.secret", &tap.secret));
        let pseudonyms = self.pseudonym_key.as_ref();
        let pseudonyms = pseudonyms.map(|key| ("obfuscation.key", key));
        let isolation = self.isolation.as_ref();
        let isolation = isolation.map(|isolation| ("isolation.api_key", &isolation.api_key));
        let pod = self.pod.as_ref().map(|pod| ("pod.api_key", &pod.api_key));
        let all = tap.into_iter().chain(pod).chain(isolation);
        all.chain(pseudonyms).collect()
    }

    /// Whether a secret stands in the text itself, the proxy's password included, so that nobody
    /// else may read the file.
    #[must_use]
    pub(crate) fn holds_a_secret(&self) -> bool {
        self.secret_inside
    }
}

/// `[devo]`: the receiver and what is written to it.
#[derive(Debug, Clone)]
pub(crate) struct DevoConfig {
    /// Host and port.
    pub(crate) address: Address,
    /// CA file of the server; absent: the system's roots.
    pub(crate) chain: Option<PathBuf>,
    /// Client certificate and its key.
    pub(crate) identity: Option<ClientIdentity>,
    /// The name to verify.
    pub(crate) server_name: String,
    /// The host in each record; absent: this machine's name.
    pub(crate) hostname: Option<String>,
    /// Whether `@devo_pulling_id` is appended to each event.
    pub(crate) pulling_id: bool,
    /// Constant strings appended to each event, in the order of the file.
    pub(crate) fields: Vec<(String, String)>,
}

/// A client certificate (PEM, leaf first) and its key (PEM: PKCS#8, PKCS#1 or SEC1).
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Certificate file.
    pub cert: PathBuf,
    /// Key file.
    pub key: PathBuf,
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

/// `[tap]`: sign-in for TAP.
#[derive(Debug, Clone)]
pub(crate) struct TapConfig {
    /// Scheme, host and port, without a slash at the end.
    pub(crate) base_url: Url,
    /// The service principal.
    pub(crate) principal: String,
    /// Its secret.
    pub(crate) secret: SecretRef,
}

/// `[isolation]`: sign-in for Isolation.
#[derive(Debug, Clone)]
pub(crate) struct IsolationConfig {
    /// The key of the reporting API.
    pub(crate) api_key: SecretRef,
}

/// `[pod]`: sign-in for the log stream of Proofpoint on Demand.
#[derive(Debug, Clone)]
pub(crate) struct PodConfig {
    /// Scheme, host and port, without a slash at the end.
    pub(crate) base_url: Url,
    /// The name of the cluster, as the admin console shows it.
    pub(crate) cluster_id: String,
    /// The API key.
    pub(crate) api_key: SecretRef,
}

/// How a PoD service is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The live stream, and hour by hour the archive.
    #[default]
    Complete,
    /// The live stream alone.
    Live,
    /// The archive alone.
    Archive,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Complete => "complete",
            Mode::Live => "live",
            Mode::Archive => "archive",
        })
    }
}

/// `[http]`: how connections are made, the one to the receiver included.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The proxy; absent: the usual environment variables.
    pub proxy: Option<Url>,
    /// CA file, in addition to the system's roots.
    pub ca: Option<PathBuf>,
    /// The longest silence of a peer.
    pub timeout: Duration,
}

/// `[metrics]`: figures for Prometheus.
#[derive(Debug, Clone)]
pub(crate) struct MetricsConfig {
    /// The folder in which node_exporter's textfile collector looks.
    pub(crate) textfile_dir: PathBuf,
}

/// `[services.NAME]`; a key that the service does not have is zero or empty.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where the first run starts.
    pub(crate) start_time: Option<OffsetDateTime>,
    /// The Devo tag.
    pub(crate) tag: String,
    /// Asked instead of the built-in address.
    pub(crate) url: Option<Url>,
    /// How much each run reads again for events that became visible late.
    pub(crate) look_back: Duration,
    /// How long after a time it is read once more, for events that became visible later still; zero
    /// for never.
    pub(crate) recheck_after: Duration,
    /// Isolation: how far before the present each window ends, since the API records with a delay.
    pub(crate) window_offset: Duration,
    /// The run's time.
    pub max_duration: Duration,
    /// TAP: how many requests may be made, besides what the credentials allow; all of these hold.
    pub(crate) requests: Vec<Limit>,
    /// Threats: how many summaries a run delivers at most.
    pub(crate) max_threats_per_run: u32,
    /// TAP: `threatType` values, as the API takes them.
    pub(crate) threat_type: Vec<String>,
    /// TAP: `threatStatus` values, as the API takes them.
    pub(crate) threat_status: Vec<String>,
    /// The rules that redact and filter events.
    pub(crate) rules: Vec<Rule>,
    /// PoD: what is read.
    pub(crate) mode: Mode,
    /// PoD: how long after its end an hour of the archive is read.
    pub(crate) archive_lag: Duration,
    /// PoD: the largest message, in bytes.
    pub(crate) max_frame_bytes: usize,
    /// PoD: the run ends when the live stream was silent for this long.
    pub(crate) idle_exit: Option<Duration>,
}

/// Where a secret is to be had.
#[derive(Debug, Clone)]
pub enum SecretRef {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Printed by a command.
    Command(CommandLine),
    /// In the configuration itself.
    Plain(Plain),
}

/// A program and its arguments, which are never printed: they may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine(Vec<OsString>);

impl CommandLine {
    /// The program first; `None` if there is none.
    #[must_use]
    pub(crate) fn new(words: Vec<OsString>) -> Option<CommandLine> {
        words
            .first()
            .is_some_and(|program| !program.is_empty())
            .then_some(CommandLine(words))
    }

    /// Its name, to be looked for in `$PATH`, or its path.
    #[must_use]
    pub(crate) fn program(&self) -> &OsStr {
        self.0.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// What it is given.
    #[must_use]
    pub(crate) fn arguments(&self) -> &[OsString] {
        self.0.get(1..).unwrap_or_default()
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({:?}, ..)", self.program())
    }
}

/// A secret that stands in the configuration; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(String);

impl Plain {
    /// The secret itself, for `secret` alone.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain(..)")
    }
}
