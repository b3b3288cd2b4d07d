//! `drop_ins` says to systemd how often a service runs.

use super::draft::{PlannedContent, PlannedFile};
use crate::service::Service;

const POD_TIMER: &str = include_str!("../../systemd/drop-ins/pod-timer.conf");
const POD_SERVICE: &str = include_str!("../../systemd/drop-ins/pod-service.conf");

/// The drop-ins of a service: as often as the collector asked, in seconds; runs of PoD follow each other.
pub(super) fn drop_ins(service: &Service, period: Option<u64>) -> Vec<PlannedFile> {
    let file = |kind: &str, name: &str, text: &str| PlannedFile {
        path: format!("systemd/proofpull@{}.{kind}.d/{name}.conf", service.name).into(),
        content: PlannedContent::Text(text.to_owned()),
    };
    match period {
        _ if service.sign_in_table() == "pod" => vec![
            file("timer", "back-to-back", POD_TIMER),
            file("service", "back-to-back", POD_SERVICE),
        ],
        Some(period) => {
            let text = format!(
                "# as often as request_period_in_seconds of the collector said\n\n[Timer]\nOnCalendar=\nOnActiveSec=10s\n\
                 OnUnitInactiveSec={period}s\nRandomizedDelaySec=0\nPersistent=no\n"
            );
            vec![file("timer", "period", &text)]
        }
        None => Vec::new(),
    }
}
