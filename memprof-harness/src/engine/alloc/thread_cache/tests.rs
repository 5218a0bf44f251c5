//! Slots as a lane takes them and gives them back, with the central lists and the spans behind them.

#![allow(unsafe_code)] // an allocator is tried

use super::*;
use crate::engine::alloc::block_tag::SlotTag;
use crate::engine::alloc::{span_pool, spans};
use crate::provenance::Address;
use std::alloc::{GlobalAlloc, System};
use std::collections::{BTreeMap, HashSet};
use std::mem::MaybeUninit;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

fn none_yet() -> Box<ThreadCache> {
    static RESERVED: Once = Once::new();
    RESERVED.call_once(|| assert!(slots::reserve()));
    // SAFETY: made of pointers, numbers and a bool, for all of which zeros are valid.
    Box::new(unsafe { MaybeUninit::zeroed().assume_init() })
}

/// All tests share the process's slots, which some of them count.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ThreadCache {
    /// Free slots of a class that this lane has.
    fn cached(&self, class: usize) -> usize {
        let free = &self.by_class[class];
        let spare = if free.spare.get().is_null() { 0 } else { batch_of(class) };
        let count = if free.first.get().is_null() { 0 } else { free.count.get() };
        (count + spare) as usize
    }
}

/// The largest block of a class.
fn largest(class: usize) -> usize {
    (class * 16 - 8).min(1023)
}

/// Takes all that is free from the lane, as if its blocks had been freed by a thread without one.
fn empty(lane: &ThreadCache) {
    for class in 1..CLASSES {
        while lane.cached(class) > 0 {
            let block = lane.take(largest(class)).expect("it is there");
            // SAFETY: a slot of that size, which nobody uses.
            unsafe { slots::put_back(block, largest(class)) };
        }
    }
}

fn live_slots() -> Vec<(*mut u8, usize)> {
    let mut found = Vec::new();
    slots::for_each_live(|block, room| found.push((block, room)));
    found
}

