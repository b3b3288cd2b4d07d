//! What each table of a configuration may hold, and the values that come of it.
//!
//! Pure: reads no file and no environment variable; relative paths count from the folder it is
//! told. Everything that is wrong is collected. A new key is one line in the function of its
//! table, and one field in the type it belongs to: the reader records it with its default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;

pub(crate) use super::ConfigError;
use super::effective::{EffectiveKeys, ToToml, inline_table};
use super::reader::{Reader, ValueError, boolean, nearest, shown, unless_empty};
use super::rules::rules;
use super::toml::{TableEntry, Value, read};
use super::values::{is_host, parse_duration, parse_host_and_port, parse_instant};
use super::{
    Address, ClientIdentity, CommandLine, Config, DevoConfig, HttpConfig, IsolationConfig,
    MetricsConfig, Mode, Plain, PodConfig, SecretRef, Settings, TapConfig, Url,
};
use crate::quota::Limit;
use crate::service::{self, Kind, Service};

/// What TAP takes as `threatType` and `threatStatus` (Proofpoint's SIEM API document).
const THREAT_TYPES: [&str; 3] = ["url", "attachment", "messageText"];
const THREAT_STATUSES: [&str; 3] = ["active", "cleared", "falsePositive"];

const MINUTE: Duration = Duration::from_secs(60);

/// The limits of durations, in seconds.
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// The largest number of requests that Devo's own collectors accept as a limit.
const MAX_REQUESTS: u32 = 9_999_999;

/// The longest tag that Devo's own collectors accept.
const MAX_TAG: usize = 1024;

/// The longest host name.
const MAX_HOSTNAME: usize = 255;

const PULLING_ID: &str = "@devo_pulling_id";
const TAP: &str = "https://tap-api-v2.proofpoint.com";
const POD: &str = "wss://logstream.proofpoint.com:443";

/// How addresses of single services are written.
const TAP_URL: &str = "https://tap-api-v2.proofpoint.com/v2/siem/clicks/blocked";
const POD_URL: &str = "wss://logstream.proofpoint.com:443/v1/stream";

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
    let (table, mut faults) = read(text);
    let mut record = EffectiveKeys::default();
    let mut check = ConfigReader {
        base,
        now,
        secret_inside: false,
        has_key: false,
    };
    let config = check.config(Reader::new(table, &mut faults, &mut record));
    faults.sort_by_key(|fault| (fault.line, fault.column));
    (Config { record, ..config }, faults)
}

struct ConfigReader<'a> {
    base: &'a Path,
    now: OffsetDateTime,
    secret_inside: bool,
    /// Whether there is a table for the key of pseudonyms; what is wrong in it is told there.
    has_key: bool,
}

