//! `hints` explains TAP's refusals, and reads from a 400 how long TAP keeps events.

use time::Duration;

use crate::source::http_api::ErrorHints;

/// What helps, for TAP.
pub(super) const WORDS: ErrorHints = ErrorHints {
    api: "TAP API",
    denied: "[SetupError 100] ",
    refused: "[PullError 300] ",
    address: "[tap] base_url and url of the service",
    bad_request: "check threat_type and threat_status of the service, and this machine's clock: the API \
         rejected the request; a new principal can take a while until it works",
    unknown: "check [tap] principal and secret; create them in the TAP Dashboard under Settings, \
         Connected Applications, which shows the secret only once",
    not_entitled: "check that the licence covers TAP, and ask Proofpoint whether this principal may read this \
         service: the credentials are known, but not entitled; new ones help only if these were made for another \
         customer",
    comes_back: "each request counts for 24 hours",
    others: &[],
};

/// What helps, for lookups and the lists that name what is looked up.
pub(super) const OF_LOOKUPS: ErrorHints = ErrorHints {
    bad_request: "check [tap] base_url and url of the service, and this machine's clock: the API rejected \
         the request; a new principal can take a while until it works; an answer that stays \
         missing holds up the service for a day at most",
    ..WORDS
};

/// What helps, for reports on people.
pub(super) const OF_PEOPLE: ErrorHints = ErrorHints {
    bad_request: "check window and url of the service: the API rejected the request; a new principal can \
         take a while until it works",
    ..WORDS
};

/// How much the service keeps, if a 400 says so: `Requests for information up to 7.00d are
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
