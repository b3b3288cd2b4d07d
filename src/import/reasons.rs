//! `reason` says why a setting of theirs has no counterpart.

/// Settings that have none, and why.
const REASONS: [(&str, &str); 22] = [
    ("debug", "see -v and -vv, options of every command"),
    (
        "id",
        "not needed: files of the state have the names of the services",
    ),
    (
        "persistence",
        "see state_dir; --state reads the saved position",
    ),
    (
        "requests_per_second",
        "requests are made one after the other, and repeated ever more slowly",
    ),
    (
        "use_time_slots_for_retrievals",
        "the timer says when a run starts",
    ),
    ("queue_max_size_in_mb", NO_QUEUE),
    ("queue_max_size_in_messages", NO_QUEUE),
    ("queue_max_elapsed_time_in_sec", NO_QUEUE),
    ("queue_wrap_max_size_in_messages", NO_QUEUE),
    ("message_batch_size", NO_QUEUE),
    ("queue_generate_metrics", FIGURES),
    ("sender_stats_period_in_sec", FIGURES),
    ("period_sender_stats_in_seconds", FIGURES),
    ("generate_collector_details", FIGURES),
    ("concurrent_connections", "a run has one connection"),
    ("multithreading", ONE_PROCESS),
    ("threads", ONE_PROCESS),
    ("enabled", "a service is collected if its timer is enabled"),
    ("start_time_in_utc_format", "used to read start_time_in_utc"),
    ("start_time_format", "used to read start_time"),
    (
        "includecampaignforensics",
        "forensics are a service of their own: tap-forensics",
    ),
    ("reset_persistence_auth", "see run --start-over"),
];

const NO_QUEUE: &str = "there is no queue: each batch is confirmed before the position moves";
const FIGURES: &str = "see [metrics], proofpull status and the end line of each run";
const ONE_PROCESS: &str = "a run is one process for one service";

/// Why a setting has no counterpart.
pub(super) fn reason(name: &str) -> &'static str {
    let mut reasons = REASONS.iter();
    match reasons.find(|(known, _)| *known == name) {
        Some((_, reason)) => reason,
        None if name.starts_with("devo_sender_") => "see [devo] compression",
        None => "proofpull does not know it, so nothing takes its place",
    }
}
