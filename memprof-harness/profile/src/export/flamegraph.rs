//! A flamegraph: an SVG that zooms and searches by itself in any browser.

use crate::model::function::Origin;
use crate::model::table::RowId;
use crate::model::tree::{NodeId, Tree};
use crate::model::values::{Unit, ValueType};
use crate::model::{IdMap, Profile};
use crate::symbolize::name;
use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Options, from_lines};
use std::borrow::Cow;

/// More frames than this make a picture that nobody can look through, and a file that a browser is slow to show.
pub const MAX_FRAMES: usize = 4000;
/// Parts of the whole below which a frame is not drawn, in thousandths of a percent: the first that leaves no more than
/// [`MAX_FRAMES`] is taken. 0.02 % of a window 2000 pixels wide are 0.4 pixels. Of frames that are wider than 1 % there are many only where
/// stacks are deep: they are left out where they would be too many bytes.
const THRESHOLDS: [u64; 6] = [20, 50, 100, 200, 500, WIDE];
const WIDE: u64 = 1000;
/// Letters of a name in a picture that would be too many bytes otherwise.
const FEW_LETTERS: usize = 160;
/// Calls of one stack in a picture that still would be, and what is left out of it besides. The last leaves twice as many frames.
const FEW_LEVELS: usize = 512;
const VERY_WIDE: [u64; 5] = [2000, 5000, 10_000, 20_000, 50_000];
/// Bytes of the stacks of one picture, which inferno is given spelt out. Four thousand stacks of 128 calls, each of which has a name of
/// 160 letters, are 80 MiB.
pub const MOST_SPELT_OUT: usize = 96 << 20;
/// Bytes of all names in one picture, with what is written around each.
const MOST_DRAWN: usize = 8 << 20;
const AROUND_A_NAME: usize = 200;
/// A letter that looks like a semicolon (the Greek question mark). inferno splits stacks at semicolons, so they travel
/// through it in this disguise.
const DISGUISED_SEMICOLON: char = '\u{37e}';

/// The flamegraph of `value` in `profile`, whose tree `tree` is; `None` where there is nothing of it.
pub fn export(profile: &Profile, tree: &Tree<'_>, value: ValueType, title: &str) -> Option<Vec<u8>> {
    let totals = tree.totals(value);
    let whole: u64 =
        tree.iter().zip(&totals).filter(|((_, node), _)| node.caller.is_none()).map(|(_, total)| total).sum();
    if whole == 0 {
        return None;
    }
    let (cut, visible) = Cut::choose(profile, tree, &totals, whole);
    let mut lines = visible.lines();
    // In the order of time (see `flame_chart` below) inferno starts with the last line.
    lines.reverse();
    let mut colors = colors(profile, &visible);
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(subtitle(value, profile, &cut));
    options.count_name = if value.unit() == Unit::Bytes { "bytes" } else { noun(value) }.to_owned();
    options.palette_map = Some(&mut colors);
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.min_width = 0.0;
    // inferno's own order is that of whole lines, in which `a::f::{{closure}}` comes between `a::f` and `a::f;b` and cuts
    // the frame `a::f` in two. Lines taken in the order of time stay as they are, and ours have every frame in one piece.
    options.flame_chart = true;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg).ok()?;
    Some(finished(&String::from_utf8(svg).ok()?).into_bytes())
}

/// What inferno's own style has no option for: frames of one colour are told apart, and the way to search can be seen.
const STYLE: &str = "#frames > g > rect { stroke:#fff; stroke-width:.3; }
#frames > g:hover > rect { stroke:#000; stroke-width:.5; }
#search { opacity:.6; }
";

/// `svg` with its semicolons, our style, and without the indentation of inferno's script, which is a third of a small
/// file. No name in it has a line end.
pub fn finished(svg: &str) -> String {
    let mut text = String::with_capacity(svg.len());
    for line in svg.lines() {
        match line.trim_start().split_once("</style>") {
            Some((before, after)) => text.extend([before, STYLE, "</style>", after]),
            None => text.push_str(line.trim_start()),
        }
        text.push('\n');
    }
    text.replace(DISGUISED_SEMICOLON, ";")
}

