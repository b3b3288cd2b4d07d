//! Events on standard output, with a state of their own.
