//! `quota` decides how many requests may be made, by rolling periods.
//!
//! Pure: what was booked, and when, is a value. `state::ledger` reads and stores it.

mod exceeded;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::error::Result;
use crate::human;
use exceeded::BlockedBy;
pub use exceeded::{QuotaError, QuotaExceeded};

/// Requests that a backfill leaves to the timer's runs: a day of rechecks, or four hours of runs
/// every ten minutes. Of a small limit it leaves half.
pub(crate) const RESERVE: u32 = 24;
/// Longest period of a limit.
pub(crate) const LONGEST: Duration = Duration::days(30);
/// Longest wait after a refusal: a daily quota is free again by then.
const LONGEST_HOLD: Duration = Duration::DAY;
/// Longest delay between booking and arrival; the service counts a request from its arrival.
const UNDER_WAY: Duration = Duration::minutes(1);

/// The share of each limit that repeats of failed requests may use: one in this many.
const REPEATS: u32 = 4;
/// The share of a limit from which on repeats are to blame that it is spent: one in this many.
const BLAMED: u32 = 8;

/// Asks for leave to make a request. A request counts once it is booked, made or not.
pub trait Quota: fmt::Debug {
    /// Books one request, durably. Call it right before each request.
    ///
    /// # Errors
    /// With [`QuotaError::Exceeded`] when it must not be made now; when the booking cannot
    /// be stored.
    fn book(&mut self, now: OffsetDateTime) -> Result<(), QuotaError>;

    /// Books the repeat of a request that failed. Repeats have a share of each limit, so that a server
    /// that fails cannot use up the quota.
    ///
    /// # Errors
    /// As [`Quota::book`]; with [`QuotaError::RepeatsExceeded`] when the share is used up.
    fn book_repeat(&mut self, now: OffsetDateTime) -> Result<(), QuotaError> {
        self.book(now)
    }

    /// Counts what follows in another pool of the account; `None`: in that of the service again.
    fn use_pool(&mut self, pool: Option<&'static Pool>);

    /// Gives back what was booked at this time: the request was never sent, since no connection was made.
    ///
    /// # Errors
    /// When that cannot be stored.
    fn give_back(&mut self, booked: OffsetDateTime) -> Result<()>;

    /// Holds back all requests for this long, at most a day, after the service answered 429.
    /// Returns the end of the wait.
    ///
    /// # Errors
    /// When that cannot be stored.
    fn hold(&mut self, now: OffsetDateTime, wait: Duration) -> Result<OffsetDateTime>;
}

/// At most this many requests in any period of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Number of requests, from 1.
    pub at_most: u32,
    /// Length of the period in whole seconds, at most 30 days.
    pub period: Duration,
}

impl Limit {
    /// `at_most` requests a day.
    #[must_use]
    pub const fn a_day(at_most: u32) -> Limit {
        Limit {
            at_most,
            period: Duration::DAY,
        }
    }

    /// When one more request fits after the sorted `booked` ones: `now` or later, in seconds since
    /// 1970.
    fn free_at(&self, booked: &[i64], now: i64) -> i64 {
        let counting = self.counting(booked, now);
        let over = counting.len().checked_sub(self.at_most as usize);
        let frees = over.and_then(|over| counting.get(over));
        frees.map_or(now, |at| at + self.period.whole_seconds())
    }

    /// The sorted `booked` requests that still count.
    fn counting<'a>(&self, booked: &'a [i64], now: i64) -> &'a [i64] {
        let edge = now - self.period.whole_seconds();
        &booked[booked.partition_point(|at| *at <= edge)..]
    }

    /// How many requests of a period may be repeats of failed ones.
    fn repeats(&self) -> u32 {
        (self.at_most / REPEATS).max(2)
    }

    fn less(&self, held_back: u32) -> Limit {
        Limit {
            at_most: self.at_most - held_back.min(self.at_most / 2),
            ..*self
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = human::count(self.at_most.into(), "request");
        write!(f, "{requests} per {}", self.period)
    }
}

