//! Where a region allocated: raw stacks, kept while it runs, and their lines, found where an assertion fails.
//!
//! A stack is taken without a lock and without memory, so it may be taken within the allocator wherever that is called.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Addresses that are kept of a stack, from the allocator outwards.
#[cfg(all(feature = "sites", not(miri)))]
const DEPTH: usize = 64;
/// Stacks that are kept from a region's beginning, whatever its limit.
const FIRST: u64 = 64;
/// Allocations past the limit whose stacks are kept.
const PAST: u64 = 16;
/// Stacks that are kept for blocks that may be left.
const LIVE: usize = 4096;

/// Return addresses, innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stack(Vec<usize>);

impl Stack {
    /// Of the calling thread.
    #[cfg(all(feature = "sites", not(miri)))]
    #[allow(unsafe_code)]
    pub(crate) fn here() -> Stack {
        let mut addresses = Vec::with_capacity(DEPTH);
        // SAFETY: what is asked for is the calling thread's own stack, of which the unwinder needs no lock of this crate's.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                addresses.push(frame.ip() as usize);
                addresses.len() < DEPTH
            });
        }
        Stack(addresses)
    }

    #[cfg(not(all(feature = "sites", not(miri))))]
    pub(crate) fn here() -> Stack {
        Stack(Vec::new())
    }
}

/// The most that a region may allocate, as far as its stacks are concerned.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Most {
    pub objects: Option<u64>,
    pub space: Option<u64>,
    /// Bytes that are live at once.
    pub peak: Option<u64>,
    /// Whether what is left is limited.
    pub live: bool,
}

/// Allocations, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub objects: u64,
    pub space: u64,
}

impl Room {
    pub(crate) const NONE: Room = Room { objects: 0, space: 0 };
    pub(crate) const ANY: Room = Room { objects: u64::MAX, space: u64::MAX };

    pub(crate) fn least(self, other: Room) -> Room {
        Room { objects: self.objects.min(other.objects), space: self.space.min(other.space) }
    }
}

#[derive(Debug)]
struct Noted {
    stack: Stack,
    times: u64,
    /// One of these allocations brought the region past its limit of bytes that are live at once.
    passed_peak: bool,
}

/// What is kept of a region's stacks.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    most: Most,
    objects: u64,
    space: u64,
    past: u64,
    /// Of the allocation that is noted next.
    passed_peak: bool,
    noted: Vec<Noted>,
    by_hash: HashMap<u64, u32>,
    /// Allocations whose stacks were not kept.
    unkept: u64,
}

impl Sites {
    pub(crate) fn new(most: Most) -> Sites {
        Sites { most, ..Sites::default() }
    }

    /// Whether the stack of this allocation is to be kept, with which so many bytes are live.
    pub(crate) fn wants(&mut self, size: usize, is_new: bool, live: u64) -> bool {
        self.objects += 1;
        self.space += size as u64;
        let passed = |most: Option<u64>, now: u64| most.is_some_and(|most| now > most);
        self.passed_peak = passed(self.most.peak, live);
        let is_past =
            self.passed_peak || passed(self.most.objects, self.objects) || passed(self.most.space, self.space);
        let wants = self.objects <= FIRST
            || (is_past && self.past < PAST)
            || (self.most.live && is_new && self.noted.len() < LIVE);
        self.past += u64::from(wants && is_past);
        self.unkept += u64::from(!wants);
        wants
    }

    /// How much may be allocated before [`Sites::wants`] says yes to any of it.
    pub(crate) fn room(&self) -> Room {
        if self.objects < FIRST || (self.most.live && self.noted.len() < LIVE) {
            return Room::NONE;
        }
        if self.past >= PAST {
            return Room::ANY;
        }
        let left = |most: Option<u64>, now: u64| most.map_or(u64::MAX, |most| most.saturating_sub(now));
        Room { objects: left(self.most.objects, self.objects), space: left(self.most.space, self.space) }
    }

    /// So much was allocated within the [`Sites::room`].
    pub(crate) fn pass(&mut self, passed: Room) {
        self.objects += passed.objects;
        self.space += passed.space;
        self.unkept += passed.objects;
    }

