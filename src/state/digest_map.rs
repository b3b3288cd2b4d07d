//! `DigestMap` keeps values by digest, in the order of the digests.
//!
//! Digests and values stand in one vector, without gaps. A small index says where the digests begin that start with
//! the same bits: a bucket. A digest is looked for in its bucket alone.

use crate::pipeline::batch::Digest;

/// A bucket holds so many digests on average, and up to twice as many before there are more buckets.
const BUCKET: usize = 4;

/// A map from digests, which are evenly spread. Any others are found as well, only more slowly.
#[derive(Debug)]
pub(super) struct DigestMap<V> {
    entries: Vec<(Digest, V)>,
    /// How many bits choose a bucket.
    bits: u32,
    /// Where each bucket begins, and where the last one ends.
    starts: Vec<u32>,
}

impl<V: Copy> DigestMap<V> {
    /// Nothing.
    pub(super) fn new() -> DigestMap<V> {
        DigestMap {
            entries: Vec::new(),
            bits: 0,
            starts: vec![0, 0],
        }
    }

    /// These, in any order; of equal digests one counts.
    pub(super) fn of(mut entries: Vec<(Digest, V)>) -> DigestMap<V> {
        entries.sort_unstable_by_key(|(digest, _)| number(digest));
        entries.dedup_by_key(|(digest, _)| *digest);
        let mut map = DigestMap::new();
        map.entries = entries;
        map.index();
        map
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.find(digest).is_some()
    }

    pub(super) fn get_mut(&mut self, digest: &Digest) -> Option<&mut V> {
        let at = self.find(digest)?;
        Some(&mut self.entries[at].1)
    }

    /// All of them, in the order of their digests.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Digest, V)> {
        self.entries.iter().copied()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Keeps those whose values are wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(V) -> bool) {
        self.entries.retain(|(_, value)| is_wanted(*value));
        self.index();
    }

    /// Adds digests that it does not have, in any order. They are merged from the end, in place: no second vector.
    pub(super) fn merge(&mut self, mut added: Vec<(Digest, V)>) {
        added.sort_unstable_by_key(|(digest, _)| number(digest));
        let (mut old, mut new) = (self.entries.len(), added.len());
        self.entries.reserve_exact(added.len());
        self.entries.extend_from_slice(&added);
        while new > 0 {
            let from_old = old > 0 && self.entries[old - 1].0 > added[new - 1].0;
            self.entries[old + new - 1] = if from_old {
                self.entries[old - 1]
            } else {
                added[new - 1]
            };
            if from_old { old -= 1 } else { new -= 1 }
        }
        if bits(self.entries.len()) == self.bits {
            self.move_starts(&added);
        } else {
            self.index();
        }
    }

    /// Where the digest is.
    fn find(&self, digest: &Digest) -> Option<usize> {
        let bucket = bucket(digest, self.bits);
        let [start, end] = [self.starts[bucket], self.starts[bucket + 1]].map(|at| at as usize);
        let wanted = number(digest);
        let found =
            self.entries[start..end].binary_search_by_key(&wanted, |(digest, _)| number(digest));
        found.ok().map(|at| start + at)
    }

    /// Finds the buckets anew.
    fn index(&mut self) {
        self.bits = bits(self.entries.len());
        self.starts.clear();
        self.starts.reserve_exact((1 << self.bits) + 1);
        for (at, (digest, _)) in self.entries.iter().enumerate() {
            let bucket = bucket(digest, self.bits);
            if self.starts.len() <= bucket {
                self.starts.resize(bucket + 1, at as u32);
            }
        }
        self.starts
            .resize((1 << self.bits) + 1, self.entries.len() as u32);
    }

    /// The same, when these were added and there are as many buckets as before.
    fn move_starts(&mut self, added: &[(Digest, V)]) {
        let mut before = 0;
        for (number, start) in self.starts.iter_mut().enumerate() {
            let is_before = |(digest, _): &(Digest, V)| bucket(digest, self.bits) < number;
            before += added[before..]
                .iter()
                .take_while(|entry| is_before(entry))
                .count();
            *start += before as u32;
        }
    }
}