/// A quota that several services of an account share.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name, also in the ledger.
    pub name: &'static str,
    /// The limits of the API.
    pub limits: &'static [Limit],
}

/// The limits by which a run books its requests.
#[derive(Debug, Clone)]
pub struct QuotaPolicy {
    /// The service that makes the requests.
    pub service: &'static str,
    /// The pool in which they count.
    pub pool: &'static Pool,
    /// The service's own limits, besides those of the pool.
    pub own: Vec<Limit>,
    /// The pool in which other requests of the service count, if there is one.
    pub lookups: Option<&'static Pool>,
    /// Requests of each limit that are left for others.
    pub held_back: u32,
}

impl QuotaPolicy {
    /// The same, but in this pool; the service's own limits are for the other one.
    #[must_use]
    pub(crate) fn in_pool(&self, pool: &'static Pool) -> QuotaPolicy {
        QuotaPolicy {
            pool,
            own: Vec::new(),
            ..*self
        }
    }
}

/// The bookings of one account. Times are in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ledger {
    pools: BTreeMap<String, Entries>,
}

/// The bookings of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    /// After a refusal, the time before which no request is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    /// When each service made its requests, sorted.
    requests: BTreeMap<String, Vec<i64>>,
    /// Those of them that repeated a failed one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    repeats: BTreeMap<String, Vec<i64>>,
}

/// How much of a limit is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Who the limit is for: the name of the pool or of the service.
    pub of: &'static str,
    /// The limit.
    pub limit: Limit,
    /// How many requests still count.
    pub used: u32,
}

impl Usage {
    /// How many requests may still be made now.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.limit.at_most.saturating_sub(self.used)
    }
}

impl Ledger {
    /// Books a request, or says why it must not be made. In both cases, bookings from a clock that
    /// was ahead are moved to now, and expired ones are removed.
    ///
    /// # Errors
    /// When a limit, or a refusal of the service, prevents it.
    pub(crate) fn book(
        &mut self,
        policy: &QuotaPolicy,
        now: OffsetDateTime,
    ) -> Result<(), QuotaExceeded> {
        let now = now.unix_timestamp();
        let booked = self.pools.entry(policy.pool.name.to_owned()).or_default();
        booked.tidy(policy, now);
        match booked.obstacle(policy, now) {
            Some(exceeded) => Err(exceeded),
            None => {
                booked.of(policy.service).push(now);
                Ok(())
            }
        }
    }

    /// Books the repeat of a request that failed, or says why it must not be made.
    ///
    /// # Errors
    /// As [`Ledger::book`], or when repeats have used their share of a limit.
    pub(crate) fn book_repeat(
        &mut self,
        policy: &QuotaPolicy,
        now: OffsetDateTime,
    ) -> Result<(), QuotaExceeded> {
        let seconds = now.unix_timestamp();
        let booked = self.pools.entry(policy.pool.name.to_owned()).or_default();
        booked.tidy(policy, seconds);
        if let Some(exceeded) = booked.too_many_repeats(policy, seconds) {
            return Err(exceeded);
        }
        self.book(policy, now)?;
        let booked = self.pools.entry(policy.pool.name.to_owned()).or_default();
        let repeats = booked.repeats.entry(policy.service.to_owned());
        repeats.or_default().push(seconds);
        Ok(())
    }

    /// Removes the last request booked at `at`, which was never made.
    pub(crate) fn give_back(&mut self, policy: &QuotaPolicy, at: OffsetDateTime) {
        let booked = self.pools.entry(policy.pool.name.to_owned()).or_default();
        for times in [&mut booked.requests, &mut booked.repeats] {
            let own = times.get_mut(policy.service);
            let last = |own: &Vec<i64>| own.iter().rposition(|time| *time == at.unix_timestamp());
            if let Some(own) = own
                && let Some(last) = last(own)
            {
                own.remove(last);
            }
        }
    }

