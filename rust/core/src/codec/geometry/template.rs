//! Where an atom is, told from three others.
//!
//! `p = a + α (b − a) + β (c − a) + γ (b − a) × (c − a)`: three vectors that turn with the molecule,
//! so that three numbers that never change place the atom in every frame. They are fitted by least
//! squares. Molecules are stiff enough for this to leave a tenth of an ångström, which is less than
//! what the atom moves between frames.

use super::lanes::{LANES, Vector, cross, minus, three};

/// `p`, from the three atoms and the three numbers.
#[inline(always)]
pub fn predict<V: Vector>(near: &[[V; 3]; 3], coefficients: &[V; 3]) -> [V; 3] {
    let [a, b, c] = near;
    let (first, second) = (minus(b, a), minus(c, a));
    let normal = cross(&first, &second);
    let [alpha, beta, gamma] = *coefficients;
    three(
        #[inline(always)]
        |i| {
            let beside = beta.times(second[i]).plus(gamma.times(normal[i]));
            a[i].plus(alpha.times(first[i])).plus(beside)
        },
    )
}

/// The sums of the normal equations. Those of several atoms add up to those of all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    /// The upper triangle of the matrix, row by row.
    matrix: [f64; 6],
    /// The right-hand side.
    right: [f64; 3],
    /// The squares of what is to be told, and how many coordinates that are.
    square: f64,
    count: f64,
}

/// The ridge that keeps atoms in a line from giving endless numbers, relative to the diagonal.
const RIDGE: f64 = 1e-5;

impl Sums {
    /// The sums over vectors of frames of the three atoms and the atom itself.
    #[inline(always)]
    pub fn over<V: Vector>(groups: usize, frames: impl Fn(usize) -> ([[V; 3]; 3], [V; 3])) -> Self {
        let mut matrix = [V::all(0.0); 6];
        let mut right = [V::all(0.0); 3];
        let mut square = V::all(0.0);
        for group in 0..groups {
            let ([a, b, c], atom) = frames(group);
            let (first, second) = (minus(&b, &a), minus(&c, &a));
            let normal = cross(&first, &second);
            let offset = minus(&atom, &a);
            for i in 0..3 {
                let [x, y, z] = [first[i], second[i], normal[i]];
                let products =
                    [x.times(x), x.times(y), x.times(z), y.times(y), y.times(z), z.times(z)];
                for j in 0..6 {
                    matrix[j] = matrix[j].plus(products[j]);
                }
                for (j, feature) in [x, y, z].into_iter().enumerate() {
                    right[j] = right[j].plus(feature.times(offset[i]));
                }
                square = square.plus(offset[i].times(offset[i]));
            }
        }
        let mut sums = Self::default();
        for j in 0..6 {
            sums.matrix[j] = matrix[j].sum();
        }
        for j in 0..3 {
            sums.right[j] = right[j].sum();
        }
        sums.square = square.sum();
        sums.count = (3 * LANES * groups) as f64;
        sums
    }

    /// Adds those of another atom.
    pub fn add(&mut self, other: &Self) {
        for (sum, value) in self.matrix.iter_mut().zip(other.matrix) {
            *sum += value;
        }
        for (sum, value) in self.right.iter_mut().zip(other.right) {
            *sum += value;
        }
        self.square += other.square;
        self.count += other.count;
    }

    /// The mean square of what these numbers leave of a coordinate.
    pub fn left(&self, coefficients: [f32; 3]) -> f64 {
        let [xx, xy, xz, yy, yz, zz] = self.matrix;
        let [a, b, c] = coefficients.map(f64::from);
        let told = a * self.right[0] + b * self.right[1] + c * self.right[2];
        let squares = a * a * xx + b * b * yy + c * c * zz;
        let products = a * b * xy + a * c * xz + b * c * yz;
        let left = self.square - 2.0 * told + squares + 2.0 * products;
        // Of sums of floats, no more than this part is known.
        left.max(self.square * f64::from(f32::EPSILON)) / self.count.max(1.0)
    }

    /// The best three numbers.
    pub fn solve(&self) -> [f64; 3] {
        let [xx, xy, xz, yy, yz, zz] = self.matrix;
        // Unit diagonal: the cross product is of another size than the differences.
        let scale = [xx, yy, zz].map(|d| if d > 0.0 { d.sqrt().recip() } else { 0.0 });
        let d = 1.0 + RIDGE;
        let (xy, xz, yz) =
            (xy * scale[0] * scale[1], xz * scale[0] * scale[2], yz * scale[1] * scale[2]);
        let r: [f64; 3] = std::array::from_fn(|i| self.right[i] * scale[i]);
        // Cholesky, by hand.
        let l00 = d.sqrt();
        let (l10, l20) = (xy / l00, xz / l00);
        let l11 = (d - l10 * l10).max(RIDGE).sqrt();
        let l21 = (yz - l20 * l10) / l11;
        let l22 = (d - l20 * l20 - l21 * l21).max(RIDGE).sqrt();
        let y0 = r[0] / l00;
        let y1 = (r[1] - l10 * y0) / l11;
        let y2 = (r[2] - l20 * y0 - l21 * y1) / l22;
        let x2 = y2 / l22;
        let x1 = (y1 - l21 * x2) / l11;
        let x0 = (y0 - l10 * x1 - l20 * x2) / l00;
        [x0 * scale[0], x1 * scale[1], x2 * scale[2]]
    }

    /// The best `α` where only `b − a` may be used.
    pub fn solve_along(&self) -> f64 {
        if self.matrix[0] > 0.0 { self.right[0] / self.matrix[0] } else { 0.0 }
    }
}
