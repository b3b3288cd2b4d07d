//! End-to-end tests: the real program against the simulator.

mod simulator;
mod world;

mod answers;
mod backfill;
mod certificates;
mod check;
mod command;
mod complete;
mod devo_sdk;
mod hidden;
mod isolation;
mod killed;
mod manual;
mod network;
mod obfuscation;
mod online;
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
mod status;
mod stdout;
mod threats;
mod tidy;
mod tools;
mod units;
mod windows;
