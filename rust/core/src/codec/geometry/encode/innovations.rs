//! Innovations of an atom, and with which predictor and autoregressive coefficient they take the
//! fewest bits.

use crate::codec::geometry::domain::{self, Domain};
use crate::codec::geometry::entropy::noise::{FIXED, MOST_NOISY, all_bits, noisy_bits};
use crate::codec::geometry::measure::residuals::Residuals;
use crate::codec::geometry::measure::{AtomFrames, Coding};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Predictor;
use crate::codec::geometry::predict::ar1::{Reference, ar1_predict};
use crate::codec::simd::LANES;

/// What the upper part of a typical residual of floats has above one, in bits: the lower bits,
/// whose width depends on the prediction, are noise whatever is known.
const UPPER: i32 = 4;
/// Lower bits of an atom without prediction at most.
const MOST_LOWER: i32 = 22;

/// The innovations of atoms, one after the other.
pub struct Innovations {
    frames: usize,
    domain: Domain,
    reference: Reference,
    /// Whether residuals have a fixed width where they can.
    is_fixed: bool,
    /// The innovations; of key frames, the residuals.
    pub written: Residuals,
    /// The lower bits of floats, and how many these are.
    pub lower: [Vec<(u32, u8)>; 3],
    /// Those of key frames.
    keys: Vec<i32>,
    /// The parameters of the last atom with each predictor: the model takes least where they are the
    /// same.
    usual: [AtomPredictor; Predictor::ALL.len()],
}

impl Innovations {
    pub fn new(frames: usize, domain: Domain, Coding { reference, is_fixed }: Coding) -> Self {
        let (written, lower) = (Residuals::default(), Default::default());
        let (keys, usual) = (Vec::new(), [AtomPredictor::DIRECT; Predictor::ALL.len()]);
        Self { frames, domain, reference, is_fixed, written, lower, keys, usual }
    }

    /// The innovations of an atom.
    pub fn find(&mut self, atom: AtomFrames<'_>, found: &mut AtomPredictor) {
        self.written.measure(atom, found);
        if self.is_fixed {
            let bits = self.written.values.each_ref().map(|residuals| all_bits(residuals));
            if bits.iter().all(|&bits| bits <= MOST_NOISY) {
                found.noisy = bits.map(|bits| FIXED + bits);
                found.key_noisy = found.noisy;
                return;
            }
        }
        if self.domain == Domain::FloatBits {
            self.split(found);
        }
        if found.quarters > 0 {
            ar1_encode(&mut self.written, found, self.reference);
        }
        self.find_parameters(found);
        self.usual[found.predictor as usize] = *found;
    }

    /// Leaves the upper parts of floats in `written`, and notes the level of the lower ones.
    fn split(&mut self, found: &mut AtomPredictor) {
        let is_direct = found.predictor == Predictor::Direct;
        let mut errors = Vec::with_capacity(self.frames);
        for i in 0..3 {
            let (values, exponents) = (&mut self.written.values[i], &self.written.exponents[i]);
            // Comparable between frames: in floats of the exponent of the first.
            let usual = if is_direct { 0 } else { i32::from(exponents[0]) };
            let scale = |exponent: u8| match is_direct {
                true => 1.0,
                false => f32::from_bits(
                    (127 + i32::from(exponent) - usual).clamp(1, 254) as u32 * (1 << 23),
                ),
            };
            errors.clear();
            errors.extend(values.iter().zip(exponents).map(|(&v, &e)| v as f32 * scale(e)));
            let faces = if found.predictor.has_faces() { &self.written.sides[..] } else { &[] };
            let typical = typical_exponent(&errors, faces, found.quarters, self.reference);
            let most = if is_direct { MOST_LOWER } else { 255 };
            let level = (typical - UPPER + usual).clamp(0, most) as u8;
            found.levels[i] = level;
            self.lower[i].clear();
            for (value, &exponent) in values.iter_mut().zip(exponents) {
                let width = match is_direct {
                    true => u32::from(level),
                    false => domain::width(u32::from(level), u32::from(exponent)),
                };
                let lower = (u64::from(*value as u32) & ((1 << width) - 1)) as u32;
                *value = value.checked_shr(width).unwrap_or(0);
                self.lower[i].push((lower, width as u8));
            }
        }
    }

