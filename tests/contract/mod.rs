//! What every source and every sink promises: one suite each, run for all of them; and what they
//! keep together when all goes wrong at once.

mod chaos;
mod sink;
mod source;
