//! `linq` writes queries in Devo's language, LINQ.
//!
//! Pure. An event is found by what was sent of it, not by what a table makes of it: the member
//! `@devo_pulling_id` in the column with the event as it came.

use serde::Serialize;

/// The column of an answer with the id of a run. No table has a column of that name.
pub(super) const RUN: &str = "proofpull_run";
/// The column of an answer with the number of its events.
pub(super) const EVENTS: &str = "proofpull_events";

/// Who asks, as Devo's administrators see it.
const SIGNATURE: &str = "pragma comment.id:\"proofpull\" pragma comment.user:\"proofpull\"";

/// The table in which Devo shows the events of a tag. A tag may have hyphens; its table is in camel case then.
///
/// `web.apache.access-lt` is `web.apache.accessLt` (Devo's documents, "Special Devo tags and data tables").
#[must_use]
pub(crate) fn table_of(tag: &str) -> String {
    let mut words = tag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |table, word| {
        let mut letters = word.chars();
        let capital = letters.next().map(|letter| letter.to_ascii_uppercase());
        table + &String::from_iter(capital) + letters.as_str()
    })
}

/// Counts the events of each run in a table. It is of the same length for any number of runs.
#[must_use]
pub(super) fn count_runs(table: &str, column: &str) -> String {
    format!(
        "from {table} \
         select peek({column}, re(\"\\\"@devo_pulling_id\\\": ?\\\"([0-9]+)\\\"\"), 1) as {RUN} \
         where isnotnull({RUN}) \
         group by {RUN} \
         select count() as {EVENTS} {SIGNATURE}"
    )
}

/// What is posted, with the members that devo-sdk writes.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    /// In seconds since 1970.
    pub(super) from: i64,
    /// In seconds since 1970; without an end, Devo would never stop answering.
    pub(super) to: i64,
    pub(super) mode: AnswerMode,
    pub(super) query: &'a str,
}

/// How the answer is written.
#[derive(Debug, Serialize)]
pub(super) struct AnswerMode {
    /// `json/compact` is one JSON object, so that an answer that was cut off is no answer.
    pub(super) r#type: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_as_its_tag_but_for_hyphens() {
        let table = [
            (
                "mail.proofpoint.tapsiem_v2.messagesblocked",
                "mail.proofpoint.tapsiem_v2.messagesblocked",
            ),
            ("web.apache.access-lt", "web.apache.accessLt"),
            ("my.app.a-b-c.d-e", "my.app.aBC.dE"),
            ("my.app.x-1", "my.app.x1"),
            ("my.app.x-", "my.app.x"),
        ];
        for (tag, wanted) in table {
            assert_eq!(table_of(tag), wanted);
        }
    }

    #[test]
    fn the_page_of_queries_counts_as_verify_does() {
        let query = count_runs("mail.proofpoint.tapsiem_v2.messagesblocked", "rawMessage");
        let query = query.strip_suffix(SIGNATURE).unwrap();
        let page = include_str!("../../examples/monitoring/devo-queries.md");
        let words = |text: &str| text.split_whitespace().collect::<Vec<&str>>().join(" ");
        assert!(words(page).contains(&words(query)), "{query}");
    }

    #[test]
    fn a_query_groups_by_the_id_in_the_event_as_it_was_sent() {
        assert_eq!(
            count_runs("my.app.x", "rawMessage"),
            r#"from my.app.x select peek(rawMessage, re("\"@devo_pulling_id\": ?\"([0-9]+)\""), 1) as proofpull_run where isnotnull(proofpull_run) group by proofpull_run select count() as proofpull_events pragma comment.id:"proofpull" pragma comment.user:"proofpull""#
        );
    }
}
