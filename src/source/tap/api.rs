//! `EventApi` configures an event service of the TAP SIEM API: its keys, sign-in and quota.

use std::time::Duration as Wait;

use time::Duration;

use super::events::EventKind;
use super::siem::{EVENTS, Listing, Siem};
use super::{Tap, hints};
use crate::config::service_keys::{choices, requests};
use crate::config::{SignIn, TableReader, TapConfig, Url};
use crate::error::{Because, Exit, Result, fail};
use crate::pipeline::checkpoint::Retention;
use crate::quota::{Limit, Pool};
use crate::secret;
use crate::source::api::{Api, ConfiguredApi, OpenContext, QuotaAccount};
use crate::source::http_api::{ErrorHints, HttpApi};
use crate::source::windows::WindowSettings;
use crate::source::{Source, WindowLimits};

/// The values of `threatType` and `threatStatus` that TAP accepts (Proofpoint's SIEM API document).
const THREAT_TYPES: [&str; 3] = ["url", "attachment", "messageText"];
const THREAT_STATUSES: [&str; 3] = ["active", "cleared", "falsePositive"];

/// Default of `look_back`, in minutes.
pub(super) const LOOK_BACK: u64 = 45;

/// The quota of each principal: permitted clicks apart, everything else together.
pub(crate) static CLICKS_PERMITTED: Pool = Pool {
    name: "clicks/permitted",
    limits: &[Limit::a_day(1800)],
};
pub(crate) static OTHERS: Pool = Pool {
    name: "all but clicks/permitted",
    limits: &[Limit::a_day(1800)],
};

/// An event service of TAP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventApi {
    /// Its path below the base URL.
    pub(crate) path: &'static str,
    /// The key under which its answers have events.
    pub(crate) arrays: &'static [&'static str],
    /// How its events are recognised.
    pub(crate) identity: EventKind,
    /// The quota that it shares.
    pub(crate) pool: &'static Pool,
}

impl EventApi {
    fn listing(&self) -> Listing {
        Listing {
            path: self.path,
            arrays: self.arrays,
            ..EVENTS
        }
    }
}

impl Api for EventApi {
    fn sign_in_table(&self) -> &'static str {
        "tap"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        Box::new(ConfiguredEvents {
            api: *self,
            account: TapAccount::new(name, sign_in),
            windows: WindowSettings::read(table, LOOK_BACK),
            requests: requests(table),
            threat_type: choices(table, "threat_type", &THREAT_TYPES),
            threat_status: choices(table, "threat_status", &THREAT_STATUSES),
        })
    }
}

/// A configured event service.
#[derive(Debug)]
struct ConfiguredEvents {
    api: EventApi,
    account: TapAccount,
    windows: WindowSettings,
    /// Configured limits besides the quota of the credentials; all of them apply.
    requests: Vec<Limit>,
    /// `threatType` values, as the API takes them.
    threat_type: Vec<String>,
    /// `threatStatus` values, as the API takes them.
    threat_status: Vec<String>,
}

impl ConfiguredApi for ConfiguredEvents {
    fn max_duration(&self) -> Wait {
        self.windows.max_duration
    }

    fn limits(&self) -> WindowLimits {
        EVENTS.limits
    }

    fn retention(&self) -> Retention {
        self.windows.retention(Duration::ZERO)
    }

    fn quota(&self) -> Result<QuotaAccount<'_>> {
        self.account.quota(self.api.pool, &self.requests)
    }

    fn endpoints(&self) -> Vec<Url> {
        self.account.endpoints(&self.windows)
    }

    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
        let types = self.threat_type.iter();
        let types = types.map(|value| ("threatType", value.clone()));
        let statuses = self.threat_status.iter();
        let statuses = statuses.map(|value| ("threatStatus", value.clone()));
        let format = [("format", "json".to_owned())].into_iter();
        let query = format.chain(types).chain(statuses).collect();
        let address = self
            .account
            .address(self.windows.url.as_ref(), self.api.path)?;
        let api = self.account.open(context, address, &hints::WORDS)?;
        Ok(Box::new(Tap {
            siem: Siem::new(context, api, self.api.listing(), query)
                .asking_ahead()
                .with_outlines(),
            kind: self.api.identity,
        }))
    }
}

/// The sign-in of a TAP service.
#[derive(Debug, Clone)]
pub(super) struct TapAccount {
    service: &'static str,
    sign_in: Option<TapConfig>,
}

impl TapAccount {
    pub(super) fn new(service: &'static str, sign_in: &SignIn) -> TapAccount {
        TapAccount {
            service,
            sign_in: sign_in.tap.clone(),
        }
    }

    /// The sign-in.
    ///
    /// # Errors
    /// When `[tap]` is missing.
    pub(super) fn sign_in(&self) -> Result<&TapConfig> {
        match &self.sign_in {
            Some(sign_in) => Ok(sign_in),
            None => fail(
                Exit::Config,
                format!(
                    "running {}: the configuration has no table [tap]",
                    self.service
                ),
            )
            .hint(
                "set [tap] principal and secret; create them in the TAP Dashboard under \
                 Settings, Connected Applications",
            ),
        }
    }

    pub(super) fn quota<'a>(
        &'a self,
        pool: &'static Pool,
        own: &'a [Limit],
    ) -> Result<QuotaAccount<'a>> {
        let name = &self.sign_in()?.principal;
        Ok(QuotaAccount {
            name,
            pool,
            lookups: None,
            own,
        })
    }

    /// The address of a service: `url` if it is configured, or `path` below the base URL.
    pub(super) fn address(&self, url: Option<&Url>, path: &str) -> Result<Url> {
        Ok(match url {
            Some(url) => url.clone(),
            None => self.sign_in()?.base_url.join(path),
        })
    }

    /// Opens the API at this address.
    ///
    /// # Errors
    /// When `[tap]` is missing, or its secret cannot be read.
    pub(super) fn open(
        &self,
        context: &OpenContext<'_>,
        address: Url,
        hints: &'static ErrorHints,
    ) -> Result<HttpApi> {
        let sign_in = self.sign_in()?;
        let secret = secret::read(&sign_in.secret, "[tap] secret")?;
        let signed = (secret.basic(&sign_in.principal), secret);
        HttpApi::new(context, address, signed, hints)
    }

    pub(super) fn endpoints(&self, windows: &WindowSettings) -> Vec<Url> {
        let base = self.sign_in.as_ref().map(|tap| tap.base_url.clone());
        windows.url.clone().into_iter().chain(base).collect()
    }
}
