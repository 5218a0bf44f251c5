//! Walks that meet a kept one, compared with walks that are made from the beginning.

use super::*;
use crate::engine::store::own_memory::private_bytes;
use crate::engine::unwind::table_walk::Others;
use std::mem::size_of;

#[test]
fn an_entry_is_found_by_the_number_of_words_from_it_on() {
    // Nothing is read: the walks are made up.
    let room = room();
    let mut random = Random(7);
    let mut fresh = 0;
    for _ in 0..900 {
        // Runs of up to eight frames of three functions, so that some have gaps.
        let [function, other] = [random.below(4) as u64, random.below(1000) as u64];
        let step = Step { address: function * 1000 + other + 1, by_table: (function != 0).then_some(function * 1000) };
        let place = 0x10000 + fresh * 16;
        let others = step.by_table.map(|_| Others { frame: None, third: None });
        let words = Words { place, address: step.address as usize, frame: 0, others };
        room.push(&mut fresh, step, &words).expect("there is room");
    }
    room.end_with(SEED_OF_WALKS);
    room.keep(fresh, Ways::LEN, Bounds::NOWHERE).expect("there is room");
    let all: Vec<u64> = room.words(0).collect();
    let marks = all.iter().filter(|&&word| word == ROUNDS_LEFT_OUT).count();
    assert!(marks > 20 && all.len() > 300, "{marks} of {}", all.len());
    assert_eq!(room.counts(), [all.len(), marks]);
    for from in 0..all.len() + 2 {
        assert_eq!(room.words(from).collect::<Vec<_>>(), all[from.min(all.len())..], "{from}");
    }
}

type Ways = Room<2049>;

fn room() -> &'static Ways {
    let room = private_bytes(size_of::<Ways>()).expect("there is memory");
    // SAFETY: zeroed memory of that length, aligned to a page, that nobody gives back; zeros are an empty room.
    unsafe { room.cast().as_ref() }
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// Functions as C compilers make them, each of which calls what the list in its argument begins with, and hands the rest of that on. The last one hands its frame
/// and the list to `arrive`.
#[cfg(target_arch = "x86_64")]
mod called {
    use super::*;
    use crate::engine::unwind::stack_bounds::stack_of_this_thread;
    use crate::provenance::Address;

    std::arch::global_asm!(
        ".macro memprof_test_room name, room",
        ".globl \\name",
        "\\name:",
        ".cfi_startproc",
        "sub rsp, \\room",
        ".cfi_adjust_cfa_offset \\room",
        "mov rax, [rdi]",
        "add rdi, 8",
        "call rax",
        "add rsp, \\room",
        ".cfi_adjust_cfa_offset -\\room",
        "ret",
        ".cfi_endproc",
        ".endm",
        "memprof_test_room memprof_test_small, 8",
        "memprof_test_room memprof_test_large, 72",
        // Calls at one of two places.
        ".globl memprof_test_either",
        "memprof_test_either:",
        ".cfi_startproc",
        "sub rsp, 24",
        ".cfi_adjust_cfa_offset 24",
        "mov rcx, [rdi]",
        "mov rax, [rdi + 8]",
        "add rdi, 16",
        "test rcx, rcx",
        "jne 2f",
        "call rax",
        "jmp 3f",
        "2: call rax",
        "3: add rsp, 24",
        ".cfi_adjust_cfa_offset -24",
        "ret",
        ".cfi_endproc",
        // Uses the frame pointer's register for data.
        ".globl memprof_test_data",
        "memprof_test_data:",
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, [rdi]",
        "mov rax, [rdi + 8]",
        "add rdi, 16",
        "sub rsp, 16",
        ".cfi_adjust_cfa_offset 16",
        "call rax",
        "add rsp, 16",
        ".cfi_adjust_cfa_offset -16",
        "pop rbp",
        ".cfi_restore rbp",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
        // Has a frame pointer, and room for as many words as the list says.
        ".globl memprof_test_frame",
        "memprof_test_frame:",
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rcx, [rdi]",
        "mov rax, [rdi + 8]",
        "add rdi, 16",
        "shl rcx, 4",
        "sub rsp, rcx",
        "call rax",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        ".cfi_restore rbp",
        "ret",
        ".cfi_endproc",
        ".globl memprof_test_arrive",
        "memprof_test_arrive:",
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsi, rbp",
        "mov rax, [rdi]",
        "mov rdi, [rdi + 8]",
        "call rax",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        ".cfi_restore rbp",
        "ret",
        ".cfi_endproc",
    );

    extern "C" {
        fn memprof_test_small(list: *const usize);
        fn memprof_test_large(list: *const usize);
        fn memprof_test_either(list: *const usize);
        fn memprof_test_data(list: *const usize);
        fn memprof_test_frame(list: *const usize);
        fn memprof_test_arrive(list: *const usize);
    }

    /// A function and what stands behind it in the list.
    type Call = (unsafe extern "C" fn(*const usize), Option<usize>);

    fn random_call(random: &mut Random) -> Call {
        match random.below(7) {
            0 | 1 => (memprof_test_small, None),
            2 => (memprof_test_large, None),
            3 | 4 => (memprof_test_either, Some(random.below(2))),
            5 => (memprof_test_data, Some(random.below(3))),
            _ => (memprof_test_frame, Some(random.below(4))),
        }
    }

