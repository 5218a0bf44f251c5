//! The blocks of a recorded process that were still in use at its end: those that could be reached, and those that were
//! leaked.

use super::counts::signed;
use super::layout::{leak_check, LeakRecord};
use super::view::View;
use std::mem::offset_of;

/// Whether that was found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LeakCheck {
    /// The process ended before.
    #[default]
    NotReached,
    Done,
    /// The process is a fork of another.
    Forked,
    /// Not all blocks are known: address space is limited, or the program has a sanitizer.
    BlocksUnknown,
    /// A thread did not sleep.
    ThreadRunning,
    /// There is more memory, or there are more blocks, than are searched.
    TooMuch,
    /// The program has forbidden itself system calls.
    Filtered,
    /// The system does not say what has to be known.
    Unreadable,
    /// The system had no memory for it.
    NoMemory,
}

impl LeakCheck {
    const ALL: [(u32, LeakCheck, &'static str); 10] = [
        (leak_check::NONE, LeakCheck::NotReached, "skipped: cut_short"),
        (leak_check::ENDING, LeakCheck::NotReached, "skipped: cut_short"),
        (leak_check::DONE, LeakCheck::Done, "done"),
        (leak_check::FORKED, LeakCheck::Forked, "skipped: forked"),
        (leak_check::BLOCKS_UNKNOWN, LeakCheck::BlocksUnknown, "skipped: blocks_unknown"),
        (leak_check::THREAD_RUNNING, LeakCheck::ThreadRunning, "skipped: thread_running"),
        (leak_check::TOO_MUCH, LeakCheck::TooMuch, "skipped: too_much"),
        (leak_check::FILTERED, LeakCheck::Filtered, "skipped: filtered"),
        (leak_check::UNREADABLE, LeakCheck::Unreadable, "skipped: unreadable"),
        (leak_check::NO_MEMORY, LeakCheck::NoMemory, "skipped: no_memory"),
    ];

    /// As files have it: `done`, or `skipped: ` and why.
    #[must_use]
    pub fn name(self) -> &'static str {
        LeakCheck::ALL.iter().find(|(_, check, _)| *check == self).map_or("", |(.., name)| name)
    }

    /// What no version has written is as if nothing was found out.
    pub(super) fn of_code(code: u32) -> LeakCheck {
        LeakCheck::ALL.iter().find(|(of, ..)| *of == code).map_or(LeakCheck::Unreadable, |(_, check, _)| *check)
    }
}

/// What is leaked; where it was not found out, nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leaks {
    pub check: LeakCheck,
    pub leaked_objects: i64,
    /// Bytes asked for. Exact where all blocks of a site (of the process, where stacks are sampled) are leaked, none is, or all are
    /// equally large; else off by at most what the allocator gives more than is asked for.
    pub leaked_space: i64,
}

/// What the engine tells of blocks whose sizes it knows only as the room that they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeakSums {
    pub(super) objects: u64,
    pub(super) room: u64,
    pub(super) slack: u64,
    pub(super) live_room: u64,
    pub(super) live_slack: u64,
}

impl LeakSums {
    pub(super) fn of_record(record: View<'_>) -> LeakSums {
        LeakSums {
            objects: record.u64(offset_of!(LeakRecord, objects)),
            room: record.u64(offset_of!(LeakRecord, room)),
            slack: record.u64(offset_of!(LeakRecord, slack)),
            live_room: record.u64(offset_of!(LeakRecord, live_room)),
            live_slack: record.u64(offset_of!(LeakRecord, live_slack)),
        }
    }

    pub(super) fn add(&mut self, other: LeakSums) {
        for (sum, more) in [
            (&mut self.objects, other.objects),
            (&mut self.room, other.room),
            (&mut self.slack, other.slack),
            (&mut self.live_room, other.live_room),
            (&mut self.live_slack, other.live_slack),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Leaked blocks and the bytes that were asked for in them, of so many that are in use. What all blocks have more than was asked
    /// for is known; each has its part of that, by how much it may be.
    pub(super) fn of(&self, inuse_objects: i64, inuse_space: i64) -> (i64, i64) {
        let objects = signed(self.objects).clamp(0, inuse_objects.max(0));
        let wide = |number: u64| i128::from(number);
        let excess = (wide(self.live_room) - i128::from(inuse_space)).clamp(0, wide(self.live_slack));
        let part = if self.live_slack == 0 { 0 } else { excess * wide(self.slack) / wide(self.live_slack) };
        let space = (wide(self.room) - part).clamp(0, i128::from(inuse_space.max(0)));
        (objects, if objects == 0 { 0 } else { space as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_exact_where_all_or_none_is_leaked_or_all_are_equally_large() {
        // Three slots for 40 bytes, which have 40; four for 33.
        let sums = |objects, room, slack| LeakSums { objects, room, slack, live_room: 280, live_slack: 105 };
        assert_eq!(sums(7, 280, 105).of(7, 3 * 40 + 4 * 33), (7, 252));
        assert_eq!(sums(0, 0, 0).of(7, 252), (0, 0));
        assert_eq!(sums(2, 80, 30).of(7, 7 * 33), (2, 66));
        // Two of those for 40: what is told is between what can be.
        assert_eq!(sums(2, 80, 30).of(7, 252), (2, 72));
    }

    #[test]
    fn no_more_is_leaked_than_is_in_use() {
        let sums = LeakSums { objects: u64::MAX, room: u64::MAX, slack: 7, live_room: 1, live_slack: u64::MAX };
        assert_eq!(sums.of(3, 40), (3, 40));
        assert_eq!(sums.of(-3, -40), (0, 0));
        assert_eq!(sums.of(i64::MAX, i64::MIN), (i64::MAX, 0));
    }

    #[test]
    fn every_code_has_a_name_and_unknown_ones_are_no_check() {
        let names: Vec<&str> = (0..10).map(|code| LeakCheck::of_code(code).name()).collect();
        assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
        assert_eq!(LeakCheck::of_code(77), LeakCheck::Unreadable);
    }
}
