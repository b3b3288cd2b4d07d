//! End-to-end tests: the real program against the simulator.

mod simulator;
mod world;

mod answers;
mod backfill;
mod certificates;
mod command;
mod complete;
mod devo_sdk;
mod hidden;
mod isolation;
mod killed;
mod network;
mod obfuscation;
mod order;
mod pipelines;
mod pod;
mod pod_clients;
mod pod_faults;
mod quota;
mod real_receivers;
mod receiver;
mod record;
mod second_look;
mod secrets;
mod state;
mod stdout;
mod threats;
mod tidy;
mod tools;
mod windows;
