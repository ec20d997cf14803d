//! The per-frame fields of a trajectory that is stored: which there are, and that they agree.

use std::path::Path;

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::trajectory::{DType, Encoding, FieldSpec, Precision};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};

use crate::argument::wrong_type;
use crate::array;
use crate::error::to_python;
use crate::hooks::hook;
use crate::value::{Field, is_refusal};

/// The field that every trajectory has: (n_frames, n_atoms, 3).
pub const FRAMES: &str = "frames";

/// The field of unit cells.
pub const BOX: &str = "box";

/// Names that can only mean per-frame data.
const PER_FRAME: [&str; 6] = ["time", "step", BOX, "energy", "velocities", "forces"];

/// A field, with some of its frames.
pub struct FieldData<'py> {
    pub name: String,
    pub array: Bound<'py, PyUntypedArray>,
    held: Bound<'py, PyWeakrefReference>,
}

impl<'py> FieldData<'py> {
    /// An argument as a C-contiguous array.
    pub fn new(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let numpy = value.py().import("numpy")?;
        let value = match value.cast::<PyUntypedArray>() {
            Ok(array) if !array::is_plain(array)? => {
                return Err(wrong_type(value, name, array::PLAIN));
            }
            Ok(array) => array.as_any().clone(),
            Err(_) => hook(value.py(), "array_of")?.call1((value, name))?,
        };
        let array = numpy.call_method1("ascontiguousarray", (&value,))?;
        let array = array.cast_into::<PyUntypedArray>()?;
        // `ascontiguousarray` makes at least one dimension; a scalar per frame has none.
        let array = array.call_method1("reshape", (value.getattr("shape")?,))?;
        let array = array.cast_into::<PyUntypedArray>()?;
        if array.dtype().has_object() {
            return Err(wrong_type(&value, name, "an array of numbers, not of objects"));
        }
        let held = array::hold(&array)?;
        Ok(Self { name: name.to_owned(), array, held })
    }

    /// The frames among these.
    pub fn n_frames(&self) -> u64 {
        self.array.shape().first().map_or(0, |&length| length as u64)
    }

    pub fn bytes(&self) -> PyResult<&[u8]> {
        array::bytes(&self.array)
    }

    /// What each frame holds.
    pub fn spec(&self) -> PyResult<FieldSpec> {
        Ok(FieldSpec {
            name: self.name.clone(),
            dtype: dtype_of(&self.array)?,
            item_shape: self.array.shape().iter().skip(1).map(|&length| length as u64).collect(),
        })
    }

    /// How the tree of a trajectory of `n_frames` refers to the field, which was given as `object`.
    pub fn in_tree(&self, object: Bound<'py, PyAny>, n_frames: u64) -> PyResult<Field<'py>> {
        in_tree(&self.spec()?, object, n_frames)
    }

    /// Checks that this can be the coordinates of a trajectory; `argument` names it in messages.
    pub fn check_frames(&self, argument: &str) -> PyResult<()> {
        let shape = self.array.shape();
        let expected = "an array of shape (n_frames, n_atoms, 3), float32 or float64";
        if shape.len() != 3 || shape[2] != 3 {
            return Err(to_python(Error::argument(argument, format!("shape {shape:?}"), expected)));
        }
        if !is_float(&self.array) {
            let dtype = array::description(&self.array.dtype())?;
            return Err(to_python(Error::argument(argument, format!("dtype {dtype}"), expected)));
        }
        Ok(())
    }

    /// Whether this is one box for all frames: its lengths, lengths and angles, or vectors.
    pub fn is_one_box(&self, n_frames: usize) -> PyResult<bool> {
        Ok(self.name == BOX
            && match self.array.shape() {
                [3] | [6] => true,
                // Beside three frames, three lengths for each: vectors have zeros among them.
                [3, 3] => n_frames != 3 || self.has_zeros()?,
                _ => false,
            })
    }

    /// Whether there is anything else than lengths; of a frame without a box, they are NaN.
    fn has_zeros(&self) -> PyResult<bool> {
        self.array.call_method1("__le__", (0,))?.call_method0("any")?.extract()
    }

    /// Checks that each frame of a block has a box of its own, if this is the boxes.
    pub fn check_boxes(&self, n_frames: usize) -> PyResult<()> {
        if self.name != BOX {
            return Ok(());
        }
        self.check_numbers(BOX)?;
        if !self.is_one_box(n_frames)? {
            return Ok(());
        }
        let shapes = ["3", "6", "3, 3"].map(|item| format!("[{n_frames}, {item}]")).join(" or ");
        let expected = format!("{n_frames} values, one per frame: shape {shapes}");
        Err(to_python(Error::argument(BOX, format!("shape {:?}", self.array.shape()), expected)))
    }

    fn check_numbers(&self, argument: &str) -> PyResult<()> {
        let dtype = self.array.dtype();
        if matches!(dtype.kind(), b'f' | b'i' | b'u') {
            return Ok(());
        }
        let found = format!("dtype {}", array::description(&dtype)?);
        Err(to_python(Error::argument(argument, found, "real numbers")))
    }

    /// Checks that this agrees with coordinates of this shape.
    pub fn check_beside(&self, argument: &str, frames: &[usize]) -> PyResult<()> {
        if is_per_frame(&self.name) {
            self.check_numbers(argument)?;
        }
        let shape = self.array.shape();
        let fits = match self.name.as_str() {
            "velocities" | "forces" => shape == frames,
            BOX if self.is_one_box(frames[0])? => true,
            _ => shape.first() == frames.first(),
        };
        if fits {
            return Ok(());
        }
        let expected = match self.name.as_str() {
            "velocities" | "forces" => format!("the shape of frames, {frames:?}"),
            _ => format!("{} values, one per frame", frames[0]),
        };
        Err(to_python(Error::argument(argument, format!("shape {shape:?}"), expected)))
    }
}

/// Whether something of this name can only be per-frame data, or one box.
pub fn is_per_frame(name: &str) -> bool {
    PER_FRAME.contains(&name)
}

/// Whether a `precision` can apply to each of these fields. One that could and would not is an error.
pub fn lossy(fields: &[FieldSpec], encoding: Encoding) -> Result<Vec<bool>, Error> {
    fields.iter().map(|field| is_lossy(field, encoding)).collect()
}

fn is_lossy(field: &FieldSpec, encoding: Encoding) -> Result<bool, Error> {
    let (name, dtype, precision) = (&field.name, field.dtype.descr(), encoding.precision);
    if matches!(dtype, ">f4" | ">f8") && encoding.compress && precision.of(name).is_some() {
        let little = dtype.replace('>', "<");
        let expected = format!(
            "none for {name:?} of dtype {dtype}, as only little-endian numbers are rounded: \
             convert them with .astype(\"{little}\"), or pass precision={{}}"
        );
        return Err(Error::argument("precision", precision, expected));
    }
    Ok(Precision::FIELDS.contains(&name.as_str()) && matches!(dtype, "<f4" | "<f8"))
}

/// How the tree of a trajectory of `n_frames` refers to a field, which was given as `object`.
pub fn in_tree<'py>(
    spec: &FieldSpec,
    object: Bound<'py, PyAny>,
    n_frames: u64,
) -> PyResult<Field<'py>> {
    let dtype = spec.dtype.descr().to_owned();
    Ok(Field { object, dtype, shape: shape_of(spec, n_frames) })
}

