//! pprof's format read back into the model: what [`export::pprof`](crate::export::pprof) wrote, on this machine or another. Everything in a file is
//! checked, because anybody may have touched it.

mod error;
pub mod fields;
mod limited;

pub use error::ImportError;
pub use limited::{Limited, MOST, too_much, unpacking};

use crate::export::pprof;
use crate::model::function::{Function, FunctionId};
use crate::model::location::{Frame, Location, LocationId};
use crate::model::mapping::{Mapping, MappingId};
use crate::model::scale::SampleRate;
use crate::model::stack::StackId;
use crate::model::string::StringId;
use crate::model::values::{Estimated, ValueType};
use crate::model::{About, Profile, ProfileBuilder};
use crate::proto;
use crate::symbolize::{SourceRoots, name};
use fields::Value;
use prost::Message;
use std::borrow::Cow;
use std::collections::HashMap;

/// Rows beyond which a table is not read: no program has as many functions, and none allocates at as many places.
const MOST_ROWS: usize = 1 << 22;
/// Calls that were inlined, of all locations together, beyond which they are not read.
const MOST_FRAMES: usize = 4 * MOST_ROWS;
/// Bytes of all strings together, and of all comments, beyond which they are not read: a comment is a number in the file, and any number
/// of them may name the longest string.
const MOST_TEXT: usize = 256 << 20;
const MOST_COMMENTS: usize = 1 << 20;
/// Nodes beyond which the stacks are not read. A million stacks that share little have ten million.
pub const MOST_NODES: usize = 1 << 26;
/// Calls of one stack, with those that were inlined, beyond which it is not read: one of ours has at most 1,024 return addresses.
pub const MOST_DEPTH: usize = 1 << 15;
/// Samples beyond which they are not read: of stacks, blocks' sizes and tests.
pub const MOST_SAMPLES: usize = 1 << 24;

/// Whether `builder` has no more than a profile may have. What was put together from many files is held to it as well as each of them.
///
/// # Errors
/// Where it has more; says what.
pub fn within_limits(builder: &ProfileBuilder) -> Result<(), ImportError> {
    if builder.nodes() > MOST_NODES {
        return Err(format!("its stacks have more than {MOST_NODES} calls that they do not share").into());
    }
    if builder.samples() > MOST_SAMPLES {
        return Err(format!("it has more than {MOST_SAMPLES} samples").into());
    }
    Ok(())
}

/// The profile in a gzipped file. Whose code a function is, is not in it: `places` says.
///
/// The file is unpacked twice, for all that samples refer to and then for the samples, which may stand in any order. So what takes
/// memory is the profile, and not the file.
///
/// # Errors
/// Where it is none of ours, or larger than anybody's can be; says why.
pub fn import(bytes: &[u8], source_roots: &SourceRoots) -> Result<Profile, ImportError> {
    FileTables::read(bytes)?.profile(bytes, source_roots)
}

/// Hands each sample of the file to `take`, in the file's order.
///
/// # Errors
/// Where the file is no profile, or `take` fails.
pub fn each_sample(
    bytes: &[u8],
    mut take: impl FnMut(&proto::Sample) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut sample = proto::Sample::default();
    fields::read(bytes, |field, value| {
        if field != proto::SAMPLE {
            return Ok(());
        }
        sample.clear();
        sample.merge(value.bytes()?).map_err(ImportError::new)?;
        take(&sample)
    })
    .map(drop)
}

/// The file without its samples.
#[derive(Debug, Default)]
pub struct FileTables {
    /// What the numbers of a sample mean, in their order.
    pub sample_types: Vec<proto::ValueType>,
    /// The loaded objects, in the file's order.
    pub mappings: Vec<proto::Mapping>,
    /// The addresses, in the file's order.
    pub locations: Vec<proto::Location>,
    /// Of all locations.
    frames: usize,
    /// By no order that can be relied on: rows refer to each other by their `id`s.
    pub functions: Vec<proto::Function>,
    /// The string table, which every other table refers to by number.
    pub texts: Texts,
    /// Numbers of strings.
    pub comments: Vec<i64>,
    /// Start of what was recorded, in nanoseconds since the Unix epoch; 0 = not known.
    pub time_nanos: i64,
    /// Wall time of what was recorded, in nanoseconds.
    pub duration_nanos: i64,
    /// Mean bytes between samples; 0 or 1 = every allocation is in the file.
    pub period: i64,
    /// Bytes of the whole file, samples included, when unpacked.
    pub unpacked: u64,
}

