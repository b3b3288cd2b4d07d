//! `devo` makes a sink for Devo of the configuration.

use std::sync::{Arc, Once};

use super::host_name;
use super::host_name::respelt;
use crate::clock::Clock;
use crate::config::DevoConfig;
use crate::config::file::Config;
use crate::error::{Because, Exit, Failure, Result};
use crate::net::Network;
use crate::net::tls::{Roots, Trust};
use crate::shutdown::Shutdown;
use crate::sink::devo::DevoOptions;

/// The receiver, without which nothing can be delivered.
pub(super) fn receiver(config: &Config) -> Result<&DevoConfig> {
    let to = config.devo.as_ref();
    let to = to.ok_or_else(|| Failure::new("the configuration has no table [devo]"));
    to.exit(Exit::Config)
        .hint("set [devo] address, chain, cert and key, or print events with --stdout")
}

/// A sink for the receiver, without what is a service's own: its tag, and what is known of the peer.
pub(super) fn options(
    to: &DevoConfig,
    network: &Arc<Network>,
    clock: Clock,
    shutdown: &Shutdown,
) -> Result<DevoOptions> {
    if let Some(said) = respelt().filter(|_| to.hostname.is_none()) {
        // a command may deliver for several services
        static SAID: Once = Once::new();
        SAID.call_once(|| log::info!("{said}"));
    }
    let chain = to.chain.as_deref().map(Roots::in_file);
    let roots = chain.as_ref().unwrap_or(network.roots());
    Ok(DevoOptions {
        network: Arc::clone(network),
        trust: Trust::receiver(to.tls, roots, to.identity.as_ref())?,
        address: to.address.clone(),
        server_name: to.server_name.clone(),
        hostname: to.hostname.clone().unwrap_or_else(host_name),
        tag: String::new(),
        compression: to.compression,
        confirm: to.confirm,
        known: None,
        clock,
        shutdown: shutdown.clone(),
    })
}
