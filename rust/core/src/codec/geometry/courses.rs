//! What is left of coordinates, as courses in time, packed.
//!
//! Fields of fixed width have to hold the largest of their numbers. An archive keeps the upper part of each
//! number elsewhere: the course of a field, frame after frame, is first freed of its echo, the part of
//! what was left that is left again in the next frame; then the courses of all fields that are about
//! as large are packed together by pcodec. Which these are is a class, by their mean square.

use std::io::Write;

use super::constraint::Kind;
use super::lanes::{LANES, three};
use crate::codec::pco;
use crate::codec::value::Value;
use crate::error::DecodeError;
use crate::memory::try_zeroed;

/// Quarters of what was left in the frame before that are expected again.
pub const ECHOES: u8 = 5;
/// From so many frames on, half octaves are worth telling apart, and the beginning of a course, of which
/// nothing was expected, does not belong to its class.
pub const LONG: usize = 32;
/// More than there are: the mean square of 32 bits, and below one where few are not zero.
const CLASSES: usize = 96;
/// The octave of a mean square of one.
const OF_ONE: f64 = 12.0;

/// What each component of an atom is classed with: those that are alike share a class.
const fn classed(kind: Kind) -> [usize; 3] {
    match kind {
        Kind::Free | Kind::Template => [0, 0, 0],
        Kind::Bond | Kind::Sphere => [0, 0, 1],
        Kind::Angle | Kind::Circle => [0, 1, 1],
    }
}

/// Whether an atom has two classes.
const fn has_two(kind: Kind) -> bool {
    classed(kind)[2] == 1
}

/// Values at the beginning of a course that are not in its class.
fn apart(echo: u8, frames: usize) -> u32 {
    u32::from(echo > 0 && frames >= LONG)
}

/// Courses of three components of some atoms, where they were unpacked.
#[derive(Debug)]
pub struct Courses {
    values: Vec<i32>,
    /// Of each atom.
    places: Vec<Place>,
}

/// Where the courses of an atom are.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where each goes on after what is apart.
    starts: [u32; 3],
    /// How many values are apart: one or none.
    apart: u32,
    /// What is apart.
    first: [i32; 3],
}

impl Courses {
    /// Values of the three courses of an atom: those of the frames, which follow each other if it `is_run`.
    /// What lanes without a frame get is no matter.
    #[inline(always)]
    pub fn of(&self, atom: usize, frames: &[usize; LANES], is_run: bool) -> [[i32; LANES]; 3] {
        let Some(place) = self.places.get(atom) else { return [[0; LANES]; 3] };
        let apart = place.apart as usize;
        three(
            #[inline(always)]
            |i| {
                let course = self.values.get(place.starts[i] as usize..).unwrap_or_default();
                let from = frames[0].wrapping_sub(apart);
                if is_run && let Some(run) = course.get(from..).and_then(<[i32]>::first_chunk) {
                    return *run;
                }
                let mut values = [0; LANES];
                for lane in 0..LANES {
                    let at = frames[lane].wrapping_sub(apart);
                    values[lane] = course.get(at).copied().unwrap_or(place.first[i]);
                }
                values
            },
        )
    }

    /// Bytes that they take in memory.
    pub fn memory(&self) -> usize {
        self.values.len() * size_of::<i32>() + self.places.len() * size_of::<Place>()
    }

