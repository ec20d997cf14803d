//! Four functions around molly that `ctypes` can call. Lengths are nm in the file and Å in what is read.

use std::ffi::{CStr, OsStr, c_char};
use std::io::{BufReader, Error, ErrorKind, Result, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::slice;

use molly::reader::read_nbytes;
use molly::selection::AtomSelection;
use molly::{Frame, XTCReader, padding};

const ANGSTROM: f32 = 10.0;
/// Bytes between the header of a frame and the length of what is compressed, in frames of ten atoms or more.
const PRELUDE: i64 = 32;

/// A file that is open, where its frames begin, and the memory that reading one needs.
pub struct File {
    /// Buffered, for a header takes a dozen reads.
    reader: XTCReader<BufReader<std::fs::File>>,
    offsets: Vec<u64>,
    n_atoms: usize,
    frame: Frame,
    scratch: Vec<u8>,
}

impl File {
    fn open(path: &OsStr) -> Result<Self> {
        let mut reader = XTCReader::new(BufReader::new(std::fs::File::open(path)?));
        let (offsets, n_atoms) = offsets(&mut reader)?;
        Ok(Self { reader, offsets, n_atoms, frame: Frame::default(), scratch: Vec::new() })
    }

    /// Fill `out` with frames `start`, `start + step`, … of the atoms that are selected.
    fn read(
        &mut self,
        start: usize,
        step: usize,
        atoms: &AtomSelection,
        out: &mut [f32],
    ) -> Result<()> {
        let offsets = self.offsets.iter().skip(start).step_by(step);
        let mut rest = out;
        for (place, &offset) in offsets.enumerate() {
            if rest.is_empty() {
                break;
            }
            if step != 1 || place == 0 {
                self.reader.file.seek(SeekFrom::Start(offset))?;
            }
            self.reader.read_frame_with_scratch(&mut self.frame, &mut self.scratch, atoms)?;
            let (frame, after) = rest
                .split_at_mut_checked(self.frame.positions.len())
                .ok_or_else(|| Error::other("no room for a frame"))?;
            for (to, from) in frame.iter_mut().zip(&self.frame.positions) {
                *to = from * ANGSTROM;
            }
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(Error::other("too few frames")) }
    }
}

/// Find where frames begin, and how many atoms they have: molly's `determine_offsets`, which reads files
/// without a buffer only, and takes a quarter of the time of small ones.
fn offsets(reader: &mut XTCReader<BufReader<std::fs::File>>) -> Result<(Vec<u64>, usize)> {
    let (mut offsets, mut n_atoms) = (Vec::new(), 0);
    loop {
        let offset = reader.file.stream_position()?;
        let header = match reader.read_header() {
            Ok(header) => header,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Ok((offsets, n_atoms));
            }
            Err(error) => return Err(error),
        };
        reader.file.seek_relative(PRELUDE)?;
        let length = read_nbytes(&mut reader.file, header.magic)?;
        reader.file.seek_relative((length + padding(length)) as i64)?;
        offsets.push(offset);
        n_atoms = header.natoms;
    }
}

/// Open a file; null where that fails.
///
/// # Safety
///
/// `path` is a string that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn molly_open(path: *const c_char) -> *mut File {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    match File::open(OsStr::from_bytes(path.to_bytes())) {
        Ok(file) => Box::into_raw(Box::new(file)),
        Err(error) => {
            eprintln!("molly: {error}");
            std::ptr::null_mut()
        }
    }
}

/// Tell the numbers of frames and of atoms.
///
/// # Safety
///
/// `file` is of `molly_open` and not closed; `shape` points to two numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn molly_shape(file: *const File, shape: *mut usize) {
    // SAFETY: the caller's promise.
    let (file, shape) = unsafe { (&*file, slice::from_raw_parts_mut(shape, 2)) };
    shape.copy_from_slice(&[file.offsets.len(), file.n_atoms]);
}

/// Read frames `start`, `start + step`, … until `out` is full. False where that fails.
///
/// # Safety
///
/// `file` is of `molly_open`, not closed and used by nobody else; `mask` has `mask_length` bytes of 0 or
/// 1, none of them to read all atoms, and `out` has room for `out_length` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn molly_read(
    file: *mut File,
    start: usize,
    step: usize,
    mask: *const bool,
    mask_length: usize,
    out: *mut f32,
    out_length: usize,
) -> bool {
    // SAFETY: the caller's promise.
    let (file, mask, out) = unsafe {
        (
            &mut *file,
            slice::from_raw_parts(mask, mask_length),
            slice::from_raw_parts_mut(out, out_length),
        )
    };
    let atoms = if mask.is_empty() { AtomSelection::All } else { AtomSelection::Mask(mask.into()) };
    let read = file.read(start, step, &atoms, out);
    if let Err(error) = &read {
        eprintln!("molly: {error}");
    }
    read.is_ok()
}

/// Close a file.
///
/// # Safety
///
/// `file` is of `molly_open` and not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn molly_close(file: *mut File) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(file) });
}
