//! Trees of plain Python values.