    /// Notes that the service refuses requests of this pool for this long, at most a day; returns
    /// the end.
    pub(crate) fn hold(
        &mut self,
        policy: &QuotaPolicy,
        now: OffsetDateTime,
        wait: Duration,
    ) -> OffsetDateTime {
        let until = now + wait.clamp(Duration::ZERO, LONGEST_HOLD);
        let booked = self.pools.entry(policy.pool.name.to_owned()).or_default();
        booked.not_before = Some(until.unix_timestamp()).max(booked.not_before);
        until
    }

    /// How many of `count` requests could be made now, and what prevents the others.
    #[must_use]
    pub(crate) fn foresee(
        &self,
        policy: &QuotaPolicy,
        now: OffsetDateTime,
        count: usize,
    ) -> (usize, Option<QuotaExceeded>) {
        let mut book = self.clone();
        for made in 0..count {
            if let Err(exceeded) = book.book(policy, now) {
                return (made, Some(exceeded));
            }
        }
        (count, None)
    }

    /// The use of each limit, those of the pool first.
    #[must_use]
    pub(crate) fn usage(&self, policy: &QuotaPolicy, now: OffsetDateTime) -> Vec<Usage> {
        let now = now.unix_timestamp();
        let mut booked = self
            .pools
            .get(policy.pool.name)
            .cloned()
            .unwrap_or_default();
        booked.tidy(policy, now);
        let (all, own) = (booked.all(), booked.of(policy.service));
        let usage = |of, limit: &Limit, booked: &[i64], now| {
            let used = limit.counting(booked, now).len();
            let used = u32::try_from(used).unwrap_or(u32::MAX);
            Usage {
                of,
                limit: *limit,
                used,
            }
        };
        let shared = policy.pool.limits.iter();
        let shared = shared.map(|limit| usage(policy.pool.name, limit, &all, arrived(now)));
        let own = policy
            .own
            .iter()
            .map(|limit| usage(policy.service, limit, own, now));
        shared.chain(own).collect()
    }
}

impl Entries {
    fn of(&mut self, service: &str) -> &mut Vec<i64> {
        self.requests.entry(service.to_owned()).or_default()
    }

    /// The requests of all services, sorted.
    fn all(&self) -> Vec<i64> {
        merged(&self.requests)
    }

    /// The limit of which repeats have used their share.
    fn too_many_repeats(&self, policy: &QuotaPolicy, now: i64) -> Option<QuotaExceeded> {
        let (all, own) = (merged(&self.repeats), self.repeats.get(policy.service));
        let own = own.map(Vec::as_slice).unwrap_or_default();
        let shared = policy.pool.limits.iter();
        let shared = shared.map(|limit| (policy.pool.name, limit, all.as_slice(), arrived(now)));
        let own_limits = policy.own.iter();
        let own_limits = own_limits.map(|limit| (policy.service, limit, own, now));
        let exceeded = |(of, limit, repeats, now): (_, &Limit, &[i64], i64)| {
            let share = Limit {
                at_most: limit.repeats(),
                ..*limit
            };
            let free = share.free_at(repeats, now);
            (free > now).then_some(QuotaExceeded {
                reason: BlockedBy::Repeats { of, limit: *limit },
                free,
            })
        };
        shared.chain(own_limits).find_map(exceeded)
    }

    fn tidy(&mut self, policy: &QuotaPolicy, now: i64) {
        let periods = policy.own.iter().chain(policy.pool.limits);
        let longest = periods.map(|limit| limit.period).max().unwrap_or_default();
        for (service, times) in self.requests.iter_mut().chain(&mut self.repeats) {
            // only the other service's configuration says how long its requests count
            let counts = if service == policy.service {
                longest
            } else {
                LONGEST
            };
            let edge = now - (counts + UNDER_WAY).whole_seconds();
            times.iter_mut().for_each(|at| *at = now.min(*at));
            times.sort_unstable();
            times.retain(|at| *at > edge);
        }
        self.requests.retain(|_, times| !times.is_empty());
        self.repeats.retain(|_, times| !times.is_empty());
        let latest = now + LONGEST_HOLD.whole_seconds();
        self.not_before = self
            .not_before
            .filter(|at| *at > now)
            .map(|at| at.min(latest));
    }

