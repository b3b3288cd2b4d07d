//! What the answers of the log stream mean that are no events: handshakes that are refused.

use anyhow::anyhow;

use crate::error::{Exit, Hint};

/// So much of an answer is shown in an error, in characters.
pub(super) const SHOWN: usize = 200;

/// The error for a handshake that was answered with this status.
pub(super) fn refusal(status: u16, body: &str) -> anyhow::Error {
    let (exit, hint) = match status {
        400 => (
            Exit::Data,
            "the service does not take this question: check [pod] cluster_id, and this machine's clock",
        ),
        401 => (
            Exit::NoPerm,
            "the service says the same for three causes: an api_key that is wrong or expired (PoD admin console, API Key \
             Management, PoD Logging), a cluster_id that is not the key's, or no licence for Remote Syslog Forwarding",
        ),
        403 => (
            Exit::NoPerm,
            "this key may not read the log stream: make one in the PoD admin console under API Key Management, PoD \
             Logging; or something on the way refuses WebSockets: check [http] proxy",
        ),
        404 => (
            Exit::Data,
            "no log stream is there: check [pod] base_url, and url of the service",
        ),
        405 => (
            Exit::Data,
            "this is no log stream: check [pod] base_url, and [http] proxy",
        ),
        409 => (
            Exit::Unavailable,
            "the key is taken, but it has one session for each type, and another collector holds it, a run that has \
             another state folder, or a session that died; give each of them an api_key of its own",
        ),
        429 => (
            Exit::TempFail,
            "too many sessions in a short time: run less often, or stop another collector that has this key",
        ),
        300..=399 => (
            Exit::Data,
            "it points elsewhere, as sign-in pages of proxies do: check base_url and [http] proxy",
        ),
        500.. => (
            Exit::Unavailable,
            "the service has trouble; come again later",
        ),
        _ => (
            Exit::Data,
            "this is no answer of the log stream: check base_url and [http] proxy",
        ),
    };
    let error = match body.is_empty() {
        true => anyhow!("HTTP {status}"),
        false => anyhow!("HTTP {status}: {body}"),
    };
    error.context(exit).context(Hint(hint.to_owned()))
}

/// A text for a line: one blank between words, nothing that is not printed, not too long.
pub(super) fn shown(body: &str) -> String {
    let words: Vec<&str> = body.split_whitespace().collect();
    let words = words.join(" ");
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
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
            assert_eq!(Exit::of(&error) as u8, exit, "{status}");
            assert!(error.is::<Hint>(), "{status}");
            let line = crate::error::line(&error);
            assert_eq!(line, format!("HTTP {status}: why"));
        }
        let hint = refusal(401, "");
        let Hint(hint) = hint.downcast_ref().unwrap();
        for cause in ["api_key", "cluster_id", "licence"] {
            assert!(hint.contains(cause), "{cause}");
        }
    }

    #[test]
    fn a_body_is_shown_in_one_line() {
        assert_eq!(shown("Exceeded\r\n  maximum\u{7}\n"), "Exceeded maximum");
        assert_eq!(shown(&"x".repeat(500)).len(), SHOWN);
    }
}
