//! The life of a recorded process: its ledger is mapped, the window opens around the test, and shuts; or the process
//! forks, and the child leaves the parent's ledger alone and gets one of its own.

#![allow(unsafe_code)] // pthread_atfork, getpid

use crate::engine::alloc::reserves;
use crate::engine::alloc::slots;
use crate::engine::alloc::start_map;
use crate::engine::alloc::system_untagged;
use crate::engine::hook;
use crate::engine::hook::observer;
use crate::engine::leaks;
use crate::engine::life::ending;
#[cfg(memprof_native)]
use crate::engine::life::loader;
use crate::engine::life::modules;
use crate::engine::life::state;
use crate::engine::life::state::{Mode, ENDED, FORKED, OPEN};
#[cfg(any(memprof_program, memprof_injected))]
use crate::engine::life::std_itself;
use crate::engine::life::suspension;
use crate::engine::life::thread;
use crate::engine::record::lane;
use crate::engine::record::sampler;
#[cfg(memprof_native)]
use crate::engine::store::blocks;
use crate::engine::store::calls;
use crate::engine::store::ledger_map;
use crate::engine::store::limits;
use crate::engine::store::own_memory;
use crate::engine::store::tracked;
use crate::engine::unwind::code_at;
use crate::ledger::layout::{self, kind, ChunkHeader};
use std::io;
use std::mem::size_of;
use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Which of its parent's forks this process is, counted from 1; 0 = it is none.
static ORDINAL: AtomicU32 = AtomicU32::new(0);
/// Forks that this one made by the C library's word while it had no ledger.
static UNRECORDED_FORKS: AtomicU32 = AtomicU32::new(0);
/// End of what a forked child's ledger has in common with its parent's: the identity and the loaded objects.
static PREFIX: AtomicU64 = AtomicU64::new(0);

/// Maps the ledger at `path`, which must be absolute, made by [`crate::ledger::LedgerFile::create`], and notes the loaded
/// objects. The window stays shut. Called once, by the thread that will open the window or before it exists.
///
/// # Errors
/// Whatever opening or mapping the file says; or where this process was not started to be recorded, so that its blocks
/// have no headers.
pub fn attach(path: &Path) -> io::Result<()> {
    #[cfg(memprof_injected)]
    leaks::budget::keep();
    observer::keep();
    if cfg!(memprof_native) {
        ledger_map::attach(path)?;
        // Blocks are the C library's own whatever the mode is, so it can be decided now.
        #[cfg(memprof_native)]
        loader::find();
        state::decide(if ledger_map::header().rate.load(Relaxed) == 1 { Mode::Exact } else { Mode::Sampled });
    } else if matches!(state::mode(), Some(Mode::Exact | Mode::Sampled)) {
        ledger_map::attach(path)?;
        slots::reserve();
        reserves::note_limit();
    } else {
        return Err(io::Error::other("this process was not started to be recorded: MEMPROF_CHILD was not set"));
    }
    hook::free::prepare();
    thread::prepare()?;
    calls::notice_first_thread();
    // SAFETY: both functions are safe to call around a fork: they touch atomics alone.
    let error = unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(notice_fork_told)) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    code_at::prepare();
    state::attach();
    modules::note();
    PREFIX.store(ledger_map::header().arena_end.load(Relaxed), Relaxed);
    ledger_map::header().pid.store(std::process::id(), Relaxed);
    ledger_map::header().state.store(layout::state::MAPPED, Relaxed);
    Ok(())
}

/// Has what std's set-up allocates on the calling thread, before it calls `main`, left out. `functions` are ranges of addresses before
/// the program was loaded: the one that sets up, and those that may begin `main`.
#[cfg(memprof_program)]
pub fn leave_out_set_up(functions: impl Iterator<Item = std::ops::Range<u64>>) {
    let bias = modules::bias_of_program();
    let loaded = |address: u64| address.wrapping_add(bias) as usize;
    if std_itself::set(functions.map(|function| [loaded(function.start), loaded(function.end)])) {
        thread::expect_set_up();
    }
}

/// Has what std allocates to list the threads that are alive left out: it depends on how many are at once. `function` is the range of
/// addresses, before the program was loaded, of the one that enters a thread.
#[cfg(any(memprof_program, memprof_injected))]
pub fn leave_out_thread_info(function: std::ops::Range<u64>) {
    let bias = modules::bias_of_program();
    let loaded = |address: u64| address.wrapping_add(bias) as usize;
    std_itself::set_thread_info(loaded(function.start), loaded(function.end));
}

