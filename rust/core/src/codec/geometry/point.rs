//! Points in space, eight at a time.

use std::ops::{Add, Index, Mul, Sub};

use fearless_simd::{f32x8, prelude::*};

use crate::codec::simd::Lanes;

/// Three coordinates in memory, of eight points.
pub type StoredPoint = [Lanes; 3];

/// A point, or a vector between two, in each lane.
#[derive(Clone, Copy)]
pub struct Point<S: Simd>(pub [f32x8<S>; 3]);

impl<S: Simd> Point<S> {
    #[inline(always)]
    pub fn load(simd: S, [x, y, z]: &StoredPoint) -> Self {
        Self([x.load(simd), y.load(simd), z.load(simd)])
    }

    #[inline(always)]
    pub fn store(self) -> StoredPoint {
        let [x, y, z] = self.0;
        [Lanes(x.to_array()), Lanes(y.to_array()), Lanes(z.to_array())]
    }

    /// The same point in all lanes.
    #[inline(always)]
    pub fn splat(simd: S, [x, y, z]: [f32; 3]) -> Self {
        Self([f32x8::splat(simd, x), f32x8::splat(simd, y), f32x8::splat(simd, z)])
    }

    #[inline(always)]
    pub fn cross(self, other: Self) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([b * z - c * y, c * x - a * z, a * y - b * x])
    }

    #[inline(always)]
    pub fn dot(self, other: Self) -> f32x8<S> {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        a * x + b * y + c * z
    }

    /// The squared length.
    #[inline(always)]
    pub fn square(self) -> f32x8<S> {
        self.dot(self)
    }

    #[inline(always)]
    pub fn abs(self) -> Self {
        let [x, y, z] = self.0;
        Self([x.abs(), y.abs(), z.abs()])
    }
}

impl<S: Simd> Index<usize> for Point<S> {
    type Output = f32x8<S>;

    #[inline(always)]
    fn index(&self, axis: usize) -> &f32x8<S> {
        &self.0[axis]
    }
}

impl<S: Simd> Add for Point<S> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([a + x, b + y, c + z])
    }
}

impl<S: Simd> Sub for Point<S> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([a - x, b - y, c - z])
    }
}

impl<S: Simd> Mul<f32x8<S>> for Point<S> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, factor: f32x8<S>) -> Self {
        let [x, y, z] = self.0;
        Self([x * factor, y * factor, z * factor])
    }
}
