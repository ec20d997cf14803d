//! The arrays of a component as one safetensors file.
//!
//! Data begins at a multiple of 64 bytes, and arrays lie in such an order that each of them can be
//! used in place: those whose length is a multiple of 64 begin at one too.

use std::ops::Range;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{CheckpointDamage, CheckpointError};

/// Data begins at a multiple of this, for vector instructions and caches.
const ALIGNMENT: usize = 64;

/// What the items of an array are, as safetensors knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayType {
    dtype: Dtype,
    item_size: usize,
}

impl ArrayType {
    /// The type of a NumPy dtype (`<f4`) or of a label that safetensors has (`BF16`). Types that it
    /// lacks are bytes, and an array of them has one dimension more: the bytes of an item.
    pub fn of(description: &str, item_size: usize) -> Self {
        let dtype = match description {
            "|b1" => Dtype::BOOL,
            "|u1" => Dtype::U8,
            "|i1" => Dtype::I8,
            "<u2" => Dtype::U16,
            "<i2" => Dtype::I16,
            "<f2" => Dtype::F16,
            "<u4" => Dtype::U32,
            "<i4" => Dtype::I32,
            "<f4" => Dtype::F32,
            "<u8" => Dtype::U64,
            "<i8" => Dtype::I64,
            "<f8" => Dtype::F64,
            "<c8" => Dtype::C64,
            "BF16" => Dtype::BF16,
            "F8_E4M3" => Dtype::F8_E4M3,
            "F8_E5M2" => Dtype::F8_E5M2,
            _ => Dtype::U8,
        };
        Self { dtype, item_size }
    }

    fn stored_item_size(self) -> usize {
        self.dtype.bitsize() / 8
    }

    fn length(self, shape: &[usize]) -> usize {
        shape.iter().product::<usize>() * self.item_size
    }
}

/// The most bytes of a header that readers of the format take.
pub(super) const MOST_HEADER: u64 = 100_000_000;

/// Where the arrays of a component lie in its file.
#[derive(Debug)]
pub(super) struct FileLayout {
    /// The first bytes of the file: all before the data.
    pub(super) header: Vec<u8>,
    /// The arrays in the order in which their bytes follow.
    pub(super) order: Vec<usize>,
}

/// Lays out the file of these arrays: name, type and shape of each.
pub(super) fn lay_out(
    arrays: &[(&str, ArrayType, &[usize])],
) -> Result<FileLayout, CheckpointError> {
    let mut order: Vec<usize> = (0..arrays.len()).collect();
    // The format has no gaps between arrays. Ordered by the power of two that divides its length,
    // each array begins at a multiple of its own, thus of its items', and up to `ALIGNMENT`.
    let alignment = |index: usize| {
        let (_, array_type, shape) = &arrays[index];
        array_type.length(shape).trailing_zeros().min(ALIGNMENT.trailing_zeros())
    };
    order.sort_by_key(|&index| std::cmp::Reverse(alignment(index)));
    let mut tensors = Vec::with_capacity(arrays.len());
    let mut start = 0;
    for &index in &order {
        let (name, array_type, shape) = &arrays[index];
        let mut stored_shape = shape.to_vec();
        if array_type.stored_item_size() != array_type.item_size {
            stored_shape.push(array_type.item_size);
        }
        let length = array_type.length(shape);
        let info = TensorInfo {
            dtype: array_type.dtype,
            shape: stored_shape,
            data_offsets: (start, start + length),
        };
        tensors.push(((*name).to_owned(), info));
        start += length;
    }
    let metadata = Metadata::new(None, tensors).map_err(CheckpointError::Safetensors)?;
    let json_error = |error| CheckpointError::Json { what: "the safetensors header", error };
    let mut text = serde_json::to_vec(&metadata).map_err(json_error)?;
    // Spaces after the JSON are part of the format.
    let length = (8 + text.len()).next_multiple_of(ALIGNMENT) - 8;
    text.resize(length, b' ');
    let mut header = (length as u64).to_le_bytes().to_vec();
    header.extend(text);
    Ok(FileLayout { header, order })
}

