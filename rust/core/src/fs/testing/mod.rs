//! File layers for tests.
