//! From `frames` in Python to the cache: structures and trajectories as the core takes them.

use std::sync::Arc;

use numpy::PyUntypedArrayMethods;
use proteinflex_core::cache::{Cache, KeptEntry, Key, PendingEntry};
use proteinflex_core::topology::Topology;
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind, FieldSpec, with_first};
use proteinflex_core::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyString};

use crate::argument;
use crate::error::to_python;
use crate::fields::{
    FRAMES, FieldData, dtype_of, first_axis, has_units, in_tree, is_array, is_per_frame, lossy,
    one_or_more, shape_of, without_units,
};
use crate::interrupt::{LONG, interruptible, interruptible_if};
use crate::value::{Flattened, Item, LeafData, Policy, flatten, flatten_items};

/// What an entry is stored by, beside what is in it.
pub struct Header {
    pub data_id: String,
    pub metadata: Vec<u8>,
    pub encoding: Encoding,
    /// The atoms, residues, chains and bonds of a trajectory.
    pub topology: Option<Arc<Topology>>,
    /// Whether it waits for the disk.
    pub is_durable: bool,
}

impl Header {
    /// Whether storing arrays of these bytes may take long.
    fn takes_long(&self, arrays: impl Iterator<Item = usize>) -> bool {
        self.is_durable || arrays.map(|bytes| bytes as u64).sum::<u64>() >= LONG
    }
}

/// How an entry is stored: how its file is begun, and what ends it.
pub struct StoreMode<T> {
    begin: Begin,
    publish: fn(PendingEntry<'_>, &[u8]) -> Result<T>,
}

/// How the file of an entry is begun.
type Begin = for<'a> fn(
    &'a Cache,
    EntryKind,
    &str,
    Vec<u8>,
    Encoding,
    Option<&Topology>,
) -> Result<PendingEntry<'a>>;

/// It is stored, or this is an error.
pub const STORED: StoreMode<Key> =
    StoreMode { begin: Cache::begin, publish: |entry, tree| entry.publish(tree) };

/// It is stored if it can be, and open in any case.
pub const KEPT: StoreMode<KeptEntry> =
    StoreMode { begin: Cache::begin_kept, publish: |entry, tree| entry.publish_and_open(tree) };

/// The coordinates of a trajectory.
enum Coordinates<'py> {
    /// All of them, still to be stored.
    Whole(FieldData<'py>),
    /// Stored already, before all other fields.
    Stored(FieldSpec),
}

/// The fields of a trajectory that were found in a dict and are to be stored, and its items as they
/// go into the tree.
struct Sorted<'py> {
    fields: Vec<FieldData<'py>>,
    /// How many fields come before the coordinates.
    before: u64,
    items: Vec<(Bound<'py, PyAny>, Item<'py>)>,
}

/// Stores a structure. The dict is the caller's own copy.
pub fn structure<T: Send>(
    cache: &Cache,
    header: Header,
    data: &Bound<'_, PyDict>,
    mode: &StoreMode<T>,
) -> PyResult<T> {
    let py = data.py();
    without_units(data, None)?;
    let flattened = flatten(data.as_any(), "structure_data", Policy::Cache)?;
    let arrays = arrays_of(&flattened)?;
    let is_long = header.takes_long(arrays.iter().map(|(_, bytes)| bytes.len()));
    interruptible_if(py, is_long, || {
        let pending = mode.begin(cache, EntryKind::Structure, &header)?;
        mode.publish(pending, &arrays, &flattened.tree)
    })
}

/// Stores a trajectory, likewise: one in memory at once, one that is iterated over block by block.
pub fn trajectory<T: Send>(
    cache: &Cache,
    header: Header,
    data: &Bound<'_, PyDict>,
    mode: &StoreMode<T>,
) -> PyResult<T> {
    without_units(data, Some(FRAMES))?;
    let Some(frames) = data.get_item(FRAMES)? else {
        return Err(argument::wrong_value(
            data.keys().as_any(),
            "trajectory_data",
            "a dict with the key 'frames'",
        ));
    };
    if is_array(&frames)? {
        in_memory(cache, header, data, &frames, mode)
    } else {
        streamed(cache, header, data, &frames, mode)
    }
}

