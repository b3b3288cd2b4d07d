//! `receiver` tests whether Devo takes events, and what confirms a delivery to it.

use std::sync::Arc;

use super::trial::Try;
use crate::cli::devo;
use crate::clock::{Clock, Instant};
use crate::config::file::Config;
use crate::config::{Confirmation, DevoConfig};
use crate::error::{Failure, Result};
use crate::net::Network;
use crate::pipeline::batch::Batch;
use crate::shutdown::Shutdown;
use crate::sink::devo::{Devo, DevoOptions};
use crate::sink::{Sink, SinkError};

/// Completes transactions without an event: one that a close confirms and, if the receiver does not
/// close, one that it only acknowledges.
pub(super) fn test(
    config: &Config,
    network: &Arc<Network>,
    clock: Clock,
    shutdown: &Shutdown,
) -> Try {
    let Some(to) = &config.devo else {
        return Try::not_tried("devo", "the configuration has no table [devo]");
    };
    let transaction = |to: &DevoConfig, confirm| -> Result<(), SinkError> {
        let options = devo::options(to, network, clock, shutdown);
        let options = options.map_err(SinkError::Refused)?;
        let mut sink = Devo::new(DevoOptions { confirm, ..options });
        sink.send(&Batch::default())?;
        sink.confirm()
    };
    let started = Instant::now();
    let tried = format!("an empty transaction with {}", to.address);
    let closes = transaction(to, Confirmation::Close);
    let is_silent = matches!(closes, Err(SinkError::Unconfirmed(_)));
    let acknowledges = is_silent && transaction(to, Confirmation::Acknowledged).is_ok();
    let could_be_close = to.confirm == Confirmation::Acknowledged && closes.is_ok();
    let said = said(to.confirm, closes, acknowledges);
    let row = Try::done("devo", tried, started, said);
    match could_be_close {
        true => row.doubted("remove confirm from [devo]: this receiver closes, which proves more"),
        false => row,
    }
}

/// What a run would meet, given what the receiver did when a close was wanted, and whether it
/// acknowledged instead.
fn said(wanted: Confirmation, closes: Result<(), SinkError>, acknowledges: bool) -> Result<String> {
    const NO_EVENT: &str = "no event was sent";
    match closes {
        Ok(()) => Ok(format!(
            "the receiver confirmed an empty transaction: it read to the end and closed; {NO_EVENT}"
        )),
        Err(_) if acknowledges && wanted == Confirmation::Acknowledged => Ok(format!(
            "the receiver acknowledged an empty transaction but did not close, which proves less; \
             {NO_EVENT}"
        )),
        Err(error) if acknowledges => Err(Failure::from(error).with_hint(
            "find out what keeps the receiver from closing; it does acknowledge, so [devo] confirm = \
             \"acknowledged\" would work, which proves less (proofpull.toml(5))",
        )),
        Err(error) => Err(error.into()),
    }
}