/// The bytes before the data of a safetensors file that begins like this; `None` where that is more
/// than the format allows.
pub(super) fn header_length(beginning: [u8; 8]) -> Option<u64> {
    let length = u64::from_le_bytes(beginning);
    (length <= MOST_HEADER).then(|| 8 + length)
}

/// Where the arrays of these names are in a safetensors file of `size` bytes with this header.
pub(super) fn locate(
    header: &[u8],
    size: usize,
    names: &[String],
) -> Result<Vec<Range<usize>>, CheckpointDamage> {
    let text = header.get(8..).ok_or(CheckpointDamage::Truncated)?;
    // Checks that offsets agree with shapes and follow each other.
    let metadata: Metadata = serde_json::from_slice(text).map_err(CheckpointDamage::Json)?;
    let data = header.len();
    if data.checked_add(metadata.data_len()) != Some(size) {
        return Err(CheckpointDamage::Truncated);
    }
    let find = |name: &String| {
        let missing = || CheckpointDamage::MissingArray { name: name.clone() };
        let info = metadata.info(name).ok_or_else(missing)?;
        let (start, end) = info.data_offsets;
        Ok(data + start..data + end)
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::SafeTensors;

    fn located(file: &[u8], names: &[String]) -> Result<Vec<Range<usize>>, CheckpointDamage> {
        let length = header_length(file[..8].try_into().unwrap()).unwrap() as usize;
        locate(&file[..length.min(file.len())], file.len(), names)
    }

    #[test]
    fn any_safetensors_reader_finds_the_arrays_and_their_data_is_aligned() {
        let small = ArrayType::of("|u1", 1);
        let large = ArrayType::of("<f8", 8);
        let odd = ArrayType::of("<M8[ns]", 8);
        let arrays: [(&str, ArrayType, &[usize]); 3] =
            [("a", small, &[3]), ("b", large, &[2, 1]), ("c", odd, &[1])];
        let layout = lay_out(&arrays).unwrap();
        assert_eq!(layout.header.len() % ALIGNMENT, 0);
        assert_eq!(layout.order, [1, 2, 0]);
        let mut file = layout.header.clone();
        file.extend([1u8; 16 + 8 + 3]);
        let read = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(read.tensor("b").unwrap().shape(), [2, 1]);
        assert_eq!(read.tensor("c").unwrap().shape(), [1, 8]);
        let names = ["a".to_owned(), "b".to_owned()];
        let found = located(&file, &names).unwrap();
        assert_eq!(found[1], layout.header.len()..layout.header.len() + 16);
        assert_eq!(found[0].len(), 3);
        assert!(located(&file[..40], &names).is_err());
    }

    #[test]
    fn odd_arrays_do_not_push_even_ones_out_of_alignment() {
        let single = ArrayType::of("<f4", 4);
        let double = ArrayType::of("<f8", 8);
        let shapes: [&[usize]; 6] = [&[3], &[16, 4], &[5], &[8], &[0], &[]];
        let types = [single, single, double, double, single, double];
        let names = ["a", "b", "c", "d", "e", "f"];
        let arrays: Vec<_> = (0..6).map(|i| (names[i], types[i], shapes[i])).collect();
        let layout = lay_out(&arrays).unwrap();
        let mut file = layout.header.clone();
        file.resize(file.len() + 12 + 256 + 40 + 64 + 8, 0);
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let starts: Vec<_> =
            located(&file, &names).unwrap().into_iter().map(|range| range.start).collect();
        assert!([1, 3].iter().all(|&index| starts[index] % ALIGNMENT == 0), "{starts:?}");
        assert!((0..6).all(|index| starts[index] % types[index].item_size == 0), "{starts:?}");
    }
}