fn in_memory<T: Send>(
    cache: &Cache,
    header: Header,
    data: &Bound<'_, PyDict>,
    frames: &Bound<'_, PyAny>,
    mode: &StoreMode<T>,
) -> PyResult<T> {
    let py = data.py();
    let coordinates = FieldData::new(FRAMES, frames)?;
    coordinates.check_frames(&place(FRAMES))?;
    let (n_frames, shape) = (coordinates.n_frames(), coordinates.array.shape().to_vec());
    let sorted = sort(data, Coordinates::Whole(coordinates), &shape)?;
    let flattened = flatten_items(py, &sorted.items, "trajectory_data")?;
    let specs = sorted.fields.iter().map(FieldData::spec).collect::<PyResult<Vec<_>>>()?;
    let bytes = sorted.fields.iter().map(FieldData::bytes).collect::<PyResult<Vec<_>>>()?;
    let arrays = arrays_of(&flattened)?;
    let lossy = lossy(&specs, header.encoding).map_err(to_python)?;
    let all = arrays.iter().map(|(_, bytes)| bytes.len());
    let is_long = header.takes_long(all.chain(bytes.iter().map(|bytes| bytes.len())));
    interruptible_if(py, is_long, || {
        let mut pending = mode.begin(cache, EntryKind::Trajectory, &header)?;
        pending.writer().declare_fields(specs, &lossy)?;
        pending.append(n_frames, &bytes)?;
        mode.publish(pending, &arrays, &flattened.tree)
    })
}

/// Tells per-frame data from all else, in the order of the dict, beside frames of this shape.
fn sort<'py>(
    data: &Bound<'py, PyDict>,
    coordinates: Coordinates<'py>,
    shape: &[usize],
) -> PyResult<Sorted<'py>> {
    let n_frames = shape[0] as u64;
    let mut coordinates = Some(coordinates);
    let mut sorted = Sorted { fields: Vec::new(), before: 0, items: Vec::new() };
    for (key, value) in data.iter() {
        let beside = match key.cast::<PyString>() {
            Ok(name) if name == FRAMES => {
                sorted.before = sorted.fields.len() as u64;
                match coordinates.take() {
                    Some(Coordinates::Whole(coordinates)) => Beside::Frame(coordinates),
                    Some(Coordinates::Stored(spec)) => {
                        let item = Item::Field(in_tree(&spec, value, n_frames)?);
                        sorted.items.push((key, item));
                        continue;
                    }
                    None => continue,
                }
            }
            Ok(name) => beside(name.to_str()?, value.clone(), shape)?,
            Err(_) => Beside::Value(value.clone()),
        };
        let item = match beside {
            Beside::Frame(field) => {
                let item = Item::Field(field.in_tree(value, n_frames)?);
                sorted.fields.push(field);
                item
            }
            Beside::Value(value) => Item::Value(value),
        };
        sorted.items.push((key, item));
    }
    Ok(sorted)
}

/// What a value beside frames is.
enum Beside<'py> {
    /// One item per frame.
    Frame(FieldData<'py>),
    /// Anything else.
    Value(Bound<'py, PyAny>),
}

/// Tells what a value is beside frames of this shape: an array of as many items is per-frame data.
/// What can be nothing else by its name has to fit, and may be a list.
fn beside<'py>(name: &str, value: Bound<'py, PyAny>, frames: &[usize]) -> PyResult<Beside<'py>> {
    let is_known = is_per_frame(name) && !value.is_none();
    if !is_known && first_axis(&value)? != frames.first().map(|&length| length as u64) {
        return Ok(Beside::Value(value));
    }
    let field = FieldData::new(name, &value)?;
    if is_known {
        field.check_beside(&place(name), frames)?;
    }
    Ok(match field.is_one_box(frames[0])? {
        true => Beside::Value(field.array.into_any()),
        false => Beside::Frame(field),
    })
}

fn streamed<T: Send>(
    cache: &Cache,
    header: Header,
    data: &Bound<'_, PyDict>,
    frames: &Bound<'_, PyAny>,
    mode: &StoreMode<T>,
) -> PyResult<T> {
    let py = data.py();
    let (mut pending, spec, n_frames) = append_all(cache, &header, frames, mode)?;
    let shape = shape_of(&spec, n_frames);
    // How many frames there are is known only now, and so what has one item for each.
    let Sorted { fields, before, items } = sort(data, Coordinates::Stored(spec), &shape)?;
    let mut flattened = flatten_items(py, &items, "trajectory_data")?;
    if before > 0 {
        let tree = with_first(&flattened.tree, before, cache.directory());
        flattened.tree = tree.map_err(to_python)?;
    }
    let specs = fields.iter().map(FieldData::spec).collect::<PyResult<Vec<_>>>()?;
    let bytes = fields.iter().map(FieldData::bytes).collect::<PyResult<Vec<_>>>()?;
    let arrays = arrays_of(&flattened)?;
    let lossy = lossy(&specs, header.encoding).map_err(to_python)?;
    interruptible(py, || {
        for ((spec, lossy), bytes) in specs.into_iter().zip(lossy).zip(bytes) {
            pending.add_field(spec, lossy, bytes)?;
        }
        mode.publish(pending, &arrays, &flattened.tree)
    })
}

