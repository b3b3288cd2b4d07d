//! `IsolationApi` configures a product of Isolation: its keys, sign-in, windows and quota.

use std::time::Duration as Wait;

use time::Duration;

use super::{HINTS, Isolation, SILENCES};
use crate::config::service_keys::{DAY, MINUTE, duration};
use crate::config::{IsolationConfig, SignIn, TableReader, Url};
use crate::error::{Because, Exit, Failure, Result, fail};
use crate::pipeline::checkpoint::Retention;
use crate::quota::Pool;
use crate::secret;
use crate::source::api::{Api, ConfiguredApi, OpenContext, QuotaAccount};
use crate::source::http_api::HttpApi;
use crate::source::windows::{WindowPoller, WindowSettings};
use crate::source::{Source, WindowLimits};

/// Proofpoint publishes no quota; only refusals count.
static POOL: Pool = Pool {
    name: "reports",
    limits: &[],
};

/// A product of Isolation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IsolationApi {
    /// The whole address of its reporting API.
    pub(crate) url: &'static str,
}

impl Api for IsolationApi {
    fn sign_in_table(&self) -> &'static str {
        "isolation"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        let half_an_hour = Wait::from_secs(30 * MINUTE);
        Box::new(ConfiguredIsolation {
            service: name,
            url: self.url,
            sign_in: sign_in.isolation.clone(),
            windows: WindowSettings::read(table, 60),
            window_offset: table.text_or("window_offset", half_an_hour, duration(0..=DAY)),
        })
    }
}

/// A configured product.
#[derive(Debug)]
struct ConfiguredIsolation {
    service: &'static str,
    url: &'static str,
    sign_in: Option<IsolationConfig>,
    windows: WindowSettings,
    /// How long before the present windows end, since the API records with a delay.
    window_offset: Wait,
}

impl ConfiguredIsolation {
    fn address(&self) -> Result<Url> {
        let built_in =
            || Url::parse(self.url).map_err(|said| Failure::new(format!("{} {said}", self.url)));
        self.windows.url.clone().map_or_else(built_in, Ok)
    }
}

impl ConfiguredApi for ConfiguredIsolation {
    fn max_duration(&self) -> Wait {
        self.windows.max_duration
    }

    /// A day at most, ending `window_offset` before the present. The API keeps 30 days; an hour of
    /// headroom is taken off.
    fn limits(&self) -> WindowLimits {
        WindowLimits {
            shortest: Duration::minutes(1),
            longest: Duration::DAY,
            keep: Duration::hours(30 * 24 - 1),
            grain: Duration::seconds(1),
            margin: Duration::try_from(self.window_offset).unwrap_or(Duration::DAY),
        }
    }

    fn retention(&self) -> Retention {
        self.windows.retention(Duration::ZERO)
    }

    fn quota(&self) -> Result<QuotaAccount<'_>> {
        Ok(QuotaAccount {
            name: self.service,
            pool: &POOL,
            lookups: None,
            own: &[],
        })
    }

    fn endpoints(&self) -> Vec<Url> {
        self.address().into_iter().collect()
    }

    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
        let name = self.service;
        let Some(sign_in) = &self.sign_in else {
            let message = format!("running {name}: the configuration has no table [isolation]");
            return fail(Exit::Config, message).hint(HINTS.unknown);
        };
        let key = secret::read(&sign_in.api_key, "[isolation] api_key")?;
        let Some(bearer) = key.bearer() else {
            return fail(
                Exit::Config,
                "reading [isolation] api_key: it is not a valid key",
            )
            .hint("store only the key: ASCII letters, digits and signs, without spaces");
        };
        Ok(Box::new(Isolation {
            api: HttpApi::new(context, self.address()?, (bearer, key), &HINTS)?,
            windows: WindowPoller::new(self.limits(), context),
            job_timeout: context.network.timeout() * SILENCES,
            job: None,
        }))
    }
}
