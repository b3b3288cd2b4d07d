//! `hints` explains why the log stream refuses handshakes.

use crate::error::Exit;
use crate::source::http_api::ErrorHints;

/// What helps, for the log stream.
pub(super) const HINTS: ErrorHints = ErrorHints {
    api: "log stream",
    denied: "",
    refused: "",
    address: "[pod] base_url and url of the service",
    bad_request: "check [pod] cluster_id, and this machine's clock: the API rejected the request",
    unknown: "check [pod] api_key (PoD admin console, API Key Management, PoD Logging), its \
              cluster_id, and the licence for Remote Syslog Forwarding: the API does not say which \
              is wrong",
    not_entitled: "create a key for the log stream in the PoD admin console under API Key \
                   Management, PoD Logging; check [http] proxy, too: it may refuse WebSockets",
    comes_back: "Proofpoint does not publish the limit",
    others: &[
        (
            409,
            Exit::Unavailable,
            "give each collector and each state folder its own api_key; the key has one session \
             for each type, which another program, or a session that died, still holds",
        ),
        (
            429,
            Exit::TempFail,
            "run less often, or stop other collectors that use this key: too many sessions in a \
             short time",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_refused_has_all_its_causes_told() {
        for cause in ["api_key", "cluster_id", "licence"] {
            assert!(HINTS.unknown.contains(cause), "{cause}");
        }
        let held = HINTS.refusal(409, "");
        assert_eq!(
            (held.exit(), held.to_string()),
            (Exit::Unavailable, "HTTP 409".into())
        );
        assert_eq!(HINTS.refusal(503, "").exit(), Exit::Unavailable);
        assert_eq!(HINTS.refusal(429, "").exit(), Exit::TempFail);
    }
}
