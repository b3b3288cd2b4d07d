//! The state: torn, foreign, newer, unwritable, locked, and clocks that go wrong.
