//! Innovations of an atom, and with which predictor and autoregressive coefficient they take the
//! fewest bits.

use crate::codec::geometry::domain::{self, Domain};
use crate::codec::geometry::entropy::noise::{BitCounts, FIXED, MOST_NOISY, all_bits};
use crate::codec::geometry::measure::residuals::Residuals;
use crate::codec::geometry::measure::{AtomFrames, Coding};
use crate::codec::geometry::model::AtomPredictor;
use crate::codec::geometry::predict::Predictor;
use crate::codec::geometry::predict::ar::{COEFFICIENTS, Reference, ar_predict};
use crate::codec::simd::LANES;

/// What the upper part of a typical residual of floats has above one, in bits: the lower bits,
/// whose width depends on the prediction, are noise whatever is known.
const UPPER: i32 = 4;
/// Lower bits of an atom without prediction at most.
const MOST_LOWER: i32 = 22;
/// What a number of noisy bits that is not the usual one takes in the model, in eighths of a bit. With
/// none, archives are up to 1 % larger.
const UNUSUAL: f32 = 32.0;
/// The same of one axis that has another number than the other degrees of freedom. If none had,
/// archives of proteins without water were up to 0.4 % larger.
const UNUSUAL_AXIS: f32 = 96.0;
/// In fewer frames none has: water would take up to 2 % more.
const FEW_FRAMES: usize = 16;

/// The innovations of atoms, one after the other.
#[derive(Default)]
pub struct Innovations {
    /// The innovations; of key frames, the residuals.
    pub written: Residuals,
    /// The lower bits of floats, and how many these are.
    pub lower: [Vec<(u32, u8)>; 3],
    /// The parameters of the last atom with each predictor: the model takes least where they are the
    /// same.
    usual: [AtomPredictor; Predictor::ALL.len()],
}

impl Innovations {
    /// The innovations of an atom.
    pub fn find(&mut self, atom: AtomFrames<'_>, found: &mut AtomPredictor) {
        let Coding { reference, is_fixed } = atom.coding;
        self.written.measure(atom, found);
        if is_fixed {
            let bits = self.written.values.each_ref().map(|residuals| all_bits(residuals));
            if bits.iter().all(|&bits| bits <= MOST_NOISY) {
                found.noisy = bits.map(|bits| FIXED + bits);
                found.key_noisy = found.noisy;
                return;
            }
        }
        if atom.tile.domain == Domain::FloatBits {
            self.split(found, reference);
        }
        if found.ar > 0 {
            ar_encode(&mut self.written, found, reference);
        }
        self.find_parameters(found, reference);
        self.usual[found.predictor as usize] = *found;
    }

