//! `tap` reads Proofpoint TAP: its event services, the threats and campaigns that they
//! name, and the reports on people.

pub(crate) mod api;
pub(crate) mod campaigns;
mod event_fields;
mod events;
pub(crate) mod forensics;
mod hints;
mod lookups;
pub(crate) mod people;
mod siem;
pub(crate) mod threats;

use time::Duration;

use super::fetch_error::FetchError;
use super::http_api::each;
use super::{PollContext, Source};
use crate::pipeline::batch::{Batch, Record};
pub use events::{EventKind, identify, identify_by_outline};
use siem::{Part, Siem, Then};

/// An event service of TAP.
#[derive(Debug)]
pub(crate) struct Tap {
    siem: Siem,
    kind: EventKind,
}

impl Tap {
    fn batch(&mut self, part: Part, context: &mut PollContext<'_>) -> Batch {
        let Part {
            pending,
            text,
            ends,
            outlines,
            then,
        } = part;
        let mut records = Vec::with_capacity(ends.len());
        let mut outlines = outlines.each();
        for (record, &end) in each(&text, &ends).zip(&ends) {
            let outline = outlines.next().unwrap_or_default();
            let found = identify_by_outline(self.kind, record, outline);
            context.counters.unreadable += u64::from(!found.readable);
            records.push(Record {
                end: u32::try_from(end).unwrap_or(u32::MAX),
                identity: found.identity,
                late: self.siem.windows.seconds_late(found.created()),
                is_plain: found.is_plain,
            });
        }
        let commit = match then {
            Then::More => None,
            Then::Whole => {
                let windows = &mut self.siem.windows;
                Some(windows.complete(pending.step, pending.server, context))
            }
            Then::GivenUp(commit) => Some(commit),
        };
        Batch {
            text,
            records,
            request: pending.request,
            commit,
            ..Batch::default()
        }
    }
}

impl Source for Tap {
    fn ahead(&self) -> Option<Duration> {
        self.siem.windows.ahead()
    }

    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>, FetchError> {
        let part = self.siem.next(context)?;
        Ok(part.map(|part| self.batch(part, context)))
    }
}
