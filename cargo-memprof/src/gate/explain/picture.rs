//! Differential flamegraphs: red grew, blue shrank, and so did whatever leads there. One has the widths of now, where what is
//! gone cannot be seen; the other those of before. Pure.

use crate::gate::explain::stacks::Stacks;
use crate::gate::metrics::Metric;
use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{Options, from_lines};
use memprof_harness::ledger::{Callee, Callees};
use memprof_profile::export::flamegraph::{MAX_FRAMES, MOST_SPELT_OUT, disguised, finished};
use memprof_profile::view::amount::{count, plural};
use std::collections::HashMap;
use std::rc::Rc;

/// Which of the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Widths {
    #[default]
    Now,
    Before,
}

impl Widths {
    pub const BOTH: [Widths; 2] = [Widths::Now, Widths::Before];

    /// The picture's file name.
    pub fn file_name(self, metric: Metric) -> String {
        match self {
            Widths::Now => format!("{}.svg", metric.name()),
            Widths::Before => format!("{}.before.svg", metric.name()),
        }
    }
}

/// Both sides' stacks as one tree, of which both pictures are drawn.
pub fn tree(before: &Stacks, now: &Stacks, metric: Metric) -> Tree {
    let mut tree = Tree::default();
    tree.add(before, metric, Widths::Before);
    tree.add(now, metric, Widths::Now);
    // It is needed no more, and as large as the nodes.
    tree.callees = Callees::default();
    tree.sum_up();
    tree
}

/// The picture; `None` where it would be empty.
pub fn draw(title: &str, tree: &Tree, metric: Metric, widths: Widths) -> Option<Vec<u8>> {
    let calls = tree.visible(widths);
    let mut frames = Frames { widths, ..Frames::default() };
    frames.colors.insert("", color(&tree.root, &tree.root, widths));
    frames.draw(tree, &calls, None, &mut String::new());
    let mut options = Options::default();
    options.title = title.to_owned();
    let of = if widths == Widths::Now { "widths of this run" } else { "widths of the baseline" };
    let mut subtitle = format!("{} | {of} | red: leads to more than in the baseline, blue: to less", metric.name());
    let hidden = tree.count(widths).saturating_sub(frames.differences.len());
    if hidden > 0 {
        subtitle.push_str(&format!(" | {} are not drawn", plural(hidden, "thinner frame")));
    }
    options.subtitle = Some(subtitle);
    options.count_name = if metric.is_space() { "bytes" } else { "objects" }.to_owned();
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.palette_map = Some(&mut frames.colors);
    options.min_width = 0.0;
    // The order of the lines stays as it is; inferno starts with the last of them.
    options.flame_chart = true;
    let mut svg = Vec::new();
    from_lines(&mut options, frames.lines.iter().rev().map(String::as_str), &mut svg).ok()?;
    let svg = String::from_utf8(svg).ok()?;
    Some(finished(&with_differences(&svg, &frames.differences)).into_bytes())
}

/// A function as called on one path from the root, on both sides.
#[derive(Debug, Default)]
struct Node {
    before: u64,
    now: u64,
    /// By how much the stacks that end here or above grew, and by how much others of them shrank.
    grew: u64,
    shrank: u64,
}

impl Node {
    fn add(&mut self, value: u64, side: Widths) {
        let sum = if side == Widths::Now { &mut self.now } else { &mut self.before };
        *sum = sum.saturating_add(value);
    }

    /// What a caller has of what it calls.
    fn take_in(&mut self, call: &Node) {
        for (sum, number) in [
            (&mut self.before, call.before),
            (&mut self.now, call.now),
            (&mut self.grew, call.grew),
            (&mut self.shrank, call.shrank),
        ] {
            *sum = sum.saturating_add(number);
        }
    }

    fn width(&self, widths: Widths) -> u64 {
        if widths == Widths::Now { self.now } else { self.before }
    }
}

