//! The end of the window. A thread may have told the test that it is done and still give back what std keeps for it: threads that
//! are ending, or have not begun yet, are waited for before the window shuts. Afterwards an event may still be in flight
//! on a thread that goes on; it is waited for too, so that the sums over stacks equal the counters.
//!
//! How long is told by the threads' own CPU time and by whether they sleep, and so is the same on a busy machine. What the
//! kernel does not tell (no `/proc`, no descriptor to be had) is not waited for.

#![allow(unsafe_code)] // system calls, and memory of our own

use crate::engine::store::errno::Errno;
use crate::engine::store::own_memory;
use crate::os;
use std::ffi::CStr;
use std::mem::size_of;
use std::mem::MaybeUninit;
use std::ptr;

/// A thread that used so much CPU time, in nanoseconds, and still runs is not about to end.
const ENOUGH_TO_END: u64 = 20_000_000;
/// An event takes less than so much CPU time, in nanoseconds.
const ENOUGH_FOR_AN_EVENT: u64 = 1_000_000;
/// Time between two looks at a thread that sleeps, in nanoseconds. It is not about to end if it sleeps at both.
const NAP: u64 = 1_000_000;
/// Nobody waits longer, in nanoseconds: a thread may get no CPU time at all.
const LONGEST: u64 = 2_000_000_000;
/// Threads that begin another as they end follow each other for so much CPU time of the process at most, in nanoseconds.
const LONGEST_CHAIN: u64 = 10 * ENOUGH_TO_END;
/// How often the kernel is asked whether a single thread that was joined is gone, before all are looked at.
const LOOKS: u32 = 20;
/// Threads that are looked at. Of more, the last ones are not waited for.
const MOST_THREADS: usize = 4096;

/// How many threads this process has; `None` where that cannot be found out.
pub fn threads() -> Option<u64> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a C string, and there is a place for the one `stat` that is written.
    if unsafe { libc::stat(c"/proc/self/task".as_ptr(), stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it was written.
    let stat = unsafe { stat.assume_init() };
    // One link for each thread's folder, and two that every folder has.
    #[allow(clippy::useless_conversion)] // not so on aarch64
    u64::from(stat.st_nlink).checked_sub(2)
}

/// Waits until no other thread is ending or has yet to begin. The window is open, and the calling thread is suspended.
pub(crate) fn wait_for_threads() {
    let errno = Errno::save();
    if !is_alone() {
        wait(LONGEST_CHAIN, |thread, now| thread.used(now) >= ENOUGH_TO_END || thread.naps(now));
    }
    errno.restore();
}

/// Waits until no other thread is in the middle of an event. The window was shut, so none begins one.
pub(crate) fn wait_for_events() {
    let errno = Errno::save();
    if threads() != Some(1) {
        // No event sleeps, but for the disk, which counts as running. A thread that begins now begins none.
        wait(0, |thread, now| thread.used(now) >= ENOUGH_FOR_AN_EVENT || now.sleeps);
    }
    errno.restore();
}

/// Whether there is no other thread. One that was just joined may not be gone yet.
fn is_alone() -> bool {
    for _ in 0..LOOKS {
        match threads() {
            Some(2) => {}
            // Where it is not known there is nobody to be waited for.
            count => return !matches!(count, Some(2..)),
        }
        // SAFETY: has no preconditions.
        unsafe { libc::sched_yield() };
    }
    false
}

/// A thread, as it was when it was first looked at.
struct Thread {
    id: libc::pid_t,
    /// CPU time used by then, in nanoseconds.
    cpu: u64,
    /// Since when it was found asleep whenever it was looked at, in nanoseconds; 0 = it was not, the last time.
    asleep_since: u64,
}

/// A thread as it is now.
struct Now {
    time: u64,
    cpu: u64,
    sleeps: bool,
}

impl Thread {
    fn used(&self, now: &Now) -> u64 {
        now.cpu.saturating_sub(self.cpu)
    }

    fn naps(&self, now: &Now) -> bool {
        now.sleeps && self.asleep_since != 0 && now.time - self.asleep_since >= NAP
    }
}

/// Memory for a look at all threads: not on the stack, which may be a signal handler's.
struct Scratch {
    /// What the kernel says of a folder's entries.
    entries: [u8; 4096],
    threads: [Thread; MOST_THREADS],
}

/// Looks at all other threads again and again until each is gone or `is_settled`. While the process has used less than `chain` of CPU time, a look
/// that did not see all does not count: a thread that went meanwhile may have begun another, and where it goes the kernel's list ends.
fn wait(chain: u64, is_settled: impl Fn(&Thread, &Now) -> bool) {
    let Some(memory) = own_memory::private_bytes(size_of::<Scratch>()) else { return };
    // SAFETY: fresh pages, zeroed and aligned, which is a valid `Scratch`; nobody else knows of them.
    let scratch = unsafe { &mut *memory.as_ptr().cast::<Scratch>() };
    let began = clock(libc::CLOCK_MONOTONIC);
    let cpu = || clock(libc::CLOCK_PROCESS_CPUTIME_ID);
    let end_of_chain = cpu() + chain;
    let mut known = 0;
    let mut pause = NAP / 16;
    loop {
        let time = clock(libc::CLOCK_MONOTONIC);
        let Some(Look { settled, saw_all }) = look(scratch, &mut known, time, &is_settled) else { break };
        if settled && (saw_all || cpu() >= end_of_chain) || time - began >= LONGEST {
            break;
        }
        sleep(pause);
        pause = (pause * 2).min(NAP / 2);
    }
    // SAFETY: mapped above, and nothing refers to it any more.
    unsafe { own_memory::release_bytes(memory, size_of::<Scratch>()) };
}

/// What a look at all other threads showed.
struct Look {
    /// Each that is still there is settled.
    settled: bool,
    /// None was gone when its turn came, and there are no more of them than were seen.
    saw_all: bool,
}

/// One look at all other threads. `None` where they cannot be looked at.
fn look(
    Scratch { entries, threads }: &mut Scratch,
    known: &mut usize,
    time: u64,
    is_settled: &impl Fn(&Thread, &Now) -> bool,
) -> Option<Look> {
    let folder = File::open(c"/proc/self/task", libc::O_DIRECTORY)?;
    let own = os::thread::id();
    let (mut settled, mut one_went, mut seen) = (true, false, 1);
    loop {
        let read = folder.entries(entries)?;
        if read == 0 {
            let saw_all = !one_went && self::threads().map_or(true, |count| count == seen);
            return Some(Look { settled, saw_all });
        }
        for id in (Ids { entries: entries.get(..read)? }) {
            if id == own {
                continue;
            }
            let Some((sleeps, cpu)) = state_of(id) else {
                one_went = true;
                continue;
            };
            seen += 1;
            let now = Now { time, cpu, sleeps };
            let at = threads.iter().take(*known).position(|thread| thread.id == id).unwrap_or(*known);
            let Some(thread) = threads.get_mut(at) else { continue };
            if at == *known {
                *known += 1;
                *thread = Thread { id, cpu, asleep_since: 0 };
            }
            settled &= is_settled(thread, &now);
            thread.asleep_since = match thread.asleep_since {
                _ if !sleeps => 0,
                0 => time,
                since => since,
            };
        }
    }
}

/// Whether a thread sleeps, and the CPU time that it used, in nanoseconds; `None` if it is gone.
pub(crate) fn state_of(id: libc::pid_t) -> Option<(bool, u64)> {
    // Behind the name, which is in parentheses and may hold any byte: up to 15 of them behind the number, with 10 digits.
    let mut text = [0u8; 64];
    let read = File::open(Path::of(b"/proc/self/task/", id, b"/stat").as_c_str()?, 0)?.read(&mut text)?;
    let text = text.get(..read)?;
    let end_of_name = text.iter().rposition(|&byte| byte == b')')?;
    match text.get(end_of_name + 2)? {
        // Also where it is stopped, or traced.
        b'S' | b'T' | b't' | b'I' => Some((true, cpu_time(id))),
        b'Z' | b'X' | b'x' => None,
        _ => Some((false, cpu_time(id))),
    }
}

/// CPU time of a thread of this process, in nanoseconds.
fn cpu_time(id: libc::pid_t) -> u64 {
    os::thread::clock(id).map_or(0, clock)
}

/// 0 where there is no such clock.
fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    match unsafe { libc::clock_gettime(clock, &mut time) } {
        0 => time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
        _ => 0,
    }
}

