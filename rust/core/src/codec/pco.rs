//! Compression of numbers by pcodec, in the layout that costs least.

use ::pco::ChunkConfig;
use ::pco::standalone::{simple_compress, simple_decompress_into};

use super::layout::{BlockShape, NumberLayout};
use super::value::Value;
use crate::error::DecodeError;
use crate::interrupt;
use crate::memory::try_zeroed;

/// Pcodec's own default, in archives too: level 12 is smaller by 0.1 to 0.7 %, and takes 10 to 30
/// times as long.
const LEVEL: usize = 8;
/// Numbers that each layout is tried on.
const SAMPLE: usize = 12 * 1024;
/// Numbers that are compared with their neighbours.
const DIFFERENCES_SAMPLE: usize = 4 * 1024;
/// What an entropy is above the mean length of differences: 0.9 bits where these are evenly
/// distributed, 1.5 where normally, more where not all are distributed alike.
const ABOVE_LENGTH: f64 = 1.5;
/// The level of a trial. It takes a third of the time, and the result is half a percent to one
/// larger than at the real level; a tenth of numbers that repeat.
const TRIAL_LEVEL: usize = 6;

/// Encodes the numbers in `bytes` in the layout that costs least.
pub fn encode_bytes<V: Value>(bytes: &[u8], shape: BlockShape) -> Option<Vec<u8>> {
    let values = V::read_all(bytes);
    let (layout, _) = choose_layout(&values, shape);
    encode(layout, &values, shape)
}

/// Encodes numbers that are in memory order: the layout's number, then pcodec's bytes.
pub fn encode<V: Value>(layout: NumberLayout, values: &[V], shape: BlockShape) -> Option<Vec<u8>> {
    let packed = pack(&shape.arrange(values, layout), LEVEL)?;
    let mut payload = Vec::with_capacity(packed.len() + 1);
    payload.push(layout as u8);
    payload.extend(packed);
    Some(payload)
}

/// Decodes numbers into memory order.
pub fn decode_bytes<V: Value>(
    payload: &[u8],
    shape: BlockShape,
    out: &mut [u8],
) -> Result<(), DecodeError> {
    let (layout, values) = decode::<V>(payload, shape)?;
    shape.restore(&values, layout, out);
    Ok(())
}

/// Decodes numbers in the layout that is returned with them.
pub fn decode<V: Value>(
    payload: &[u8],
    shape: BlockShape,
) -> Result<(NumberLayout, Vec<V>), DecodeError> {
    let (&number, packed) = payload.split_first().ok_or(DecodeError::TooShort)?;
    let layout = NumberLayout::from_number(number)
        .ok_or(DecodeError::Unknown { what: "layout", found: number })?;
    let mut values = try_zeroed::<V>(shape.len())?;
    unpack_exactly(packed, &mut values)?;
    Ok((layout, values))
}

/// Nothing where the work of this thread was interrupted.
fn pack<V: Value>(values: &[V], level: usize) -> Option<Vec<u8>> {
    if interrupt::is_requested() {
        return None;
    }
    let config = ChunkConfig::default().with_compression_level(level).with_enable_8_bit(true);
    // The only errors are those of a configuration that makes no sense.
    simple_compress(values, &config).ok()
}

/// Unpacks exactly so many numbers.
pub fn unpack_exactly<V: Value>(packed: &[u8], values: &mut [V]) -> Result<(), DecodeError> {
    let progress = simple_decompress_into(packed, values).map_err(DecodeError::pco)?;
    if progress.n_processed != values.len() || !progress.finished {
        let (expected, found) = (values.len(), progress.n_processed);
        return Err(match progress.finished {
            true => DecodeError::Count { unit: "numbers", expected, found },
            false => DecodeError::TooLong { section: "numbers", limit: "the block" },
        });
    }
    Ok(())
}

