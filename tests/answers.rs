//! What each answer of TAP leads to: its status, its words, and nothing lost.
