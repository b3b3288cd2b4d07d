//! `request` makes the requests of a job, each on its way while something else is done.

use time::OffsetDateTime;

use super::{ACCEPTED, DATA, Isolation, Job, MEMBERS, PAGE_SIZE};
use crate::clock::utc;
use crate::json_stream::Splitter;
use crate::source::PollContext;
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{Asked, PATIENCE, Reading};

/// What came of a request.
#[derive(Debug)]
pub(super) enum Heard {
    Answer(Box<Reading>),
    /// The head of the answer takes longer.
    Nothing(Asked),
    /// Another window is to be requested instead.
    OtherWindow,
}

impl Isolation {
    /// Requests the job, its state or its next page: always for the same window.
    pub(super) fn ask(&self, job: &Job, context: &mut PollContext<'_>) -> Asked {
        let [from, to] = [job.step.window.from, job.step.window.to].map(as_asked);
        let mut query = vec![
            ("from", from.as_str()),
            ("to", to.as_str()),
            ("pageSize", PAGE_SIZE),
        ];
        query.extend(job.progress.query());
        self.api.begin(&self.api.url, &query, context)
    }

    /// Waits for an answer, for a moment at most.
    pub(super) fn hear(
        &mut self,
        job: &mut Job,
        asked: Asked,
        context: &mut PollContext<'_>,
    ) -> Result<Heard, FetchError> {
        let Some(answer) = asked.wait(PATIENCE, context.counters) else {
            return Ok(Heard::Nothing(asked));
        };
        let mut answer = answer?;
        if let Some(date) = answer.date {
            self.windows.compare_clocks(date, asked.heard(&answer));
            job.server.get_or_insert(date);
        }
        match answer.status {
            200 | ACCEPTED => {
                let splitter = Splitter::keeping(DATA, MEMBERS);
                Ok(Heard::Answer(Box::new(Reading::new(answer, splitter))))
            }
            400 if !job.progress.has_id()
                && answer.date.is_some()
                && self.windows.replan(job.step, answer.date, None) =>
            {
                Ok(Heard::OtherWindow)
            }
            // one of several servers may not know the job yet, or any more
            404 if job.progress.has_id() => {
                let error = self.api.refusal(&mut answer, context).transient();
                Err(error.with_hint(
                    "wait until the service recovers; the API does not know its own job, and the \
                     next run requests a new one",
                ))
            }
            _ => Err(self.api.refusal(&mut answer, context)),
        }
    }
}

/// A time in the spelling of Proofpoint's own tools: UTC, without saying so.
fn as_asked(time: OffsetDateTime) -> String {
    utc(time).replace('Z', ".000")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_asked_for_as_proofpoints_own_tools_do() {
        let time = datetime!(2025-01-14 02:00:00 +2);
        assert_eq!(as_asked(time), "2025-01-14T00:00:00.000");
    }
}
