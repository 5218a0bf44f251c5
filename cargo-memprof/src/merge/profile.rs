//! Several pprof files as one: their tables are put behind one another and every id is moved by what came before. Readers
//! take equal rows together. Pure.

use crate::export::proto::{Label, Profile, Sample, Samples, ValueType};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use prost::Message;
use std::io::{Read, Write};

/// The gzipped whole of gzipped `parts`, of which there is at least one.
///
/// # Errors
/// Where one of them is no profile, or the kinds of their figures differ.
pub fn merged(parts: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut whole: Option<(Profile, Samples)> = None;
    for part in parts {
        let mut plain = Vec::new();
        GzDecoder::new(part.as_slice()).read_to_end(&mut plain).map_err(|error| error.to_string())?;
        let profile = Profile::decode(plain.as_slice()).map_err(|error| error.to_string())?;
        let samples = Samples::decode(plain.as_slice()).map_err(|error| error.to_string())?;
        match &mut whole {
            None => whole = Some((profile, samples)),
            Some((all, all_samples)) => {
                if kinds(all) != kinds(&profile) {
                    return Err("they do not hold the same figures".into());
                }
                let offsets = Offsets::after(all);
                offsets.add(all, profile);
                all_samples.sample.extend(samples.sample.into_iter().map(|sample| offsets.sample(sample)));
            }
        }
    }
    let (profile, samples) = whole.ok_or("there are none")?;
    // In protobuf's encoding the fields of a message may come in any number of pieces.
    let bytes = [samples.encode_to_vec(), profile.encode_to_vec()].concat();
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    encoder.write_all(&bytes).and_then(|()| encoder.finish()).map_err(|error| error.to_string())
}

/// Names and units of the figures.
fn kinds(profile: &Profile) -> Vec<(&str, &str)> {
    let text = |index: i64| usize::try_from(index).ok().and_then(|index| profile.string_table.get(index));
    let text = |index| text(index).map_or("", String::as_str);
    profile.sample_type.iter().map(|kind: &ValueType| (text(kind.r#type), text(kind.unit))).collect()
}

/// By how much the ids of a part move.
struct Offsets {
    strings: i64,
    mappings: u64,
    locations: u64,
    functions: u64,
}

impl Offsets {
    fn after(all: &Profile) -> Offsets {
        Offsets {
            strings: i64::try_from(all.string_table.len()).unwrap_or(i64::MAX),
            mappings: all.mapping.iter().map(|row| row.id).max().unwrap_or(0),
            locations: all.location.iter().map(|row| row.id).max().unwrap_or(0),
            functions: all.function.iter().map(|row| row.id).max().unwrap_or(0),
        }
    }

    fn add(&self, all: &mut Profile, part: Profile) {
        let strings = self.strings;
        all.string_table.extend(part.string_table);
        all.mapping.extend(part.mapping.into_iter().map(|mut row| {
            row.id += self.mappings;
            row.filename += strings;
            row.build_id += strings;
            row
        }));
        all.function.extend(part.function.into_iter().map(|mut row| {
            row.id += self.functions;
            row.name += strings;
            row.system_name += strings;
            row.filename += strings;
            row
        }));
        all.location.extend(part.location.into_iter().map(|mut row| {
            row.id += self.locations;
            // Zero stands for none.
            row.mapping_id = if row.mapping_id == 0 { 0 } else { row.mapping_id + self.mappings };
            row.line.iter_mut().for_each(|line| line.function_id += self.functions);
            row
        }));
        all.comment.extend(part.comment.into_iter().map(|comment| comment + strings));
        all.time_nanos = all.time_nanos.min(part.time_nanos);
        all.duration_nanos = all.duration_nanos.max(part.duration_nanos);
    }

    fn sample(&self, mut sample: Sample) -> Sample {
        sample.location_id.iter_mut().for_each(|id| *id += self.locations);
        for Label { key, str, num_unit, .. } in &mut sample.label {
            *key += self.strings;
            for text in [str, num_unit] {
                *text = if *text == 0 { 0 } else { *text + self.strings };
            }
        }
        sample
    }
}