impl ConfigReader<'_> {
    fn config(&mut self, mut top: Reader) -> Config {
        let config = Config {
            name: top.text("name", "acme", name),
            state_dir: self.path(&mut top, "state_dir", "/var/lib/proofpull"),
            devo: top.table("devo").and_then(|table| self.devo(table)),
            tap: top.table("tap").and_then(|table| self.tap(table)),
            pod: top.table("pod").and_then(|table| self.pod(table)),
            isolation: top
                .table("isolation")
                .and_then(|table| self.isolation(table)),
            http: self.http(top.table_or_empty("http")),
            pseudonym_key: self.obfuscation(&mut top),
            metrics: top.table("metrics").and_then(|table| self.metrics(table)),
            services: self.services(top.table_or_empty("services")),
            // known when all the others are read
            secret_inside: self.secret_inside,
            record: EffectiveKeys::default(),
        };
        top.close();
        config
    }

    fn devo(&self, mut table: Reader) -> Option<DevoConfig> {
        table.need("address", "\"collector-us.devo.io:443\"");
        let address = table.text("address", "collector-us.devo.io:443", address);
        let chain = self.path(&mut table, "chain", "certs/chain.crt");
        table.together("cert", "key");
        let cert = self.path(&mut table, "cert", "certs/domain.crt");
        let key = self.path(&mut table, "key", "certs/domain.key");
        let own_name = address.as_ref().map(|address| address.host.clone());
        let own_name = own_name.unwrap_or_else(|| "collector-us.devo.io".to_owned());
        let server_name = table.text_or("server_name", own_name, server_name);
        let hostname = table.text("hostname", "mail-collector-1", hostname);
        let pulling_id = table.value_or("pulling_id", true, |value| boolean("pulling_id", value));
        let read =
            |table: &mut Reader| table.table("fields").map(|table| fields(table, pulling_id));
        let fields = table.recorded("fields", read, |read| inline_table(read.as_deref()?));
        table.close();
        let identity = cert
            .zip(key)
            .map(|(cert, key)| ClientIdentity { cert, key });
        Some(DevoConfig {
            address: address?,
            chain,
            identity,
            server_name,
            hostname,
            pulling_id,
            fields: fields.unwrap_or_default(),
        })
    }

    fn tap(&mut self, mut table: Reader) -> Option<TapConfig> {
        table.also_called(&[("username", "principal"), ("password", "secret")]);
        let base_url = table.text_or("base_url", Url::parse(TAP).ok()?, base_url);
        table.need("principal", "\"the service principal\"");
        let principal = table.text("principal", "the service principal", principal);
        let secret = self.secret(&mut table, "secret", "tap.secret");
        table.close();
        Some(TapConfig {
            base_url,
            principal: principal?,
            secret: secret?,
        })
    }

    fn isolation(&mut self, mut table: Reader) -> Option<IsolationConfig> {
        let api_key = self.secret(&mut table, "api_key", "isolation.key");
        table.close();
        api_key.map(|api_key| IsolationConfig { api_key })
    }

    fn pod(&mut self, mut table: Reader) -> Option<PodConfig> {
        table.also_called(&[("token", "api_key"), ("cluster", "cluster_id")]);
        let base_url = table.text_or(
            "base_url",
            Url::parse_web_socket(POD).ok()?,
            stream_base_url,
        );
        table.need("cluster_id", "\"examplecorp_hosted\"");
        let cluster_id = table.text("cluster_id", "examplecorp_hosted", cluster_id);
        let api_key = self.secret(&mut table, "api_key", "pod.key");
        table.close();
        Some(PodConfig {
            base_url,
            cluster_id: cluster_id?,
            api_key: api_key?,
        })
    }

    fn http(&mut self, mut table: Reader) -> HttpConfig {
        let http = HttpConfig {
            proxy: table.text("proxy", "http://proxy.example:3128", proxy),
            ca: self.path(&mut table, "ca", "corporate-ca.pem"),
            timeout: table.text_or("timeout", MINUTE, duration(1..=HOUR)),
        };
        let password = http.proxy.as_ref().and_then(Url::userinfo);
        self.secret_inside |= password.is_some_and(|(_, password)| !password.reveal().is_empty());
        table.close();
        http
    }

    fn obfuscation(&mut self, top: &mut Reader) -> Option<SecretRef> {
        self.has_key = top.has("obfuscation");
        let mut table = top.table("obfuscation")?;
        let key = self.secret(&mut table, "key", "obfuscation.key");
        table.close();
        key
    }

    fn metrics(&self, mut table: Reader) -> Option<MetricsConfig> {
        let example = "/var/lib/prometheus/node-exporter";
        table.need("textfile_dir", &format!("{example:?}"));
        let textfile_dir = self.path(&mut table, "textfile_dir", example);
        table.close();
        Some(MetricsConfig {
            textfile_dir: textfile_dir?,
        })
    }

    fn services(&self, mut table: Reader) -> BTreeMap<&'static str, Settings> {
        let mut services = BTreeMap::new();
        for service in &service::SERVICES {
            let settings = self.settings(table.table_or_empty(service.name), service);
            services.insert(service.name, settings);
        }
        for entry in table.rest() {
            if !matches!(entry.item.value, Value::Unreadable) {
                no_such_service(&mut table, &entry);
            }
        }
        services
    }

    fn settings(&self, mut table: Reader, service: &Service) -> Settings {
        table.also_called(&[
            ("obfuscation_data", "obfuscate"),
            ("second_look", "recheck_after"),
        ]);
        let mut settings = Settings {
            start_time: self.start_time(&mut table),
            tag: table.text_or("tag", service.tag.to_owned(), tag),
            ..Settings::default()
        };
        if let Kind::Pod { .. } = service.kind {
            let url = |text: &str| service_url(Url::parse_web_socket(text)?);
            settings.url = table.text("url", POD_URL, url);
            settings.max_duration = table.text_or("max_duration", 50 * MINUTE, duration(1..=WEEK));
        } else {
            let look_back = match service.kind {
                Kind::Isolation { .. } => 60 * MINUTE,
                _ => 45 * MINUTE,
            };
            let url = |text: &str| service_url(Url::parse(text)?);
            settings.url = table.text("url", TAP_URL, url);
            settings.look_back = table.text_or("look_back", look_back, duration(0..=DAY));
            settings.recheck_after =
                table.text_or("recheck_after", 720 * MINUTE, duration(0..=6 * DAY));
            settings.max_duration = table.text_or("max_duration", 10 * MINUTE, duration(1..=WEEK));
        }
        settings.rules = rules(&mut table, self.has_key);
        match service.kind {
            Kind::Tap { .. } => {
                settings.requests = requests(&mut table);
                settings.threat_type = choices(&mut table, "threat_type", &THREAT_TYPES);
                settings.threat_status = choices(&mut table, "threat_status", &THREAT_STATUSES);
            }
            Kind::Threats => {
                settings.requests = requests(&mut table);
                let most = number("a whole number such as 500", 1..=100_000);
                settings.max_threats_per_run = table.value_or("max_threats_per_run", 500, most);
            }
            Kind::Isolation { .. } => {
                settings.window_offset =
                    table.text_or("window_offset", 30 * MINUTE, duration(0..=DAY));
            }
            Kind::Pod { .. } => {
                let bytes = number("a whole number of bytes", 1 << 10..=1 << 30);
                settings.mode = table.text_or("mode", Mode::Complete, mode);
                settings.archive_lag = table.text_or("archive_lag", 45 * MINUTE, duration(0..=DAY));
                settings.max_frame_bytes = table.value_or("max_frame_bytes", 64 << 20, bytes);
                settings.idle_exit = table.text("idle_exit", "30s", duration(1..=DAY));
            }
        }
        table.close();
        settings
    }

    /// An instant in quotes or without; blank is absent, because templates write it so.
    fn start_time(&self, table: &mut Reader) -> Option<OffsetDateTime> {
        let (key, example) = ("start_time", "\"2026-01-01T00:00:00Z\"");
        let read = |value| match value {
            Value::Text(text) if text.trim().is_empty() => Ok(None),
            Value::Text(text) | Value::Time(text) => match parse_instant(&text)? {
                time if time > self.now => Err(ValueError::but(
                    "lies in the future",
                    "give a time that is past, or set this machine's clock",
                )),
                time => Ok(Some(time)),
            },
            other => Err(other.instead_of("a time such as 2026-01-01T00:00:00Z")),
        };
        let read = |table: &mut Reader| {
            table.numbered("[SetupError 101] ", key, |table| {
                table.read(key, example, read).flatten()
            })
        };
        table.recorded(key, read, |time| time.as_ref().map(ToToml::to_toml))
    }

    fn path(&self, table: &mut Reader, key: &'static str, example: &str) -> Option<PathBuf> {
        table.text(key, example, |text| self.path_of(text))
    }

    fn path_of(&self, text: &str) -> Result<PathBuf, &'static str> {
        match text {
            _ if text.contains(char::is_control) => {
                Err("must be a path without control characters")
            }
            // only a shell knows it
            _ if text.starts_with("~/") => Err("must be a path without ~"),
            _ => Ok(self.base.join(text)),
        }
    }

    /// A program and its arguments, one string each.
    fn command(&self, table: &mut Reader) -> Option<CommandLine> {
        const EXAMPLE: &str = "[\"pass\", \"show\", \"proofpoint/tap\"]";
        table.read("command", EXAMPLE, |value| {
            let words = match value {
                Value::List(list) => list,
                Value::Text(_) => return Err("must be a list of strings: no shell parts it".into()),
                other => return Err(other.instead_of(&format!("a list such as {EXAMPLE}"))),
            };
            let words = words.into_iter().map(|item| match item.value {
                Value::Text(text) if text.contains('\0') => Err("must not have a NUL in it".into()),
                Value::Text(text) => Ok(text),
                other => Err(ValueError::from(format!(
                    "must be a list of strings, not of {}",
                    other.kind()
                ))),
            });
            let mut words: Vec<OsString> = words
                .map(|word| word.map(Into::into))
                .collect::<Result<_, _>>()?;
            if let Some(program) = words.first_mut()
                && program.as_encoded_bytes().contains(&b'/')
            {
                // with a slash it is a path, which counts from the configuration as others do
                *program = self.base.join(&*program).into();
            }
            CommandLine::new(words).ok_or_else(|| "must begin with a program".into())
        })
    }

    /// A secret: where it is to be had, or the secret itself.
    fn secret(&mut self, table: &mut Reader, key: &'static str, file: &str) -> Option<SecretRef> {
        let read = |table: &mut Reader| self.read_secret(table, key, file);
        table.recorded(key, read, |secret| secret.as_ref().map(ToToml::to_toml))
    }

    fn read_secret(
        &mut self,
        table: &mut Reader,
        key: &'static str,
        file: &str,
    ) -> Option<SecretRef> {
        let example = format!("{{ file = {file:?} }}");
        table.need(key, &example);
        match table.take(key)? {
            item if matches!(item.value, Value::Table(_)) => {
                let place = item.place;
                let mut inner = table.open(key, item)?;
                inner.keep_quiet();
                let kinds = ["file", "env", "credential", "command"];
                let given = kinds.iter().filter(|kind| inner.has(kind)).count();
                let path = inner
                    .read_text("file", file, |text| self.path_of(text))
                    .map(SecretRef::File);
                let env = inner
                    .read_text("env", "TAP_SECRET", variable)
                    .map(SecretRef::Env);
                let credential = inner
                    .read_text("credential", file, credential)
                    .map(SecretRef::Credential);
                let command = self.command(&mut inner).map(SecretRef::Command);
                if given > 1 || given == 0 && inner.is_done() {
                    let said = "must hold one of file, env, credential and command";
                    inner.fault(place, said.into(), format!("write {key} = {example}"));
                }
                inner.close();
                path.or(env).or(credential).or(command)
            }
            item => {
                let value =
                    table.judge(key, &example, item, |value| match value {
                        Value::Text(text) if text.trim().is_empty() => {
                            Err(ValueError::from("must not be empty"))
                        }
                        Value::Text(text) if text.contains(char::is_control) => {
                            Err("must be on one line".into())
                        }
                        Value::Text(text) => Ok(SecretRef::Plain(Plain(text))),
                        other => Err(other
                            .instead_of("a string, or a table such as { file = \"tap.secret\" }")),
                    });
                self.secret_inside |= value.is_some();
                value
            }
        }
    }
}

