//! `ConfiguredLookups` is a configured service of lookups.

use std::time::Duration as Wait;

use super::{LookupKind, Lookups, MEMORY};
use crate::config::Url;
use crate::error::Result;
use crate::pipeline::checkpoint::Retention;
use crate::quota::{Limit, Pool};
use crate::source::api::{ConfiguredApi, OpenContext, Probe, ProbeContext, QuotaAccount};
use crate::source::tap::api::TapAccount;
use crate::source::tap::siem::Siem;
use crate::source::windows::{self, WindowSettings};
use crate::source::{Source, WindowLimits};

/// A configured service of lookups.
#[derive(Debug, Clone)]
pub(in crate::source::tap) struct ConfiguredLookups {
    pub(in crate::source::tap) kind: &'static LookupKind,
    /// The quota of the list.
    pub(in crate::source::tap) pool: &'static Pool,
    pub(in crate::source::tap) account: TapAccount,
    pub(in crate::source::tap) windows: WindowSettings,
    /// Configured limits besides the quota of the credentials; all of them apply.
    pub(in crate::source::tap) requests: Vec<Limit>,
    /// The most answers that a run delivers.
    pub(in crate::source::tap) most: u32,
}

impl ConfiguredLookups {
    fn address(&self) -> Result<Url> {
        let path = self.kind.listing.path;
        self.account.address(self.windows.url.as_ref(), path)
    }
}

impl ConfiguredApi for ConfiguredLookups {
    fn max_duration(&self) -> Wait {
        self.windows.max_duration
    }

    fn limits(&self) -> WindowLimits {
        self.kind.listing.limits
    }

    fn retention(&self) -> Retention {
        self.windows.retention(MEMORY)
    }

    fn quota(&self) -> Result<QuotaAccount<'_>> {
        let account = self.account.quota(self.pool, &self.requests)?;
        Ok(QuotaAccount {
            lookups: self.kind.pool,
            ..account
        })
    }

    /// Those of the events, if lookups are no API of their own.
    fn endpoints(&self) -> Vec<Url> {
        let LookupKind { listing, path, .. } = self.kind;
        if listing.is_of_events() && self.kind.pool.is_none() {
            return self.account.endpoints(&self.windows);
        }
        let answers = self.account.address(None, path);
        self.address().into_iter().chain(answers).collect()
    }

    fn open(&self, context: &OpenContext<'_>) -> Result<Box<dyn Source>> {
        let LookupKind { listing, query, .. } = self.kind;
        let api = self
            .account
            .open(context, self.address()?, self.kind.hints)?;
        let query = query.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let siem = Siem::new(context, api, *listing, query.collect());
        let answers = self.account.address(None, self.kind.path)?;
        Ok(Box::new(Lookups::new(
            self.kind,
            (siem, answers),
            self.most,
            context.attempts,
        )))
    }

    /// One answer proves as much as many.
    fn probe(&self, context: &mut ProbeContext<'_>) -> Probe {
        let one = ConfiguredLookups {
            most: 1,
            ..self.clone()
        };
        windows::probe(&one, context)
    }
}