/// About what packing takes for each of some integers, in bytes, if they were measured: by their
/// differences in time or to the next row, whichever are smaller. The second value tells whether
/// these are those in time.
pub fn size_by_differences(integers: impl Fn(usize) -> i32, shape: BlockShape) -> (f64, bool) {
    let width = shape.rows * shape.components;
    let mean = |distance: usize| {
        let count = shape.len().saturating_sub(distance);
        let step = (count / DIFFERENCES_SAMPLE).max(1) | 1;
        let bits = |at: usize| {
            let difference = integers(at + distance).wrapping_sub(integers(at));
            match u32::BITS - (difference.wrapping_shl(1) ^ (difference >> 31)).leading_zeros() {
                0 => 0.0,
                length => f64::from(length) + ABOVE_LENGTH,
            }
        };
        let looked_at = (0..count).step_by(step);
        let compared = looked_at.len().max(1) as f64;
        looked_at.map(bits).sum::<f64>() / compared / 8.0
    };
    let to_next = mean(shape.components);
    let in_time = if shape.frames > 1 { mean(width) } else { f64::INFINITY };
    (in_time.min(to_next), in_time < to_next)
}

/// The layout in which a sample is smallest, and how many bytes a number takes in it.
pub fn choose_layout<V: Value>(values: &[V], shape: BlockShape) -> (NumberLayout, f64) {
    let width = shape.rows * shape.components;
    let cost = |sample: Vec<V>, shape: BlockShape, layout| {
        let count = sample.len() as f64;
        pack(&shape.arrange(&sample, layout), TRIAL_LEVEL)
            .map_or(f64::INFINITY, |packed| packed.len() as f64 / count)
    };
    if shape.frames == 1 || width == 1 {
        let is_flat = shape.components == 1 || width == 1;
        let layout = if is_flat { NumberLayout::Memory } else { NumberLayout::Planar };
        let count = shape.frames * shape.rows;
        let rows = (SAMPLE / shape.components).clamp(1, count.max(1)).min(count);
        let sample = values[..rows * shape.components].to_vec();
        return (layout, cost(sample, BlockShape { frames: 1, rows, ..shape }, layout));
    }
    // Some rows in all frames, and more rows in some frames, spread over the chunk, for motion may
    // change within it: as many numbers of each.
    let sample = |frames: usize| {
        let rows = (SAMPLE / (frames * shape.components)).clamp(1, shape.rows);
        let first = (shape.rows - rows) / 2 * shape.components;
        let part = |frame: &[V]| frame[first..first + rows * shape.components].to_vec();
        let some = values.chunks_exact(width).step_by(shape.frames / frames).take(frames);
        (some.flat_map(part).collect::<Vec<V>>(), BlockShape { frames, rows, ..shape })
    };
    let (series, of_series) = sample(shape.frames);
    let (whole, of_whole) = sample((SAMPLE / width).clamp(1, shape.frames));
    let time = cost(series, of_series, NumberLayout::Time);
    let planar = cost(whole, of_whole, NumberLayout::Planar);
    if time <= planar { (NumberLayout::Time, time) } else { (NumberLayout::Planar, planar) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that each go their own way, by steps that are normally distributed.
    fn walks(frames: usize, width: usize) -> Vec<i32> {
        let mut state = 1_u64;
        let mut even = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let mut at = vec![0_i32; width];
        let mut walks = Vec::new();
        for _ in 0..frames {
            for number in &mut at {
                let radius = (-2.0 * even().ln()).sqrt();
                *number += (300.0 * radius * (std::f64::consts::TAU * even()).cos()).round() as i32;
            }
            walks.extend(&at);
        }
        walks
    }

    #[test]
    fn the_size_by_differences_is_that_of_motion_as_pcodec_packs_it() {
        let shape = BlockShape { frames: 200, rows: 100, components: 3 };
        let numbers = walks(shape.frames, shape.rows * shape.components);
        let (estimated, is_temporal) = size_by_differences(|at| numbers[at], shape);
        let packed = pack(&shape.arrange(&numbers, NumberLayout::Time), LEVEL).unwrap();
        let above = (estimated - packed.len() as f64 / shape.len() as f64) * 8.0;
        assert!(is_temporal);
        // In bits of about 11: neither much more nor much less is added to the lengths.
        assert!(above.abs() < 0.2, "{above}");
    }
}
