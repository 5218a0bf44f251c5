//! What is kept of a stack that is not kept as it is: of one deeper than the ledger's depth its inner three quarters and its outer
//! quarter, but at least as much as the start of a thread may take, and of recursion through code without frame pointers one round.
//!
//! `qsort` calls itself as often as its input makes it, so each element would have a stack of its own. So of a run of frames that were
//! found by the stack pointer, what lies between the innermost and the outermost frame of one function is left out, and a word in its
//! place says so. It does not say how many frames: stacks that differ in nothing else are one. A run
//! then has two frames of each function at most, and as many stacks as there are ways through it without a circle.

use crate::engine::unwind::frame_pointer::{finish, mix, SEED};
use crate::engine::unwind::table_walk::{Ending, Step};
use crate::ledger::layout::{frames_left_out, left_out, MOST_DEPTH, ROUNDS_LEFT_OUT};

/// Frames of a run that are looked through for the same function.
const LONGEST_RUN: usize = 64;

/// Frames of the outer end that are kept at every depth: the test, or what a thread was made to do, and outside of it what starts
/// tests and threads. That is up to 11 frames in a debug build of Rust 1.95.
const LEAST_OUTER: usize = 12;

/// Room for one stack. Zeros are an empty one of no depth.
pub(crate) struct Excerpt {
    /// Innermost first: `inner` addresses, and then the outermost ones in turns.
    addresses: [u64; MOST_DEPTH + 1],
    /// How many of the innermost and of the outermost are kept.
    inner: usize,
    outer: usize,
    /// Words so far, and how many of them are no frames.
    len: usize,
    marks: usize,
    /// Where the next one goes.
    next: usize,
    hash: u64,
    /// The frames of the run.
    run: [FrameOfRun; LONGEST_RUN],
    run_len: usize,
}

/// A stack that somebody keeps and can spell from anywhere, so that nobody looks through all of it for its ends.
pub(crate) trait Spelt {
    /// How many words it has: return addresses, and what stands for frames that are left out.
    fn words(&self) -> usize;

    /// How many of these are no frames.
    fn marks(&self) -> usize;

    /// The words from the one with this number outwards; the innermost is 0.
    fn from(&self, word: usize) -> impl Iterator<Item = u64>;
}

#[derive(Clone, Copy)]
struct FrameOfRun {
    function: u64,
    address: u64,
    /// Frames between the one before and this one are left out.
    is_behind_gap: bool,
}

impl Excerpt {
    /// A new stack, of which `depth` frames are to be kept.
    pub(crate) fn begin(&mut self, depth: usize) {
        let depth = depth.clamp(4, MOST_DEPTH);
        self.outer = (depth / 4).max(LEAST_OUTER);
        self.inner = depth - depth / 4;
        self.len = 0;
        self.marks = 0;
        self.next = 0;
        self.hash = SEED;
        self.run_len = 0;
    }

    fn depth(&self) -> usize {
        self.inner + self.outer
    }

    /// The words to be kept of a stack, of which recursion is left out already, and whether they are not all.
    pub(crate) fn of(&mut self, depth: usize, stack: &impl Spelt) -> (&[u64], bool) {
        self.begin(depth);
        let (depth, inner, outer, len) = (self.depth(), self.inner, self.outer, stack.words());
        let is_cut = len > depth;
        let kept = if is_cut { depth + 1 } else { len };
        let at_the_inner_end = if is_cut { inner } else { len };
        self.addresses.iter_mut().zip(stack.from(0).take(at_the_inner_end)).for_each(|(to, word)| *to = word);
        if is_cut {
            let rest = self.addresses.get_mut(inner + 1..kept).unwrap_or(&mut []);
            rest.iter_mut().zip(stack.from(len - outer)).for_each(|(to, word)| *to = word);
            let [inner_part, outer_part] =
                [0..inner, inner + 1..kept].map(|part| self.addresses.get(part).unwrap_or(&[]));
            let is_mark = |word: &&u64| frames_left_out(**word).is_some();
            let marks_kept = inner_part.iter().chain(outer_part).filter(is_mark).count();
            let frames = (len - depth).saturating_sub(stack.marks() - marks_kept);
            if let Some(place) = self.addresses.get_mut(inner) {
                *place = left_out(frames);
            }
        }
        (self.addresses.get(..kept).unwrap_or(&[]), is_cut)
    }

