//! How fast blocks of frames are encoded and decoded, per way of coding.
//!
//! The data are atoms on a random walk, which only packing can make smaller, and rigid water, which
//! is coded by its shape; as full-precision floats and as a reader of XTC files makes them. One
//! block of 64 frames × 4096 atoms, one thread. Sizes are printed first.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proteinflex_core::ScalarType;
use proteinflex_core::codec::{self, Block, EncodeOptions};

const FRAMES: usize = 64;
const ATOMS: usize = 4096;

type Vector = [f64; 3];

/// Numbers between −½ and ½.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    }
}

fn walk(float: impl Fn(f64) -> f32) -> Vec<u8> {
    let mut random = Random(1);
    let mut place: Vec<f64> = (0..ATOMS * 3).map(|i| (i % 911) as f64 * 0.09).collect();
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        for value in &mut place {
            *value += random.next() * 0.5;
            bytes.extend(float(*value).to_le_bytes());
        }
    }
    bytes
}

/// Water that moves and turns, with the lengths and the angle of TIP3P, in Å.
fn water(float: impl Fn(f64) -> f32) -> Vec<u8> {
    let mut random = Random(2);
    let molecule =
        |random: &mut Random| [40.0, 1.0, 1.0].map(|size| [(); 3].map(|()| size * random.next()));
    let mut molecules: Vec<[Vector; 3]> = (0..ATOMS / 3).map(|_| molecule(&mut random)).collect();
    let (sin, cos) = 104.52_f64.to_radians().sin_cos();
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        let mut put = |at: Vector| at.iter().for_each(|&x| bytes.extend(float(x).to_le_bytes()));
        for [oxygen, one, other] in &mut molecules {
            for vector in [&mut *oxygen, &mut *one, &mut *other] {
                vector.iter_mut().for_each(|x| *x += 0.4 * random.next());
            }
            let along = unit(*one);
            let dot: f64 = (0..3).map(|i| other[i] * along[i]).sum();
            let beside = unit([0, 1, 2].map(|i| other[i] - dot * along[i]));
            put(*oxygen);
            put([0, 1, 2].map(|i| oxygen[i] + 0.9572 * along[i]));
            put([0, 1, 2].map(|i| oxygen[i] + 0.9572 * (cos * along[i] + sin * beside[i])));
        }
        (0..ATOMS % 3).for_each(|_| put([0.0; 3]));
    }
    bytes
}

fn unit(vector: Vector) -> Vector {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
    vector.map(|x| x / length)
}

fn benchmark(criterion: &mut Criterion) {
    let full = walk(|x| x as f32);
    let reader = |x: f64| ((x * 100.0).round() as f32 * (1.0 / 1000.0f32)) * 10.0;
    let xtc = walk(reader);
    let (water_full, water_xtc) = (water(|x| x as f32), water(reader));
    let block = Block {
        frames: FRAMES,
        rows: ATOMS,
        row_bytes: 12,
        item_bytes: 4,
        scalar: Some(ScalarType::F32),
    };
    let cases = [
        ("lossless", &full, None, false),
        ("xtc-grid", &xtc, None, false),
        ("rounded-0.001", &full, Some(0.001), false),
        ("water-lossless", &water_full, None, false),
        ("water-xtc-grid", &water_xtc, None, false),
        ("water-lossless-archive", &water_full, None, true),
        ("water-xtc-grid-archive", &water_xtc, None, true),
    ];
    for (name, bytes, precision, archive) in cases {
        let options = EncodeOptions { precision, archive };
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
