//! The cost of an update and of reading the progress, in the core.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::progress::{SharedProgress, TaskDefinition};

fn progress(tasks: usize) -> (tempfile::TempDir, SharedProgress) {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let progress = SharedProgress::open(&storage, directory.path()).unwrap();
    for task in 0..tasks {
        let id = format!("task-{task}");
        progress
            .start(TaskDefinition { id: &id, name: &id, total: Some(100), parent: None })
            .unwrap();
    }
    (directory, progress)
}

fn updates(criterion: &mut Criterion) {
    let (_directory, progress) = progress(1000);
    let slot = progress.find("task-500").unwrap();
    criterion.bench_function("add to a slot", |bencher| {
        bencher.iter(|| progress.add(black_box(slot), 1).unwrap());
    });
    criterion.bench_function("find a task and add", |bencher| {
        bencher.iter(|| progress.add(progress.find(black_box("task-500")).unwrap(), 1).unwrap());
    });
    criterion.bench_function("set a message", |bencher| {
        bencher.iter(|| progress.set_message(slot, black_box("Processing MSA")).unwrap());
    });
    criterion.bench_function("progress of 1,000 tasks", |bencher| {
        bencher.iter(|| progress.progress().unwrap());
    });
    criterion.bench_function("snapshot 1,000 tasks, durable", |bencher| {
        bencher.iter(|| progress.snapshot().unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = updates
}
criterion_main!(benches);
