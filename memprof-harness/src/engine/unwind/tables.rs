//! How a function's caller is found: what the unwind tables (`.eh_frame`) say of a return address.
//!
//! Code that was compiled without frame pointers uses their register for anything. Its tables say where its frame ends instead, so
//! the way past it leads by the stack pointer. Tables are read where a stack is noted for the first time, or is known to
//! need them; an event whose stack is known reads none.

use crate::engine::unwind::code_at;
#[cfg(target_arch = "x86_64")]
use crate::engine::unwind::{
    eh_frame,
    memory::{self, Before},
};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A register that places on the stack are told from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Stack,
    Frame,
}

/// How to get from a return address to the next one. Distances are in bytes. The *end* of a frame is what DWARF calls its canonical
/// frame address: the stack pointer as the caller has it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The function has a frame pointer, which leads to [caller's frame, return address].
    FramePointer,
    /// The end lies `end` above the register; the return address is right below it, the caller's frame pointer `frame` below it, or
    /// where it is in its register.
    Table { base: Base, end: u32, frame: Option<u32> },
    /// The function aligned its stack further than its caller had, and has a frame pointer. Where it ends lies `end` below that; the return
    /// address is right below the end, the caller's frame pointer `frame` below its own.
    Aligned { end: u32, frame: u32 },
    /// The function switched stacks. A pointer lies `link` above the frame pointer, and leads to `end` below the end on the other stack;
    /// the return address and the caller's frame pointer lie as far below that.
    Switch { link: u32, end: u32, address: u32, frame: u32 },
    /// A signal handler returns here. The interrupted function's stack pointer, address and frame pointer lie above the stack pointer.
    Signal { stack: u32, address: u32, frame: u32 },
    /// Nothing called the function.
    Outermost,
    /// A function begins there, or there is code that no call is before: whoever made the stack has put it there, and nothing called.
    Put,
    /// There is no table for the function. It is of the program itself, and code there sets a frame pointer, which may be the function's.
    NoTable,
    /// There is code, but what the tables say of it cannot be followed, or there are none.
    Unknown,
    /// No call is before the address, so that nothing returns there: it is some other word.
    NotReturnedTo,
    /// There is no code.
    NoCode,
}

/// A rule, and which function it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) rule: Rule,
    /// Where the function begins; where that is not known, the return address itself.
    pub(crate) function: u64,
}

/// What holds at a return address.
#[inline]
pub(crate) fn rule(address: u64) -> Found {
    match cached(address, address) {
        Some(found) => found,
        None => look_up(address),
    }
}

/// Keys of addresses where a signal came have this bit, which is in no address.
const INTERRUPTED: u64 = 1 << 62;

/// What holds where a signal came, which is the byte before `address`. That is code which ran, whatever is before and behind it: no
/// call, and nothing that anybody has put there.
pub(crate) fn rule_where_interrupted(address: u64) -> Found {
    match cached(address | INTERRUPTED, address) {
        Some(found) => found,
        None => keep(address | INTERRUPTED, address, find_where_interrupted(address)),
    }
}

/// Whether the function that is returned to has a frame pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FramePointer {
    /// Its table says so.
    Known,
    /// It may have one: there is no table.
    Guessed,
    Missing,
}

#[inline(always)]
pub(crate) fn frame_pointer(address: u64) -> FramePointer {
    let [mixed, packed] = entry_of(address);
    let packed = packed.load(Relaxed);
    if mixed.load(Relaxed) == address ^ packed ^ FILLED {
        return match packed & KIND {
            FRAME_POINTER => FramePointer::Known,
            NO_TABLE => FramePointer::Guessed,
            _ => FramePointer::Missing,
        };
    }
    match look_up(address).rule {
        Rule::FramePointer => FramePointer::Known,
        Rule::NoTable => FramePointer::Guessed,
        _ => FramePointer::Missing,
    }
}

