//! `CampaignApi` configures the service of campaigns: its keys, sign-in and quota.

use super::CAMPAIGNS;
use crate::config::service_keys::requests;
use crate::config::{SignIn, TableReader};
use crate::quota::{Limit, Pool};
use crate::source::ConfiguredApi;
use crate::source::api::Api;
use crate::source::tap::api::TapAccount;
use crate::source::tap::lookups::api::ConfiguredLookups;
use crate::source::windows::WindowSettings;

/// The quota of the list; campaigns themselves are not counted (Proofpoint's Campaign API document).
static LIST: Pool = Pool {
    name: "campaign/ids",
    limits: &[Limit::a_day(50)],
};

/// The campaigns that were updated.
#[derive(Debug)]
pub(crate) struct CampaignApi;

impl Api for CampaignApi {
    fn sign_in_table(&self) -> &'static str {
        "tap"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        Box::new(ConfiguredLookups {
            kind: &CAMPAIGNS,
            pool: &LIST,
            account: TapAccount::new(name, sign_in),
            // each run that reads again makes a request
            windows: WindowSettings::read(table, 0),
            requests: requests(table),
            most: u32::MAX,
        })
    }
}
