//! The shape of the box: three vectors, by which everything repeats.
//!
//! The first one lies along the first axis and the second one in the plane of the first two. Rhombic
//! dodecahedra and truncated octahedra are such boxes, too (H. Bekker, Unification of box shapes in
//! molecular simulations. J. Comput. Chem. 18 (1997) 1930).

use fearless_simd::{f32x8, prelude::*};

use crate::codec::geometry::TILE;
use crate::codec::grid::Grid;
use crate::codec::simd::{self, LANES};

/// The coordinates of an atom on a grid.
pub type Place = [i32; 3];

/// The shape in all frames of a block.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct BoxShape {
    /// Its lengths along the axes in each frame, in grid units; 0 along axes that are not periodic.
    pub lengths: Vec<Place>,
    /// How far the second vector reaches along the first axis, and the third one along the first and
    /// the second, as parts of their own lengths.
    pub tilts: [f32; 3],
    /// Whether atoms were put between faces that are tilted like the vectors; else between upright
    /// ones.
    pub is_slanted: bool,
    /// Where it begins, as a part of its lengths.
    pub origin: [f32; 3],
}

impl BoxShape {
    /// The box in a frame that the block has.
    pub fn in_frame(&self, frame: usize) -> Option<BoxInFrame> {
        let lengths = self.lengths.get(frame)?.map(|length| length as f32);
        let [x, y, z] = lengths;
        let [xy, xz, yz] = self.tilts;
        let vectors =
            [[x, 0.0, 0.0], [(xy * y).round(), y, 0.0], [(xz * z).round(), (yz * z).round(), z]];
        let inverse = lengths.map(|length| if length > 0.0 { 1.0 / length } else { 0.0 });
        let (is_slanted, origin) = (self.is_slanted, self.origin);
        Some(BoxInFrame { vectors, inverse, is_slanted, origin })
    }
}

/// The coordinates of a tile, axis by axis.
#[derive(Clone)]
pub struct Coordinates([[[f32; LANES]; TILE / LANES]; 3]);

impl Coordinates {
    pub const ZERO: Self = Self([[[0.0; LANES]; TILE / LANES]; 3]);

    #[inline(always)]
    pub fn axis(&self, axis: usize) -> &[f32] {
        self.0[axis].as_flattened()
    }

    #[inline(always)]
    pub fn axis_mut(&mut self, axis: usize) -> &mut [f32] {
        self.0[axis].as_flattened_mut()
    }

    #[inline(always)]
    fn vectors<S: Simd>(&self, simd: S, at: usize) -> [f32x8<S>; 3] {
        let [x, y, z] = &self.0;
        [x[at].simd_into(simd), y[at].simd_into(simd), z[at].simd_into(simd)]
    }

    /// Takes the coordinates of rows in memory.
    #[inline(always)]
    pub fn read(&mut self, rows: &[[[u8; 4]; 3]]) {
        let [x, y, z] = self.0.each_mut().map(|axis| axis.as_flattened_mut().iter_mut());
        for (row, ((x, y), z)) in rows.iter().zip(x.zip(y).zip(z)) {
            *x = f32::from_le_bytes(row[0]);
            *y = f32::from_le_bytes(row[1]);
            *z = f32::from_le_bytes(row[2]);
        }
    }

    /// Puts the coordinates into rows in memory.
    #[inline(always)]
    pub fn write(&self, rows: &mut [[[u8; 4]; 3]]) {
        let [x, y, z] = self.0.each_ref().map(|axis| axis.as_flattened().iter());
        for (row, ((x, y), z)) in rows.iter_mut().zip(x.zip(y).zip(z)) {
            *row = [x.to_le_bytes(), y.to_le_bytes(), z.to_le_bytes()];
        }
    }

    #[inline(always)]
    pub fn atom(&self, index: usize) -> [f32; 3] {
        [0, 1, 2].map(|axis| self.axis(axis)[index])
    }
}

/// The box in one frame, in floats: places in it are exact as such.
#[derive(Default)]
pub struct BoxInFrame {
    vectors: [[f32; 3]; 3],
    /// One over its lengths; 0 along axes that are not periodic.
    inverse: [f32; 3],
    is_slanted: bool,
    origin: [f32; 3],
}

