//! How fast blocks of frames are encoded and decoded, per way of coding.
//!
//! The data are atoms on a random walk, as full-precision floats and as a reader of XTC files makes
//! them; one block of 64 frames × 4096 atoms, one thread. Sizes are printed first.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proteinflex_core::codec::{self, Block, Element, Options};

const FRAMES: usize = 64;
const ATOMS: usize = 4096;

fn walk(float: impl Fn(f64) -> f32) -> Vec<u8> {
    let mut random = 1u64;
    let mut place: Vec<f64> = (0..ATOMS * 3).map(|i| (i % 911) as f64 * 0.09).collect();
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        for value in &mut place {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *value += ((random >> 40) as f64 / (1u64 << 24) as f64 - 0.5) * 0.5;
            bytes.extend(float(*value).to_le_bytes());
        }
    }
    bytes
}

fn benchmark(criterion: &mut Criterion) {
    let full = walk(|x| x as f32);
    let xtc = walk(|x| ((x * 100.0).round() as f32 * (1.0 / 1000.0f32)) * 10.0);
    let block = Block {
        frames: FRAMES,
        rows: ATOMS,
        row_bytes: 12,
        item_bytes: 4,
        element: Some(Element::F32),
    };
    let cases = [
        ("lossless", &full, None),
        ("xtc-grid", &xtc, None),
        ("rounded-0.001", &full, Some(0.001)),
    ];
    for (name, bytes, precision) in cases {
        let options = Options { precision, small: false };
        let Some((codec, payload)) = codec::encode(bytes, &block, &options) else {
            eprintln!("{name}: stored raw");
            continue;
        };
        let percent = 100.0 * payload.len() as f64 / bytes.len() as f64;
        eprintln!("{name}: {percent:.1} % of raw, codec {codec}");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
        group.bench_function("encode", |bencher| {
            bencher.iter(|| codec::encode(bytes, &block, &options));
        });
        let mut out = vec![0; bytes.len()];
        group.bench_function("decode", |bencher| {
            bencher.iter(|| codec::decode(codec, &payload, &block, &mut out));
        });
        group.finish();
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
