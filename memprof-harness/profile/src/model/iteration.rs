//! Finds one iteration in the profile of a program that ran one benchmark: the samples that the framework's bencher reached through the
//! benchmark's code. The caller names the functions of the framework. Pure.

use super::Profile;
use super::function::Origin;
use super::location::{Frame, LocationId};
use super::sample::Sample;
use super::values::Estimated;
use std::collections::{BTreeSet, HashSet};

/// Whose a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The framework's, and calls the benchmark's code.
    Bencher,
    /// The framework's, and calls the function again and again that calls the bencher.
    Repeater,
    /// The framework's.
    Harness,
    /// Anybody else's.
    Other,
}

/// What is to be read from the profile.
pub struct Question<'a> {
    /// Whose the function of a name is.
    pub owner: &'a dyn Fn(&str) -> Owner,
    /// The program's own crate, as symbols name it.
    pub program: &'a str,
    /// A repeater calls the benchmark from several lines, and of the first the bencher makes one iteration.
    pub first_call: bool,
    /// The function that the benchmark is, where others ran too: the end of its path.
    pub routine: Option<&'a str>,
}

/// What one iteration did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Iteration {
    /// What happened below the bencher, in one iteration.
    pub values: Estimated,
    /// What other threads did meanwhile, which cannot be told from what they did before.
    pub elsewhere: Estimated,
    /// Functions of the standard library alone asked the bencher for memory, which may be the benchmark's as well as the bencher's.
    pub is_unsure: bool,
    /// Calls of the bencher that show in the stacks. It measures its last one, and nothing shows which that is.
    pub calls: usize,
}

/// What one iteration did; `None` where the stacks do not tell.
pub fn of(profile: &Profile, question: &Question<'_>) -> Option<Iteration> {
    let stacks = Stacks { profile, owner: question.owner, program: question.program };
    let mut found = Iteration::default();
    let mut calls: Vec<BencherCall<'_>> = Vec::new();
    for sample in &profile.samples {
        let frames: Vec<Frame> = stacks.frames(sample).collect();
        match stacks.bencher(&frames) {
            Some(at) if stacks.is_of_benchmark(&frames, at) => {
                let repeater = frames.iter().skip(at).position(|frame| stacks.owner(*frame) == Owner::Repeater);
                calls.push(BencherCall { sample, at, repeater: repeater.map(|after| at + after), frames });
            }
            Some(at) => found.is_unsure |= stacks.may_be_of_benchmark(&frames[..at]),
            None if stacks.is_of_another_thread(&frames) => found.elsewhere += &sample.values,
            None => {}
        }
    }
    if let Some(routine) = question.routine.filter(|_| !calls.is_empty()) {
        calls.retain(|call| stacks.routine(call).is_some_and(|name| ends_with_path(name, routine)));
        if calls.is_empty() {
            return None;
        }
    }
    if question.first_call && !calls.is_empty() {
        let lines: BTreeSet<Option<u32>> = calls.iter().map(BencherCall::line).collect();
        // What was allocated in some of the calls only may be any of them.
        if lines.len() != LINES_OF_CALLS || lines.contains(&None) {
            return None;
        }
        calls.retain(|call| Some(&call.line()) == lines.first());
    }
    calls.iter().for_each(|call| found.values += &call.sample.values);
    found.calls = calls.iter().map(|call| stacks.path_to_bencher(call)).collect::<HashSet<_>>().len();
    Some(found)
}

/// Lines from which a repeater calls a benchmark that measures it in two sizes, after the one call by which it guesses them.
const LINES_OF_CALLS: usize = 3;

/// What happened below a bencher.
struct BencherCall<'a> {
    sample: &'a Sample,
    /// Innermost first.
    frames: Vec<Frame>,
    /// Where among them the bencher is.
    at: usize,
    /// Where the repeater is, farther out; `None` = there is none.
    repeater: Option<usize>,
}

impl BencherCall<'_> {
    /// The line that the repeater calls from.
    fn line(&self) -> Option<u32> {
        Some(self.frames[self.repeater?].line)
    }
}

/// A profile's stacks, and whose their functions are.
struct Stacks<'a> {
    profile: &'a Profile,
    owner: &'a dyn Fn(&str) -> Owner,
    program: &'a str,
}

impl<'a> Stacks<'a> {
    /// Innermost first.
    fn frames(&self, sample: &Sample) -> impl Iterator<Item = Frame> {
        let locations = self.profile.stacks.locations(sample.stack);
        locations.flat_map(|location| self.profile.locations.get(location).frames.iter().copied())
    }

