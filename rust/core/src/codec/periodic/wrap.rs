//! Putting atoms into the box.

use std::ops::Range;

use fearless_simd::{f32x8, prelude::*};

use super::{Exception, PeriodicBox};
use crate::codec::geometry::{OutputLayout, TILE};
use crate::codec::grid::Grid;
use crate::codec::simd::{self, LANES, vectorized};

/// Bytes of the coordinates of an atom.
const ROW: usize = 3 * size_of::<f32>();
/// Vectors of the coordinates of a tile.
const VECTORS: usize = 3 * TILE / LANES;

/// The coordinates of a tile, atom after atom.
#[derive(Clone)]
pub struct Coordinates([[f32; LANES]; VECTORS]);

impl Coordinates {
    pub const ZERO: Self = Self([[0.0; LANES]; VECTORS]);

    pub fn atoms(&self) -> &[[f32; 3]] {
        self.0.as_flattened().as_chunks().0
    }

    pub fn atoms_mut(&mut self) -> &mut [[f32; 3]] {
        self.0.as_flattened_mut().as_chunks_mut().0
    }
}

/// The box in one frame, in floats: places in it are exact as such.
pub struct BoxInFrame {
    pub lengths: [f32; 3],
    begin: [f32; 3],
    pub inverse: [f32; 3],
}

impl BoxInFrame {
    pub fn new(lengths: [i32; 3], origin: [f32; 3]) -> Self {
        let lengths = lengths.map(|length| length as f32);
        let begin = std::array::from_fn(|axis| origin[axis] * lengths[axis]);
        let inverse = lengths.map(|length| if length > 0.0 { 1.0 / length } else { 0.0 });
        Self { lengths, begin, inverse }
    }

    /// The image that a place is in.
    fn image(&self, place: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|axis| ((place[axis] - self.begin[axis]) * self.inverse[axis]).floor())
    }

    /// The images that all places of a tile are in.
    #[inline(always)]
    fn images<S: Simd>(&self, simd: S, places: &Coordinates, images: &mut Coordinates) {
        let [begin, inverse] = [spread(simd, self.begin), spread(simd, self.inverse)];
        for (index, (image, &place)) in images.0.iter_mut().zip(&places.0).enumerate() {
            let place: f32x8<S> = place.simd_into(simd);
            let lengths = (place - begin[index % 3]) * inverse[index % 3];
            let nearest = simd::round(lengths);
            let one = f32x8::splat(simd, 1.0);
            *image = nearest.simd_gt(lengths).select(nearest - one, nearest).into();
        }
    }

    /// Moves all places of a tile from their images into the box, and makes floats of them.
    #[inline(always)]
    fn wrap<S: Simd>(&self, simd: S, grid: Grid, images: &Coordinates, places: &mut Coordinates) {
        let lengths = spread(simd, self.lengths);
        for (index, (place, &image)) in places.0.iter_mut().zip(&images.0).enumerate() {
            let whole: f32x8<S> = (*place).simd_into(simd);
            let image: f32x8<S> = image.simd_into(simd);
            *place = grid.floats(whole - image * lengths[index % 3]).into();
        }
    }
}

/// Numbers of the three axes, for the coordinates in each of three vectors.
#[inline(always)]
fn spread<S: Simd>(simd: S, [x, y, z]: [f32; 3]) -> [f32x8<S>; 3] {
    [
        [x, y, z, x, y, z, x, y].simd_into(simd),
        [z, x, y, z, x, y, z, x].simd_into(simd),
        [y, z, x, y, z, x, y, z].simd_into(simd),
    ]
}

impl PeriodicBox {
    /// Puts atoms of decoded frames back into the box, and on their grid: these are whole numbers
    /// before.
    pub fn wrap(
        &self,
        frames: &[usize],
        tiles: impl Iterator<Item = usize> + Clone,
        grid: Grid,
        out: &mut [u8],
        layout: OutputLayout,
    ) {
        let [mut places, mut images] = [Coordinates::ZERO; 2];
        for (index, &frame) in frames.iter().enumerate() {
            let (Some(&lengths), Some(exceptions)) =
                (self.lengths.get(frame), self.exceptions_of(frame))
            else {
                continue;
            };
            let of_frame = BoxInFrame::new(lengths, self.origin);
            let start = layout.start + index * layout.frame_bytes;
            for tile in tiles.clone() {
                let rows = tile * TILE..self.joined.len().min((tile + 1) * TILE);
                let bytes = start + rows.start * ROW..start + rows.end * ROW;
                let bytes = out.get_mut(bytes).unwrap_or_default().as_chunks_mut().0;
                let numbers = bytes.iter().zip(places.0.as_flattened_mut());
                numbers.for_each(|(bytes, place)| *place = f32::from_le_bytes(*bytes));
                self.find_images(&of_frame, rows.clone(), &places, &mut images);
                self.correct(rows, exceptions, images.atoms_mut());
                vectorized!(simd => of_frame.wrap(simd, grid, &images, &mut places));
                let numbers = bytes.iter_mut().zip(places.0.as_flattened());
                numbers.for_each(|(bytes, place)| *bytes = place.to_le_bytes());
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
        let (places, images) = (places.atoms(), images.atoms_mut());
        // Few molecules are in more than one image.
        let unite = |molecule: Range<usize>, images: &mut [[f32; 3]]| {
            let atoms = molecule.len() as f32;
            let sum = |axis: usize| places[molecule.clone()].iter().map(|at| at[axis]).sum::<f32>();
            let middle = [sum(0) / atoms, sum(1) / atoms, sum(2) / atoms];
            images[molecule].fill(of_frame.image(middle));
        };
        let (mut start, mut is_cut) = (0, false);
        for row in 1..=joined.len() {
            if joined.get(row) == Some(&1) {
                is_cut |= images[row].map(f32::to_bits) != images[row - 1].map(f32::to_bits);
                continue;
            }
            if is_cut {
                unite(start..row, images);
            }
            (start, is_cut) = (row, false);
        }
    }

    /// Corrects the images of those that are listed.
    fn correct(&self, rows: Range<usize>, exceptions: &[Exception], images: &mut [[f32; 3]]) {
        let before = |end| exceptions.partition_point(|exception| (exception.row as usize) < end);
        for exception in &exceptions[before(rows.start)..before(rows.end)] {
            let row = exception.row as usize;
            let others = self.joined[row + 1..rows.end].iter().take_while(|&&joined| joined == 1);
            let last = row + others.count();
            for image in &mut images[row - rows.start..=last - rows.start] {
                image.iter_mut().zip(exception.by).for_each(|(image, by)| *image += f32::from(by));
            }
        }
    }
}