impl FileTables {
    /// Reads all but the samples.
    ///
    /// # Errors
    /// Where it is no profile; says why.
    pub fn read(bytes: &[u8]) -> Result<FileTables, ImportError> {
        let mut tables = FileTables::default();
        tables.unpacked = fields::read(bytes, |field, value| tables.take(field, value))?;
        Ok(tables)
    }

    /// The profile of the file `bytes`, which these are the tables of.
    ///
    /// # Errors
    /// As of [`import`].
    pub fn profile(&self, bytes: &[u8], source_roots: &SourceRoots) -> Result<Profile, ImportError> {
        let texts = &self.texts;
        let mut builder = ProfileBuilder::default();
        let tables = Tables::read(self, texts, source_roots, &mut builder)?;
        let columns = columns(self, texts)?;
        let mut samples = Samples { tables, columns, texts, builder, path: Vec::new(), calls: 0 };
        each_sample(bytes, |sample| samples.add(sample))?;
        let about = About {
            rate: SampleRate(unsigned(self.period)),
            started_ns: unsigned(self.time_nanos),
            duration_ns: unsigned(self.duration_nanos),
            executable: String::new(),
            comments: self.comments()?,
        };
        Ok(samples.builder.finish(about))
    }

    /// The numbers of the fields are those of [`proto::Profile`].
    fn take(&mut self, field: u32, value: Value<'_>) -> Result<(), ImportError> {
        let number = || match value {
            Value::Number(number) => Ok(number.cast_signed()),
            Value::Bytes(_) => Err(ImportError::new("a text or a message stands where a number belongs")),
        };
        match field {
            1 => put(&mut self.sample_types, value.message()?),
            3 => put(&mut self.mappings, value.message()?),
            4 => {
                let location: proto::Location = value.message()?;
                self.frames += location.line.len();
                if self.frames > MOST_FRAMES {
                    return Err(format!("its locations have more than {MOST_FRAMES} frames").into());
                }
                put(&mut self.locations, location)
            }
            5 => put(&mut self.functions, value.message()?),
            6 => self.texts.put(value.bytes()?),
            9 => number().map(|found| self.time_nanos = found),
            10 => number().map(|found| self.duration_nanos = found),
            12 => number().map(|found| self.period = found),
            13 => value.numbers()?.into_iter().try_for_each(|comment| put(&mut self.comments, comment.cast_signed())),
            _ => Ok(()),
        }
    }
}

impl FileTables {
    fn comments(&self) -> Result<Vec<String>, ImportError> {
        let mut len = 0;
        let comment = |&comment: &i64| {
            let text = self.texts.get(comment)?;
            len += text.len();
            if len > MOST_COMMENTS {
                Err(format!("its comments have more than {MOST_COMMENTS} bytes").into())
            } else {
                Ok(text.to_owned())
            }
        };
        self.comments.iter().map(comment).collect()
    }
}

fn put<T>(rows: &mut Vec<T>, row: T) -> Result<(), ImportError> {
    if rows.len() == MOST_ROWS {
        return Err(format!("it has a table of more than {MOST_ROWS} rows").into());
    }
    rows.push(row);
    Ok(())
}

fn unsigned(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}

/// The name of a function, no longer than one that we give.
pub fn readable_name(name: &str) -> Cow<'_, str> {
    name::within(name, name::MOST_LETTERS)
}

/// Whether a stack of `calls` is one that is read.
///
/// # Errors
/// Where it is deeper.
pub fn within_depth(calls: usize) -> Result<(), ImportError> {
    if calls > MOST_DEPTH {
        return Err(format!("it has a stack of more than {MOST_DEPTH} calls").into());
    }
    Ok(())
}