    /// The next frame outwards.
    #[inline(always)]
    pub(crate) fn add(&mut self, step: Step) {
        match step.by_table {
            Some(function) => self.add_to_run(function, step.address),
            None => {
                if self.run_len > 0 {
                    self.end_run();
                }
                self.push(step.address);
            }
        }
    }

    fn add_to_run(&mut self, function: u64, address: u64) {
        let run = self.run.get(..self.run_len).unwrap_or(&[]);
        let mut same = run.iter().enumerate().filter(|(_, frame)| frame.function == function);
        let kept = match (same.next(), same.next()) {
            (_, Some((second, _))) => second,
            (Some((first, _)), None) => first + 1,
            (None, _) => self.run_len,
        };
        let is_behind_gap = kept < self.run_len;
        self.run_len = kept;
        if self.run_len == LONGEST_RUN {
            self.end_run();
        }
        if let Some(place) = self.run.get_mut(self.run_len) {
            *place = FrameOfRun { function, address, is_behind_gap };
            self.run_len += 1;
        }
    }

    fn end_run(&mut self) {
        for i in 0..self.run_len {
            let Some(&FrameOfRun { address, is_behind_gap, .. }) = self.run.get(i) else { break };
            if is_behind_gap {
                self.push(ROUNDS_LEFT_OUT);
            }
            self.push(address);
        }
        self.run_len = 0;
    }

    #[inline(always)]
    fn push(&mut self, word: u64) {
        self.hash = mix(self.hash, word);
        if let Some(place) = self.addresses.get_mut(self.next) {
            *place = word;
        }
        self.len += 1;
        self.marks += usize::from(frames_left_out(word).is_some());
        self.next += 1;
        if self.next == self.depth() {
            // The outer part is written round and round.
            self.next = self.inner;
        }
    }

    /// The addresses, with how many are left out between them; whether some are; and a key of the whole stack.
    pub(crate) fn finish(&mut self, ending: Ending) -> (&[u64], bool, u64) {
        self.end_run();
        // Told apart from chains of frame pointers, whose hashes begin outermost.
        let ending = if matches!(ending, Ending::Lost { .. }) { 3 } else { 5 };
        let key = finish(mix(self.hash, ending));
        let (depth, inner) = (self.depth(), self.inner);
        let skipped = self.len.saturating_sub(depth);
        if skipped > 0 {
            let kept = self.addresses.get(..depth).unwrap_or(&[]);
            let marks_kept = kept.iter().filter(|word| frames_left_out(**word).is_some()).count();
            let frames = skipped - (self.marks - marks_kept);
            let oldest = self.next - inner;
            if let Some(outer) = self.addresses.get_mut(inner..depth) {
                outer.rotate_left(oldest);
            }
            if let Some(outer) = self.addresses.get_mut(inner..=depth) {
                outer.rotate_right(1);
            }
            if let Some(place) = self.addresses.get_mut(inner) {
                *place = left_out(frames);
            }
        }
        let len = if skipped > 0 { depth + 1 } else { self.len };
        (self.addresses.get(..len).unwrap_or(&[]), skipped > 0, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Box<Excerpt> {
        Box::new(Excerpt {
            addresses: [0; MOST_DEPTH + 1],
            inner: 0,
            outer: 0,
            len: 0,
            marks: 0,
            next: 0,
            hash: 0,
            run: [FrameOfRun { function: 0, address: 0, is_behind_gap: false }; LONGEST_RUN],
            run_len: 0,
        })
    }

    fn excerpt(depth: usize, steps: &[(u64, Option<u64>)]) -> (Vec<u64>, bool, u64) {
        let mut excerpt = nothing();
        excerpt.begin(depth);
        steps.iter().for_each(|&(address, by_table)| excerpt.add(Step { address, by_table }));
        let (addresses, is_cut, key) = excerpt.finish(Ending::Whole);
        (addresses.to_vec(), is_cut, key)
    }

    #[test]
    fn of_a_deep_stack_both_ends_are_kept_and_the_middle_is_counted() {
        let steps: Vec<_> = (1..=100).map(|address| (address, None)).collect();
        for depth in [16, 64] {
            let (addresses, is_cut, _) = excerpt(depth, &steps);
            let inner = depth as u64 * 3 / 4;
            let outer = (depth as u64 / 4).max(LEAST_OUTER as u64);
            let left_out = left_out((100 - inner - outer) as usize);
            let expected: Vec<u64> = (1..=inner).chain([left_out]).chain(100 - outer + 1..=100).collect();
            assert_eq!((addresses, is_cut), (expected, true));
        }
        for depth in [100, 101, 1024] {
            assert_eq!(excerpt(depth, &steps).0, (1..=100).collect::<Vec<_>>());
        }
        let keys: Vec<u64> = (17..40).map(|len| excerpt(16, &steps[..len]).2).collect();
        assert!(keys.windows(2).all(|keys| keys[0] != keys[1]));
    }

    /// A stack as it is spelt, innermost first.
    struct Words<'a>(&'a [u64]);

    impl Spelt for Words<'_> {
        fn words(&self) -> usize {
            self.0.len()
        }

        fn marks(&self) -> usize {
            self.0.iter().filter(|&&word| word == ROUNDS_LEFT_OUT).count()
        }

        fn from(&self, word: usize) -> impl Iterator<Item = u64> {
            self.0[word..].iter().copied()
        }
    }

