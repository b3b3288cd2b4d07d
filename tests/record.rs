//! What a record looks like when it arrives.
