//! End-to-end tests: the real program against the simulator.
