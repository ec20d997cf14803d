use super::*;
use proptest::prelude::*;

/// A curve as a network might have it, in MiB.
#[derive(Debug, Clone, Copy)]
struct Curve(Row);

impl Curve {
    fn peak(&self, shape: &Shape) -> f64 {
        self.0.iter().zip(shape.terms()).map(|(coefficient, term)| coefficient * term).sum()
    }

    fn seen(&self, batch: u64, length: Option<u64>, noise: f64) -> Observation {
        let shape = Shape { batch, length, chunk: None };
        Observation { shape, peak: self.peak(&shape) * (1.0 + noise) }
    }
}

fn shape(length: Option<u64>) -> Shape {
    Shape { batch: 1, length, chunk: None }
}

#[test]
fn exact_observations_give_the_curve_back() {
    let curve = Curve([2_000.0, 0.5, 4e-3, 6e-6]);
    let observations: Vec<Observation> =
        [(1, 64), (2, 128), (1, 256), (3, 200), (1, 384), (2, 300)]
            .map(|(batch, length)| curve.seen(batch, Some(length), 0.0))
            .to_vec();
    let model = Model::fit(&observations).unwrap();
    let long = Shape { batch: 2, length: Some(1024), chunk: None };
    let need = model.need(&long, 0.0);
    let truth = curve.peak(&long);
    assert!(need >= truth * 0.999, "{need} is below {truth}");
    assert!(need <= truth * 1.35, "{need} is far above {truth}");
}

#[test]
fn one_observation_means_the_steepest_growth() {
    let seen = Curve([0.0, 10.0, 0.0, 0.0]).seen(1, Some(100), 0.0);
    let model = Model::fit(&[seen]).unwrap();
    let double = Shape { batch: 1, length: Some(200), chunk: None };
    assert!((model.need(&double, 0.0) - 8_000.0).abs() < 1e-6);
    let half = Shape { batch: 1, length: Some(50), chunk: None };
    assert!((model.need(&half, 0.0) - 1_000.0).abs() < 1e-6);
}

#[test]
fn a_quadratic_law_alone_would_run_long_proteins_out_of_memory() {
    let curve = Curve([1_000.0, 0.0, 2e-3, 4e-5]);
    let lengths = [128, 192, 256, 320, 384];
    let observations = lengths.map(|length| curve.seen(1, Some(length), 0.0));
    let long = Shape { batch: 1, length: Some(1024), chunk: None };
    let rows: Vec<(Row, f64)> =
        observations.iter().map(|seen| (seen.shape.terms(), seen.peak)).collect();
    // Without the cubic term the best fit is far too low.
    let quadratic = [0b001, 0b010, 0b011, 0b100, 0b101, 0b110, 0b111];
    let best = quadratic
        .iter()
        .filter_map(|&terms| explain(&rows, terms))
        .min_by(|one, other| one.error.total_cmp(&other.error))
        .unwrap();
    assert!(best.predict(&long.terms()) < 0.6 * curve.peak(&long));
    assert!(Model::fit(&observations).unwrap().need(&long, 0.0) >= 0.999 * curve.peak(&long));
}

#[test]
fn chunks_take_the_cubic_growth_away() {
    let curve = Curve([1_000.0, 0.0, 2e-3, 4e-5]);
    let seen = |length, chunk| {
        let shape = Shape { batch: 1, length: Some(length), chunk };
        Observation { shape, peak: curve.peak(&shape) }
    };
    let observations: Vec<Observation> = [64, 128, 256, 384]
        .into_iter()
        .flat_map(|length| [seen(length, None), seen(length, Some(32)), seen(length, Some(64))])
        .collect();
    let model = Model::fit(&observations).unwrap();
    let long = Shape { batch: 1, length: Some(2_000), chunk: Some(64) };
    let need = model.need(&long, 0.0);
    assert!((need / curve.peak(&long) - 1.0).abs() < 0.2, "{need}");
}

/// A thousand made-up tasks with 5 % noise, each observed four times at the sizes that the model
/// itself proposed.
#[test]
fn after_four_noisy_observations_the_batch_is_nearly_the_largest_and_never_too_large() {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as f64 / (1u64 << 53) as f64
    };
    let (mut too_large, mut too_small) = (0, 0);
    for _ in 0..1_000 {
        let free = 16_000.0 + 64_000.0 * uniform();
        let largest = 30.0 + 200.0 * uniform();
        let fixed = free * 0.4 * uniform();
        let curve = Curve([fixed, (free - fixed) / largest, 0.0, 0.0]);
        let truth = ((free - fixed) / curve.0[1]) as u64;
        let mut observations = vec![];
        let mut batch = 1;
        for _ in 0..4 {
            observations.push(curve.seen(batch, None, 0.1 * uniform() - 0.05));
            let model = Model::fit(&observations).unwrap();
            batch = model.largest_batch(shape(None), free, 0.05, batch * 16).max(1);
        }
        too_large += usize::from(batch > truth);
        too_small += usize::from((batch as f64) < 0.9 * truth as f64 - 1.0);
    }
    println!("too large: {too_large}, below 90 %: {too_small} of 1000");
    assert_eq!(too_large, 0);
    assert!(too_small <= 20, "{too_small} of 1000 are below 90 % of the largest batch");
}

proptest! {
    /// Longer items, larger batches and less memory never make more fit.
    #[test]
    fn the_batch_shrinks_with_length_and_grows_with_memory(
        seen in proptest::collection::vec((1u64..9, 16u64..1024, 500.0f64..40_000.0), 1..8),
        length in 16u64..2_000,
        longer in 0u64..2_000,
        free in 100.0f64..80_000.0,
        more in 0.0f64..40_000.0,
    ) {
        let observations: Vec<Observation> = seen
            .into_iter()
            .map(|(batch, length, peak)| Observation {
                shape: Shape { batch, length: Some(length), chunk: None },
                peak,
            })
            .collect();
        let model = Model::fit(&observations).unwrap();
        let batch = |length, free| model.largest_batch(shape(Some(length)), free, 0.05, 1 << 20);
        prop_assert!(batch(length + longer, free) <= batch(length, free));
        prop_assert!(batch(length, free) <= batch(length, free + more));
    }
}
