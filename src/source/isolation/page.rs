//! `Page` holds records, sorts them by date, and gives each its identity.
//!
//! Isolation gives its records neither a name nor an order. A record is recognised by its whole
//! content, and by its ordinal among equals: two visits in the same second are two events.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;

use crate::digest;
use crate::pipeline::batch::{Digest, EventId, LARGE};
use crate::source::http_api::each;
use crate::source::wire_time;

/// Longest overlap of two pages that is looked for, in records.
const MAX_OVERLAP: usize = 10_000;

/// Records that are held until they are delivered, sorted.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Their bytes in parts, as they came: one large block would leave as large a hole in the heap.
    parts: Vec<Vec<u8>>,
    bytes: usize,
    /// Where each record lies; once sorted, the next one is the last.
    order: Vec<RecordSpan>,
    is_sorted: bool,
}

/// A record as it came: its date and the digest of its content.
type Arrival = (Option<OffsetDateTime>, Digest);

/// The end of the page before, by which a page that overlaps it is told.
#[derive(Debug, Default)]
pub(super) struct PageEnd(Vec<Arrival>);

#[derive(Debug)]
struct RecordSpan {
    date: Option<OffsetDateTime>,
    digest: Digest,
    part: usize,
    start: u32,
    end: u32,
}

/// A record of a page.
#[derive(Debug)]
pub(super) struct UsageRecord<'a> {
    pub(super) text: &'a [u8],
    /// Its date, if it has one.
    pub(super) date: Option<OffsetDateTime>,
    pub(super) identity: EventId,
}

impl Page {
    /// Adds records; `ends` says where each ends. A large one gets a part of its own.
    pub(super) fn add(&mut self, mut text: Vec<u8>, ends: &[usize]) {
        let start_of = |at: usize| at.checked_sub(1).map_or(0, |before| ends[before]);
        let is_large = |at: usize| ends[at] - start_of(at) >= LARGE;
        let Some(large) = (0..ends.len()).find(|at| is_large(*at)) else {
            return self.add_part(text, ends);
        };
        let (from, to) = (start_of(large), ends[large]);
        let after = text.split_off(to);
        self.add_part(text[..from].to_vec(), &ends[..large]);
        text.drain(..from);
        self.add_part(text, &[to - from]);
        let ends: Vec<_> = ends[large + 1..].iter().map(|end| end - to).collect();
        self.add(after, &ends);
    }

    fn add_part(&mut self, text: Vec<u8>, ends: &[usize]) {
        // memory is reserved for an answer before it comes
        if ends.is_empty() {
            return;
        }
        let mut start = 0;
        let part = self.parts.len();
        self.order.extend(each(&text, ends).map(|record| {
            let end = start + record.len();
            let place = RecordSpan {
                date: date(record),
                digest: digest::canonical(record, &["categories"]),
                part,
                start: u32::try_from(start).unwrap_or(u32::MAX),
                end: u32::try_from(end).unwrap_or(u32::MAX),
            };
            start = end;
            place
        }));
        self.bytes += text.len();
        self.parts.push(text);
    }

    /// Whether it holds this many bytes or records.
    pub(super) fn is_full(&self, bytes: usize, records: usize) -> bool {
        self.bytes >= bytes || self.order.len() >= records
    }

    /// Whether it has had no records.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Drops what the page before ended with, if this page, which begins a page of the API, begins
    /// with it. Returns how many records that are.
    ///
    /// Equal records are several events, so an overlap counts only where records of several seconds
    /// come again in their order: then the page goes back in time.
    pub(super) fn drop_overlap(&mut self, before: &PageEnd) -> usize {
        let arrivals: Vec<Arrival> = self.order.iter().map(RecordSpan::arrival).collect();
        let most = before.0.len().min(arrivals.len());
        let is_overlap = |length: &usize| {
            let again = &arrivals[..*length];
            before.0.ends_with(again) && again.iter().any(|(date, _)| *date != again[0].0)
        };
        let length = (1..=most).rev().find(is_overlap).unwrap_or(0);
        self.order.drain(..length);
        if self.order.is_empty() {
            *self = Page::default();
        }
        length
    }

    /// The records so far, as they came, behind those of `before`.
    pub(super) fn note_end(&self, before: &mut PageEnd) {
        let arrivals = self.order.iter().map(RecordSpan::arrival);
        before.0.extend(arrivals);
        let old = before.0.len().saturating_sub(MAX_OVERLAP);
        before.0.drain(..old);
    }

    /// Sorts the records by date, for delivery; those without a date come first.
    pub(super) fn sort(&mut self) {
        // stable, and taken from the end: equal dates keep their order
        self.order.reverse();
        self.order
            .sort_by_key(|place| std::cmp::Reverse(place.date));
        self.is_sorted = true;
    }