pub(crate) fn sleep(nanoseconds: u64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds as libc::c_long };
    // Where a signal ends it, the threads are looked at earlier.
    // SAFETY: `time` can be read, and what is left of it is not asked for.
    unsafe { libc::nanosleep(&time, ptr::null_mut()) };
}

/// A path with the number of a thread or a process in it, which is made without memory.
pub(crate) struct Path([u8; 40]);

impl Path {
    /// What comes before and behind the number has 29 bytes at most.
    pub(crate) fn of(before: &[u8], id: libc::pid_t, behind: &[u8]) -> Path {
        let mut digits = [0u8; 10];
        let mut first = digits.len();
        let mut rest = id.unsigned_abs();
        while rest > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let mut path = [0u8; 40];
        let parts = [before, &digits[first..], behind];
        path.iter_mut().zip(parts.into_iter().flatten()).for_each(|(place, byte)| *place = *byte);
        Path(path)
    }

    pub(crate) fn as_c_str(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.0).ok()
    }
}

/// The numbers among the names of a folder's entries.
pub(crate) struct Ids<'a> {
    pub(crate) entries: &'a [u8],
}

impl Iterator for Ids<'_> {
    type Item = libc::pid_t;

    fn next(&mut self) -> Option<libc::pid_t> {
        /// The kernel's `linux_dirent64`: two words, the length of the entry, a byte of its kind, and its name, which ends with a 0.
        const LEN: usize = 16;
        const NAME: usize = 19;
        loop {
            let len = u16::from_ne_bytes(self.entries.get(LEN..LEN + 2)?.try_into().ok()?);
            let entry = self.entries.get(..usize::from(len))?;
            self.entries = self.entries.get(usize::from(len)..)?;
            let name = CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()?;
            if let Some(id) = name.to_str().ok().and_then(|name| name.parse().ok()) {
                return Some(id);
            }
        }
    }
}

/// An open file that closes itself.
pub(crate) struct File(libc::c_int);

impl File {
    pub(crate) fn open(path: &CStr, flags: libc::c_int) -> Option<File> {
        // SAFETY: `path` is a C string for the length of the call.
        let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | flags) };
        (descriptor >= 0).then_some(File(descriptor))
    }

    pub(crate) fn read(&self, place: &mut [u8]) -> Option<usize> {
        // SAFETY: `place` has room for as many bytes as it is long.
        let read = unsafe { libc::read(self.0, place.as_mut_ptr().cast(), place.len()) };
        usize::try_from(read).ok()
    }

    /// The next entries of a folder; 0 bytes of them where there are no more.
    pub(crate) fn entries(&self, place: &mut [u8]) -> Option<usize> {
        os::file::entries(self.0, place)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: opened by us and closed only here.
        unsafe { libc::close(self.0) };
    }
}
