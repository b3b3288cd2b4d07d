//! Proofpoint TAP: its event services, and the summaries of the threats that events name.

mod identity;
mod siem;
pub(super) mod threats;
mod words;

use std::slice;

use anyhow::Result;
use time::Duration;

use super::api::each;
use super::{Opening, Source, Turn};
use crate::event::{Batch, Record};
pub use identity::{Kind, identify};
pub use siem::RULE;
use siem::{Part, Siem, Then};
pub(super) use siem::{pool, sign_in};

/// Opens an event service: its `path` below the base URL, the `array` in its answers.
///
/// # Errors
/// When `[tap]` is missing, or its secret cannot be read.
pub(super) fn open(opening: &Opening<'_>, path: &str, array: &'static &'static str) -> Result<Tap> {
    let settings = opening.settings;
    let types = settings.threat_type.iter();
    let types = types.map(|value| ("threatType", value.clone()));
    let statuses = settings.threat_status.iter();
    let statuses = statuses.map(|value| ("threatStatus", value.clone()));
    let filters = types.chain(statuses).collect();
    Ok(Tap {
        siem: Siem::open(opening, path, slice::from_ref(array), filters)?,
        kind: Kind::of(array),
    })
}

/// One event service of TAP.
#[derive(Debug)]
pub struct Tap {
    siem: Siem,
    kind: Kind,
}

impl Tap {
    fn batch(&mut self, part: Part, turn: &mut Turn<'_>) -> Batch {
        let Part {
            asking,
            text,
            ends,
            then,
        } = part;
        let mut records = Vec::with_capacity(ends.len());
        for (record, &end) in each(&text, &ends).zip(&ends) {
            let found = identify(self.kind, record);
            turn.tally.unreadable += u64::from(!found.readable);
            records.push(Record {
                end: u32::try_from(end).unwrap_or(u32::MAX),
                identity: found.identity,
                late: self.siem.windows.seconds_late(found.created()),
            });
        }
        let border = match then {
            Then::More => None,
            Then::Whole => {
                let windows = &mut self.siem.windows;
                Some(windows.complete(asking.step, asking.server, turn))
            }
            Then::GivenUp(border) => Some(border),
        };
        Batch {
            text,
            records,
            asked: asking.asked,
            border,
            ..Batch::default()
        }
    }
}

impl Source for Tap {
    fn ahead(&self) -> Option<Duration> {
        self.siem.windows.ahead()
    }

    fn next(&mut self, turn: &mut Turn<'_>) -> Result<Option<Batch>> {
        let part = self.siem.next(turn)?;
        Ok(part.map(|part| self.batch(part, turn)))
    }
}
