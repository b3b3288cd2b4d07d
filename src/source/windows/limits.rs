//! `WindowLimits` says which windows a service accepts, and cuts them.
//!
//! Pure: the same position and time always give the same windows.

use time::{Duration, OffsetDateTime};

use super::clock::ClockReading;
use crate::clock::whole_seconds;
use crate::pipeline::checkpoint::{Gap, Window};

/// The windows that a service accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowLimits {
    /// The shortest window.
    pub(crate) shortest: Duration,
    /// The longest window.
    pub(crate) longest: Duration,
    /// How far back a window may start; headroom is already taken off.
    pub(crate) keep: Duration,
    /// How long before the present a window must end.
    pub(crate) margin: Duration,
    /// Windows start and end at multiples of this.
    pub(crate) grain: Duration,
}

impl WindowLimits {
    /// The latest end of a window when it is `now`.
    #[must_use]
    pub(crate) fn limit(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.floor(now - self.margin)
    }

    /// The earliest time that the service still has when it is `now`.
    #[must_use]
    pub(crate) fn oldest(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.ceil(now - self.keep)
    }

    /// Moves a time back to where a window may start or end.
    #[must_use]
    pub(crate) fn floor(&self, time: OffsetDateTime) -> OffsetDateTime {
        let time = whole_seconds(time);
        let grain = self.grain.whole_seconds().max(1);
        time - Duration::seconds(time.unix_timestamp().rem_euclid(grain))
    }

    /// Moves a time on to where a window may start or end.
    #[must_use]
    pub(crate) fn ceil(&self, time: OffsetDateTime) -> OffsetDateTime {
        self.floor(time + self.grain - Duration::nanoseconds(1))
    }

    /// The next window from `from`, of at most `length`, that ends by `limit`.
    ///
    /// Windows touch. A rest that is too short for the service is left to the next run: `None`.
    #[must_use]
    pub(crate) fn next(
        &self,
        from: OffsetDateTime,
        limit: OffsetDateTime,
        length: Duration,
    ) -> Option<Window> {
        let length = length.clamp(self.shortest, self.longest);
        let window = Window {
            from,
            to: limit.min(from + length),
        };
        (window.length() >= self.shortest).then_some(window)
    }

    /// The last window of a closed range, which can leave no rest. It starts earlier, in what was
    /// read already, so that it is long enough.
    #[must_use]
    pub(crate) fn last(&self, from: OffsetDateTime, end: OffsetDateTime) -> Option<Window> {
        (from < end).then(|| Window {
            from: from.min(end - self.shortest),
            to: end,
        })
    }

    /// What is lost of a range that the service no longer keeps; nothing of what it did not keep when
    /// the state was begun, as long as nothing was read since. The edge moves until another run comes.
    #[must_use]
    pub(crate) fn lost(
        &self,
        from: OffsetDateTime,
        to: OffsetDateTime,
        begun: Option<OffsetDateTime>,
    ) -> Option<Gap> {
        let (from, soon) = match begun {
            Some(begun) => (from.max(self.oldest(begun)), Duration::HOUR),
            None => (from, Duration::ZERO),
        };
        (to - from > soon).then_some(Gap { from, to })
    }

    /// When a state was begun whose start was counted from our clock.
    ///
    /// A start that was too old from the beginning shows that the clock was wrong then. So it counts as
    /// begun now, once both clocks agree.
    #[must_use]
    pub(crate) fn begun_by_right_clock(
        &self,
        begun: Option<OffsetDateTime>,
        start: OffsetDateTime,
        clocks: ClockReading,
    ) -> Option<OffsetDateTime> {
        let begun = begun?;
        let was_wrong = start < self.oldest(begun);
        let now = clocks.agreed().filter(|_| was_wrong);
        Some(now.map_or(begun, |now| now.max(begun)))
    }

