//! A gzipped protobuf message, read field by field while it is unpacked: it is never in memory as a whole. What comes in may be
//! anybody's, so it is bounded in every direction.

use super::error::ImportError;
use super::limited::unpacking;
use std::io::{BufRead, BufReader, Read};

/// Bytes of the longest field that is read: one stack, one name, one location.
const LONGEST: u64 = 16 << 20;
/// Bytes that are unpacked at a time.
const STEP: usize = 64 << 10;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer; a signed one as its two's complement.
    Number(u64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The message that the field holds.
    ///
    /// # Errors
    /// Where it holds none.
    pub fn message<M: prost::Message + Default>(self) -> Result<M, ImportError> {
        M::decode(self.bytes()?).map_err(ImportError::new)
    }

    /// # Errors
    /// Where the field holds a number.
    pub fn bytes(self) -> Result<&'a [u8], ImportError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) => Err("a number stands where a text or a message belongs".into()),
        }
    }

    /// The numbers that the field holds: one, or a packed list of them.
    ///
    /// # Errors
    /// Where a list ends within a number.
    pub fn numbers(self) -> Result<Vec<u64>, ImportError> {
        match self {
            Value::Number(number) => Ok(vec![number]),
            Value::Bytes(mut bytes) => {
                let mut numbers = Vec::new();
                while let Some(number) = varint(&mut bytes)? {
                    numbers.push(number);
                }
                Ok(numbers)
            }
        }
    }
}

/// Hands each field of the message in `bytes` to `take`, with its number, in the order of the message. Gives how many bytes they unpack to.
///
/// # Errors
/// Where they are no gzipped message, or hold more than any file may, or `take` fails.
pub fn read(bytes: &[u8], take: impl FnMut(u32, Value<'_>) -> Result<(), ImportError>) -> Result<u64, ImportError> {
    let mut message = unpacking(bytes);
    read_from(&mut message, take)?;
    Ok(message.given())
}

fn read_from(
    message: impl Read,
    mut take: impl FnMut(u32, Value<'_>) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut input = BufReader::with_capacity(STEP, message);
    let mut field = Vec::new();
    while let Some(key) = varint(&mut input)? {
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or("there is a field without a number")?;
        match key & 7 {
            0 => take(number, Value::Number(varint(&mut input)?.ok_or(CUT)?))?,
            2 => {
                let len = varint(&mut input)?.ok_or(CUT)?;
                exactly(&mut input, len, &mut field)?;
                take(number, Value::Bytes(&field))?;
            }
            // Numbers of a fixed length, of which our messages have none.
            1 => exactly(&mut input, 8, &mut field)?,
            5 => exactly(&mut input, 4, &mut field)?,
            other => return Err(format!("there is a field of kind {other}, which does not exist").into()),
        }
    }
    Ok(())
}

const CUT: &str = "it ends in the middle";

/// The next `len` bytes.
fn exactly(input: &mut impl Read, len: u64, into: &mut Vec<u8>) -> Result<(), ImportError> {
    if len > LONGEST {
        return Err(format!("it has a field of {len} bytes, and none of ours is longer than {LONGEST}").into());
    }
    into.clear();
    let read = input.take(len).read_to_end(into).map_err(ImportError::new)?;
    if read as u64 == len { Ok(()) } else { Err(CUT.into()) }
}

/// The number at the start of `input`; `None` at its end, which a file that was cut does not have.
fn varint(input: &mut impl BufRead) -> Result<Option<u64>, ImportError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let next = input.fill_buf().map_err(ImportError::new)?;
        let Some(&byte) = next.first() else {
            return if shift == 0 { Ok(None) } else { Err(CUT.into()) };
        };
        input.consume(1);
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(number));
        }
    }
    Err("there is a number of more than 64 bits".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn fields(bytes: &[u8]) -> Result<Vec<String>, ImportError> {
        let mut found = Vec::new();
        read(bytes, |number, value| {
            found.push(format!("{number} {value:?}"));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn each_field_comes_by_itself() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x25, 0, 0, 0, 0, 0x28, 1];
        assert_eq!(fields(&packed(&message)).unwrap(), ["1 Number(150)", "2 Bytes([104, 105])", "5 Number(1)"]);
    }

    #[test]
    fn what_ends_in_the_middle_or_is_no_message_is_an_error() {
        let whole = packed(&[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i']);
        for cut in 0..whole.len() {
            assert!(fields(&whole[..cut]).is_err(), "{cut}");
        }
        for broken in [&[0x12, 3, b'h', b'i'][..], &[0x08], &[0x0b], &[0x00, 1], &[0xff; 11]] {
            assert!(fields(&packed(broken)).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn no_more_is_unpacked_than_the_limit() {
        let mut message = Vec::new();
        for _ in 0..3 {
            message.extend([0x12, 0x80, 0x80, 0x40]);
            message.resize(message.len() + (1 << 20), 0);
        }
        let count = |most: u64| {
            let mut count = 0;
            let message = super::super::Limited::new(message.as_slice(), most);
            read_from(message, |_, _| {
                count += 1;
                Ok(())
            })
            .map(|()| count)
        };
        assert_eq!(count(message.len() as u64), Ok(3));
        assert_eq!(count(message.len() as u64 - 1), Err(ImportError::new("it holds more than 3 MiB")));
    }

    #[test]
    fn a_length_that_nothing_stands_behind_takes_no_memory() {
        let error = fields(&packed(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f])).unwrap_err().to_string();
        assert!(error.contains("none of ours is longer"), "{error}");
    }
}
