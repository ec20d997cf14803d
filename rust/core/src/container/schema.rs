//! What a file says it holds: names, element types and shapes, read without decoding any data.
//!
//! Every value here has been checked: sizes fit, names are bounded, and no product of a shape can
//! overflow. What is read from a file passes through the same constructors as what users ask for.

use serde::{Deserialize, Serialize};

use crate::ScalarType;
use crate::fs::names::shorten;
use crate::{Error, Result};

/// The longest name of a field or array, in bytes.
pub const MAX_NAME: usize = 1024;
/// The longest element type description, in bytes: a structured type may have many fields.
pub const MAX_DESCRIPTION: usize = 64 * 1024;
/// The most dimensions of an item or array; numpy's own limit is 64.
pub const MAX_DIMENSIONS: usize = 64;

/// The type of one element, as numpy describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DType {
    /// Numpy's description: a type string such as `<f4`, or a JSON list for a structured type.
    descr: String,
    /// Bytes of one element.
    item_size: u64,
}

impl DType {
    /// An element type from numpy's description of it (`dtype.str`, or `dtype.descr` as JSON) and
    /// its size in bytes.
    pub fn new(descr: impl Into<String>, item_size: u64) -> Result<Self> {
        let dtype = Self { descr: descr.into(), item_size };
        dtype.check()?;
        Ok(dtype)
    }

    /// The 32-bit little-endian floats of most coordinates.
    pub fn f32() -> Self {
        Self { descr: "<f4".into(), item_size: 4 }
    }

    /// Numpy's description.
    pub fn descr(&self) -> &str {
        &self.descr
    }

    /// Bytes of one element.
    pub fn item_size(&self) -> u64 {
        self.item_size
    }

    /// Which numbers an element is made of, or `None` where it is just bytes.
    pub(crate) fn scalar(&self) -> Option<ScalarType> {
        self.numbers().map(|(element, _)| element)
    }

    /// Which numbers, and how many of them, an element is made of.
    fn numbers(&self) -> Option<(ScalarType, u64)> {
        let (order, rest) = self.descr.split_at_checked(1)?;
        let (element, count) = match rest.split('[').next()? {
            "i1" | "b1" => (ScalarType::I8, 1),
            "u1" => (ScalarType::U8, 1),
            "i2" => (ScalarType::I16, 1),
            "u2" => (ScalarType::U16, 1),
            "i4" => (ScalarType::I32, 1),
            "u4" => (ScalarType::U32, 1),
            "i8" | "M8" | "m8" => (ScalarType::I64, 1),
            "u8" => (ScalarType::U64, 1),
            "f2" => (ScalarType::F16, 1),
            "f4" => (ScalarType::F32, 1),
            "f8" => (ScalarType::F64, 1),
            "c8" => (ScalarType::F32, 2),
            "c16" => (ScalarType::F64, 2),
            _ => return None,
        };
        let is_little = order == "<" || (order == "|" && element.size() == 1);
        is_little.then_some((element, count))
    }

    fn check(&self) -> Result<()> {
        let wrong = |expected: &str| Err(Error::argument("dtype", shorten(&self.descr), expected));
        if self.descr.is_empty() {
            return wrong("numpy's description of a type");
        }
        if self.descr.len() > MAX_DESCRIPTION {
            return wrong("a type whose description takes at most 64 KiB");
        }
        if self.item_size > i32::MAX as u64 {
            return wrong("elements smaller than 2 GiB");
        }
        match self.numbers() {
            Some((element, count)) if self.item_size != element.size() as u64 * count => {
                wrong("an element size that agrees with the type")
            }
            _ => Ok(()),
        }
    }
}

/// A per-frame field: one item per frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// The shape of one frame's item: (n_atoms, 3) for coordinates, nothing for a scalar.
    pub item_shape: Vec<u64>,
}

