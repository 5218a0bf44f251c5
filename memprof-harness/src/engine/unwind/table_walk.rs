//! The walk that asks the unwind tables at every step ([`tables::rule`]): right through code without frame pointers, through signal
//! handlers and switches of stacks, and slower than to follow frame pointers. A stack is walked so when it is noted for
//! the first time, and those of its frames that are new at each event that is known to need it (`kept_walk`).
//!
//! Where it cannot go on, the walk ends and says so. What it reads lies on the thread's own stack, or on a page that was seen to be there.

use crate::engine::unwind::frame_pointer::{unsigned, Bounds, Frame};
use crate::engine::unwind::memory::Memory;
use crate::engine::unwind::tables::{self, Base, Found, FramePointer, Rule};

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At the outermost function.
    Whole,
    /// Where it could not go on: callers are missing.
    Lost {
        /// So it is as long as the words that the visitor has seen are what they are.
        recurs: bool,
    },
    /// Where the visitor had seen enough.
    Stopped,
}

/// The record at which a thread's own stack ends: that of the outermost function with a frame pointer. What called it (the C library's
/// code that starts threads) has none, and nothing called that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    /// Where the record lies.
    pub(crate) place: usize,
    pub(crate) address: u64,
}

/// One return address, on the way outwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// 0 = none: the walk ends here, at its outermost function or where it is lost.
    pub(crate) address: u64,
    /// Where the function that is returned to begins, if its caller is not found by a frame record.
    pub(crate) by_table: Option<u64>,
}

/// The words that led to a return address. All that a walk comes to after it follows from them, as long as what they are
/// next to was come to in the same way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// The return address lies in the second word from here on.
    pub(crate) place: usize,
    pub(crate) address: usize,
    /// The caller's frame pointer.
    pub(crate) frame: usize,
    /// Where else than at `place` the frame pointer lies, and what else was read. `None` for a frame record.
    pub(crate) others: Option<Others>,
}

impl Words {
    /// Whether the return address was found by the stack pointer, and by nothing but what a table says of a function that called. Then
    /// all registers that the walk knows are in these words, and whoever comes to the same ones goes on in the same way.
    pub(crate) fn is_plain(&self) -> bool {
        self.others.is_some_and(|others| others.third.is_none())
    }
}

/// Words that do not lie side by side as in a frame record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Others {
    /// Where the frame pointer was read; `None`: it is where it was.
    pub(crate) frame: Option<usize>,
    /// A further word and its place.
    pub(crate) third: Option<[usize; 2]>,
}

/// A walk from a function that has a frame pointer.
pub(crate) struct TableWalk {
    memory: Memory,
    /// The thread's root, if it is known: the walk ends there.
    root: Option<Root>,
    /// The root as this walk found it.
    found: Option<Root>,
    /// The record at which code without frame pointers was entered that was not left since.
    entered: Option<Root>,
}

impl TableWalk {
    pub(crate) fn new(own_stack: Bounds, root: Option<Root>) -> TableWalk {
        TableWalk { memory: Memory::new(own_stack), root, found: None, entered: None }
    }

    /// The root, if the walk came to it and found it to be one.
    pub(crate) fn found_root(&self) -> Option<Root> {
        self.found
    }

    /// Walks outwards from `frame`, which is the calling function's or that of one of its callers, until `visit` says that it is enough.
    #[inline(always)]
    pub(crate) fn go(&mut self, frame: Frame, visit: impl FnMut(Step, &Words) -> bool) -> Ending {
        self.memory.start_at(frame.0);
        match self.record(frame.0) {
            Some(at) => self.go_from(at, visit),
            None => Ending::Lost { recurs: false },
        }
    }

    /// Walks outwards from a step that an earlier walk came to with [`Words::is_plain`], and that still stands. It is visited again.
    #[inline(always)]
    pub(crate) fn resume(&mut self, address: u64, words: Words, visit: impl FnMut(Step, &Words) -> bool) -> Ending {
        self.memory.start_at(words.place);
        self.entered = None;
        self.go_from(Registers { address, stack: words.place + 16, frame: words.frame, words }, visit)
    }

    #[inline(always)]
    fn go_from(&mut self, at: Registers, visit: impl FnMut(Step, &Words) -> bool) -> Ending {
        match self.go_on(at, visit) {
            // Nobody vouches that what is elsewhere stays there.
            Ending::Lost { .. } if self.memory.has_left() => Ending::Lost { recurs: false },
            ending => ending,
        }
    }

