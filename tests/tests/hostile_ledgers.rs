//! The reader takes any file that claims to be a ledger. Real ones of every shape are cut at every byte, and broken in every way
//! chance finds: what comes back is an error or a result, what is missing is said, and it takes no more memory than so many
//! times the file.
#![allow(unsafe_code)] // counts what the reader allocates

use memprof_harness::ledger::{Ledger, LedgerError, layout, read};
use memprof_tests::probe::{Hook, ledgers};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::OnceLock;

/// A record of 16 bytes can stand for a stack of 128 addresses, 64 times as long; spelt out it is copied once for the
/// result, and a vector that grows has room for twice as much and its old self beside it.
const MOST_TIMES: usize = 256;
/// What reading a file takes however short it is, in bytes.
const LEAST: usize = 64 << 10;

struct Counting;

thread_local! {
    /// Bytes that this thread holds, and the most it held.
    static LIVE: Cell<[usize; 2]> = const { Cell::new([0; 2]) };
}

fn count(size: usize, freed: usize) {
    let [live, most] = LIVE.get();
    let live = (live + size).saturating_sub(freed);
    LIVE.set([live, most.max(live)]);
}

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a while.
        count(size, 0);
        count(0, layout.size());
        // SAFETY: the caller upholds the contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Reads what may be broken, within the bounds that hold for any file.
fn take_in(bytes: &[u8]) -> Result<Ledger, LedgerError> {
    LIVE.set([0; 2]);
    let taken = read(bytes);
    let [_, most] = LIVE.get();
    assert!(most <= MOST_TIMES * bytes.len() + LEAST, "{most} bytes for a file of {}", bytes.len());
    if let Ok(ledger) = &taken {
        for site in &ledger.sites {
            assert!(ledger.stacks.frames(site.stack).count() <= layout::MOST_DEPTH + 1);
            // Metrics of a broken file mean nothing, but adding them up must not break anything either.
            let _ = (site.values.inuse_objects(), site.values.inuse_space());
        }
    }
    taken
}

/// Ledgers of one thread and of several, whole and cut short, of the C library's blocks, of forks, with aliases, peaks, deep
/// stacks, ones that cannot be walked, and sampled ones.
fn real() -> &'static [Vec<u8>] {
    static REAL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    REAL.get_or_init(|| {
        let shapes = [
            (Hook::Rust, "nothing", 0),
            (Hook::Rust, "model", 1),
            (Hook::Rust, "model", 1 << 20),
            (Hook::Rust, "deep", 1),
            (Hook::Rust, "contexts-astray", 1),
            (Hook::Rust, "kill", 1),
            (Hook::Rust, "tide", 1),
            (Hook::Rust, "exchange", 1),
            (Hook::Rust, "fork", 1),
            (Hook::Native, "exchange", 1 << 16),
            (Hook::Rust, "file-limit", 1),
        ];
        shapes.into_iter().flat_map(|(hook, scenario, rate)| ledgers(hook, scenario, rate)).collect()
    })
}

/// Read in no time.
fn is_short(bytes: &[u8]) -> bool {
    bytes.len() < 32 << 10
}

/// A ledger without what depends on the length of the file.
fn without_length(mut ledger: Ledger) -> Ledger {
    ledger.losses.own_memory = 0;
    ledger
}

#[test]
fn a_ledger_cut_anywhere_says_what_is_missing() {
    for bytes in real() {
        let whole = without_length(read(bytes).expect("it is not broken"));
        // At every byte of those that are short, and at some hundred of the others.
        let step = if is_short(bytes) { 1 } else { bytes.len() / 600 };
        for len in (0..bytes.len()).step_by(step) {
            match take_in(&bytes[..len]) {
                Err(error) => assert_eq!((error, len < layout::HEADER_LEN), (LedgerError::NotALedger, true)),
                Ok(cut) if cut.losses.unreadable_bytes == 0 => assert_eq!(without_length(cut), whole, "cut at {len}"),
                Ok(_) => {}
            }
        }
    }
}

#[test]
fn a_ledger_with_any_bit_flipped_is_an_error_or_a_result() {
    for bytes in real() {
        // What is at the beginning, and places all over the rest.
        let places = if is_short(bytes) { 600 } else { 100 };
        let mut broken = bytes.clone();
        for at in (0..places).chain((places..bytes.len()).step_by(bytes.len() / places)) {
            for bit in 0..8 {
                broken[at] ^= 1 << bit;
                let _ = take_in(&broken);
                broken[at] ^= 1 << bit;
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
}

#[test]
fn a_ledger_broken_by_chance_is_an_error_or_a_result() {
    let mut random = Random(1);
    for bytes in real() {
        for _ in 0..50 {
            let mut broken = bytes.clone();
            // Each is broken further and further, and read in between.
            for _ in 0..20 {
                break_once(&mut broken, &mut random);
                let _ = take_in(&broken);
            }
        }
    }
}

/// One of the ways in which a file comes to harm.
fn break_once(bytes: &mut Vec<u8>, random: &mut Random) {
    let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
    let len = random.below(300).min(bytes.len() - from.max(to));
    match random.below(6) {
        // A word of the kind that numbers break at, of any width.
        0..=2 => {
            let (width, at) = ([2, 4, 8][random.below(3)], from & !7);
            let file = bytes.len() as u64;
            let word = [0, 1, 63, 64, 127, 128, 4096, u64::MAX, 1 << 63, i64::MAX as u64, u64::MAX - 63, file]
                [random.below(12)];
            if let Some(place) = bytes.get_mut(at..at + width) {
                place.copy_from_slice(&word.to_ne_bytes()[..width]);
            }
        }
        // Something from elsewhere in the file, chunks and records among it.
        3 => bytes.copy_within(from & !63..(from & !63) + len, to & !63),
        // A part is missing, or there twice.
        4 => _ = bytes.drain(from..from + len),
        _ => {
            let part = bytes[from..from + len].to_vec();
            bytes.splice(to..to, part);
        }
    }
    if bytes.len() < layout::HEADER_LEN + 64 {
        bytes.resize(2 * layout::HEADER_LEN, 0);
    }
}
