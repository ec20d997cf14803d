//! What durability costs: publishing a file, and the checksum that every byte passes through.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proteinflex_core::checksum;
use proteinflex_core::fs::{Disk, Storage, publish_bytes};

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for size in [4 << 10, 1 << 20, 64 << 20] {
        let bytes = vec![7u8; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{} KiB", size >> 10), |b| {
            b.iter(|| checksum(black_box(&bytes)));
        });
    }
    group.finish();
}

fn publishing(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let target = directory.path().join("file");
    let mut group = c.benchmark_group("publish");
    group.sample_size(20);
    for size in [4 << 10, 1 << 20] {
        let bytes = vec![7u8; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{} KiB, durable", size >> 10), |b| {
            b.iter(|| publish_bytes(&storage, &target, &bytes).expect("published"));
        });
    }
    group.finish();
}

criterion_group!(benches, checksums, publishing);
criterion_main!(benches);