    /// What prevents one more request for the longest time.
    fn obstacle(&mut self, policy: &QuotaPolicy, now: i64) -> Option<QuotaExceeded> {
        let held = self.not_before.map(|free| QuotaExceeded {
            reason: BlockedBy::Refused,
            free,
        });
        let (all, all_repeats) = (self.all(), merged(&self.repeats));
        let own_repeats = self.repeats.get(policy.service).cloned();
        let (own, own_repeats) = (self.of(policy.service), own_repeats.unwrap_or_default());
        let exceeded = |of, limit: &Limit, repeats: &[i64], free| QuotaExceeded {
            reason: BlockedBy::Limit {
                of,
                limit: *limit,
                held_back: limit.at_most - limit.less(policy.held_back).at_most,
                repeats: u32::try_from(limit.counting(repeats, now).len()).unwrap_or(u32::MAX),
            },
            free,
        };
        let shared = policy.pool.limits.iter().map(|limit| {
            let limit_here = limit.less(policy.held_back);
            let free = limit_here.free_at(&all, arrived(now));
            let free = free + now - arrived(now);
            exceeded(policy.pool.name, limit, &all_repeats, free)
        });
        let own = policy.own.iter().map(|limit| {
            let free = limit.less(policy.held_back).free_at(own, now);
            exceeded(policy.service, limit, &own_repeats, free)
        });
        let all = shared.chain(own).chain(held);
        all.filter(|exceeded| exceeded.free > now)
            .max_by_key(|exceeded| exceeded.free)
    }
}

/// The times of all services, sorted.
fn merged(times: &BTreeMap<String, Vec<i64>>) -> Vec<i64> {
    let mut all: Vec<i64> = times.values().flatten().copied().collect();
    all.sort_unstable();
    all
}

