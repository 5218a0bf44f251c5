//! A reader that fails where more comes out of it than may: a gzipped file of a kilobyte may unpack to a gigabyte.

use flate2::read::GzDecoder;
use std::io::{self, Read, Take};

/// Bytes of the largest file, packed or unpacked: as many as a ledger can have.
pub const MOST: u64 = 1 << 30;

/// What a gzipped file unpacks to. Reading it fails where the file is not gzipped, or holds more than [`MOST`] bytes.
pub fn unpacking(bytes: &[u8]) -> Limited<GzDecoder<&[u8]>> {
    Limited::new(GzDecoder::new(bytes), MOST)
}

/// Gives what it reads from, and an error where that is too much.
#[derive(Debug)]
pub struct Limited<R> {
    /// One byte more than may be there, so that too many can be told from just enough.
    from: Take<R>,
    most: u64,
}

impl<R: Read> Limited<R> {
    /// Gives what `from` gives, and fails behind `most` bytes of it.
    pub fn new(from: R, most: u64) -> Limited<R> {
        Limited { from: from.take(most + 1), most }
    }

    /// How many bytes have come out.
    pub fn given(&self) -> u64 {
        self.most + 1 - self.from.limit()
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if self.from.limit() == 0 { Err(too_much(self.most)) } else { Ok(read) }
    }
}

/// The error that says so.
pub fn too_much(most: u64) -> io::Error {
    io::Error::other(format!("it holds more than {} MiB", most >> 20))
}
