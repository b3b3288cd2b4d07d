//! Where events come from. A source reads, and says up to where that is complete; it sees no
//! state file, no sink, no lock.

mod api;
pub mod plan;
pub mod tap;
mod windows;

use std::sync::Arc;

use anyhow::Result;
use time::OffsetDateTime;

use crate::config::{Config, Settings};
use crate::connect::Network;
use crate::event::Batch;
use crate::quota::{Pool, Quota};
use crate::report::Tally;
use crate::service::{Kind, Service};
use crate::stop::Stop;
use crate::window::Rule;

/// What a source gets for its turn.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Whether to stop.
    pub stop: &'a Stop,
    /// The time.
    pub now: OffsetDateTime,
    /// Where to count.
    pub tally: &'a mut Tally,
    /// Where to book each request before it is made.
    pub quota: &'a mut dyn Quota,
}

/// Something that gives events.
pub trait Source {
    /// Within 5 s, or after an empty batch: some events, none yet (an empty batch), or `None` when
    /// nothing is left to read now or the run is to stop.
    ///
    /// # Errors
    /// When reading on is of no use in this run. What was handed over stays good.
    fn next(&mut self, turn: &mut Turn<'_>) -> Result<Option<Batch>>;
}

/// What a source is opened with: what to read, how, and from where to go on.
#[derive(Debug)]
pub struct Opening<'a> {
    /// What to read.
    pub service: &'static Service,
    /// Where sign-in and addresses stand.
    pub config: &'a Config,
    /// The service's own settings.
    pub settings: &'a Settings,
    /// How to connect.
    pub network: &'a Arc<Network>,
    /// Ends its waits.
    pub stop: &'a Stop,
    /// From where to go on.
    pub start: plan::Start,
}

/// Opens the source of a service; nothing is asked for yet.
///
/// # Errors
/// When the configuration does not say how to sign in, or a secret cannot be read.
pub fn open(opening: &Opening<'_>) -> Result<Box<dyn Source>> {
    match &opening.service.kind {
        Kind::Tap { path, array } => Ok(Box::new(tap::open(opening, path, array)?)),
    }
}

/// What the API of a service accepts to be asked for.
#[must_use]
pub fn rule(service: &Service) -> Rule {
    match service.kind {
        Kind::Tap { .. } => tap::RULE,
    }
}

/// Whose quota a service's requests count in.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// What the service counts by, such as the principal; different for each API.
    pub name: &'a str,
    /// What this service shares with others of the account.
    pub pool: &'static Pool,
}

/// The account of a service, as configured.
///
/// # Errors
/// When the configuration does not say how to sign in.
pub fn account<'a>(service: &Service, config: &'a Config) -> Result<Account<'a>> {
    match service.kind {
        Kind::Tap { array, .. } => Ok(Account {
            name: &tap::sign_in(service, config)?.principal,
            pool: tap::pool(&[array]),
        }),
    }
}

/// What a run would ask for when it is `now`, if all goes well.
#[must_use]
pub fn steps(service: &Service, start: &plan::Start, now: OffsetDateTime) -> Vec<plan::Step> {
    let mut plan = plan::Plan::new(rule(service), start);
    let mut steps = Vec::new();
    while let Some(step) = plan.next(now, now) {
        let _ = plan.complete(step, now, Some(now));
        steps.push(step);
    }
    steps
}
