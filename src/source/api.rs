//! `Api` is what a row of the table of services holds: how the keys of the service are read.
//!
//! What comes of them is a [`ConfiguredApi`]: everything that the program asks of a service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration as Wait;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use super::{Source, WindowLimits, windows};
use crate::clock::{Clock, whole_seconds};
use crate::config::{SignIn, TableReader, Url};
use crate::net::Network;
use crate::pipeline::checkpoint::Checkpoint;
use crate::pipeline::checkpoint::Retention;
use crate::quota::{Limit, Pool, Quota};
use crate::shutdown::Shutdown;

/// A service of an API of Proofpoint.
pub(crate) trait Api: fmt::Debug + Sync {
    /// The table of the configuration that says how to sign in.
    fn sign_in_table(&self) -> &'static str;

    /// Reads the keys of the service called `name` from its table, but for those that every service has.
    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi>;
}

/// A service as it is configured.
pub(crate) trait ConfiguredApi: fmt::Debug {
    /// The longest time of a run that is no backfill.
    fn max_duration(&self) -> Wait;

    /// Which windows the API accepts.
    fn limits(&self) -> WindowLimits;

    /// How far back runs read again, and how long what was delivered is remembered.
    fn retention(&self) -> Retention;

    /// Where requests are counted.
    ///
    /// # Errors
    /// When the configuration does not say how to sign in.
    fn quota(&self) -> Result<QuotaAccount<'_>>;

    /// Where the service is asked, as configured or built in.
    fn endpoints(&self) -> Vec<Url>;

    /// Opens the source; nothing is asked for yet.
    ///
    /// # Errors
    /// When the configuration does not say how to sign in, or a secret cannot be read.
    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>>;

    /// Asks for the least that proves the sign-in; delivers nothing.
    fn probe(&self, context: &mut ProbeContext<'_>) -> Probe {
        windows::probe(self, context)
    }

    /// What a run would ask for when it is `now`, if all goes well, in words.
    fn preview(&self, start: &Start, now: OffsetDateTime) -> Vec<String> {
        windows::preview(self.limits(), start, now)
    }

    /// Where a first run starts when nothing else is said.
    fn first_start(&self, now: OffsetDateTime) -> OffsetDateTime {
        now - Duration::hours(24)
    }

    /// The checkpoint of a service of which nothing before `from` is read.
    fn checkpoint_at(&self, from: OffsetDateTime) -> Checkpoint {
        Checkpoint::windows_at(whole_seconds(from))
    }

    /// The name of what only one run at a time may use, besides the service's own state.
    ///
    /// # Errors
    /// When the configuration does not say how to sign in, or a secret cannot be read.
    fn exclusive_session(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether everything can be asked for again. Otherwise a run that stops still delivers what it has.
    fn is_replayable(&self) -> bool {
        true
    }

    /// Leaves out what cannot be asked for again.
    fn replay_only(&mut self) {}
}

/// Where requests of a service are counted.
#[derive(Debug, Clone)]
pub(crate) struct QuotaAccount<'a> {
    /// What the API counts by, such as the principal; different for each API.
    pub(crate) name: &'a str,
    /// What this service shares with others of the account.
    pub(crate) pool: &'static Pool,
    /// The configured limits of the service itself.
    pub(crate) own: &'a [Limit],
}

/// What a source is opened with.
#[derive(Debug)]
pub(crate) struct OpenContext<'a> {
    /// How to connect.
    pub(crate) network: &'a Arc<Network>,
    /// Ends its waits.
    pub(crate) shutdown: &'a Shutdown,
    /// From where to go on.
    pub(crate) start: Start,
    /// So many failures of the same question, one after the other, end the run.
    pub(crate) attempts: u32,
}

/// From where a run goes on.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// How far the runs before have come.
    pub(crate) checkpoint: Checkpoint,
    /// Whether nothing was read that the service should have kept: then a start that is too old is no gap.
    pub(crate) fresh: bool,
    /// No re-reading goes before this time.
    pub(crate) since: OffsetDateTime,
    /// A backfill's end.
    pub(crate) end: Option<OffsetDateTime>,
    /// How much is read again each time.
    pub(crate) look_back: Duration,
    /// How long after a time it is read once more; `None` for never.
    pub(crate) recheck_after: Option<Duration>,
}

/// What a probe is made with.
pub(crate) struct ProbeContext<'a> {
    /// How to connect.
    pub(crate) network: &'a Arc<Network>,
    /// Ends its waits.
    pub(crate) shutdown: &'a Shutdown,
    /// The time.
    pub(crate) clock: Clock,
    /// Where to book each request before it is made.
    pub(crate) quota: &'a mut dyn Quota,
}

/// What came of a probe.
#[derive(Debug)]
pub(crate) struct Probe {
    /// What was asked for, in words.
    pub(crate) asked: String,
    /// What that has cost, in words.
    pub(crate) cost: String,
    /// How far the server's clock is ahead of ours, once it has told its time.
    pub(crate) ahead: Option<Duration>,
    /// What was proven, in words, or why it failed.
    pub(crate) result: Result<String>,
}
