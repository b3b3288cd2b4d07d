//! What every source and every sink promises: one suite each, run for all of them.

mod sink;
mod source;