impl FieldSpec {
    /// The number of the field of this name.
    pub fn find(fields: &[Self], name: &str) -> Result<usize> {
        fields.iter().position(|field| field.name == name).ok_or_else(|| {
            let known: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
            Error::argument("field", format!("{name:?}"), format!("one of {known:?}"))
        })
    }

    /// Bytes of one frame's item.
    pub fn item_bytes(&self) -> Result<u64> {
        byte_size(&self.name, &self.dtype, &self.item_shape)
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> u64 {
        self.item_bytes().unwrap_or(0).checked_div(self.rows()).unwrap_or(0)
    }

    /// The shape of some frames.
    pub fn shape(&self, n_frames: u64) -> Vec<u64> {
        std::iter::once(n_frames).chain(self.item_shape.iter().copied()).collect()
    }

    /// How many rows an item has: the atoms of coordinates. Subsets select rows.
    pub fn rows(&self) -> u64 {
        match self.item_shape.as_slice() {
            [rows, ..] => *rows,
            [] => 1,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        self.dtype.check()?;
        if self.rows() > u64::from(u32::MAX) {
            return Err(Error::argument(
                format!("{}.shape", self.name),
                format!("{:?}", self.item_shape),
                "fewer than 2^32 rows per frame",
            ));
        }
        self.item_bytes().map(drop)
    }
}

/// A whole array, stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArraySpec {
    /// Its name; names need not be unique, for arrays are referred to by number.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Whether the first index runs fastest in memory.
    pub fortran: bool,
}

impl ArraySpec {
    /// Bytes of the whole array.
    pub fn bytes(&self) -> Result<u64> {
        byte_size(&self.name, &self.dtype, &self.shape)
    }

    /// How many elements it has.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        self.dtype.check()?;
        self.bytes().map(drop)
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(Error::argument("name", shorten(name), format!("at most {MAX_NAME} bytes")))
}

/// The size of an array in bytes. All non-zero dimensions count, so that an empty array whose other
/// dimensions are absurd is refused as well: no partial product of a checked shape overflows.
fn byte_size(name: &str, dtype: &DType, shape: &[u64]) -> Result<u64> {
    let largest = shape
        .iter()
        .filter(|&&length| length > 0)
        .try_fold(dtype.item_size.max(1), |size, &length| size.checked_mul(length))
        .filter(|&size| size <= i64::MAX as u64);
    if largest.is_none() || shape.len() > MAX_DIMENSIONS {
        return Err(Error::argument(
            format!("{}.shape", shorten(name)),
            format!("{shape:?}"),
            format!("at most {MAX_DIMENSIONS} dimensions and less than 2^63 bytes"),
        ));
    }
    Ok(shape.iter().product::<u64>() * dtype.item_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_types_are_told_from_bytes() {
        for (descr, size, scalar) in [
            ("<f4", 4, Some(ScalarType::F32)),
            ("<c16", 16, Some(ScalarType::F64)),
            ("|b1", 1, Some(ScalarType::I8)),
            ("<M8[ns]", 8, Some(ScalarType::I64)),
            (">f4", 4, None),
            ("|S5", 5, None),
            ("[[\"x\", \"<f4\"]]", 4, None),
        ] {
            assert_eq!(DType::new(descr, size).unwrap().scalar(), scalar, "{descr}");
        }
        for wrong in [0, 6, 8] {
            assert!(DType::new("<f4", wrong).is_err());
        }
        assert!(DType::new("<c8", 4).is_err());
        assert!(DType::new("", 4).is_err());
    }

    #[test]
    fn shapes_whose_size_overflows_are_refused() {
        let mut spec = ArraySpec {
            name: "x".into(),
            dtype: DType::f32(),
            shape: vec![1 << 62, 1 << 62, 0],
            fortran: false,
        };
        assert!(spec.bytes().is_err());
        spec.shape = vec![0, 3];
        assert_eq!(spec.bytes().unwrap(), 0);
        spec.shape = vec![];
        assert_eq!(spec.bytes().unwrap(), 4);
    }
}
