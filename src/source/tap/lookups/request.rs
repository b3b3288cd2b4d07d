//! `request` makes lookups, each on its way while others are.

use super::queue::Lookup;
use super::{Lookups, answer};
use crate::net::http::Answer;
use crate::net::text::path_segment;
use crate::source::PollContext;
use crate::source::fetch_error::FetchError;
use crate::source::http_api::{Asked, PATIENCE};

/// A lookup that is being made.
#[derive(Debug)]
pub(super) struct AskedLookup {
    pub(super) lookup: Lookup,
    pub(super) request: Asked,
    /// What was requested, for people.
    pub(super) shown: String,
    /// Whether another one failed meanwhile, so that it tells nothing of how things are now.
    pub(super) is_stale: bool,
}

impl Lookups {
    /// Does this while requests count in the pool of lookups.
    pub(super) fn in_pool<T>(
        &self,
        context: &mut PollContext<'_>,
        act: impl FnOnce(&Lookups, &mut PollContext<'_>) -> T,
    ) -> T {
        if let Some(pool) = self.kind.pool {
            context.quota.use_pool(Some(pool));
        }
        let done = act(self, context);
        context.quota.use_pool(None);
        done
    }

    /// Books and begins the lookup of what has this id. Returns what is shown of it.
    pub(super) fn begin(
        &self,
        Lookup { id, is_repeat, .. }: &Lookup,
        context: &mut PollContext<'_>,
    ) -> Result<(Asked, String), FetchError> {
        let below = self.answers.join(&format!("/{}", path_segment(id)));
        let query = self.kind.key.map(|key| (key, id.as_str()));
        let (url, shown) = match query {
            None => (&below, below.to_string()),
            Some((key, _)) => {
                let shown = format!("{}?{key}={}", self.answers, path_segment(id));
                (&self.answers, shown)
            }
        };
        log::debug!("requesting {shown}");
        if self.kind.pool.is_some() {
            let booked = match is_repeat {
                true => context.quota.book_repeat(context.now),
                false => context.quota.book(context.now),
            };
            booked.map_err(|error| FetchError::from(error).context(pulling(&shown)))?;
        }
        let api = &self.siem.api;
        Ok((api.begin(url, query.as_slice(), context), shown))
    }

    /// The answer, for which it waits a moment at most; within, `None` when there is no such thing.
    pub(super) fn hear(
        &self,
        asked: &AskedLookup,
        context: &mut PollContext<'_>,
    ) -> Option<Result<Option<Vec<u8>>, FetchError>> {
        let answer = asked.request.wait(PATIENCE, context.counters)?;
        Some(match answer {
            Ok(answer) => self.read(asked, answer, context),
            Err(error) => {
                let given_back = match error.was_sent || self.kind.pool.is_none() {
                    true => Ok(()),
                    false => context.quota.give_back(asked.request.at),
                };
                let error = FetchError::from(error).context(pulling(&asked.shown));
                Err(given_back.map_or_else(FetchError::from, |()| error))
            }
        })
    }

    fn read(
        &self,
        AskedLookup { lookup, shown, .. }: &AskedLookup,
        mut answer: Answer,
        context: &mut PollContext<'_>,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let api = &self.siem.api;
        match answer.status {
            200 => {
                let body = answer::read(api, &mut answer).and_then(|body| {
                    match (self.kind.is_answer)(&body, &lookup.id) {
                        true => Ok(Some(body)),
                        false => Err(api.unexpected(&mut answer, self.kind.lacks)),
                    }
                });
                body.map_err(|error| error.context(pulling(shown)))
            }
            404 => Ok(None),
            _ => {
                let error = api.refusal(&mut answer, context);
                Err(error.context(format_args!("requesting {shown}")))
            }
        }
    }
}

fn pulling(shown: &str) -> String {
    format!("[PullError 301] pulling {shown}")
}