    /// Unpacks the courses of atoms of these kinds.
    pub fn unpack(bytes: &[u8], kinds: &[Kind], frames: usize) -> Result<Self, DecodeError> {
        const SHORT: DecodeError = DecodeError::CutShort { section: "residual section" };
        let mut rest = bytes;
        let mut part = || {
            let (length, after) = rest.split_at_checked(4).ok_or(SHORT)?;
            let (part, after) = after.split_at_checked(u32::read(length) as usize).ok_or(SHORT)?;
            rest = after;
            Ok::<_, DecodeError>(part)
        };
        let twos = kinds.iter().filter(|&&kind| has_two(kind)).count();
        let planes =
            zstd::bulk::decompress(part()?, 2 * kinds.len() + twos).map_err(DecodeError::zstd)?;
        if planes.len() != 2 * kinds.len() + twos {
            return Err(DecodeError::Count {
                unit: "classes",
                expected: 2 * kinds.len() + twos,
                found: planes.len(),
            });
        }
        let (echoes, classes) = planes.split_at(kinds.len());
        if echoes.iter().any(|&echo| echo >= ECHOES)
            || classes.iter().any(|&class| usize::from(class) >= CLASSES)
        {
            return Err(DecodeError::OutOfRange { what: "the class of a residual stream" });
        }
        let mut places: Vec<Place> = echoes
            .iter()
            .map(|&echo| Place { starts: [0; 3], apart: apart(echo, frames), first: [0; 3] })
            .collect();
        let members = by_class(kinds, echoes, classes.split_at(kinds.len()));
        let mut ends = Vec::with_capacity(CLASSES);
        // What is zero throughout is here for all.
        let mut end = frames + LANES;
        for members in &members {
            for &member in members {
                let place = &mut places[member as usize / 3];
                place.starts[member as usize % 3] = end as u32;
                end += frames - place.apart as usize;
            }
            ends.push(end);
        }
        if u32::try_from(end).is_err() {
            return Err(DecodeError::TooLong { section: "residuals", limit: "there can be" });
        }
        let beginnings = 3 * places.iter().map(|place| place.apart as usize).sum::<usize>();
        if beginnings > 0 {
            let mut firsts = try_zeroed(beginnings)?;
            pco::unpack_exactly(part()?, &mut firsts)?;
            let apart = places.iter_mut().filter(|place| place.apart > 0);
            for (place, first) in apart.zip(firsts.chunks_exact(3)) {
                place.first.copy_from_slice(first);
            }
        }
        let mut values = try_zeroed(end + LANES)?;
        // Those of class 0 are zero, which what they echo need not be.
        for bounds in ends.windows(2).filter(|bounds| bounds[0] < bounds[1]) {
            pco::unpack_exactly(part()?, &mut values[bounds[0]..bounds[1]])?;
        }
        if !rest.is_empty() {
            return Err(DecodeError::TooLong { section: "residual streams", limit: "its atoms" });
        }
        for (place, &echo) in places.iter().zip(echoes) {
            match echo {
                0 => {}
                4 => place.restore(&mut values, frames, |before| before),
                _ => place.restore(&mut values, frames, |before| expected(echo, before)),
            }
        }
        Ok(Self { values, places })
    }
}

impl Place {
    /// Gives the courses their echo again.
    #[inline(always)]
    fn restore(&self, values: &mut [i32], frames: usize, expected: impl Fn(i32) -> i32 + Copy) {
        let length = frames - self.apart as usize;
        let starts = self.starts.map(|start| start as usize);
        if starts[1] == starts[0] + length && starts[2] == starts[1] + length {
            let (x, rest) = values[starts[0]..starts[2] + length].split_at_mut(length);
            let (y, z) = rest.split_at_mut(length);
            restore([x, y, z], (self.apart > 0).then_some(self.first), expected);
            return;
        }
        for (start, first) in starts.into_iter().zip(self.first) {
            restore(
                [&mut values[start..start + length]],
                (self.apart > 0).then_some([first]),
                expected,
            );
        }
    }
}

/// The courses of each class; of class 0 those that have an echo.
fn by_class(kinds: &[Kind], echoes: &[u8], (first, second): (&[u8], &[u8])) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); CLASSES];
    let mut second = second.iter();
    for (atom, ((&kind, &echo), &class)) in kinds.iter().zip(echoes).zip(first).enumerate() {
        let other = if has_two(kind) { second.next().copied().unwrap_or(0) } else { 0 };
        for (slot, which) in classed(kind).into_iter().enumerate() {
            let class = usize::from([class, other][which]);
            if class > 0 || echo > 0 {
                members[class].push((3 * atom + slot) as u32);
            }
        }
    }
    members
}