/// Says of a table of `[services]` that no service is called so.
fn no_such_service(table: &mut Reader, TableEntry { name, place, .. }: &TableEntry) {
    let said = match service::find(&shown(name)) {
        Err(said) if !table.is_quiet() => said,
        _ => "has no such service".into(),
    };
    let mut services = service::SERVICES.iter();
    let devo = services.find(|service| service.devo == Some(name));
    let names = service::SERVICES.each_ref().map(|service| service.name);
    let meant = devo.map(|service| service.name);
    let hint = match meant.or_else(|| nearest(name, &names)) {
        Some(meant) => format!("did you mean [services.{meant}]?"),
        None => "write one of these names behind services and a dot".into(),
    };
    table.fault(*place, said, hint);
}

fn name(text: &str) -> Result<String, &'static str> {
    // it becomes a part of file names
    match text.contains(|c: char| c.is_control() || c == '/') {
        true => Err("must not have slashes or control characters"),
        false => Ok(text.into()),
    }
}

fn address(text: &str) -> Result<Address, String> {
    let (host, port) = parse_host_and_port(text)?;
    Ok(Address {
        host,
        port: port.ok_or("must end with a colon and a port")?,
    })
}

fn server_name(text: &str) -> Result<String, &'static str> {
    match is_host(text) {
        true => Ok(text.into()),
        false => Err("must be a DNS name or an IP address, without a port"),
    }
}