fn random() -> impl FnMut(usize) -> usize {
    let mut state = 1u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

/// Of a test, with what it must hold.
struct Block {
    size: usize,
    byte: u8,
}

fn fill(block: *mut u8, size: usize, byte: u8) {
    // SAFETY: callers have just been given as many bytes.
    unsafe { block.write_bytes(byte, size) };
}

fn holds(block: *mut u8, size: usize, byte: u8) -> bool {
    // SAFETY: callers filled as many bytes.
    (0..size).all(|i| unsafe { block.wrapping_add(i).read() } == byte)
}

#[test]
fn blocks_are_apart_and_keep_what_they_hold() {
    let _alone = alone();
    let (rounds, most) = if cfg!(miri) { (300, 20) } else { (100_000, 1_000) };
    let lanes = [none_yet(), none_yet()];
    let mut live: BTreeMap<*mut u8, Block> = BTreeMap::new();
    let mut random = random();
    for round in 0..rounds {
        let (lane, byte) = (&lanes[random(2)], round as u8);
        let any = live.keys().nth(random(live.len().max(1)).min(20)).copied();
        match (random(5), any) {
            (0 | 1, Some(block)) => {
                let Block { size, byte } = live.remove(&block).expect("a key");
                assert!(holds(block, size, byte));
                // SAFETY: a live slot of that size.
                unsafe { lane.put(block, size) };
            }
            (2, Some(block)) => {
                let Block { size, byte } = live.remove(&block).expect("a key");
                let (new_size, layout) = (random(1023) + 1, Layout::from_size_align(size, 8).expect("small"));
                // SAFETY: a live slot of that size, and no other room is given.
                let moved = unsafe { resize(Some(lane), block, layout, new_size, ptr::null_mut) };
                assert!(slots::have(moved) && holds(moved, size.min(new_size), byte));
                fill(moved, new_size, byte);
                assert!(live.insert(moved, Block { size: new_size, byte }).is_none());
            }
            _ if live.len() < most => {
                let size = random(1023) + 1;
                let block = lane.take(size).expect("room");
                assert!(slots::have(block) && block.address() % 16 == 0);
                // SAFETY: just taken.
                unsafe { SlotTag::unsampled(size).write(block) };
                fill(block, size, byte);
                assert!(live.insert(block, Block { size, byte }).is_none());
            }
            _ => {}
        }
    }
    for (block, Block { size, byte }) in live {
        assert!(holds(block, size, byte));
    }
}

#[test]
fn slots_come_back_from_the_thread_that_frees_them() {
    let _alone = alone();
    const SIZE: usize = 777;
    let rounds = if cfg!(miri) { 200 } else { 100_000 };
    let (to_free, freed) = sync_channel::<usize>(100);
    let consumer = std::thread::spawn(move || {
        let lane = none_yet();
        // SAFETY: live slots of that size.
        freed.iter().for_each(|block| unsafe { lane.put(block as *mut u8, SIZE) });
    });
    let lane = none_yet();
    let blocks: HashSet<usize> = (0..rounds)
        .map(|_| {
            let block = lane.take(SIZE).expect("room") as usize;
            to_free.send(block).expect("a consumer");
            block
        })
        .collect();
    drop(to_free);
    consumer.join().expect("no panic");
    // As many as are on their way, in two batches on either side, and what is made at a time.
    assert!(blocks.len() <= 100 + 6 * batch_of(size_class(SIZE)) as usize, "{} slots", blocks.len());
}

#[test]
fn what_a_thread_without_a_cache_gives_back_can_be_taken_again() {
    const SIZE: usize = 555;
    let _alone = alone();
    let (lane, other) = (none_yet(), none_yet());
    let blocks: HashSet<_> = (0..10).map(|_| lane.take(SIZE).expect("room")).collect();
    for &block in &blocks {
        // SAFETY: a live slot of that size.
        unsafe { slots::put_back(block, SIZE) };
    }
    let again: HashSet<_> = (0..64).map(|_| other.take(SIZE).expect("room")).collect();
    assert!(again.is_superset(&blocks));
}

#[test]
fn every_slot_that_was_carved_is_free_cached_central_or_live() {
    let _alone = alone();
    let (rounds, phases) = if cfg!(miri) { (200, 2) } else { (40_000, 6) };
    let lanes = [none_yet(), none_yet()];
    let mut random = random();
    let mut live: Vec<(*mut u8, usize)> = Vec::new();
    let before = live_slots();
    let unknown = |class, lanes: &[Box<ThreadCache>], live: &[(*mut u8, usize)]| {
        let (carved, free) = spans::carved_and_free(class);
        let cached: usize = lanes.iter().map(|lane| lane.cached(class)).sum();
        let live = live.iter().filter(|(_, size)| size_class(*size) == class).count();
        carved - free - cached - slots::central(class) - live
    };
    // What earlier tests left: their live blocks, and what went with their lanes.
    let left: Vec<usize> = (0..CLASSES).map(|class| unknown(class, &lanes, &[])).collect();
    for phase in 0..phases {
        for _ in 0..rounds {
            let lane = &lanes[random(2)];
            if random(8) < if phase % 2 == 0 { 6 } else { 1 } {
                // Each phase has a size of its own, and some of all.
                let size = if random(4) == 0 { random(1023) + 1 } else { 40 * (phase + 1) };
                let block = lane.take(size).expect("room");
                // SAFETY: just taken.
                unsafe { SlotTag::unsampled(size).write(block) };
                live.push((block, size));
            } else if !live.is_empty() {
                let (block, size) = live.swap_remove(random(live.len()));
                // SAFETY: a live slot of that size.
                unsafe { lane.put(block, size) };
            }
        }
        for (class, &left) in left.iter().enumerate().skip(1) {
            assert_eq!(unknown(class, &lanes, &live), left, "class {class}");
        }
        let mut found: Vec<_> = live_slots();
        let mut expected: Vec<_> = live.iter().map(|&(block, size)| (block, size_class(size) * 16 - 8)).collect();
        expected.extend(&before);
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{} slots are live, and {} are found", expected.len(), found.len());
    }
}

#[test]
fn memory_that_one_size_has_left_serves_another() {
    let _alone = alone();
    let count: usize = if cfg!(miri) { 300 } else { 200_000 };
    // What earlier tests left in central lists would go to its spans while this one counts them.
    slots::release_unused();
    let before = span_pool::in_use();
    for size in [24, 40, 104] {
        let lane = none_yet();
        let blocks: Vec<_> = (0..count).map(|_| lane.take(size).expect("room")).collect();
        let most = span_pool::in_use() - before;
        assert!(most <= count * (size_class(size) * 16) / spans::SPAN + 40, "{most} spans for {size}");
        // SAFETY: live slots of that size.
        blocks.into_iter().for_each(|block| unsafe { lane.put(block, size) });
        empty(&lane);
        // Some batches of each class are in its central list, and keep their spans from becoming empty.
        assert!(span_pool::in_use() - before <= 40, "{} spans after {size}", span_pool::in_use() - before);
    }
}

#[test]
fn pages_that_nobody_uses_go_back_and_come_again() {
    let _alone = alone();
    let (count, one_in) = if cfg!(miri) { (4_000, 700) } else { (100_000, 700) };
    let lane = none_yet();
    for size in [40, 700] {
        let mut live: Vec<(*mut u8, u8)> = Vec::new();
        let take = |live: &mut Vec<_>, size| {
            let (block, byte) = (lane.take(size).expect("room"), live.len() as u8);
            // SAFETY: just taken.
            unsafe { SlotTag::unsampled(size).write(block) };
            fill(block, size, byte);
            live.push((block, byte));
        };
        (0..count).for_each(|_| take(&mut live, size));
        let (survivors, others): (Vec<_>, Vec<_>) = live.iter().enumerate().partition(|(i, _)| i % one_in == 0);
        // SAFETY: live slots of that size.
        others.into_iter().for_each(|(_, &(block, _))| unsafe { lane.put(block, size) });
        let mut survivors: Vec<(*mut u8, u8)> = survivors.into_iter().map(|(_, block)| *block).collect();
        // Memory grows for blocks of another size.
        let mut other = Vec::new();
        while spans::gone_pages(size_class(size)) == 0 {
            assert!(other.len() < 2 * count, "no page went back");
            (0..1000).for_each(|_| take(&mut other, 300));
        }
        assert!(survivors.iter().all(|&(block, byte)| holds(block, size, byte)));
        // Pages that are gone come again before a span is begun. Earlier tests may have left spans that are not carved to their end.
        let spans_before = spans::of_class(size_class(size));
        while spans::gone_pages(size_class(size)) > 0 {
            assert!(spans::of_class(size_class(size)) <= spans_before, "another span came before gone pages");
            (0..100).for_each(|_| take(&mut survivors, size));
        }
        let (carved, _) = spans::carved_and_free(size_class(size));
        assert!(survivors.len() <= carved, "more slots are in use than there are");
        let apart: HashSet<*mut u8> = survivors.iter().map(|(block, _)| *block).collect();
        assert_eq!(apart.len(), survivors.len());
        assert!(survivors.iter().all(|&(block, byte)| holds(block, size, byte)));
        assert!(other.iter().all(|&(block, byte)| holds(block, 300, byte)));
        // SAFETY: live slots of that size.
        survivors.into_iter().for_each(|(block, _)| unsafe { lane.put(block, size) });
        // SAFETY: as above.
        other.into_iter().for_each(|(block, _)| unsafe { lane.put(block, 300) });
    }
    empty(&lane);
}

#[test]
fn a_lane_whose_thread_has_ended_keeps_little() {
    let _alone = alone();
    const SIZE: usize = 500;
    let (class, lane) = (size_class(SIZE), none_yet());
    for (count, is_kept) in [(10, true), (5_000, false), (10, true)] {
        let blocks: Vec<_> = (0..count).map(|_| lane.take(SIZE).expect("room")).collect();
        // SAFETY: live slots of that size.
        blocks.into_iter().for_each(|block| unsafe { lane.put(block, SIZE) });
        lane.end();
        assert_eq!(lane.cached(class) > 0, is_kept, "after {count} blocks");
        assert!(lane.cached(class) * bytes_of(class) <= KEPT_WITHOUT_THREAD);
    }
    empty(&lane);
}

#[test]
fn what_a_slots_block_was_asked_for_lies_between_two_sizes_of_its_class() {
    let _alone = alone();
    let lane = none_yet();
    for size in 1..=slots::LARGEST {
        let block = lane.take(size).expect("room");
        let (fewest, room) = slots::sizes_of(block);
        assert!(fewest <= size && size <= room && room < fewest + 16, "{fewest} to {room} for {size}");
        assert_eq!((size_class(fewest), size_class(room)), (size_class(size), size_class(size)));
        // SAFETY: a live slot of that size.
        unsafe { lane.put(block, fewest) };
    }
}

#[test]
fn a_slot_is_for_sizes_of_its_class_and_no_others() {
    let _alone = alone();
    let lane = none_yet();
    let layout = |size| Layout::from_size_align(size, 4).expect("small");
    for size in [1, 8, 9, 100, 1000, slots::LARGEST] {
        let block = lane.take(size).expect("room");
        for requested in (1..=slots::LARGEST).chain([5000, usize::MAX / 4]) {
            let is_for = requested <= slots::LARGEST && size_class(requested) == size_class(size);
            assert_eq!(slots::is_for(block, requested), is_for, "{requested} for {size}");
            let known = if is_for { requested } else { slots::sizes_of(block).0 };
            assert_eq!(slots::layout_of(block, layout(requested)), layout(known), "{requested} for {size}");
        }
        // SAFETY: a live slot of that size.
        unsafe { lane.put(block, size) };
    }
}

#[test]
fn what_outgrows_a_cell_moves_elsewhere_or_stays_as_it_was() {
    let _alone = alone();
    let lane = none_yet();
    let block = lane.take(333).expect("room");
    fill(block, 333, 7);
    let layout = Layout::from_size_align(333, 1).expect("small");
    // SAFETY: a live slot of that size; there is no other room.
    assert!(unsafe { resize(None, block, layout, 5000, ptr::null_mut) }.is_null());
    assert!(holds(block, 333, 7));
    let larger = Layout::from_size_align(5000, 1).expect("small");
    // SAFETY: its size is not zero.
    let room = unsafe { System.alloc(larger) };
    // SAFETY: a live slot of that size; the new block has room.
    let moved = unsafe { resize(None, block, layout, 5000, || room) };
    assert!(!slots::have(moved) && holds(moved, 333, 7));
    // SAFETY: made with that layout.
    unsafe { System.dealloc(moved, larger) };
}

#[test]
fn late_large_and_far_aligned_blocks_are_no_cells() {
    for (size, align, clock, is_one) in [
        (1, 1, 0, true),
        (1023, 16, 0, true),
        (1024, 1, 0, false),
        (1, 32, 0, false),
        (1, 1, (1 << 35) - 2 * 1024, true),
        (1, 1, 1 << 35, false),
        (1, 1, (1 << 35) - 1, false),
        (1, 1, u64::MAX - 2000, false),
    ] {
        assert_eq!(slots::are_for_notes(size, align, clock), is_one, "{size} {align} {clock}");
        let at_any_time = slots::are_for_notes(size, align, 0);
        assert_eq!(slots::are_for(size, align), at_any_time, "{size} {align}");
    }
}
