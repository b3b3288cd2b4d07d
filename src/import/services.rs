//! `service_of` reads the settings of a service of theirs.

use time::OffsetDateTime;

use super::addresses::ADDRESSES;
use super::draft::Draft;
use super::inputs::Input;
use super::node::{Node, NodeValue};
use super::obfuscation::obfuscation;
use super::reasons::reason;
use super::requests::requests;
use super::times::{time_in_format, time_of_text};
use crate::config::quoted;
use crate::service::Service;

/// Names under which they take the time to begin at.
const STARTS: [&str; 2] = ["start_time", "start_time_in_utc"];

/// A service that is taken over.
#[derive(Debug)]
pub(super) struct TakenService {
    pub(super) service: &'static Service,
    /// The time to begin at that their file says, with its line and its name.
    pub(super) start: Option<(OffsetDateTime, usize, String)>,
    /// How often their collector asks, in seconds.
    pub(super) period: Option<u64>,
}

/// A setting, found at a service or else at its input.
pub(super) struct Found<'n> {
    pub(super) node: &'n Node,
    pub(super) theirs: String,
}

/// Reads the settings of a service.
pub(super) fn service_of(
    draft: &mut Draft,
    root: &Node,
    input: &Input,
    service: &'static Service,
    (name, settings): (&str, &Node),
    now: OffsetDateTime,
) -> TakenService {
    let table = format!("services.{}", service.name);
    let path = format!("{}.services.{name}", input.path);
    draft.table(&table);
    draft.row(&path, &table, "collected once its timer is enabled");
    let find = |key: &str| match (settings.get(key), input.node.get(key)) {
        (Some(node), _) => Some(Found {
            node,
            theirs: format!("{path}.{key}"),
        }),
        (None, Some(node)) => Some(Found {
            node,
            theirs: format!("{}.{key}", input.path),
        }),
        (None, None) => None,
    };
    // a report on people is of its own day
    let mut starts = STARTS.iter().filter(|_| name != "people");
    let start = starts.find_map(|key| {
        let format = find(&format!("{key}_format"));
        start_time(draft, find(key)?, format, now)
    });
    if let Some(found) = find("override_tag_base") {
        tag(draft, &table, service, &found);
    }
    if let Some(found) = find("override_query_window_offset_in_minutes") {
        window_offset(draft, &table, input, &found);
    }
    let period = find("request_period_in_seconds")
        .and_then(|found| Some((period(draft, input, service, &found)?, found.theirs)));
    let levels = [
        ("globals", root.get("globals")),
        ("global_overrides", root.get("global_overrides")),
    ];
    let levels = levels
        .into_iter()
        .filter_map(|(name, node)| Some((name.to_owned(), node?)));
    let levels: Vec<(String, &Node)> = levels
        .chain([(input.path.clone(), input.node), (path.clone(), settings)])
        .collect();
    let by_timer = period
        .as_ref()
        .map(|(period, theirs)| (*period, theirs.as_str()));
    requests(draft, &table, input.table == "tap", &levels, by_timer);
    let masks = [(&input.path, input.node), (&path, settings)];
    for (path, node) in masks {
        if let Some(node) = node.get("obfuscation_data") {
            obfuscation(draft, &table, node, &format!("{path}.obfuscation_data"));
        }
    }
    others(draft, &path, settings, &["obfuscation_data"]);
    TakenService {
        service,
        start,
        period: period.map(|(period, _)| period),
    }
}

/// How often the collector asks, in seconds.
fn period(draft: &mut Draft, input: &Input, service: &Service, found: &Found) -> Option<u64> {
    let text = draft.text(found.node, &found.theirs)?;
    let period = text.parse().ok();
    let Some(period) = period.filter(|period| (1..=86_400).contains(period)) else {
        let said = format!(
            "{}: must be a number of seconds, at most a day",
            found.theirs
        );
        draft.fault(found.node.line, said, "write a number such as 300");
        return None;
    };
    if input.table == "pod" {
        draft.row(
            &found.theirs,
            "timer",
            "a run follows the one before, since the stream stays open",
        );
    } else {
        let told = format!("{period}s, in systemd/proofpull@{}.timer.d", service.name);
        draft.row(&found.theirs, "timer", &told);
    }
    Some(period)
}

/// Names what is handled nowhere.
pub(super) fn others(draft: &mut Draft, path: &str, node: &Node, handled: &[&str]) {
    const SERVICE: [&str; 4] = [
        "override_tag_base",
        "override_query_window_offset_in_minutes",
        "request_period_in_seconds",
        "requests_limits",
    ];
    for (key, value) in node.entries() {
        let is_empty = matches!(value.value, NodeValue::Empty);
        let key = key.as_str();
        let is_handled = handled.contains(&key)
            || SERVICE.contains(&key)
            || ADDRESSES.contains(&key)
            || STARTS.contains(&key)
            || ["username", "password", "api_key", "cluster_id"].contains(&key);
        if is_empty || !is_handled {
            let why = if is_empty { "it is empty" } else { reason(key) };
            draft.row(&format!("{path}.{key}"), "", why);
        }
    }
}

fn start_time(
    draft: &mut Draft,
    found: Found,
    format: Option<Found>,
    now: OffsetDateTime,
) -> Option<(OffsetDateTime, usize, String)> {
    let Found { node, theirs } = found;
    let text = draft.text(node, &theirs)?;
    let told = match format {
        Some(format) => {
            let format = draft.text(format.node, &format.theirs)?;
            time_in_format(text, format)
        }
        None => time_of_text(text, now)
            .ok_or("must be a time such as 2026-11-20T00:00:00Z, between 2015 and now"),
    };
    match told {
        Ok(time) => Some((time, node.line, theirs)),
        Err(said) => {
            draft.fault(
                node.line,
                format!("{theirs}: {said}"),
                "write it as 2026-11-20T00:00:00Z, or remove it",
            );
            None
        }
    }
}

/// The base and the last level of the service's own tag; that of threats is their service.
fn tag(draft: &mut Draft, table: &str, service: &Service, found: &Found) {
    let Some(base) = draft.text(found.node, &found.theirs) else {
        return;
    };
    let base = base.trim_end_matches('.');
    let last = match service.name {
        "tap-threats" => "threats",
        _ => service.tag.rsplit('.').next().unwrap_or_default(),
    };
    let tag = match base.rsplit('.').next() {
        Some(end) if end == last => base.to_owned(),
        _ => format!("{base}.{last}"),
    };
    draft.set(table, "tag", &quoted(tag), found.node.line, &found.theirs);
}

fn window_offset(draft: &mut Draft, table: &str, input: &Input, found: &Found) {
    if input.table != "isolation" {
        let why = "not needed: look_back reads again what became visible late";
        draft.row(&found.theirs, "", why);
        return;
    }
    let Some(text) = draft.text(found.node, &found.theirs) else {
        return;
    };
    match text.parse::<u32>() {
        Ok(minutes) => {
            let offset = quoted(format!("{minutes}m"));
            draft.set(
                table,
                "window_offset",
                &offset,
                found.node.line,
                &found.theirs,
            );
        }
        Err(_) => {
            let said = format!("{}: must be a number of minutes", found.theirs);
            draft.fault(found.node.line, said, "write a number such as 30");
        }
    }
}
