//! pprof's format read back into the model: what [`super::pprof`] wrote, on this machine or another. Everything in a file is
//! checked, because anybody may have touched it.

use super::proto;
use crate::intake;
use crate::profile::function::{Function, FunctionId};
use crate::profile::location::{Frame, Location, LocationId};
use crate::profile::mapping::{Mapping, MappingId};
use crate::profile::scale::SampleRate;
use crate::profile::string::StringId;
use crate::profile::values::{Estimated, ValueType};
use crate::profile::{About, Profile, ProfileBuilder};
use crate::symbolize::Places;
use prost::Message;
use std::collections::HashMap;

/// The profile in a gzipped file. Whose code a function is, is not in it: `places` says.
///
/// # Errors
/// Where it is none of ours; says why.
pub fn import(bytes: &[u8], places: &Places) -> Result<Profile, String> {
    let plain = intake::unpacked(bytes)?;
    let file = proto::Profile::decode(plain.as_slice()).map_err(|error| error.to_string())?;
    let samples = proto::Samples::decode(plain.as_slice()).map_err(|error| error.to_string())?;
    let texts = Texts(&file.string_table);
    let mut builder = ProfileBuilder::default();
    let tables = Tables::read(&file, &texts, places, &mut builder)?;
    let columns = columns(&file, &texts)?;
    for sample in &samples.sample {
        add(sample, &tables, &columns, &texts, &mut builder)?;
    }
    let comments = file.comment.iter().map(|&comment| texts.get(comment).map(str::to_owned));
    let about = About {
        rate: SampleRate(unsigned(file.period)),
        started_ns: unsigned(file.time_nanos),
        duration_ns: unsigned(file.duration_nanos),
        executable: String::new(),
        comments: comments.collect::<Result<_, _>>()?,
    };
    Ok(builder.finish(about))
}

fn unsigned(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}

/// Lines and columns beyond what there can be are not known.
fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

struct Texts<'a>(&'a [String]);

impl<'a> Texts<'a> {
    fn get(&self, index: i64) -> Result<&'a str, String> {
        let text = usize::try_from(index).ok().and_then(|index| self.0.get(index));
        text.map(String::as_str).ok_or_else(|| format!("there is no string {index}"))
    }
}

/// What the file's numbers stand for.
struct Tables {
    locations: HashMap<u64, LocationId>,
}

impl Tables {
    fn read(
        file: &proto::Profile,
        texts: &Texts<'_>,
        places: &Places,
        builder: &mut ProfileBuilder,
    ) -> Result<Tables, String> {
        let profile = builder.tables();
        let mut functions: HashMap<u64, FunctionId> = HashMap::new();
        for function in &file.function {
            let (name, path) = (texts.get(function.name)?, texts.get(function.filename)?);
            let origin = places.origin(name, path);
            let function_row =
                Function { name: profile.strings.intern(name), file: profile.strings.intern(path), origin };
            functions.insert(function.id, profile.functions.intern(function_row));
        }
        let mut mappings: HashMap<u64, MappingId> = HashMap::new();
        for mapping in &file.mapping {
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
        for location in &file.location {
            let frame = |line: &proto::Line| {
                let function = functions.get(&line.function_id).copied();
                let function = function.ok_or_else(|| format!("there is no function {}", line.function_id))?;
                Ok(Frame { function, line: small(line.line), column: small(line.column) })
            };
            let frames = location.line.iter().map(frame).collect::<Result<Box<[Frame]>, String>>()?;
            if frames.is_empty() {
                return Err(format!("location {} has no function", location.id));
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

/// Which of the file's columns each of our figures is in.
fn columns(file: &proto::Profile, texts: &Texts<'_>) -> Result<Vec<(ValueType, usize)>, String> {
    let column = |value: ValueType| {
        let mut names = file.sample_type.iter().map(|kind| texts.get(kind.r#type));
        let column = names.position(|name| name == Ok(value.name()));
        column.map(|column| (value, column)).ok_or_else(|| format!("it has no `{}`", value.name()))
    };
    ValueType::ALL.into_iter().map(column).collect()
}

fn add(
    sample: &proto::Sample,
    tables: &Tables,
    columns: &[(ValueType, usize)],
    texts: &Texts<'_>,
    builder: &mut ProfileBuilder,
) -> Result<(), String> {
    let mut stack = None;
    for id in sample.location_id.iter().rev() {
        let location = *tables.locations.get(id).ok_or_else(|| format!("there is no location {id}"))?;
        stack = Some(builder.stack(stack, location));
    }
    let stack = stack.ok_or("a sample has no stack")?;
    let (mut test, mut block_size): (Option<StringId>, u64) = (None, 0);
    for label in &sample.label {
        match texts.get(label.key)? {
            super::pprof::TEST => test = Some(builder.tables().strings.intern(texts.get(label.str)?)),
            super::pprof::BLOCK_SIZE => block_size = unsigned(label.num),
            _ => {}
        }
    }
    let mut values = Estimated::default();
    for &(value, column) in columns {
        values[value] = *sample.value.get(column).ok_or("a sample lacks a figure")?;
    }
    builder.add(stack, test, block_size, &values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::pprof::export;
    use super::*;
    use crate::profile::made_up::profile;

    #[test]
    fn what_was_written_is_read_back_to_the_same_bytes() {
        let mut labelled = ProfileBuilder::default();
        labelled.merge(&profile(&[(&["main", "middle", "leaf"], 30), (&["main"], 8)]), Some("one"));
        labelled.merge(&profile(&[(&["main", "leaf"], 50)]), Some("two"));
        let comments = vec!["rate: 1".into()];
        let about = About { rate: SampleRate(1), started_ns: 5, duration_ns: 6, comments, ..About::default() };
        let written = export(&labelled.finish(about));
        let read = import(&written, &Places { workspace: "/w".into() }).unwrap();
        assert_eq!(export(&read), written);
    }

    #[test]
    fn what_is_no_profile_is_an_error() {
        let places = Places { workspace: "/w".into() };
        assert!(import(b"hello", &places).is_err());
        let empty = super::super::pprof::export(&Profile::default());
        assert!(import(&empty, &places).unwrap().samples.is_empty());
        let cut = &empty[..empty.len() / 2];
        assert!(import(cut, &places).is_err());
    }
}
