//! Making molecules whole.

use super::find::{Found, difference, find};
use super::shape::{BoxInFrame, Coordinates, Place};
use super::{Exception, PeriodicBox};
use crate::codec::geometry::TILE;
use crate::codec::layout::BlockShape;

/// More exceptions than one for so many atoms are not worth it.
const MOST_EXCEPTIONS: usize = 8;

/// The box that the atoms of a block on a grid were put back into, and where they are without it;
/// none where there is no sign of one. In archives, atoms move on where they left the box.
pub fn unwrap(
    integers: &[i32],
    shape: BlockShape,
    is_archive: bool,
) -> Option<(PeriodicBox, Vec<i32>)> {
    let frames: Vec<&[Place]> = integers.as_chunks().0.chunks_exact(shape.rows.max(1)).collect();
    let Found { shape: of_box, joined, is_cut, is_slow } = find(&frames, is_archive)?;
    let mut whole: Vec<Place> = Vec::with_capacity(frames.len() * shape.rows);
    let mut images = Vec::with_capacity(shape.rows);
    let mut found = PeriodicBox {
        shape: of_box,
        joined: if is_cut { vec![0; shape.rows] } else { joined.clone() },
        ..PeriodicBox::default()
    };
    for (number, frame) in frames.iter().enumerate() {
        let of_frame = found.shape.in_frame(number)?;
        let first = whole.len();
        whole.extend_from_slice(frame);
        images.clear();
        images.resize(shape.rows, [0.0; 3]);
        for row in 0..shape.rows {
            let near = match joined[row] {
                1 => whole[first + row - 1],
                _ if is_archive && is_slow && number > 0 => whole[first + row - shape.rows],
                _ => continue,
            };
            let step = difference(whole[first + row], near);
            if !of_frame.is_short(step) {
                let (away, image) = of_frame.shorten(step);
                whole[first + row] = difference(away, near);
                images[row] = image;
            }
        }
        found.list_exceptions(&of_frame, &whole[first..], &images)?;
        if found.exceptions.len() * MOST_EXCEPTIONS > whole.len() {
            return None;
        }
    }
    Some((found, whole.into_flattened()))
}

impl PeriodicBox {
    /// Adds the exceptions of a frame; none where an atom is too far away.
    fn list_exceptions(
        &mut self,
        of_frame: &BoxInFrame,
        whole: &[Place],
        images: &[[f32; 3]],
    ) -> Option<()> {
        let [mut places, mut expected] = [Coordinates::ZERO; 2];
        for (tile, (whole, images)) in whole.chunks(TILE).zip(images.chunks(TILE)).enumerate() {
            for axis in 0..3 {
                let floats = places.axis_mut(axis).iter_mut().zip(whole);
                floats.for_each(|(float, place)| *float = place[axis] as f32);
            }
            let rows = tile * TILE..tile * TILE + whole.len();
            self.find_images(of_frame, rows.clone(), &places, &mut expected);
            let mut before = [0.0; 3];
            for (index, (row, image)) in rows.zip(images).enumerate() {
                let expected = expected.atom(index);
                if self.joined[row] == 0 {
                    before = [0.0; 3];
                }
                let by: [f32; 3] = std::array::from_fn(|axis| image[axis] - expected[axis]);
                if by != before {
                    let change = std::array::from_fn(|axis| (by[axis] - before[axis]) as i32);
                    let [x, y, z]: Place = change;
                    let by = [x.try_into().ok()?, y.try_into().ok()?, z.try_into().ok()?];
                    self.exceptions.push(Exception { row: row as u32, by });
                }
                before = by;
            }
        }
        self.ends.push(self.exceptions.len() as u32);
        Some(())
    }
}