    /// Keeps a stack; gives its number.
    pub(crate) fn note(&mut self, stack: &Stack) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        stack.hash(&mut hasher);
        let next = u32::try_from(self.noted.len()).ok()?;
        let number = *self.by_hash.entry(hasher.finish()).or_insert(next);
        if number == next {
            self.noted.push(Noted { stack: stack.clone(), times: 0, passed_peak: false });
        }
        let passed_peak = self.passed_peak;
        let noted = self.noted.get_mut(number as usize)?;
        noted.times += 1;
        noted.passed_peak |= passed_peak;
        Some(number)
    }

    /// The lines that allocated, and how many allocations have none. First those that brought the region past a limit of live bytes, then
    /// the most frequent.
    pub(crate) fn allocated(&self) -> (Vec<Line>, u64) {
        let lines = |passed_peak| {
            let noted = self.noted.iter().filter(move |noted| noted.passed_peak == passed_peak);
            sum(noted.map(|noted| (line(&noted.stack), noted.times)))
        };
        let mut found = lines(true);
        for line in lines(false) {
            match found.iter_mut().find(|other| other.text == line.text) {
                Some(other) => other.times += line.times,
                None => found.push(line),
            }
        }
        (found, self.unkept)
    }

    /// The lines whose blocks are live, of how many each stack has; and how many of them have none.
    pub(crate) fn live(&self, blocks: &HashMap<Option<u32>, (u64, u64)>) -> (Vec<Line>, u64) {
        let mut without = 0;
        let mut lines = Vec::new();
        for (number, (objects, _)) in blocks {
            match number.and_then(|number| self.noted.get(number as usize)) {
                Some(noted) => lines.push((line(&noted.stack), *objects)),
                None => without += objects,
            }
        }
        (sum(lines.into_iter()), without)
    }
}

/// A line of the user's, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// `src/lib.rs:2 in step ← region`
    pub text: String,
    pub times: u64,
}

fn sum(lines: impl Iterator<Item = (String, u64)>) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    for (text, times) in lines {
        match found.iter_mut().find(|line| line.text == text) {
            Some(line) => line.times += times,
            None => found.push(Line { text, times }),
        }
    }
    found.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.text.cmp(&b.text)));
    found
}

/// `src/lib.rs:2 in step ← region`: the innermost line of the user's, and the functions that called it.
#[cfg(all(feature = "sites", not(miri)))]
fn line(stack: &Stack) -> String {
    let mut leaf = None;
    let mut callers: Vec<String> = Vec::new();
    for address in &stack.0 {
        backtrace::resolve(*address as *mut std::ffi::c_void, |symbol| {
            let Some(place) = symbol.filename().zip(symbol.lineno()).filter(|(file, _)| names::is_users(file)) else {
                return;
            };
            let name = symbol.name().map_or_else(|| "?".to_owned(), |name| names::short(&format!("{name:#}")));
            if name.is_empty() {
                return;
            }
            if leaf.is_none() {
                leaf = Some(format!("{}:{} in {name}", names::relative(place.0), place.1));
            } else if callers.last() != Some(&name) && callers.len() < 3 {
                callers.push(name);
            }
        });
    }
    let Some(leaf) = leaf else { return addresses(stack) };
    callers.into_iter().fold(leaf, |text, caller| format!("{text} ← {caller}"))
}

#[cfg(not(all(feature = "sites", not(miri))))]
fn line(stack: &Stack) -> String {
    addresses(stack)
}

/// Where no line is known.
fn addresses(stack: &Stack) -> String {
    let addresses: Vec<String> = stack.0.iter().take(4).map(|address| format!("{address:#x}")).collect();
    if addresses.is_empty() {
        "a line that is not known".to_owned()
    } else {
        format!("a line that is not known, at {}", addresses.join(" ← "))
    }
}

/// Whose a frame is, and how it is spelled.
#[cfg(all(feature = "sites", not(miri)))]
mod names {
    use std::path::Path;