/// The shape of some frames of a field, as NumPy has it.
pub fn shape_of(spec: &FieldSpec, n_frames: u64) -> Vec<usize> {
    spec.shape(n_frames).into_iter().map(|length| length as usize).collect()
}

/// The dtype of an array, as the core has it.
pub fn dtype_of(array: &Bound<'_, PyUntypedArray>) -> PyResult<DType> {
    let dtype = array.dtype();
    DType::new(array::description(&dtype)?, dtype.itemsize() as u64).map_err(to_python)
}

/// The dtype that a file names: one that NumPy has, without objects, of the size that it says.
/// `damaged` makes the error of a file that says otherwise.
pub fn stored_dtype<'py>(
    py: Python<'py>,
    stored: &DType,
    damaged: impl Fn(String) -> PyErr,
) -> PyResult<Bound<'py, PyArrayDescr>> {
    let dtype = array::dtype(py, stored.descr()).map_err(|error| {
        if is_refusal(py, &error) { damaged(error.value(py).to_string()) } else { error }
    })?;
    if dtype.itemsize() as u64 != stored.item_size() {
        let (found, said) = (dtype.itemsize(), stored.item_size());
        return Err(damaged(format!("{} has {found} bytes, not {said}", stored.descr())));
    }
    Ok(dtype)
}

/// The error of a file that names a dtype for `name` which can't be.
pub fn damaged_dtype(path: &Path, name: &str, reason: String) -> Error {
    Error::corrupt(path, format!("the type of {name:?}"), reason)
}

fn is_float(array: &Bound<'_, PyUntypedArray>) -> bool {
    let dtype = array.dtype();
    dtype.kind() == b'f' && matches!(dtype.itemsize(), 4 | 8)
}

/// A single frame as a block of one; a block as it is.
pub fn one_or_more<'py>(block: FieldData<'py>) -> PyResult<FieldData<'py>> {
    if block.array.ndim() == 2 { with_one_frame(block) } else { Ok(block) }
}

/// One item, as the field of a single frame.
pub fn with_one_frame(field: FieldData<'_>) -> PyResult<FieldData<'_>> {
    let mut shape = vec![1];
    shape.extend_from_slice(field.array.shape());
    let array = field.array.call_method1("reshape", (shape,))?.cast_into::<PyUntypedArray>()?;
    Ok(FieldData { name: field.name, array, held: field.held })
}

/// Whether a value is an array of NumPy's or a tensor, rather than what could be made one.
pub fn is_array(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyUntypedArray>() {
        return Ok(true);
    }
    hook(value.py(), "is_tensor")?.call1((value,))?.extract()
}

/// Whether a value is a quantity with a unit, or a list with one in it.
pub fn has_units(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyUntypedArray>() {
        return Ok(false);
    }
    hook(value.py(), "has_units")?.call1((value,))?.extract()
}

/// Replaces quantities with units by plain numbers in the units of their fields, and arrays of other
/// libraries by NumPy's, but for one that is read `in_blocks`.
pub fn without_units(data: &Bound<'_, PyDict>, in_blocks: Option<&str>) -> PyResult<()> {
    let strip = hook(data.py(), "without_units")?;
    for (name, value) in data.copy()?.iter() {
        let plain = strip.call1((&value, &name, name.eq(in_blocks)?))?;
        if !plain.is(&value) {
            data.set_item(name, plain)?;
        }
    }
    Ok(())
}

/// The length of the first axis of an array or tensor; None where there is none.
pub fn first_axis(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return Ok(array.shape().first().map(|&length| length as u64));
    }
    if !is_array(value)? {
        return Ok(None);
    }
    // As a tuple: what a subclass says of its length is not believed.
    let shape = value.py().get_type::<PyTuple>().call1((value.getattr("shape")?,))?;
    shape.cast::<PyTuple>()?.iter().next().map(|length| length.extract()).transpose()
}