/// Of a packed rule, the lowest bits tell the kind.
const KIND: u64 = 7;
const FRAME_POINTER: u64 = 0;
const NO_TABLE: u64 = 6;
/// Where there is no way on; the value says which it is.
const NO_WAY: u64 = 5;

/// Rules that were looked up: the address mixed with the packed rule, and the packed rule. So an entry that two threads wrote at once fits
/// no address.
static CACHE: [[AtomicU64; 2]; 4096] = [const { [const { AtomicU64::new(0) }; 2] }; 4096];
/// No return address fits an empty entry.
const FILLED: u64 = 1 << 63;

#[inline(always)]
fn entry_of(address: u64) -> &'static [AtomicU64; 2] {
    &CACHE[(address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as usize]
}

#[inline(always)]
fn cached(key: u64, address: u64) -> Option<Found> {
    let [mixed, packed] = entry_of(key);
    let packed = packed.load(Relaxed);
    (mixed.load(Relaxed) == key ^ packed ^ FILLED).then(|| unpack(address, packed))
}

#[cold]
#[inline(never)]
fn look_up(address: u64) -> Found {
    keep(address, address, find(address))
}

#[cold]
fn keep(key: u64, address: u64, found: Found) -> Found {
    // What lies nowhere may be code when it is met again: a library was loaded there.
    if found.rule != Rule::NoCode && !code_at::is_unloading() {
        if let Some(value) = pack(address, found) {
            let [mixed, packed] = entry_of(key);
            mixed.store(key ^ value ^ FILLED, Relaxed);
            packed.store(value, Relaxed);
        }
    }
    found
}

/// What was looked up may hold no longer.
pub(crate) fn forget() {
    CACHE.iter().flatten().for_each(|word| word.store(0, Relaxed));
}

/// A rule takes the lower half, and the way back to the beginning of the function the upper one. `None` where it does not fit.
fn pack(address: u64, Found { rule, function }: Found) -> Option<u64> {
    let way = u32::try_from(address.checked_sub(function)?).ok()?;
    // Whole words.
    let word = |bytes: u32, bits: u32| (bytes & 7 == 0 && bytes / 8 < 1 << bits).then_some(bytes / 8);
    let (kind, value) = match rule {
        Rule::FramePointer => (FRAME_POINTER as u32, 0),
        Rule::Table { base, end, frame } => {
            let frame = match frame {
                // Right below the end lies the return address, so 0 is free.
                Some(frame) => word(frame, 11).filter(|&frame| frame != 0)?,
                None => 0,
            };
            (if base == Base::Stack { 1 } else { 2 }, word(end, 18)? << 11 | frame)
        }
        Rule::Switch { link, end, address, frame } => {
            (3, word(link, 7)? << 21 | word(end, 7)? << 14 | word(address, 7)? << 7 | word(frame, 7)?)
        }
        Rule::Signal { stack, address, frame } => (4, word(stack, 9)? << 18 | word(address, 9)? << 9 | word(frame, 9)?),
        Rule::Outermost => (NO_WAY as u32, 0),
        Rule::Unknown => (NO_WAY as u32, 1),
        Rule::NotReturnedTo => (NO_WAY as u32, 2),
        Rule::Put => (NO_WAY as u32, 3),
        Rule::NoTable => (NO_TABLE as u32, 0),
        Rule::Aligned { end, frame } => (7, word(end, 18)? << 11 | word(frame, 11)?),
        Rule::NoCode => return None,
    };
    Some(u64::from(way) << 32 | u64::from(kind | value << 3))
}

