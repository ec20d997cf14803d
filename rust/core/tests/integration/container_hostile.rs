//! Files that lie, with every checksum right: what they say is checked against what is there before
//! anything is used or allocated, and the error names it.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

#[path = "container_hostile/forge.rs"]
mod forge;

use std::path::Path;

use forge::{COMMIT, Chunk, Commit, DATA, Forge, Header, TOPOLOGY, array, description, field};
use proteinflex_core::trajectory::{Entry, Frames, MAX_METADATA};
use proteinflex_core::tree::TreeReader;
use proteinflex_core::{Error, Result};

/// The most memory that a small file may take with any headers: a few times what one chunk
/// may claim, and enough for the other tests of this process, which may run at the same
/// time.
const MOST_MEMORY: u64 = 192 << 20;

/// Opens a file and reads all of it.
fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (_directory, path) = place(bytes);
    all(&Entry::open(&path)?)
}

fn recover(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (_directory, path) = place(bytes);
    all(&Entry::open_unfinished(&path)?)
}

#[expect(clippy::disallowed_methods, reason = "this makes the hostile file")]
fn place(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

fn all(entry: &Entry) -> Result<Vec<Vec<u8>>> {
    let mut data = Vec::new();
    for (number, spec) in entry.arrays().iter().enumerate() {
        let mut out = vec![0; spec.bytes()? as usize];
        entry.read_array(number as u32, &mut out)?;
        data.push(out);
    }
    for (number, spec) in entry.fields().iter().enumerate() {
        let mut out = vec![0; (spec.item_bytes()? * entry.n_frames()) as usize];
        entry.read_frames(number, Frames::range(0, entry.n_frames()), None, &mut out)?;
        data.push(out);
    }
    Ok(data)
}

/// The file is refused as damaged, for this reason, and nothing large was allocated on the way.
fn assert_refused(bytes: &[u8], reason: &str) {
    let before = peak_memory();
    let error = read(bytes).unwrap_err();
    assert_says(&error, reason);
    assert!(peak_memory() - before < MOST_MEMORY, "{} bytes", peak_memory() - before);
}

fn assert_says(error: &Error, reason: &str) {
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
}

/// The most memory that this process ever had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kilobytes.unwrap_or(0) * 1024u64
}

/// Four floats in the first array.
fn four_floats(forge: &mut Forge) -> Chunk {
    forge.data(&Header::array(4), &[7; 16])
}

fn index(schema: String, n_frames: u64, chunks: Vec<Chunk>) -> Commit {
    Commit { n_frames, schema, chunks, ..Commit::default() }
}

/// A file with one array that is said to be coded so.
fn coded(codec: u8, payload: &[u8], claimed: u64, elements: u64) -> Vec<u8> {
    let mut forge = Forge::new();
    let header = Header { codec, raw_bytes: Some(claimed), ..Header::array(elements) };
    let chunk = forge.data(&header, payload);
    forge.finish(&index(array("|u1", 1, &format!("[{elements}]")), 0, vec![chunk]))
}

/// A file of two frames of `rows` atoms that says that it has a topology, and then this record.
fn with_topology(kind: u8, codec: u8, payload: &[u8], claimed: u64) -> Vec<u8> {
    let atoms = payload[0];
    let counts =
        format!("{{\"topology\":{{\"atoms\":{atoms},\"residues\":1,\"chains\":1}},\"kind\"");
    let description = description("x").replace("{\"kind\"", &counts);
    let mut forge = Forge::with_head(1, 0, &description, b"");
    let raw_bytes = Some(claimed);
    forge.record(&Header { kind, codec, raw_bytes, ..Header::default() }, payload);
    let chunk = forge.data(&Header::frames(0, 2, 3), &[7; 72]);
    let schema = field("<f4", 4, "[3, 3]").replace("\"x\"", "\"frames\"");
    forge.finish(&index(schema, 2, vec![chunk]))
}

/// Bytes of a topology: three atoms without names in one residue of one chain.
const THREE_ATOMS: &[u8] = &[
    3, 1, 1, 0, // counts
    1, 0, 0, 0, 0, // names
    6, 1, 1, // elements
    0, 0, 0, // residues
    1, 0, 0, 2, 1, 0, 0, 1, 0, 0, 1, 0, 0, // names, numbers, codes, segments, subchains
    0, 1, 0, 0, // chains
];