/// Lines and columns beyond what there can be are not known.
fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// The strings of a file, one behind the other.
#[derive(Debug, Default)]
pub struct Texts {
    all: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Texts {
    fn put(&mut self, text: &[u8]) -> Result<(), ImportError> {
        if self.all.len() + text.len() > MOST_TEXT {
            return Err(format!("its names have more than {MOST_TEXT} bytes").into());
        }
        self.all.push_str(std::str::from_utf8(text).map_err(ImportError::new)?);
        put(&mut self.ends, self.all.len())
    }

    /// The string with this number.
    ///
    /// # Errors
    /// Where there is none.
    pub fn get(&self, index: i64) -> Result<&str, ImportError> {
        let at = usize::try_from(index).ok().filter(|at| *at < self.ends.len());
        let at = at.ok_or_else(|| format!("there is no string {index}"))?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Ok(&self.all[start..self.ends[at]])
    }
}

/// What the file's numbers stand for.
struct Tables {
    locations: HashMap<u64, LocationId>,
}

impl Tables {
    fn read(
        file: &FileTables,
        texts: &Texts,
        source_roots: &SourceRoots,
        builder: &mut ProfileBuilder,
    ) -> Result<Tables, ImportError> {
        let profile = builder.tables();
        let mut functions: HashMap<u64, FunctionId> = HashMap::new();
        for function in &file.functions {
            let (name, path) = (readable_name(texts.get(function.name)?), texts.get(function.filename)?);
            let origin = source_roots.origin(&name, path);
            let function_row =
                Function { name: profile.strings.intern(&name), file: profile.strings.intern(path), origin };
            functions.insert(function.id, profile.functions.intern(function_row));
        }
        let mut mappings: HashMap<u64, MappingId> = HashMap::new();
        for mapping in &file.mappings {
            let mapping_row = Mapping {
                start: mapping.memory_start,
                limit: mapping.memory_limit,
                file: profile.strings.intern(texts.get(mapping.filename)?),
                build_id: profile.strings.intern(texts.get(mapping.build_id)?),
                has_lines: mapping.has_line_numbers,
            };
            mappings.insert(mapping.id, profile.mappings.intern(mapping_row));
        }
        let mut locations: HashMap<u64, LocationId> = HashMap::new();
        for location in &file.locations {
            let frame = |line: &proto::Line| {
                let function = functions.get(&line.function_id).copied();
                let function = function.ok_or_else(|| format!("there is no function {}", line.function_id))?;
                Ok(Frame { function, line: small(line.line), column: small(line.column) })
            };
            let frames = location.line.iter().map(frame).collect::<Result<Box<[Frame]>, ImportError>>()?;
            if frames.is_empty() {
                return Err(format!("location {} has no function", location.id).into());
            }
            let mapping = match location.mapping_id {
                0 => None,
                id => Some(*mappings.get(&id).ok_or_else(|| format!("there is no mapping {id}"))?),
            };
            let location_row = Location { mapping, address: location.address, frames };
            locations.insert(location.id, profile.locations.intern(location_row));
        }
        Ok(Tables { locations })
    }
}

/// Which of the file's columns each of our metrics is in.
fn columns(file: &FileTables, texts: &Texts) -> Result<Vec<(ValueType, usize)>, ImportError> {
    /// Profiles that were written before these were known have none of them.
    const LATER: [ValueType; 2] = [ValueType::LeakedObjects, ValueType::LeakedSpace];
    let column = |value: ValueType| {
        let mut names = file.sample_types.iter().map(|kind| texts.get(kind.r#type));
        match names.position(|name| name == Ok(value.name())) {
            Some(column) => Some(Ok((value, column))),
            None if LATER.contains(&value) => None,
            None => Some(Err(format!("it has no `{}`", value.name()).into())),
        }
    };
    ValueType::ALL.into_iter().filter_map(column).collect()
}

/// Samples on their way into the profile.
struct Samples<'a> {
    tables: Tables,
    columns: Vec<(ValueType, usize)>,
    texts: &'a Texts,
    builder: ProfileBuilder,
    /// The stack before, outermost first: the file's location, the node it became, and how many calls lead there. The next one shares most
    /// of it.
    path: Vec<(u64, StackId, usize)>,
    /// How many calls the nodes stand for, with those that were inlined: as many as will be drawn.
    calls: usize,
}

impl Samples<'_> {
    fn add(&mut self, sample: &proto::Sample) -> Result<(), ImportError> {
        let ids = || sample.location_id.iter().rev();
        let shared = self.path.iter().zip(ids()).take_while(|(before, id)| before.0 == **id).count();
        self.path.truncate(shared);
        for id in ids().skip(shared) {
            let location = *self.tables.locations.get(id).ok_or_else(|| format!("there is no location {id}"))?;
            let caller = self.path.last().map(|(_, node, _)| *node);
            let before = self.builder.nodes();
            let frames = self.builder.tables().locations.get(location).frames.len();
            let depth = self.path.last().map_or(0, |(.., depth)| *depth) + frames;
            within_depth(depth)?;
            self.path.push((*id, self.builder.stack(caller, location), depth));
            if self.builder.nodes() > before {
                self.calls += frames;
            }
            if self.calls > MOST_NODES {
                return Err(format!("its stacks have more than {MOST_NODES} calls that they do not share").into());
            }
            within_limits(&self.builder)?;
        }
        let (_, stack, _) = *self.path.last().ok_or("a sample has no stack")?;
        let (mut test, mut block_size): (Option<StringId>, u64) = (None, 0);
        for label in &sample.label {
            match self.texts.get(label.key)? {
                pprof::TEST => {
                    test = Some(self.builder.tables().strings.intern(self.texts.get(label.str)?));
                }
                pprof::BLOCK_SIZE => block_size = unsigned(label.num),
                _ => {}
            }
        }
        let mut values = Estimated::default();
        for &(value, column) in &self.columns {
            values[value] = *sample.value.get(column).ok_or("a sample lacks a value")?;
        }
        self.builder.add(stack, test, block_size, &values);
        within_limits(&self.builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::pprof::export;
    use crate::model::test_profiles::profile;

    #[test]
    fn what_was_written_is_read_back_to_the_same_bytes() {
        let mut labelled = ProfileBuilder::default();
        labelled.merge(&profile(&[(&["main", "middle", "leaf"], 30), (&["main"], 8)]), Some("one"));
        labelled.merge(&profile(&[(&["main", "leaf"], 50)]), Some("two"));
        let comments = vec!["rate: 1".into()];
        let about = About { rate: SampleRate(1), started_ns: 5, duration_ns: 6, comments, ..About::default() };
        let written = export(&labelled.finish(about));
        let read = import(&written, &SourceRoots { workspace: "/w".into(), beside: Vec::new() }).unwrap();
        assert_eq!(export(&read), written);
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A field of a message that holds bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut len = bytes.len();
        while len > 0x7f {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend(bytes);
        out
    }

    /// An honest profile.
    fn honest() -> Vec<u8> {
        export(&profile(&[(&["main"], 8)]))
    }

    /// What is said of it with these fields behind its own.
    fn refused(fields: &[u8]) -> String {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut unpacking(&honest()), &mut bytes).unwrap();
        bytes.extend(fields);
        import(&gzipped(&bytes), &SourceRoots { workspace: "/w".into(), beside: Vec::new() }).unwrap_err().to_string()
    }

    #[test]
    fn what_a_few_bytes_make_large_is_refused_before_it_is() {
        // A location of two million frames, two bytes each, again and again.
        let location = field(4, &[[8, 77].as_slice(), &[0x22, 0].repeat(2 << 20)].concat());
        assert!(refused(&location.repeat(9)).contains("its locations have more than 16777216 frames"));
        // A long string, and comments that all are that string.
        let last = FileTables::read(&honest()).unwrap().texts.ends.len() as u8;
        let comments = [field(6, &[b'x'; 1 << 16]), field(13, &[last; 20])].concat();
        assert!(refused(&comments).contains("its comments have more than 1048576 bytes"));
        // Names.
        let name = field(6, &[b'x'; 15 << 20]);
        assert!(refused(&name.repeat(18)).contains("its names have more than 268435456 bytes"));
        // Functions, of two bytes each.
        let functions = refused(&field(5, &[]).repeat(MOST_ROWS + 1));
        assert!(functions.contains("it has a table of more than 4194304 rows"), "{functions}");
        // A stack that calls a thousand inlined functions at each of its places.
        let location = field(4, &[[8, 77].as_slice(), &[0x22, 2, 8, 1].repeat(1 << 10)].concat());
        let deep = refused(&[location.clone(), field(2, &field(1, &[77; 33]))].concat());
        assert!(deep.contains("it has a stack of more than 32768 calls"), "{deep}");
        // Many, none of which shares its callers with another.
        let other = field(4, &[[8, 78, 24, 1].as_slice(), &[0x22, 2, 8, 1].repeat(1 << 10)].concat());
        let stack = |number: u32| {
            let path: Vec<u8> = (0..12).map(|bit| 77 + (number >> bit & 1) as u8).collect();
            field(2, &[field(1, &[[77; 20].as_slice(), &path].concat()), field(2, &[0; 16])].concat())
        };
        let stacks = refused(&[vec![location, other], (0..1 << 12).map(stack).collect()].concat().concat());
        assert!(stacks.contains("its stacks have more than 67108864 calls that they do not share"), "{stacks}");
    }

    #[test]
    fn what_is_no_profile_is_an_error() {
        let source_roots = SourceRoots { workspace: "/w".into(), beside: Vec::new() };
        assert!(import(b"hello", &source_roots).is_err());
        let empty = export(&Profile::default());
        assert!(import(&empty, &source_roots).unwrap().samples.is_empty());
        let cut = &empty[..empty.len() / 2];
        assert!(import(cut, &source_roots).is_err());
    }
}
