//! `addresses` reads the addresses that the collectors ask in the place of Proofpoint's.

use super::draft::Draft;
use super::inputs::Input;
use super::services::{Found, TakenService};
use crate::config::quoted;

/// Names under which the collectors take another address.
pub(super) const ADDRESSES: [&str; 3] = [
    "override_api_base_url",
    "override_base_url",
    "override_url_base",
];
/// Another address: that of the API for TAP and PoD, that of each service for Isolation.
pub(super) fn addresses(draft: &mut Draft, input: &Input, taken: &[TakenService]) {
    let services = input.node.get("services");
    let mut base: Option<String> = None;
    for TakenService { service, .. } in taken {
        let name = service.devo.unwrap_or_default();
        let own = services.and_then(|services| services.get(name));
        let places = [
            (own, format!("{}.services.{name}", input.path)),
            (Some(input.node), input.path.clone()),
        ];
        let found = places.iter().find_map(|(node, path)| {
            let key = ADDRESSES
                .iter()
                .find(|key| node.is_some_and(|node| node.get(key).is_some()))?;
            Some(Found {
                node: (*node)?.get(key)?,
                theirs: format!("{path}.{key}"),
            })
        });
        let Some(found) = found else {
            if base.is_some() {
                different(draft, input);
            }
            continue;
        };
        let Some(text) = draft.text(found.node, &found.theirs) else {
            continue;
        };
        let text = text.trim_end_matches('/');
        if input.table == "isolation" {
            let url = match text.contains("/api/") {
                true => text.to_owned(),
                false => format!("{text}/api/v2/reporting/usage-data"),
            };
            draft.set(
                &format!("services.{}", service.name),
                "url",
                &quoted(url),
                found.node.line,
                &found.theirs,
            );
            continue;
        }
        let end = text.find(if input.table == "tap" { "/v2" } else { "/v1" });
        let text = text[..end.unwrap_or(text.len())].to_owned();
        match &base {
            Some(before) if *before != text => different(draft, input),
            Some(_) => {}
            None if service.name != taken[0].service.name => different(draft, input),
            None => {
                draft.set(
                    input.table,
                    "base_url",
                    &quoted(&text),
                    found.node.line,
                    &found.theirs,
                );
                base = Some(text);
            }
        }
    }
}

fn different(draft: &mut Draft, input: &Input) {
    let said = format!("{}.services: they have different addresses", input.path);
    draft.fault(
        input.node.line,
        said,
        "import them from files of their own, into folders of their own",
    );
}
