//! `threats` looks up the summaries of the threats that recent events name (Proofpoint's "Threat API"
//! document, <https://help.proofpoint.com/Threat_Insight_Dashboard/API_Documentation/Threat_API>).
//!
//! An event names a threat and the status that it had. Each such pair is an event of the service.

pub(crate) mod api;
pub(super) mod names;

use super::hints;
use super::lookups::{LookupKind, has_id};
use super::siem::EVENTS;

/// The summaries of the threats that events name.
static SUMMARIES: LookupKind = LookupKind {
    listing: EVENTS,
    // otherwise false positives would be missing
    query: &[
        ("format", "json"),
        ("threatStatus", "active"),
        ("threatStatus", "cleared"),
        ("threatStatus", "falsePositive"),
    ],
    path: "/v2/threat/summary",
    key: None,
    pool: None,
    names: names::names,
    is_answer: has_id,
    lacks: "the answer does not have the id of the requested threat",
    limit: "stopped at max_threats_per_run",
    hints: &hints::OF_LOOKUPS,
};