/// Both sides' stacks as one tree of functions, in which callers come before what they call.
#[derive(Debug, Default)]
pub struct Tree {
    /// What all stacks lead to.
    root: Node,
    nodes: Vec<Node>,
    /// By node: its caller's number plus 1 (0 = it is a root), and the number of its name.
    calls: Vec<(u32, u32)>,
    callees: Callees,
    /// As they travel through inferno.
    names: Vec<String>,
    name_ids: HashMap<Rc<str>, u32>,
}

impl Tree {
    fn add(&mut self, stacks: &Stacks, metric: Metric, side: Widths) {
        // By the node of the stacks: that of the tree.
        let mut own: Vec<u32> = Vec::with_capacity(stacks.nodes().len());
        for (caller, frame) in stacks.nodes() {
            let name = *self.name_ids.entry(frame.function.clone()).or_insert_with(|| {
                self.names.push(disguised(&frame.function));
                self.names.len() as u32 - 1
            });
            let caller = caller.map(|caller| own[caller] as usize);
            let call = |number: usize| {
                let (caller, name) = self.calls[number];
                (caller.checked_sub(1).map(|caller| caller as usize), name)
            };
            let entered = self.callees.enter(caller, name, call);
            let (Callee::Known(number) | Callee::New(number)) =
                entered.expect("callers come first, and there are fewer than 2^32");
            if number == self.nodes.len() {
                self.nodes.push(Node::default());
                self.calls.push((caller.map_or(0, |caller| caller as u32 + 1), name));
            }
            own.push(number as u32);
        }
        for stack in &stacks.stacks {
            let value = u64::try_from(stack.value(metric)).unwrap_or(0);
            stack.node().map_or(&mut self.root, |node| &mut self.nodes[own[node] as usize]).add(value, side);
        }
    }

    /// From what each node has of its own to what it has with all that it calls.
    fn sum_up(&mut self) {
        let differ = |node: &mut Node| {
            node.grew = node.now.saturating_sub(node.before);
            node.shrank = node.before.saturating_sub(node.now);
        };
        differ(&mut self.root);
        self.nodes.iter_mut().for_each(differ);
        for number in (0..self.nodes.len()).rev() {
            let (outer, inner) = self.nodes.split_at_mut(number);
            let caller =
                (self.calls[number].0 as usize).checked_sub(1).map_or(&mut self.root, |caller| &mut outer[caller]);
            caller.take_in(&inner[0]);
        }
    }

    fn caller(&self, number: usize) -> Option<usize> {
        (self.calls[number].0 as usize).checked_sub(1)
    }

    /// How many frames there are, drawn or not.
    fn count(&self, widths: Widths) -> usize {
        self.nodes.iter().filter(|node| node.width(widths) > 0).count()
    }

    /// Bytes of the stacks of the frames that are wider than `least`, which inferno is given spelt out.
    fn spelt_out(&self, widths: Widths, least: u64) -> usize {
        // By frame: what leads to it, and what of it is above no other.
        let mut drawn: HashMap<usize, (usize, u64)> = HashMap::new();
        for number in (0..self.nodes.len()).filter(|number| self.nodes[*number].width(widths) > least) {
            let (caller, name) = (self.caller(number), self.calls[number].1);
            let width = self.nodes[number].width(widths);
            let path = caller.and_then(|caller| drawn.get_mut(&caller)).map_or(0, |(path, own)| {
                *own = own.saturating_sub(width);
                *path
            });
            drawn.insert(number, (path + self.names[name as usize].len(), width));
        }
        drawn.values().filter(|(_, own)| *own > 0).fold(0, |sum, (path, _)| sum.saturating_add(*path))
    }

