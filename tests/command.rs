//! What is said, and how: arguments, the configuration, formats, quiet and verbose runs.
