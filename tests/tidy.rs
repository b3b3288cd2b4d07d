//! The rules of the tree: floors, one crate a file, one place that prints, documents that are true.
