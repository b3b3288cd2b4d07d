//! `PeopleApi` configures a service of the People API: its keys, sign-in and quota.

use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::{PAGE, PageLimits, People};
use crate::config::service_keys::{max_duration, one_of, url};
use crate::config::{SignIn, TableReader, Url};
use crate::error::Result;
use crate::pipeline::checkpoint::{Checkpoint, Retention};
use crate::quota::{Limit, Pool};
use crate::source::api::{Api, ConfiguredApi, OpenContext, Probe, ProbeContext, QuotaAccount};
use crate::source::tap::api::TapAccount;
use crate::source::tap::hints;
use crate::source::windows::{self, WindowPoller};
use crate::source::{Source, WindowLimits};

/// The periods in days that a report may cover (Proofpoint's People API document).
const PERIODS: [u32; 3] = [14, 30, 90];

/// A report is of one day of UTC: the data change once a day, and only the newest are kept. An hour of
/// headroom is left, since the edge moves while we work.
const LIMITS: WindowLimits = WindowLimits {
    shortest: Duration::DAY,
    longest: Duration::DAY,
    keep: Duration::seconds(2 * 86_400 + 3_599),
    margin: Duration::seconds(60),
    grain: Duration::DAY,
};

/// The quota of each report (Proofpoint's People API document).
pub(crate) static VAP: Pool = Pool {
    name: "people/vap",
    limits: &[Limit::a_day(50)],
};
pub(crate) static TOP_CLICKERS: Pool = Pool {
    name: "people/top-clickers",
    limits: &[Limit::a_day(50)],
};

/// A report on people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeopleApi {
    /// Its path below the base URL.
    pub(crate) path: &'static str,
    /// Its quota.
    pub(crate) pool: &'static Pool,
}

impl Api for PeopleApi {
    fn sign_in_table(&self) -> &'static str {
        "tap"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        Box::new(ConfiguredPeople {
            api: *self,
            account: TapAccount::new(name, sign_in),
            url: url(table),
            days: table.value_or("window", 30, one_of(&PERIODS)),
            max_duration: max_duration(table),
            pages: PAGE,
        })
    }
}

/// The configured service.
#[derive(Debug, Clone)]
struct ConfiguredPeople {
    api: PeopleApi,
    account: TapAccount,
    /// Used instead of the built-in address.
    url: Option<Url>,
    /// How many days a report covers.
    days: u32,
    max_duration: Wait,
    pages: PageLimits,
}

impl ConfiguredApi for ConfiguredPeople {
    fn max_duration(&self) -> Wait {
        self.max_duration
    }

    fn limits(&self) -> WindowLimits {
        LIMITS
    }

    fn retention(&self) -> Retention {
        Retention {
            look_back: Duration::ZERO,
            recheck: Duration::ZERO,
            memory: Duration::DAY,
        }
    }

    fn quota(&self) -> Result<QuotaAccount<'_>> {
        self.account.quota(self.api.pool, &[])
    }

    /// The licence for one report says nothing of others.
    fn endpoints(&self) -> Vec<Url> {
        let address = self.account.address(self.url.as_ref(), self.api.path);
        address.into_iter().collect()
    }

    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
        let address = self.account.address(self.url.as_ref(), self.api.path)?;
        Ok(Box::new(People {
            api: self.account.open(context, address, &hints::OF_PEOPLE)?,
            windows: WindowPoller::new(LIMITS, context),
            days: self.days,
            pages: self.pages,
            report: None,
        }))
    }

    /// One person proves as much as many.
    fn probe(&self, context: &mut ProbeContext<'_>) -> Probe {
        let pages = PageLimits { size: 1, most: 1 };
        windows::probe(
            &ConfiguredPeople {
                pages,
                ..self.clone()
            },
            context,
        )
    }

    fn first_start(&self, now: OffsetDateTime) -> OffsetDateTime {
        LIMITS.floor(now - Duration::DAY)
    }

    fn checkpoint_at(&self, from: OffsetDateTime) -> Checkpoint {
        Checkpoint::windows_at(LIMITS.floor(from))
    }

    fn no_backfill(&self) -> Option<&'static str> {
        Some("the People API has today's report alone, and none of past days")
    }
}