#[inline(always)]
fn unpack(address: u64, packed: u64) -> Found {
    let value = packed as u32 >> 3;
    let field = |from: u32, bits: u32| (value >> from & ((1 << bits) - 1)) * 8;
    let table = |base| {
        let frame = field(0, 11);
        Rule::Table { base, end: field(11, 18), frame: (frame != 0).then_some(frame) }
    };
    let rule = match packed & KIND {
        FRAME_POINTER => Rule::FramePointer,
        1 => table(Base::Stack),
        2 => table(Base::Frame),
        3 => Rule::Switch { link: field(21, 7), end: field(14, 7), address: field(7, 7), frame: field(0, 7) },
        4 => Rule::Signal { stack: field(18, 9), address: field(9, 9), frame: field(0, 9) },
        NO_WAY if value == 0 => Rule::Outermost,
        NO_WAY if value == 1 => Rule::Unknown,
        NO_WAY if value == 2 => Rule::NotReturnedTo,
        NO_WAY => Rule::Put,
        NO_TABLE => Rule::NoTable,
        _ => Rule::Aligned { end: field(11, 18), frame: field(0, 11) },
    };
    Found { rule, function: address - (packed >> 32) }
}

/// Without the cache.
fn find(address: u64) -> Found {
    let nowhere = |rule| Found { rule, function: address };
    // A call that ends a function has its return address in the next one.
    let Some(call) = (address as usize).checked_sub(1) else { return nowhere(Rule::NoCode) };
    let Some(object) = code_at::object_at(call) else { return nowhere(Rule::NoCode) };
    #[cfg(not(target_arch = "x86_64"))]
    {
        // Frame pointers are part of the platform's conventions: compilers of C keep them unless they are told otherwise.
        let _ = object;
        nowhere(Rule::FramePointer)
    }
    #[cfg(target_arch = "x86_64")]
    {
        let before = || memory::before(address as usize);
        match eh_frame::find(object, call) {
            Some((found, end)) => {
                // The beginning of a function stands where a return address belongs: whoever made the stack has put it there, and nothing
                // called. Only a call that does not return ends a function.
                let is_put = end == address as usize && eh_frame::begins_at(object, end) && before() == Before::Other;
                // The kernel returns to where a signal was handled, and a coroutine's first function to the code that ends it.
                let is_told = matches!(found.rule, Rule::Outermost | Rule::Signal { .. } | Rule::Switch { .. });
                let is_returned_to = is_told || memory::calls_before(found.function as usize, address as usize);
                if is_put {
                    nowhere(Rule::Put)
                } else if is_returned_to {
                    found
                } else {
                    Found { rule: Rule::NotReturnedTo, ..found }
                }
            }
            None if memory::returns_from_signal(address as usize) => nowhere(SIGNAL),
            None if before() == Before::Other => nowhere(Rule::Put),
            None if before() == Before::Call
                && code_at::is_in_own_object(call)
                && memory::sets_frame_pointer(eh_frame::end_before(object, call), call) =>
            {
                nowhere(Rule::NoTable)
            }
            None => nowhere(Rule::Unknown),
        }
    }
}

/// Where the kernel has put the registers, from the stack pointer behind the return from a handler: `uc_mcontext` in its `rt_sigframe`.
#[cfg(target_arch = "x86_64")]
const SIGNAL: Rule = Rule::Signal { stack: 160, address: 168, frame: 120 };

/// What holds where a signal came, without the cache.
fn find_where_interrupted(address: u64) -> Found {
    #[cfg(not(target_arch = "x86_64"))]
    {
        find(address)
    }
    #[cfg(target_arch = "x86_64")]
    {
        let nowhere = |rule| Found { rule, function: address };
        let Some(at) = (address as usize).checked_sub(1) else { return nowhere(Rule::NoCode) };
        let Some(object) = code_at::object_at(at) else { return nowhere(Rule::NoCode) };
        match eh_frame::find(object, at) {
            Some((Found { rule: Rule::Unknown, .. }, _)) | None => match memory::grown_in_stub(at) {
                Some(grown) => {
                    let rule = Rule::Table { base: Base::Stack, end: 8 + grown, frame: None };
                    Found { rule, function: (at & !15) as u64 }
                }
                None => nowhere(Rule::Unknown),
            },
            Some((found, _)) => found,
        }
    }
}

