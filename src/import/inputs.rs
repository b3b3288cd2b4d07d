//! `inputs` reads their `inputs`: how to sign in, and the settings of each service.
//!
//! A setting of an input holds for each of its services that has none of its own.

use time::OffsetDateTime;

use super::addresses::addresses;
use super::draft::Draft;
use super::node::{Node, NodeValue};
use super::reasons::reason;
use super::services::{TakenService, others, service_of};
use crate::config::quoted;
use crate::service::{Service, named_by_devo};

/// Their setting that adds the forensics of campaigns to what names them.
const FORENSICS: &str = "includecampaignforensics";

/// An input of theirs.
pub(super) struct Input<'n> {
    /// Its path, such as `inputs.proofpoint_tap`.
    pub(super) path: String,
    pub(super) node: &'n Node,
    /// The table of ours that signs in.
    pub(super) table: &'static str,
}

/// Reads all inputs; returns the services that are taken over.
pub(super) fn inputs(draft: &mut Draft, root: &Node, now: OffsetDateTime) -> Vec<TakenService> {
    let mut taken = Vec::new();
    let mut tables = Vec::new();
    let mut environment: Option<String> = None;
    let all = root.get("inputs").map(Node::entries).unwrap_or_default();
    for (name, node) in all {
        let path = format!("inputs.{name}");
        let services = node.get("services").map(Node::entries).unwrap_or_default();
        let table = services
            .iter()
            .find_map(|(name, _)| named_by_devo(name).next())
            .map(Service::sign_in_table);
        let Some(table) = table else {
            draft.row(
                &path,
                "",
                "no service of the collectors for TAP, PoD and Isolation",
            );
            continue;
        };
        if node.get("enabled").is_some_and(is_off) {
            draft.row(
                &format!("{path}.enabled"),
                "",
                "it is off, so nothing of it is taken over",
            );
            continue;
        }
        if tables.contains(&table) {
            let said = format!("{path}: is the second input for [{table}]");
            draft.fault(
                node.line,
                said,
                "import each from a file of its own, into a folder of its own",
            );
            continue;
        }
        tables.push(table);
        let input = Input { path, node, table };
        sign_in(draft, &input);
        same_environment(draft, &input, &mut environment);
        let first = taken.len();
        for (name, settings) in services {
            let ours = named_by_devo(name).filter(|service| service.sign_in_table() == table);
            let before = taken.len();
            for service in ours {
                let settings = (name.as_str(), settings);
                taken.push(service_of(draft, root, &input, service, settings, now));
            }
            if taken.len() == before {
                draft.row(
                    &format!("{}.services.{name}", input.path),
                    "",
                    "proofpull has no such service",
                );
            }
        }
        forensics(draft, &input, &mut taken);
        addresses(draft, &input, taken.get(first..).unwrap_or_default());
        let handled = ["credentials", "environment", "services", "obfuscation_data"];
        others(draft, &input.path, node, &handled);
    }
    if tables.is_empty() && draft.faults.is_empty() {
        let hint = "name the config.yaml or the JSON of a Devo collector for Proofpoint";
        draft.fault(
            1,
            "this has no input for TAP, PoD or Isolation that is on",
            hint,
        );
    }
    taken
}

/// Forensics that a service of theirs adds to its events are a service of ours.
fn forensics(draft: &mut Draft, input: &Input, taken: &mut Vec<TakenService>) {
    let services = input.node.get("services").map(Node::entries);
    let services = services.unwrap_or_default().iter();
    let settings = services.map(|(name, node)| (format!("{}.services.{name}", input.path), node));
    let settings = settings.chain([(input.path.clone(), input.node)]);
    let mut wanted = settings.filter_map(|(path, node)| {
        let value = node.get(FORENSICS)?;
        (!is_off(value)).then(|| format!("{path}.{FORENSICS}"))
    });
    let is_taken = |service: &Service| taken.iter().any(|one| one.service == service);
    let (Some(theirs), Some(service)) = (wanted.next(), named_by_devo("forensics").next()) else {
        return;
    };
    if is_taken(service) {
        return;
    }
    let table = format!("services.{}", service.name);
    draft.table(&table);
    draft.row(&theirs, &table, "collected once its timer is enabled");
    taken.push(TakenService {
        service,
        start: taken.iter().find_map(|one| one.start.clone()),
        period: None,
    });
}

/// As YAML 1.1 writes it, which the collectors read.
fn is_off(node: &Node) -> bool {
    match &node.value {
        NodeValue::Scalar(scalar) => {
            matches!(
                scalar.text.to_ascii_lowercase().as_str(),
                "false" | "no" | "off"
            )
        }
        _ => false,
    }
}

fn sign_in(draft: &mut Draft, input: &Input) {
    let keys: &[(&str, &str, Option<&str>)] = match input.table {
        "tap" => &[
            ("username", "principal", None),
            ("password", "secret", Some("tap.secret")),
        ],
        "pod" => &[
            ("cluster_id", "cluster_id", None),
            ("api_key", "api_key", Some("pod.key")),
        ],
        _ => &[("api_key", "api_key", Some("isolation.key"))],
    };
    draft.table(input.table);
    let credentials = input.node.get("credentials");
    for (name, key, file) in keys {
        let (node, theirs) = match credentials.and_then(|node| node.get(name)) {
            Some(node) => (node, format!("{}.credentials.{name}", input.path)),
            None => match input.node.get(name) {
                Some(node) => (node, format!("{}.{name}", input.path)),
                None => {
                    let said = format!("{}.credentials: has no {name}", input.path);
                    draft.fault(
                        input.node.line,
                        said,
                        "add it; without it nobody can sign in",
                    );
                    continue;
                }
            },
        };
        match file {
            Some(file) => draft.secret((input.table, key), file, node, &theirs),
            None => {
                if let Some(text) = draft.text(node, &theirs).map(quoted) {
                    draft.set(input.table, key, &text, node.line, &theirs);
                }
            }
        }
    }
    for (name, _) in credentials.map(Node::entries).unwrap_or_default() {
        if !keys.iter().any(|(known, ..)| known == name) {
            draft.row(
                &format!("{}.credentials.{name}", input.path),
                "",
                reason(name),
            );
        }
    }
}

/// `environment` becomes a field of every event, so it must be the same for all inputs.
fn same_environment(draft: &mut Draft, input: &Input, environment: &mut Option<String>) {
    let Some(node) = input.node.get("environment") else {
        return;
    };
    let theirs = format!("{}.environment", input.path);
    let Some(text) = draft.text(node, &theirs).map(quoted) else {
        return;
    };
    if !draft.has_table("devo") {
        let why = format!("add fields = {{ \"@devo_environment\" = {text} }} to [devo]");
        draft.row(&theirs, "", &why);
        return;
    }
    match environment {
        Some(before) if *before != text => {
            let said = format!("{theirs}: differs from that of another input");
            draft.fault(
                node.line,
                said,
                "import each from a file of its own, into a folder of its own",
            );
        }
        Some(_) => draft.row(&theirs, "devo.fields", ""),
        None => {
            let fields = format!("{{ \"@devo_environment\" = {text} }}");
            draft.set("devo", "fields", &fields, node.line, &theirs);
            *environment = Some(text);
        }
    }
}