    /// Whether the file is neither the standard library's, nor a dependency's, nor this crate's.
    pub(super) fn is_users(file: &Path) -> bool {
        const OTHERS: [&str; 5] =
            ["/rustc/", "/registry/src/", "/git/checkouts/", "/lib/rustlib/src/", "memprof-harness/src/"];
        let text = file.to_string_lossy().replace('\\', "/");
        let is_ours = file.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        // Whoever builds a toolchain from its release has std in a folder named after it: `rustc-1.96.0`, `rustc-1.96.0-src`.
        let of_a_release = text.split('/').any(|part| {
            part.strip_prefix("rustc-").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        });
        !is_ours && !of_a_release && !OTHERS.iter().any(|part| text.contains(part))
    }

    /// As seen from the package that is tested.
    pub(super) fn relative(file: &Path) -> String {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from);
        let folders = [package, std::env::current_dir().ok()];
        let inside = folders.iter().flatten().find_map(|folder| file.strip_prefix(folder).ok());
        inside.unwrap_or(file).to_string_lossy().into_owned()
    }

    /// `k::tests::works::{{closure}}` is `works::{closure}`.
    pub(super) fn short(name: &str) -> String {
        let bare = without_types(name);
        let mut parts: Vec<&str> = bare.split("::").filter(|part| !part.is_empty()).collect();
        let mut closures = 0;
        while parts.last().is_some_and(|part| part.starts_with('{')) {
            parts.pop();
            closures += 1;
        }
        let function = parts.pop().unwrap_or(name);
        if function == "__rust_begin_short_backtrace" {
            return String::new();
        }
        format!("{function}{}", if closures > 0 { "::{closure}" } else { "" })
    }

    /// Without what stands in angle brackets.
    fn without_types(name: &str) -> String {
        let (mut depth, mut before) = (0_usize, ' ');
        let mut bare = String::new();
        for letter in name.chars() {
            match letter {
                '<' => depth += 1,
                '>' if before != '-' => depth = depth.saturating_sub(1),
                _ if depth == 0 => bare.push(letter),
                _ => {}
            }
            before = letter;
        }
        bare
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_are_those_of_functions() {
            assert_eq!(short("k::tests::works::{{closure}}"), "works::{closure}");
            assert_eq!(short("k::tests::works::{closure#0}::{closure#1}"), "works::{closure}");
            assert_eq!(short("k::step"), "step");
            assert_eq!(short("k::step<alloc::string::String>"), "step");
            assert_eq!(short("<k::Line>::step::<alloc::string::String>"), "step");
            assert_eq!(short("<k::works::{closure#0} as core::ops::function::FnOnce<()>>::call_once"), "call_once");
            assert_eq!(short("core::ops::function::FnOnce::call_once<fn() -> k::here>"), "call_once");
        }

        #[test]
        fn only_the_users_own_files_are_his() {
            assert!(is_users(Path::new("/home/u/k/src/lib.rs")));
            assert!(!is_users(Path::new("/rustc/59807616e/library/alloc/src/vec/mod.rs")));
            assert!(!is_users(Path::new("/usr/src/rustc-1.96.0/library/core/src/ops/function.rs")));
            assert!(is_users(Path::new("/home/u/rustc-tools/src/lib.rs")));
            assert!(!is_users(Path::new("/home/u/.cargo/registry/src/index.crates.io-1/serde-1.0.0/src/lib.rs")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(address: usize) -> Stack {
        Stack(vec![address])
    }

    #[test]
    fn the_first_stacks_and_those_past_the_limit_are_kept() {
        let mut sites = Sites::new(Most { objects: Some(100), ..Most::default() });
        let kept = (1..=200).filter(|_| sites.wants(8, true, 8)).count();
        assert_eq!(kept as u64, FIRST + PAST);
        assert_eq!(sites.unkept, 200 - FIRST - PAST);
    }

    #[test]
    fn equal_stacks_are_one() {
        let mut sites = Sites::new(Most::default());
        let numbers: Vec<_> = [1, 2, 1, 1].map(|address| sites.note(&stack(address))).into();
        assert_eq!(numbers, [Some(0), Some(1), Some(0), Some(0)]);
        let (lines, unkept) = sites.allocated();
        assert_eq!((lines.iter().map(|line| line.times).collect::<Vec<_>>(), unkept), (vec![3, 1], 0));
    }
}
