//! What an update costs in the core, and what it costs to show a board.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::progress::{SharedProgress, TaskDefinition};

fn board(tasks: usize) -> (tempfile::TempDir, SharedProgress) {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let board = SharedProgress::open(&storage, directory.path()).unwrap();
    for task in 0..tasks {
        let id = format!("task-{task}");
        board.start(TaskDefinition { id: &id, name: &id, total: Some(100), parent: None }).unwrap();
    }
    (directory, board)
}

fn updates(criterion: &mut Criterion) {
    let (_directory, board) = board(1000);
    let slot = board.find("task-500").unwrap();
    criterion.bench_function("add to a slot", |bencher| {
        bencher.iter(|| board.add(black_box(slot), 1).unwrap());
    });
    criterion.bench_function("find a task and add", |bencher| {
        bencher.iter(|| board.add(board.find(black_box("task-500")).unwrap(), 1).unwrap());
    });
    criterion.bench_function("say something", |bencher| {
        bencher.iter(|| board.set_message(slot, black_box("Processing MSA")).unwrap());
    });
    criterion.bench_function("show 1,000 tasks", |bencher| {
        bencher.iter(|| board.progress().unwrap());
    });
    criterion.bench_function("snapshot 1,000 tasks, durable", |bencher| {
        bencher.iter(|| board.snapshot().unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = updates
}
criterion_main!(benches);
