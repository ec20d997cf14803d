//! Atoms that keep their distance from others.
//!
//! Most simulations hold the bonds of hydrogens rigid, and water as a whole. An atom at a known
//! distance from another has two coordinates that are free, not three; one at known distances from
//! two others has one. The free ones are coded against their prediction, and the others follow from
//! the sphere or the circle that the atom is on, with a rest that only makes up for rounding.
//!
//! Which coordinate is which is decided per frame, from what reader and writer both know: the one
//! along which the sphere is steepest is the one that is computed, for there errors grow least.

use super::integers::Integers;
use super::lanes::{Vector, cross, minus, three};
use super::template::predict;

/// How an atom is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// By itself: `near[0]` is the middle of where it may be.
    Free = 0,
    /// From three atoms.
    Template = 1,
    /// At a distance from `a`, near its template.
    Bond = 2,
    /// At a distance from `a`, anywhere.
    Sphere = 3,
    /// At distances from `a` and `b`, near its template.
    Angle = 4,
    /// At distances from `a` and `b`, anywhere.
    Circle = 5,
}

impl Kind {
    /// All kinds, by number.
    pub const ALL: [Self; 6] =
        [Self::Free, Self::Template, Self::Bond, Self::Sphere, Self::Angle, Self::Circle];

    /// How many atoms it is placed from.
    pub fn references(self) -> usize {
        match self {
            Self::Free => 0,
            Self::Sphere => 1,
            Self::Circle => 2,
            Self::Template | Self::Bond | Self::Angle => 3,
        }
    }

    /// How many numbers its template has, or its own place.
    pub fn coefficients(self) -> usize {
        match self {
            Self::Free | Self::Sphere => 0,
            Self::Circle => 1,
            Self::Template | Self::Bond | Self::Angle => 3,
        }
    }

    /// How many distances it keeps: to `a`; then from `a` to `b`, and to `b`.
    pub fn distances(self) -> usize {
        match self {
            Self::Free | Self::Template => 0,
            Self::Bond | Self::Sphere => 1,
            Self::Angle | Self::Circle => 3,
        }
    }

    /// Bits of the choice that each frame makes.
    pub fn choice_bits(self) -> u32 {
        match self {
            Self::Free | Self::Template | Self::Bond => 0,
            Self::Sphere => 3,
            Self::Angle | Self::Circle => 1,
        }
    }
}

/// What places an atom in every frame.
#[derive(Debug, Clone, Copy)]
pub struct Rule<V> {
    /// `α`, `β`, `γ`.
    pub coefficients: [V; 3],
    /// The square of the distance to `a`.
    pub square: V,
    /// `(x − a) · (b − a)`, which follows from the three distances.
    pub product: V,
}

/// What each frame says about an atom besides what is left of its coordinates.
#[derive(Clone, Copy)]
pub struct Choice<V: Vector> {
    /// On a sphere, the axis along which the atom is farthest from the middle: 0, 1 or 2.
    pub axis: V,
    /// On which side of the middle it is; which of two points on a circle it is.
    pub side: V::Mask,
}

impl<V: Vector> Choice<V> {
    /// What kinds say that say nothing.
    #[inline(always)]
    pub fn none() -> Self {
        let zero = V::all(0.0);
        Self { axis: zero, side: zero.above(zero) }
    }

    /// From the lowest bits of numbers: the side, and twice the axis.
    #[inline(always)]
    pub fn of(bits: V::Integers) -> Self {
        let some = |bits: V::Integers, which| V::of(bits.and(V::Integers::all(which)));
        Self { side: some(bits, 1).above(V::all(0.0)), axis: some(bits.down::<1>(), 3) }
    }
}

/// A cyclic exchange of axes, which may differ between lanes.
#[derive(Clone, Copy)]
pub struct Turn<V: Vector> {
    second: V::Mask,
    third: V::Mask,
}

impl<V: Vector> Turn<V> {
    /// Brings this axis to the front.
    #[inline(always)]
    fn to(axis: V) -> Self {
        Self { second: axis.above(V::all(0.5)), third: axis.above(V::all(1.5)) }
    }

    /// Brings the largest coordinate to the front.
    #[inline(always)]
    fn to_largest(v: &[V; 3]) -> Self {
        let [x, y, z] = [v[0].abs(), v[1].abs(), v[2].abs()];
        let second = y.above(x);
        Self { second, third: z.above(y.select(second, x)) }
    }

    /// Brings the smallest coordinate to the front.
    #[inline(always)]
    fn to_smallest(v: &[V; 3]) -> Self {
        let [x, y, z] = [v[0].abs(), v[1].abs(), v[2].abs()];
        let second = x.above(y);
        Self { second, third: y.select(second, x).above(z) }
    }

    #[inline(always)]
    fn pick(&self, x: V, y: V, z: V) -> V {
        z.select(self.third, y.select(self.second, x))
    }

