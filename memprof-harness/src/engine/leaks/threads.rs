//! The other threads of a process whose window has ended: whether all of them are asleep, and where on their stacks they are.

use crate::engine::leaks::array::{Array, Plain};
use crate::engine::leaks::skipped::Skipped;
use crate::engine::life::ending::{self, File, Ids, Path};
use crate::engine::store::ranges::{Range, Ranges};
use crate::os;

/// Threads that are looked at. With more, nothing is searched.
pub(crate) const MOST: usize = 1 << 14;
/// How often threads are looked at that do not sleep, and for how long nothing is done then, in nanoseconds.
const LOOKS: u32 = 20;
const NAP: u64 = 1_000_000;
/// Words of a system call's arguments.
const ARGUMENTS: usize = 6;
/// Bytes behind the stack pointer that a function may use without moving it.
pub(crate) const RED_ZONE: usize = 128;

/// In the place of a thread's number where that is not known.
pub(crate) const NOBODY: libc::pid_t = 0;

/// The stacks that the C library made for threads of this process, as they were when the threads were first recorded: with each the place of the thread-local that says the same
/// as long as the stack is a stack, and the thread's number.
pub(crate) static STACKS: Ranges = Ranges::new();

/// A thread that sleeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sleeper {
    id: libc::pid_t,
    /// CPU time used so far, in nanoseconds.
    cpu: u64,
    pub(crate) stack_pointer: usize,
    /// What it asked the kernel for, which may be no more than in a register.
    pub(crate) arguments: [usize; ARGUMENTS],
}

// SAFETY: numbers.
#[allow(unsafe_code)]
unsafe impl Plain for Sleeper {}

/// All threads but the calling one, once they sleep.
pub(crate) fn find_asleep(sleepers: &mut Array<Sleeper>) -> Result<(), Skipped> {
    for _ in 0..LOOKS {
        if look(sleepers)? {
            return Ok(());
        }
        ending::sleep(NAP);
    }
    Err(Skipped::ThreadRunning)
}

/// Whether the same threads sleep, and none did anything meanwhile.
pub(crate) fn still_sleep(sleepers: &Array<Sleeper>) -> bool {
    let slept = |sleeper: &Sleeper| ending::state_of(sleeper.id) == Some((true, sleeper.cpu));
    ending::threads() == Some(sleepers.len() as u64 + 1) && sleepers.iter().all(slept)
}

fn look(sleepers: &mut Array<Sleeper>) -> Result<bool, Skipped> {
    sleepers.clear();
    if ending::threads() == Some(1) {
        return Ok(true);
    }
    let folder = File::open(c"/proc/self/task", libc::O_DIRECTORY).ok_or(Skipped::Unreadable)?;
    let mut entries = [0u8; 1024];
    let own = os::thread::id();
    loop {
        let read = folder.entries(&mut entries).ok_or(Skipped::Unreadable)?;
        if read == 0 {
            return Ok(true);
        }
        for id in (Ids { entries: entries.get(..read).unwrap_or(&[]) }) {
            if id == own {
                continue;
            }
            // Of a thread that is gone nothing is known, and nothing need be.
            let Some((sleeps, cpu)) = ending::state_of(id) else { continue };
            let Some(sleeper) = sleeper(id, cpu).filter(|_| sleeps) else { return Ok(false) };
            sleepers.push(sleeper).ok_or(Skipped::TooMuch)?;
        }
    }
}

/// What the kernel says of a thread that sleeps; `None` where it does not, any more.
fn sleeper(id: libc::pid_t, cpu: u64) -> Option<Sleeper> {
    // The number of the system call, six arguments, the stack pointer and where the thread goes on; without a system call the
    // arguments are missing.
    let mut text = [0u8; 256];
    let read = File::open(Path::of(b"/proc/self/task/", id, b"/syscall").as_c_str()?, 0)?.read(&mut text)?;
    let text = std::str::from_utf8(text.get(..read)?).ok()?;
    let mut sleeper = Sleeper { id, cpu, ..Sleeper::default() };
    let mut before = [0; 2];
    for (at, word) in text.split_ascii_whitespace().skip(1).enumerate() {
        let number = usize::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
        if let Some(place) = sleeper.arguments.get_mut(at) {
            *place = number;
        }
        before = [before[1], number];
    }
    sleeper.stack_pointer = before[0];
    (sleeper.stack_pointer != 0).then_some(sleeper)
}

/// Visits what of a stack nobody uses: all of it, where its thread is gone, or what lies beyond where its thread is. `own` is the calling
/// thread's number, and from where on its stack is in use. `still_says` reads the two words at an address and tells whether they are these.
/// `false` where not all stacks are known.
pub(crate) fn for_each_unused(
    own: (libc::pid_t, usize),
    sleepers: &[Sleeper],
    mut still_says: impl FnMut(usize, [usize; 2]) -> bool,
    mut visit: impl FnMut(usize, usize),
) -> bool {
    let is_on = |range: &Range, at: usize| (range.start..range.end).contains(&at);
    STACKS.for_each(|range| {
        let [place, id] = range.kept;
        let id = id as libc::pid_t;
        if id == NOBODY {
            // Where ranges are noted, which is no stack; or somebody may be on it.
        } else if is_on(&range, own.1) {
            visit(range.start, own.1);
        } else if let Some(on) = sleepers.iter().find(|sleeper| is_on(&range, sleeper.stack_pointer)) {
            visit(range.start, on.stack_pointer.saturating_sub(RED_ZONE).max(range.start));
        } else if id != own.0
            && sleepers.iter().all(|sleeper| sleeper.id != id)
            && still_says(place, [range.start, range.end])
        {
            // A thread that is on another stack, as a coroutine's, comes back to this one.
            visit(range.start, range.end);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;
    use std::sync::mpsc;

    #[test]
    #[cfg_attr(miri, ignore = "Miri's threads are not the system's")]
    fn a_thread_that_sleeps_is_found_where_it_sleeps() {
        let (sender, receiver) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let local = [0u8; 64];
            sender.send((os::thread::id(), std::hint::black_box(&local).as_ptr().address())).expect("somebody waits");
            ended.recv().is_err()
        });
        let (id, local) = receiver.recv().expect("it tells");
        let found = loop {
            if let Some(sleeper) =
                ending::state_of(id).filter(|(sleeps, _)| *sleeps).and_then(|(_, cpu)| sleeper(id, cpu))
            {
                break sleeper;
            }
            std::thread::yield_now();
        };
        assert!(found.stack_pointer < local && local - found.stack_pointer < 64 << 10, "{found:x?} {local:x}");
        drop(end);
        assert!(thread.join().expect("it ends well"));
    }
}
