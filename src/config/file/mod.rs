//! `Config` is a whole configuration, read from its text.
//!
//! Reads no file and no environment variable. Everything that is wrong is collected.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::devo::devo;
use super::effective::EffectiveKeys;
use super::http::http;
use super::rules::rules;
use super::secret_ref::secret;
use super::suggest::{nearest, shown};
use super::table_reader::{ReadContext, TableReader};
use super::toml::{TableEntry, Value, read};
use super::value_error::ValueError;
use super::values::{parse_instant, tag};
use super::{ConfigError, DevoConfig, HttpConfig, SecretRef, SignIn, ToToml};
use crate::service::{SERVICES, Service, find, named_by_devo};
use crate::source::ConfiguredApi;
use crate::transform::Rule;

/// The longest name, in bytes: with what is put around it, a file name takes 255.
pub(crate) const MAX_NAME: usize = 128;

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// Collector or tenant, for reports; the host's name when absent.
    pub(crate) name: Option<String>,
    /// Where state is kept; absent: `$STATE_DIRECTORY`, else `/var/lib/proofpull`.
    pub(crate) state_dir: Option<PathBuf>,
    /// The receiver.
    pub(crate) devo: Option<DevoConfig>,
    /// How to sign in.
    pub(crate) sign_in: SignIn,
    /// How connections are made.
    pub(crate) http: HttpConfig,
    /// `[obfuscation]` key: makes pseudonyms. There wherever a rule needs it.
    pub(crate) pseudonym_key: Option<SecretRef>,
    /// Where the figures of each run are left for Prometheus.
    pub(crate) metrics: Option<MetricsConfig>,
    /// Each key with the value that takes effect, and where it stands.
    pub record: EffectiveKeys,
    /// One for each row of the table of services, in its order.
    services: Vec<ServiceConfig>,
    /// Set where a secret is taken from the text, so that no later kind of secret is forgotten.
    secret_inside: bool,
}

/// `[services.NAME]`.
#[derive(Debug)]
pub struct ServiceConfig {
    /// Where the first run starts.
    pub(crate) start_time: Option<OffsetDateTime>,
    /// The Devo tag.
    pub(crate) tag: String,
    /// The rules that redact and filter events.
    pub(crate) rules: Vec<Rule>,
    /// What the API of the service reads from its table, and does with it.
    pub(crate) api: Box<dyn ConfiguredApi>,
}

/// `[metrics]`: figures for Prometheus.
#[derive(Debug, Clone)]
pub(crate) struct MetricsConfig {
    /// The folder in which node_exporter's textfile collector looks.
    pub(crate) textfile_dir: PathBuf,
}

/// Reads a configuration. `base` is the folder that relative paths count from, `now` the time that
/// no `start_time` may lie behind.
///
/// # Errors
/// Everything that is wrong, in the order of the text; never empty.
pub fn check(text: &str, base: &Path, now: OffsetDateTime) -> Result<Config, Vec<ConfigError>> {
    let (config, faults) = look(text, base, now);
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(faults)
    }
}

/// Reads a configuration as [`check`] does: what is right in it, and everything that is wrong, in
/// the order of the text.
#[must_use]
pub fn look(text: &str, base: &Path, now: OffsetDateTime) -> (Config, Vec<ConfigError>) {
    let (table, faults) = read(text);
    let mut context = ReadContext {
        base: base.to_owned(),
        now,
        secret_inside: false,
        has_pseudonym_key: false,
        faults,
        record: EffectiveKeys::default(),
    };
    let config = config(TableReader::new(table, &mut context));
    context
        .faults
        .sort_by_key(|fault| (fault.line, fault.column));
    let config = Config {
        record: context.record,
        secret_inside: context.secret_inside,
        ..config
    };
    (config, context.faults)
}

fn config(mut top: TableReader) -> Config {
    let name = top.text("name", "acme", name);
    let state_dir = top.path("state_dir", "/var/lib/proofpull");
    let devo = top.table("devo").and_then(devo);
    let sign_in = SignIn::read(&mut top);
    let http = http(top.table_or_empty("http"));
    let pseudonym_key = obfuscation(&mut top);
    let metrics = top.table("metrics").and_then(metrics);
    let services = services(top.table_or_empty("services"), &sign_in);
    top.close();
    Config {
        name,
        state_dir,
        devo,
        sign_in,
        http,
        pseudonym_key,
        metrics,
        services,
        record: EffectiveKeys::default(),
        secret_inside: false,
    }
}

fn obfuscation(top: &mut TableReader) -> Option<SecretRef> {
    top.context.has_pseudonym_key = top.has("obfuscation");
    let mut table = top.table("obfuscation")?;
    let key = secret(&mut table, "key", "obfuscation.key");
    table.close();
    key
}

