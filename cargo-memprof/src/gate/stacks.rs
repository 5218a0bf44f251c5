//! The stacks of a profile file, as the explanation needs them: names, places and the gated figures. Takes in what
//! `export::pprof` wrote.

use super::figures::Figure;
use crate::export::import::FileTables;
use crate::export::{fields, proto};
use crate::profile::function::Origin;
use crate::symbolize::Places;
use std::collections::HashMap;
use std::rc::Rc;

/// Figures by stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stacks {
    /// Mean bytes between samples; 1 = every allocation is here.
    pub rate: i64,
    pub stacks: Vec<Stack>,
}

/// One stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Innermost first, inlined ones included.
    pub frames: Vec<Frame>,
    /// In the order of [`Figure::ALL`].
    values: [i64; Figure::ALL.len()],
}

/// One function in a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub function: Rc<str>,
    /// Relative to the workspace where it is inside; empty where it is not known.
    pub file: Rc<str>,
    /// 0 = not known.
    pub line: i64,
    pub origin: Origin,
}

impl Stack {
    #[cfg(test)]
    pub fn new(frames: Vec<Frame>, values: [i64; Figure::ALL.len()]) -> Stack {
        Stack { frames, values }
    }

    pub fn value(&self, figure: Figure) -> i64 {
        self.values[figure as usize]
    }
}

impl Stacks {
    /// The sum over all stacks.
    pub fn total(&self, figure: Figure) -> i64 {
        self.stacks.iter().map(|stack| stack.value(figure)).fold(0, i64::saturating_add)
    }

    /// Reads a gzipped profile of a test in the workspace at `places`.
    ///
    /// # Errors
    /// Where it is none of ours.
    pub fn parse(bytes: &[u8], places: &Places) -> Result<Stacks, String> {
        let profile = FileTables::read(bytes)?;
        let text = |index: i64| profile.texts.get(index);
        let mut columns = [0; Figure::ALL.len()];
        for figure in Figure::ALL {
            let mut names = profile.sample_types.iter().map(|kind| text(kind.r#type));
            let column = names.position(|name| name == Ok(figure.name()));
            columns[figure as usize] = column.ok_or_else(|| format!("it has no `{}`", figure.name()))?;
        }
        let locations = locations(&profile, places, &text)?;
        let stack = |sample: &proto::Sample| -> Result<Stack, String> {
            let mut frames = Vec::new();
            for id in &sample.location_id {
                let location = locations.get(id).ok_or_else(|| format!("there is no location {id}"))?;
                frames.extend(location.iter().cloned());
            }
            let values = columns.map(|column| sample.value.get(column).copied().unwrap_or(0));
            Ok(Stack { frames, values })
        };
        let mut stacks = Vec::new();
        fields::read(bytes, |field, value| {
            if field == proto::SAMPLE {
                stacks.push(stack(&value.message()?)?);
            }
            Ok(())
        })?;
        Ok(Stacks { rate: profile.period, stacks })
    }
}

/// The frames of every location, innermost first.
fn locations<'a>(
    profile: &FileTables,
    places: &Places,
    text: &impl Fn(i64) -> Result<&'a str, String>,
) -> Result<HashMap<u64, Vec<Frame>>, String> {
    let mut functions: HashMap<u64, Frame> = HashMap::new();
    for function in &profile.functions {
        let (name, file) = (text(function.name)?, text(function.filename)?);
        let origin = places.origin(name, file);
        let near = file.strip_prefix(&*places.workspace.to_string_lossy()).map(|file| file.trim_start_matches('/'));
        let frame = Frame { function: name.into(), file: near.unwrap_or(file).into(), line: 0, origin };
        functions.insert(function.id, frame);
    }
    let frame = |line: &proto::Line| {
        let function =
            functions.get(&line.function_id).ok_or_else(|| format!("there is no function {}", line.function_id))?;
        Ok(Frame { line: line.line, ..function.clone() })
    };
    let frames =
        |location: &proto::Location| Ok((location.id, location.line.iter().map(frame).collect::<Result<_, String>>()?));
    profile.locations.iter().map(frames).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_profile_is_an_error() {
        let places = Places { workspace: "/w".into() };
        assert!(Stacks::parse(b"hello", &places).is_err());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"hello").unwrap();
        assert!(Stacks::parse(&gzip.finish().unwrap(), &places).is_err());
    }
}
