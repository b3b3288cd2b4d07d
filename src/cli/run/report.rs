//! `report` tells Devo how a run went, where `[devo] report` names a tag for that.
//!
//! It comes after the events, in a transaction of its own.

use super::RunParts;
use crate::cli::devo;
use crate::error::{Exit, Failure, Result};
use crate::output::{Report, Summary};
use crate::pipeline::batch::{Batch, EventId, Record};
use crate::sink::devo::{Devo, DevoOptions};
use crate::sink::{Sink, SinkError};
use crate::state::State;
use crate::transform::Transform;

impl RunParts<'_> {
    /// Tells Devo how the run went, where that is wanted. Whatever comes of it changes nothing else.
    pub(super) fn report(
        &self,
        ended: &Result<Exit>,
        summary: &Summary,
        state: &State,
        report: &Report,
    ) {
        let to = self.config.devo.as_ref();
        let Some((to, tag)) = to.and_then(|to| Some((to, to.report.as_ref()?))) else {
            return;
        };
        let exit = ended.as_ref().map_or_else(Failure::exit, |exit| *exit);
        // where the events did not arrive, a report would not either
        if summary.confirmed_by.is_none() || exit == Exit::Io {
            return;
        }
        let error = ended.as_ref().err().map(|error| report.error_object(error));
        let objects = Report::take_warnings().into_iter().chain(error);
        let objects: Vec<String> = objects.chain([report.end_object(summary)]).collect();
        let whose = [("name", &*summary.name), ("service", summary.service)];
        let members = whose.into_iter().chain(self.members(to));
        let transform = Transform::following(Vec::new(), None).appending(members);
        let options = devo::options(to, &self.network, self.clock, &self.shutdown);
        let delivered = options.map_err(SinkError::Refused).and_then(|options| {
            let options = DevoOptions {
                tag: tag.clone(),
                known: state.receiver().cloned(),
                ..options
            };
            deliver(&objects, &transform, options)
        });
        if let Err(error) = delivered {
            log::warn!(
                "{}; the report of this run is not delivered, and nothing else changes",
                Failure::from(error)
            );
        }
    }
}

/// Delivers JSON objects, each with the members that `transform` appends.
fn deliver(
    objects: &[String],
    transform: &Transform,
    options: DevoOptions,
) -> Result<(), SinkError> {
    let mut batch = Batch::default();
    for object in objects {
        transform.write(object.as_bytes(), false, &mut batch.text, &mut []);
        batch.records.push(Record {
            end: u32::try_from(batch.text.len()).unwrap_or(u32::MAX),
            // nobody asks whether a report is known
            identity: EventId::Content(Default::default()),
            late: None,
            is_plain: true,
        });
    }
    let mut sink = Devo::new(options);
    sink.send(&batch)?;
    sink.confirm()
}