    #[inline(always)]
    fn go_on(&mut self, mut at: Registers, mut visit: impl FnMut(Step, &Words) -> bool) -> Ending {
        const LOST: Ending = Ending::Lost { recurs: true };
        const LOST_NOW: Ending = Ending::Lost { recurs: false };
        let mut came = Came::Surely;
        // Where it was called from that was come to before.
        let mut callee = 0;
        // A signal came there, and not a call.
        let mut was_interrupted = false;
        let mut circle = Circle::new();
        loop {
            if circle.closes_at(&at) {
                return LOST_NOW;
            }
            if at.address == 0 && came != Came::ByGuess {
                // Who starts a stack says so for a function that calls. Amid one, the word may be anything.
                if was_interrupted {
                    return LOST_NOW;
                }
                let is_enough = visit(Step { address: 0, by_table: None }, &at.words);
                return if is_enough { Ending::Stopped } else { Ending::Whole };
            }
            let is_interrupted = came == Came::ByInterruption;
            let frame_pointer = if is_interrupted { FramePointer::Missing } else { tables::frame_pointer(at.address) };
            let found = match frame_pointer {
                _ if is_interrupted => tables::rule_where_interrupted(at.address),
                FramePointer::Missing => tables::rule(at.address),
                _ => Found { rule: Rule::FramePointer, function: 0 },
            };
            let is_table = matches!(found.rule, Rule::Table { .. } | Rule::Aligned { .. });
            let step = Step { address: at.address, by_table: is_table.then_some(found.function) };
            if came == Came::ByGuess {
                // What no call comes before is no return address, and the frame pointer was none.
                if matches!(found.rule, Rule::Outermost | Rule::Put | Rule::NotReturnedTo | Rule::NoCode)
                    || !tables::calls_without_table(at.address)
                {
                    return LOST_NOW;
                }
            }
            if matches!(found.rule, Rule::NotReturnedTo | Rule::NoCode) {
                // The word is none of the stack's. It is visited as the end, so that who keeps the walk knows when it is another one.
                if was_interrupted {
                    return LOST_NOW;
                }
                let is_enough = visit(Step { address: 0, by_table: None }, &at.words);
                return if is_enough { Ending::Stopped } else { LOST };
            }
            if visit(step, &at.words) {
                return Ending::Stopped;
            }
            let is_start = (found.rule == Rule::Unknown || frame_pointer == FramePointer::Guessed)
                && came == Came::Surely
                && at.words.others.is_none()
                && self.memory.is_start(at.words.place, callee);
            let rule = match found.rule {
                _ if is_start => Rule::Outermost,
                // Amid the thread's own stack, what was put there has a caller farther out.
                Rule::Put if self.memory.is_own(at.words.place) => return LOST,
                Rule::Put => Rule::Outermost,
                rule => rule,
            };
            callee = at.address;
            // Where no table says so, an interrupted function need not have called anything, nor have set its frame pointer.
            let is_told = rule != Rule::Outermost && frame_pointer != FramePointer::Guessed;
            if came == Came::ByInterruption && !is_told {
                return LOST;
            }
            was_interrupted = came == Came::ByInterruption;
            came = Came::Surely;
            if rule == Rule::FramePointer {
                // Where a frame pointer is 0, somebody says that there is no caller.
                if at.frame == 0 {
                    let is_sure = frame_pointer != FramePointer::Guessed && !was_interrupted;
                    return if is_sure { Ending::Whole } else { LOST };
                }
                self.entered = None;
                if frame_pointer == FramePointer::Guessed {
                    if self.memory.may_hold_return_address(at.stack, at.frame) {
                        return LOST;
                    }
                    if !self.memory.has_record(at.frame) {
                        return LOST_NOW;
                    }
                    came = Came::ByGuess;
                }
                let Some(next) = self.record(at.frame) else { return LOST_NOW };
                at = next;
                continue;
            }
            let is_entry = is_table || rule == Rule::Outermost;
            let is_record = at.words.others.is_none();
            self.entered = match is_record {
                true if is_entry => Some(Root { place: at.words.place, address: at.address }),
                false if is_entry => self.entered,
                _ => None,
            };
            if is_record && self.root.is_some() && self.root == self.entered {
                return Ending::Whole;
            }
            if rule == Rule::Outermost {
                self.found = self.entered.filter(|root| self.memory.is_own(root.place));
                return Ending::Whole;
            }
            if matches!(rule, Rule::Signal { .. }) {
                came = Came::ByInterruption;
            }
            match self.step(at, rule) {
                Some(next) => at = next,
                // Where there is no way on, there is none the next time. Else it is a word that could not be read.
                None => return if rule == Rule::Unknown { LOST } else { LOST_NOW },
            }
        }
    }

