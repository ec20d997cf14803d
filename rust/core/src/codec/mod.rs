//! Numbers to bytes and back: pure functions on slices.
//!
//! A block is `frames × rows × components` numbers of one type. Encoding it takes up to three
//! steps, each in its own file: floats that lie on a decimal grid (`grid`), or may be moved onto
//! one, become integers (`quantize`); doubles that hold no more than floats become floats
//! (`narrow`, undone by `widen`); the numbers are put into the order in which neighbours are most
//! alike (`layout`); pcodec packs them (`pco`). What is not numbers goes to zstd (`bytes`).
//! Coordinates of atoms are rather coded by the shape of the molecules (`geometry`), which are made
//! whole first where the periodic box cuts them (`periodic`), and can then be read frame by frame
//! (`random_access`). `encode` chooses between them.
//!
//! Encoding returns something smaller than the data, or nothing.
//!
//! ```
//! use proteinflex_core::ScalarType;
//! use proteinflex_core::codec::{self, Block, EncodeOptions};
//!
//! // 64 frames of 100 atoms, on a grid of 0.001.
//! let coordinates: Vec<u8> =
//!     (0..64 * 100 * 3).flat_map(|i| ((i * 7919 % 5000) as f32 / 1000.0).to_le_bytes()).collect();
//! let scalar = Some(ScalarType::F32);
//! let block = Block { frames: 64, rows: 100, row_bytes: 12, item_bytes: 4, scalar };
//! let (codec, payload) = codec::encode(&coordinates, &block, &EncodeOptions::default()).unwrap();
//! assert!(payload.len() < coordinates.len() / 2);
//!
//! let mut decoded = vec![0; block.bytes()];
//! codec::decode(codec, &payload, &block, &mut decoded)?;
//! assert_eq!(decoded, coordinates);
//! # Ok::<(), proteinflex_core::error::DecodeError>(())
//! ```

mod block;
mod bytes;
mod decode;
mod encode;
mod float_mode;
mod geometry;
mod grid;
mod layout;
mod narrow;
mod outliers;
mod pco;
mod periodic;
mod quantize;
mod random_access;
mod simd;
mod value;
mod widen;

pub(crate) use block::is_random_access;
pub use block::{Block, EncodeOptions, Encoded};
pub use decode::decode;
pub use encode::encode;
pub use geometry::OutputLayout;
pub use random_access::RandomAccessBlock;

#[cfg(test)]
mod tests;
