//! `LookupQueue` holds what a window names and what is to be looked up.
//!
//! Pure. A name stands in it once, whatever names it and however often.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::{Named, Names};
use crate::digest::is_too_complex;
use crate::pipeline::batch::Digest;

/// The most names that are held at once.
const MOST: usize = 4096;
/// The longest id in bytes; ids have 64 hexadecimal digits, or are UUIDs.
const LONGEST_ID: usize = 256;

/// What is looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) id: String,
    /// What its answer is recognised by.
    pub(super) digest: Digest,
    /// Whether a request for it failed.
    pub(super) is_repeat: bool,
}

/// What a window names, in the order in which it names it.
#[derive(Debug, Default)]
pub(super) struct LookupQueue {
    waiting: VecDeque<Lookup>,
    /// The digests of all that were held.
    met: HashSet<Digest>,
    is_more: bool,
    /// What cannot be read.
    pub(super) odd: OddNames,
}

impl LookupQueue {
    /// Adds what a record names, but what `is_known`. What cannot be read of it is counted, and what it
    /// names beside that is added.
    ///
    /// # Errors
    /// When the record is not a JSON object.
    pub(super) fn add(
        &mut self,
        names: Names,
        record: &[u8],
        is_known: impl Fn(&Digest) -> bool,
    ) -> serde_json::Result<()> {
        if is_too_complex(record) {
            return Err(serde::de::Error::custom("it has too many parts"));
        }
        names(record, &mut |named| match named {
            Named::Id(id, digest) => self.hold(id, digest, &is_known),
            Named::Odd(what) => self.odd.add(what),
        })
    }

    fn hold(&mut self, id: &str, digest: Digest, is_known: impl Fn(&Digest) -> bool) {
        if id.is_empty() {
            return;
        }
        if id.len() > LONGEST_ID {
            return self.odd.add("an id that is longer than any");
        }
        if is_known(&digest) || self.met.contains(&digest) {
            return;
        }
        if self.waiting.len() >= MOST {
            self.is_more = true;
            return;
        }
        self.met.insert(digest);
        self.waiting.push_back(Lookup {
            id: id.to_owned(),
            digest,
            is_repeat: false,
        });
    }

    /// Takes the next one.
    pub(super) fn next(&mut self) -> Option<Lookup> {
        self.waiting.pop_front()
    }

    /// Puts one back whose request was not made, to be the next again.
    pub(super) fn put_back(&mut self, lookup: Lookup) {
        self.waiting.push_front(lookup);
    }

    /// Puts one back whose request failed, to be the next again.
    pub(super) fn repeat(&mut self, lookup: Lookup) {
        self.put_back(Lookup {
            is_repeat: true,
            ..lookup
        });
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
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

/// What records say and cannot be read, by its kind.
#[derive(Debug, Default)]
pub(super) struct OddNames(BTreeMap<&'static str, u64>);

impl OddNames {
    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds those of a window.
    pub(super) fn add_all(&mut self, other: &mut OddNames) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Hasher;

    /// A record is a list of ids; one is odd.
    fn names(record: &[u8], name: &mut dyn FnMut(Named<'_>)) -> serde_json::Result<()> {
        let ids: Vec<String> = serde_json::from_slice(record)?;
        ids.iter().for_each(|id| match id.as_str() {
            "odd" => name(Named::Odd("an odd id")),
            id => name(Named::Id(id, digest(id))),
        });
        Ok(())
    }

    fn digest(id: &str) -> Digest {
        Hasher::of(id).finish()
    }

    fn add(queue: &mut LookupQueue, ids: &[&str], known: &[&str]) {
        let record = serde_json::to_vec(ids).unwrap();
        let known: Vec<Digest> = known.iter().map(|id| digest(id)).collect();
        let added = queue.add(names, &record, |digest| known.contains(digest));
        added.unwrap();
    }

    fn held(queue: &mut LookupQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.next().map(|lookup| lookup.id)).collect()
    }

    #[test]
    fn a_name_is_held_once_unless_it_is_known() {
        let mut queue = LookupQueue::default();
        add(&mut queue, &["b", "a", "c"], &["c"]);
        add(&mut queue, &["a", "d", "b"], &[]);
        assert_eq!(held(&mut queue), ["b", "a", "d"]);
        add(&mut queue, &["a", "e"], &[]);
        assert_eq!(held(&mut queue), ["e"]);
    }

    #[test]
    fn what_cannot_be_an_id_is_passed_over() {
        let (longest, longer) = ("x".repeat(LONGEST_ID), "x".repeat(LONGEST_ID + 1));
        let mut queue = LookupQueue::default();
        add(&mut queue, &[&longest, &longer, ""], &[]);
        assert_eq!(held(&mut queue), [longest]);
        let told = queue.odd.told();
        assert_eq!(told.as_deref(), Some("an id that is longer than any (1)"));
    }

    #[test]
    fn what_is_odd_is_counted_and_costs_nothing_beside_it() {
        let (mut all, mut queue) = (OddNames::default(), LookupQueue::default());
        assert_eq!(all.told(), None);
        add(&mut queue, &["odd", "a", "odd"], &[]);
        assert_eq!(held(&mut queue), ["a"]);
        all.add_all(&mut queue.odd);
        assert_eq!(queue.odd.told(), None);
        add(&mut queue, &["odd"], &[]);
        all.add_all(&mut queue.odd);
        assert_eq!(all.told().as_deref(), Some("an odd id (3)"));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let mut queue = LookupQueue::default();
        assert!(queue.add(names, b"[NaN]", |_| false).is_err());
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn more_than_can_be_held_is_noted_and_held_once_the_window_is_read_again() {
        let ids: Vec<String> = (0..=MOST).map(|number| number.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut queue = LookupQueue::default();
        add(&mut queue, &ids[..MOST], &[]);
        // again, nothing that is new
        add(&mut queue, &ids[..1], &[]);
        assert!(!queue.is_more());
        add(&mut queue, &ids, &[]);
        assert!(queue.is_more());
        assert_eq!(held(&mut queue), ids[..MOST]);
        assert!(queue.is_more());

        let mut again = LookupQueue::default();
        add(&mut again, &ids, &ids[..MOST]);
        assert!(!again.is_more());
        assert_eq!(held(&mut again), ids[MOST..]);
    }

    #[test]
    fn one_that_is_put_back_is_the_next_and_nothing_is_left_of_a_queue_that_was_cleared() {
        let mut queue = LookupQueue::default();
        add(&mut queue, &["a", "b"], &[]);
        let first = queue.next().unwrap();
        queue.put_back(first);
        assert_eq!(queue.next().unwrap().id, "a");
        queue.is_more = true;
        queue.clear();
        assert_eq!((queue.next(), queue.is_more()), (None, false));
    }
}
