//! Backfills stand beside the timer's state and go on where they were stopped.
