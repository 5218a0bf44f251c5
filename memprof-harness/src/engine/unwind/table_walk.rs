//! The walk that asks the unwind tables at every step ([`tables::rule`]): right through code without frame pointers, through signal
//! handlers and switches of stacks, and slower than to follow frame pointers. A stack is walked so when it is noted for
//! the first time, and at each event that is known to need it.
//!
//! Where it cannot go on, the walk ends and says so. What it reads lies on the thread's own stack, or on a page that was seen to be there.

#![allow(unsafe_code)] // reads stacks

use crate::engine::unwind::frame_pointer::{self, Bounds, Frame};
use crate::engine::unwind::other_stack;
use crate::engine::unwind::tables::{self, Base, Found, FramePointer, Rule};

/// Steps after which a walk is given up: tables that lead in a circle are nobody's.
const MOST_STEPS: usize = 1 << 17;
const PAGE: usize = 4096;
/// What is farther away was not reached by calls alone. In bytes.
const FARTHEST: usize = 1 << 20;

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At the outermost function.
    Whole,
    /// Where it could not go on: callers are missing.
    Lost,
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
    pub(crate) address: u64,
    /// Where the function that is returned to begins, if its caller is found by the stack pointer.
    pub(crate) by_table: Option<u64>,
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

    /// Walks outwards from `frame`, which is the calling function's or that of one of its callers.
    #[inline(always)]
    pub(crate) fn go(&mut self, frame: Frame, mut visit: impl FnMut(Step)) -> Ending {
        self.memory.start_at(frame.0);
        let Some(mut at) = self.record(frame.0) else { return Ending::Lost };
        // Where the record lies that led here, if one did.
        let mut place = Some(frame.0);
        for _ in 0..MOST_STEPS {
            if at.address == 0 {
                return Ending::Whole;
            }
            let frame_pointer = tables::frame_pointer(at.address);
            let found = if frame_pointer == FramePointer::Missing {
                tables::rule(at.address)
            } else {
                Found { rule: Rule::FramePointer, function: 0 }
            };
            let is_table = matches!(found.rule, Rule::Table { .. });
            if found.rule != Rule::NoCode {
                visit(Step { address: at.address, by_table: is_table.then_some(found.function) });
            }
            let rule = found.rule;
            if rule == Rule::FramePointer {
                // Where a frame pointer is 0, somebody says that there is no caller.
                if at.frame == 0 {
                    return Ending::Whole;
                }
                self.entered = None;
                place = Some(at.frame);
                if frame_pointer == FramePointer::Guessed {
                    self.memory.ask_for(at.frame);
                }
                let Some(next) = self.record(at.frame) else { return Ending::Lost };
                at = next;
                continue;
            }
            let is_entry = is_table || rule == Rule::Outermost;
            self.entered = match place {
                Some(place) if is_entry => Some(Root { place, address: at.address }),
                None if is_entry => self.entered,
                _ => None,
            };
            if place.is_some() && self.root.is_some() && self.root == self.entered {
                return Ending::Whole;
            }
            if rule == Rule::Outermost {
                self.found = self.entered.filter(|root| self.memory.own_stack.hold(root.place));
                return Ending::Whole;
            }
            place = None;
            match self.step(at, rule) {
                Some(next) => at = next,
                None => return Ending::Lost,
            }
        }
        Ending::Lost
    }

    fn step(&mut self, at: Registers, rule: Rule) -> Option<Registers> {
        match rule {
            Rule::Table { base, end, frame } => {
                let start = match base {
                    Base::Stack => at.stack,
                    Base::Frame => at.frame,
                };
                let end = start.checked_add(end as usize).filter(|&end| end > at.stack)?;
                let frame = match frame {
                    Some(distance) => self.memory.word(end.checked_sub(distance as usize)?)?,
                    None => at.frame,
                };
                let address = self.memory.address(end.checked_sub(8)?)?;
                Some(Registers { address, stack: end, frame })
            }
            Rule::Switch { link, end, address, frame } => {
                let link = self.memory.word(at.frame.checked_add(link as usize)?)?;
                let end = link.checked_add(end as usize)?;
                let frame = self.memory.word(end.checked_sub(frame as usize)?)?;
                let address = self.memory.address(end.checked_sub(address as usize)?)?;
                Some(Registers { address, stack: end, frame })
            }
            Rule::Signal { stack, address, frame } => {
                // The kernel has put it all there before it called the handler.
                self.memory.page = page_of(at.stack);
                let word = |memory: &mut Memory, distance: u32| memory.word(at.stack.checked_add(distance as usize)?);
                let stack = word(&mut self.memory, stack)?;
                let frame = word(&mut self.memory, frame)?;
                // It is where the function goes on, and not behind a call: one more makes it what all others are.
                let address = word(&mut self.memory, address)?.checked_add(1)? as u64;
                Some(Registers { address, stack, frame })
            }
            Rule::FramePointer | Rule::NoTable => self.record(at.frame),
            Rule::Outermost | Rule::Unknown | Rule::NoCode => None,
        }
    }

    /// The caller of a function, by the record that its frame pointer leads to.
    #[inline(always)]
    fn record(&mut self, place: usize) -> Option<Registers> {
        let [frame, address] = if self.memory.own_stack.hold(place) || self.memory.is_near(place) {
            // SAFETY: on a stack of the thread, outwards of a frame that is live.
            unsafe { frame_pointer::record(place) }
        } else {
            [self.memory.word(place)?, self.memory.address(place.checked_add(8)?)? as usize]
        };
        self.memory.last = place;
        Some(Registers { address: address as u64, stack: place + 16, frame })
    }
}

/// What is known where a function is returned to.
#[derive(Debug, Clone, Copy)]
struct Registers {
    address: u64,
    stack: usize,
    frame: usize,
}

/// The stacks of the calling thread.
pub(crate) struct Memory {
    own_stack: Bounds,
    /// Where a page begins that was seen to be there.
    page: usize,
    /// Where the last record lay that a frame pointer led to.
    last: usize,
}

impl Memory {
    pub(crate) fn new(own_stack: Bounds) -> Memory {
        Memory { own_stack, page: 0, last: 0 }
    }

    /// A walk begins at `frame`, which is there. Of the thread's own stack, what lies further in may not be.
    fn start_at(&mut self, frame: usize) {
        self.page = page_of(frame);
        self.last = frame;
        if self.own_stack.hold(frame) {
            self.own_stack.low = frame;
        }
    }

    /// Whether a frame pointer that the tables vouch for leads outwards on the same stack, so that there is no need to ask.
    #[inline(always)]
    fn is_near(&self, place: usize) -> bool {
        place & 7 == 0 && place >= self.last && place - self.last < FARTHEST
    }

    /// What a frame pointer leads to that nobody vouches for is not near.
    fn ask_for(&mut self, place: usize) {
        self.last = place.saturating_add(FARTHEST);
    }

    /// The word at an address; `None` where there is nothing.
    pub(crate) fn word(&mut self, at: usize) -> Option<usize> {
        if at & 7 != 0 {
            return None;
        }
        if !self.own_stack.hold_word(at) && page_of(at) != self.page {
            other_stack::peek(at)?;
            self.page = page_of(at);
        }
        // SAFETY: on the thread's own stack, outwards of a frame that is live, or on a page from which was read; a word that begins at a
        // multiple of 8 ends on the same page.
        Some(unsafe { *(at as *const usize) })
    }

    fn address(&mut self, at: usize) -> Option<u64> {
        self.word(at).map(|word| frame_pointer::unsigned(word) as u64)
    }
}

fn page_of(at: usize) -> usize {
    at & !(PAGE - 1)
}
