//! `ThreatApi` configures the service of threat summaries: its keys, sign-in and quota.

use std::time::Duration as Wait;

use super::{ARRAYS, MEMORY, Threats};
use crate::config::service_keys::{number, requests};
use crate::config::{SignIn, TableReader, Url};
use crate::error::Result;
use crate::pipeline::checkpoint::Retention;
use crate::quota::{Limit, Pool};
use crate::source::api::{Api, ConfiguredApi, OpenContext, Probe, ProbeContext, QuotaAccount};
use crate::source::tap::api::{LOOK_BACK, TapAccount};
use crate::source::tap::hints;
use crate::source::tap::siem::{LIMITS, Siem};
use crate::source::windows::{self, WindowSettings};
use crate::source::{Source, WindowLimits};

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
        Box::new(ConfiguredThreats {
            pool: self.pool,
            account: TapAccount::new(name, sign_in),
            windows: WindowSettings::read(table, LOOK_BACK),
            requests: requests(table),
            max_threats_per_run: table.value_or("max_threats_per_run", 500, most),
        })
    }
}

/// The configured service.
#[derive(Debug, Clone)]
struct ConfiguredThreats {
    pool: &'static Pool,
    account: TapAccount,
    windows: WindowSettings,
    /// Configured limits besides the quota of the credentials; all of them apply.
    requests: Vec<Limit>,
    /// The most summaries that a run delivers.
    max_threats_per_run: u32,
}

impl ConfiguredApi for ConfiguredThreats {
    fn max_duration(&self) -> Wait {
        self.windows.max_duration
    }

    fn limits(&self) -> WindowLimits {
        LIMITS
    }

    fn retention(&self) -> Retention {
        self.windows.retention(MEMORY)
    }

    fn quota(&self) -> Result<QuotaAccount<'_>> {
        self.account.quota(self.pool, &self.requests)
    }

    fn endpoints(&self) -> Vec<Url> {
        self.account.endpoints(&self.windows)
    }

    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
        let account = &self.account;
        let address = account.address(self.windows.url.as_ref(), "/v2/siem/all")?;
        let api = account.open(context, address, &hints::OF_THREATS)?;
        // otherwise false positives would be missing
        let statuses = ["active", "cleared", "falsePositive"];
        let filters = statuses.map(|status| ("threatStatus", status.to_owned()));
        Ok(Box::new(Threats::new(
            Siem::new(context, api, ARRAYS, filters.into()),
            account.address(None, "/v2/threat/summary")?,
            self.max_threats_per_run,
            context.attempts,
        )))
    }

    /// One summary proves as much as many.
    fn probe(&self, context: &mut ProbeContext<'_>) -> Probe {
        let one = ConfiguredThreats {
            max_threats_per_run: 1,
            ..self.clone()
        };
        windows::probe(&one, context)
    }
}