    /// Leaves the upper parts of floats in `written`, and notes the level of the lower ones.
    fn split(&mut self, found: &mut AtomPredictor, reference: Reference) {
        let is_direct = found.predictor == Predictor::Direct;
        let mut errors = Vec::new();
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
            let typical = typical_exponent(&errors, faces, found.ar, reference);
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

    /// Finds how many bits are noise. Numbers that are alike mostly share them, which the model then
    /// packs better.
    fn find_parameters(&mut self, found: &mut AtomPredictor, reference: Reference) {
        let free = found.predictor.is_free();
        let count = free.iter().filter(|&&is_free| is_free).count();
        let is_told = found.ar > 0 && found.predictor.sides() > 1;
        let parameters = |all: &[BitCounts; 3], usual: [u8; 3]| {
            let (all_free, others) = all.split_at(count);
            let of_free = BitCounts::sum(all_free).noisy_bits(usual[0], UNUSUAL);
            let of_others = BitCounts::sum(others).noisy_bits(usual[2], UNUSUAL);
            match [of_free, of_others] {
                [None, None] if !is_told => [FIXED; 3],
                bits => free.map(|is_free| bits[usize::from(!is_free)].unwrap_or(0)),
            }
        };
        let usual = self.usual[found.predictor as usize];
        let keys = self.keys(found.ar, reference);
        let values = &self.written.values;
        let of = |i: usize| BitCounts::of(&values[i], &keys[i]);
        let all = [of(0), of(1), of(2)];
        found.noisy = parameters(&all, usual.noisy);
        if found.noisy[0] < FIXED && values[0].len() >= FEW_FRAMES {
            for (noisy, own) in found.noisy.iter_mut().zip(&all).take(count) {
                *noisy = own.noisy_bits(*noisy, UNUSUAL_AXIS).unwrap_or(*noisy);
            }
        }
        found.key_noisy = match found.ar {
            0 => found.noisy,
            _ => {
                let of = |i: usize| BitCounts::of(&keys[i], &[]);
                parameters(&[of(0), of(1), of(2)], usual.key_noisy)
            }
        };
    }

    /// The residuals in key frames, if these are coded otherwise.
    fn keys(&self, ar: u8, reference: Reference) -> [Vec<i32>; 3] {
        let frames = self.written.sides.len();
        let each = if reference == Reference::Key { LANES } else { frames };
        self.written.values.each_ref().map(|values| match ar {
            0 => Vec::new(),
            _ => values.chunks(each).map(|group| group[reference.key(group.len())]).collect(),
        })
    }
}

/// Makes innovations of residuals, and differences of sides.
fn ar_encode(written: &mut Residuals, found: &AtomPredictor, reference: Reference) {
    let Residuals { values, sides, .. } = written;
    let (frames, is_free) = (values[0].len(), found.predictor.is_free());
    let has_faces = found.predictor.has_faces();
    // From the last one on, for the frames before are not to be changed yet.
    for frame in (0..frames).rev() {
        let Some(other) = reference.of(frame, frames) else { continue };
        let faces = if has_faces { &sides[..] } else { &[] };
        if let Some(frames) = told_from(frame, frames, faces, reference) {
            for (residuals, _) in values.iter_mut().zip(is_free).filter(|(_, is_free)| *is_free) {
                let others = frames.map(|at| residuals[at]);
                let predicted = ar_predict(COEFFICIENTS[usize::from(found.ar)], others);
                residuals[frame] = residuals[frame].wrapping_sub(predicted);
            }
        }
        if found.predictor.sides() > 1 {
            let count = found.predictor.sides() as u8;
            let change = sides[frame] + count - sides[other];
            sides[frame] = if change < count { change } else { change - count };
        }
    }
}

/// The two frames that a residual is told from: none of a key frame, or where it is on another face.
fn told_from(
    frame: usize,
    frames: usize,
    faces: &[u8],
    reference: Reference,
) -> Option<[usize; 2]> {
    let before = |frame: usize| {
        let other = reference.of(frame, frames)?;
        (faces.is_empty() || faces[frame] == faces[other]).then_some(other)
    };
    let other = before(frame)?;
    Some([other, before(other).unwrap_or(other)])
}

/// The exponent of the base 2 of what innovations are like: of most, for few may be much larger,
/// where coordinates are near zero.
fn typical_exponent(errors: &[f32], faces: &[u8], ar: u8, reference: Reference) -> i32 {
    let [one, two] = COEFFICIENTS[usize::from(ar)].map(|eighths| eighths as f32 / 8.0);
    let innovation = |(frame, error): (usize, &f32)| {
        let told = told_from(frame, errors.len(), faces, reference).filter(|_| ar > 0);
        error - told.map_or(0.0, |[other, second]| one * errors[other] + two * errors[second])
    };
    let exponents = errors.iter().enumerate().map(innovation);
    let sum: i32 =
        exponents.map(|x| ((x.to_bits() >> 23) & 0xff) as i32 - 127).map(|e| e.max(-1)).sum();
    // Of what is normally distributed, the mean is 1.4 less than the logarithm of the deviation.
    (sum as f32 / errors.len().max(1) as f32 + 1.4).round() as i32
}