#[test]
fn a_topology_is_what_its_record_says_or_damage() {
    let length = THREE_ATOMS.len() as u64;
    let topology = |bytes: &[u8]| {
        let (_directory, path) = place(bytes);
        let entry = Entry::open(&path)?;
        let whole = entry.verify().unwrap().is_whole();
        entry.topology().inspect(|_| assert!(whole)).inspect_err(|_| assert!(!whole))
    };
    let three = topology(&with_topology(TOPOLOGY, 0, THREE_ATOMS, length)).unwrap().unwrap();
    assert_eq!((three.n_atoms(), three.n_residues(), three.n_chains()), (3, 1, 1));
    let mut two_chains = THREE_ATOMS.to_vec();
    two_chains[2] = 2;
    two_chains.push(0);
    let mut four_atoms = THREE_ATOMS.to_vec();
    four_atoms[0] = 4;
    let mut two = vec![2, 1, 1, 0, 1, 0, 0, 0, 6, 1, 0, 0];
    two.extend(&THREE_ATOMS[15..]);
    let counts = [0xff, 0xff, 0xff, 0xff, 0x0f].repeat(4);
    let zeros = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
    let bomb = [&[0][..], &zeros].concat();
    for (bytes, reason) in [
        (with_topology(TOPOLOGY, 0, &four_atoms, length), "its topology"),
        (with_topology(TOPOLOGY, 0, &two_chains, length + 1), "its length does not match"),
        (
            with_topology(TOPOLOGY, 0, &two, two.len() as u64),
            "it has 2 atoms, and the frames have 3",
        ),
        (with_topology(TOPOLOGY, 0, &counts, 20), "cut short"),
        (with_topology(TOPOLOGY, 0, &THREE_ATOMS[..9], 9), "cut short"),
        (with_topology(DATA, 0, THREE_ATOMS, length), "another record is in its place"),
        (with_topology(TOPOLOGY, 2, THREE_ATOMS, 64), "codec"),
        (with_topology(TOPOLOGY, 1, &bomb, 1 << 25), "its topology"),
        (with_topology(TOPOLOGY, 1, &bomb, 1 << 40), "its size is implausible"),
    ] {
        let before = peak_memory();
        assert_says(&topology(&bytes).unwrap_err(), reason);
        assert!(peak_memory() - before < MOST_MEMORY);
    }
}

#[test]
fn a_forged_file_that_tells_the_truth_is_read() {
    let mut forge = Forge::new();
    let chunk = four_floats(&mut forge);
    let file = forge.finish(&index(array("<f4", 4, "[2, 2]"), 0, vec![chunk]));
    assert_eq!(read(&file).unwrap(), [[7; 16]]);
    let mut forge = Forge::new();
    let chunk = forge.data(&Header::frames(0, 2, 3), &[7; 24]);
    let commit = index(field("<f4", 4, "[3]"), 2, vec![chunk]);
    forge.commit(&commit);
    assert_eq!(recover(&forge.unfinished()).unwrap(), [[7; 24]]);
}

