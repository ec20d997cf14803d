//! Nested plain values as bounded, tagged MessagePack.
//!
//! A tree is a version byte and one MessagePack value. Nil, booleans, 64-bit integers, floats,
//! text, bytes, lists and maps are MessagePack's own, so any reader of it can look inside. Every
//! other value is a list of two: an extension of type 1 whose one byte is a [`Tag`], and the
//! content. No plain value is ever such an extension, so the two can't be confused.
//!
//! Arrays are not in the tree: it refers to them by number, and they are stored beside it.
//!
//! Input is untrusted: depth and counts are bounded by constants and by the bytes that are there,
//! before anything is allocated for them.
//!
//! ```
//! use proteinflex_core::tree::{Token, TreeReader, TreeWriter};
//!
//! let mut writer = TreeWriter::new();
//! writer.list(2);
//! writer.integer(300);
//! writer.text("kelvin");
//! let bytes = writer.finish();
//!
//! // The path is for messages.
//! let mut reader = TreeReader::new(&bytes, "values".as_ref())?;
//! reader.expect_list_of(2)?;
//! assert_eq!(reader.next_token()?, Token::Integer(300));
//! assert_eq!(reader.expect_text()?, "kelvin");
//! reader.finish()?;
//! # Ok::<(), proteinflex_core::Error>(())
//! ```

mod reader;
mod writer;

pub use reader::{Token, TreeReader};
pub use writer::TreeWriter;

/// The version of the encoding, and the first byte of each tree.
const VERSION: u8 = 1;

/// The MessagePack extension type of the byte that names a [`Tag`].
const TAG_EXTENSION: i8 = 1;

/// How deep values may be nested. Deeper ones are mistakes, usually a value that contains itself.
pub const MAX_DEPTH: usize = 400;

/// How many lists, maps and tags may be open in a tree: one value takes up to five, that of a class
/// with attributes beside its content. So what is written can be read.
pub const MAX_OPEN: usize = 5 * (MAX_DEPTH + 2);

/// The kinds of values that MessagePack has no form for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// A tuple; the content is a list.
    Tuple = 1,
    /// A set; the content is a list.
    Set = 2,
    /// A frozen set; the content is a list.
    FrozenSet = 3,
    /// A complex number; the content is a list of two floats.
    Complex = 4,
    /// An integer of more than 64 bits; the content is bytes: two's complement, little-endian.
    BigInteger = 5,
    /// Text with lone surrogates; the content is bytes: UTF-8 that also encodes these.
    LooseText = 6,
    /// One value of a NumPy dtype; the content is a list of the dtype's description and the bytes.
    Scalar = 7,
    /// An array beside the tree; the content is a list of its number, the dtype's description, the
    /// list of its lengths, and whether its items lie in Fortran order.
    Array = 8,
    /// A value of a class that a library knows; the content is a list of a name and what it is made
    /// of.
    Extension = 9,
    /// Long text beside the tree; the content is its number.
    LongText = 10,
    /// Long bytes beside the tree; the content is their number.
    LongBytes = 11,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Self> {
        use Tag::*;
        [
            Tuple, Set, FrozenSet, Complex, BigInteger, LooseText, Scalar, Array, Extension,
            LongText, LongBytes,
        ]
        .into_iter()
        .find(|tag| *tag as u8 == byte)
    }
}

#[cfg(test)]
mod tests;
