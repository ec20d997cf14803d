//! What is left of coordinates, as courses in time, packed.
//!
//! Fields of fixed width have to hold the largest of their numbers. An archive keeps the upper part of each
//! number elsewhere: the course of a field, frame after frame, is first freed of its echo, the part of
//! what was left that is left again in the next frame; then the courses of all fields that are about
//! as large are packed together by pcodec. Which these are is a class, by their mean square.

use std::io::Write;

use super::constraint::Kind;
use super::lanes::LANES;
use crate::codec::pack;
use crate::container::bytes::u32_at;

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
fn apart(echo: u8, frames: usize) -> usize {
    usize::from(echo > 0 && frames >= LONG)
}

/// Courses of three components of some atoms: atom, component, frame.
#[derive(Debug)]
pub struct Courses {
    /// From one course to the next: the frames, and some more to fill a vector.
    stride: usize,
    values: Vec<i32>,
}

impl Courses {
    /// The courses from an atom on.
    pub fn from(&self, atom: usize) -> &[i32] {
        self.values.get(atom * 3 * self.stride..).unwrap_or_default()
    }

    /// Values from one course to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Bytes that they take in memory.
    pub fn memory(&self) -> usize {
        self.values.len() * size_of::<i32>()
    }

    /// Unpacks the courses of atoms of these kinds.
    pub fn unpack(bytes: &[u8], kinds: &[Kind], frames: usize) -> Result<Self, String> {
        const SHORT: &str = "its courses are cut short";
        let mut rest = bytes;
        let mut part = || {
            let (length, after) = rest.split_at_checked(4).ok_or(SHORT)?;
            let (part, after) = after.split_at_checked(u32_at(length, 0) as usize).ok_or(SHORT)?;
            rest = after;
            Ok::<_, String>(part)
        };
        let twos = kinds.iter().filter(|&&kind| has_two(kind)).count();
        let planes = zstd::bulk::decompress(part()?, 2 * kinds.len() + twos)
            .map_err(|error| error.to_string())?;
        if planes.len() != 2 * kinds.len() + twos {
            return Err("an atom lacks the class of its courses".into());
        }
        let (echoes, classes) = planes.split_at(kinds.len());
        if echoes.iter().any(|&echo| echo >= ECHOES)
            || classes.iter().any(|&class| usize::from(class) >= CLASSES)
        {
            return Err("the class of a course is out of range".into());
        }
        let lengths = |echo: u8| (apart(echo, frames), frames - apart(echo, frames));
        let stride = if frames < LANES { frames } else { frames.next_multiple_of(LANES) };
        let mut values = vec![0; kinds.len() * 3 * stride];
        // One pack at a time, so that it is moved while it is near.
        let mut unpacked = Vec::new();
        for (class, members) in by_class(kinds, classes.split_at(kinds.len())).iter().enumerate() {
            let echo = |member: u32| echoes[member as usize / 3];
            let range = |member: u32| {
                let start = member as usize * stride;
                let (first, others) = lengths(echo(member));
                if class == 0 {
                    start..start + first
                } else {
                    start + first..start + first + others
                }
            };
            let count = members.iter().map(|&member| range(member).len()).sum();
            if count == 0 {
                continue;
            }
            unpacked.resize(count, 0);
            pack::unpack_exactly(part()?, &mut unpacked[..count])?;
            let mut next = unpacked.as_slice();
            for &member in members {
                let place = &mut values[range(member)];
                let (course, after) = next.split_at(place.len());
                place.copy_from_slice(course);
                next = after;
            }
        }
        if !rest.is_empty() {
            return Err("it has more courses than its atoms".into());
        }
        for (atom, &echo) in values.chunks_exact_mut((3 * stride).max(1)).zip(echoes) {
            match echo {
                0 => {}
                4 => restore(atom, stride, |before| before),
                _ => restore(atom, stride, |before| expected(echo, before)),
            }
        }
        Ok(Self { stride, values })
    }
}

/// The courses of each class; in the place of class 0, all that may have a beginning that is apart.
fn by_class(kinds: &[Kind], (first, second): (&[u8], &[u8])) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); CLASSES];
    members[0] = (0..3 * kinds.len() as u32).collect();
    let mut second = second.iter();
    for (atom, (&kind, &class)) in kinds.iter().zip(first).enumerate() {
        let other = if has_two(kind) { second.next().copied().unwrap_or(0) } else { 0 };
        for (slot, which) in classed(kind).into_iter().enumerate() {
            let class = usize::from([class, other][which]);
            if class > 0 {
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
        let apart = apart(echo, self.frames);
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
        for plane in [&self.echoes, &self.first, &self.second] {
            packer.write_all(plane).and_then(|()| packer.flush()).ok()?;
        }
        let planes = packer.finish().ok()?;
        let mut bytes = (planes.len() as u32).to_le_bytes().to_vec();
        bytes.extend(planes);
        for values in self.packs.iter().filter(|values| !values.is_empty()) {
            let packed = pack::pack_plainly(values)?;
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

/// The inverse, of three courses in step.
#[inline(always)]
fn restore(courses: &mut [i32], stride: usize, expected: impl Fn(i32) -> i32) {
    let (x, rest) = courses.split_at_mut(stride);
    let (y, z) = rest.split_at_mut(stride);
    let mut before = [x[0], y[0], z[0]];
    for ((x, y), z) in x[1..].iter_mut().zip(&mut y[1..]).zip(&mut z[1..]) {
        for (value, before) in [x, y, z].into_iter().zip(&mut before) {
            *value = value.wrapping_add(expected(*before));
            *before = *value;
        }
    }
}
