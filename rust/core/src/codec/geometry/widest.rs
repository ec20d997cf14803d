//! The widest vectors that the machine has.
//!
//! The one place of the codec with `unsafe`. [`Avx2`] is only ever used by code that runs inside
//! [`with_avx2`], for nothing outside this file can name it; and that runs only where the machine was
//! asked whether it has AVX2. Each operation rounds as the one of [`Lanes`] does; a test compares them.

use super::lanes::{Lanes, Vector};

/// Work that is done with vectors. `run` and all that it calls must be inlined always, to be compiled
/// for the vectors that it is run with.
pub trait Job {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<V: Vector>(self) -> Self::Output;
}

/// Does a job with the widest vectors.
#[inline]
pub fn widest<J: Job>(job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the instructions that the function may use are there, as was just checked.
        return unsafe { with_avx2(job) };
    }
    job.run::<Lanes>()
}

#[cfg(target_arch = "x86_64")]
use avx2::with_avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::Job;
    use crate::codec::geometry::integers::Integers;
    use crate::codec::geometry::lanes::{LANES, Lanes, Vector, words_at};

    #[target_feature(enable = "avx2")]
    pub fn with_avx2<J: Job>(job: J) -> J::Output {
        job.run::<Avx2>()
    }

    /// Eight floats in a register.
    #[derive(Clone, Copy)]
    struct Avx2(__m256);

    /// Calls an instruction.
    macro_rules! avx2 {
        ($call:expr) => {
            // SAFETY: this type exists only inside `with_avx2` (see the top of the file), so the
            // machine has the instruction; and it touches no memory but what a reference gives.
            unsafe { $call }
        };
    }

    impl Vector for Avx2 {
        type Mask = __m256;
        type Words = [__m256i; 2];
        type Integers = Whole;

        #[inline(always)]
        fn load(lanes: &Lanes) -> Self {
            Self(avx2!(_mm256_load_ps(lanes.0.as_ptr())))
        }

        #[inline(always)]
        fn lanes(self) -> Lanes {
            let mut lanes = Lanes([0.0; LANES]);
            avx2!(_mm256_store_ps(lanes.0.as_mut_ptr(), self.0));
            lanes
        }

        #[inline(always)]
        fn all(value: f32) -> Self {
            Self(avx2!(_mm256_set1_ps(value)))
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            Self(avx2!(_mm256_add_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            Self(avx2!(_mm256_sub_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn times(self, other: Self) -> Self {
            Self(avx2!(_mm256_mul_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn over(self, other: Self) -> Self {
            Self(avx2!(_mm256_div_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(avx2!(_mm256_max_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(avx2!(_mm256_min_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn sqrt(self) -> Self {
            Self(avx2!(_mm256_sqrt_ps(self.0)))
        }

        #[inline(always)]
        fn abs(self) -> Self {
            Self(avx2!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)))
        }

        #[inline(always)]
        fn above(self, other: Self) -> __m256 {
            avx2!(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0))
        }

        #[inline(always)]
        fn select(self, mask: __m256, other: Self) -> Self {
            Self(avx2!(_mm256_blendv_ps(other.0, self.0, mask)))
        }

        #[inline(always)]
        fn turned(self, mask: __m256) -> Self {
            Self(avx2!(_mm256_xor_ps(self.0, _mm256_and_ps(mask, _mm256_set1_ps(-0.0)))))
        }

        #[inline(always)]
        fn differ(one: __m256, other: __m256) -> __m256 {
            avx2!(_mm256_xor_ps(one, other))
        }

        #[inline(always)]
        fn words(words: [u64; LANES]) -> Self::Words {
            let [a, b, c, d, e, f, g, h] = words;
            avx2!([
                _mm256_set_epi64x(d as i64, c as i64, b as i64, a as i64),
                _mm256_set_epi64x(h as i64, g as i64, f as i64, e as i64),
            ])
        }

        #[inline(always)]
        fn gather(bytes: &[u8], starts: Whole) -> Self::Words {
            let most = i32::try_from(bytes.len()).unwrap_or(0) - 8;
            if starts.above(Whole::all(most)).is_any_negative() || starts.is_any_negative() {
                return Self::words(words_at(bytes, &starts.array()));
            }
            let start = bytes.as_ptr().cast();
            // SAFETY: each word begins at a place from 0 to 8 before the end, as was just checked; and
            // the instruction is there, as this type exists only inside `with_avx2`.
            unsafe {
                [
                    _mm256_i32gather_epi64::<1>(start, _mm256_castsi256_si128(starts.0)),
                    _mm256_i32gather_epi64::<1>(start, _mm256_extracti128_si256::<1>(starts.0)),
                ]
            }
        }

        #[inline(always)]
        fn gather_halves(bytes: &[u8], starts: Whole) -> Whole {
            let most = i32::try_from(bytes.len()).unwrap_or(0) - 8;
            if starts.above(Whole::all(most)).or(starts).is_any_negative() {
                return Whole::load(&words_at(bytes, &starts.array()).map(|word| word as i32));
            }
            let start = bytes.as_ptr().cast();
            // SAFETY: each begins at a place from 0 to 8 before the end, as was just checked; and the
            // instruction is there, as this type exists only inside `with_avx2`.
            unsafe { Whole(_mm256_i32gather_epi32::<1>(start, starts.0)) }
        }

        #[inline(always)]
        fn after(words: Self::Words, bits: Whole) -> Whole {
            avx2!({
                let low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(bits.0));
                let high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256::<1>(bits.0));
                let low = _mm256_castsi256_ps(_mm256_srlv_epi64(words[0], low));
                let high = _mm256_castsi256_ps(_mm256_srlv_epi64(words[1], high));
                // The lower halves of all eight, which the shuffle leaves in the order 0 1 4 5 2 3 6 7.
                let halves = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
                Whole(_mm256_castpd_si256(_mm256_permute4x64_pd::<0b11_01_10_00>(halves)))
            })
        }

        #[inline(always)]
        fn bits(self) -> Whole {
            Whole(avx2!(_mm256_castps_si256(self.0)))
        }

        #[inline(always)]
        fn of_bits(bits: Whole) -> Self {
            Self(avx2!(_mm256_castsi256_ps(bits.0)))
        }

        #[inline(always)]
        fn of(integers: Whole) -> Self {
            Self(avx2!(_mm256_cvtepi32_ps(integers.0)))
        }

        #[inline(always)]
        fn whole(self) -> Whole {
            Whole(avx2!(_mm256_cvttps_epi32(self.0)))
        }

        #[inline(always)]
        fn lanes_of(mask: __m256) -> u32 {
            avx2!(_mm256_movemask_ps(mask)) as u32
        }

        #[inline(always)]
        fn times_wide(self, factor: f64) -> Self {
            avx2!({
                let factor = _mm256_set1_pd(factor);
                let low = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
                let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
                let low = _mm256_cvtpd_ps(_mm256_mul_pd(low, factor));
                let high = _mm256_cvtpd_ps(_mm256_mul_pd(high, factor));
                Self(_mm256_set_m128(high, low))
            })
        }

        #[inline(always)]
        fn rows(point: [Self; 3]) -> [[f32; 4]; LANES] {
            avx2!({
                let [Self(x), Self(y), Self(z)] = point;
                let (xy_low, xy_high) = (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
                let (z_low, z_high) = (_mm256_unpacklo_ps(z, z), _mm256_unpackhi_ps(z, z));
                let quads = [
                    _mm256_shuffle_ps::<0b01_00_01_00>(xy_low, z_low),
                    _mm256_shuffle_ps::<0b11_10_11_10>(xy_low, z_low),
                    _mm256_shuffle_ps::<0b01_00_01_00>(xy_high, z_high),
                    _mm256_shuffle_ps::<0b11_10_11_10>(xy_high, z_high),
                ];
                let mut rows = [[0.0; 4]; LANES];
                for lane in 0..4 {
                    let quad = quads[lane];
                    _mm_storeu_ps(rows[lane].as_mut_ptr(), _mm256_castps256_ps128(quad));
                    _mm_storeu_ps(rows[lane + 4].as_mut_ptr(), _mm256_extractf128_ps::<1>(quad));
                }
                rows
            })
        }
    }

    /// Eight integers in a register.
    #[derive(Clone, Copy)]
    struct Whole(__m256i);

    impl Integers for Whole {
        #[inline(always)]
        fn load(numbers: &[i32; LANES]) -> Self {
            Self(avx2!(_mm256_loadu_si256(numbers.as_ptr().cast())))
        }

        #[inline(always)]
        fn array(self) -> [i32; LANES] {
            let mut numbers = [0; LANES];
            avx2!(_mm256_storeu_si256(numbers.as_mut_ptr().cast(), self.0));
            numbers
        }

        #[inline(always)]
        fn all(value: i32) -> Self {
            Self(avx2!(_mm256_set1_epi32(value)))
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            Self(avx2!(_mm256_add_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            Self(avx2!(_mm256_sub_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(avx2!(_mm256_max_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(avx2!(_mm256_min_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn and(self, other: Self) -> Self {
            Self(avx2!(_mm256_and_si256(self.0, other.0)))
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            Self(avx2!(_mm256_or_si256(self.0, other.0)))
        }

        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            Self(avx2!(_mm256_xor_si256(self.0, other.0)))
        }

        #[inline(always)]
        fn above(self, other: Self) -> Self {
            Self(avx2!(_mm256_cmpgt_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn select(self, mask: Self, other: Self) -> Self {
            Self(avx2!(_mm256_blendv_epi8(other.0, self.0, mask.0)))
        }

        #[inline(always)]
        fn down<const BITS: i32>(self) -> Self {
            Self(avx2!(_mm256_srli_epi32::<BITS>(self.0)))
        }

        #[inline(always)]
        fn signed_down<const BITS: i32>(self) -> Self {
            Self(avx2!(_mm256_srai_epi32::<BITS>(self.0)))
        }

        #[inline(always)]
        fn up(self, counts: Self) -> Self {
            Self(avx2!(_mm256_sllv_epi32(self.0, counts.0)))
        }

        #[inline(always)]
        fn down_by(self, counts: Self) -> Self {
            Self(avx2!(_mm256_srlv_epi32(self.0, counts.0)))
        }

        #[inline(always)]
        fn is_any_negative(self) -> bool {
            avx2!(_mm256_movemask_ps(_mm256_castsi256_ps(self.0))) != 0
        }

        #[inline(always)]
        fn any(self) -> u32 {
            avx2!({
                let (low, high) =
                    (_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0));
                let four = _mm_or_si128(low, high);
                let two = _mm_or_si128(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
                let one = _mm_or_si128(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
                _mm_cvtsi128_si32(one) as u32
            })
        }
    }
}
