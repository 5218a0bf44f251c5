//! pprof's `profile.proto`, gzipped, as `go tool pprof`, Grafana, Speedscope, Polar Signals and many others read it.

use super::proto;
use crate::profile::Profile;
use crate::profile::function::{Function, FunctionId};
use crate::profile::location::{Location, LocationId};
use crate::profile::mapping::{Mapping, MappingId};
use crate::profile::sample::Sample;
use crate::profile::string::Strings;
use crate::profile::table::RowId;
use crate::profile::values::ValueType;
use flate2::{Compression, GzBuilder};
use prost::Message;
use std::io::Write;

/// The label that tells blocks of one size, as Go's heap profiles have it.
const BLOCK_SIZE: &str = "bytes";
/// The label that tells the test in a profile of several.
const TEST: &str = "test";

/// `profile` as the bytes of a `.pb.gz` file. Equal profiles give equal bytes.
pub fn export(profile: &Profile) -> Vec<u8> {
    gzip(&message(profile).encode_to_vec())
}

/// Nothing of the moment or the machine goes into the header.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory can be written to")
}

fn message(profile: &Profile) -> proto::Profile {
    let mut strings = profile.strings.clone();
    let default_sample_type = number(&mut strings, ValueType::AllocSpace.name());
    proto::Profile {
        sample_type: ValueType::ALL
            .iter()
            .map(|value| value_type(&mut strings, value.name(), value.unit().name()))
            .collect(),
        sample: samples(profile, &mut strings),
        mapping: profile.mappings.iter().map(|(id, mapping)| mapping_message(id, mapping)).collect(),
        location: profile.locations.iter().map(|(id, location)| location_message(id, location)).collect(),
        function: profile.functions.iter().map(|(id, function)| function_message(id, function)).collect(),
        time_nanos: signed(profile.about.started_ns),
        duration_nanos: signed(profile.about.duration_ns),
        period_type: Some(value_type(&mut strings, "space", "bytes")),
        period: signed(profile.about.rate.0),
        comment: profile.about.comments.iter().map(|comment| number(&mut strings, comment)).collect(),
        default_sample_type,
        // Last: everything above may have added to it.
        string_table: strings.iter().map(str::to_owned).collect(),
    }
}

fn samples(profile: &Profile, strings: &mut Strings) -> Vec<proto::Sample> {
    let (block_size, test) = (number(strings, BLOCK_SIZE), number(strings, TEST));
    let message = |sample: &Sample| {
        let mut label = Vec::new();
        if sample.block_size > 0 {
            label.push(proto::Label { key: block_size, num: signed(sample.block_size), num_unit: block_size, str: 0 });
        }
        if let Some(name) = sample.test {
            label.push(proto::Label { key: test, str: index(name), num: 0, num_unit: 0 });
        }
        proto::Sample {
            location_id: profile.stacks.locations(sample.stack).map(id).collect(),
            value: sample.values.as_array().to_vec(),
            label,
        }
    };
    profile.samples.iter().map(message).collect()
}

fn mapping_message(mapping_id: MappingId, mapping: &Mapping) -> proto::Mapping {
    proto::Mapping {
        id: id(mapping_id),
        memory_start: mapping.start,
        memory_limit: mapping.limit,
        // Addresses are the object's own, which is how it lies in the file up to segment padding.
        file_offset: 0,
        filename: index(mapping.file),
        build_id: index(mapping.build_id),
        // True of every object: what cannot be named has a function that says so, and a tool that tried again would
        // look for symbols in a file that may long have been replaced.
        has_functions: true,
        has_filenames: mapping.has_lines,
        has_line_numbers: mapping.has_lines,
        has_inline_frames: mapping.has_lines,
    }
}

fn location_message(location_id: LocationId, location: &Location) -> proto::Location {
    let line = |frame: &crate::profile::location::Frame| proto::Line {
        function_id: id(frame.function),
        line: i64::from(frame.line),
        column: i64::from(frame.column),
    };
    proto::Location {
        id: id(location_id),
        mapping_id: location.mapping.map_or(0, id),
        address: location.address,
        line: location.frames.iter().map(line).collect(),
    }
}

fn function_message(function_id: FunctionId, function: &Function) -> proto::Function {
    proto::Function {
        id: id(function_id),
        name: index(function.name),
        // Empty says that the name is already as it should be. Were it equal to the name, pprof would take that for C++
        // and cut out everything in angle brackets.
        system_name: 0,
        filename: index(function.file),
    }
}

fn value_type(strings: &mut Strings, name: &str, unit: &str) -> proto::ValueType {
    proto::ValueType { r#type: number(strings, name), unit: number(strings, unit) }
}

fn number(strings: &mut Strings, text: &str) -> i64 {
    index(strings.intern(text))
}

fn index(id: impl RowId) -> i64 {
    id.index() as i64
}

/// pprof's ids start at 1; 0 stands for none.
fn id(id: impl RowId) -> u64 {
    id.index() as u64 + 1
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
