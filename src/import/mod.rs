//! `import` turns the configuration of a Devo collector, and how far it came, into a configuration of
//! proofpull.
//!
//! `plan` is pure: text in, a `Plan` or everything that is wrong out. `write` carries a plan out.

mod addresses;
mod devo_side;
mod draft;
mod inputs;
mod node;
mod obfuscation;
pub mod pickle;
mod position;
mod reasons;
mod requests;
mod services;
mod times;
mod units;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use time::{Duration, OffsetDateTime};

use crate::clock::{utc, whole_seconds};
use crate::config::file::look;
use crate::config::{ConfigError, quoted};
use crate::human;
use crate::service::Service;
use draft::Draft;
pub use draft::{PlannedContent, PlannedFile, SettingRow};
use node::fault;
pub use position::CollectorFile;
use position::StateFinding;
use services::TakenService;
pub(crate) use write::write;

/// How far before the position of a collector its services start. The collector moves its position when it
/// queues events, not when they are delivered, and asks for no range twice; proofpull reads up to an hour
/// again for events that become visible late.
pub(crate) const OVERLAP: Duration = Duration::hours(2);

/// What a plan is made of.
#[derive(Debug)]
pub struct Given<'a> {
    /// Their configuration.
    pub text: &'a str,
    /// The folder of their file, from which their certificates are found.
    pub base: &'a Path,
    /// The folder of the new configuration.
    pub into: &'a Path,
    /// The files of their state, if it is to be read.
    pub state: Option<&'a [CollectorFile]>,
    /// The time now.
    pub now: OffsetDateTime,
}

/// What is to be written, and what is to be said.
pub struct Plan {
    /// In the order in which they are written; the configuration is the last.
    pub files: Vec<PlannedFile>,
    /// What became of each of their settings.
    pub rows: Vec<SettingRow>,
    /// What was found in the state, and what may come twice.
    pub notes: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
    /// The services that are taken over.
    pub services: Vec<&'static Service>,
}

/// Makes a plan.
///
/// # Errors
/// Everything that is wrong, with the lines of their file; never empty.
pub fn plan(given: &Given) -> Result<Plan, Vec<ConfigError>> {
    let root = node::parse(given.text).map_err(|fault| vec![fault])?;
    let mut draft = Draft::default();
    for name in ["globals", "global_overrides"] {
        if let Some(node) = root.get(name) {
            devo_side::globals(&mut draft, node, name);
        }
    }
    match root.get("outputs") {
        Some(outputs) => devo_side::outputs(&mut draft, outputs, given.base),
        None => draft.row(
            "outputs",
            "",
            "not in this file: add [devo], see proofpull.toml(5)",
        ),
    }
    let taken = inputs::inputs(&mut draft, &root, given.now);
    for (name, _) in root.entries() {
        if !["globals", "global_overrides", "outputs", "inputs"].contains(&name.as_str()) {
            draft.row(name, "", reasons::reason(name));
        }
    }
    let mut said = Said::default();
    starts(&mut draft, &taken, given, &mut said);
    if !draft.faults.is_empty() {
        draft.faults.sort_by_key(|fault| fault.line);
        return Err(draft.faults);
    }
    for taken in &taken {
        draft
            .files
            .extend(units::drop_ins(taken.service, taken.period));
    }
    let (text, origins) = draft.text_and_origins();
    let (config, faults) = look(&text, given.into, given.now);
    if !faults.is_empty() {
        let at = |fault: &ConfigError| {
            origins
                .get(fault.line.saturating_sub(1))
                .copied()
                .unwrap_or(0)
        };
        let faults = faults.iter().map(|wrong| {
            let said = format!(
                "this would become what proofpull refuses: {}",
                wrong.message
            );
            fault(at(wrong).max(1), said, wrong.hint.clone())
        });
        return Err(faults.collect());
    }
    for row in draft.rows.iter_mut().filter(|row| row.value.is_empty()) {
        let value = config.record.keys().find(|key| key.is(&row.ours));
        row.value = value.and_then(|key| key.value.clone()).unwrap_or_default();
    }
    let text = PlannedContent::Text(text);
    draft.files.push(PlannedFile {
        path: "config.toml".into(),
        content: text,
    });
    Ok(Plan {
        files: draft.files,
        rows: draft.rows,
        notes: said.notes,
        warnings: said.warnings,
        services: taken.iter().map(|taken| taken.service).collect(),
    })
}