    /// Half of a length that was too large, but no less than the service accepts.
    #[must_use]
    pub(crate) fn half(&self, length: Duration) -> Duration {
        Duration::seconds(length.whole_seconds() / 2).max(self.shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::utc;
    use time::macros::datetime;

    const LIMITS: WindowLimits = WindowLimits {
        shortest: Duration::seconds(30),
        longest: Duration::hours(1),
        keep: Duration::hours(167),
        margin: Duration::seconds(60),
        grain: Duration::seconds(1),
    };
    const NOON: OffsetDateTime = datetime!(2026-01-10 12:00:00.5 UTC);

    fn check(from: OffsetDateTime, length: Duration, expected: &[&str]) {
        let mut windows = Vec::new();
        let mut from = from;
        while let Some(window) = LIMITS.next(from, LIMITS.limit(NOON), length) {
            from = window.to;
            windows.push(window.to_string());
        }
        assert_eq!(windows, expected);
    }

    #[test]
    fn windows_touch_and_stay_behind_the_present() {
        let hour = Duration::hours(1);
        check(
            datetime!(2026-01-10 10:30:00 UTC),
            hour,
            &[
                "2026-01-10T10:30:00Z/2026-01-10T11:30:00Z",
                "2026-01-10T11:30:00Z/2026-01-10T11:59:00Z",
            ],
        );
        check(
            datetime!(2026-01-10 11:58:30 UTC),
            hour,
            &["2026-01-10T11:58:30Z/2026-01-10T11:59:00Z"],
        );
        check(datetime!(2026-01-10 11:58:31 UTC), hour, &[]);
        check(datetime!(2026-01-10 13:00:00 UTC), hour, &[]);
    }

    #[test]
    fn a_length_outside_of_what_is_accepted_is_brought_inside() {
        check(
            datetime!(2026-01-10 11:58:00 UTC),
            Duration::ZERO,
            &[
                "2026-01-10T11:58:00Z/2026-01-10T11:58:30Z",
                "2026-01-10T11:58:30Z/2026-01-10T11:59:00Z",
            ],
        );
        check(
            datetime!(2026-01-10 10:59:00 UTC),
            Duration::hours(9),
            &["2026-01-10T10:59:00Z/2026-01-10T11:59:00Z"],
        );
    }

    #[test]
    fn what_is_kept_counts_from_now_and_is_rounded_inwards() {
        assert_eq!(utc(LIMITS.oldest(NOON)), "2026-01-03T13:00:01Z");
        assert_eq!(utc(LIMITS.limit(NOON)), "2026-01-10T11:59:00Z");
    }

    #[test]
    fn a_grain_rounds_both_ways() {
        let limits = WindowLimits {
            grain: Duration::hours(1),
            ..LIMITS
        };
        assert_eq!(utc(limits.floor(NOON)), "2026-01-10T12:00:00Z");
        assert_eq!(utc(limits.ceil(NOON)), "2026-01-10T13:00:00Z");
        assert_eq!(limits.ceil(limits.floor(NOON)), limits.floor(NOON));
        assert_eq!(utc(limits.limit(NOON)), "2026-01-10T11:00:00Z");
    }

    #[test]
    fn a_closed_range_leaves_no_rest() {
        let end = datetime!(2026-01-10 09:00:00 UTC);
        let window = LIMITS
            .last(datetime!(2026-01-10 08:59:50 UTC), end)
            .map(|window| window.to_string());
        assert_eq!(
            window.as_deref(),
            Some("2026-01-10T08:59:30Z/2026-01-10T09:00:00Z")
        );
        assert_eq!(LIMITS.last(end, end), None);
    }

    #[test]
    fn a_start_that_was_too_old_from_the_beginning_was_counted_from_a_wrong_clock() {
        let ago = |hours| NOON - Duration::hours(hours);
        // the start and the begin in hours ago, how far the server is ahead, and the begin that counts
        for (start, begun, ahead, expected) in [
            (24, Some(0), 0, Some(0)),
            // the oldest that was kept then
            (169, Some(3), 0, Some(3)),
            // a service that was refused for eight days
            (216, Some(192), 0, Some(192)),
            // a clock that was years behind, once the server had told its time
            (20_000, Some(3), 0, Some(0)),
            (20_000, Some(3), 30, Some(3)),
            (20_000, None, 0, None),
        ] {
            let clocks = ClockReading {
                ours: NOON,
                server: Some(NOON + Duration::hours(ahead)),
            };
            let found = LIMITS.begun_by_right_clock(begun.map(ago), ago(start), clocks);
            assert_eq!(found, expected.map(ago), "{start} {begun:?} {ahead}");
        }
        let begun = ago(192);
        for (start, expected) in [
            (LIMITS.oldest(begun), begun),
            (LIMITS.oldest(begun) - Duration::SECOND, NOON),
        ] {
            let clocks = ClockReading {
                ours: NOON,
                server: Some(NOON),
            };
            let found = LIMITS.begun_by_right_clock(Some(begun), start, clocks);
            assert_eq!(found, Some(expected), "{start}");
        }
    }

    #[test]
    fn what_a_service_no_longer_keeps_is_lost_unless_it_never_kept_it_since_the_start() {
        let ago = |seconds: i64| NOON - Duration::hours(167) - Duration::seconds(seconds);
        // from, to and begun, in seconds before what is kept just now or then; and from where the gap goes
        for (from, to, begun, expected) in [
            (10, 0, None, Some(10)),
            (0, 0, None, None),
            (0, 10, None, None),
            // begun when what is kept reached so far back: of a longer time, nothing is said
            (100_000, 0, Some(90_000), Some(90_000)),
            (50_000, 0, Some(90_000), Some(50_000)),
            (100_000, 0, Some(3601), Some(3601)),
            (100_000, 0, Some(3600), None),
            (100_000, 0, Some(0), None),
        ] {
            let now = |seconds: i64| NOON - Duration::seconds(seconds);
            let gap = LIMITS.lost(LIMITS.ceil(ago(from)), LIMITS.ceil(ago(to)), begun.map(now));
            let from = expected.map(|from| LIMITS.ceil(ago(from)));
            assert_eq!(gap.map(|gap| gap.from), from, "{from:?} {to} {begun:?}");
            assert!(gap.is_none_or(|gap| gap.to == LIMITS.ceil(ago(to))));
        }
    }

    #[test]
    fn halves_end_at_the_shortest() {
        let halves = [3600, 1800, 61, 59, 30]
            .map(|length| LIMITS.half(Duration::seconds(length)).whole_seconds());
        assert_eq!(halves, [1800, 900, 30, 30, 30]);
    }

    mod any {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn windows_cover_touch_and_obey_the_limits(
                back in 0_i64..8 * 86_400_000,
                look_back in 0_i64..86_400,
                length in 0_i64..90_000,
                clock in 0_i64..86_400_000_000,
            ) {
                let now = NOON + Duration::microseconds(clock);
                let position = whole_seconds(now - Duration::milliseconds(back));
                let start = (position - Duration::seconds(look_back)).max(LIMITS.oldest(now));
                let (limit, length) = (LIMITS.limit(now), Duration::seconds(length));
                let mut at = start;
                while let Some(window) = LIMITS.next(at, limit, length) {
                    prop_assert_eq!(window.from, at, "they touch");
                    prop_assert!((LIMITS.shortest..=LIMITS.longest).contains(&window.length()));
                    prop_assert!(window.to <= now - LIMITS.margin);
                    prop_assert!(window.from >= now - LIMITS.keep);
                    prop_assert_eq!((window.from.nanosecond(), window.to.nanosecond()), (0, 0));
                    at = window.to;
                }
                prop_assert!(limit - at < LIMITS.shortest, "the rest is too short to be asked for");
                if let Some(last) = LIMITS.last(at, limit) {
                    prop_assert_eq!(last.to, limit);
                    prop_assert!(last.from <= at && last.length() >= LIMITS.shortest);
                    prop_assert!(last.length() < LIMITS.shortest * 2);
                }
            }
        }
    }
}