/// The latest booking that has reached the service by `now`.
fn arrived(now: i64) -> i64 {
    now - UNDER_WAY.whole_seconds()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    static POOL: Pool = Pool {
        name: "pool",
        limits: &[Limit::a_day(5)],
    };

    fn policy(service: &'static str, own: &[(u32, Duration)], held_back: u32) -> QuotaPolicy {
        let own = own.iter();
        let own = own.map(|&(at_most, period)| Limit { at_most, period });
        QuotaPolicy {
            service,
            pool: &POOL,
            lookups: None,
            own: own.collect(),
            held_back,
        }
    }

    /// This many minutes after noon.
    fn at(minutes: i64) -> OffsetDateTime {
        NOON + Duration::minutes(minutes)
    }

    /// Expects that after requests at these minutes past noon, one at `now` is free in `free_in`
    /// minutes.
    fn check(policy: &QuotaPolicy, made: &[i64], now: i64, free_in: i64) {
        let mut book = Ledger::default();
        for minute in made {
            let booked = book.book(policy, at(*minute));
            assert_eq!(booked, Ok(()), "{minute} of {made:?}");
        }
        let free = book
            .book(policy, at(now))
            .map_err(|exceeded| (exceeded.free() - at(now)).whole_minutes());
        let expected = if free_in == 0 { Ok(()) } else { Err(free_in) };
        assert_eq!(free, expected, "{made:?} at {now}");
    }

    #[test]
    fn a_limit_frees_each_request_one_period_after_it_was_made() {
        let hour = policy("a", &[(3, Duration::HOUR)], 0);
        check(&hour, &[], 0, 0);
        check(&hour, &[0, 10], 20, 0);
        check(&hour, &[0, 10, 20], 20, 40);
        check(&hour, &[0, 10, 20], 59, 1);
        check(&hour, &[0, 10, 20], 60, 0);
        check(&hour, &[0, 10, 20, 60], 61, 9);
        check(&hour, &[0, 0, 0], 0, 60);
    }

    #[test]
    fn every_limit_holds_and_the_longest_wait_counts() {
        let day_and_hour = [(4, Duration::DAY), (2, Duration::HOUR)];
        let both = policy("a", &day_and_hour, 0);
        check(&both, &[0, 1], 2, 58);
        check(&both, &[0, 1, 60], 61, 0);
        check(&both, &[0, 1, 60, 61], 62, 24 * 60 - 62);
        check(
            &policy("a", &[(9, Duration::days(30))], 0),
            &[0, 0, 0, 0],
            2,
            0,
        );
    }

    #[test]
    fn a_pool_counts_a_minute_longer_since_the_service_counts_from_when_a_request_arrives() {
        let none = policy("a", &[], 0);
        check(&none, &[0, 1, 2, 3], 4, 0);
        check(&none, &[0, 1, 2, 3, 4], 5, 24 * 60 - 5 + 1);
        check(&none, &[0, 1, 2, 3, 4], 24 * 60, 1);
        check(&none, &[0, 1, 2, 3, 4], 24 * 60 + 1, 0);
    }

    #[test]
    fn services_share_a_pool_and_not_their_own_limits() {
        let (one, other) = (policy("a", &[(3, Duration::DAY)], 0), policy("b", &[], 0));
        let mut book = Ledger::default();
        let booked = [&one, &one, &one, &one, &other, &other, &other]
            .map(|policy| book.book(policy, NOON).is_ok());
        assert_eq!(booked, [true, true, true, false, true, true, false]);
        let used = |policy: &QuotaPolicy| -> Vec<(&str, u32, u32)> {
            let usage = book.usage(policy, NOON);
            usage
                .iter()
                .map(|usage| (usage.of, usage.used, usage.left()))
                .collect()
        };
        assert_eq!(used(&one), [("pool", 5, 0), ("a", 3, 0)]);
        assert_eq!(used(&other), [("pool", 5, 0)]);
    }

    #[test]
    fn the_use_of_a_limit_counts_requests_of_its_own_period() {
        let both = policy("a", &[(4, Duration::DAY), (2, Duration::HOUR)], 0);
        let mut book = Ledger::default();
        for minute in [0, 30] {
            assert_eq!(book.book(&both, at(minute)), Ok(()));
        }
        let left = |now| -> Vec<u32> { book.usage(&both, now).iter().map(Usage::left).collect() };
        assert_eq!(left(at(30)), [3, 2, 0]);
        assert_eq!(left(at(60)), [3, 2, 1]);
        assert_eq!(left(at(90)), [3, 2, 2]);
        assert_eq!(left(at(24 * 60)), [3, 3, 2]);
    }

    #[test]
    fn requests_in_another_pool_count_there_alone() {
        static LOOKUPS: Pool = Pool {
            name: "lookups",
            limits: &[Limit::a_day(2)],
        };
        let own = policy("a", &[(1, Duration::DAY)], 0);
        let lookups = own.in_pool(&LOOKUPS);
        let mut book = Ledger::default();
        let booked = [&lookups, &lookups, &lookups, &own, &own]
            .map(|policy| book.book(policy, NOON).is_ok());
        assert_eq!(booked, [true, true, false, true, false]);
        let usage = book.usage(&lookups, NOON);
        let used: Vec<(&str, u32)> = usage.iter().map(|usage| (usage.of, usage.used)).collect();
        assert_eq!(used, [("lookups", 2)]);
    }

    #[test]
    fn what_others_booked_is_kept_for_as_long_as_their_limits_may_ask_for() {
        let (week, none) = (policy("a", &[(1, Duration::WEEK)], 0), policy("b", &[], 0));
        let mut book = Ledger::default();
        assert_eq!(book.book(&week, NOON), Ok(()));
        let later = NOON + Duration::days(6);
        assert_eq!(book.book(&none, later), Ok(()));
        let exceeded = book.book(&week, later).unwrap_err();
        assert_eq!(exceeded.free(), NOON + Duration::WEEK);
        // and no longer than that
        assert_eq!(book.book(&none, NOON + Duration::days(31)), Ok(()));
        assert_eq!(
            serde_json::to_string(&book)
                .unwrap()
                .matches("\"a\"")
                .count(),
            0
        );
    }

    #[test]
    fn a_reserve_is_held_back_from_every_limit_of_half_of_it_where_that_is_small() {
        let held_back = |at_most| at_most - Limit::a_day(at_most).less(RESERVE).at_most;
        assert_eq!(
            [1, 2, 10, 48, 220, 1800].map(held_back),
            [0, 1, 5, 24, 24, 24]
        );
        let backfill = policy("a", &[(9, Duration::DAY)], RESERVE);
        check(&backfill, &[0, 1], 2, 0);
        // 2 of the pool's 5 are held back
        check(&backfill, &[0, 1, 2], 3, 24 * 60 - 3 + 1);
        let (made, exceeded) = Ledger::default().foresee(&backfill, NOON, 9);
        assert_eq!((made, exceeded.unwrap().free()), (3, at(24 * 60 + 1)));
    }

    #[test]
    fn what_a_wrong_clock_booked_counts_as_if_booked_now() {
        let hour = policy("a", &[(2, Duration::HOUR)], 0);
        let mut book = Ledger::default();
        for minute in [100_000, 100_001] {
            assert_eq!(book.book(&hour, at(minute)), Ok(()));
        }
        assert_eq!(book.book(&hour, NOON).unwrap_err().free(), at(60));
        // from then on the booking ages
        assert_eq!(book.book(&hour, at(59)).unwrap_err().free(), at(60));
        assert_eq!(book.book(&hour, at(60)), Ok(()));
    }

    #[test]
    fn no_time_in_a_file_is_too_strange() {
        let strange = format!(
            r#"{{"pool":{{"not_before":{max},"requests":{{"a":[{max},{min},0,{max}],"b":[{min}]}}}}}}"#,
            max = i64::MAX,
            min = i64::MIN
        );
        let mut book: Ledger = serde_json::from_str(&strange).unwrap();
        let a = policy("a", &[(3, Duration::DAY)], 0);
        assert_eq!(book.usage(&a, NOON)[0].used, 2);
        assert_eq!(
            book.book(&a, NOON).unwrap_err().free(),
            NOON + Duration::DAY
        );
        book.hold(&a, NOON, Duration::MAX);
        book.give_back(&a, NOON);
        let later = NOON + Duration::days(2);
        assert_eq!(book.book(&a, later), Ok(()));
        assert_eq!(book.usage(&a, later)[0].used, 1);
    }

    #[test]
    fn after_a_refusal_nobody_of_the_pool_asks_before_its_time() {
        let (one, other) = (policy("a", &[], 0), policy("b", &[], 0));
        let mut book = Ledger::default();
        assert_eq!(book.hold(&one, NOON, Duration::HOUR), at(60));
        book.hold(&one, NOON, Duration::minutes(30));
        assert_eq!(book.book(&other, at(59)).unwrap_err().free(), at(60));
        assert_eq!(book.book(&other, at(60)), Ok(()));
        // never longer than a day, whatever the service or a clock says
        book.hold(&one, at(60), Duration::weeks(1000));
        let (made, exceeded) = book.foresee(&one, at(61), 1);
        assert_eq!(
            (made, exceeded.unwrap().free()),
            (0, at(60) + Duration::DAY)
        );
        assert_eq!(
            book.book(&one, at(-5000)).unwrap_err().free(),
            at(-5000) + Duration::DAY
        );
    }

    #[test]
    fn a_request_that_was_never_made_is_given_back() {
        let day = policy("a", &[(1, Duration::DAY)], 0);
        let mut book = Ledger::default();
        assert_eq!(book.book(&day, NOON), Ok(()));
        book.give_back(&day, NOON);
        assert_eq!(book.book(&day, at(1)), Ok(()));
        // another service's booking is not given back
        book.give_back(&day, NOON);
        assert!(book.book(&day, at(2)).is_err());
    }

    #[test]
    fn repeats_of_failed_requests_have_a_quarter_of_each_limit_and_two_of_a_small_one() {
        let repeats = |at_most| Limit::a_day(at_most).repeats();
        assert_eq!([1, 2, 9, 12, 220, 1800].map(repeats), [2, 2, 2, 3, 55, 450]);
        let (own, none) = (policy("a", &[(12, Duration::HOUR)], 0), policy("b", &[], 0));
        let mut book = Ledger::default();
        assert_eq!(book.book(&own, NOON), Ok(()));
        // 2 of the pool's 5
        assert_eq!(book.book_repeat(&own, at(1)), Ok(()));
        book.give_back(&own, at(1));
        assert_eq!(book.book_repeat(&own, at(2)), Ok(()));
        assert_eq!(book.book_repeat(&none, at(3)), Ok(()));
        for policy in [&own, &none] {
            let exceeded = book.book_repeat(policy, at(4)).unwrap_err();
            assert!(exceeded.is_of_repeats() && exceeded.is_by_failures());
            let said = exceeded.to_string();
            assert!(
                said.contains("share of the quota of pool (2 of 5 requests per 1d)"),
                "{said}"
            );
        }
        // other requests go on
        assert_eq!(book.book(&none, at(5)), Ok(()));
        assert_eq!(book.book(&none, at(6)), Ok(()));
        let exceeded = book.book(&none, at(7)).unwrap_err();
        assert!(exceeded.is_by_failures() && !exceeded.is_of_repeats());
        let said = exceeded.to_string();
        assert!(
            said.contains("2 requests of it on repeats of failed ones"),
            "{said}"
        );
        // and a day later all is free again
        assert_eq!(book.book_repeat(&own, at(24 * 60 + 9)), Ok(()));
    }

    #[test]
    fn a_limit_is_spent_by_failures_from_an_eighth_of_it_on() {
        for (repeats, expected) in [(0, false), (3, false), (4, true), (8, true)] {
            let policy = QuotaPolicy {
                pool: &Pool {
                    name: "free",
                    limits: &[],
                },
                ..policy("a", &[(32, Duration::DAY)], 0)
            };
            let mut book = Ledger::default();
            for _ in 0..repeats {
                assert_eq!(book.book_repeat(&policy, NOON), Ok(()));
            }
            let exceeded = (repeats..=32).find_map(|_| book.book(&policy, NOON).err());
            assert_eq!(exceeded.unwrap().is_by_failures(), expected, "{repeats}");
        }
    }

    #[test]
    fn it_is_said_which_limit_is_spent_and_until_when() {
        let said = |policy: &QuotaPolicy, times| {
            let mut book = Ledger::default();
            let last = (0..times).map(|_| book.book(policy, NOON)).last();
            let exceeded = last.unwrap().unwrap_err();
            format!("{exceeded} | {}", exceeded.hint(policy))
        };
        let own = said(&policy("a", &[(2, Duration::DAY)], 0), 3);
        assert!(
            own.starts_with(
                "the quota of a is spent (2 requests per 1d); the next request is free at 2026-11-25T12:00:00Z | "
            ),
            "{own}"
        );
        assert!(own.contains("raise requests of [services.a]"), "{own}");
        let pool = said(&policy("a", &[], 0), 6);
        assert!(
            pool.contains(
                "the quota of pool is spent (5 requests per 1d); the next request is free at 2026-11-25T12:01:00Z"
            ),
            "{pool}"
        );
        let backfill = said(&policy("a", &[], RESERVE), 4);
        assert!(
            backfill.contains("except for 2 reserved for the timer's runs")
                && backfill.contains("run the same command"),
            "{backfill}"
        );
    }
}
