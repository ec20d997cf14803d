//! Least squares for the coefficients of a local frame, by the normal equations, with a small ridge
//! (A. Hoerl, R. Kennard: Ridge regression. Technometrics 12 (1970) 55) for atoms in a line.

/// The normal equations. Those of several atoms add up to those of all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NormalEquations {
    /// The upper triangle of the matrix, row by row.
    pub matrix: [f64; 6],
    /// The right-hand side.
    pub right: [f64; 3],
    /// The squares of what is predicted, and how many coordinates that are.
    pub square: f64,
    pub count: f64,
}

/// The ridge, relative to the diagonal.
const RIDGE: f64 = 1e-5;

impl NormalEquations {
    /// Adds those of another atom.
    pub fn add(&mut self, other: &Self) {
        self.matrix.iter_mut().zip(other.matrix).for_each(|(sum, value)| *sum += value);
        self.right.iter_mut().zip(other.right).for_each(|(sum, value)| *sum += value);
        self.square += other.square;
        self.count += other.count;
    }

    /// The mean square residual of a coordinate with these coefficients.
    pub fn residual_variance(&self, coefficients: [f32; 3]) -> f64 {
        let [xx, xy, xz, yy, yz, zz] = self.matrix;
        let [a, b, c] = coefficients.map(f64::from);
        let predicted = a * self.right[0] + b * self.right[1] + c * self.right[2];
        let squares = a * a * xx + b * b * yy + c * c * zz;
        let products = a * b * xy + a * c * xz + b * c * yz;
        let residual = self.square - 2.0 * predicted + squares + 2.0 * products;
        // Of sums of floats, no more than this part is known.
        residual.max(self.square * f64::from(f32::EPSILON)) / self.count.max(1.0)
    }

    /// The best `α`, `β`, `γ`.
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
}
