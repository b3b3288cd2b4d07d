//! A deterministic simulation: the program runs in a world that is a value, with one clock, one disk and one
//! network, where anything may go wrong at any step. A seed decides all of it.
//!
//! `scenario` says what happens, `world` lets it happen, the services answer by model, `run` does it, and
//! `oracle` says what must hold in the end. No thread, no socket and no clock of the machine is used.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::duplicate_mod,
    reason = "each includer uses a part of it, and the models have more than one scenario asks for"
)]

mod api;
mod demand;
mod disk;
mod event;
mod handles;
mod http;
mod isolation;
mod network;
mod oracle;
mod pod;
mod quota;
mod receiver;
#[path = "../simulator/rng.rs"]
mod rng;
mod run;
mod scenario;
mod services;
mod tap;
#[cfg(test)]
mod tests;
mod threats;
mod websocket;
mod world;

use rng::Rng;
pub use run::{Failure, crash_everywhere, shrink, simulate};
pub use scenario::Scenario;
pub use services::SERVICES;