    /// The way from the outermost bencher out: where each function was called from. Of one call of the bencher it is always the same.
    fn path_to_bencher(&self, call: &BencherCall<'_>) -> Vec<(Option<LocationId>, Frame)> {
        let of_bencher = call.frames.iter().rposition(|frame| self.owner(*frame) == Owner::Bencher).unwrap_or(call.at);
        let mut path = Vec::new();
        let mut passed = 0;
        for id in self.profile.stacks.locations(call.sample.stack) {
            let frames = &self.profile.locations.get(id).frames;
            // Where the bencher is inlined, the address is that of what it calls.
            let address = (passed > of_bencher).then_some(id);
            let outside = (of_bencher + 1).saturating_sub(passed).min(frames.len());
            path.extend(frames[outside..].iter().map(|frame| (address, *frame)));
            passed += frames.len();
        }
        path
    }

    fn name(&self, frame: Frame) -> &'a str {
        self.profile.strings.get(self.profile.functions.get(frame.function).name)
    }

    fn origin(&self, frame: Frame) -> Origin {
        self.profile.functions.get(frame.function).origin
    }

    fn owner(&self, frame: Frame) -> Owner {
        let name = self.name(frame);
        // The user may have written what is called by a trait of the framework's, or a program that is called as the framework is.
        let may_be_the_users = || name.starts_with('<') || self.is_of_the_program(name);
        match (self.owner)(name) {
            Owner::Harness if self.origin(frame) == Origin::Workspace && may_be_the_users() => Owner::Other,
            owner => owner,
        }
    }

    /// Where the innermost bencher is.
    fn bencher(&self, frames: &[Frame]) -> Option<usize> {
        frames.iter().position(|frame| self.owner(*frame) == Owner::Bencher)
    }

    /// Whether it is the benchmark that asked for memory, and not the bencher for its own ends.
    fn is_of_benchmark(&self, frames: &[Frame], bencher: usize) -> bool {
        let name = self.name(frames[bencher]);
        // What runs the benchmark's future may allocate for it, once; the future is a closure of the bencher's.
        if name.contains(ASYNC) && !is_closure(name) {
            return false;
        }
        let own = |frame: &Frame| self.owner(*frame) == Owner::Other;
        let inside = &frames[..bencher];
        if inside.iter().any(|frame| own(frame) && self.origin(*frame) == Origin::Workspace) {
            return true;
        }
        match inside.iter().rfind(|frame| self.origin(**frame) != Origin::Std) {
            Some(called) => own(called),
            // `iter` has nothing of its own to allocate: a function of the standard library was given to it as it is.
            None => name.ends_with("::iter"),
        }
    }

    /// Whether what asked for memory below the bencher may be a function of the standard library that is benchmarked as it is.
    fn may_be_of_benchmark(&self, inside: &[Frame]) -> bool {
        let Some(called) = inside.last() else { return false };
        inside.iter().all(|frame| self.origin(*frame) == Origin::Std)
            && !OF_BENCHERS.iter().any(|part| self.name(*called).contains(part))
    }

    /// Whether it is the user's code on a thread that the framework did not start. What starts a thread gives it a closure to
    /// run, or is a crate's that has threads of its own; `main` and what is inlined into it are functions of the program.
    fn is_of_another_thread(&self, frames: &[Frame]) -> bool {
        let first = frames.iter().rfind(|frame| self.origin(**frame) != Origin::Std);
        first.is_some_and(|first| is_closure(self.name(*first)) || self.is_of_a_dependency(*first))
            && frames.iter().all(|frame| self.owner(*frame) == Owner::Other)
            && frames.iter().any(|frame| self.origin(*frame) == Origin::Workspace)
    }

    /// Whether the function is another crate's. What a macro made has the macro's file, and may be the program's all the
    /// same: criterion's make its `main`.
    fn is_of_a_dependency(&self, frame: Frame) -> bool {
        self.origin(frame) == Origin::Dependency && !self.is_of_the_program(self.name(frame))
    }

    /// Whether a function of this name is in a crate that is called as the program is.
    fn is_of_the_program(&self, name: &str) -> bool {
        let path = name.trim_start_matches('<');
        path.strip_prefix(self.program).is_some_and(|rest| rest.starts_with("::"))
    }

    /// The benchmark's own function: what the framework called.
    fn routine(&self, call: &BencherCall<'_>) -> Option<&'a str> {
        let below = call.frames[..call.repeater.unwrap_or(call.at)].iter().rev().copied();
        let called = below.filter(|frame| self.origin(*frame) != Origin::Std);
        called.into_iter().find(|frame| self.owner(*frame) == Owner::Other).map(|frame| self.name(frame))
    }
}

