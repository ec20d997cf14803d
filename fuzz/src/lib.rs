//! Fuzz targets: each function takes untrusted bytes, drives a reader with them through its public
//! interface, and panics where a promise is broken.
//!
//! libFuzzer calls them (`fuzz_targets/`), and `rust/core/tests/integration/fuzz_corpus.rs` replays
//! the corpus and its mutations without it.

mod board;
mod checkpoint;
mod codec;
mod container;
mod input;
mod place;
mod reseal;
mod topology;
mod tree;

pub use board::board;
pub use checkpoint::{checkpoint, manifest};
pub use codec::{codec_decode, codec_round_trip};
pub use container::{container, container_resealed};
pub use topology::topology;
pub use tree::tree;