/// What the numbers of a graph that does not show bytes count.
fn noun(value: ValueType) -> &'static str {
    if value == ValueType::Reallocs { "reallocs" } else { "objects" }
}

fn subtitle(value: ValueType, profile: &Profile, cut: &Cut) -> String {
    let estimated = if profile.about.rate.is_exact() { "" } else { " (estimated from samples)" };
    let mut text = format!("{}{estimated} | orange: workspace, blue: dependencies, grey: std", value.name());
    text.push_str(&cut.subtitle());
    text
}

/// What is not drawn.
struct Cut {
    thousandths: u64,
    /// Calls of one stack; the others are left out.
    levels: usize,
    /// Letters of a name; what is longer is without its middle.
    letters: usize,
    /// How many frames are not drawn.
    hidden: usize,
}

impl Cut {
    /// The first that gives a picture of bounded size, with the frames that it leaves.
    fn choose<'a>(profile: &'a Profile, tree: &'a Tree<'_>, totals: &[u64], whole: u64) -> (Cut, Visible<'a>) {
        let shown = totals.iter().filter(|total| **total > 0).count();
        let smallest = |thousandths: u64| {
            u64::try_from(u128::from(whole) * u128::from(thousandths) / 100_000).unwrap_or(u64::MAX).max(1)
        };
        let wide =
            |thousandths: &u64| totals.iter().filter(|total| **total >= smallest(*thousandths)).count() <= MAX_FRAMES;
        let usual = THRESHOLDS.into_iter().find(wide).unwrap_or(WIDE);
        let usual = [name::MOST_LETTERS, FEW_LETTERS].map(|letters| (usual, letters, usize::MAX));
        let small = [WIDE].into_iter().chain(VERY_WIDE).map(|thousandths| (thousandths, FEW_LETTERS, FEW_LEVELS));
        let cuts = usual.into_iter().chain(small).map(|(thousandths, letters, levels)| {
            let visible = Visible::new(profile, tree, totals, smallest(thousandths), levels, letters);
            (Cut { thousandths, levels, letters, hidden: shown - visible.order.len() }, visible)
        });
        let mut last = None;
        for (cut, visible) in cuts {
            let is_small = visible.is_small();
            last = Some((cut, visible));
            if is_small {
                break;
            }
        }
        last.expect("there are some")
    }

    fn subtitle(&self) -> String {
        let percent = self.thousandths as f64 / 1000.0;
        let deep =
            if self.levels < usize::MAX { format!(", or deeper than {} calls,", self.levels) } else { String::new() };
        let names = if self.letters < name::MOST_LETTERS { " | names that are too long are cut" } else { "" };
        match self.hidden {
            0 => names.to_owned(),
            hidden => format!(" | {hidden} frames below {percent} %{deep} are not drawn{names}"),
        }
    }
}

/// The frames that are drawn.
struct Visible<'a> {
    /// Node's number + 1 of the caller (0 = none), name, node; what one caller calls is one run of this, by name.
    order: Vec<(usize, &'a str, NodeId)>,
    /// What of each is to be drawn above no other frame: its own, and what is called but not drawn; and how many calls lead to it.
    own: IdMap<NodeId, (u64, usize)>,
    tree: &'a Tree<'a>,
    /// Of a name: what is longer is without its middle.
    letters: usize,
}