/// The receiver takes the word before the tag as the host, unless it has a colon
/// (as Scoja's parser does, the open relative of Devo's receiver).
fn hostname(text: &str) -> Result<String, &'static str> {
    match text.len() <= MAX_HOSTNAME
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
    {
        true => Ok(text.into()),
        false => Err("must be at most 255 ASCII characters without blanks and colons"),
    }
}

/// Constant strings for each event, under any name but the one that the program writes itself.
fn fields(mut table: Reader, pulling_id: bool) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for TableEntry { name, place, item } in table.rest() {
        let at = item.place;
        let said = match item.value {
            Value::Unreadable => continue,
            _ if name.is_empty() => "must not have an empty name in it".into(),
            _ if name == PULLING_ID && pulling_id => {
                let hint = format!(
                    "take it out of fields, or set pulling_id = false in [devo] (it appends {PULLING_ID})"
                );
                table.fault(place, format!("{PULLING_ID} is appended already"), hint);
                continue;
            }
            Value::Text(text) => {
                fields.push((name, text));
                continue;
            }
            other => format!("must hold strings, not {}", other.kind()),
        };
        table.fault(
            at,
            said,
            "write fields = { \"@devo_environment\" = \"prod\" }".into(),
        );
    }
    fields
}

/// Tags have two to six levels (Devo's documents, "About Devo tags").
fn tag(text: &str) -> Result<String, &'static str> {
    let level = |level: &str| {
        !level.is_empty()
            && level
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let levels = text.split('.').count();
    match (2..=6).contains(&levels) && text.split('.').all(level) && text.len() <= MAX_TAG {
        true => Ok(text.into()),
        false => {
            Err("must be two to six levels of letters, digits, - and _, with dots between them")
        }
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim_end_matches('/'))?;
    match url.path().contains("/v2") {
        true => Err("must be the address without /v2 and what follows, the program adds it".into()),
        false => Ok(url),
    }
}