/// Whether a function without a table that sets a frame pointer may be what is called before the address `caller`. Where what is called
/// is no such function, the frame pointer was another's: it was left as the caller had it, and led past the caller.
pub(crate) fn calls_without_table(caller: u64) -> bool {
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = caller;
        true
    }
    #[cfg(target_arch = "x86_64")]
    {
        let Some(called) = memory::called_before(caller as usize) else { return true };
        let has_table = || code_at::object_at(called).is_some_and(|object| eh_frame::has(object, called));
        memory::grown_in_stub(called).is_some() || !has_table() && memory::begins_with_frame_pointer(called)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;

    #[test]
    fn a_packed_rule_is_the_rule() {
        let address = 0x7f00_1234_5678;
        let rules = [
            Rule::FramePointer,
            Rule::Table { base: Base::Stack, end: 16, frame: None },
            Rule::Table { base: Base::Stack, end: 2_097_144, frame: Some(56) },
            Rule::Table { base: Base::Frame, end: 48, frame: Some(16_376) },
            Rule::Aligned { end: 40, frame: 0 },
            Rule::Aligned { end: 2_097_144, frame: 16_376 },
            Rule::Switch { link: 0, end: 24, address: 16, frame: 24 },
            Rule::Signal { stack: 160, address: 168, frame: 120 },
            Rule::Outermost,
            Rule::Put,
            Rule::NoTable,
            Rule::Unknown,
            Rule::NotReturnedTo,
        ];
        for rule in rules {
            for function in [address, address - 1, address - 0xffff_ffff] {
                let found = Found { rule, function };
                assert_eq!(pack(address, found).map(|packed| unpack(address, packed)), Some(found));
            }
        }
        // What does not fit is looked up each time.
        for rule in [Rule::NoCode, Rule::Table { base: Base::Stack, end: 12, frame: None }] {
            assert_eq!(pack(address, Found { rule, function: address }), None);
        }
        let far = Found { rule: Rule::FramePointer, function: address - 0x1_0000_0000 };
        assert_eq!(pack(address, far), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no loader")]
    fn nothing_is_kept_that_is_looked_up_while_a_library_is_unloaded() {
        let address = libc::strtol as *const () as u64 + 16;
        code_at::unload(|| {
            rule(address);
            assert_eq!(cached(address, address), None);
        });
        // Another test may take the entry for another address.
        assert!((0..1000).any(|_| cached(address, address) == Some(rule(address))));
        code_at::unload(|| assert_eq!(cached(address, address), None));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    #[cfg_attr(miri, ignore = "Miri has no code to be looked at")]
    fn what_the_tables_say_of_the_c_library_is_understood() {
        // Every address of some of its functions, as if a signal had come there.
        let start = libc::qsort as *const () as u64;
        let (mut tables, mut called_from) = (0, 0);
        for address in start + 1..start + 4000 {
            let Found { rule, function } = rule_where_interrupted(address);
            assert!(function <= address);
            let called = super::rule(address);
            assert!(
                called.rule == rule || matches!(called.rule, Rule::NotReturnedTo | Rule::Put) || rule == Rule::Unknown,
                "{called:?} {rule:?}"
            );
            called_from += usize::from(called.rule == rule);
            tables += usize::from(matches!(rule, Rule::Table { base: Base::Stack, .. }));
            assert_eq!(Found { rule, function }, find_where_interrupted(address));
            assert_eq!(called, find(address));
        }
        assert!(tables > 1000, "{tables}");
        // One in twenty addresses may be returned to, at most.
        assert!((10..tables / 20).contains(&called_from), "{called_from}");
        let local = 0_u8;
        for address in [0, 1, 8, std::ptr::from_ref(&local).address() as u64, u64::MAX] {
            assert_eq!(rule(address).rule, Rule::NoCode);
        }
    }
}
