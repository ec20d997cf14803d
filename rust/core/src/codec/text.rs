//! Bytes that are not numbers, by zstd; where elements have a size, also sorted by byte position
//! first, so that what is alike stands together.

/// Zstandard's default level.
const LEVEL: i32 = 3;
/// The level for archives.
const ARCHIVE_LEVEL: i32 = 12;
/// Elements larger than this are records or long texts; their bytes are left in place.
const MAX_SORTED: usize = 64;

/// Encodes bytes: whether they were sorted, then a zstd frame.
pub fn encode(bytes: &[u8], item_bytes: usize, small: bool) -> Option<Vec<u8>> {
    let level = if small { ARCHIVE_LEVEL } else { LEVEL };
    let compress = |sorted: u8, bytes: &[u8]| {
        // Fails only where memory runs out; then the bytes are stored as they are.
        let mut payload = zstd::bulk::compress(bytes, level).ok()?;
        payload.insert(0, sorted);
        Some(payload)
    };
    let plain = compress(0, bytes)?;
    if !is_sortable(item_bytes) {
        return Some(plain);
    }
    let sorted = compress(1, &sort(bytes, item_bytes))?;
    Some(if sorted.len() < plain.len() { sorted } else { plain })
}

/// Decodes bytes into `out`, which has exactly their size.
pub fn decode(payload: &[u8], item_bytes: usize, out: &mut [u8]) -> Result<(), String> {
    let (&sorted, frame) = payload.split_first().ok_or("it is empty")?;
    let length = out.len();
    let decompress = |out: &mut [u8]| match zstd::bulk::decompress_to_buffer(frame, out) {
        Ok(decoded) if decoded == length => Ok(()),
        Ok(decoded) => Err(format!("it holds {decoded} bytes instead of {length}")),
        Err(error) => Err(error.to_string()),
    };
    match sorted {
        0 => decompress(out),
        1 if is_sortable(item_bytes) => {
            let mut bytes = vec![0; length];
            decompress(&mut bytes)?;
            unsort(&bytes, item_bytes, out);
            Ok(())
        }
        _ => Err("its order is unknown".into()),
    }
}

fn is_sortable(item_bytes: usize) -> bool {
    (2..=MAX_SORTED).contains(&item_bytes)
}

fn sort(bytes: &[u8], item_bytes: usize) -> Vec<u8> {
    (0..item_bytes).flat_map(|at| bytes.iter().skip(at).step_by(item_bytes)).copied().collect()
}

fn unsort(sorted: &[u8], item_bytes: usize, out: &mut [u8]) {
    let mut rest = sorted.iter();
    for at in 0..item_bytes {
        for byte in out.iter_mut().skip(at).step_by(item_bytes) {
            *byte = rest.next().copied().unwrap_or_default();
        }
    }
}
