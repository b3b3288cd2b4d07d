//! Where events come from. A source reads, and says up to where that is complete; it sees no
//! state file, no sink, no lock.

mod http_api;
pub(crate) mod isolation;
pub(crate) mod pod;
mod retry;
pub mod tap;
mod windows;
mod wire_time;

use std::sync::Arc;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use crate::clock::whole_seconds;
use crate::config::{Config, Settings, Url};
use crate::net::Network;
use crate::output::Counters;
use crate::pipeline::batch::{Batch, DedupView};
use crate::pipeline::checkpoint::Checkpoint;
use crate::quota::{Pool, Quota};
use crate::service::{Kind, Service};
use crate::shutdown::Shutdown;
use windows::WindowPlan;
pub(crate) use windows::{ATTEMPTS, WindowLimits, warn_of_a_late_start};

/// What a source gets for its turn.
#[derive(Debug)]
pub(crate) struct PollContext<'a> {
    /// Whether to stop.
    pub(crate) shutdown: &'a Shutdown,
    /// The time.
    pub(crate) now: OffsetDateTime,
    /// What was delivered already.
    pub(crate) dedup: &'a dyn DedupView,
    /// Where to count.
    pub(crate) counters: &'a mut Counters,
    /// Where to book each request before it is made.
    pub(crate) quota: &'a mut dyn Quota,
}

/// Something that gives events.
pub(crate) trait Source {
    /// Within 5 s, or after an empty batch: some events, none yet (an empty batch), or `None` when
    /// nothing is left to read now or the run is to stop.
    ///
    /// # Errors
    /// When reading on is of no use in this run. What was handed over stays good.
    fn next(&mut self, context: &mut PollContext<'_>) -> Result<Option<Batch>>;

    /// In words, the limit of its own at which it ended although more is left to read, if it did.
    fn limit(&self) -> Option<&'static str> {
        None
    }

    /// How far the server's clock is ahead of ours, once it has told its time.
    fn ahead(&self) -> Option<Duration>;
}

/// What a source is opened with: what to read, how, and from where to go on.
#[derive(Debug)]
pub(crate) struct OpenContext<'a> {
    /// What to read.
    pub(crate) service: &'static Service,
    /// Where sign-in and addresses stand.
    pub(crate) config: &'a Config,
    /// The service's own settings.
    pub(crate) settings: &'a Settings,
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

/// The checkpoint of a service of which nothing before `from` is to be read.
#[must_use]
pub(crate) fn beginning(service: &Service, from: OffsetDateTime) -> Checkpoint {
    let from = whole_seconds(from);
    match service.kind {
        Kind::Tap { .. } | Kind::Threats | Kind::Isolation { .. } => Checkpoint::windows_at(from),
        Kind::Pod { .. } => Checkpoint::stream_at(from),
    }
}

/// Opens the source of a service; nothing is asked for yet.
///
/// # Errors
/// When the configuration does not say how to sign in, or a secret cannot be read.
pub(crate) fn open(context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
    match &context.service.kind {
        Kind::Tap { path, array } => Ok(Box::new(tap::open(context, path, array)?)),
        Kind::Threats => Ok(Box::new(tap::threats::open(context)?)),
        Kind::Isolation { url } => Ok(Box::new(isolation::open(context, url)?)),
        Kind::Pod { stream } => Ok(Box::new(pod::open(context, stream)?)),
    }
}

/// Where a first run starts when nothing else is said.
#[must_use]
pub(crate) fn first(service: &Service, settings: &Settings, now: OffsetDateTime) -> OffsetDateTime {
    match service.kind {
        Kind::Tap { .. } | Kind::Threats | Kind::Isolation { .. } => now - Duration::hours(24),
        Kind::Pod { .. } => pod::first(settings, now),
    }
}

/// The name of what only one run at a time may use, besides the service's own state, if there is
/// such a thing.
///
/// # Errors
/// When the configuration does not say how to sign in, or a secret cannot be read.
pub(crate) fn exclusive(service: &Service, config: &Config) -> Result<Option<String>> {
    match service.kind {
        Kind::Tap { .. } | Kind::Threats | Kind::Isolation { .. } => Ok(None),
        Kind::Pod { stream } => pod::session_name(config, service, stream).map(Some),
    }
}

/// Whether what a service has sent may never come again, so that a run that stops still has to
/// deliver it.
#[must_use]
pub(crate) fn sends_once(service: &Service) -> bool {
    matches!(service.kind, Kind::Pod { .. })
}

/// What the API of a service accepts to be asked for.
#[must_use]
pub(crate) fn limits(service: &Service, settings: &Settings) -> WindowLimits {
    match service.kind {
        Kind::Tap { .. } | Kind::Threats => tap::LIMITS,
        Kind::Isolation { .. } => isolation::limits(settings),
        Kind::Pod { .. } => pod::limits(settings),
    }
}

/// Whose quota a service's requests count in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuotaAccount<'a> {
    /// What the service counts by, such as the principal; different for each API.
    pub(crate) name: &'a str,
    /// What this service shares with others of the account.
    pub(crate) pool: &'static Pool,
}

/// The account of a service, as configured.
///
/// # Errors
/// When the configuration does not say how to sign in.
pub(crate) fn account<'a>(service: &Service, config: &'a Config) -> Result<QuotaAccount<'a>> {
    let of_tap = |arrays: &[&str]| {
        let name = &tap::sign_in(service, config)?.principal;
        let pool = tap::pool(arrays);
        Ok(QuotaAccount { name, pool })
    };
    match service.kind {
        Kind::Tap { array, .. } => of_tap(&[array]),
        Kind::Threats => of_tap(tap::threats::ARRAYS),
        Kind::Isolation { .. } => Ok(QuotaAccount {
            name: service.name,
            pool: &isolation::POOL,
        }),
        Kind::Pod { .. } => Ok(QuotaAccount {
            name: &pod::sign_in(config, service)?.cluster_id,
            pool: &pod::POOL,
        }),
    }
}

/// What a run would ask for when it is `now`, if all goes well, in words.
#[must_use]
pub(crate) fn steps(
    service: &Service,
    settings: &Settings,
    start: &Start,
    now: OffsetDateTime,
) -> Vec<String> {
    if matches!(service.kind, Kind::Pod { .. }) {
        return pod::steps(settings, start, now);
    }
    let mut plan = WindowPlan::new(limits(service, settings), start);
    let mut steps = Vec::new();
    while let Some(step) = plan.next(now, now) {
        let _ = plan.complete(step, now, Some(now));
        steps.push(step.to_string());
    }
    steps
}

/// How long what was delivered is remembered at least, besides what re-reading needs.
#[must_use]
pub(crate) fn memory(service: &Service) -> Duration {
    match service.kind {
        Kind::Threats => tap::threats::MEMORY,
        Kind::Tap { .. } | Kind::Isolation { .. } | Kind::Pod { .. } => Duration::ZERO,
    }
}

/// Where a service is asked for events, as configured or built in.
#[must_use]
pub(crate) fn addresses(service: &Service, config: &Config) -> Vec<Url> {
    let own = config.settings(service).url;
    let built_in = match service.kind {
        Kind::Tap { .. } | Kind::Threats => config.tap.as_ref().map(|tap| tap.base_url.clone()),
        Kind::Isolation { url } => own.is_none().then(|| Url::parse(url).ok()).flatten(),
        Kind::Pod { .. } => config.pod.as_ref().map(|pod| pod.base_url.clone()),
    };
    own.into_iter().chain(built_in).collect()
}
