//! `hints` explains why the log stream refuses handshakes.

use crate::error::{Exit, Failure};

/// The error for a handshake that was answered with this status.
pub(super) fn refusal(status: u16, body: &str) -> Failure {
    let (exit, hint) = match status {
        400 => (
            Exit::Data,
            "check [pod] cluster_id, and this machine's clock: the API rejected the request",
        ),
        401 => (
            Exit::NoPerm,
            "check [pod] api_key (PoD admin console, API Key Management, PoD Logging), its \
             cluster_id, and the licence for Remote Syslog Forwarding: the API does not say which \
             is wrong",
        ),
        403 => (
            Exit::NoPerm,
            "create a key for the log stream in the PoD admin console under API Key Management, \
             PoD Logging; check [http] proxy, too: it may refuse WebSockets",
        ),
        404 => (
            Exit::Data,
            "check [pod] base_url and url of the service: no log stream exists at this address",
        ),
        405 => (
            Exit::Data,
            "check [pod] base_url and url of the service, and [http] proxy: this is not a log \
             stream",
        ),
        409 => (
            Exit::Unavailable,
            "give each collector and each state folder its own api_key; the key has one session \
             for each type, which another program, or a session that died, still holds",
        ),
        429 => (
            Exit::TempFail,
            "run less often, or stop other collectors that use this key: too many sessions in a \
             short time",
        ),
        300..=399 => (
            Exit::Data,
            "check [pod] base_url and url of the service, and [http] proxy: the answer is a \
             redirect, such as to a proxy's sign-in page",
        ),
        500.. => (
            Exit::Unavailable,
            "wait until the service recovers; the next run retries",
        ),
        _ => (
            Exit::Data,
            "check [pod] base_url and url of the service, and [http] proxy: the log stream does \
             not answer like this",
        ),
    };
    let failure = Failure::new(match body.is_empty() {
        true => format!("HTTP {status}"),
        false => format!("HTTP {status}: {body}"),
    });
    failure.with_exit(exit).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_and_a_hint() {
        let table = [
            (200, 65),
            (302, 65),
            (400, 65),
            (401, 77),
            (403, 77),
            (404, 65),
            (405, 65),
            (409, 69),
            (429, 75),
            (500, 69),
            (503, 69),
        ];
        for (status, exit) in table {
            let error = refusal(status, "why");
            assert_eq!(error.exit() as u8, exit, "{status}");
            assert!(error.hint().is_some(), "{status}");
            assert_eq!(error.to_string(), format!("HTTP {status}: why"));
        }
        let failure = refusal(401, "");
        let hint = failure.hint().unwrap();
        for cause in ["api_key", "cluster_id", "licence"] {
            assert!(hint.contains(cause), "{cause}");
        }
    }
}
