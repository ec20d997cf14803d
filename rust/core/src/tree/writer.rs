//! Writing a tree, value by value.

use rmp::encode;

use super::{TAG_EXTENSION, Tag, VERSION};
use crate::{Error, Result};

/// Appends values to a tree. A list or map is its length, then as many values (or pairs of them); a
/// tag is followed by its content.
#[derive(Debug, Clone)]
pub struct TreeWriter {
    bytes: Vec<u8>,
}

/// What writing to memory can't do.
const IN_MEMORY: &str = "writing to memory does not fail";

impl TreeWriter {
    /// An empty tree.
    pub fn new() -> Self {
        Self { bytes: vec![VERSION] }
    }

    /// Makes room for `bytes` more, for which there may be no memory: a value of that size is then
    /// written without growing.
    pub fn reserve(&mut self, bytes: usize) -> Result<()> {
        let needed = self.bytes.len().saturating_add(bytes);
        self.bytes.try_reserve(bytes).map_err(|_| Error::OutOfMemory {
            bytes: needed,
            purpose: "the plain values that are stored".to_owned(),
        })
    }

    /// Nothing: Python's `None`.
    pub fn nil(&mut self) {
        encode::write_nil(&mut self.bytes).expect(IN_MEMORY);
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        encode::write_bool(&mut self.bytes, value).expect(IN_MEMORY);
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        encode::write_sint(&mut self.bytes, value).expect(IN_MEMORY);
    }

    /// A count, or an integer that only fits without a sign.
    pub fn unsigned(&mut self, value: u64) {
        encode::write_uint(&mut self.bytes, value).expect(IN_MEMORY);
    }

    /// A float, bit for bit.
    pub fn float(&mut self, value: f64) {
        encode::write_f64(&mut self.bytes, value).expect(IN_MEMORY);
    }

    /// Text. At most 4 GiB; longer text belongs beside the tree.
    pub fn text(&mut self, value: &str) {
        encode::write_str(&mut self.bytes, value).expect(IN_MEMORY);
    }

    /// Bytes. At most 4 GiB; more belong beside the tree.
    pub fn bytes(&mut self, value: &[u8]) {
        encode::write_bin(&mut self.bytes, value).expect(IN_MEMORY);
    }

    /// A list of as many values as follow.
    pub fn list(&mut self, length: u32) {
        encode::write_array_len(&mut self.bytes, length).expect(IN_MEMORY);
    }

    /// A map of as many pairs of key and value as follow.
    pub fn map(&mut self, length: u32) {
        encode::write_map_len(&mut self.bytes, length).expect(IN_MEMORY);
    }

    /// A tag; its content follows.
    pub fn tag(&mut self, tag: Tag) {
        encode::write_array_len(&mut self.bytes, 2).expect(IN_MEMORY);
        encode::write_ext_meta(&mut self.bytes, 1, TAG_EXTENSION).expect(IN_MEMORY);
        self.bytes.push(tag as u8);
    }

    /// A reference to array `number` beside the tree, of this dtype and shape, in Fortran order or
    /// not.
    pub fn array(&mut self, number: u64, dtype: &str, shape: &[u64], fortran: bool) {
        self.tag(Tag::Array);
        self.list(4);
        self.unsigned(number);
        self.text(dtype);
        self.list(shape.len() as u32);
        shape.iter().for_each(|&length| self.unsigned(length));
        self.bool(fortran);
    }

    /// Adds the value that another writer holds.
    pub fn append(&mut self, other: &TreeWriter) -> Result<()> {
        self.reserve(other.bytes.len())?;
        self.bytes.extend_from_slice(&other.bytes[1..]);
        Ok(())
    }

    /// The finished tree.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

impl Default for TreeWriter {
    fn default() -> Self {
        Self::new()
    }
}