#[test]
fn enormous_counts_are_refused_before_anything_is_allocated_for_them() {
    let schema = || array("<f4", 4, "[4]");
    for lie in [
        Commit { n_chunks: Some(u32::MAX), ..index(schema(), 0, vec![]) },
        Commit { schema_bytes: Some(u32::MAX), ..index(schema(), 0, vec![]) },
        Commit { schema_bytes: Some(0), ..index(schema(), 0, vec![]) },
    ] {
        assert_refused(&Forge::new().finish(&lie), "its length does not match what it says");
    }
    for count in [0, 5, 1 << 40, u64::MAX] {
        let mut forge = Forge::new();
        let chunk = forge.data(&Header::array(count), &[7; 16]);
        let file = forge.finish(&index(schema(), 0, vec![chunk]));
        let reason = if count == 0 { "not a chunk of data" } else { "do not make up the array" };
        assert_refused(&file, reason);
    }
    for n_frames in [0, 3, u64::MAX] {
        let mut forge = Forge::new();
        let chunk = forge.data(&Header::frames(0, 2, 3), &[7; 24]);
        let file = forge.finish(&index(field("<f4", 4, "[3]"), n_frames, vec![chunk]));
        assert_refused(&file, r#"the chunks of "x" do not make up its frames"#);
    }
    // Items of no bytes need no chunks, so nothing but the count itself can be wrong.
    let file = Forge::new().finish(&index(field("<f4", 4, "[0]"), u64::MAX, vec![]));
    assert_eq!(read(&file).unwrap(), [Vec::<u8>::new()]);
}

#[test]
fn a_chunk_whose_frames_overlap_or_leave_a_gap_is_refused() {
    for (second, reason) in [(1, "overlap"), (3, "gap"), (u64::MAX, "do not make up its frames")] {
        let mut forge = Forge::new();
        let chunks = [0, second].map(|first| forge.data(&Header::frames(first, 2, 1), &[7; 8]));
        let file = forge.finish(&index(field("<f4", 4, "[1]"), 4, chunks.to_vec()));
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains(reason) || error.contains("overlap or leave a gap"), "{error}");
        assert_refused(&file, "its index");
    }
    let mut forge = Forge::new();
    let rows = [(0, 2), (1, 2)].map(|(first_row, rows)| {
        forge.data(&Header { first_row, ..Header::frames(0, 1, rows) }, &[7; 8])
    });
    let file = forge.finish(&index(field("<f4", 4, "[3]"), 1, rows.to_vec()));
    assert_refused(&file, "overlap or leave a gap");
}

#[test]
fn chunks_that_share_their_bytes_are_refused() {
    // A thousand arrays of the same megabyte would be a gigabyte in a file of one.
    let mut forge = Forge::new();
    let chunk = forge.data(&Header::frames(0, 2, 1), &[7; 8]);
    let again = Header { first: 2, ..Header::frames(0, 2, 1) };
    let mut other = forge.data(&again, &[7; 8]);
    other.offset = chunk.offset;
    let file = forge.finish(&index(field("<f4", 4, "[1]"), 4, vec![chunk, other]));
    assert_refused(&file, "overlap");
}

#[test]
fn offsets_past_the_end_are_refused() {
    for offset in [1 << 20, u64::MAX - 63, u64::MAX] {
        let mut forge = Forge::new();
        let chunk = Chunk { offset, ..four_floats(&mut forge) };
        let file = forge.finish(&index(array("<f4", 4, "[4]"), 0, vec![chunk]));
        assert_refused(&file, &format!("the chunk at byte {offset} lies outside the file"));
        let lie = Commit { tree: Some(offset), ..index(array("<f4", 4, "[0]"), 0, vec![]) };
        assert_refused(&Forge::new().finish(&lie), "its value tree is damaged");
        let file = Forge::new().finish_at(offset);
        assert_refused(&file, "its index is damaged (it lies outside the file)");
    }
    // Inside the file, but another record.
    assert_refused(&Forge::new().finish_at(64), "another record is in its place");
    for (stored, raw) in [(1 << 30, 1 << 30), (u64::MAX, u64::MAX)] {
        let mut forge = Forge::new();
        let sizes = (Some(stored), Some(raw));
        let header = Header { stored_bytes: sizes.0, raw_bytes: sizes.1, ..Header::array(1 << 28) };
        let chunk = forge.data(&header, &[7; 16]);
        let file = forge.finish(&index(array("<f4", 4, "[268435456]"), 0, vec![chunk]));
        assert_refused(&file, "lies outside the file");
    }
}

#[test]
fn a_chunk_that_is_not_aligned_is_refused() {
    for padding in [4, 60] {
        let mut forge = Forge::new();
        let header = Header { padding, ..Header::array(4) };
        let chunk = forge.data(&header, &[7; 16]);
        let file = forge.finish(&index(array("<f4", 4, "[4]"), 0, vec![chunk]));
        assert_refused(&file, "not aligned to 64");
    }
}

