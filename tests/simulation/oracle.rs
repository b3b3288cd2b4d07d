//! The oracle says what must hold after a simulation, whatever went wrong in it.
//!
//! It knows every event by a serial of the model's own, which the program never looks at.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;

use super::demand::Expected;

/// A run ends so long after its time, whatever its peers do: what was begun gets ten seconds.
const GRACE: Duration = Duration::from_secs(15);

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The service had the event, no gap names its time, and the receiver did not keep it.
    Lost(u64),
    /// The receiver kept the event so many times more than failures explain.
    Doubled(u64, usize),
    /// The line has no event of the model.
    Invented(String),
    /// The position went back, from and to.
    WentBack(OffsetDateTime, OffsetDateTime),
    /// A gap is named, though the service had everything in time.
    UntrueGap(OffsetDateTime, OffsetDateTime),
    /// A gap was saved, but no run ended with the status that says so.
    SilentGap(OffsetDateTime, OffsetDateTime),
    /// So many requests came although the quota was spent.
    QuotaExceeded(usize),
    /// A run took so long.
    TooLong(Duration),
    /// A run ended with this status and these words, though nothing was wrong, or in a panic.
    Ended(u8, String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost(serial) => write!(f, "event {serial} is lost"),
            Violation::Doubled(serial, times) => {
                write!(
                    f,
                    "event {serial} came {times} times more than failures explain"
                )
            }
            Violation::Invented(line) => write!(f, "this is no event: {line}"),
            Violation::WentBack(from, to) => {
                write!(f, "the position went back from {from} to {to}")
            }
            Violation::UntrueGap(from, to) => write!(f, "there is no gap from {from} to {to}"),
            Violation::SilentGap(from, to) => {
                write!(f, "no run told of the gap from {from} to {to}")
            }
            Violation::QuotaExceeded(requests) => {
                write!(f, "{requests} requests were beyond the quota")
            }
            Violation::TooLong(time) => write!(f, "a run took {time:?}"),
            Violation::Ended(status, said) => write!(f, "a run ended with status {status}: {said}"),
        }
    }
}

/// A copy of an event that the receiver kept.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// The model's own number.
    pub serial: u64,
    /// Whether the program may not have known that it arrived: its transaction was not confirmed, or the
    /// run ended before it could be saved.
    pub is_excused: bool,
}

/// Compares what arrived with what is expected. An event whose time is in a gap that the program named may be
/// missing.
///
/// # Errors
/// With the first event that is wrong.
pub fn judge_events(
    expected: &[Expected],
    copies: &[Copy],
    is_in_a_gap: impl Fn(u64) -> bool,
) -> Result<(), Violation> {
    let mut arrived: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for copy in copies {
        let (all, excused) = arrived.entry(copy.serial).or_default();
        *all += 1;
        *excused += usize::from(copy.is_excused);
    }
    for Expected {
        serial,
        least,
        most,
    } in expected
    {
        let (all, excused) = arrived.remove(serial).unwrap_or_default();
        if all < *least && !is_in_a_gap(*serial) {
            return Err(Violation::Lost(*serial));
        }
        // each copy beyond those that are events of their own follows one of which the program did not know
        let doubled = all.saturating_sub(*most).saturating_sub(excused);
        if doubled > 0 {
            return Err(Violation::Doubled(*serial, doubled));
        }
    }
    match arrived.first_key_value() {
        None => Ok(()),
        Some((serial, _)) => Err(Violation::Invented(format!("event {serial}"))),
    }
}

/// Judges how long a run took, which had `limit` for it.
///
/// # Errors
/// When it took longer.
pub fn judge_time(took: Duration, limit: Duration) -> Result<(), Violation> {
    match took > limit + GRACE {
        true => Err(Violation::TooLong(took)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_invented_is_found() {
        let event = |serial, least, most| Expected {
            serial,
            least,
            most,
        };
        let copy = |serial, is_excused| Copy { serial, is_excused };
        let expected = [event(1, 1, 1), event(2, 0, 1), event(3, 2, 2)];
        let three = [copy(3, false), copy(3, false)];
        let table: [(&[Copy], Result<(), Violation>); 9] = [
            (&[], Err(Violation::Lost(1))),
            (&[copy(1, false)], Ok(())),
            (&[copy(1, false), copy(2, false)], Ok(())),
            (&[copy(1, true), copy(1, false)], Ok(())),
            (&[copy(1, true), copy(1, true), copy(1, false)], Ok(())),
            (
                &[copy(1, false), copy(1, false)],
                Err(Violation::Doubled(1, 1)),
            ),
            (
                &[copy(1, true), copy(1, false), copy(1, false)],
                Err(Violation::Doubled(1, 1)),
            ),
            (
                &[copy(1, false), copy(3, false)],
                Err(Violation::Doubled(3, 1)),
            ),
            (
                &[copy(1, false), copy(9, false)],
                Err(Violation::Invented("event 9".into())),
            ),
        ];
        for (copies, judged) in table {
            let copies = [copies, &three].concat();
            assert_eq!(
                judge_events(&expected, &copies, |_| false),
                judged,
                "{copies:?}"
            );
        }
        assert_eq!(judge_events(&expected, &[], |_| true), Ok(()));
        let once = [copy(1, false), copy(3, false)];
        assert_eq!(
            judge_events(&expected, &once, |_| false),
            Err(Violation::Lost(3))
        );
    }

    #[test]
    fn a_run_has_its_time_and_a_grace() {
        let minute = Duration::from_secs(60);
        assert_eq!(judge_time(minute + GRACE, minute), Ok(()));
        let longer = minute + GRACE + Duration::from_millis(1);
        assert_eq!(judge_time(longer, minute), Err(Violation::TooLong(longer)));
    }
}