    fn step(&mut self, at: Registers, rule: Rule) -> Option<Registers> {
        match rule {
            Rule::Table { base, end, frame } => {
                let start = match base {
                    Base::Stack => at.stack,
                    Base::Frame => at.frame,
                };
                let end = start.checked_add(end as usize).filter(|&end| end > at.stack)?;
                let (frame, frame_at) = match frame {
                    Some(distance) => {
                        let place = end.checked_sub(distance as usize)?;
                        (self.memory.word(place)?, Some(place))
                    }
                    None => (at.frame, None),
                };
                self.other(end.checked_sub(16)?, end, frame, Others { frame: frame_at, third: None })
            }
            Rule::Aligned { end, frame } => {
                let place = at.frame.checked_sub(end as usize)?;
                let end = self.memory.word(place).filter(|&end| end > at.stack)?;
                let frame_at = at.frame.checked_sub(frame as usize)?;
                let frame = self.memory.word(frame_at)?;
                let others = Others { frame: Some(frame_at), third: Some([place, end]) };
                self.other(end.checked_sub(16)?, end, frame, others)
            }
            Rule::Switch { link, end, address, frame } => {
                let place = at.frame.checked_add(link as usize)?;
                let link = self.memory.word(place)?;
                let end = link.checked_add(end as usize)?;
                let frame_at = end.checked_sub(frame as usize)?;
                let frame = self.memory.word(frame_at)?;
                let address = end.checked_sub(address as usize)?.checked_sub(8)?;
                self.other(address, end, frame, Others { frame: Some(frame_at), third: Some([place, link]) })
            }
            Rule::Signal { stack, address, frame } => {
                // The kernel has put it all there before it called the handler.
                self.memory.is_there(at.stack);
                let place = |distance: u32| at.stack.checked_add(distance as usize);
                let (stack_at, frame_at) = (place(stack)?, place(frame)?);
                let stack = self.memory.word(stack_at)?;
                let frame = self.memory.word(frame_at)?;
                let others = Others { frame: Some(frame_at), third: Some([stack_at, stack]) };
                let next = self.other(place(address)?.checked_sub(8)?, stack, frame, others)?;
                // It is where the function goes on, and not behind a call: one more makes it what all others are.
                Some(Registers { address: next.address.checked_add(1)?, ..next })
            }
            Rule::FramePointer | Rule::NoTable => self.record(at.frame),
            Rule::Outermost | Rule::Put | Rule::Unknown | Rule::NotReturnedTo | Rule::NoCode => None,
        }
    }

    /// The caller of a function, by the record that its frame pointer leads to.
    #[inline(always)]
    fn record(&mut self, place: usize) -> Option<Registers> {
        let [frame, word] = self.memory.record(place)?;
        let words = Words { place, address: word, frame, others: None };
        Some(Registers { address: unsigned(word) as u64, stack: place + 16, frame, words })
    }

    /// The caller of a function, by anything else: the return address is the second word from `place` on, and the stack ends at `stack`
    /// when it is returned to.
    fn other(&mut self, place: usize, stack: usize, frame: usize, others: Others) -> Option<Registers> {
        let word = self.memory.word(place.checked_add(8)?)?;
        let words = Words { place, address: word, frame, others: Some(others) };
        Some(Registers { address: unsigned(word) as u64, stack, frame, words })
    }
}

/// How a walk came to a return address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Surely,
    /// By a frame pointer that no table vouches for.
    ByGuess,
    /// It is no return address: a signal came there.
    ByInterruption,
}

/// What is known where a function is returned to.
#[derive(Debug, Clone, Copy)]
struct Registers {
    address: u64,
    stack: usize,
    frame: usize,
    words: Words,
}

/// Notices a walk that goes round and round, as hand-made stacks may lead it. Where all registers are what they were at an earlier step,
/// all that follows is, too (Brent's algorithm: the step that others are compared with is the first, the second, the fourth, and so on).
struct Circle {
    compared: [u64; 3],
    steps: usize,
    next: usize,
}

impl Circle {
    fn new() -> Circle {
        Circle { compared: [0; 3], steps: 0, next: 1 }
    }

    #[inline(always)]
    fn closes_at(&mut self, at: &Registers) -> bool {
        let registers = [at.address, at.stack as u64, at.frame as u64];
        self.steps += 1;
        if registers == self.compared {
            return true;
        }
        if self.steps == self.next {
            self.compared = registers;
            self.next *= 2;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_noticed_wherever_it_begins_and_nothing_else_is_one() {
        let at = |place: usize| {
            let words = Words { place, address: 0, frame: 0, others: None };
            Registers { address: 1, stack: place, frame: 0, words }
        };
        for (before, round) in [(0, 1), (0, 2), (1, 1), (7, 3), (100, 1000), (5000, 17)] {
            let mut circle = Circle::new();
            let places = (0..).map(|i| if i < before { i } else { before + (i - before) % round });
            let noticed = places.take(100_000).position(|place| circle.closes_at(&at(place)));
            assert!(
                noticed.is_some_and(|steps| (before + round..4 * (before + round) + 4).contains(&steps)),
                "{noticed:?}"
            );
        }
        let mut circle = Circle::new();
        assert!(!(0..100_000).any(|place| circle.closes_at(&at(place))));
    }
}