    #[test]
    fn of_a_stack_that_can_be_spelt_from_anywhere_the_same_is_kept() {
        let rounds = [(11, Some(10)), (12, Some(10)), (13, Some(10)), (2, None)];
        let with_gaps: Vec<_> = (0..30).flat_map(|_| rounds).collect();
        let plain: Vec<_> = (1..=120).map(|address| (address, None)).collect();
        for steps in [with_gaps, plain] {
            for len in [0, 1, 15, 16, 17, 40, 120] {
                let (all, ..) = excerpt(MOST_DEPTH, &steps[..len]);
                for depth in [16, 24, 64, 119, 120] {
                    let (words, is_cut, _) = excerpt(depth, &steps[..len]);
                    let mut spelt = nothing();
                    // What was there before is no part of it.
                    spelt.addresses.fill(77);
                    let of = spelt.of(depth, &Words(&all));
                    assert_eq!(of, (words.as_slice(), is_cut), "{len} {depth}");
                }
            }
        }
    }

    #[test]
    fn of_recursion_without_frame_pointers_one_round_is_kept() {
        // sort calls itself, and compare; the caller of sort has a frame pointer.
        let sort = Some(10);
        let steps = [
            (1, None),
            (11, sort),
            (12, sort),
            (13, sort),
            (12, sort),
            (21, Some(20)),
            (2, None),
            (12, sort),
            (3, None),
        ];
        assert_eq!(excerpt(128, &steps).0, [1, 11, ROUNDS_LEFT_OUT, 12, 21, 2, 12, 3]);
        // Two that call each other, and a third before.
        let (a, b, c) = (Some(10), Some(20), Some(30));
        let steps = [(31, c), (11, a), (21, b), (12, a), (22, b), (13, a), (23, b), (2, None)];
        assert_eq!(excerpt(128, &steps).0, [31, 11, ROUNDS_LEFT_OUT, 13, 23, 2]);
        // Nothing lies between two that call each other at once.
        let steps = [(1, None), (11, sort), (12, sort), (2, None)];
        assert_eq!(excerpt(128, &steps).0, [1, 11, 12, 2]);
    }

    #[test]
    fn what_stands_for_rounds_is_no_frame_where_frames_are_counted() {
        // Each of 30 times three rounds through one function, and its caller with a frame pointer.
        let rounds = [(11, Some(10)), (12, Some(10)), (13, Some(10)), (2, None)];
        let steps: Vec<_> = (0..30).flat_map(|_| rounds).collect();
        let (words, is_cut, _) = excerpt(16, &steps);
        let left_out: u64 = words.iter().filter_map(|&word| frames_left_out(word)).sum();
        let frames = words.iter().filter(|&&word| frames_left_out(word).is_none()).count() as u64;
        assert_eq!((left_out + frames, is_cut), (30 * 3, true), "{words:x?}");
    }

    #[test]
    fn a_long_run_of_different_functions_is_kept() {
        let steps: Vec<_> = (1..=300).map(|function| (function * 10 + 1, Some(function * 10))).collect();
        assert_eq!(excerpt(1024, &steps).0, steps.iter().map(|(address, _)| *address).collect::<Vec<_>>());
    }
}
