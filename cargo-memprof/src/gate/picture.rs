//! Differential flamegraphs: red grew, blue shrank. One has the widths of now, where what is gone cannot be seen; the
//! other those of before. Pure.

use super::figures::Figure;
use super::stacks::Stacks;
use inferno::flamegraph::color::BackgroundColor;
use inferno::flamegraph::color::Color;
use inferno::flamegraph::{Options, from_lines};
use std::collections::BTreeMap;

/// A letter that looks like a semicolon (the Greek question mark). inferno splits stacks at semicolons, so they travel
/// through it in this disguise.
const DISGUISED_SEMICOLON: char = '\u{37e}';
/// Frames in a picture, about; thinner ones are left out of larger ones.
const MAX_STACKS: usize = 4000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Widths {
    Now,
    Before,
}

impl Widths {
    pub const BOTH: [Widths; 2] = [Widths::Now, Widths::Before];

    /// The picture's file name.
    pub fn file_name(self, figure: Figure) -> String {
        match self {
            Widths::Now => format!("{}.svg", figure.name()),
            Widths::Before => format!("{}.before.svg", figure.name()),
        }
    }
}

/// The picture; `None` where it would be empty.
pub fn draw(title: &str, before: &Stacks, now: &Stacks, figure: Figure, widths: Widths) -> Option<Vec<u8>> {
    // By names from the root, so that each frame is in one piece.
    let mut folded: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
    let names =
        |stack: &super::stacks::Stack| stack.frames.iter().rev().map(|frame| disguised(&frame.function)).collect();
    let value = |stack: &super::stacks::Stack| u64::try_from(stack.value(figure)).unwrap_or(0);
    for stack in &before.stacks {
        let entry = folded.entry(names(stack)).or_default();
        entry.0 = entry.0.saturating_add(value(stack));
    }
    for stack in &now.stacks {
        let entry = folded.entry(names(stack)).or_default();
        entry.1 = entry.1.saturating_add(value(stack));
    }
    let width = |values: &(u64, u64)| if widths == Widths::Now { values.1 } else { values.0 };
    folded.retain(|_, values| width(values) > 0);
    let mut wide: Vec<u64> = folded.values().map(width).collect();
    wide.sort_unstable_by(|a, b| b.cmp(a));
    let least = wide.get(MAX_STACKS).copied().unwrap_or(0);
    let lines: Vec<String> = folded
        .iter()
        .filter(|(_, values)| width(values) > least)
        .map(|(names, (before, now))| {
            let (from, to) = if widths == Widths::Now { (before, now) } else { (now, before) };
            format!("{} {from} {to}", names.join(";"))
        })
        .collect();
    let mut options = Options::default();
    options.title = title.to_owned();
    let of = if widths == Widths::Now { "widths of this run" } else { "widths of the baseline" };
    options.subtitle = Some(format!("{} | {of} | red: more than in the baseline, blue: less", figure.name()));
    options.count_name = if figure.is_space() { "bytes" } else { "objects" }.to_owned();
    options.negate_differentials = widths == Widths::Before;
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.min_width = 0.0;
    // The order of the lines stays as it is; inferno starts with the last of them.
    options.flame_chart = true;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().rev().map(String::as_str), &mut svg).ok()?;
    let text = String::from_utf8(svg).ok()?;
    Some(text.replace(DISGUISED_SEMICOLON, ";").into_bytes())
}

/// `name` without what splits stacks, ends lines or is not allowed in XML.
fn disguised(name: &str) -> String {
    let letter = |letter: char| match letter {
        ';' => DISGUISED_SEMICOLON,
        letter if letter.is_control() => ' ',
        letter => letter,
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::super::stacks::{Frame, Stack};
    use super::*;
    use crate::profile::function::Origin;

    fn stacks(list: &[(&str, i64)]) -> Stacks {
        let frame = |name: &str| Frame { function: name.into(), file: "".into(), line: 1, origin: Origin::Workspace };
        let stack =
            |(names, objects): &(&str, i64)| Stack::new(names.split('<').map(frame).collect(), [*objects, 0, 0, 0]);
        Stacks { rate: 1, stacks: list.iter().map(stack).collect() }
    }

    #[test]
    fn each_picture_shows_what_the_other_cannot() {
        let before = stacks(&[("f<main", 4), ("gone<main", 2)]);
        let now = stacks(&[("f<main", 4), ("came_[u8; 4]<main", 8)]);
        let draw = |widths| {
            let svg = draw("t", &before, &now, Figure::AllocObjects, widths).unwrap();
            String::from_utf8(svg).unwrap()
        };
        let (after, earlier) = (draw(Widths::Now), draw(Widths::Before));
        assert!(after.contains("came_[u8; 4] (8 objects") && !after.contains("gone"), "{after}");
        assert!(earlier.contains("gone (2 objects") && !earlier.contains("came"), "{earlier}");
        assert!(super::draw("t", &before, &now, Figure::PeakSpace, Widths::Now).is_none());
    }
}
