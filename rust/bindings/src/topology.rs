//! Topologies as columns of NumPy arrays, and as the bytes that entries hold.

use std::sync::Arc;

use numpy::{PyArray1, PyReadonlyArray1};
use proteinflex_core::topology::{Columns, Texts, Topology};
use proteinflex_core::{Error, Result};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::argument;
use crate::error::to_python;

/// Check the columns of a topology, and return the bytes that say all of them.
///
/// Equal topologies have equal bytes. Each text column is a pair: the texts that occur, and which
/// of them each item is. Elements are atomic numbers, 119 for deuterium, 120 for tritium and 0 for
/// none; bond orders are multiplied by four. Bonds are pairs of atoms, one after the other.
///
/// Raises
/// ------
/// InvalidArgumentError
///     The columns do not fit each other.
#[catch_panics]
#[pyfunction]
pub fn encode_topology<'py>(
    py: Python<'py>,
    columns: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyBytes>> {
    let bonds = numbers::<u32>(columns, "bonds")?;
    let (bonds, []) = bonds.as_chunks::<2>() else {
        let found = format!("{} atoms", bonds.len());
        return Err(to_python(Error::argument("bonds", found, "two atoms of each bond")));
    };
    let columns = Columns {
        names: texts(columns, "names")?,
        elements: numbers(columns, "elements")?,
        residue_index: numbers(columns, "residue_index")?,
        residue_names: texts(columns, "residue_names")?,
        residue_numbers: numbers(columns, "residue_numbers")?,
        insertion_codes: texts(columns, "insertion_codes")?,
        segment_ids: texts(columns, "segment_ids")?,
        subchains: texts(columns, "subchains")?,
        chain_index: numbers(columns, "chain_index")?,
        chain_ids: texts(columns, "chain_ids")?,
        bonds: bonds.to_vec(),
        bond_orders: numbers(columns, "bond_orders")?,
    };
    let encode = || Topology::new(columns).map(|topology| topology.encode());
    Ok(PyBytes::new(py, &py.detach(encode).map_err(to_python)?))
}

/// Return the columns that `encode_topology` was given.
#[catch_panics]
#[pyfunction]
pub fn decode_topology<'py>(py: Python<'py>, topology: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let topology = py.detach(|| parse(topology)).map_err(to_python)?;
    let columns = topology.columns();
    let found = PyDict::new(py);
    let texts = [
        ("names", &columns.names),
        ("residue_names", &columns.residue_names),
        ("insertion_codes", &columns.insertion_codes),
        ("chain_ids", &columns.chain_ids),
        ("subchains", &columns.subchains),
        ("segment_ids", &columns.segment_ids),
    ];
    for (name, texts) in texts {
        found.set_item(name, (texts.distinct(), PyArray1::from_slice(py, texts.index())))?;
    }
    for (name, index) in
        [("residue_index", &columns.residue_index), ("chain_index", &columns.chain_index)]
    {
        found.set_item(name, PyArray1::from_slice(py, index))?;
    }
    for (name, bytes) in [("elements", &columns.elements), ("bond_orders", &columns.bond_orders)] {
        found.set_item(name, PyArray1::from_slice(py, bytes))?;
    }
    found.set_item("residue_numbers", PyArray1::from_slice(py, &columns.residue_numbers))?;
    found.set_item("bonds", PyArray1::from_slice(py, columns.bonds.as_flattened()))?;
    Ok(found)
}

/// Say what differs first between two topologies; None where they are equal.
#[catch_panics]
#[pyfunction]
pub fn topology_difference(py: Python<'_>, one: &[u8], other: &[u8]) -> PyResult<Option<String>> {
    py.detach(|| Ok(parse(one)?.difference(&parse(other)?))).map_err(to_python)
}

/// A topology that was passed as its bytes.
pub fn parsed(py: Python<'_>, bytes: &[u8]) -> PyResult<Arc<Topology>> {
    py.detach(|| parse(bytes).map(Arc::new)).map_err(to_python)
}

/// Takes seconds for millions of atoms.
fn parse(bytes: &[u8]) -> Result<Topology> {
    Topology::parse(bytes).map_err(|reason| {
        let found = format!("{} bytes", bytes.len());
        Error::argument("topology", found, format!("what encode_topology gave: {reason}"))
    })
}

fn column<'py>(columns: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    columns.get_item(name)?.ok_or_else(|| {
        let expected = format!("a column {name:?}");
        argument::wrong_value(columns.keys().as_any(), "columns", expected)
    })
}

fn numbers<T: numpy::Element + Copy>(columns: &Bound<'_, PyDict>, name: &str) -> PyResult<Vec<T>> {
    let array: PyReadonlyArray1<'_, T> = column(columns, name)?.extract()?;
    Ok(array.as_slice()?.to_vec())
}

fn texts(columns: &Bound<'_, PyDict>, name: &str) -> PyResult<Texts> {
    let (distinct, index): (Vec<String>, PyReadonlyArray1<'_, u32>) =
        column(columns, name)?.extract()?;
    Texts::of(&distinct, index.as_slice()?).ok_or_else(|| {
        let expected = format!("the numbers of {} texts", distinct.len());
        to_python(Error::argument(name, "an index beyond them", expected))
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode_topology, module)?)?;
    module.add_function(wrap_pyfunction!(decode_topology, module)?)?;
    module.add_function(wrap_pyfunction!(topology_difference, module)?)
}
