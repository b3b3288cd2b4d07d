//! Proofpoint TAP, PoD and Isolation, and a Devo receiver, on the loopback, as the reference says that they behave, and
//! faults at any byte.
//!
//! Nothing here knows the program: it speaks through sockets alone, so the tests and the demo run
//! the real binary against it. Ports are always free ones, chance is always seeded, and no thread
//! holds up the end of a process.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each includer uses a part of it"
)]

mod campaigns;
mod certs;
mod devo;
mod drip;
mod fake_api;
mod http;
pub mod isolation;
mod kind;
mod listen;
mod people;
mod pod;
mod proofpoint;
mod proxy;
mod query;
mod rng;
pub mod sample;
mod tap;

use std::thread;
use std::time::{Duration, Instant};

pub use certs::{Certs, Curve, OtherCa, Pair, pem, server_config};
pub use devo::{
    Behaviour, ConnectionReport, Devo, Ended, Line, Options, Versions, host_of, tag_of,
};
pub use drip::Drip;
pub use fake_api::{Request, Style};
pub use http::{Fault, Framing};
pub use isolation::{API_KEY, Isolation, Jobs};
pub use kind::Kind;
pub use listen::port;
pub use pod::{Asked as PodAsked, CLUSTER, Ends, Pod, STREAMS, StreamFault, TOKEN, pod_event};
pub use proofpoint::{HOSTS, Ports, Proofpoint, Section};
pub use proxy::Proxy;
pub use query::{Posted, QUERY_TOKEN, QueryApi};
pub use rng::Rng;
pub use sample::{Body, Event, scenario};
pub use tap::{PRINCIPAL, SECRET, Tap};

/// Returns as soon as the condition holds.
///
/// # Panics
/// With `what`, when it does not within a minute.
pub fn wait_until(condition: impl FnMut() -> bool, what: &str) {
    wait_within(Duration::from_secs(60), condition, what);
}

/// The same, for what takes longer.
pub fn wait_within(time: Duration, mut condition: impl FnMut() -> bool, what: &str) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < time, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