    /// The coordinates in their new order.
    #[inline(always)]
    pub fn apply(&self, [x, y, z]: &[V; 3]) -> [V; 3] {
        [self.pick(*x, *y, *z), self.pick(*y, *z, *x), self.pick(*z, *x, *y)]
    }

    /// The coordinates in their old order.
    #[inline(always)]
    fn undo(&self, [x, y, z]: &[V; 3]) -> [V; 3] {
        [self.pick(*x, *z, *y), self.pick(*y, *x, *z), self.pick(*z, *y, *x)]
    }
}

/// Tells, or is told, the coordinates of an atom one after the other. What each is predicted to be
/// may depend on the ones before.
pub trait Settle<V: Vector> {
    /// The coordinate that is asked for as number `slot`; after the turn it is coordinate `axis`. A
    /// writer answers with what it is and notes the difference to `predicted`; a reader adds the noted
    /// difference.
    fn settle(&mut self, slot: usize, turn: &Turn<V>, axis: usize, predicted: V) -> V;
}

/// Places an atom, coordinate by coordinate.
#[inline(always)]
pub fn place<V: Vector>(
    kind: Kind,
    near: &[[V; 3]; 3],
    rule: &Rule<V>,
    choice: &Choice<V>,
    to: &mut impl Settle<V>,
) -> [V; 3] {
    let a = &near[0];
    let zero = V::all(0.0);
    match kind {
        Kind::Free | Kind::Template => {
            let p = match kind {
                Kind::Free => *a,
                _ => predict(near, &rule.coefficients),
            };
            let turn = Turn::to(zero);
            three(
                #[inline(always)]
                |i| to.settle(i, &turn, i, p[i]),
            )
        }
        Kind::Bond | Kind::Sphere => {
            let is_near = kind == Kind::Bond;
            let p = if is_near { predict(near, &rule.coefficients) } else { *a };
            let offset = minus(&p, a);
            let turn = if is_near { Turn::to_largest(&offset) } else { Turn::to(choice.axis) };
            let side = if is_near { zero.above(turn.apply(&offset)[0]) } else { choice.side };
            let (p, a) = (turn.apply(&p), turn.apply(a));
            let y = to.settle(0, &turn, 1, p[1]);
            let z = to.settle(1, &turn, 2, p[2]);
            let (dy, dz) = (y.minus(a[1]), z.minus(a[2]));
            let height = rule.square.minus(dy.times(dy)).minus(dz.times(dz)).root();
            let x = to.settle(2, &turn, 0, a[0].plus(height.turned(side)));
            turn.undo(&[x, y, z])
        }
        Kind::Angle | Kind::Circle => {
            let is_near = kind == Kind::Angle;
            let axis = minus(&near[1], a);
            let p = if is_near {
                predict(near, &rule.coefficients)
            } else {
                three(
                    #[inline(always)]
                    |i| a[i].plus(rule.coefficients[0].times(axis[i])),
                )
            };
            let offset = minus(&p, a);
            // Along the circle where it passes the template; or where it reaches farthest.
            let turn = if is_near {
                Turn::to_largest(&cross(&axis, &offset))
            } else {
                Turn::to_smallest(&axis)
            };
            let (p, a) = (turn.apply(&p), turn.apply(a));
            let (axis, offset) = (turn.apply(&axis), turn.apply(&offset));
            let x = to.settle(0, &turn, 0, p[0]);
            // A plane cuts the circle that two spheres share in two points, `middle ± reach`.
            let dx = x.minus(a[0]);
            let rest = rule.product.minus(dx.times(axis[0]));
            let square = axis[1].times(axis[1]).plus(axis[2].times(axis[2]));
            let along = rest.over(square);
            let beside = rule.square.minus(dx.times(dx)).minus(rest.times(along));
            let beside = beside.over(square).root();
            let middle = [along.times(axis[1]), along.times(axis[2])];
            let reach = [zero.minus(axis[2].times(beside)), axis[1].times(beside)];
            let side = if is_near {
                let first = offset[1].minus(middle[0]).times(reach[0]);
                let nearer = first.plus(offset[2].minus(middle[1]).times(reach[1]));
                V::differ(choice.side, zero.above(nearer))
            } else {
                choice.side
            };
            let y = to.settle(1, &turn, 1, a[1].plus(middle[0].plus(reach[0].turned(side))));
            let z = to.settle(2, &turn, 2, a[2].plus(middle[1].plus(reach[1].turned(side))));
            turn.undo(&[x, y, z])
        }
    }
}

/// What a writer chooses for an atom on a sphere.
#[inline(always)]
pub fn face<V: Vector>(atom: &[V; 3], a: &[V; 3]) -> Choice<V> {
    let offset = minus(atom, a);
    let turn = Turn::to_largest(&offset);
    Choice {
        axis: turn.pick(V::all(0.0), V::all(1.0), V::all(2.0)),
        side: V::all(0.0).above(turn.apply(&offset)[0]),
    }
}