impl<'a> Visible<'a> {
    fn new(
        profile: &'a Profile,
        tree: &'a Tree<'_>,
        totals: &[u64],
        smallest: u64,
        levels: usize,
        letters: usize,
    ) -> Visible<'a> {
        let mut order = Vec::new();
        let mut own: IdMap<NodeId, (u64, usize)> = IdMap::default();
        for (id, node) in tree.iter().filter(|(id, _)| totals[id.index()] >= smallest) {
            let total = totals[id.index()];
            let level = match node.caller.map(|caller| own.get_mut(&caller)) {
                None => 1,
                Some(Some((_, level))) if *level == levels => continue,
                // A caller has at least as much as what it calls, so it is there already.
                Some(Some((callers_own, level))) => {
                    *callers_own = callers_own.saturating_sub(total);
                    *level + 1
                }
                Some(None) => continue,
            };
            own.insert(id, (total, level));
            let name = profile.strings.get(profile.functions.get(node.function).name);
            order.push((node.caller.map_or(0, |caller| caller.index() + 1), name, id));
        }
        order.sort_unstable();
        Visible { order, own, tree, letters }
    }

    /// Whether the picture and what inferno makes it of are of the size that honest ones have.
    fn is_small(&self) -> bool {
        let mut paths: IdMap<NodeId, usize> = IdMap::default();
        let (mut drawn, mut spelt_out) = (0, 0usize);
        // By number: callers before what they call.
        let mut by_number: Vec<(NodeId, usize)> =
            self.order.iter().map(|(_, name, id)| (*id, self.shown(name).len())).collect();
        by_number.sort_unstable();
        for (id, name) in by_number {
            let caller = self.tree.get(id).caller.and_then(|caller| paths.get(&caller)).map_or(0, |path| path + 1);
            paths.insert(id, caller + name);
            drawn += name + AROUND_A_NAME;
            if self.own.get(&id).is_some_and(|(own, _)| *own > 0) {
                spelt_out = spelt_out.saturating_add(caller + name);
            }
        }
        drawn <= MOST_DRAWN && spelt_out <= MOST_SPELT_OUT
    }

    /// The name as it is drawn.
    fn shown(&self, name: &'a str) -> Cow<'a, str> {
        name::within(name, self.letters)
    }

    /// One line for each frame that has something of its own, callers before what they call, by name.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut path = String::new();
        // Name, node, and how long the path of its caller is.
        let mut open: Vec<(&str, NodeId, usize)> = self.calls(0).map(|(name, id)| (name, id, 0)).collect();
        while let Some((name, id, start)) = open.pop() {
            path.truncate(start);
            if start > 0 {
                path.push(';');
            }
            path.push_str(&disguised(&self.shown(name)));
            let own = self.own.get(&id).map_or(0, |(own, _)| *own);
            if own > 0 {
                lines.push(format!("{path} {own}"));
            }
            open.extend(self.calls(id.index() + 1).map(|(name, called)| (name, called, path.len())));
        }
        lines
    }

    /// What a caller calls, last name first.
    fn calls(&self, caller: usize) -> impl Iterator<Item = (&'a str, NodeId)> {
        let start = self.order.partition_point(|entry| entry.0 < caller);
        let len = self.order[start..].partition_point(|entry| entry.0 == caller);
        self.order[start..start + len].iter().rev().map(|entry| (entry.1, entry.2))
    }
}

/// `name` as it travels through inferno: without semicolons, and without what would end a line or is not allowed in XML.
pub fn disguised(name: &str) -> String {
    let letter = |letter: char| match letter {
        ';' => DISGUISED_SEMICOLON,
        _ if letter.is_control() => ' ',
        _ => letter,
    };
    name.chars().map(letter).collect()
}

/// A hue for whose code it is, a shade for which function.
fn colors(profile: &Profile, visible: &Visible<'_>) -> PaletteMap {
    let mut map = PaletteMap::default();
    for (_, name, id) in &visible.order {
        let origin = profile.functions.get(visible.tree.get(*id).function).origin;
        map.insert(disguised(&visible.shown(name)), color(origin, name));
    }
    // The frame below all others has no name.
    map.insert("", Color { r: 225, g: 225, b: 215 });
    map
}

