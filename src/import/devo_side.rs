//! `devo_side` reads their `globals` and `outputs`: the name, and the receiver.

use std::path::{Path, PathBuf};

use super::draft::{Draft, PlannedContent, PlannedFile};
use super::node::Node;
use super::reasons::reason;
use crate::config::quoted;

/// What is a connection to Devo itself.
const TO_DEVO: [&str; 2] = ["devo_platform", "relay"];

/// Reads `globals`, or `global_overrides` of the cloud form.
pub(super) fn globals(draft: &mut Draft, globals: &Node, name: &str) {
    for (key, node) in globals.entries() {
        let theirs = format!("{name}.{key}");
        match key.as_str() {
            "name" => {
                if let Some(text) = draft.text(node, &theirs).map(quoted) {
                    draft.set("", "name", &text, node.line, &theirs);
                }
            }
            // counted where the services are
            "requests_limits" => {}
            other => draft.row(&theirs, "", reason(other)),
        }
    }
}

/// Reads `outputs`: the first that leads to Devo becomes the receiver. `base` is the folder of their
/// file.
pub(super) fn outputs(draft: &mut Draft, outputs: &Node, base: &Path) {
    let mut has_one = false;
    for (name, output) in outputs.entries() {
        let theirs = format!("outputs.{name}");
        let kind = output
            .get("type")
            .and_then(|node| draft.text(node, &format!("{theirs}.type")));
        match kind {
            Some(kind) if TO_DEVO.contains(&kind) && !has_one => {
                has_one = true;
                draft.row(&format!("{theirs}.type"), "devo", "TLS, always");
                if let Some(config) = output.get("config") {
                    receiver(draft, config, &format!("{theirs}.config"), base);
                } else {
                    let said = format!("{theirs}: has no config");
                    draft.fault(
                        output.line,
                        said,
                        "add config with address, port, chain, cert and key",
                    );
                }
            }
            Some(kind) if TO_DEVO.contains(&kind) => {
                draft.row(
                    &theirs,
                    "",
                    "one configuration has one receiver: import it into another folder",
                );
            }
            _ => draft.row(
                &theirs,
                "",
                "only Devo, or another receiver over TLS: see [devo]",
            ),
        }
    }
}

fn receiver(draft: &mut Draft, config: &Node, theirs: &str, base: &Path) {
    for (key, node) in config.entries() {
        let theirs = format!("{theirs}.{key}");
        match key.as_str() {
            "address" | "url" | "port" => {}
            "type" => draft.row(&theirs, "", "TLS, always"),
            "chain" | "cert" | "key" => certificate(draft, key, node, &theirs, base),
            other => draft.row(&theirs, "", reason(other)),
        }
    }
    let named = ["address", "url"]
        .into_iter()
        .find_map(|key| Some((key, config.get(key)?)));
    let Some((key, node)) = named else {
        let said = format!("{theirs}: has no address");
        draft.fault(
            config.line,
            said,
            "add address, such as collector-us.devo.io",
        );
        return;
    };
    let theirs_address = format!("{theirs}.{key}");
    let port = match config.get("port") {
        Some(node) => draft
            .text(node, &format!("{theirs}.port"))
            .unwrap_or_default(),
        None => "443",
    };
    if let Some(address) = draft.text(node, &theirs_address) {
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, _)| !host.contains(':'));
        let address = match has_port {
            true => address.to_owned(),
            false => format!("{address}:{port}"),
        };
        draft.set(
            "devo",
            "address",
            &quoted(address),
            node.line,
            &theirs_address,
        );
        draft.row(&format!("{theirs}.port"), "devo.address", "");
    }
}

/// A certificate or key is copied; their names count from the folder certs beside that of their file.
fn certificate(draft: &mut Draft, key: &str, node: &Node, theirs: &str, base: &Path) {
    let Some(text) = draft.text(node, theirs) else {
        return;
    };
    let copy = match key {
        "chain" => "certs/chain.crt",
        "cert" => "certs/domain.crt",
        _ => "certs/domain.key",
    };
    let beside = [
        base.join("../certs"),
        base.join("certs"),
        base.to_owned(),
        base.join(".."),
    ];
    // a path in the collector's container is another one here
    let name = Path::new(text).file_name().unwrap_or_default();
    let names = [Path::new(text), Path::new(name)];
    let candidates = names
        .iter()
        .flat_map(|name| beside.iter().map(move |folder| folder.join(name)));
    let candidates: Vec<PathBuf> = candidates.collect();
    draft.files.push(PlannedFile {
        path: copy.into(),
        content: PlannedContent::CopyOf(candidates),
    });
    draft.set("devo", key, &quoted(copy), node.line, theirs);
}
