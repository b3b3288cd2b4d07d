//! `ForensicsApi` configures the service of forensics: its keys, sign-in and quota.

use super::{BY_CAMPAIGN, BY_THREAT};
use crate::config::service_keys::requests;
use crate::config::{SignIn, TableReader};
use crate::quota::Pool;
use crate::source::ConfiguredApi;
use crate::source::api::Api;
use crate::source::tap::api::{LOOK_BACK, TapAccount};
use crate::source::tap::lookups::api::ConfiguredLookups;
use crate::source::windows::WindowSettings;

/// The evidence of what events name.
#[derive(Debug)]
pub(crate) struct ForensicsApi {
    /// The quota of events that it shares.
    pub(crate) pool: &'static Pool,
}

impl Api for ForensicsApi {
    fn sign_in_table(&self) -> &'static str {
        "tap"
    }

    fn configure(
        &self,
        name: &'static str,
        table: &mut TableReader,
        sign_in: &SignIn,
    ) -> Box<dyn ConfiguredApi> {
        let by = table.text_or("by", "campaign".to_owned(), |text| match text {
            "campaign" | "threat" => Ok(text.to_owned()),
            _ => Err("must be \"campaign\" or \"threat\""),
        });
        Box::new(ConfiguredLookups {
            kind: match by.as_str() {
                "threat" => &BY_THREAT,
                _ => &BY_CAMPAIGN,
            },
            pool: self.pool,
            account: TapAccount::new(name, sign_in),
            windows: WindowSettings::read(table, LOOK_BACK),
            requests: requests(table),
            most: u32::MAX,
        })
    }
}
