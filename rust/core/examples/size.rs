//! size FILE.npy ROUNDS PRECISION  (A=1: archive, F=frames to use, C=frames per chunk)
use proteinflex_core::ScalarType;
use proteinflex_core::codec::{self, Block, EncodeOptions};
fn cpu() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}
fn env(n: &str) -> Option<String> {
    std::env::var(n).ok()
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let bytes = std::fs::read(&args[1]).unwrap();
    let hl = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let head = String::from_utf8_lossy(&bytes[10..10 + hl]).to_string();
    let s = head.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let dims: Vec<usize> = s.split(',').filter_map(|x| x.trim().parse().ok()).collect();
    let double = head.contains("<f8");
    let item = if double { 8 } else { 4 };
    let data = &bytes[10 + hl..];
    let rounds: usize = args[2].parse().unwrap();
    let step: f64 = args[3].parse().unwrap();
    let archive = env("A").is_some_and(|a| a == "1");
    let n = env("F").map_or(dims[0], |f| f.parse::<usize>().unwrap().min(dims[0]));
    let frame = dims[1] * 3 * item;
    let most = if archive { 256 } else { 64 };
    let f4 = dims[1] * 12;
    let auto = if f4 * most < 262144 {
        (262144 / f4).clamp(most, 1024)
    } else {
        ((64usize << 20) / f4).clamp(1, most)
    };
    let chunk = env("C").map_or(auto, |c| c.parse().unwrap());
    let only = env("ONLY").unwrap_or_default();
    let options = EncodeOptions { precision: (step > 0.0).then_some(step), archive };
    let (mut te, mut td) = (vec![], vec![]);
    let (mut opens, mut firsts) = (0.0, 0.0);
    let mut size = 0;
    let mut codecs = vec![];
    for round in 0..rounds {
        size = 0;
        let (mut e, mut d) = (0.0, 0.0);
        for start in (0..n).step_by(chunk) {
            let end = n.min(start + chunk);
            let nf = end - start;
            let rows_most = (4096 * 64 / nf).clamp(4096, 16384);
            let blocks = dims[1].div_ceil(rows_most).max(1);
            for b in 0..blocks {
                let (r0, r1) = (dims[1] * b / blocks, dims[1] * (b + 1) / blocks);
                let mut part = Vec::with_capacity(nf * (r1 - r0) * 3 * item);
                for f in start..end {
                    part.extend_from_slice(
                        &data[f * frame + r0 * 3 * item..f * frame + r1 * 3 * item],
                    );
                }
                let block = Block {
                    frames: nf,
                    rows: r1 - r0,
                    row_bytes: 3 * item,
                    item_bytes: item,
                    scalar: Some(if double { ScalarType::F64 } else { ScalarType::F32 }),
                };
                let t = cpu();
                let encoded = codec::encode(&part, &block, &options);
                e += cpu() - t;
                let Some((codec, payload)) = encoded else {
                    size += part.len();
                    codecs.push(0);
                    continue;
                };
                if round == 0 {
                    codecs.push(codec);
                }
                size += payload.len();
                if only != "e" {
                    let mut out = vec![0; block.bytes()];
                    let reps: usize = env("REPS").map_or(1, |r| r.parse().unwrap());
                    for _ in 1..reps {
                        codec::decode(codec, &payload, &block, &mut out).unwrap();
                    }
                    if env("FR").is_some() {
                        let frame_bytes = (r1 - r0) * 3 * item;
                        let layout = codec::OutputLayout { start: 0, frame_bytes };
                        let t = cpu();
                        let opened =
                            codec::RandomAccessBlock::open(codec, &payload, 0, &block).unwrap();
                        opens += cpu() - t;
                        if let Some(opened) = opened {
                            let t = cpu();
                            opened.read(0, &payload, &[0], None, &mut out, layout).unwrap();
                            firsts += cpu() - t;
                            let t = cpu();
                            for frame in (0..nf)
                                .cycle()
                                .take(nf * env("REPS").map_or(1, |r| r.parse().unwrap()))
                            {
                                opened.read(0, &payload, &[frame], None, &mut out, layout).unwrap();
                            }
                            d += cpu() - t;
                        }
                        continue;
                    }
                    let t = cpu();
                    codec::decode(codec, &payload, &block, &mut out).unwrap();
                    d += cpu() - t;
                }
            }
        }
        te.push(e);
        td.push(d);
    }
    te.sort_by(f64::total_cmp);
    td.sort_by(f64::total_cmp);
    let per = (n * dims[1]) as f64;
    if env("FR").is_some() {
        let blocks = codecs.len() as f64;
        println!(
            "open {:.1} us, first frame {:.1} us",
            opens / rounds as f64 / blocks * 1e6,
            firsts / rounds as f64 / blocks * 1e6
        );
    }
    println!(
        "{:24} {:?} {:7.3} bits/atom  enc {:6.1} dec {:6.1} ns/atom  codecs {:?}",
        args[1].rsplit('/').next().unwrap(),
        (n, dims[1]),
        size as f64 * 8.0 / per,
        te[te.len() / 2] * 1e9 / per,
        td[td.len() / 2] * 1e9 / per,
        &codecs[..codecs.len().min(3)]
    );
}
