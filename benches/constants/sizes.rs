//! What trajectories take as whole entries, and the processor time of writing and reading them by
//! one thread: a line for each file and encoding. `trials.py` builds this with other constants.
//!
//! Each file is 32-bit floats, frame after frame: `cargo bench --bench sizes -- FILE:ATOMS …`

#![expect(clippy::expect_used, reason = "a benchmark that fails ends")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{
    DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames, Precision,
    Profile,
};
use rustix::time::{ClockId, clock_gettime};

/// Grid units of what is stored, in the unit of the file.
const PRECISION: f64 = 0.01;

fn main() {
    let files = std::env::args().skip(1).filter_map(|argument| {
        let (path, atoms) = argument.rsplit_once(':')?;
        Some((path.to_owned(), atoms.parse().ok()?))
    });
    for (path, atoms) in files {
        let coordinates = std::fs::read(&path).expect("a file of floats");
        let rounded = Precision::of_frames(PRECISION);
        for (name, precision, profile) in [
            ("default", rounded, Profile::Default),
            ("archive", rounded, Profile::Archive),
            ("exact", Precision::EXACT, Profile::Default),
        ] {
            let encoding = Encoding { compress: true, precision, profile };
            let [bytes, written, read] = measure(&coordinates, atoms, encoding);
            println!("{path} {name} {bytes} {written} {read}");
        }
    }
}

/// Bytes, and nanoseconds of writing and of reading.
fn measure(coordinates: &[u8], atoms: u64, encoding: Encoding) -> [u128; 3] {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("entry");
    let n_frames = coordinates.len() as u64 / (12 * atoms);
    let started = used();
    write(&path, coordinates, (n_frames, atoms), encoding);
    let written = used() - started;
    let mut out = vec![0; coordinates.len()];
    let started = used();
    let entry = Entry::open(&path).expect("an entry");
    entry.read_frames(0, Frames::range(0, n_frames), None, &mut out).expect("frames");
    let read = used() - started;
    let bytes = path.metadata().expect("an entry").len();
    [u128::from(bytes), written.as_nanos(), read.as_nanos()]
}

fn write(path: &Path, coordinates: &[u8], (n_frames, atoms): (u64, u64), encoding: Encoding) {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let header = EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: String::new(),
        created: 0.0,
        metadata: Vec::new(),
    };
    let file = storage.create_new(path).expect("a new file");
    let mut writer = EntryWriter::create(file, path, &header, encoding).expect("a writer");
    let dtype = DType::new("<f4", 4).expect("a dtype");
    let field = FieldSpec { name: "frames".to_owned(), dtype, item_shape: vec![atoms, 3] };
    writer.declare_fields(vec![field], &[true]).expect("a field");
    writer.append(n_frames, &[coordinates]).expect("frames");
    writer.finish(&[]).expect("an entry");
}

/// Processor time of this process.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
