//! `ThreatApi` configures the service of threat summaries: its keys, sign-in and quota.

use super::SUMMARIES;
use crate::config::service_keys::{number, requests};
use crate::config::{SignIn, TableReader};
use crate::quota::Pool;
use crate::source::ConfiguredApi;
use crate::source::api::Api;
use crate::source::tap::api::{LOOK_BACK, TapAccount};
use crate::source::tap::lookups::api::ConfiguredLookups;
use crate::source::windows::WindowSettings;

/// The summaries of the threats that events name.
#[derive(Debug)]
pub(crate) struct ThreatApi {
    /// The quota that it shares.
    pub(crate) pool: &'static Pool,
}

impl Api for ThreatApi {
    fn sign_in_table(&self) -> &'static str {
        "tap"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        let most = number("a whole number such as 500", 1..=100_000);
        Box::new(ConfiguredLookups {
            kind: &SUMMARIES,
            pool: self.pool,
            account: TapAccount::new(name, sign_in),
            windows: WindowSettings::read(table, LOOK_BACK),
            requests: requests(table),
            most: table.value_or("max_threats_per_run", 500, most),
        })
    }
}
