//! Numbers of one type, read from and written to little-endian bytes.

use std::borrow::Cow;

use pco::data_types::Number;
use zerocopy::{FromBytes, FromZeros};

/// A number that can be packed.
pub trait Value: Number + FromZeros {
    /// Bytes of one.
    const SIZE: usize;
    /// The number in the first `SIZE` bytes.
    fn read(bytes: &[u8]) -> Self;
    /// All numbers in `bytes`, where they are if the machine has them so.
    fn read_all(bytes: &[u8]) -> Cow<'_, [Self]>;
    /// Puts the number into the first `SIZE` bytes.
    fn write(self, bytes: &mut [u8]);
}

macro_rules! values {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let mut number = [0; size_of::<$type>()];
                number.copy_from_slice(&bytes[..size_of::<$type>()]);
                Self::from_le_bytes(number)
            }

            fn read_all(bytes: &[u8]) -> Cow<'_, [Self]> {
                match <[Self]>::ref_from_bytes(bytes) {
                    Ok(numbers) if cfg!(target_endian = "little") => Cow::Borrowed(numbers),
                    _ => bytes.as_chunks().0.iter().copied().map(Self::from_le_bytes).collect(),
                }
            }

            #[inline]
            fn write(self, bytes: &mut [u8]) {
                bytes[..size_of::<$type>()].copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

values!(i8, u8, i16, u16, i32, u32, i64, u64, f32, f64);

/// Evaluates an expression with the type of `element`'s numbers. Half floats count as integers of
/// the same bits.
macro_rules! with_value {
    ($element:expr, $v:ident => $body:expr) => {
        with_value!(@each $element, $v, $body, I8 i8, U8 u8, I16 i16, U16 u16, F16 u16, I32 i32, U32 u32,
            I64 i64, U64 u64, F32 f32, F64 f64)
    };
    (@each $element:expr, $v:ident, $body:expr, $($scalar:ident $type:ty),*) => {
        match $element {
            $(ScalarType::$scalar => {
                type $v = $type;
                $body
            })*
        }
    };
}
pub(super) use with_value;
