//! `answer` reads what the Query API answers, and explains its refusals.
//!
//! Pure: a status and a text in, counts or an error out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::linq::{EVENTS, RUN};
use crate::error::{Exit, Failure};

/// Why the API did not count.
#[derive(Debug)]
pub(super) enum QueryError {
    /// The table has no such column.
    NoColumn(Failure),
    /// Anything else.
    Other(Failure),
}

/// The number of events of each run, from an answer in the mode `json/compact`.
///
/// # Errors
/// What is wrong with the answer; and what Devo says of a query that failed while it was answered.
pub(super) fn counts(text: &[u8]) -> Result<BTreeMap<u64, u64>, String> {
    let reply: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let object = &reply["object"];
    let said = [&reply["e"], &reply["error"], &object["e"], &object["error"]];
    if let Some(said) = said.into_iter().find(|said| !said.is_null()) {
        return Err(format!("the query failed: {said}"));
    }
    if reply["status"].as_i64().is_some_and(|status| status != 0) {
        return Err(format!("the query failed with status {}", reply["status"]));
    }
    let rows = object["d"].as_array().ok_or("it has no rows")?;
    let place = |name: &str| {
        let index = object["m"][name]["index"].as_u64();
        let index = index.and_then(|index| usize::try_from(index).ok());
        index.ok_or(format!("it has no column {name}"))
    };
    let (run, events) = (place(RUN)?, place(EVENTS)?);
    let mut counts = BTreeMap::new();
    for row in rows {
        let (Some(id), Some(count)) = (row[run].as_str(), row[events].as_u64()) else {
            return Err("a row has no id or no count".into());
        };
        // another program may append an id that is no number of ours
        if let Ok(id) = id.parse() {
            *counts.entry(id).or_default() += count;
        }
    }
    Ok(counts)
}

/// The error for an HTTP status that is no success. `body` is what Devo said, `shown` what a message may show of it.
pub(super) fn refusal(status: u16, body: &str, shown: &str, table: &str) -> QueryError {
    let colon = if shown.is_empty() { "" } else { ": " };
    let failure = Failure::new(format!("HTTP {status}{colon}{shown}"));
    if body.contains("Unknown identifier") {
        let hint = format!(
            "set column in [devo] query to the column of {table} that has the event as it was sent"
        );
        return QueryError::NoColumn(failure.with_exit(Exit::Config).with_hint(hint));
    }
    let (exit, hint) = match status {
        _ if body.contains("Unknown table") => (
            Exit::Config,
            format!(
                "check the tag of the service: Devo has no table {table}; one may be missing until its first event"
            ),
        ),
        _ if body.contains("parsing error") || body.contains("PARSING_ERROR") => (
            Exit::Data,
            "report this with the version of proofpull: Devo does not understand the query"
                .to_owned(),
        ),
        401 | 403 => (
            Exit::NoPerm,
            format!(
                "create a token in Devo under Administration, Credentials, Authentication tokens, in the region of \
                 [devo] query url, for queries of {table}; check that it is enabled and has not expired"
            ),
        ),
        429 => (
            Exit::TempFail,
            "wait, and ask less often or with a shorter --since".to_owned(),
        ),
        408 | 425 | 500.. => (
            Exit::Unavailable,
            "wait until Devo recovers, or try a shorter --since".to_owned(),
        ),
        _ => (
            Exit::Data,
            "check [devo] query url, and [http] proxy: Devo's Query API does not answer like this"
                .to_owned(),
        ),
    };
    QueryError::Other(failure.with_exit(exit).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &str) -> String {
        format!(
            r#"    {{"msg":"","status":0,"object":{{"m":{{"{EVENTS}":{{"type":"int8","index":1}},"{RUN}":{{"type":"str","index":0}}}},"metadata":[],"d":[{rows}]}}}}"#
        )
    }

    #[test]
    fn counts_are_read_by_the_names_of_their_columns() {
        let good = rows(
            r#"["17",3],["18",9007199254740993],["17",1],["abc",5],["99999999999999999999999",1]"#,
        );
        let wanted = BTreeMap::from([(17, 4), (18, 9_007_199_254_740_993)]);
        assert_eq!(counts(good.as_bytes()), Ok(wanted));
        assert_eq!(counts(rows("").as_bytes()), Ok(BTreeMap::new()));
        let others_first = good.replace(r#""index":1"#, r#""index":0"#);
        assert!(counts(others_first.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_whole_answer_is_none() {
        let good = rows(r#"["17",3]"#);
        for cut in 0..good.len() {
            assert!(counts(&good.as_bytes()[..cut]).is_err(), "{cut}");
        }
        let table = [
            (good.replace("\"d\"", "\"x\""), "no rows"),
            (good.replace(RUN, "other"), "no column proofpull_run"),
            (good.replace("3]", "\"3\"]"), "no count"),
            (good.replace("\"17\"", "null"), "no id"),
            (
                good.replace("\"status\":0", "\"status\":1"),
                "failed with status 1",
            ),
            (
                good.replace("]]}}", r#"]],"e": [500,"Error Processing Query"]}}"#),
                "Error Processing Query",
            ),
            (
                good.replace("]]}}", r#"]]},"error": [500,"too long"]}"#),
                "too long",
            ),
            (r#"{"status":0}"#.to_owned(), "no rows"),
            ("<html>".to_owned(), "expected value"),
        ];
        for (text, said) in table {
            let error = counts(text.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn each_refusal_has_its_status_and_a_hint() {
        let unknown_table = r#"{"msg":"Error Launching Query","status":500,"object":["Error Launching Query","Unknown table `x`","2086000","MISSING_RESOURCE"]}"#;
        let unknown_column = unknown_table.replace("table", "identifier");
        let table = [
            (401, "", Exit::NoPerm, "Authentication tokens"),
            (
                403,
                r#"{"code":5,"msg":"Token invalid or expired"}"#,
                Exit::NoPerm,
                "region",
            ),
            (500, unknown_table, Exit::Config, "no table my.app.x"),
            (500, &unknown_column, Exit::Config, "column"),
            (
                500,
                "Unable to Start Task: Query parsing error",
                Exit::Data,
                "report",
            ),
            (500, "", Exit::Unavailable, "wait"),
            (503, "", Exit::Unavailable, "wait"),
            (429, "", Exit::TempFail, "less often"),
            (
                400,
                r#"{"error":"Bad parameters"}"#,
                Exit::Data,
                "query url",
            ),
            (404, "", Exit::Data, "query url"),
            (302, "", Exit::Data, "proxy"),
        ];
        for (status, body, exit, hint) in table {
            let refusal = refusal(status, body, body, "my.app.x");
            assert_eq!(
                matches!(refusal, QueryError::NoColumn(_)),
                body == unknown_column
            );
            let (QueryError::NoColumn(failure) | QueryError::Other(failure)) = refusal;
            assert_eq!(failure.exit(), exit, "{status}");
            assert!(failure.hint().unwrap().contains(hint), "{status} {hint}");
            assert!(failure.to_string().starts_with(&format!("HTTP {status}")));
        }
    }
}