    /// The frames that are wide enough to be drawn, so that there are not too many: what each caller calls is one run of these, by name. The caller is
    /// its number plus 1, 0 = the root.
    fn visible(&self, widths: Widths) -> Vec<(usize, &str, usize)> {
        let mut all: Vec<u64> = self.nodes.iter().map(|node| node.width(widths)).collect();
        // The root is one of them.
        all.push(self.root.width(widths));
        all.sort_unstable_by(|a, b| b.cmp(a));
        let mut frames = MAX_FRAMES;
        let least = loop {
            let least = all.get(frames).copied().unwrap_or(0);
            if frames == 1 || self.spelt_out(widths, least) <= MOST_SPELT_OUT {
                break least;
            }
            frames /= 2;
        };
        let numbers = (0..self.nodes.len()).filter(|number| self.nodes[*number].width(widths) > least);
        let call = |number: usize| {
            let (caller, name) = self.calls[number];
            (caller as usize, self.names[name as usize].as_str(), number)
        };
        let mut calls: Vec<_> = numbers.map(call).collect();
        calls.sort_unstable();
        calls
    }
}

/// What inferno is given.
#[derive(Default)]
struct Frames {
    widths: Widths,
    lines: Vec<String>,
    colors: PaletteMap,
    /// What each frame's title is to say besides, by the frame's number.
    differences: Vec<String>,
}

impl Frames {
    /// Draws what `caller` calls; `path` leads to it.
    fn draw(&mut self, tree: &Tree, calls: &[(usize, &str, usize)], caller: Option<usize>, path: &mut String) {
        let slot = caller.map_or(0, |caller| caller + 1);
        let start = calls.partition_point(|call| call.0 < slot);
        let len = calls[start..].partition_point(|call| call.0 == slot);
        let of_caller = &calls[start..start + len];
        let above: u64 = of_caller.iter().map(|(.., call)| tree.nodes[*call].width(self.widths)).sum();
        let node = caller.map_or(&tree.root, |caller| &tree.nodes[caller]);
        let own = node.width(self.widths).saturating_sub(above);
        if own > 0 && !path.is_empty() {
            self.lines.push(format!("{path} {own}"));
        }
        for (_, name, number_of_call) in of_caller {
            let call = &tree.nodes[*number_of_call];
            // inferno gives colours by name, and here one function has many.
            let name = format!("{}{name}", number(self.differences.len()));
            self.colors.insert(&name, color(call, &tree.root, self.widths));
            let difference = i128::from(call.now) - i128::from(call.before);
            let sign = if difference > 0 { "+" } else { "" };
            self.differences.push(format!("{sign}{}", count(difference)));
            let len = path.len();
            if len > 0 {
                path.push(';');
            }
            path.push_str(&name);
            self.draw(tree, calls, Some(*number_of_call), path);
            path.truncate(len);
        }
    }
}

/// A frame's number travels through inferno as the first letter of its name, one of those that Unicode leaves to private use.
/// There are more of them than frames in a picture.
const FIRST_NUMBER: u32 = 0xf_0000;