#[test]
fn shapes_whose_product_overflows_are_refused() {
    for shape in [
        "[4294967296, 4294967296]",
        "[18446744073709551615, 2]",
        "[9223372036854775807]",
        "[0, 18446744073709551615, 18446744073709551615]",
    ] {
        let file = Forge::new().finish(&index(array("<f4", 4, shape), 0, vec![]));
        assert_refused(&file, "less than 2^63 bytes");
    }
    let file = Forge::new().finish(&index(field("<f4", 4, "[4294967296]"), 0, vec![]));
    assert_refused(&file, "fewer than 2^32 rows");
    let dimensions = format!("[{}1]", "1, ".repeat(64));
    let file = Forge::new().finish(&index(array("<f4", 4, &dimensions), 0, vec![]));
    assert_refused(&file, "at most 64 dimensions");
    for shape in ["[-1]", "[1.5]", "[\"1\"]", "[18446744073709551616]"] {
        let file = Forge::new().finish(&index(array("<f4", 4, shape), 0, vec![]));
        assert_refused(&file, "its index");
    }
}

#[test]
fn decompression_bombs_are_refused_in_little_memory() {
    const TERABYTE: u64 = 1 << 40;
    // A zstd frame that says it holds a terabyte, and ends.
    let mut frame = vec![0, 0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    frame.extend(TERABYTE.to_le_bytes());
    frame.extend([1, 0, 0]);
    let more = vec![0; 1024 - frame.len()];
    frame.extend(more);
    // The chunk agrees with it.
    assert_refused(&coded(1, &frame, TERABYTE, TERABYTE), "its size is implausible");
    // The chunk says 1 KiB.
    assert_refused(&coded(1, &frame, 1024, 1024), r#"chunk 0 of "x""#);
    // A real bomb, 4 MiB in a few hundred bytes, in a chunk that says 1 KiB.
    let mut bomb = vec![0];
    bomb.extend(zstd_of_zeros(4 << 20));
    assert_refused(&coded(1, &bomb, 1024, 1024), r#"chunk 0 of "x""#);
    // And a tiny payload that is said to be as large as any may be.
    let most = (bomb.len() as u64) << 18;
    assert_refused(&coded(1, &bomb, most, most), &format!("instead of {most}"));
    let more = most + (1 << 18);
    assert_refused(&coded(1, &bomb, more, more), "its size is implausible");
    bomb.resize(1024, 0);
    let largest = 64 << 20;
    assert_refused(&coded(1, &bomb, largest, largest), r#"chunk 0 of "x""#);
    assert_refused(&coded(1, &bomb, largest + 1, largest + 1), "its size is implausible");
    // 704 bytes of any codec can't be a quarter of a gigabyte.
    for codec in 1..=7 {
        let file = coded(codec, &[0; 64], 256 << 20, 256 << 20);
        assert!(file.len() < 1024);
        assert_refused(&file, "its size is implausible");
    }
}

#[test]
fn segments_of_any_size_are_read_or_refused() {
    let payload: Vec<u8> = (0..20_000u32).map(|at| ((at * 7) >> 3) as u8).collect();
    let forged = |segment_bits: u8| {
        let mut forge = Forge::new();
        let header = Header { segment_bits: Some(segment_bits), ..Header::array(20_000) };
        let chunk = forge.data(&header, &payload);
        forge.finish(&index(array("|u1", 1, "[20000]"), 0, vec![chunk]))
    };
    for bits in [0, 12, 14, 20] {
        let mut file = forged(bits);
        assert!(read(&file).unwrap() == [&payload[..]], "{bits}");
        let last = file.windows(4).rposition(|bytes| bytes == &payload[19_996..]).unwrap();
        file[last] ^= 1;
        let reason = if bits == 12 { "segment 4" } else { "checksum" };
        assert_refused(&file, reason);
    }
    for bits in [1, 11, 21, 63, 64, 255] {
        assert_refused(&forged(bits), &format!("its segment size is unknown: {bits}"));
    }
}

/// What zstd makes of zeros: a frame of runs, 128 KiB each.
fn zstd_of_zeros(length: usize) -> Vec<u8> {
    const RUN: usize = 128 << 10;
    assert!(length.is_multiple_of(RUN));
    // A window of 128 KiB, no size of the content.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];
    let runs = length / RUN;
    for run in 0..runs {
        let header = (RUN as u32) << 3 | 1 << 1 | u32::from(run + 1 == runs);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn numbers_that_claim_to_be_many_more_are_refused() {
    // Standalone pcodec files begin with a magic and how many numbers there are.
    for claim in [[0xff; 9], [0x80; 9]] {
        let mut payload = vec![0];
        payload.extend(b"pco!");
        payload.extend(claim);
        payload.resize(64, 0xff);
        let mut forge = Forge::new();
        let header = Header { codec: 2, raw_bytes: Some(4096), ..Header::array(1024) };
        let chunk = forge.data(&header, &payload);
        let file = forge.finish(&index(array("<f4", 4, "[1024]"), 0, vec![chunk]));
        assert_refused(&file, r#"chunk 0 of "x" (1024 from 0, at byte"#);
    }
}

#[test]
fn metadata_may_not_be_absurdly_long_or_deep() {
    let finish = |forge: Forge| forge.finish(&index(array("<f4", 4, "[0]"), 0, vec![]));
    let long = vec![0; MAX_METADATA + 1];
    let file = finish(Forge::with_head(1, 0, &description("x"), &long));
    assert_says(&read(&file).unwrap_err(), "its entry header is damaged (it is implausibly long)");
    let file = finish(Forge::with_head(1, 0, &description(&"x".repeat(1 << 21)), b""));
    assert_says(&read(&file).unwrap_err(), "its entry header is damaged (it is implausibly long)");
    let deep = format!(r#"{{"kind":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_refused(&finish(Forge::with_head(1, 0, &deep, b"")), "its entry header is damaged");
    // Metadata is handed out as it is; reading it as a tree is an error.
    let mut nested = vec![1];
    nested.extend([0x91; 100_000]);
    nested.push(0xc0);
    let (_directory, path) = place(&finish(Forge::with_head(1, 0, &description("x"), &nested)));
    let entry = Entry::open(&path).unwrap();
    let mut reader = TreeReader::new(&entry.header().metadata, Path::new("metadata")).unwrap();
    let error = std::iter::repeat_with(|| reader.next_token()).find_map(Result::err).unwrap();
    assert_says(&error, "it is nested more than 400 deep");
}

#[test]
fn names_that_stand_twice_are_told_apart_by_their_numbers() {
    let mut forge = Forge::new();
    let chunks = [0, 1]
        .map(|number| forge.data(&Header { number, ..Header::array(4) }, &[number as u8; 16]));
    let spec = r#"{"name":"x","dtype":{"descr":"<f4","item_size":4},"shape":[4],"fortran":false}"#;
    let schema = format!(r#"{{"fields":[],"lossy":[],"arrays":[{spec},{spec}]}}"#);
    let file = forge.finish(&index(schema, 0, chunks.to_vec()));
    assert_eq!(read(&file).unwrap(), [[0; 16], [1; 16]]);
    // In the schema itself, a name that stands twice leaves open which is meant.
    let twice = r#"{"fields":[],"lossy":[],"arrays":[],"arrays":[]}"#;
    let file = Forge::new().finish(&index(twice.into(), 0, vec![]));
    assert_refused(&file, "duplicate field `arrays`");
    let long = field("<f4", 4, "[0]").replace("\"x\"", &format!("{:?}", "x".repeat(1025)));
    assert_refused(&Forge::new().finish(&index(long, 0, vec![])), "at most 1024 bytes");
}

#[test]
fn types_that_contradict_themselves_are_refused() {
    for (descr, item_size) in [("<f4", 8), ("<f8", 4), ("<c16", 8), ("<i4", 0), ("|b1", 2)] {
        let file = Forge::new().finish(&index(array(descr, item_size, "[0]"), 0, vec![]));
        assert_refused(&file, &format!("dtype={descr} is not valid"));
    }
    for (descr, item_size) in [("", 4), ("|S1", 1 << 40)] {
        let file = Forge::new().finish(&index(array(descr, item_size, "[0]"), 0, vec![]));
        assert_refused(&file, "is not valid");
    }
    let schema = r#"{"fields":[],"lossy":[true],"arrays":[]}"#;
    let file = Forge::new().finish(&index(schema.into(), 0, vec![]));
    assert_refused(&file, "one value per field");
    // A codec of numbers on what is not numbers, and codecs and kinds that nobody knows.
    for codec in [2, 3, 4, 200] {
        assert_refused(&coded(codec, &[0; 8], 16, 16), r#"chunk 0 of "x""#);
    }
    let mut forge = Forge::new();
    let odd = forge.record(&Header { kind: 9, ..Header::default() }, b"");
    assert_refused(&forge.finish_at(odd), "its kind is unknown");
}

#[test]
fn chunks_of_what_does_not_exist_are_refused() {
    for header in
        [Header { number: 1, ..Header::array(4) }, Header { is_field: 1, ..Header::array(4) }]
    {
        let mut forge = Forge::new();
        let chunk = forge.data(&header, &[7; 16]);
        let file = forge.finish(&index(array("<f4", 4, "[4]"), 0, vec![chunk]));
        assert_refused(&file, "a chunk belongs to no array or field");
    }
    let mut forge = Forge::new();
    let chunk = forge.data(&Header { is_field: 2, ..Header::array(4) }, &[7; 16]);
    let file = forge.finish(&index(array("<f4", 4, "[4]"), 0, vec![chunk]));
    assert_refused(&file, "its target is unknown");
}

#[test]
fn later_versions_and_features_need_a_newer_program() {
    for (version, features) in [(2, 0), (u32::MAX, 0), (1, 1), (1, 1 << 31)] {
        let forge = Forge::with_head(version, features, &description("x"), b"");
        let file = forge.finish(&index(array("<f4", 4, "[0]"), 0, vec![]));
        for error in [read(&file).unwrap_err(), recover(&file).unwrap_err()] {
            assert!(matches!(error, Error::NewerFormat { supported: 1, .. }), "{error:?}");
            assert!(error.to_string().contains("upgrade proteinflex-optimization"), "{error}");
        }
    }
}

#[test]
fn an_unfinished_file_that_lies_is_an_earlier_state_or_an_error() {
    let schema = || field("<f4", 4, "[1]");
    // A commit that is not one is where the file ends.
    let mut forge = Forge::new();
    forge.commit(&Commit { n_chunks: Some(u32::MAX), ..index(schema(), 0, vec![]) });
    assert_eq!(recover(&forge.unfinished()).unwrap(), Vec::<Vec<u8>>::new());
    // One that is well made and makes no sense is damage.
    for (first, n_frames, kept) in [(0, 3, 0), (1, 2, 0), (0, u64::MAX, 0), (0, 2, 7)] {
        let mut forge = Forge::new();
        let chunk = forge.data(&Header::frames(first, 2, 1), &[7; 8]);
        forge.commit(&Commit { kept, ..index(schema(), n_frames, vec![chunk]) });
        let found = recover(&forge.unfinished());
        match found {
            Ok(data) => assert!(kept == 7 && data == [[7; 8]]),
            Err(error) => assert_says(&error, "a commit is damaged"),
        }
    }
    // A record whose payload is beyond the end is where the file ends.
    for stored in [1 << 40, u64::MAX] {
        let mut forge = Forge::new();
        let sizes = (Some(stored), Some(stored));
        let header = Header { raw_bytes: sizes.0, stored_bytes: sizes.1, ..Header::array(1) };
        forge.record(&header, &[7; 8]);
        assert_eq!(recover(&forge.unfinished()).unwrap(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn commits_that_claim_the_same_bytes_are_not_all_read() {
    let mut forge = Forge::new();
    let beyond = (Some(1 << 40), Some(1 << 40));
    forge.record(&Header { raw_bytes: beyond.0, stored_bytes: beyond.1, ..Header::array(1) }, &[]);
    let claimed = Some(60_000);
    for _ in 0..1000 {
        let (raw_bytes, stored_bytes) = (claimed, claimed);
        forge.record(&Header { kind: COMMIT, raw_bytes, stored_bytes, ..Header::default() }, &[]);
    }
    forge.record(&Header::array(1), &[0; 60_000]);
    assert_says(&recover(&forge.unfinished()).unwrap_err(), "implausibly long");
}

#[test]
fn a_long_history_of_short_commits_is_recovered() {
    let mut forge = Forge::new();
    let mut schema = field("<f4", 4, "[1]");
    for frame in 0..20_000 {
        let chunk = forge.data(&Header::frames(frame, 1, 1), &(frame as u32).to_le_bytes());
        forge.commit(&Commit { kept: frame, ..index(schema, frame + 1, vec![chunk]) });
        schema = String::new();
    }
    let expected: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(recover(&forge.unfinished()).unwrap(), [expected]);
}
