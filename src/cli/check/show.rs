//! The configuration as it takes effect: each key with its value, secrets masked, defaults marked.

use serde::Serialize;

use super::offline::OfflineChecks;
use crate::cli::host_name;
use crate::config::{Config, Mode, SecretRef, Settings};
use crate::quota::Limit;
use crate::service::{Kind, Service};
use crate::transform::{Action, Rule};
use crate::window::utc;

/// A key.
#[derive(Debug, Serialize)]
pub(super) struct ShownKey {
    /// Its table, nothing at the top.
    table: String,
    key: &'static str,
    /// As TOML writes it; nothing where the key is not set and there is no default.
    value: Option<String>,
    /// Whether it is not written in the file.
    is_default: bool,
}

/// As a configuration file that says the same.
pub(super) fn text(lines: &[ShownKey]) -> String {
    let mut text = String::new();
    let mut table = "";
    for line in lines {
        if line.table != table {
            table = &line.table;
            text += &format!("\n[{table}]\n");
        }
        text += &match (&line.value, line.is_default) {
            (Some(value), false) => format!("{} = {value}\n", line.key),
            (Some(value), true) => format!("{} = {value}  # default\n", line.key),
            (None, _) => format!("# {} is not set\n", line.key),
        };
    }
    text + "\n"
}

/// All of them, in the order of the manual.
pub(super) fn lines(checks: &OfflineChecks) -> Vec<ShownKey> {
    let config = checks.config;
    let mut page = Listing {
        config,
        lines: Vec::new(),
    };
    page.put(
        "",
        "name",
        Some(text_of(config.name.clone().unwrap_or_else(host_name))),
    );
    page.put("", "state_dir", Some(text_of(checks.state_dir.display())));
    page.devo();
    page.sign_in();
    page.pod();
    page.isolation();
    page.http();
    if let Some(key) = &config.pseudonym_key {
        page.put("obfuscation", "key", Some(secret(key)));
    }
    if let Some(metrics) = &config.metrics {
        page.put(
            "metrics",
            "textfile_dir",
            Some(text_of(metrics.textfile_dir.display())),
        );
    }
    for service in checks.services {
        page.service(service);
    }
    page.lines
}

/// As a TOML string, which is written as one of JSON.
fn text_of(value: impl std::fmt::Display) -> String {
    serde_json::Value::from(value.to_string()).to_string()
}

fn list_of(values: &[String]) -> Option<String> {
    let values: Vec<String> = values.iter().map(text_of).collect();
    (!values.is_empty()).then(|| format!("[{}]", values.join(", ")))
}