    /// Finds how many bits are noise. Numbers that are alike share them, which the model then packs
    /// better.
    fn find_parameters(&mut self, found: &mut AtomPredictor) {
        let free = found.predictor.is_free();
        let count = free.iter().filter(|&&is_free| is_free).count();
        let [x, y, z] = &self.written.values;
        let all = [&x[..], &y[..], &z[..]];
        let (all_free, others) = all.split_at(count);
        self.keys.clear();
        if found.quarters > 0 {
            let each = if self.reference == Reference::Key { LANES } else { self.frames };
            for values in all {
                let groups = values.chunks(each);
                self.keys.extend(groups.map(|group| group[self.reference.key(group.len())]));
            }
        }
        let (free_keys, other_keys) = self.keys.split_at(self.keys.len() / 3 * count);
        let is_told = found.quarters > 0 && found.predictor.sides() > 1;
        let parameters = |bits: [Option<u8>; 2]| match bits {
            [None, None] if !is_told => [FIXED; 3],
            bits => free.map(|is_free| bits[usize::from(!is_free)].unwrap_or(0)),
        };
        let AtomPredictor { noisy, key_noisy, .. } = self.usual[found.predictor as usize];
        let of_free = noisy_bits(all_free, free_keys, noisy[0]);
        found.noisy = parameters([of_free, noisy_bits(others, other_keys, noisy[2])]);
        found.key_noisy = found.noisy;
        if found.quarters > 0 {
            let of_free = noisy_bits(&[free_keys], &[], key_noisy[0]);
            found.key_noisy = parameters([of_free, noisy_bits(&[other_keys], &[], key_noisy[2])]);
        }
    }
}

/// Makes innovations of residuals, and differences of sides.
fn ar1_encode(written: &mut Residuals, found: &AtomPredictor, reference: Reference) {
    let Residuals { values, sides, .. } = written;
    let (frames, is_free) = (values[0].len(), found.predictor.is_free());
    let has_faces = found.predictor.has_faces();
    // From the last one on, for the frames before are not to be changed yet.
    for frame in (0..frames).rev() {
        let Some(other) = reference.of(frame, frames) else { continue };
        let is_moved = has_faces && sides[frame] != sides[other];
        let quarters = if is_moved { 0 } else { found.quarters };
        for (residuals, _) in values.iter_mut().zip(is_free).filter(|(_, is_free)| *is_free) {
            let predicted = ar1_predict(quarters, residuals[other]);
            residuals[frame] = residuals[frame].wrapping_sub(predicted);
        }
        if found.predictor.sides() > 1 {
            let count = found.predictor.sides() as u8;
            sides[frame] = (sides[frame] + count - sides[other]) % count;
        }
    }
}

/// The exponent of the base 2 of what innovations are like: of most, for few may be much larger,
/// where coordinates are near zero.
fn typical_exponent(errors: &[f32], faces: &[u8], quarters: u8, reference: Reference) -> i32 {
    let part = f32::from(quarters) / 4.0;
    let innovation = |(frame, error): (usize, &f32)| {
        let other = if quarters > 0 { reference.of(frame, errors.len()) } else { None };
        let other = other.filter(|&other| faces.is_empty() || faces[frame] == faces[other]);
        error - other.map_or(0.0, |other| part * errors[other])
    };
    let exponents = errors.iter().enumerate().map(innovation);
    let sum: i32 =
        exponents.map(|x| ((x.to_bits() >> 23) & 0xff) as i32 - 127).map(|e| e.max(-1)).sum();
    // Of what is normally distributed, the mean is 1.4 less than the logarithm of the deviation.
    (sum as f32 / errors.len().max(1) as f32 + 1.4).round() as i32
}