/// In the names of what benchers call to keep inputs and times in.
const OF_BENCHERS: [&str; 11] = [
    "with_capacity",
    "collect",
    "from_iter",
    "extend",
    "reserve",
    "push",
    "resize",
    "alloc::alloc::",
    "raw_vec",
    "boxed::Box",
    "std::thread",
];

/// criterion's bencher of futures.
const ASYNC: &str = "AsyncBencher";

/// Whether a function's name is a closure's, in either mangling.
fn is_closure(name: &str) -> bool {
    name.contains("{{closure}}") || name.contains("{closure#")
}

/// Whether `path` is `end`, or ends with it as a path does. Macros may have put spaces into `end`.
fn ends_with_path(path: &str, end: &str) -> bool {
    let end: String = end.chars().filter(|letter| !letter.is_whitespace()).collect();
    path.strip_suffix(end.as_str()).is_some_and(|before| before.is_empty() || before.ends_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::function::Function;
    use crate::model::location::Location;
    use crate::model::values::ValueType;
    use crate::model::{About, ProfileBuilder};

    /// A profile of one allocation of one byte for each stack: names, root first, in the line that stands after an `@`.
    fn profile(stacks: &[&[&str]]) -> Profile {
        let mut builder = ProfileBuilder::default();
        for names in stacks {
            let mut stack = None;
            for name in *names {
                let (name, line) = name.split_once('@').unwrap_or((name, "0"));
                let origin = match name {
                    name if name.starts_with("alloc::") => Origin::Std,
                    // As if a macro of the framework's had made it.
                    "mine::main" => Origin::Dependency,
                    name if name.starts_with("mine::") || name.starts_with("fw::of_the_program") => Origin::Workspace,
                    _ => Origin::Dependency,
                };
                let tables = builder.tables();
                let (name, file) = (tables.strings.intern(name), tables.strings.intern(""));
                let function = tables.functions.intern(Function { name, file, origin });
                let line = line.parse().unwrap();
                let frames = Box::new([Frame { function, line, column: 0 }]);
                let location = tables.locations.intern(Location { mapping: None, address: 0, frames });
                stack = Some(builder.stack(stack, location));
            }
            let mut values = Estimated::default();
            values[ValueType::AllocSpace] = 1;
            builder.add(stack.unwrap(), None, 0, &values);
        }
        builder.finish(About::default())
    }

    fn owner(name: &str) -> Owner {
        match name {
            name if name.starts_with("fw::Bencher") || name.starts_with("fw::AsyncBencher") => Owner::Bencher,
            "fw::repeat" => Owner::Repeater,
            name if name.starts_with("fw::") => Owner::Harness,
            _ => Owner::Other,
        }
    }

    /// Bytes of the iteration, and of other threads.
    fn read(stacks: &[&[&str]], first_call: bool, routine: Option<&str>) -> Option<(i64, i64)> {
        read_of("mine", stacks, first_call, routine)
    }

    fn read_of(program: &str, stacks: &[&[&str]], first_call: bool, routine: Option<&str>) -> Option<(i64, i64)> {
        let found = of(&profile(stacks), &Question { owner: &owner, program, first_call, routine })?;
        Some((found.values[ValueType::AllocSpace], found.elsewhere[ValueType::AllocSpace]))
    }

    #[test]
    fn an_iteration_is_what_the_bencher_calls_for_by_way_of_the_benchmark() {
        let stacks: [&[&str]; 11] = [
            &["mine::main", "fw::run", "mine::bench", "alloc::vec"],
            // Before the bencher is called at all.
            &["mine::main", "mine::bench", "alloc::vec"],
            &["mine::main", "fw::run", "mine::bench", "fw::Bencher::iter", "mine::bench::{{closure}}", "alloc::vec"],
            // The bencher's own, and what it uses.
            &["mine::main", "fw::run", "mine::bench", "fw::Bencher::iter_batched", "alloc::vec"],
            &["mine::main", "fw::run", "mine::bench", "fw::Bencher::iter", "fw::stats", "alloc::vec"],
            // A function of another crate, or of the standard library, that was given as it is.
            &["mine::main", "fw::run", "mine::bench", "fw::Bencher::iter", "other::make", "alloc::vec"],
            &["mine::main", "fw::run", "mine::bench", "fw::Bencher::iter", "alloc::vec"],
            // A future, and what runs it.
            &["mine::main", "fw::run", "fw::AsyncBencher::iter", "runtime::block_on", "alloc::vec"],
            &[
                "mine::main",
                "fw::run",
                "fw::AsyncBencher::iter",
                "runtime::block_on",
                "fw::AsyncBencher::iter::{{closure}}",
                "mine::future",
                "alloc::vec",
            ],
            // On a thread of its own.
            &["mine::bench::{{closure}}", "mine::work", "alloc::vec"],
            &["pool::worker", "mine::work", "alloc::vec"],
        ];
        assert_eq!(read(&stacks, false, None), Some((4, 2)));
    }

    #[test]
    fn calls_of_the_bencher_are_told_by_where_they_are_made() {
        let calls = |stacks: &[&[&str]]| {
            of(&profile(stacks), &Question { owner: &owner, program: "mine", first_call: false, routine: None })
                .unwrap()
                .calls
        };
        let call = |line: &'static str, iter: &'static str, made: &'static str| {
            ["mine::main@1", "fw::run@2", line, iter, made, "alloc::vec"]
        };
        let one = call("mine::bench@3", "fw::Bencher::iter@7", "mine::bench::{{closure}}@3");
        let setup = call("mine::bench@3", "fw::Bencher::iter@8", "mine::setup@20");
        let another = call("mine::bench@4", "fw::Bencher::iter@7", "mine::bench::{{closure}}@4");
        assert_eq!(calls(&[&one, &setup]), 1);
        assert_eq!(calls(&[&one, &setup, &another]), 2);
        // One benchmark has another function call the bencher twice.
        let by = |line: &'static str| ["mine::main@1", line, "mine::helper@9", "fw::Bencher::iter@7", "mine::made@1"];
        assert_eq!(calls(&[&by("mine::bench@3"), &by("mine::bench@4")]), 2);
        // What runs a future is not the bencher, and stands between two functions of it.
        let future = |line: &'static str| {
            [
                "mine::main@1",
                "mine::bench@3",
                "fw::AsyncBencher::iter@5",
                line,
                "fw::AsyncBencher::iter::{{closure}}",
                "mine::made",
            ]
        };
        assert_eq!(calls(&[&future("runtime::block_on@1"), &future("runtime::block_on@2")]), 1);
    }

    #[test]
    fn a_program_may_be_called_as_its_framework_is() {
        let stacks: [&[&str]; 2] = [
            &["fw::main", "fw::run", "fw::Bencher::iter", "fw::of_the_program", "alloc::vec"],
            &["fw::main", "fw::run", "fw::Bencher::iter", "fw::stats", "alloc::vec"],
        ];
        assert_eq!(read_of("fw", &stacks, false, None), Some((1, 0)));
        assert_eq!(read_of("mine", &stacks, false, None), Some((0, 0)));
    }

    #[test]
    fn of_calls_from_several_lines_the_first_is_one_iteration() {
        let call = |line: &'static str, name: &'static str, of: &'static str| {
            ["mine::main", line, "fw::call", name, of, "mine::made", "alloc::vec"]
        };
        let stacks = [
            call("fw::repeat@7", "mine::a::one", "fw::Bencher::iter"),
            call("fw::repeat@31", "mine::a::one", "fw::Bencher::iter"),
            call("fw::repeat@39", "mine::a::one", "fw::Bencher::iter"),
            call("fw::repeat@7", "mine::a::one_more", "fw::Bencher::iter"),
            // What the benchmark does before it calls the bencher is of no iteration.
            call("fw::repeat@7", "mine::a::one", "mine::prepared"),
        ];
        let stacks: Vec<&[&str]> = stacks.iter().map(|stack| stack.as_slice()).collect();
        assert_eq!(read(&stacks, true, None), Some((2, 0)));
        assert_eq!(read(&stacks, true, Some("a :: one")), Some((1, 0)));
        // It is not known which of the calls it was, or whose.
        assert_eq!(read(&stacks, true, Some("one_more")), None);
        assert_eq!(read(&stacks, true, Some("two")), None);
        assert_eq!(read(&[&["mine::main", "fw::repeat@7", "fw::stats", "alloc::vec"]], true, None), Some((0, 0)));
        assert_eq!(read(&[&["mine::main", "fw::repeat@7", "mine::prepared", "alloc::vec"]], true, None), Some((0, 0)));
    }
}