/// Opens the window: from here on every thread of the process is recorded. Does nothing where no ledger is attached.
pub fn open() {
    notice_fork();
    if !ledger_map::is_attached() {
        return;
    }
    thread::join();
    ledger_map::header().state.store(layout::state::OPEN, Relaxed);
    state::set(OPEN);
}

/// Has the window open as long as one of the functions in `ranges` is on the stack of a thread: the text is what
/// [`crate::environment::FRAME`] stands in front of. Gives whether there are any.
#[cfg(memprof_program)]
pub fn open_in_frame(ranges: &[u8]) -> bool {
    crate::engine::life::frames::watch(ranges, modules::bias_of_program())
}

/// Notes how the test ended: `outcome` is one of [`crate::ledger::layout::state`]'s final values, `message` the text of a panic
/// or an error. The window stays open for what is still to come of the test: destructors of its thread-locals, and threads
/// that are ending.
pub fn report(outcome: u32, message: Option<&str>) {
    notice_fork();
    if !ledger_map::is_attached() {
        return;
    }
    if let Some(message) = message {
        put_message(message);
    }
    ledger_map::header().state.store(outcome, Release);
}

/// Shuts the window on every thread, for good: once the threads that are ending are gone. The ledger is still to be closed.
pub fn shut() {
    notice_fork();
    let may_look = calls::begin_the_end();
    if may_look && ledger_map::is_attached() && state::is_open() {
        let _outside = suspension::suspend();
        ending::wait_for_threads();
    }
    state::clear(OPEN);
    state::set(ENDED);
    if may_look && ledger_map::is_attached() {
        ending::wait_for_events();
    }
}

/// Shuts the window and closes the ledger. The thread that calls it is not the test's, which may have forbidden itself what
/// this takes.
pub fn close() {
    notice_fork();
    if ledger_map::is_attached() {
        // A filter that was set by a bare instruction is not known, and ends the process at a call that it does not allow.
        ledger_map::header().leak_check.store(layout::leak_check::ENDING, Relaxed);
    }
    let _room = calls::allows_calls_at_the_end().then(limits::RoomForFiles::make);
    shut();
    if !ledger_map::is_attached() {
        return;
    }
    let leak_check = leaks::check();
    modules::note();
    ledger_map::seal();
    ledger_map::header().own_memory.store(own_memory::held(), Release);
    ledger_map::header().leak_check.store(leak_check, Release);
}

/// Closes the ledger of a whole program that ends with `status`. There is no parent to say how it ended, so this does.
#[cfg(memprof_program)]
pub fn end_program(status: Option<i32>, success: i32) {
    shut();
    if ledger_map::is_attached() {
        let header = ledger_map::header();
        let started = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(header.started_ns.load(Relaxed));
        let wall = started.elapsed().map_or(0, |wall| u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX));
        header.wall_ns.store(wall, Relaxed);
        if let Some(status) = status {
            header.wait_status.store((status as u32 & 0xff) << 8, Relaxed);
            let ended = if status == success { layout::outcome::OK } else { layout::outcome::FAILED };
            header.outcome.store(ended, Relaxed);
        }
    }
    close();
    report(layout::state::EXITED, None);
}

/// Puts the message into a chunk of its own, or, where there is no room, as much as fits into the place kept for it.
fn put_message(message: &str) {
    const KEY: &str = "message";
    const FRAMING: usize = 4 + KEY.len() + 4;
    let identity = ledger_map::chunk_header(layout::HEADER_LEN as u64);
    let kept = layout::HEADER_LEN as u64 + identity.len.load(Relaxed);
    let kept_room = ledger_map::chunk_header(kept).len.load(Relaxed) as usize - size_of::<ChunkHeader>();
    let needed = FRAMING + message.len();
    let chunk = if needed <= kept_room { kept } else { ledger_map::chunk(kind::TEXT, 0, needed).unwrap_or(kept) };
    let room = ledger_map::chunk_header(chunk).len.load(Relaxed) as usize - size_of::<ChunkHeader>();
    let fits = message.floor_char_boundary_at(room - FRAMING);
    let mut text = Vec::with_capacity(FRAMING + fits.len());
    crate::ledger::push_pair(&mut text, KEY, fits.as_bytes());
    ledger_map::put(chunk + size_of::<ChunkHeader>() as u64, &text);
    ledger_map::chunk_header(chunk).used.store(text.len() as u64, Release);
}

/// `str::floor_char_boundary`, which is younger than our oldest toolchain.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, len: usize) -> &str;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, len: usize) -> &str {
        let end = (0..=len.min(self.len())).rev().find(|&end| self.is_char_boundary(end)).unwrap_or(0);
        self.get(..end).unwrap_or("")
    }
}

