//! Putting atoms into the box.

use std::ops::Range;

use super::shape::{BoxInFrame, Coordinates};
use super::{Exception, PeriodicBox, molecules};
use crate::codec::geometry::OutputLayout;
use crate::codec::grid::Grid;
use crate::codec::simd::vectorized;

/// Bytes of the coordinates of an atom.
const ROW: usize = 3 * size_of::<f32>();

impl PeriodicBox {
    /// Puts atoms of decoded frames, of each the rows of these tiles, back into the box, and on their
    /// grid: these are whole numbers before.
    pub fn wrap(
        &self,
        frames: &[usize],
        tiles: impl Iterator<Item = Range<usize>> + Clone,
        grid: Grid,
        out: &mut [u8],
        layout: OutputLayout,
    ) {
        let [mut places, mut images] = [Coordinates::ZERO; 2];
        for (index, &frame) in frames.iter().enumerate() {
            let (Some(of_frame), Some(exceptions)) =
                (self.shape.in_frame(frame), self.exceptions_of(frame))
            else {
                continue;
            };
            let start = layout.start + index * layout.frame_bytes;
            for rows in tiles.clone() {
                let bytes = start + rows.start * ROW..start + rows.end * ROW;
                let atoms: &mut [[[u8; 4]; 3]] =
                    out.get_mut(bytes).unwrap_or_default().as_chunks_mut().0.as_chunks_mut().0;
                vectorized!(_simd => places.read(atoms));
                self.find_images(&of_frame, rows.clone(), &places, &mut images);
                self.correct(rows, exceptions, &mut images);
                vectorized!(simd => of_frame.wrap(simd, grid, &images, &mut places));
                vectorized!(_simd => places.write(atoms));
            }
        }
    }

    /// The images of the atoms of a tile that follow from their places, or from the middles of their
    /// molecules.
    pub fn find_images(
        &self,
        of_frame: &BoxInFrame,
        rows: Range<usize>,
        places: &Coordinates,
        images: &mut Coordinates,
    ) {
        vectorized!(simd => of_frame.images(simd, places, images));
        let joined = &self.joined[rows];
        if !joined.contains(&1) {
            return;
        }
        for molecule in molecules(joined) {
            let bits = |row| images.atom(row).map(f32::to_bits);
            // Few are in more than one image.
            if molecule.clone().skip(1).any(|row| bits(row) != bits(row - 1)) {
                let atoms = molecule.len() as f32;
                let sum = |axis| places.axis(axis)[molecule.clone()].iter().sum::<f32>();
                let image = of_frame.image([0, 1, 2].map(|axis| sum(axis) / atoms));
                (0..3).for_each(|axis| images.axis_mut(axis)[molecule.clone()].fill(image[axis]));
            }
        }
    }

    /// Corrects the images of those that are listed.
    fn correct(&self, rows: Range<usize>, exceptions: &[Exception], images: &mut Coordinates) {
        let before = |end| exceptions.partition_point(|exception| (exception.row as usize) < end);
        for exception in &exceptions[before(rows.start)..before(rows.end)] {
            let row = exception.row as usize;
            let others = self.joined[row + 1..rows.end].iter().take_while(|&&joined| joined == 1);
            let last = row + others.count();
            for (axis, by) in exception.by.into_iter().enumerate() {
                let images = &mut images.axis_mut(axis)[row - rows.start..=last - rows.start];
                images.iter_mut().for_each(|image| *image += f32::from(by));
            }
        }
    }
}
