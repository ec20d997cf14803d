//! Numbers of one type, read from and written to little-endian bytes.

use pco::data_types::Number;

/// A number that can be packed.
pub trait Value: Number {
    /// Bytes of one.
    const SIZE: usize;
    /// The number in the first `SIZE` bytes.
    fn read(bytes: &[u8]) -> Self;
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

            #[inline]
            fn write(self, bytes: &mut [u8]) {
                bytes[..size_of::<$type>()].copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

values!(i8, u8, i16, u16, i32, u32, i64, u64, f32, f64);

/// All numbers in `bytes`.
pub fn read_all<V: Value>(bytes: &[u8]) -> Vec<V> {
    bytes.chunks_exact(V::SIZE).map(V::read).collect()
}

/// Evaluates an expression with the type of `element`'s numbers. Half floats count as integers of
/// the same bits.
macro_rules! with_value {
    ($element:expr, $v:ident => $body:expr) => {
        match $element {
            ScalarType::I8 => {
                type $v = i8;
                $body
            }
            ScalarType::U8 => {
                type $v = u8;
                $body
            }
            ScalarType::I16 => {
                type $v = i16;
                $body
            }
            ScalarType::U16 | ScalarType::F16 => {
                type $v = u16;
                $body
            }
            ScalarType::I32 => {
                type $v = i32;
                $body
            }
            ScalarType::U32 => {
                type $v = u32;
                $body
            }
            ScalarType::I64 => {
                type $v = i64;
                $body
            }
            ScalarType::U64 => {
                type $v = u64;
                $body
            }
            ScalarType::F32 => {
                type $v = f32;
                $body
            }
            ScalarType::F64 => {
                type $v = f64;
                $body
            }
        }
    };
}
pub(super) use with_value;
