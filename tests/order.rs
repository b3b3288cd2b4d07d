//! The cycle broken at every step: nothing lost, repeats only between confirm and commit.
