//! pprof's `profile.proto`, gzipped, as `go tool pprof`, Grafana, Speedscope, Polar Signals and many others read it.

use crate::model::Profile;
use crate::model::function::{Function, FunctionId};
use crate::model::location::{Location, LocationId};
use crate::model::mapping::{Mapping, MappingId};
use crate::model::sample::Sample;
use crate::model::string::Strings;
use crate::model::table::RowId;
use crate::model::values::ValueType;
use crate::proto;
use flate2::{Compression, GzBuilder};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, message};
use std::io::{self, BufWriter, IntoInnerError, Write};

/// The label that tells blocks of one size, as Go's heap profiles have it.
pub(crate) const BLOCK_SIZE: &str = "bytes";
/// The label that tells the test in a profile of several.
pub(crate) const TEST: &str = "test";

/// `profile` as the bytes of a `.pb.gz` file. Equal profiles give equal bytes.
pub fn export(profile: &Profile) -> Vec<u8> {
    // Nothing of the moment or the machine goes into the header.
    let encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), LEVEL);
    let mut out = BufWriter::with_capacity(STEP, encoder);
    let packed = encode(profile, &mut out).and_then(|()| out.into_inner().map_err(IntoInnerError::into_error));
    packed.and_then(|encoder| encoder.finish()).expect("memory can be written to")
}

/// On 75,000 stacks (7 MB) the usual level 6 takes four times as long for 4 % less.
const LEVEL: Compression = Compression::new(4);
/// Bytes that are encoded before they are compressed. A million stacks have 160 MB, which are never all there.
const STEP: usize = 64 << 10;

/// The message in protobuf's encoding. Its samples are most of it by far, and are encoded without a message of theirs
/// being made first; the parts of an encoded message may stand in any order.
fn encode(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    let mut strings = profile.strings.clone();
    let labels = Labels { block_size: number(&mut strings, BLOCK_SIZE), test: number(&mut strings, TEST) };
    out.write_all(&frame_of_file(profile, &mut strings).encode_to_vec())?;
    let (mut key, mut body, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for sample in &profile.samples {
        body.clear();
        encode_sample(profile, sample, &labels, &mut body, &mut packed);
        key.clear();
        encode_key(proto::SAMPLE, WireType::LengthDelimited, &mut key);
        encode_varint(body.len() as u64, &mut key);
        out.write_all(&key)?;
        out.write_all(&body)?;
    }
    Ok(())
}

/// Everything but the samples.
fn frame_of_file(profile: &Profile, strings: &mut Strings) -> proto::Profile {
    let default_sample_type = number(strings, ValueType::AllocSpace.name());
    proto::Profile {
        sample_type: ValueType::ALL
            .iter()
            .map(|value| value_type(strings, value.name(), value.unit().name()))
            .collect(),
        mapping: profile.mappings.iter().map(|(id, mapping)| mapping_message(id, mapping)).collect(),
        location: profile.locations.iter().map(|(id, location)| location_message(id, location)).collect(),
        function: profile.functions.iter().map(|(id, function)| function_message(id, function)).collect(),
        time_nanos: signed(profile.about.started_ns),
        duration_nanos: signed(profile.about.duration_ns),
        period_type: Some(value_type(strings, "space", "bytes")),
        period: signed(profile.about.rate.0),
        comment: profile.about.comments.iter().map(|comment| number(strings, comment)).collect(),
        default_sample_type,
        // Last: everything above may have added to it.
        string_table: strings.iter().map(str::to_owned).collect(),
    }
}

/// The keys of labels, in the string table.
struct Labels {
    block_size: i64,
    test: i64,
}

/// See `proto::sample` for what the numbers of the fields mean. `packed` is room for one list.
fn encode_sample(profile: &Profile, sample: &Sample, labels: &Labels, out: &mut Vec<u8>, packed: &mut Vec<u8>) {
    let mut list = |field: u32, numbers: &mut dyn Iterator<Item = u64>| {
        // Its length in bytes goes before it.
        packed.clear();
        numbers.for_each(|number| encode_varint(number, packed));
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(packed.len() as u64, out);
        out.extend_from_slice(packed);
    };
    list(proto::sample::LOCATION_ID, &mut profile.stacks.locations(sample.stack).map(id));
    list(proto::sample::VALUE, &mut sample.values.as_array().iter().map(|value| value.cast_unsigned()));
    if sample.block_size > 0 {
        let num = signed(sample.block_size);
        let label = proto::Label { key: labels.block_size, num, num_unit: labels.block_size, str: 0 };
        message::encode(proto::sample::LABEL, &label, out);
    }
    if let Some(name) = sample.test {
        let label = proto::Label { key: labels.test, str: index(name), num: 0, num_unit: 0 };
        message::encode(proto::sample::LABEL, &label, out);
    }
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
    let line = |frame: &crate::model::location::Frame| proto::Line {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_profiles::profile;
    use crate::model::{About, ProfileBuilder};
    use std::io::Read;

    /// The samples' part of the message, which is encoded by hand.
    #[derive(Clone, PartialEq, Message)]
    struct Samples {
        #[prost(message, repeated, tag = "2")]
        sample: Vec<Stack>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Stack {
        #[prost(uint64, repeated, tag = "1")]
        location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        label: Vec<proto::Label>,
    }

    fn unzipped(bytes: &[u8]) -> Vec<u8> {
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut raw).unwrap();
        raw
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut builder = ProfileBuilder::default();
        builder.merge(&profile(&[(&["a", "b"], 70_000), (&["a"], -2)]), Some("t1"));
        let merged = builder.finish(About { comments: vec!["hello".into()], ..About::default() });
        let raw = unzipped(&export(&merged));
        let file = proto::Profile::decode(raw.as_slice()).unwrap();
        let text = |index: i64| file.string_table[usize::try_from(index).unwrap()].as_str();
        assert_eq!(text(0), "");
        assert_eq!(text(file.comment[0]), "hello");
        assert_eq!(text(file.default_sample_type), "alloc_space");
        let types: Vec<&str> = file.sample_type.iter().map(|value| text(value.r#type)).collect();
        assert_eq!(types[..4], ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
        let samples = Samples::decode(raw.as_slice()).unwrap().sample;
        let named = |sample: &Stack| -> Vec<&str> {
            let location = |id: &u64| file.location.iter().find(|location| location.id == *id).unwrap();
            let function = |id: u64| file.function.iter().find(|function| function.id == id).unwrap();
            sample.location_id.iter().map(|id| text(function(location(id).line[0].function_id).name)).collect()
        };
        assert_eq!(named(&samples[0]), ["a"]);
        assert_eq!(named(&samples[1]), ["b", "a"]);
        assert_eq!((samples[0].value[1], samples[1].value[1]), (-2, 70_000));
        assert!(samples.iter().all(|sample| sample.value.len() == types.len()));
        assert_eq!(text(samples[0].label[0].key), "test");
        assert_eq!(text(samples[0].label[0].str), "t1");
    }

    #[test]
    fn one_profile_gives_one_file() {
        let stacks: [(&[&str], i64); 2] = [(&["a", "b"], 1), (&["a"], 2)];
        assert_eq!(export(&profile(&stacks)), export(&profile(&[stacks[1], stacks[0]])));
    }
}
