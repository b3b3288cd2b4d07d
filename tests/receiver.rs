//! A receiver that fails at every kind of place.
