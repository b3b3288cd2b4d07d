//! `ThreatQueue` holds the threats that a window names and whose summaries are to be requested.
//!
//! Pure. A threat with a status stands in it once, whatever names it and however often.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::digest::{Hasher, is_too_complex};
use crate::pipeline::batch::Digest;
use crate::source::tap::events::OptionalText;

/// The most threats that are held at once.
const MOST: usize = 4096;
/// The longest id in bytes; ids have 64 hexadecimal digits.
const LONGEST_ID: usize = 256;

/// A threat with the status that an event says it has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ThreatStatus {
    pub(super) id: String,
    /// What its summary is recognised by.
    pub(super) digest: Digest,
}

/// The threats that a window names, in the order in which it names them.
#[derive(Debug, Default)]
pub(super) struct ThreatQueue {
    waiting: VecDeque<ThreatStatus>,
    /// The digests of all that were held.
    met: HashSet<Digest>,
    is_more: bool,
    /// What cannot be read.
    pub(super) odd: OddThreats,
}

impl ThreatQueue {
    /// Adds the threats that an event names, but those that `is_known`. What cannot be read of it is
    /// counted, and the threats beside it are added.
    ///
    /// # Errors
    /// When the event is not a JSON object.
    pub(super) fn add(
        &mut self,
        event: &[u8],
        is_known: impl Fn(&Digest) -> bool,
    ) -> Result<(), serde_json::Error> {
        if is_too_complex(event) {
            return Err(serde::de::Error::custom("it has too many parts"));
        }
        let text = String::from_utf8_lossy(event);
        let event: EventThreats<'_> = serde_json::from_str(&text)?;
        match event
            .threats
            .map(|threats| serde_json::from_str::<Vec<&RawValue>>(threats.get()))
        {
            None => {}
            Some(Ok(threats)) => {
                for threat in threats {
                    match serde_json::from_str::<NamedThreat<'_>>(threat.get()) {
                        Ok(named) if threat.get().starts_with('{') => {
                            self.add_named(&named, &is_known);
                        }
                        _ => self
                            .odd
                            .add("an element of threatsInfoMap that is not an object"),
                    }
                }
            }
            Some(Err(_)) => self.odd.add("a threatsInfoMap that is not a list"),
        }
        let EventThreats { id, status, .. } = event;
        self.add_named(&NamedThreat { id, status }, &is_known);
        Ok(())
    }

    fn add_named(&mut self, threat: &NamedThreat<'_>, is_known: impl Fn(&Digest) -> bool) {
        let id = match threat.id.map(RawValue::get) {
            None => return,
            Some(id) => serde_json::from_str::<OptionalText<'_>>(id),
        };
        let status = match threat.status.map(RawValue::get) {
            None => Cow::Borrowed(""),
            Some(status) if status.starts_with(['{', '[']) => Cow::Borrowed(""),
            Some(status) => serde_json::from_str(status).unwrap_or(Cow::Borrowed(status)),
        };
        match id {
            Ok(id) => self.hold(id.as_str(), &status, is_known),
            Err(_) => self.odd.add("a threatID that is not a text"),
        }
    }

    fn hold(&mut self, id: &str, status: &str, is_known: impl Fn(&Digest) -> bool) {
        if id.is_empty() {
            return;
        }
        if id.len() > LONGEST_ID {
            return self.odd.add("a threatID that is longer than any");
        }
        let digest = identify(id, status);
        if is_known(&digest) || self.met.contains(&digest) {
            return;
        }
        if self.waiting.len() >= MOST {
            self.is_more = true;
            return;
        }
        self.met.insert(digest);
        let id = id.to_owned();
        self.waiting.push_back(ThreatStatus { id, digest });
    }

    /// Takes the next one.
    pub(super) fn next(&mut self) -> Option<ThreatStatus> {
        self.waiting.pop_front()
    }

    /// Puts one back, to be the next again.
    pub(super) fn put_back(&mut self, threat: ThreatStatus) {
        self.waiting.push_front(threat);
    }

    /// Drops the rest, and whatever could not be held.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.is_more = false;
    }

    /// Whether the window names more than could be held: it has to be read again.
    pub(super) fn is_more(&self) -> bool {
        self.is_more
    }
}

