//! `check` reports every error in the configuration; on request it prints the effective keys and
//! tests the connections.

mod offline;
mod probe;
mod receiver;
mod trial;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::select::{configured, selected};
use super::{host_name, state_dir, text};
use crate::cli::args::{CheckArgs, Common};
use crate::clock::Clock;
use crate::config::{self, ConfigError, EffectiveKey, quoted};
use crate::error::{Exit, Failure, Result};
use crate::human;
use crate::output::{self, Report};
use trial::Try;

pub(super) fn check(
    args: &CheckArgs,
    common: &Common,
    report: &Report,
    clock: Clock,
) -> Result<Exit> {
    let text = text(common)?;
    let (config, faults) = config::file::look(&text.text, &text.base, clock.now());
    let mut findings: Vec<Finding> = faults.into_iter().map(Finding::from).collect();
    let services = match selected(&args.services, &config) {
        Ok(services) if !services.is_empty() => services,
        // what is wrong in the text may be why no service matches
        Err(error) if findings.is_empty() => return Err(error),
        _ => configured(&config),
    };
    let checks = offline::OfflineChecks {
        config: &config,
        is_readable: findings.is_empty(),
        services: &services,
        is_selected: !args.services.is_empty(),
        state_dir: &state_dir(common, &config),
        file: (&text.path, &text.base),
        now: clock.now(),
    };
    checks.at_the_file(&text, &mut findings);
    checks.at_everything(&mut findings);
    findings.sort_by_key(|finding| finding.place.unwrap_or_default());
    let answer = CheckReport {
        file: &text.path,
        name: config.name.clone().unwrap_or_else(host_name),
        shown: args.show.then(|| shown(&checks)),
        tried: match args.online {
            true => Some(probe::tries(&checks, common, clock)?),
            false => None,
        },
        findings,
    };
    output::answer(&match args.json {
        true => answer.json(),
        false => answer.text(report.is_quiet()),
    })?;
    Ok(answer.exit())
}

/// What takes effect for the services that are looked at, with what this machine and the command
/// line add to it.
fn shown(checks: &offline::OfflineChecks) -> Vec<EffectiveKey> {
    let tables = checks.services.iter();
    let tables: Vec<String> = tables
        .map(|service| format!("services.{}", service.name))
        .collect();
    let entries = checks.config.record.keys();
    let entries = entries
        .filter(|entry| !entry.table.starts_with("services.") || tables.contains(&entry.table));
    let mut entries: Vec<EffectiveKey> = entries.cloned().collect();
    for entry in &mut entries {
        if entry.is("state_dir") {
            entry.value = Some(quoted(checks.state_dir.display()));
        } else if entry.is("name") || entry.is("devo.hostname") {
            entry.value.get_or_insert_with(|| quoted(host_name()));
        }
    }
    entries
}

/// As a configuration file that says the same.
fn as_toml(entries: &[EffectiveKey]) -> String {
    let mut text = String::new();
    let mut table = "";
    for entry in entries {
        if entry.table != table {
            table = &entry.table;
            let _ = write!(text, "\n[{table}]\n");
        }
        let key = entry.key;
        let _ = match (&entry.value, entry.place) {
            (Some(value), Some(_)) => writeln!(text, "{key} = {value}"),
            (Some(value), None) => writeln!(text, "{key} = {value}  # default"),
            (None, _) => writeln!(text, "# {key} is not set"),
        };
    }
    text + "\n"
}

/// Something that is to be put right, or that somebody should know.
#[derive(Debug, Serialize)]
struct Finding {
    /// Line and column.
    place: Option<(usize, usize)>,
    level: Level,
    #[serde(serialize_with = "number")]
    exit: Exit,
    message: String,
    hint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// A run would end because of it.
    Error,
    /// It will be one, or is less than what was meant.
    Warning,
}

fn number<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*exit as u8)
}

impl From<ConfigError> for Finding {
    fn from(fault: ConfigError) -> Finding {
        Finding {
            place: Some((fault.line, fault.column)),
            level: Level::Error,
            exit: fault.exit,
            message: fault.message,
            hint: fault.hint,
        }
    }
}

impl Finding {
    /// What a run would end with, at a key.
    fn error(place: Option<(usize, usize)>, key: &str, failure: &Failure) -> Finding {
        Finding {
            place,
            level: Level::Error,
            exit: failure.exit(),
            message: format!("{key}: {failure}"),
            hint: failure.hint().unwrap_or("see proofpull.toml(5)").to_owned(),
        }
    }

    fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// All that is answered.
#[derive(Debug)]
struct CheckReport<'a> {
    file: &'a Path,
    name: String,
    findings: Vec<Finding>,
    shown: Option<Vec<EffectiveKey>>,
    tried: Option<Vec<Try>>,
}

impl CheckReport<'_> {
    /// As for a run: the first error decides.
    fn exit(&self) -> Exit {
        let found = self.findings.iter().filter(|finding| finding.is_error());
        let tried = self.tried.iter().flatten().filter_map(Try::failure);
        let mut errors = found.map(|finding| finding.exit).chain(tried);
        errors.next().unwrap_or(Exit::Ok)
    }

    fn text(&self, is_quiet: bool) -> String {
        let mut text = self.shown.as_deref().map(as_toml).unwrap_or_default();
        let file = self.file.display();
        for Finding {
            place,
            level,
            message,
            hint,
            ..
        } in &self.findings
        {
            let place = place.map(|(line, column)| format!("{line}:{column}: "));
            let level = match level {
                Level::Error => "error",
                Level::Warning => "warning",
            };
            let _ = writeln!(
                text,
                "{file}:{}{level}: {message}\n  hint: {hint}",
                place.unwrap_or_else(|| " ".into())
            );
        }
        let tried = self.tried.as_deref().unwrap_or_default();
        text += &trial::text(tried);
        let count = |level| {
            self.findings
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        let well = tried.iter().filter(|one| one.is_well()).count();
        let failed = tried.len() - well;
        match (count(Level::Error), count(Level::Warning)) {
            (0, 0) if failed == 0 && is_quiet => {}
            (errors, warnings) => {
                let online = match (&self.tried, well) {
                    (None, _) => "; nothing was tested online, see --online".to_owned(),
                    (Some(_), _) => format!("; online: {well} of {} ok", tried.len()),
                };
                let errors = human::count(errors as u64, "error");
                let warnings = human::count(warnings as u64, "warning");
                let _ = writeln!(text, "{file}: {errors}, {warnings}{online}");
            }
        }
        text
    }

    fn json(&self) -> String {
        let exit = self.exit();
        let answer = serde_json::json!({
            "file": self.file,
            "name": self.name,
            "status": exit as u8,
            "status_name": exit.name(),
            "findings": self.findings,
            "config": self.shown,
            "online": self.tried,
        });
        format!("{answer:#}\n")
    }
}
