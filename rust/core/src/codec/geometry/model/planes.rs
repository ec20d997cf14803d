//! The model as bytes: plane by plane (all predictors, all first references, …), packed by zstd.
//! Molecules that repeat, like water, repeat in every plane and cost next to nothing.

use std::io::Write;

use super::{AtomPredictor, Model, TABLES, TILE, UsedTables, sides};
use crate::codec::bytes::unpack;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::entropy::noise::FIXED;
use crate::codec::geometry::entropy::symbol::symbols;
use crate::codec::geometry::predict::Predictor;
use crate::codec::simd::LARGEST;
use crate::codec::value::Value;
use crate::error::DecodeError;
use crate::memory::try_reserve;

/// Bytes of the model of one atom at most, before zstd.
const MOST_BYTES: usize = 1 + 3 + 3 * 4 + 3 * 4 + 3 * 3 + 1 + 1;
/// Bytes of the centre of a tile.
const CENTRE_BYTES: usize = 12;

impl Model {
    /// The model, packed.
    pub fn encode(&self, domain: Domain, level: i32) -> Option<Vec<u8>> {
        let [mut predictors, mut ars, mut classes]: [Vec<u8>; 3] = Default::default();
        let [mut offsets, mut levels, mut noisy, mut key_noisy]: [[Vec<u8>; 3]; 4] =
            Default::default();
        let [mut coefficients, mut distances]: [[Vec<f32>; 3]; 2] = Default::default();
        let mut used_tables = UsedTables::default();
        for atom in &self.atoms {
            used_tables.add(atom);
            let predictor = atom.predictor;
            predictors.push(predictor as u8);
            push(&mut offsets, atom.offsets, predictor.references());
            push(&mut coefficients, atom.coefficients, predictor.coefficients());
            push(&mut distances, atom.distances, predictor.distances());
            push(&mut levels, atom.levels, if domain == Domain::FloatBits { 3 } else { 0 });
            push(&mut noisy, relative(atom.noisy, predictor, u8::wrapping_sub), 3);
            ars.push(atom.ar);
            let keys = if atom.ar > 0 { 3 } else { 0 };
            push(&mut key_noisy, relative(atom.key_noisy, predictor, u8::wrapping_sub), keys);
            classes.push(atom.class);
        }
        let centres = self.centres.iter().flatten();
        let centres: Vec<u8> = centres.flat_map(|x| x.to_le_bytes()).collect();
        let planes = [predictors].into_iter().chain(offsets);
        let planes =
            planes.chain(coefficients.iter().chain(&distances).flat_map(|all| planes_of(all)));
        let planes = planes.chain(levels).chain(noisy).chain([ars, classes]).chain(key_noisy);
        let tables = used_tables.numbers().map(|table| self.tables[table].clone());
        let planes = planes.chain([centres]).chain(tables);
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), level).ok()?;
        let planes: Vec<Vec<u8>> = planes.filter(|plane| !plane.is_empty()).collect();
        // Else zstd makes room for what may be endless: tens of MB at the level of archives.
        let bytes = planes.iter().map(|plane| plane.len() as u64).sum();
        packer.set_pledged_src_size(Some(bytes)).ok()?;
        for plane in planes {
            // Each begins a block, so that it is packed by what is frequent in it.
            packer.write_all(&plane).and_then(|()| packer.flush()).ok()?;
        }
        packer.finish().ok()
    }
}

