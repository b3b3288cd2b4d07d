//! `Api` reads the keys of a service and makes a [`ConfiguredApi`] of them: everything that the
//! program asks of a service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::{Source, WindowLimits, windows};
use crate::clock::{Clock, whole_seconds};
use crate::config::{SignIn, TableReader, Url};
use crate::error::Result;
use crate::net::Network;
use crate::pipeline::checkpoint::Checkpoint;
use crate::pipeline::checkpoint::Retention;
use crate::quota::{Limit, Pool, Quota};
use crate::shutdown::Shutdown;

/// A service of one of Proofpoint's APIs.
pub(crate) trait Api: fmt::Debug + Sync {
    /// The table of the configuration with the sign-in.
    fn sign_in_table(&self) -> &'static str;

    /// Reads the keys of the service called `name` from its table, except those that every service
    /// has.
    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi>;
}

/// A configured service.
pub(crate) trait ConfiguredApi: fmt::Debug {
    /// Longest time of a run, unless it is a backfill.
    fn max_duration(&self) -> Wait;

    /// The windows that the API accepts.
    fn limits(&self) -> WindowLimits;

    /// How far back runs read again, and how long delivered events are remembered.
    fn retention(&self) -> Retention;

    /// Where requests are counted.
    ///
    /// # Errors
    /// When the configuration does not say how to sign in.
    fn quota(&self) -> Result<QuotaAccount<'_>>;

    /// The configured or built-in addresses of the service.
    fn endpoints(&self) -> Vec<Url>;

    /// Opens the source; requests nothing yet.
    ///
    /// # Errors
    /// When the configuration does not say how to sign in, or a secret cannot be read.
    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>>;

    /// Makes the smallest request that proves the sign-in; delivers nothing.
    fn probe(&self, context: &mut ProbeContext<'_>) -> Probe {
        windows::probe(self, context)
    }

    /// Names what a run at `now` requests if all goes well, for people.
    fn preview(&self, start: &Start, now: OffsetDateTime) -> Vec<String> {
        windows::preview(self.limits(), start, now)
    }

    /// Where a first run starts without a `start_time`.
    fn first_start(&self, now: OffsetDateTime) -> OffsetDateTime {
        now - Duration::hours(24)
    }

    /// The checkpoint of a service that has read nothing, and reads nothing before `from`.
    fn checkpoint_at(&self, from: OffsetDateTime) -> Checkpoint {
        Checkpoint::windows_at(whole_seconds(from))
    }

    /// Why a past range cannot be requested, if it cannot.
    fn no_backfill(&self) -> Option<&'static str> {
        None
    }

    /// The name of what only one run at a time may use, apart from the service's own state.
    ///
    /// # Errors
    /// When the configuration does not say how to sign in, or a secret cannot be read.
    fn exclusive_session(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Restricts the service to what can be requested again.
    fn replay_only(&mut self) {}
}

/// Where requests of a service are counted.
#[derive(Debug, Clone)]
pub(crate) struct QuotaAccount<'a> {
    /// What the API counts by, such as the principal; unique to each API.
    pub(crate) name: &'a str,
    /// The pool that services of the account share.
    pub(crate) pool: &'static Pool,
    /// The pool of other requests of the service, if it has one.
    pub(crate) lookups: Option<&'static Pool>,
    /// The configured limits of the service.
    pub(crate) own: &'a [Limit],
}

/// What a source is opened with.
#[derive(Debug)]
pub(crate) struct OpenContext<'a> {
    /// How to connect.
    pub(crate) network: &'a Arc<Network>,
    /// Ends its waits.
    pub(crate) shutdown: &'a Shutdown,
    /// Where to go on.
    pub(crate) start: Start,
    /// Attempts at the same request before the run ends.
    pub(crate) attempts: u32,
}

/// Where a run goes on.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// How far earlier runs have come.
    pub(crate) checkpoint: Checkpoint,
    /// When the state was begun, by our clock, as long as nothing was read. What was too old by then is no
    /// gap.
    pub(crate) begun: Option<OffsetDateTime>,
    /// Whether nothing was read, and the start is not a configured one but counted from our clock.
    pub(crate) is_counted_back: bool,
    /// Nothing before this time is read again.
    pub(crate) since: OffsetDateTime,
    /// A backfill's end.
    pub(crate) end: Option<OffsetDateTime>,
    /// How much each run reads again.
    pub(crate) look_back: Duration,
    /// How much later each hour is read once more; `None` for never.
    pub(crate) recheck_after: Option<Duration>,
}

/// What a probe works with.
pub(crate) struct ProbeContext<'a> {
    /// How to connect.
    pub(crate) network: &'a Arc<Network>,
    /// Ends its waits.
    pub(crate) shutdown: &'a Shutdown,
    /// The time.
    pub(crate) clock: Clock,
    /// Books each request before it is made.
    pub(crate) quota: &'a mut dyn Quota,
}

/// The result of a probe.
#[derive(Debug)]
pub(crate) struct Probe {
    /// What was requested, for people.
    pub(crate) asked: String,
    /// What it cost, for people.
    pub(crate) cost: String,
    /// How far the server's clock is ahead of ours, once the server has told its time.
    pub(crate) ahead: Option<Duration>,
    /// What was proven, for people, or why it failed.
    pub(crate) result: Result<String>,
}