    /// Whether records wait for delivery.
    pub(super) fn is_open(&self) -> bool {
        self.is_sorted && !self.order.is_empty()
    }

    /// Whether the next record is a large one, which must not be copied.
    pub(super) fn is_next_large(&self) -> bool {
        let next = self.order.last();
        next.is_some_and(|place| place.length() >= LARGE)
    }

    /// Takes the next record for delivery: appends its bytes to `text`, or moves them there if it
    /// is a large one and `text` is empty.
    pub(super) fn next<'t>(&mut self, text: &'t mut Vec<u8>) -> Option<UsageRecord<'t>> {
        let place = self.is_sorted.then(|| self.order.pop()).flatten()?;
        let part = &mut self.parts[place.part];
        let before = text.len();
        if before == 0 && place.length() >= LARGE {
            *text = std::mem::take(part);
        } else {
            text.extend_from_slice(&part[place.start as usize..place.end as usize]);
        }
        Some(UsageRecord {
            text: &text[before..],
            date: place.date,
            identity: EventId::Content(place.digest),
        })
    }
}

impl RecordSpan {
    fn arrival(&self) -> Arrival {
        (self.date, self.digest)
    }

    fn length(&self) -> usize {
        (self.end - self.start) as usize
    }
}

#[derive(Deserialize)]
struct UsageDate<'a> {
    #[serde(borrow, default)]
    date: Option<Cow<'a, str>>,
}

fn date(record: &[u8]) -> Option<OffsetDateTime> {
    let UsageDate { date } = serde_json::from_slice(record).ok()?;
    wire_time::parse(&date?)
}