fn number(frame: usize) -> char {
    let number = u32::try_from(frame).ok().and_then(|frame| char::from_u32(FIRST_NUMBER + frame));
    number.unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The picture without numbers: in their place each title says by how much its frame differs.
fn with_differences(svg: &str, differences: &[String]) -> String {
    const TITLE: &str = "<title>";
    let plain = |text: &str| text.replace(|letter: char| u32::from(letter) >= FIRST_NUMBER, "");
    let mut pieces = svg.split(TITLE);
    let mut out = plain(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.push_str(TITLE);
        let number = piece.chars().next().map(u32::from).and_then(|letter| letter.checked_sub(FIRST_NUMBER));
        let difference = number.and_then(|number| differences.get(number as usize));
        match (difference, piece.split_once(")</title>")) {
            (Some(difference), Some((title, rest))) => {
                out.push_str(&format!("{}; {difference})</title>{}", plain(title), plain(rest)));
            }
            _ => out.push_str(&plain(piece)),
        }
    }
    out
}

/// What leads to a change has the colour of the change, the stronger the more of it is there, and all else stands back. What each
/// picture alone can show goes first: growth where the widths are those of now.
fn color(node: &Node, root: &Node, widths: Widths) -> Color {
    let share = |part: u64, whole: u64| (part > 0).then(|| (part as f64 / whole.max(1) as f64).sqrt());
    let fade = |share: f64| (225.0 - 135.0 * share) as u8;
    let red = share(node.grew, root.grew).map(fade).map(|fade| Color { r: 255, g: fade, b: fade });
    let blue = share(node.shrank, root.shrank).map(fade).map(|fade| Color { r: fade, g: fade, b: 255 });
    let first = if widths == Widths::Now { red.or(blue) } else { blue.or(red) };
    first.unwrap_or(Color { r: 238, g: 238, b: 238 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::explain::stacks::Frame;
    use memprof_profile::model::function::Origin;

    fn stacks(list: &[(&str, i64)]) -> Stacks {
        let frame = |name: &str| Frame { function: name.into(), file: "".into(), line: 1, origin: Origin::Workspace };
        let stack = |(names, objects): &(&str, i64)| (names.split('<').map(frame).collect(), [*objects, 0, 0, 0, 0]);
        Stacks::for_test(list.iter().map(stack))
    }

    #[test]
    fn each_picture_shows_what_the_other_cannot() {
        let before = stacks(&[("f<main", 4), ("gone<main", 2)]);
        let now = stacks(&[("f<main", 4), ("came_[u8; 4]<main", 8)]);
        let draw = |widths| {
            let svg = draw("t", &tree(&before, &now, Metric::AllocObjects), Metric::AllocObjects, widths).unwrap();
            String::from_utf8(svg).unwrap()
        };
        let (after, earlier) = (draw(Widths::Now), draw(Widths::Before));
        assert!(after.contains("came_[u8; 4] (8 objects, 66.67%; +8)") && !after.contains("gone"), "{after}");
        assert!(earlier.contains("gone (2 objects, 33.33%; -2)") && !earlier.contains("came"), "{earlier}");
        assert!(super::draw("t", &tree(&before, &now, Metric::PeakSpace), Metric::PeakSpace, Widths::Now).is_none());
    }

    #[test]
    fn a_picture_that_leaves_thin_frames_out_says_how_many() {
        let names: Vec<String> = (0..6000).map(|number| format!("f{number}<main")).collect();
        let list = |each: i64| {
            let mut list: Vec<(&str, i64)> = names.iter().map(|stack| (stack.as_str(), each)).collect();
            list.push(("wide<main", 4000));
            stacks(&list)
        };
        let svg =
            draw("t", &tree(&list(1), &list(2), Metric::AllocObjects), Metric::AllocObjects, Widths::Now).unwrap();
        assert!(String::from_utf8(svg).unwrap().contains(" | 6,000 thinner frames are not drawn"));
        let svg = draw(
            "t",
            &tree(&stacks(&[("f<main", 1)]), &stacks(&[("f<main", 2)]), Metric::AllocObjects),
            Metric::AllocObjects,
            Widths::Now,
        );
        assert!(!String::from_utf8(svg.unwrap()).unwrap().contains("not drawn"));
    }

    #[test]
    fn what_leads_to_a_change_has_its_colour_and_nothing_else_has() {
        let before = stacks(&[("new<parse<main", 4), ("new<main", 6), ("gone<main", 2)]);
        let now = stacks(&[("new<parse<main", 7), ("new<main", 6)]);
        let svg = String::from_utf8(
            draw("t", &tree(&before, &now, Metric::AllocObjects), Metric::AllocObjects, Widths::Now).unwrap(),
        )
        .unwrap();
        let fill = |title: &str| {
            let frame = svg.split("<title>").find(|frame| frame.starts_with(title)).expect("the frame is there");
            frame.split("fill=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has a colour").to_owned()
        };
        let red = "rgb(255,90,90)";
        for title in ["all (13", "main (13 objects, 100.00%; +1)", "parse (7 objects, 53.85%; +3)", "new (7 objects"] {
            assert_eq!(fill(title), red, "{title}");
        }
        assert_eq!(fill("new (6 objects, 46.15%; 0)"), "rgb(238,238,238)");
        assert!(!svg.contains(|letter: char| u32::from(letter) >= FIRST_NUMBER), "{svg}");
    }
}