    /// What is done where the list ends.
    struct Arrival {
        kept: &'static Ways,
        anew: &'static Ways,
        home: Home,
        /// Steps by tables of the last walk.
        walked: Cell<usize>,
        /// Return addresses of that stack.
        depth: Cell<usize>,
    }

    extern "C" fn arrived(arrival: &Arrival, frame: usize) {
        let Arrival { kept, anew, home, walked, depth } = arrival;
        let words = |room: &Ways| room.words(0).collect::<Vec<_>>();
        kept.fresh.iter().take_while(|entry| entry.record.get()[0] != 0).for_each(|entry| entry.record.set([0; 3]));
        let know = |room: &Ways| {
            let known = match room.is_same(frame, home.root) {
                true => room.known(None),
                false => room.update(frame, *home).expect("it has tables"),
            };
            (known.hash, known.is_chain, known.is_lost, words(room), room.len.get())
        };
        let known = know(kept);
        anew.empty();
        assert_eq!(known, know(anew));
        assert!(!known.2, "{:x?}", known.3);
        // All that was walked is what a later event compares.
        assert_eq!(kept.standing(Ways::LEN - kept.len.get()), Ways::LEN);
        for entry in Ways::LEN - kept.len.get()..Ways::LEN {
            let of = |room: &Ways| {
                let frame = &room.frames[entry];
                (
                    room.records[entry].place.get(),
                    frame.address.get(),
                    frame.frame.get(),
                    frame.outer.get(),
                    frame.hash.get(),
                )
            };
            assert_eq!(of(kept), of(anew), "{entry}");
        }
        walked.set(kept.fresh.iter().take_while(|entry| entry.record.get()[0] != 0).count());
        depth.set(known.4);
    }

    /// `own_stack` is where the thread's own is believed to lie.
    fn arrival(own_stack: Bounds) -> Arrival {
        let home = Home { own_stack, root: None, anchor: 0 };
        Arrival { kept: room(), anew: room(), home, walked: Cell::new(0), depth: Cell::new(0) }
    }

    fn call(calls: &[Call], arrival: &Arrival) {
        let mut list = Vec::new();
        for (function, argument) in calls {
            list.extend([*function as *const () as usize].into_iter().chain(*argument));
        }
        let arrive = memprof_test_arrive as unsafe extern "C" fn(*const usize);
        list.extend([
            arrive as *const () as usize,
            arrived as *const () as usize,
            std::ptr::from_ref(arrival).address(),
        ]);
        // SAFETY: each function takes what stands behind it, and the last one calls `arrived`, which keeps nothing.
        unsafe { memprof_test_small(list.as_ptr()) };
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no assembly")]
    fn a_walk_that_meets_a_kept_one_finds_what_one_from_the_beginning_finds() {
        // What is no stack of the thread's own is read otherwise.
        check(stack_of_this_thread().expect("the system says so"), 20_000);
        check(Bounds::NOWHERE, 1000);
    }

    fn check(own_stack: Bounds, rounds: usize) {
        let arrival = arrival(own_stack);
        let mut random = Random(1);
        let mut calls: Vec<Call> = (0..40).map(|_| random_call(&mut random)).collect();
        let [mut walked, mut depth] = [0, 0];
        for _ in 0..rounds {
            // As one call is like another in the room that it takes, frames outside of it may stand where it changes.
            match random.below(4) {
                0 => calls.truncate(random.below(calls.len() + 1)),
                1 if calls.len() < 60 => calls.extend((0..random.below(20)).map(|_| random_call(&mut random))),
                _ => {
                    let at = random.below(calls.len().max(1));
                    if let Some(one) = calls.get_mut(at) {
                        *one = random_call(&mut random);
                    }
                }
            }
            call(&calls, &arrival);
            walked += arrival.walked.get();
            depth += arrival.depth.get();
        }
        // Some changes are near the root.
        assert!(walked * 2 < depth, "{walked} of {depth}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no assembly")]
    fn under_a_deep_run_without_frame_pointers_only_what_differs_is_walked() {
        let arrival = arrival(stack_of_this_thread().expect("the system says so"));
        // Another test of this process unloads libraries, after which nothing is met.
        let before = code_at::unloads();
        let most = |walks: usize| 8 * walks + 1100 * (1 + code_at::unloads().wrapping_sub(before) as usize);
        let outer: Vec<Call> = (0..1000).map(|_| (memprof_test_small as _, None)).collect();
        let mut walked = 0;
        for place in (0..100).map(|round| round % 2) {
            let calls: Vec<Call> = outer.iter().copied().chain([(memprof_test_either as _, Some(place))]).collect();
            call(&calls, &arrival);
            assert!((1000..1100).contains(&arrival.depth.get()), "{}", arrival.depth.get());
            walked += arrival.walked.get();
        }
        assert!(walked <= most(100), "{walked}");
        // Each level of a recursion is a few steps more than the last.
        for len in 0..1000 {
            call(&outer[..len], &arrival);
            walked += arrival.walked.get();
        }
        assert!(walked <= most(1100), "{walked}");
    }
}
