//! A tile in eight frames, one in each lane.

use super::ar1::{expected, is_free};
use super::arithmetic::Arithmetic;
use super::atoms::{Atom, Field, ROW, TileLayout};
use super::bits::Bits;
use super::constraint::{Choice, Kind, place};
use super::frame::Eight;
use super::integers::Integers;
use super::lanes::{LANES, Lanes, Vector, load, three, words_at};
use super::model::TILE;
use super::restore::{RestoreFloats, RestoreGrid};
use super::rice::{self, QuotientLanes};
use super::widest::Job;

/// What the frames are told from.
pub enum Told<'a> {
    /// Nothing: strings hold residuals.
    Nothing,
    /// The key frame in this lane.
    Lane(usize),
    /// Key frames that are not all among them: the residuals of that of each lane.
    Read(&'a [Eight; TILE]),
    /// The frame before: the residuals of the last one that was decoded.
    Before(&'a mut [[i32; 3]; TILE]),
}

impl Told<'_> {
    /// The residuals of an atom, from the innovations of frames and the residuals of key frames.
    #[inline(always)]
    fn residuals<V: Vector>(
        &mut self,
        atom: &Atom,
        index: usize,
        read: [V::Integers; 3],
        is_key: &[i32; LANES],
    ) -> [V::Integers; 3] {
        let quarters = is_free(atom.kind).map(|free| if free { atom.quarters } else { 0 });
        let add = |i: usize, told: V::Integers| {
            let is_key = V::Integers::load(is_key);
            read[i].plus(V::Integers::all(0).select(is_key, told))
        };
        match self {
            Self::Nothing => read,
            Self::Lane(lane) => three(
                #[inline(always)]
                |i| {
                    let key = read[i].array()[*lane % LANES];
                    add(i, V::Integers::all(expected(quarters[i], key)))
                },
            ),
            Self::Read(keys) => three(
                #[inline(always)]
                |i| {
                    let told = keys[index][i].map(|key| expected(quarters[i], key));
                    add(i, V::Integers::load(&told))
                },
            ),
            Self::Before(before) => three(
                #[inline(always)]
                |i| {
                    let before = &mut before[index][i];
                    let mut lanes = read[i].array();
                    for (residual, is_key) in lanes.iter_mut().zip(is_key) {
                        if *is_key == 0 {
                            *residual = residual.wrapping_add(expected(quarters[i], *before));
                        }
                        *before = *residual;
                    }
                    V::Integers::load(&lanes)
                },
            ),
        }
    }
}

/// The strings of a tile in eight frames, of which the residuals are read.
pub struct Strings<'a> {
    pub atoms: &'a [Atom],
    pub tile: &'a TileLayout,
    /// Frames, among them these.
    pub streams: &'a [u8],
    /// Where the string of each begins.
    pub starts: [i32; LANES],
    pub told: Told<'a>,
    /// −1 in lanes of key frames that have other fields, else 0.
    pub is_key: [i32; LANES],
    /// Room for what the strings say.
    pub read: &'a mut [Eight; TILE],
}

/// A tile in up to eight frames.
pub struct Group<'a> {
    pub strings: Strings<'a>,
    pub placing: Placing<'a>,
}

impl Job for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { mut strings, placing } = self;
        if strings.tile.is_fixed {
            let Strings { streams, starts, .. } = strings;
            placing.run::<V>(
                #[inline(always)]
                |_, atom| fixed::<V>(streams, &starts, &atom.field),
            );
        } else {
            strings.read_residuals::<V>();
            placing.run::<V>(
                #[inline(always)]
                |index, _| {
                    strings.read[index].map(
                        #[inline(always)]
                        |lanes| V::Integers::load(&lanes),
                    )
                },
            );
        }
    }
}

impl Job for Strings<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        self.read_residuals::<V>();
    }
}

/// What fields say whose residuals have no quotients.
#[inline(always)]
fn fixed<V: Vector>(streams: &[u8], starts: &[i32; LANES], field: &Field) -> [V::Integers; 4] {
    let all = V::Integers::all;
    let byte = i32::from(field.bit >> 3);
    let starts = std::array::from_fn(
        #[inline(always)]
        |lane| starts[lane].wrapping_add(byte),
    );
    let words = V::words(words_at(streams, &starts));
    let mut shift = i32::from(field.bit & 7);
    let mut read = [all(0); 4];
    for i in 0..3 {
        let noisy = field.noisy[i];
        let noise = V::after(words, all(shift)).and(all((1 << noisy) - 1));
        read[i] = rice::unzigzag_all(noise);
        shift += i32::from(noisy);
    }
    read[3] = V::after(words, all(shift));
    read
}