/// A duration as the configuration writes it.
fn duration(time: std::time::Duration) -> Option<String> {
    let seconds = time.as_secs();
    let units = [
        (seconds / 86_400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let written = units.iter().filter(|(number, _)| *number > 0);
    let written: String = written
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    Some(text_of(if written.is_empty() {
        "0s".to_owned()
    } else {
        written
    }))
}

fn secret(reference: &SecretRef) -> String {
    match reference {
        SecretRef::File(path) => format!("{{ file = {} }}", text_of(path.display())),
        SecretRef::Env(name) => format!("{{ env = {} }}", text_of(name)),
        SecretRef::Credential(name) => format!("{{ credential = {} }}", text_of(name)),
        // its arguments may hold a secret
        SecretRef::Command(command) => {
            let program = text_of(command.program().display());
            let more = if command.arguments().is_empty() {
                ""
            } else {
                ", \"***\""
            };
            format!("{{ command = [{program}{more}] }}")
        }
        SecretRef::Plain(_) => text_of("***"),
    }
}

fn limits(limits: &[Limit]) -> String {
    let limits = limits.iter().map(|limit| {
        let period = limit
            .period
            .try_into()
            .ok()
            .and_then(duration)
            .unwrap_or_default();
        format!("{{ period = {period}, at_most = {} }}", limit.at_most)
    });
    format!("[{}]", limits.collect::<Vec<_>>().join(", "))
}

/// The tables of rules, as lists; a pattern may be what is to be hidden.
fn rules(rules: &[Rule]) -> [(&'static str, Option<String>); 3] {
    let list = |is_of: fn(&Action) -> bool| {
        let rules = rules.iter().filter(|rule| is_of(&rule.action));
        let rules = rules.map(|rule| {
            let action = match &rule.action {
                Action::Hash => ", hash = true".to_owned(),
                Action::Replace(with) => format!(", replace = {with}"),
                Action::Keep | Action::Drop | Action::Mask => String::new(),
            };
            let pattern = rule.pattern.as_ref().map(|_| ", pattern = \"(hidden)\"");
            let path = text_of(&rule.path);
            format!("{{ path = {path}{action}{} }}", pattern.unwrap_or_default())
        });
        let rules: Vec<String> = rules.collect();
        (!rules.is_empty()).then(|| format!("[{}]", rules.join(", ")))
    };
    [
        (
            "obfuscate",
            list(|action| !matches!(action, Action::Keep | Action::Drop)),
        ),
        ("keep", list(|action| *action == Action::Keep)),
        ("drop", list(|action| *action == Action::Drop)),
    ]
}

struct Listing<'a> {
    config: &'a Config,
    lines: Vec<ShownKey>,
}

impl Listing<'_> {
    fn put(&mut self, table: &str, key: &'static str, value: Option<String>) {
        let name = match table {
            "" => key.to_owned(),
            _ => format!("{table}.{key}"),
        };
        self.lines.push(ShownKey {
            table: table.to_owned(),
            key,
            value,
            is_default: self.config.keys.place(&name).is_none(),
        });
    }

    fn devo(&mut self) {
        let Some(devo) = &self.config.devo else {
            return;
        };
        let path = |path: Option<&std::path::PathBuf>| path.map(|path| text_of(path.display()));
        let ours = devo.identity.as_ref();
        let own_name = || devo.address.host.clone();
        let fields = devo.fields.iter();
        let fields = fields.map(|(name, value)| format!("{} = {}", text_of(name), text_of(value)));
        let fields: Vec<String> = fields.collect();
        self.put("devo", "address", Some(text_of(&devo.address)));
        self.put("devo", "chain", path(devo.chain.as_ref()));
        self.put("devo", "cert", path(ours.map(|ours| &ours.cert)));
        self.put("devo", "key", path(ours.map(|ours| &ours.key)));
        self.put(
            "devo",
            "server_name",
            Some(text_of(devo.server_name.clone().unwrap_or_else(own_name))),
        );
        self.put(
            "devo",
            "hostname",
            Some(text_of(devo.hostname.clone().unwrap_or_else(host_name))),
        );
        self.put("devo", "pulling_id", Some(devo.pulling_id.to_string()));
        let fields = (!fields.is_empty()).then(|| format!("{{ {} }}", fields.join(", ")));
        self.put("devo", "fields", fields);
    }

    fn sign_in(&mut self) {
        if let Some(tap) = &self.config.tap {
            self.put("tap", "base_url", Some(text_of(&tap.base_url)));
            self.put("tap", "principal", Some(text_of(&tap.principal)));
            self.put("tap", "secret", Some(secret(&tap.secret)));
        }
    }

    fn pod(&mut self) {
        if let Some(pod) = &self.config.pod {
            self.put("pod", "base_url", Some(text_of(&pod.base_url)));
            self.put("pod", "cluster_id", Some(text_of(&pod.cluster_id)));
            self.put("pod", "api_key", Some(secret(&pod.api_key)));
        }
    }

    fn isolation(&mut self) {
        if let Some(isolation) = &self.config.isolation {
            self.put("isolation", "api_key", Some(secret(&isolation.api_key)));
        }
    }

    fn http(&mut self) {
        let http = &self.config.http;
        // an address is never printed with its user and password
        self.put("http", "proxy", http.proxy.as_ref().map(text_of));
        self.put(
            "http",
            "ca",
            http.ca.as_ref().map(|path| text_of(path.display())),
        );
        self.put("http", "timeout", duration(http.timeout));
    }

    fn service(&mut self, service: &Service) {
        let table = format!("services.{}", service.name);
        let settings: Settings = self.config.settings(service);
        let own_tag = || service.tag.to_owned();
        self.put(
            &table,
            "start_time",
            settings.start_time.map(|time| text_of(utc(time))),
        );
        self.put(
            &table,
            "tag",
            Some(text_of(settings.tag.unwrap_or_else(own_tag))),
        );
        self.put(&table, "url", settings.url.as_ref().map(text_of));
        if !matches!(service.kind, Kind::Pod { .. }) {
            self.put(&table, "look_back", duration(settings.look_back));
            self.put(&table, "recheck_after", duration(settings.recheck_after));
        }
        self.put(&table, "max_duration", duration(settings.max_duration));
        for (key, rules) in rules(&settings.rules) {
            self.put(&table, key, rules);
        }
        let requests = Some(limits(&settings.requests));
        match service.kind {
            Kind::Tap { .. } => {
                self.put(&table, "requests", requests);
                self.put(&table, "threat_type", list_of(&settings.threat_type));
                self.put(&table, "threat_status", list_of(&settings.threat_status));
            }
            Kind::Threats => {
                self.put(&table, "requests", requests);
                let most = settings.max_threats_per_run.to_string();
                self.put(&table, "max_threats_per_run", Some(most));
            }
            Kind::Isolation { .. } => {
                self.put(&table, "window_offset", duration(settings.window_offset));
            }
            Kind::Pod { .. } => {
                let mode = match settings.mode {
                    Mode::Complete => "complete",
                    Mode::Live => "live",
                    Mode::Archive => "archive",
                };
                self.put(&table, "mode", Some(text_of(mode)));
                self.put(&table, "archive_lag", duration(settings.archive_lag));
                let most = settings.max_frame_bytes.to_string();
                self.put(&table, "max_frame_bytes", Some(most));
                self.put(&table, "idle_exit", settings.idle_exit.and_then(duration));
            }
        }
    }
}