fn color(origin: Origin, name: &str) -> Color {
    let hash = name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let shade = (hash % 31) as u8;
    match origin {
        Origin::Workspace => Color { r: 255 - shade / 3, g: 140 + shade, b: 60 + shade },
        Origin::Dependency => Color { r: 130 + shade, g: 180 + shade / 2, b: 235 },
        Origin::Std => Color { r: 200 + shade / 2, g: 205 + shade / 2, b: 205 + shade / 2 },
        Origin::Native => Color { r: 205 + shade / 2, g: 175 + shade, b: 205 + shade / 2 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_profiles::profile;

    fn svg(stacks: &[(&[&str], i64)]) -> String {
        let profile = profile(stacks);
        let svg = export(&profile, &Tree::of(&profile), ValueType::AllocSpace, "a test").expect("there is something");
        String::from_utf8(svg).unwrap()
    }

    /// What the frames say of themselves.
    fn titles(svg: &str) -> Vec<&str> {
        svg.split("<title>").skip(1).map(|rest| rest.split_once("</title>").unwrap().0).collect()
    }

    #[test]
    fn every_frame_is_in_one_piece_and_has_what_is_above_it() {
        let svg = svg(&[(&["a::f"], 1), (&["a::f", "b"], 2), (&["a::f::{{closure}}", "b"], 4), (&["a::f", "c"], 8)]);
        let mut titles = titles(&svg);
        titles.sort_unstable();
        assert_eq!(
            titles,
            [
                "a::f (11 bytes, 73.33%)",
                "a::f::{{closure}} (4 bytes, 26.67%)",
                "all (15 bytes, 100%)",
                "b (2 bytes, 13.33%)",
                "b (4 bytes, 26.67%)",
                "c (8 bytes, 53.33%)",
            ]
        );
    }

    #[test]
    fn a_semicolon_in_a_name_is_a_semicolon_in_the_picture() {
        let svg = svg(&[(&["<[u8; 4] as a::T>::f", "g\n"], 3)]);
        assert!(titles(&svg).contains(&"&lt;[u8; 4] as a::T&gt;::f (3 bytes, 100.00%)"), "{:?}", titles(&svg));
        assert!(!svg.contains(DISGUISED_SEMICOLON));
    }

    #[test]
    fn frames_too_thin_to_be_seen_are_left_out_and_counted() {
        let names: Vec<String> = (0..6000).map(|number| format!("f{number}")).collect();
        let stacks: Vec<[&str; 2]> = names.iter().map(|name| ["root", name.as_str()]).collect();
        let mut all: Vec<(&[&str], i64)> = stacks.iter().map(|stack| (stack.as_slice(), 1)).collect();
        all.push((&["root", "wide"], 4000));
        let svg = svg(&all);
        let titles = titles(&svg);
        assert!(titles.contains(&"root (10,000 bytes, 100.00%)") && titles.contains(&"wide (4,000 bytes, 40.00%)"));
        assert_eq!(titles.len(), 3);
        assert!(svg.contains("6000 frames below 0.02 % are not drawn"));
    }

    #[test]
    fn a_picture_of_deep_stacks_with_long_names_is_as_small_as_another() {
        let names: Vec<String> = (0..10_000).map(|number| format!("f{number}{}", "x".repeat(1000))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Spelt out, these are 800 MB, or 128 MB with names that can be read.
        let stacks: Vec<(&[&str], i64)> = (0..80).map(|end| (&names[..10_000 - end], 1)).collect();
        let svg = svg(&stacks);
        assert!(svg.len() < 64 << 20, "{}", svg.len());
        let found = titles(&svg);
        assert!(found.iter().any(|title| title.starts_with("f0xxx") && title.contains("x…x")), "{}", found[1]);
        assert_eq!(found.len(), FEW_LEVELS + 1);
        let text = "9488 frames below 1 %, or deeper than 512 calls, are not drawn | names that are too long are cut";
        assert!(svg.contains(text), "{}", svg.len());
        // Names alone are less than what a picture may have.
        let few: Vec<(&[&str], i64)> = vec![(&names[..20], 1)];
        assert!(super::tests::svg(&few).contains(names[19]));
    }

    #[test]
    fn one_profile_gives_one_picture() {
        let stacks: [(&[&str], i64); 3] = [(&["a", "b"], 1), (&["a"], 2), (&["c"], 3)];
        assert_eq!(svg(&stacks), svg(&[stacks[2], stacks[0], stacks[1]]));
    }

    #[test]
    fn there_is_no_picture_of_nothing() {
        let profile = profile(&[(&["a"], 7)]);
        assert_eq!(export(&profile, &Tree::of(&profile), ValueType::InuseSpace, "a test"), None);
    }
}