impl Strings<'_> {
    /// Reads the residuals of all atoms: apart, for that is a chain of small steps.
    #[inline(always)]
    fn read_residuals<V: Vector>(&mut self) {
        let all = V::Integers::all;
        let is_key = V::Integers::load(&self.is_key);
        let has_keys = is_key.is_any_negative();
        let starts = V::Integers::load(&self.starts);
        let TileLayout { field_bytes, key_field_bytes, .. } = *self.tile;
        let fields = all(key_field_bytes as i32).select(is_key, all(field_bytes as i32));
        let mut quotients = QuotientLanes::<V>::at(self.streams, starts.plus(fields));
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let (field, key) = (&atom.field, &atom.key_field);
            let of = |usual: i32, key: i32| match has_keys {
                true => all(key).select(is_key, all(usual)),
                false => all(usual),
            };
            let bits = of(field.bit.into(), key.bit.into());
            let words = V::gather(self.streams, starts.plus(bits.down::<3>()));
            let mut shift = bits.and(all(7));
            let mut residuals = [all(0); 3];
            let (is_taken, is_key_taken) = (field.has_quotients, key.has_quotients);
            let quotients = if is_taken || (has_keys && is_key_taken) {
                let taking = of(-i32::from(is_taken), -i32::from(is_key_taken));
                quotients.next(taking).map(
                    #[inline(always)]
                    |quotients| quotients.and(taking),
                )
            } else {
                residuals
            };
            for i in 0..3 {
                let noisy = of(field.noisy[i].into(), key.noisy[i].into());
                let noise = V::after(words, shift).and(all(1).up(noisy).minus(all(1)));
                residuals[i] = rice::residuals(quotients[i], noise, noisy);
                shift = shift.plus(noisy);
            }
            if atom.quarters > 0 {
                residuals = self.told.residuals::<V>(atom, index, residuals, &self.is_key);
            }
            let read = &mut self.read[index];
            for i in 0..3 {
                read[i] = residuals[i].array();
            }
            if atom.kind.choice_bits() > 0 {
                read[3] = V::after(words, shift).array();
            }
        }
    }
}

/// The atoms of a tile in up to eight frames, of which the coordinates are restored.
pub struct Placing<'a> {
    pub atoms: &'a [Atom],
    pub tile: &'a TileLayout,
    /// What makes floats of numbers on a grid, where they are on one.
    pub arithmetic: Option<Arithmetic>,
    pub streams: &'a [u8],
    /// Where the lower bits of each frame begin.
    pub lower: [i32; LANES],
    /// The atoms that have been decoded, in grid units.
    pub points: &'a mut [[Lanes; 3]; TILE],
    pub out: &'a mut [u8],
    /// Where the tile begins in each frame of `out`.
    pub rows: [usize; LANES],
    /// How many frames are wanted; the lanes beyond repeat the last one.
    pub count: usize,
}

impl Placing<'_> {
    /// By their residuals, and what frames choose.
    #[inline(always)]
    fn run<V: Vector>(self, read: impl Fn(usize, &Atom) -> [V::Integers; 4]) {
        let all = V::Integers::all;
        let centre = three(
            #[inline(always)]
            |i| V::all(self.tile.centre[i]),
        );
        let mut lower = Bits::<V>::at(self.streams, V::Integers::load(&self.lower));
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let near = match atom.kind {
                Kind::Free => [centre; 3],
                _ => three(
                    #[inline(always)]
                    |i| load(&self.points[usize::from(atom.near[i])]),
                ),
            };
            let [x, y, z, choice] = read(index, atom);
            let choice = match atom.kind.choice_bits() {
                0 => Choice::none(),
                _ => Choice::of(choice),
            };
            let (point, floats) = if let Some(arithmetic) = &self.arithmetic {
                let restore = &mut RestoreGrid([V::of(x), V::of(y), V::of(z)]);
                let point = place(atom.kind, &near, &atom.rule(), &choice, restore);
                (point, arithmetic.floats(&point))
            } else {
                let levels = three(
                    #[inline(always)]
                    |i| all(i32::from(atom.levels[i])),
                );
                let restore = &mut RestoreFloats {
                    lower: &mut lower,
                    upper: [x, y, z],
                    levels,
                    is_free: atom.kind == Kind::Free,
                    taking: all(-1),
                };
                let point = place(atom.kind, &near, &atom.rule(), &choice, restore);
                (point, point)
            };
            self.points[index] = [point[0].lanes(), point[1].lanes(), point[2].lanes()];
            write(self.out, &self.rows, self.count, index, &V::rows(floats));
        }
    }
}

#[inline(always)]
fn write(
    out: &mut [u8],
    starts: &[usize; LANES],
    count: usize,
    index: usize,
    rows: &[[f32; 4]; LANES],
) {
    for lane in 0..LANES.min(count) {
        let start = starts[lane] + index * ROW;
        if let Some(row) = out.get_mut(start..start + ROW) {
            for i in 0..3 {
                row[4 * i..4 * i + 4].copy_from_slice(&rows[lane][i].to_le_bytes());
            }
        }
    }
}
