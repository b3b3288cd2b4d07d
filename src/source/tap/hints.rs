//! What TAP's refusals mean, and what is read from the texts of its 400s.

use time::Duration;

use crate::source::http_api::ErrorHints;

/// What helps, for TAP.
pub(super) const WORDS: ErrorHints = ErrorHints {
    api: "TAP API",
    denied: "[SetupError 100] ",
    refused: "[PullError 300] ",
    address: "[tap] base_url and url of the service",
    bad_request: "the service does not take this request: check threat_type and threat_status of the service, and this \
                  machine's clock; a new principal can take a while until its customer is known",
    unknown: "check [tap] principal and secret; they are made in the TAP Dashboard under Settings, Connected \
              Applications, and the secret is shown there only once",
    not_entitled: "the credentials are known but may not read this: make new ones in the TAP Dashboard under Settings, \
                   Connected Applications, and check that the licence covers TAP",
    comes_back: "requests come back one by one, each 24 hours after it was made",
};

/// What helps, for the summaries of threats and the windows that name them.
pub(super) const OF_THREATS: ErrorHints = ErrorHints {
    bad_request: "the service does not take this request: check [tap] base_url and url of the service, and this machine's \
                  clock; a new principal can take a while until its customer is known; a summary that is never given \
                  holds up the service for a day at most",
    ..WORDS
};

/// How much the service keeps, where a 400 says so: `Requests for information up to 7.00d are
/// accepted`.
pub(super) fn kept(body: &str) -> Option<Duration> {
    let (_, rest) = body.split_once("too far into the past")?;
    let (_, rest) = rest.split_once("up to ")?;
    let amount = rest.split_ascii_whitespace().next()?.trim_end_matches('.');
    let digits = amount.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &amount[digits.len()..] {
        "d" => 86_400.0,
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        _ => return None,
    };
    let kept = digits
        .parse::<f64>()
        .ok()
        .filter(|kept| (0.0..1000.0).contains(kept))?;
    Some(Duration::seconds_f64(kept * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_keeps_is_read_from_its_text() {
        let text = |kept| {
            format!(
                "The requested start time is too far into the past. Requests for information up to {kept} are accepted"
            )
        };
        assert_eq!(kept(&text("7.00d")), Some(Duration::days(7)));
        assert_eq!(kept(&text("0.50d")), Some(Duration::hours(12)));
        assert_eq!(kept(&text("12h")), Some(Duration::hours(12)));
        assert_eq!(kept(&text("many")), None);
        assert_eq!(kept(&text("-1d")), None);
        assert_eq!(kept("The requested interval is still current."), None);
        assert_eq!(
            kept("The sinceTime parameter gives a time too far into the past"),
            None
        );
    }
}
