//! Which windows are asked for: halved, too old, read again, with clocks that differ.
