//! Checkpoints: a manifest's claims are checked against the files that it names.

use proteinflex_core::checkpoint::{
    CheckpointInfo, CheckpointStore, ComponentRecord, FileRecord, Load, Manifest,
};
use proteinflex_core::checksum;

use super::input::Input;
use super::place::{directory, place};

/// The bytes as a manifest, as they are and with the checksum that they need.
pub fn manifest(data: &[u8]) {
    for seal in [false, true] {
        let mut bytes = data.to_vec();
        if seal {
            bytes.extend(format!("\nxxh3-64 {:016x}\n", checksum(data)).into_bytes());
        }
        place("manifest/manifest.json", &bytes);
        let directory = directory().join("manifest");
        let found = CheckpointInfo::of(&directory, true).expect("it is there");
        let Ok(manifest) = found.manifest else { continue };
        manifest.size();
        drop(CheckpointStore::load(&directory, Load::ALL));
        drop(CheckpointStore::verify(&directory));
        place("manifest/manifest.json", &manifest.to_bytes().expect("it was read"));
        let again = CheckpointInfo::of(&directory, false).expect("it was written");
        let again = again.manifest.expect("it was written");
        assert_eq!(format!("{manifest:?}"), format!("{again:?}"));
    }
}

/// A checkpoint whose manifest is well formed and names any parts: where the metadata and a
/// component's tree are, then a file of arrays.
pub fn checkpoint(data: &[u8]) {
    let mut input = Input { rest: data };
    let mut range = || match input.byte() {
        255 => (input.word(), input.word()),
        start => (u64::from(start), u64::from(input.byte())),
    };
    let (metadata, tree) = (range(), range());
    let values = [7; 100];
    let files = [("values", &values[..]), ("a.safetensors", input.rest)];
    let mut manifest = Manifest::new("c", Vec::new());
    manifest.metadata = metadata;
    manifest.components.push(ComponentRecord {
        name: "a".into(),
        values: "values".into(),
        tree,
        file: Some(files[1].0.into()),
        arrays: vec!["0".into(), "x".into()],
    });
    for (name, bytes) in files {
        place(&format!("checkpoint/{name}"), bytes);
        manifest.files.push(FileRecord {
            name: name.into(),
            bytes: bytes.len() as u64,
            segment_bytes: bytes.len().max(1) as u64,
            checksums: bytes
                .chunks(bytes.len().max(1))
                .map(|segment| format!("{:016x}", checksum(segment)))
                .collect(),
            linked: false,
        });
    }
    place("checkpoint/manifest.json", &manifest.to_bytes().expect("it can be written"));
    let directory = directory().join("checkpoint");
    let found = CheckpointInfo::of(&directory, true).expect("it is there");
    assert_eq!(
        found.metadata.is_some(),
        metadata.0.checked_add(metadata.1).is_some_and(|end| end <= 100)
    );
    if let Ok((_, components)) = CheckpointStore::load(&directory, Load::ALL) {
        let component = &components[0];
        assert_eq!(component.tree.len() as u64, tree.1);
        let map = component.map.as_ref().expect("it has a file");
        assert!(component.arrays.iter().all(|range| map.bytes().get(range.clone()).is_some()));
    }
}
