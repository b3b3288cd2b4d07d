//! What TAP's answers mean that are not events: HTTP statuses, and the texts of its 400s.

use anyhow::anyhow;
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use crate::exit::{Exit, Hint};
use crate::http::Dropped;
use crate::json_stream::Broken;
use crate::window::utc;

/// So much of an answer is shown in an error, in characters.
pub(super) const SHOWN: usize = 200;

/// The error for an HTTP status other than 200.
pub(super) fn refusal(status: u16, body: &str) -> anyhow::Error {
    let number = if matches!(status, 401 | 403) {
        "[SetupError 100]"
    } else {
        "[PullError 300]"
    };
    let error = anyhow!("{number} HTTP {status}: {body}");
    let (exit, hint) = match status {
        400 => (
            Exit::Data,
            "the service does not take this request: check threat_type and threat_status of the service, and this \
             machine's clock; a new principal can take a while until its customer is known"
                .to_owned(),
        ),
        401 => (
            Exit::NoPerm,
            "check [tap] principal and secret; they are made in the TAP Dashboard under Settings, Connected \
             Applications, and the secret is shown there only once"
                .to_owned(),
        ),
        403 => (
            Exit::NoPerm,
            "the credentials are known but may not read this: make new ones in the TAP Dashboard under Settings, \
             Connected Applications, and check that the licence covers TAP"
                .to_owned(),
        ),
        404 => (Exit::Data, "nothing is there: check [tap] base_url, and url of the service".to_owned()),
        429 => (Exit::TempFail, "the quota of these credentials is spent".to_owned()),
        300..=399 => (Exit::Data, "it points elsewhere, as sign-in pages of proxies do: check base_url and [http] proxy".to_owned()),
        500.. => (Exit::Unavailable, "the service has trouble; the next run asks again, for less at once".to_owned()),
        _ => (Exit::Data, "this is no answer of the TAP API: check base_url and [http] proxy".to_owned()),
    };
    let error = error.context(exit).context(Hint(hint));
    if status >= 500 {
        error.context(Dropped::Cut)
    } else {
        error
    }
}

/// How long a 429 asks to wait: `Retry-After` in seconds, or until a date by the server's own clock;
/// an hour when it does not say.
pub(super) fn wait(retry_after: Option<&str>, server: Option<OffsetDateTime>) -> Duration {
    const USUAL: Duration = Duration::HOUR;
    let Some(text) = retry_after.map(str::trim) else {
        return USUAL;
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Duration::seconds(seconds.into());
    }
    let until = OffsetDateTime::parse(text, &Rfc2822).ok();
    let wait = until.zip(server).map(|(until, server)| until - server);
    wait.map_or(USUAL, |wait| wait.max(Duration::ZERO))
}

/// What can be done about a 429 after which nothing is asked for until then.
pub(super) fn come_again(until: OffsetDateTime) -> Hint {
    Hint(format!(
        "the quota of these credentials is spent: no request is made before {}; requests come back one by one, each 24 \
         hours after it was made; run less often, or share the credentials with fewer programs",
        utc(until)
    ))
}

/// The error for an answer whose frame cannot be read, and begins like this.
pub(super) fn unreadable(broken: Broken, body: &str) -> anyhow::Error {
    let cut = broken == Broken::CutOff;
    let hint = match broken {
        Broken::CutOff => "the connection was cut; the next run asks again, for less at once",
        Broken::TooLong(_) => "no event of TAP is that long: check base_url and [http] proxy",
        Broken::Empty | Broken::Missing(_) | Broken::NotJson(..) => {
            "this is not what the TAP API answers: check base_url, url and [http] proxy; nothing is lost, the next run asks again"
        }
    };
    let error = anyhow!(broken).context(Hint(hint.to_owned()));
    match cut {
        true => error.context(Exit::Unavailable).context(Dropped::Cut),
        false => error
            .context(format!("HTTP 200: {body}"))
            .context(Exit::Data),
    }
}

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
    use time::macros::datetime;

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

    #[test]
    fn a_429_says_how_long_to_wait_or_it_is_an_hour() {
        let server = Some(datetime!(2026-11-24 12:00:00 UTC));
        let table = [
            (None, server, 3600),
            (Some("120"), server, 120),
            (Some(" 0 "), None, 0),
            (Some("Tue, 24 Nov 2026 12:30:00 GMT"), server, 1800),
            (Some("Tue, 24 Nov 2026 11:30:00 GMT"), server, 0),
            (Some("Tue, 24 Nov 2026 12:30:00 GMT"), None, 3600),
            (Some("-5"), server, 3600),
            (Some("soon"), server, 3600),
            (Some(""), server, 3600),
        ];
        for (text, server, seconds) in table {
            assert_eq!(wait(text, server), Duration::seconds(seconds), "{text:?}");
        }
    }

    #[test]
    fn each_status_has_its_exit_and_a_hint() {
        let table = [
            (400, 65),
            (401, 77),
            (403, 77),
            (404, 65),
            (418, 65),
            (429, 75),
            (302, 65),
            (500, 69),
            (503, 69),
        ];
        for (status, exit) in table {
            let error = refusal(status, "why");
            assert_eq!(Exit::of(&error) as u8, exit, "{status}");
            assert!(error.is::<Hint>(), "{status}");
            assert_eq!(error.is::<Dropped>(), status >= 500, "{status}");
        }
        let line = crate::exit::line(&refusal(401, "no"));
        assert_eq!(line, "[SetupError 100] HTTP 401: no");
    }
}