/// How many bits choose one of the buckets for so many digests.
fn bits(count: usize) -> u32 {
    (count / BUCKET).max(1).ilog2()
}

/// The number of the bucket for a digest.
fn bucket(digest: &Digest, bits: u32) -> usize {
    // no bits at all are no shift
    (number(digest) >> 1 >> (u128::BITS - 1 - bits)) as usize
}

/// A digest as a number, which is faster to compare, and in the same order.
fn number(digest: &Digest) -> u128 {
    u128::from_be_bytes(*digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(numbers: &[u128]) -> Vec<(Digest, u128)> {
        let entry = |number: &u128| (number.to_be_bytes(), *number);
        numbers.iter().map(entry).collect()
    }

    /// Expects that it has these numbers, and none beside them.
    fn check(map: &mut DigestMap<u128>, numbers: &[u128]) {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        assert!(map.iter().eq(digests(&sorted)));
        assert_eq!(map.len(), numbers.len());
        for number in numbers {
            let found = map.get_mut(&number.to_be_bytes()).copied();
            assert_eq!(found, Some(*number));
            for other in [number.wrapping_add(1), number.wrapping_sub(1)] {
                let is_there = sorted.binary_search(&other).is_ok();
                assert_eq!(map.contains(&other.to_be_bytes()), is_there, "{other}");
            }
        }
        for end in [0, u128::MAX] {
            assert_eq!(map.contains(&end.to_be_bytes()), numbers.contains(&end));
        }
    }

    /// Evenly spread, all at one end, at both ends, alike, and few.
    fn spreads() -> Vec<Vec<u128>> {
        let step = u128::MAX / 5001;
        vec![
            (1..5000).map(|n| n * step).collect(),
            (1..5000).map(|n| n * 2).collect(),
            (1..5000).map(|n| u128::MAX - 20_000 + n * 2).collect(),
            (1..5000)
                .map(|n| if n % 2 == 0 { n } else { u128::MAX - n })
                .collect(),
            (1..5000).map(|n| (7 << 96) + n * 3).collect(),
            vec![0, u128::MAX],
            vec![7],
            vec![],
        ]
    }

    #[test]
    fn a_digest_is_found_among_any_others() {
        for numbers in spreads() {
            check(&mut DigestMap::of(digests(&numbers)), &numbers);
            let twice = [digests(&numbers), digests(&numbers)].concat();
            check(&mut DigestMap::of(twice), &numbers);
        }
    }

    #[test]
    fn a_digest_is_found_however_the_others_came() {
        for numbers in spreads() {
            for part in [1, 13, 600, 4000] {
                let mut map = DigestMap::new();
                let parts = if part == 1 {
                    &numbers[..numbers.len().min(600)]
                } else {
                    &numbers[..]
                };
                for part in parts.chunks(part) {
                    // not in their order
                    map.merge(digests(part).into_iter().rev().collect());
                }
                check(&mut map, parts);
            }
        }
    }

    #[test]
    fn what_is_wanted_is_kept_and_may_be_changed() {
        let numbers: Vec<u128> = (1..5000).map(|n| n * (u128::MAX / 5001)).collect();
        let mut map = DigestMap::of(digests(&numbers));
        let kept: Vec<u128> = numbers.iter().copied().filter(|n| n % 3 == 0).collect();
        map.retain(|number| number % 3 == 0);
        check(&mut map, &kept);
        map.values_mut().for_each(|value| *value += 1);
        let first = map.get_mut(&kept[0].to_be_bytes()).copied();
        assert_eq!(first, Some(kept[0] + 1));
        map.retain(|_| false);
        check(&mut map, &[]);
    }
}
