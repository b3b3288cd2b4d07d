//! No secret is ever shown.
