//! An in-memory system.