/// Courses that are being packed.
pub struct Packer {
    frames: usize,
    /// The beginnings that are apart, and the values of each class.
    packs: Vec<Vec<i32>>,
    echoes: Vec<u8>,
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Packer {
    /// For courses of so many frames.
    pub fn new(frames: usize) -> Self {
        let (packs, plane) = (vec![Vec::new(); CLASSES], Vec::new);
        Self { frames, packs, echoes: plane(), first: plane(), second: plane() }
    }

    /// Adds the courses of the next atom, of which so many quarters are echo.
    pub fn add(&mut self, kind: Kind, echo: u8, mut courses: [Vec<i32>; 3]) {
        let apart = apart(echo, self.frames) as usize;
        let (mut squares, mut counts) = ([0.0; 2], [0usize; 2]);
        for (course, class) in courses.iter_mut().zip(classed(kind)) {
            remove(echo, course);
            let course = &course[apart..];
            squares[class] += course.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            counts[class] += course.len();
        }
        let class = |which: usize| self.class(squares[which] / counts[which].max(1) as f64);
        let classes = [class(0), class(1)];
        self.echoes.push(echo);
        self.first.push(classes[0]);
        if has_two(kind) {
            self.second.push(classes[1]);
        }
        for (course, which) in courses.iter().zip(classed(kind)) {
            let (first, others) = course.split_at(apart);
            self.packs[0].extend_from_slice(first);
            if classes[which] > 0 {
                self.packs[usize::from(classes[which])].extend_from_slice(others);
            }
        }
    }

    /// The class of a mean square, from 1 on; 0 for zero alone.
    fn class(&self, mean_square: f64) -> u8 {
        if mean_square == 0.0 {
            return 0;
        }
        let steps = if self.frames < LONG { 1.0 } else { 2.0 };
        let class = (OF_ONE + mean_square.log2() / 2.0) * steps;
        class.floor().clamp(1.0, (CLASSES - 1) as f64) as u8
    }

    /// All of them.
    pub fn finish(self, level: i32) -> Option<Vec<u8>> {
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), level).ok()?;
        let planes = [&self.echoes, &self.first, &self.second];
        // Else zstd makes room for what may be endless.
        let bytes = planes.iter().map(|plane| plane.len() as u64).sum();
        packer.set_pledged_src_size(Some(bytes)).ok()?;
        for plane in planes {
            packer.write_all(plane).and_then(|()| packer.flush()).ok()?;
        }
        let planes = packer.finish().ok()?;
        let mut bytes = (planes.len() as u32).to_le_bytes().to_vec();
        bytes.extend(planes);
        for values in self.packs.iter().filter(|values| !values.is_empty()) {
            let packed = pco::pack_plainly(values)?;
            bytes.extend((packed.len() as u32).to_le_bytes());
            bytes.extend(packed);
        }
        Some(bytes)
    }
}

/// What is expected after this value.
#[inline(always)]
fn expected(echo: u8, before: i32) -> i32 {
    ((i64::from(echo) * i64::from(before) + 2) >> 2) as i32
}

/// Leaves of each value what was not expected after the one before.
fn remove(echo: u8, course: &mut [i32]) {
    if echo > 0 {
        for at in (1..course.len()).rev() {
            course[at] = course[at].wrapping_sub(expected(echo, course[at - 1]));
        }
    }
}

/// The inverse, of some courses in step, after what came before them if anything did.
#[inline(always)]
fn restore<const N: usize>(
    courses: [&mut [i32]; N],
    before: Option<[i32; N]>,
    expected: impl Fn(i32) -> i32,
) {
    let length = courses[0].len();
    let (mut before, from) = match before {
        Some(before) => (before, 0),
        None => (std::array::from_fn(|i| courses[i].first().copied().unwrap_or(0)), 1),
    };
    for at in from..length {
        for i in 0..N {
            let value = courses[i][at].wrapping_add(expected(before[i]));
            courses[i][at] = value;
            before[i] = value;
        }
    }
}
