//! What a checkpoint costs: durable and checksummed writing, verified reading, and trees of values.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proteinflex_core::checkpoint::{Array, ArrayType, CheckpointStore, Component, Load};
use proteinflex_core::fs::Disk;
use proteinflex_core::tree::{TreeReader, TreeWriter};

/// Small values in one list: an integer, a float and a short text, in turn.
fn tree(values: usize) -> Vec<u8> {
    let mut tree = TreeWriter::new();
    tree.list(u32::try_from(values).expect("few values"));
    for index in 0..values {
        match index % 3 {
            0 => tree.integer(index as i64),
            1 => tree.float(index as f64),
            _ => tree.text("a short text"),
        }
    }
    tree.finish()
}

fn component<'a>(tree: &'a [u8], arrays: &'a [Vec<u8>]) -> Component<'a> {
    let arrays = arrays.iter().enumerate().map(|(index, bytes)| Array {
        name: format!("layer{index}.weight"),
        array_type: ArrayType::of("<f4", 4),
        shape: vec![bytes.len() / 4],
        bytes,
    });
    Component { name: "model".to_owned(), tree, arrays: arrays.collect() }
}

fn saving_and_loading(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store =
        CheckpointStore::open(Arc::new(Disk), directory.path(), Some(1)).expect("a directory");
    let nothing = tree(0);
    let mut group = c.benchmark_group("checkpoint");
    group.sample_size(10);
    for (name, arrays) in
        [("tiny", vec![vec![1u8; 64]]), ("128 MiB in 16 arrays", vec![vec![1u8; 8 << 20]; 16])]
    {
        let size: usize = arrays.iter().map(Vec::len).sum();
        group.throughput(Throughput::Bytes(size as u64));
        let component = [component(&nothing, &arrays)];
        group.bench_function(format!("save, durable: {name}"), |b| {
            b.iter(|| store.create("bench", &component, &nothing).expect("saved"));
        });
        let path = directory.path().join("bench");
        for verify in [true, false] {
            group.bench_function(format!("load, verify={verify}: {name}"), |b| {
                b.iter(|| load(&path, verify));
            });
        }
    }
    group.finish();
}

fn load(path: &Path, verify: bool) -> usize {
    let load = Load { components: None, verify, views: true };
    let (_, components) = CheckpointStore::load(path, load).expect("loaded");
    black_box(components).len()
}

fn trees(c: &mut Criterion) {
    const VALUES: usize = 80_000;
    let mut group = c.benchmark_group("tree");
    group.throughput(Throughput::Elements(VALUES as u64));
    group.bench_function("encode 80,000 small values", |b| b.iter(|| tree(black_box(VALUES))));
    let bytes = tree(VALUES);
    group.bench_function("decode 80,000 small values", |b| {
        b.iter(|| {
            let mut reader =
                TreeReader::new(black_box(&bytes), Path::new("bench")).expect("a tree");
            for _ in 0..=VALUES {
                black_box(reader.next_token().expect("a value"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, saving_and_loading, trees);
criterion_main!(benches);
