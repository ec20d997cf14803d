//! Golomb–Rice codes, and bits of strings.

pub mod bits;
pub mod rice;
