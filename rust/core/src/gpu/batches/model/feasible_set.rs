//! All coefficients that agree with the observations, as a linear program.
//!
//! A prediction is linear in the coefficients, none of which is negative. So those within a
//! relative error `e` of every observation, `peak·(1 - e) ≤ prediction ≤ peak / (1 - e)`, are a
//! convex set, and the largest prediction for another batch is a linear program of as many unknowns
//! as there are terms.

use microlp::{
    ComparisonOp, LinearExpr, OptimizationDirection, Problem, Solution, SolveOutcome, Variable,
};

/// Terms of the model.
pub const TERMS: usize = 4;
type Row = [f64; TERMS];

/// What each term is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients(Row);

impl Coefficients {
    /// The MiB that a batch with these terms needs.
    pub fn predict(&self, terms: &Row) -> f64 {
        self.0.iter().zip(terms).map(|(coefficient, term)| coefficient * term).sum()
    }

    /// The MiB that no items at all need.
    pub fn intercept(&self) -> f64 {
        self.0[0]
    }
}

/// The feasible coefficients, by what was observed: for each batch its terms relative to its peak,
/// so that every number is about 1.
#[derive(Debug, Clone, PartialEq)]
pub struct FeasibleSet {
    rows: Vec<Row>,
    /// What each term is divided by; 0 where the term doesn't occur.
    scales: Row,
}

/// Rounding must not turn a set of one point into an empty one.
const SLACK: f64 = 1e-7;

impl FeasibleSet {
    /// By batches' terms and peaks, of which there is at least one.
    pub fn new(observed: Vec<(Row, f64)>) -> Self {
        let mut rows: Vec<Row> =
            observed.into_iter().map(|(terms, peak)| terms.map(|term| term / peak)).collect();
        let mut scales = [0.0; TERMS];
        for (term, scale) in scales.iter_mut().enumerate() {
            *scale = rows.iter().map(|row| row[term]).fold(0.0, f64::max);
        }
        for row in &mut rows {
            *row = divided(row, &scales);
        }
        Self { rows, scales }
    }

    /// How many more observations there are than coefficients.
    pub fn surplus(&self) -> usize {
        let terms = self.scales.iter().filter(|&&scale| scale > 0.0).count();
        self.rows.len().saturating_sub(terms)
    }

    /// The smallest error that leaves any coefficients: the minimax relative error (Chebyshev).
    pub fn least_error(&self) -> f64 {
        let mut problem = Problem::new(OptimizationDirection::Minimize);
        let error = problem.add_var(1.0, (0.0, 1.0));
        let coefficients = self.coefficients(&mut problem, &[0.0; TERMS]);
        for row in &self.rows {
            let mut above = expression(&coefficients, row);
            let mut below = above.clone();
            above.add(error, 1.0);
            below.add(error, -1.0);
            problem.add_constraint(above, ComparisonOp::Ge, 1.0);
            problem.add_constraint(below, ComparisonOp::Le, 1.0);
        }
        // Zeros are wrong by 1 everywhere, so there is always a solution.
        solved(&problem).map_or(1.0, |solution| solution.objective().clamp(0.0, 1.0))
    }

    /// The coefficients with the largest prediction for a batch with these terms, of those within
    /// this error of everything observed.
    pub fn upper_bound(&self, terms: &Row, error: f64) -> Option<Coefficients> {
        let least = (1.0 - error) * (1.0 - SLACK);
        if least <= 0.0 {
            return None;
        }
        let scaled = divided(terms, &self.scales);
        let size = scaled.iter().copied().fold(0.0, f64::max);
        let mut problem = Problem::new(OptimizationDirection::Maximize);
        let coefficients = self.coefficients(&mut problem, &scaled.map(|term| term / size));
        for row in &self.rows {
            let prediction = expression(&coefficients, row);
            problem.add_constraint(prediction.clone(), ComparisonOp::Ge, least);
            problem.add_constraint(prediction, ComparisonOp::Le, 1.0 / least);
        }
        // Every term occurs in some observation, so each coefficient is bounded, and the error is
        // at least the one that leaves a solution. Where rounding says otherwise, nothing is
        // promised.
        let solution = solved(&problem)?;
        let mut upper = Coefficients([0.0; TERMS]);
        for (term, variable) in coefficients {
            upper.0[term] = solution.var_value(variable).max(0.0) / self.scales[term];
        }
        Some(upper)
    }

    fn coefficients(&self, problem: &mut Problem, objective: &Row) -> Vec<(usize, Variable)> {
        let used = (0..TERMS).filter(|&term| self.scales[term] > 0.0);
        used.map(|term| (term, problem.add_var(objective[term], (0.0, f64::INFINITY)))).collect()
    }
}

fn solved(problem: &Problem) -> Option<Solution> {
    match problem.solve() {
        Ok(SolveOutcome::Solution(solution)) => Some(solution),
        _ => None,
    }
}

fn divided(row: &Row, scales: &Row) -> Row {
    let mut scaled = *row;
    for (term, scale) in scaled.iter_mut().zip(scales) {
        *term = if *scale > 0.0 { *term / scale } else { 0.0 };
    }
    scaled
}

fn expression(coefficients: &[(usize, Variable)], row: &Row) -> LinearExpr {
    let mut sum = LinearExpr::empty();
    for &(term, variable) in coefficients {
        sum.add(variable, row[term]);
    }
    sum
}