/// What an event says of threats: a message in a list, a click of one.
#[derive(Deserialize)]
struct EventThreats<'a> {
    #[serde(borrow, default, rename = "threatsInfoMap")]
    threats: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "threatID")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "threatStatus")]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NamedThreat<'a> {
    #[serde(borrow, default, rename = "threatID")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "threatStatus")]
    status: Option<&'a RawValue>,
}

/// What events say of threats and cannot be read, by its kind.
#[derive(Debug, Default)]
pub(super) struct OddThreats(BTreeMap<&'static str, u64>);

impl OddThreats {
    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds those of a window.
    pub(super) fn add_all(&mut self, other: &mut OddThreats) {
        for (what, number) in std::mem::take(&mut other.0) {
            *self.0.entry(what).or_default() += number;
        }
    }

    /// Each kind, and how many there were; `None` if there were none.
    pub(super) fn told(&self) -> Option<String> {
        let kinds = self.0.iter();
        let kinds = kinds.map(|(what, number)| format!("{what} ({number})"));
        (!self.0.is_empty()).then(|| kinds.collect::<Vec<_>>().join(", "))
    }
}

/// What the summary of a threat with this status is recognised by.
fn identify(id: &str, status: &str) -> Digest {
    let mut hasher = Hasher::of("tap threat");
    hasher.part(id.as_bytes());
    // spelt differently in different places
    hasher.part(status.to_ascii_lowercase().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    /// The ids that are held after these events, of which those of `known` are known.
    fn held(events: &[&str], known: &[(&str, &str)]) -> Vec<String> {
        let known: Vec<Digest> = known
            .iter()
            .map(|(id, status)| identify(id, status))
            .collect();
        let mut queue = ThreatQueue::default();
        for event in events {
            queue
                .add(event.as_bytes(), |digest| known.contains(digest))
                .unwrap();
        }
        assert!(!queue.is_more());
        std::iter::from_fn(|| queue.next().map(|threat| threat.id)).collect()
    }

    #[test]
    fn messages_and_clicks_name_threats() {
        let table: [(&str, &[&str]); 6] = [
            (
                r#"{"threatsInfoMap":[{"threatID":"a","threatStatus":"active","x":1},{"threatID":"b","threatStatus":null}]}"#,
                &["a", "b"],
            ),
            (
                r#"{"threatID":"\u0061","threatStatus":"cleared","threatsInfoMap":null}"#,
                &["a"],
            ),
            (
                r#"{"threatID":"a","threatsInfoMap":[{"threatID":"b"}]}"#,
                &["b", "a"],
            ),
            (r#"{"threatID":null}"#, &[]),
            (r#"{"threatID":""}"#, &[]),
            ("{}", &[]),
        ];
        for (event, expected) in table {
            assert_eq!(held(&[event], &[]), expected, "{event}");
        }
    }

    #[test]
    fn what_is_odd_is_counted_and_costs_nothing_beside_it() {
        const OBJECT: &str = "an element of threatsInfoMap that is not an object (1)";
        const ID: &str = "a threatID that is not a text (1)";
        let list = |odd: &str| format!(r#"{{"threatsInfoMap":[{odd},{{"threatID":"good"}}]}}"#);
        let table = [
            (list("null"), "good", Some(OBJECT)),
            (list("[]"), "good", Some(OBJECT)),
            (list("\"odd\""), "good", Some(OBJECT)),
            (list(r#"{"threatID":5}"#), "good", Some(ID)),
            (list(r#"{"threatID":["a"]}"#), "good", Some(ID)),
            (list(r#"{"threatID":null}"#), "good", None),
            (list("{}"), "good", None),
            // a status names the pair, however it is spelt
            (list(r#"{"threatID":"a","threatStatus":5}"#), "a good", None),
            (
                list(r#"{"threatID":"a","threatStatus":{}}"#),
                "a good",
                None,
            ),
            (
                r#"{"threatsInfoMap":7,"threatID":"good"}"#.to_owned(),
                "good",
                Some("a threatsInfoMap that is not a list (1)"),
            ),
        ];
        for (event, expected, odd) in table {
            let mut queue = ThreatQueue::default();
            queue.add(event.as_bytes(), |_| false).unwrap();
            assert_eq!(queue.odd.told().as_deref(), odd, "{event}");
            let ids = std::iter::from_fn(|| queue.next().map(|threat| threat.id));
            assert_eq!(ids.collect::<Vec<_>>().join(" "), expected, "{event}");
        }
        // bytes that are no text are no reason either
        let mut queue = ThreatQueue::default();
        let event = b"{\"threatsInfoMap\":[{\"threat\":\"\xff\",\"threatID\":\"good\"}]}";
        queue.add(event, |_| false).unwrap();
        assert_eq!(queue.next().unwrap().id, "good");
        let mut all = OddThreats::default();
        all.add_all(&mut queue.odd);
        assert_eq!(all.told(), None);
    }

    #[test]
    fn a_threat_is_held_once_for_each_status_unless_it_is_known() {
        let named = |id, status| format!(r#"{{"threatID":"{id}","threatStatus":"{status}"}}"#);
        let events = [
            named("a", "active"),
            named("b", "active"),
            named("a", "Active"),
            named("a", "cleared"),
            named("a", "active"),
        ];
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        assert_eq!(held(&events, &[]), ["a", "b", "a"]);
        assert_eq!(held(&events, &[("a", "active")]), ["b", "a"]);
        assert_eq!(held(&events, &[("a", "ACTIVE"), ("b", "active")]), ["a"]);
    }

    #[test]
    fn what_cannot_be_an_id_is_passed_over() {
        let longest = "x".repeat(LONGEST_ID);
        let named = |id: &str| format!(r#"{{"threatID":"{id}"}}"#);
        let event = named(&longest);
        assert_eq!(held(&[&event], &[]), std::slice::from_ref(&longest));
        assert!(held(&[&named(&(longest + "x"))], &[]).is_empty());
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let mut queue = ThreatQueue::default();
        assert!(queue.add(b"{\"threatID\":NaN}", |_| false).is_err());
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn more_than_can_be_held_is_noted_and_held_once_the_window_is_read_again() {
        let named = |number: usize| format!(r#"{{"threatID":"{number}"}}"#);
        let mut queue = ThreatQueue::default();
        for number in 0..MOST {
            queue.add(named(number).as_bytes(), |_| false).unwrap();
        }
        // again, nothing that is new
        queue.add(named(0).as_bytes(), |_| false).unwrap();
        assert!(!queue.is_more());
        queue.add(named(MOST).as_bytes(), |_| false).unwrap();
        assert!(queue.is_more());
        let mut done = HashSet::new();
        while let Some(threat) = queue.next() {
            done.insert(threat.digest);
        }
        assert_eq!(done.len(), MOST);
        assert!(queue.is_more());

        let mut again = ThreatQueue::default();
        for number in 0..=MOST {
            let is_known = |digest: &Digest| done.contains(digest);
            again.add(named(number).as_bytes(), is_known).unwrap();
        }
        assert!(!again.is_more());
        assert_eq!(again.next().unwrap().id, MOST.to_string());
        assert_eq!(again.next(), None);
    }

    #[test]
    fn one_that_is_put_back_is_the_next_and_nothing_is_left_of_a_queue_that_was_cleared() {
        let mut queue = ThreatQueue::default();
        let event = br#"{"threatsInfoMap":[{"threatID":"a"},{"threatID":"b"}]}"#;
        queue.add(event, |_| false).unwrap();
        let first = queue.next().unwrap();
        queue.put_back(first);
        assert_eq!(queue.next().unwrap().id, "a");
        queue.is_more = true;
        queue.clear();
        assert_eq!((queue.next(), queue.is_more()), (None, false));
    }

    #[test]
    fn the_digests_of_threats_stay_as_they_are() {
        // a changed digest means doubles for every user: a recipe that must change gets a new version
        // instead, under a kind of its own
        let golden = [
            (("t", "active"), "4b00280ebd94de4d557fc7343f192beb"),
            (("t", "Active"), "4b00280ebd94de4d557fc7343f192beb"),
            (("t", ""), "8fd8a038322d5c8308d0e97fde8de15b"),
        ];
        for ((id, status), digest) in golden {
            assert_eq!(hex(&identify(id, status)), digest, "{id} {status}");
        }
    }
}