fn stream_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse_web_socket(text.trim_end_matches('/'))?;
    match url.path().contains("/v1") {
        true => Err("must be the address without /v1 and what follows, the program adds it".into()),
        false => Ok(url),
    }
}

/// It stands in the console's corner beside the release number, and blanks come along.
fn cluster_id(text: &str) -> Result<String, ValueError> {
    match text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        true => Ok(text.into()),
        false => Err(ValueError::but(
            "must be of letters, digits, -, _ and .",
            "copy it from the top right corner of the PoD admin console, without the release number",
        )),
    }
}

fn mode(text: &str) -> Result<Mode, &'static str> {
    match text {
        "complete" => Ok(Mode::Complete),
        "live" => Ok(Mode::Live),
        "archive" => Ok(Mode::Archive),
        _ => Err("must be \"complete\", \"live\" or \"archive\""),
    }
}

fn service_url(url: Url) -> Result<Url, String> {
    match url.path() {
        "/" => Err("must be the whole address, with the path".into()),
        _ => Ok(url),
    }
}

fn proxy(text: &str) -> Result<Url, ValueError> {
    let hint = "write proxy = \"http://[USER:PASSWORD@]HOST:PORT\", with : / @ # % in the password as %3A %2F %40 %23 %25";
    Url::parse_proxy(text).map_err(|said| ValueError::but(said, hint))
}

/// HTTP Basic parts the user from the password at the first colon.
fn principal(text: &str) -> Result<String, ValueError> {
    let remedy =
        "copy the service principal from the TAP dashboard: Settings, Connected Applications";
    match text {
        _ if text.contains(|c: char| c == ':' || c.is_control()) => Err(ValueError::but(
            "must not have a colon or a control character",
            remedy,
        )),
        _ if text.trim() != text => Err(ValueError::but(
            "must not begin or end with a blank",
            remedy,
        )),
        _ => Ok(text.into()),
    }
}

fn variable(text: &str) -> Result<String, &'static str> {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match fits && !text.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(text.into()),
        false => Err("must be the name of an environment variable, of letters, digits and _"),
    }
}

fn credential(text: &str) -> Result<String, &'static str> {
    match text.contains(|c: char| c == '/' || c.is_control()) || text == "." || text == ".." {
        true => Err("must be the name of a file in $CREDENTIALS_DIRECTORY, without a slash"),
        false => Ok(text.into()),
    }
}