/// Whether a text is the configuration of a collector, as far as can be told from its form.
pub(crate) fn is_of_a_collector(text: &str) -> bool {
    // most texts are spared the reading
    text.contains("inputs")
        && node::parse(text).is_ok_and(|root| {
            let inputs = root
                .get("inputs")
                .map(node::Node::entries)
                .unwrap_or_default();
            inputs
                .iter()
                .any(|(_, input)| input.get("services").is_some())
        })
}

#[derive(Default)]
struct Said {
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// Sets where each service starts, and says what may come twice.
fn starts(draft: &mut Draft, taken: &[TakenService], given: &Given, said: &mut Said) {
    let position = match given.state {
        Some(files) => match position(files, taken.len(), given.now, said) {
            Some(position) => Some(position),
            None => {
                let hint = "import without --state, and set start_time of each service to a time before the \
                            collector stopped";
                for warning in std::mem::take(&mut said.warnings) {
                    draft.fault(1, warning, hint);
                }
                draft.fault(1, "no position was found in the state", hint);
                return;
            }
        },
        None => None,
    };
    // services of which the same is said, together
    let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for TakenService { service, start, .. } in taken {
        let table = format!("services.{}", service.name);
        let key = format!("{table}.start_time");
        let told_of = match (position, start) {
            (Some(position), start) => {
                let from = whole_seconds(position.min(given.now) - OVERLAP);
                draft.line(&table, "start_time", &quoted(utc(from)), 0);
                draft.row("(state)", &key, "");
                if let Some((.., theirs)) = start {
                    draft.row(theirs, "", "the saved position says more");
                }
                format!(
                    "start at {}, {} before the position of the collector, {}: what it delivered of that time comes twice",
                    utc(from), human::duration(OVERLAP.unsigned_abs()), utc(position)
                )
            }
            (None, Some((time, line, theirs))) => {
                draft.set(&table, "start_time", &quoted(utc(*time)), *line, theirs);
                format!(
                    "start at {}, as the collector did: what it delivered comes twice, as far as the service keeps it; --state reads its position",
                    utc(*time)
                )
            }
            (None, None) if service.sign_in_table() == "pod" => {
                "start with the stream as it is then: what comes between the end of the collector and the first run is missing; --state reads its position, or set start_time".to_owned()
            }
            (None, None) => "start 24 hours back: what the collector delivered of that time comes twice; --state reads its position, or set start_time".to_owned(),
        };
        told.entry(told_of).or_default().push(service.name);
    }
    let told = told
        .iter()
        .map(|(told, services)| format!("{} {told}", services.join(", ")));
    said.notes.extend(told);
}

/// The earliest position in the files of the state, and what is said of each.
fn position(
    files: &[CollectorFile],
    services: usize,
    now: OffsetDateTime,
    said: &mut Said,
) -> Option<OffsetDateTime> {
    let by_hand = "if it belongs to a service, set the start_time of that service to a time before the collector stopped";
    let mut positions = Vec::new();
    for file in files {
        let name = &file.name;
        match position::find(file, now) {
            StateFinding::Position { key, time } => {
                said.notes.push(format!("{name} in the state: {key} is {}", utc(time)));
                positions.push(time);
            }
            StateFinding::Nothing => {}
            StateFinding::Undelivered(count) => said.warnings.push(format!(
                "{name} in the state holds {} that the collector took and did not deliver: let it run until they are delivered, or set start_time to a time before them",
                human::count(count, "event")
            )),
            StateFinding::Unknown(why) => said.warnings.push(format!(
                "{name} in the state is not understood: {why}; {by_hand}"
            )),
        }
    }
    if !positions.is_empty() && positions.len() < services {
        said.warnings.push(format!(
            "the state has {} for {}: one that has none may not have been collected yet, or its start_time is to be set to a time before the collector stopped",
            human::count(positions.len() as u64, "position"),
            human::count(services as u64, "service"),
        ));
    }
    positions.into_iter().min()
}