impl BoxInFrame {
    /// The image that a place is in: how many vectors it is away from the box.
    pub fn image(&self, mut place: [f32; 3]) -> [f32; 3] {
        let mut image = [0.0; 3];
        for axis in [2, 1, 0] {
            let lengths = place[axis] * self.inverse[axis];
            image[axis] = (lengths - self.origin[axis]).floor();
            let moved = if self.is_slanted { lengths } else { image[axis] };
            let others = place[..axis].iter_mut().zip(self.vectors[axis]);
            others.for_each(|(x, along)| *x -= moved * along);
        }
        image
    }

    /// The images that all places of a tile are in.
    #[inline(always)]
    pub fn images<S: Simd>(&self, simd: S, places: &Coordinates, images: &mut Coordinates) {
        let [_, [xy, ..], [xz, yz, _]] = self.vectors;
        for at in 0..TILE / LANES {
            let [x, y, z] = places.vectors(simd, at);
            let [image_z, moved] = self.along(z, 2);
            let [image_y, moved_y] = self.along(y - moved * yz, 1);
            let [image_x, _] = self.along(x - moved * xz - moved_y * xy, 0);
            images.0[0][at] = image_x.into();
            images.0[1][at] = image_y.into();
            images.0[2][at] = image_z.into();
        }
    }

    /// In which images along an axis, and by how many vectors places are moved for the next axis.
    #[inline(always)]
    fn along<S: Simd>(&self, place: f32x8<S>, axis: usize) -> [f32x8<S>; 2] {
        let lengths = place * self.inverse[axis];
        let from = lengths - self.origin[axis];
        let nearest = simd::round(from);
        let image = nearest.simd_gt(from).select(nearest - 1.0, nearest);
        [image, if self.is_slanted { lengths } else { image }]
    }

    /// Moves all places of a tile from their images into the box, and makes floats of them.
    #[inline(always)]
    pub fn wrap<S: Simd>(
        &self,
        simd: S,
        grid: Grid,
        images: &Coordinates,
        places: &mut Coordinates,
    ) {
        let [[xx, ..], [xy, yy, _], [xz, yz, zz]] = self.vectors;
        for at in 0..TILE / LANES {
            let [i, j, k] = images.vectors(simd, at);
            let [x, y, z] = places.vectors(simd, at);
            places.0[0][at] = grid.floats(x - i * xx - j * xy - k * xz).into();
            places.0[1][at] = grid.floats(y - j * yy - k * yz).into();
            places.0[2][at] = grid.floats(z - k * zz).into();
        }
    }

    /// Whether no image of a step is shorter.
    #[inline(always)]
    pub fn is_short(&self, step: Place) -> bool {
        let is_short = |axis: usize| (step[axis] as f32).abs() * 2.0 <= self.vectors[axis][axis];
        // Nearly all are, along all axes.
        is_short(0) & is_short(1) & is_short(2)
    }

    /// The shortest image of a step from one place to another.
    #[inline(always)]
    pub fn shortest(&self, step: Place) -> Place {
        if self.is_short(step) { step } else { self.shorten(step).0 }
    }

    /// The same of one that is not short, and which image that is.
    pub fn shorten(&self, step: Place) -> (Place, [f32; 3]) {
        let mut short = step.map(|x| x as f32);
        let mut image = [0.0; 3];
        for axis in [2, 1, 0] {
            image[axis] = simd::nearest(short[axis] * self.inverse[axis]);
            let along = short.iter_mut().zip(self.vectors[axis]);
            along.for_each(|(x, along)| *x -= image[axis] * along);
        }
        let away = |other: usize| -> i32 {
            let along = (other..3).map(|axis| (image[axis] * self.vectors[axis][other]) as i32);
            along.fold(0, i32::wrapping_add)
        };
        (std::array::from_fn(|axis| step[axis].wrapping_sub(away(axis))), image)
    }

    /// Whether a step is longer than this part of the box along any axis, to any image.
    pub fn is_far(&self, step: Place, part: f32) -> bool {
        let short = self.shortest(step);
        (0..3).any(|axis| (short[axis] as f32).abs() > part * self.vectors[axis][axis])
    }
}
