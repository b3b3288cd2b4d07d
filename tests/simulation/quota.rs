//! How a service counts requests, and what of that the oracle asks.

use std::collections::VecDeque;

use time::{Duration, OffsetDateTime};

/// A pool of requests: so many in any 24 hours.
#[derive(Debug, Clone)]
pub struct Quota {
    pub name: &'static str,
    most: usize,
    /// Those of the last 24 hours that were answered.
    counted: VecDeque<OffsetDateTime>,
    /// All that were answered.
    pub requests: usize,
    /// Those that came although the pool was spent. A program that books its requests makes none, unless
    /// others share its sign-in.
    pub exceeded: usize,
}

impl Quota {
    pub fn new(name: &'static str, most: usize) -> Quota {
        Quota {
            name,
            most,
            counted: VecDeque::new(),
            requests: 0,
            exceeded: 0,
        }
    }

    /// Counts a request; whether it is within the quota. One that is not does not count.
    pub fn take(&mut self, now: OffsetDateTime) -> bool {
        while self
            .counted
            .front()
            .is_some_and(|first| *first <= now - Duration::DAY)
        {
            self.counted.pop_front();
        }
        let is_within = self.counted.len() < self.most;
        match is_within {
            true => {
                self.counted.push_back(now);
                self.requests += 1;
            }
            false => self.exceeded += 1,
        }
        is_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_request_is_free_again_a_day_after_it() {
        let noon = datetime!(2026-11-24 12:00 UTC);
        let mut quota = Quota::new("a pool", 2);
        let minutes = [0, 1, 2, 24 * 60 - 1, 24 * 60, 24 * 60];
        let taken = minutes.map(|minute| quota.take(noon + Duration::minutes(minute)));
        assert_eq!(taken, [true, true, false, false, true, false]);
        assert_eq!((quota.requests, quota.exceeded), (3, 3));
    }
}