/// Before a fork that the C library makes, on the thread that makes it.
extern "C" fn before_fork() {
    notice_fork();
    if ledger_map::is_attached() {
        thread::set_fork(ledger_map::header().forks.fetch_add(1, Relaxed) + 1);
    } else if state::is_forked() {
        thread::set_fork(distant(u64::from(UNRECORDED_FORKS.fetch_add(1, Relaxed))));
    }
}

/// After it, in the parent.
extern "C" fn after_fork() {
    thread::set_fork(0);
}

/// After it, in the child. Another's handler may have allocated before, and the flags have told of the fork already.
extern "C" fn notice_fork_told() {
    if state::is_wiping() {
        notice_fork();
    } else {
        leave_to_parent();
    }
}

/// Sees to a forked child of which only the flags tell. Before anything of the parent's is looked at that is not for the child: its
/// ledger, its lanes, its cells.
#[inline(always)]
pub(crate) fn notice_fork() {
    if state::are_wiped(state::flags()) {
        leave_to_parent();
    }
}

/// As [`notice_fork`]; and the child gets its ledger, if it is to have one.
pub(crate) fn see_to_fork() {
    notice_fork();
    if state::is_forked() {
        start_forked();
    }
}

/// In a forked child: the mapping is the parent's ledger, which is not ours to write. Most children go on to `exec`, so
/// a ledger of its own is made at the first event, if there is one.
#[cold]
#[inline(never)]
fn leave_to_parent() {
    let number_in_parent = thread::take_fork();
    let number = match number_in_parent {
        // Made by the bare system call: nobody has counted it. That much is the parent's to know.
        0 if ledger_map::is_attached() => ledger_map::header().forks.fetch_add(1, Relaxed) + 1,
        // Made so by a fork that has no ledger yet: only the time tells it from its like.
        0 if calls::allows_calls() => distant(std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64)),
        0 => distant(0),
        number => number,
    };
    ORDINAL.store(number, Relaxed);
    UNRECORDED_FORKS.store(0, Relaxed);
    let recorded = state::was_open();
    ledger_map::abandon();
    lane::forget_all();
    slots::forget_all();
    reserves::force_open();
    start_map::force_open();
    leaks::threads::STACKS.force_open();
    if state::mode() == Some(Mode::Sampled) {
        // In exact mode being there says that a block has a header.
        start_map::forget_all();
        system_untagged::forget_all();
    }
    tracked::force_open();
    #[cfg(memprof_native)]
    blocks::forget_all();
    thread::forget();
    state::restart(if recorded { FORKED } else { ENDED });
}

/// The first event of a forked child. It has one thread, so nobody else is on the way here.
#[cold]
fn start_forked() {
    let started = ledger_map::reattach(PREFIX.load(Relaxed));
    state::restart(if started { OPEN } else { ENDED });
    if started {
        modules::forget_noted();
        let header = ledger_map::header();
        let parent = header.pid.load(Relaxed);
        header.pid.store(process_id(), Relaxed);
        header.seed.store(sampler::mix(header.seed.load(Relaxed), fork_part(ORDINAL.load(Relaxed))), Relaxed);
        header.state.store(layout::state::OPEN, Relaxed);
        note_origin(parent);
    } else {
        ledger_map::count_lost_fork();
    }
}

/// The number of a fork of a fork that has no ledger yet; `which` tells it from the others of that one's. Not 0, and none of those that a
/// process with a ledger gives.
fn distant(which: u64) -> u32 {
    1 << 31 | sampler::mix(u64::from(ORDINAL.load(Relaxed)), which) as u32
}

/// What the seed of a fork differs by: nothing that a lane's does.
fn fork_part(number: u32) -> u64 {
    1 << 32 | u64::from(number)
}

/// Puts down, without allocating, of which process this one is a fork.
fn note_origin(parent: u32) {
    const KEY: &[u8] = b"fork_of";
    let mut text = [0u8; 32];
    let mut digits = [0u8; 10];
    let mut rest = parent;
    let mut first = digits.len();
    while rest > 0 || first == digits.len() {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut len = 0;
    for part in [KEY, &digits[first..]] {
        text[len..len + 4].copy_from_slice(&(part.len() as u32).to_ne_bytes());
        text[len + 4..len + 4 + part.len()].copy_from_slice(part);
        len += 4 + part.len();
    }
    if let Some(chunk) = ledger_map::chunk(kind::TEXT, 0, len) {
        ledger_map::put(chunk + size_of::<ChunkHeader>() as u64, &text[..len]);
        ledger_map::chunk_header(chunk).used.store(len as u64, Release);
    }
}

fn process_id() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { libc::getpid() as u32 }
}