/// The model of `count` atoms, every number of it checked; of each atom what `lay_out` makes of it.
pub fn parse<A>(
    packed: &[u8],
    count: usize,
    domain: Domain,
    mut lay_out: impl FnMut(usize, &AtomPredictor) -> A,
) -> Result<Model<A>, DecodeError> {
    let tiles = count.div_ceil(TILE);
    let of_tables: usize = (0..TABLES).map(|table| symbols(sides(table))).sum();
    let most = count * MOST_BYTES + tiles * CENTRE_BYTES + of_tables;
    let bytes = unpack(packed, most)?;
    let mut planes = bytes.as_slice();
    let predictors = take(&mut planes, count)?;
    let mut of_number = [0; 256];
    predictors.iter().for_each(|&number| of_number[usize::from(number)] += 1);
    let (of_predictor, unknown) = of_number.split_at(Predictor::ALL.len());
    if let Some(above) = unknown.iter().position(|&count| count > 0) {
        let found = (of_predictor.len() + above) as u8;
        return Err(DecodeError::Unknown { what: "predictor", found });
    }
    // How many atoms have a first, a second and a third of what a predictor may need.
    let used = |needed: fn(Predictor) -> usize| {
        let all = Predictor::ALL.into_iter().zip(of_predictor);
        [0, 1, 2].map(|i| {
            let used = all.clone().filter(|&(predictor, _)| i < needed(predictor));
            used.map(|(_, count)| count).sum::<usize>()
        })
    };
    let mut offsets = three_of(&mut planes, used(Predictor::references))?.map(<[u8]>::iter);
    let mut coefficients = floats_of(&mut planes, used(Predictor::coefficients))?;
    let mut distances = floats_of(&mut planes, used(Predictor::distances))?;
    let with_levels = if domain == Domain::FloatBits { count } else { 0 };
    let levels = three_of(&mut planes, [with_levels; 3])?;
    let noisy = three_of(&mut planes, [count; 3])?;
    let [ars, classes] = [take(&mut planes, count)?, take(&mut planes, count)?];
    let predicted = ars.iter().filter(|&&ar| ar > 0).count();
    let mut key_noisy = three_of(&mut planes, [predicted; 3])?.map(<[u8]>::iter);
    let mut atoms = try_reserve(count)?;
    let mut used_tables = UsedTables::default();
    for (index, &number) in predictors.iter().enumerate() {
        let predictor = Predictor::ALL[usize::from(number)];
        let mut atom = AtomPredictor { predictor, ..AtomPredictor::default() };
        for i in 0..predictor.references() {
            atom.offsets[i] = offsets[i].next().copied().unwrap_or(0);
        }
        for i in 0..predictor.coefficients() {
            atom.coefficients[i] = coefficients[i].next().unwrap_or(0.0);
        }
        for i in 0..predictor.distances() {
            atom.distances[i] = distances[i].next().unwrap_or(0.0);
        }
        let of = |planes: &[&[u8]; 3]| planes.map(|plane| plane.get(index).copied().unwrap_or(0));
        atom.levels = of(&levels);
        atom.noisy = relative(of(&noisy), predictor, u8::wrapping_add);
        (atom.ar, atom.class) = (ars[index], classes[index]);
        atom.key_noisy = match atom.ar {
            0 => atom.noisy,
            _ => {
                let next = key_noisy.each_mut().map(|plane| plane.next().copied().unwrap_or(0));
                relative(next, predictor, u8::wrapping_add)
            }
        };
        atom.check(index % TILE, domain)?;
        used_tables.add(&atom);
        atoms.push(lay_out(index, &atom));
    }
    let mut centres = Vec::with_capacity(tiles);
    for bytes in take(&mut planes, tiles * CENTRE_BYTES)?.chunks_exact(CENTRE_BYTES) {
        let float = |i: usize| f32::from_bits(u32::read(&bytes[4 * i..]));
        let centre = [float(0), float(1), float(2)];
        if !centre.iter().all(|x| x.abs() <= LARGEST) {
            return Err(DecodeError::OutOfRange { what: "the centre of a tile" });
        }
        centres.push(centre);
    }
    let mut tables: [Vec<u8>; TABLES] = Default::default();
    for table in used_tables.numbers() {
        tables[table] = take(&mut planes, symbols(sides(table)))?.to_vec();
    }
    if !planes.is_empty() {
        return Err(DecodeError::TooLong { section: "bytes of model", limit: "its atoms" });
    }
    Ok(Model { atoms, centres, tables })
}

/// Numbers of noisy bits, of which those of residuals of one kind are mostly the same: where the atom
/// has symbols, `change` is applied to each and the first one of its kind. Stored are differences.
fn relative([x, y, z]: [u8; 3], predictor: Predictor, change: fn(u8, u8) -> u8) -> [u8; 3] {
    match predictor.is_free() {
        _ if x >= FIXED => [x, y, z],
        [_, true, true] => [x, change(y, x), change(z, x)],
        [_, true, false] => [x, change(y, x), z],
        [_, false, _] => [x, y, change(z, y)],
    }
}

/// Adds the first numbers of an atom, as many as are `used`, each to its plane.
fn push<T>(planes: &mut [Vec<T>; 3], numbers: [T; 3], used: usize) {
    planes.iter_mut().zip(numbers).take(used).for_each(|(plane, number)| plane.push(number));
}

/// The bytes of some floats, the highest first, after a rotation by which the sign comes last: so
/// the first is the exponent, and those that are zero in all of them cost nothing.
fn planes_of(floats: &[f32]) -> [Vec<u8>; 4] {
    let byte = |float: &f32, i: usize| float.to_bits().rotate_left(1).to_be_bytes()[i];
    std::array::from_fn(|i| floats.iter().map(|float| byte(float, i)).collect())
}

/// The next plane, of this length.
fn take<'a>(planes: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    planes.split_off(..length).ok_or(DecodeError::CutShort { section: "model" })
}

/// The next three planes, of these lengths.
fn three_of<'a>(planes: &mut &'a [u8], lengths: [usize; 3]) -> Result<[&'a [u8]; 3], DecodeError> {
    let [a, b, c] = lengths.map(|length| take(planes, length));
    Ok([a?, b?, c?])
}

/// Three times the floats of the next four planes, so many.
fn floats_of(
    planes: &mut &[u8],
    lengths: [usize; 3],
) -> Result<[std::vec::IntoIter<f32>; 3], DecodeError> {
    let [x, y, z] = lengths.map(|length| {
        let [a, b, c, d] = [0; 4].map(|_| take(planes, length));
        let bytes = a?.iter().zip(b?).zip(c?.iter().zip(d?));
        let bits = bytes.map(|((&a, &b), (&c, &d))| u32::from_be_bytes([a, b, c, d]));
        let floats: Vec<f32> = bits.map(|bits| f32::from_bits(bits.rotate_right(1))).collect();
        Ok::<_, DecodeError>(floats.into_iter())
    });
    Ok([x?, y?, z?])
}