fn metrics(mut table: TableReader) -> Option<MetricsConfig> {
    let example = "/var/lib/prometheus/node-exporter";
    table.need("textfile_dir", &format!("{example:?}"));
    let textfile_dir = table.path("textfile_dir", example);
    table.close();
    Some(MetricsConfig {
        textfile_dir: textfile_dir?,
    })
}

fn services(mut table: TableReader, sign_in: &SignIn) -> Vec<ServiceConfig> {
    let services = SERVICES
        .iter()
        .map(|service| service_config(table.table_or_empty(service.name), service, sign_in))
        .collect();
    for entry in table.rest() {
        if !matches!(entry.item.value, Value::Unreadable) {
            no_such_service(&mut table, &entry);
        }
    }
    services
}

fn service_config(mut table: TableReader, service: &Service, sign_in: &SignIn) -> ServiceConfig {
    table.also_called(&[
        ("obfuscation_data", "obfuscate"),
        ("second_look", "recheck_after"),
    ]);
    let config = ServiceConfig {
        start_time: start_time(&mut table),
        tag: table.text_or("tag", service.tag.to_owned(), tag),
        api: service.api.configure(service.name, &mut table, sign_in),
        rules: rules(&mut table),
    };
    table.close();
    config
}

/// An instant in quotes or without; blank is absent, because templates write it so.
fn start_time(table: &mut TableReader) -> Option<OffsetDateTime> {
    let (key, example) = ("start_time", "\"2026-01-01T00:00:00Z\"");
    let now = table.context.now;
    let read = |value| match value {
        Value::Text(text) if text.trim().is_empty() => Ok(None),
        Value::Text(text) | Value::Time(text) => match parse_instant(&text)? {
            time if time > now => Err(ValueError::but(
                "is in the future",
                "set a time in the past, or correct this machine's clock",
            )),
            time => Ok(Some(time)),
        },
        other => Err(other.instead_of("a time such as 2026-01-01T00:00:00Z")),
    };
    let read = |table: &mut TableReader| {
        table.numbered("[SetupError 101] ", key, |table| {
            table.read(key, example, read).flatten()
        })
    };
    table.recorded(key, read, |time| time.as_ref().map(ToToml::to_toml))
}

/// Says of a table of `[services]` that no service is called so.
fn no_such_service(table: &mut TableReader, TableEntry { name, place, .. }: &TableEntry) {
    let said = match find(&shown(name)) {
        Err(said) if !table.is_quiet() => said,
        _ => "has no such service".into(),
    };
    let names: Vec<&str> = SERVICES.iter().map(|service| service.name).collect();
    let meant = named_by_devo(name).next().map(|service| service.name);
    let hint = match meant.or_else(|| nearest(name, &names)) {
        Some(meant) => format!("did you mean [services.{meant}]?"),
        None => "use one of these names, as in [services.NAME]".into(),
    };
    table.fault(*place, said, hint);
}

fn name(text: &str) -> Result<String, &'static str> {
    // it becomes a part of file names
    match text {
        _ if text.contains(|c: char| c.is_control() || c == '/') => {
            Err("must not have slashes or control characters")
        }
        _ if text.len() > MAX_NAME => Err("must have at most 128 bytes"),
        _ => Ok(text.into()),
    }
}

impl Config {
    /// The settings of a service: what its table says, and the defaults.
    #[must_use]
    pub fn service(&self, service: &Service) -> &ServiceConfig {
        &self.services[place(service)]
    }

    /// The same, to be changed for one run.
    #[must_use]
    pub(crate) fn service_mut(&mut self, service: &Service) -> &mut ServiceConfig {
        &mut self.services[place(service)]
    }

    /// Every secret, with the name of its key.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        let SignIn {
            tap,
            isolation,
            pod,
        } = &self.sign_in;
        let query = self.devo.as_ref().and_then(|devo| devo.query.as_ref());
        let all = [
            ("tap.secret", tap.as_ref().map(|tap| &tap.secret)),
            ("pod.api_key", pod.as_ref().map(|pod| &pod.api_key)),
            (
                "isolation.api_key",
                isolation.as_ref().map(|isolation| &isolation.api_key),
            ),
            ("obfuscation.key", self.pseudonym_key.as_ref()),
            ("devo.query.token", query.map(|query| &query.token)),
        ];
        let set = all.into_iter();
        set.filter_map(|(key, secret)| Some((key, secret?)))
            .collect()
    }

    /// Whether a secret stands in the text itself, the proxy's password included, so that nobody
    /// else may read the file.
    #[must_use]
    pub(crate) fn holds_a_secret(&self) -> bool {
        self.secret_inside
    }
}

/// Where a service stands in the table; there is none beside it.
fn place(service: &Service) -> usize {
    let mut all = SERVICES.iter();
    all.position(|row| row == service).unwrap_or(0)
}