/// Writes the frames of an iterable: single ones, or blocks of them.
fn append_all<'a, T>(
    cache: &'a Cache,
    header: &Header,
    frames: &Bound<'_, PyAny>,
    mode: &StoreMode<T>,
) -> PyResult<(PendingEntry<'a>, FieldSpec, u64)> {
    let py = frames.py();
    let name = place(FRAMES);
    let expected = "an array of shape (n_frames, n_atoms, 3), or an iterable of frames";
    let blocks = PyIterator::from_object(frames)
        .map_err(|error| argument::refused(error, frames, &name, expected))?;
    let mut begun: Option<(PendingEntry<'a>, FieldSpec, u64)> = None;
    let mut have_units = None;
    for block in blocks {
        let block = block?;
        let has_units = has_units(&block)?;
        if *have_units.get_or_insert(has_units) != has_units {
            let found = "frames with and without units";
            return Err(to_python(Error::argument(name, found, "one or the other")));
        }
        let block = one_or_more(FieldData::new(FRAMES, &block)?)?;
        block.check_frames(&name)?;
        let found = block.spec()?;
        if let Some((_, spec, _)) = &begun
            && *spec != found
        {
            let (shape, dtype) = (found.item_shape, found.dtype.descr());
            let found = format!("a frame of shape {shape:?} and dtype {dtype}");
            return Err(to_python(Error::argument(name, found, "frames of one shape and dtype")));
        }
        let (count, bytes) = (block.n_frames(), block.bytes()?);
        begun = Some(interruptible(py, || -> Result<_> {
            let (mut pending, spec, n_frames) = match begun.take() {
                Some(begun) => begun,
                None => {
                    let lossy = lossy(std::slice::from_ref(&found), header.encoding)?;
                    let mut pending = mode.begin(cache, EntryKind::Trajectory, header)?;
                    pending.writer().declare_fields(vec![found.clone()], &lossy)?;
                    (pending, found, 0)
                }
            };
            pending.append(count, &[bytes])?;
            Ok((pending, spec, n_frames + count))
        })?);
        py.check_signals()?;
    }
    begun.ok_or_else(|| to_python(Error::argument(name, "an empty iterable", "at least one frame")))
}

impl<T> StoreMode<T> {
    fn begin<'a>(
        &self,
        cache: &'a Cache,
        kind: EntryKind,
        header: &Header,
    ) -> Result<PendingEntry<'a>> {
        let (metadata, topology) = (header.metadata.clone(), header.topology.as_deref());
        (self.begin)(cache, kind, &header.data_id, metadata, header.encoding, topology)
    }

    fn publish(
        &self,
        mut pending: PendingEntry<'_>,
        arrays: &[(ArraySpec, &[u8])],
        tree: &[u8],
    ) -> Result<T> {
        for (spec, bytes) in arrays {
            pending.writer().write_array(spec, bytes)?;
        }
        (self.publish)(pending, tree)
    }
}

fn place(field: &str) -> String {
    format!("trajectory_data['{field}']")
}

/// What is stored beside the tree, as the core takes it.
fn arrays_of<'a>(flattened: &'a Flattened<'_>) -> PyResult<Vec<(ArraySpec, &'a [u8])>> {
    let mut arrays = Vec::with_capacity(flattened.leaves.len());
    for leaf in &flattened.leaves {
        let bytes = leaf.bytes()?;
        let (dtype, shape, fortran) = match &leaf.data {
            LeafData::Array { array, fortran, .. } => {
                let mut shape: Vec<u64> =
                    array.shape().iter().map(|&length| length as u64).collect();
                if *fortran {
                    shape.reverse();
                }
                (dtype_of(array)?, shape, *fortran)
            }
            LeafData::Text(_) | LeafData::Bytes(_) => {
                let dtype = DType::new("|u1", 1).map_err(to_python)?;
                (dtype, vec![bytes.len() as u64], false)
            }
        };
        let name = leaf.keys.join("/").chars().take(200).collect();
        arrays.push((ArraySpec { name, dtype, shape, fortran }, bytes));
    }
    Ok(arrays)
}