impl UsageRecord<'_> {
    /// Whether it is JSON.
    pub(super) fn is_readable(&self) -> bool {
        std::str::from_utf8(self.text).is_ok()
            && (self.date.is_some() || serde_json::from_slice::<IgnoredAny>(self.text).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of these records, each in a part of its own.
    fn page(records: &[&str]) -> Page {
        let mut page = Page::default();
        for record in records {
            page.add(record.as_bytes().to_vec(), &[record.len()]);
        }
        page.sort();
        page
    }

    #[test]
    fn records_are_sorted_by_date_and_equal_ones_keep_their_order() {
        let records = [
            r#"{"date":"2025-01-01T19:44:35.000+0000","n":1}"#,
            r#"{"date":"2025-01-01T19:44:34Z","n":2}"#,
            r#"{"date":"2025-01-01T20:44:34.500+0100","n":3}"#,
            r#"{"n":4}"#,
            r#"{"date":"2025-01-01T19:44:35.000+0000","n":5}"#,
            r#"{"date":7,"n":6}"#,
            "{broken",
        ];
        let mut page = page(&records);
        let mut found = Vec::new();
        while let Some(record) = page.next(&mut Vec::new()) {
            found.push(String::from_utf8_lossy(record.text).into_owned());
        }
        let expected = [3, 5, 6, 1, 2, 0, 4].map(|at: usize| records[at]);
        assert_eq!(found, expected);
        assert!(!page.is_open());
    }

    #[test]
    fn what_a_page_repeats_of_the_page_before_is_dropped_where_it_goes_back_in_time() {
        let visit = |second: char| format!(r#"{{"date":"2025-01-01T19:44:0{second}Z"}}"#);
        let unsorted = |visits: &str| {
            let mut page = Page::default();
            for text in visits.chars().map(visit) {
                page.add(text.as_bytes().to_vec(), &[text.len()]);
            }
            page
        };
        // the page before, a page, and how many of its records are dropped
        let table = [
            ("1234", "3456", 2),
            ("1234", "1234", 4),
            ("1234", "12345", 4),
            ("1234", "5678", 0),
            ("1212", "1234", 2),
            ("", "12", 0),
            ("12", "", 0),
            // of one second, they may be several events
            ("1234", "4567", 0),
            ("1244", "4456", 0),
            ("4444", "4444", 0),
        ];
        for (before, page, expected) in table {
            let mut end = PageEnd::default();
            unsorted(before).note_end(&mut end);
            let mut page = unsorted(page);
            let left = page.order.len() - expected;
            assert_eq!(page.drop_overlap(&end), expected, "{before}");
            assert_eq!(page.order.len(), left, "{before}");
            assert_eq!(page.is_empty(), left == 0, "{before}");
        }
    }

    #[test]
    fn a_large_record_is_moved_and_keeps_its_place() {
        let large = |n: u32| format!(r#"{{"n":{n},"x":"{}"}}"#, "x".repeat(LARGE));
        let records = [
            "{\"n\":1}".into(),
            "{\"n\":2}".into(),
            large(3),
            "{\"n\":4}".into(),
            large(5),
            large(6),
        ];
        let ends = records.iter().scan(0, |end, record| {
            *end += record.len();
            Some(*end)
        });
        let mut page = Page::default();
        page.add(records.concat().into_bytes(), &ends.collect::<Vec<_>>());
        page.sort();
        let mut text = Vec::new();
        for record in &records {
            assert_eq!(page.is_next_large(), record.len() >= LARGE);
            if page.is_next_large() {
                text.clear();
            }
            let found = page.next(&mut text).unwrap();
            assert_eq!(found.text, record.as_bytes());
        }
        assert!(page.next(&mut text).is_none());
    }

    #[test]
    fn a_visit_is_all_that_it_says_whatever_the_order_of_keys_and_categories() {
        let identity = |text: &str| page(&[text]).next(&mut Vec::new()).unwrap().identity;
        let record = r#"{"url":"u","date":"d","categories":["a","b"]}"#;
        assert_eq!(
            identity(record),
            identity(r#"{"date":"d", "categories":["b", "a"],"url":"u"}"#)
        );
        for other in ["\"x\"", "\"d2\"", "null"] {
            assert_ne!(identity(record), identity(&record.replace("\"d\"", other)));
        }
        assert_ne!(
            identity(record),
            identity(&record.replace("\"b\"", "\"c\""))
        );
    }

    #[test]
    fn visits_in_the_shapes_of_public_samples_are_all_that_they_say() {
        const FIRST: &str = r#"{"userId":"u","userName":"a@x","url":"https://x","date":"2025-01-14T10:27:35.000+0000",
            "zone":"EAST","classification":"USER","categories":["a"],"isiFrame":false}"#;
        let identity = |text: &str| page(&[text]).next(&mut Vec::new()).unwrap().identity;
        // what is written instead of what, and whether it is the same visit
        let table = [
            (
                r#""userId":"u","userName":"a@x""#,
                r#""userName":"a@x", "userId":"u""#,
                true,
            ),
            (r#""url":"https://x""#, r#""url":"https:\/\/x""#, false),
            ("false", r#""false""#, false),
            (r#","isiFrame":false"#, "", false),
            (
                r#""isiFrame":false"#,
                r#""isiFrame":false,"fileSize":null"#,
                false,
            ),
            (r#""USER""#, r#""user""#, false),
            (r#""categories""#, r#""Categories""#, false),
            (r#"["a"]"#, r#""a""#, false),
            (r#"["a"]"#, "null", false),
            (r#""userName":"a@x""#, r#""userName":null"#, false),
            (r#""userId":"u""#, r#""userId":7"#, false),
            // the same instant: nothing says that the service spells it anew
            (".000+0000", "Z", false),
            (r#""2025-01-14T10:27:35.000+0000""#, "1736850455000", false),
            (r#""date":"2025-01-14T10:27:35.000+0000","#, "", false),
        ];
        for (what, instead, is_same) in table {
            assert!(FIRST.contains(what), "{what}");
            let record = FIRST.replacen(what, instead, 1);
            assert_eq!(identity(&record) == identity(FIRST), is_same, "{record}");
            assert!(
                page(&[&record])
                    .next(&mut Vec::new())
                    .unwrap()
                    .is_readable()
            );
        }
    }

    #[test]
    fn the_digests_of_visits_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (
                r#"{"url":"u","date":"2025-01-14T10:27:35.000+0000","categories":["b","a"],"n":1.0}"#,
                "cb62ce595e95224c46c873391b7ff0d5",
            ),
            (
                r#"{"categories":["a","b"],"date":"2025-01-14T10:27:35.000+0000","n":1.0,"url":"u"}"#,
                "cb62ce595e95224c46c873391b7ff0d5",
            ),
            (
                r#"{"url":"u","date":"2025-01-14T10:27:35Z","categories":["b","a"],"n":1.0}"#,
                "93dba09daadf3e883327b8bec89fde8b",
            ),
        ];
        for (record, digest) in golden {
            match page(&[record]).next(&mut Vec::new()).unwrap().identity {
                EventId::Content(found) => assert_eq!(digest::hex(&found), digest, "{record}"),
                other => panic!("{other:?}: {record}"),
            }
        }
    }

    #[test]
    fn what_is_no_json_is_noticed() {
        let readable = |text: &str| page(&[text]).next(&mut Vec::new()).unwrap().is_readable();
        assert!(readable("{}") && readable("7"));
        assert!(readable(r#"{"date":"2025-01-01T19:44:34Z"}"#));
        assert!(!readable("{\"a\":NaN}") && !readable("{broken"));
    }
}