/// Reads a duration of so many seconds.
fn duration(span: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| match parse_duration(text)? {
        time if span.contains(&time.as_secs()) => Ok(time),
        _ => Err(format!(
            "must be from {} to {}",
            in_words(*span.start()),
            in_words(*span.end())
        )),
    }
}

/// Reads a whole number; `expected` is what it must be.
fn number<N: FromStr + PartialOrd + Display>(
    expected: &str,
    span: RangeInclusive<N>,
) -> impl FnOnce(Value) -> Result<N, ValueError> {
    move |value| match value {
        Value::Number(number) if number.parse::<i128>().is_ok() => {
            let read = number.parse().ok().filter(|number| span.contains(number));
            read.ok_or_else(|| format!("must be from {} to {}", span.start(), span.end()).into())
        }
        other => Err(other.instead_of(expected)),
    }
}

/// A limit of a duration, as a person writes it.
fn in_words(seconds: u64) -> String {
    match seconds {
        _ if seconds >= DAY => format!("{}d", seconds / DAY),
        _ if seconds >= HOUR => format!("{}h", seconds / HOUR),
        _ => format!("{seconds}s"),
    }
}

/// The limits of requests of a service of TAP; an empty list is none.
fn requests(table: &mut Reader) -> Vec<Limit> {
    let read = |table: &mut Reader| limits(table).unwrap_or_else(|| vec![Limit::a_day(220)]);
    table.recorded("requests", read, |limits| Some(limits.to_toml()))
}

fn limits(table: &mut Reader) -> Option<Vec<Limit>> {
    const KEY: &str = "requests";
    const EXAMPLE: &str = "[{ period = \"1d\", at_most = 220 }]";
    let list = table.read(KEY, EXAMPLE, |value| match value {
        Value::List(list) => Ok(list),
        other => Err(other.instead_of(&format!("a list such as {EXAMPLE}"))),
    })?;
    let mut limits = Vec::new();
    for item in list {
        if !matches!(item.value, Value::Table(_) | Value::Unreadable) {
            let said = format!("must be a list of tables, not of {}", item.value.kind());
            table.complain(item.place, KEY, EXAMPLE, said.into());
            continue;
        }
        let Some(mut table) = table.open(KEY, item) else {
            continue;
        };
        table.need("period", "\"1d\"");
        table.need("at_most", "220");
        let period = table.read_text("period", "1d", duration(1..=30 * DAY));
        let at_most = number("a whole number such as 220", 1..=MAX_REQUESTS);
        let at_most = table.read("at_most", "220", at_most);
        table.close();
        let period = period.and_then(|period| time::Duration::try_from(period).ok());
        limits.extend(
            at_most
                .zip(period)
                .map(|(at_most, period)| Limit { at_most, period }),
        );
    }
    Some(limits)
}

/// A list of some of the words that an API knows; nothing is the same as no list.
fn choices(table: &mut Reader, key: &'static str, words: &'static [&'static str]) -> Vec<String> {
    table.recorded(key, |table| chosen(table, key, words), unless_empty)
}

fn chosen(table: &mut Reader, key: &'static str, words: &'static [&'static str]) -> Vec<String> {
    let example = format!("[\"{}\"]", words.join("\", \""));
    let Some(list) = table.read(key, &example, |value| match value {
        Value::List(list) => Ok(list),
        Value::Text(text) if words.contains(&&*text) => Err(ValueError::but(
            "must be a list, not a string",
            format!("write {key} = [{text:?}]"),
        )),
        other => Err(other.instead_of(&format!("a list such as {example}"))),
    }) else {
        return Vec::new();
    };
    let mut chosen: Vec<String> = Vec::new();
    for item in list {
        let wrong = match item.value {
            Value::Text(text) if chosen.contains(&text) => {
                ValueError::but("has a word twice", "keep one of the two")
            }
            Value::Text(text) if words.contains(&&*text) => {
                chosen.push(text);
                continue;
            }
            Value::Text(text) => match nearest(&text, words) {
                Some(meant) => ValueError::but(
                    "has a word that TAP does not know",
                    format!("did you mean {meant:?}?"),
                ),
                None => "has a word that TAP does not know".into(),
            },
            other => format!("must be a list of strings, not of {}", other.kind()).into(),
        };
        table.complain(item.place, key, &example, wrong);
    }
    chosen
}

#[cfg(test)]
mod tests;
