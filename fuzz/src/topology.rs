//! Topologies: refused, or the only bytes of what they say.

use proteinflex_core::topology::Topology;

/// The bytes as a topology.
pub fn topology(data: &[u8]) {
    let Ok(topology) = Topology::parse(data) else { return };
    assert_eq!(topology.encode(), data);
    assert_eq!(topology.difference(&topology), None);
    // Each atom takes a byte in each of its columns.
    assert!(topology.n_atoms() <= data.len());
}
