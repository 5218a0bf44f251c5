//! A process with a time limit: it leads a process group of its own, and when its time is up the whole group is killed,
//! with all processes that left the group, so that nothing it started is left behind. Signals by which users end a run
//! are passed on to such groups, which a terminal does not reach. The harness runs its tests in this way, and `cargo
//! memprof` the programs that have no libtest.
#![allow(unsafe_code)] // std has neither process groups to kill nor signal handlers

use crate::descendants::{self, Mark};
use crate::os::task;
use crate::terminal::Loan;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::Once;
use std::time::{Duration, Instant};
use std::{io, thread};

/// A process that is gone.
#[derive(Debug)]
pub struct ProcessEnd {
    pub status: ExitStatus,
    /// From just before it was started.
    pub wall: Duration,
    /// It was killed, with what it had started, because its time was up.
    pub timed_out: bool,
}

/// Runs `command` to its end, or for `time` at most. With a time, what ends this process ends it too.
///
/// # Errors
/// Where it could not be started, or a thread could not be had.
pub fn run(mut command: Command, time: Option<Duration>) -> io::Result<ProcessEnd> {
    if time.is_some() {
        command.process_group(0);
        end_with_this_process(&mut command);
        pass_signals_on();
    }
    let mark = Mark::of(&command);
    let started = Instant::now();
    let mut child = command.spawn()?;
    // It may hold our copies of the writing end of a pipe.
    drop(command);
    let late = match time {
        Some(time) => Group::of(&child).end_after(time, mark.as_ref())?,
        None => false,
    };
    let status = child.wait()?;
    // It may have ended by itself at the last moment.
    let timed_out = late && status.signal() == Some(libc::SIGKILL);
    Ok(ProcessEnd { status, wall: started.elapsed(), timed_out })
}

/// As [`run`] for a program that this process stands for: signals are the program's alone, which may do with them as it
/// likes. [`end_like`] says afterwards how it ended.
///
/// # Errors
/// As of [`run`].
pub fn run_in_our_stead(command: Command, time: Duration) -> io::Result<ProcessEnd> {
    STANDS_FOR_ANOTHER.store(true, Ordering::Relaxed);
    let ended = run(command, Some(time));
    STANDS_FOR_ANOTHER.store(false, Ordering::Relaxed);
    ended
}

/// Ends this process as another one ended, by the same signal if it was one.
pub fn end_like(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        // The other process has left what memory image there is to be left.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads the one structure, which lives until the call is over.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
        do_as_usual(signal);
    }
    process::exit(status.code().unwrap_or(FAILURE))
}

/// What is said of a test or program that was given `time`.
pub fn sentence(time: Duration) -> String {
    format!("timed out after {} s (--test-timeout)", time.as_secs_f64())
}

/// libtest's status of a run with failures.
const FAILURE: i32 = 101;

/// Stack of a thread that starts a process and waits for it, in bytes; what RUST_MIN_STACK says is meant for tests.
pub const WAITER_STACK: usize = 128 * 1024;

/// Has a process killed when the thread that starts it is gone, as it is when this process is killed. A group of its own
/// is not reached by what kills ours.
fn end_with_this_process(command: &mut Command) {
    let ask = || {
        task::end_with_parent();
        Ok(())
    };
    // SAFETY: what runs between fork and exec is one system call, which neither allocates nor takes a lock.
    unsafe { command.pre_exec(ask) };
}

/// A child, not yet waited for, and what it started: so its number is nobody else's.
struct Group {
    leader: libc::pid_t,
    /// Where [`GROUPS`] has it; `None` = there was no room.
    slot: Option<&'static AtomicI32>,
}

impl Group {
    fn of(child: &Child) -> Group {
        let leader = libc::pid_t::try_from(child.id()).expect("it was a pid before it was a number");
        let free = |slot: &&AtomicI32| slot.compare_exchange(0, leader, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        let group = Group { leader, slot: GROUPS.iter().find(free) };
        // A signal that came before the group could be told of it.
        let missed = MISSED.swap(0, Ordering::SeqCst);
        if missed != 0 {
            kill_group(leader, missed);
        }
        group
    }

    /// Comes back when the leader has ended. True where it had to be killed, with all that it started or that has its mark.
    fn end_after(&self, time: Duration, mark: Option<&Mark>) -> io::Result<bool> {
        let leader = self.leader;
        let (gone, until_gone) = mpsc::channel();
        thread::Builder::new().stack_size(WAITER_STACK).spawn(move || {
            wait_without_taking(leader);
            // Somebody listens until then.
            let _ = gone.send(());
        })?;
        let late = until_gone.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        if late {
            self.kill_all(mark);
            // The terminal may have to be taken back. That the other end is gone is as good an answer.
            let _ = until_gone.recv();
        }
        Ok(late)
    }
}

impl Group {
    fn kill_all(&self, mark: Option<&Mark>) {
        /// Looks for processes with the mark: each may have started another between being seen and being killed.
        const LOOKS: usize = 100;
        // Before any of them is killed: who loses its parent is another's child.
        let started = descendants::of(self.leader);
        kill_group(self.leader, libc::SIGKILL);
        started.into_iter().for_each(kill);
        for _ in 0..LOOKS {
            let left = mark.map_or_else(Vec::new, Mark::processes);
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(kill);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

/// Waits until a child has ended and leaves it to be waited for. Meanwhile its group has the terminal, if it wants to.
fn wait_without_taking(child: libc::pid_t) {
    let mut loan = None;
    loop {
        let Some((code, signal)) = next_change(child, libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT) else { return };
        if code != libc::CLD_STOPPED {
            if loan.take().is_some() && code != libc::CLD_EXITED && matches!(signal, libc::SIGINT | libc::SIGQUIT) {
                // It was typed, and would have been for all of us.
                // SAFETY: has no preconditions.
                unsafe { libc::kill(0, signal) };
            }
            return;
        }
        // What stays untaken would be told of again and again.
        next_change(child, libc::WSTOPPED | libc::WNOHANG);
        match signal {
            libc::SIGTTIN | libc::SIGTTOU => loan = Loan::to(child),
            libc::SIGTSTP if loan.take().is_some() => {
                // So was this. Comes back when the user brings us to the front again.
                // SAFETY: has no preconditions.
                unsafe { libc::kill(0, signal) };
                loan = Loan::to(child);
            }
            _ => {}
        }
    }
}

/// What becomes of a child next: one of the codes `CLD_…`, and its status or the signal. `None` where it cannot be waited for.
fn next_change(child: libc::pid_t, kinds: libc::c_int) -> Option<(libc::c_int, libc::c_int)> {
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: `info` is a place for the one `siginfo_t` that is written.
        if unsafe { libc::waitid(libc::P_PID, child as libc::id_t, info.as_mut_ptr(), kinds) } == 0 {
            // SAFETY: all zeros are a `siginfo_t`, and the call may have put another one in its place.
            let info = unsafe { info.assume_init() };
            // SAFETY: what `waitid` tells of has a status.
            return Some((info.si_code, unsafe { info.si_status() }));
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Sends a signal to all of a group. That it is gone already is no error.
fn kill_group(leader: libc::pid_t, signal: libc::c_int) {
    // SAFETY: has no preconditions. The leader is a child of ours that was not waited for, so the number is its.
    unsafe { libc::kill(-leader, signal) };
}

/// Kills a process that was there a moment ago. That it is gone, or somebody else's, is no error.
fn kill(process: descendants::ProcessId) {
    // SAFETY: has no preconditions. A number is given to another process only after all others were.
    unsafe { libc::kill(process, libc::SIGKILL) };
}

/// The leaders of the groups that run now; 0 = a free place. More tests at once than this are not told of signals.
static GROUPS: [AtomicI32; 256] = [const { AtomicI32::new(0) }; 256];

/// By which users end programs.
const SIGNALS: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// From here on what ends this process ends the groups as well.
fn pass_signals_on() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in SIGNALS {
            let handler: extern "C" fn(libc::c_int) = pass_on;
            // SAFETY: the handler makes system calls and touches atomics, all of which a handler may do.
            let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
            if before != libc::SIG_DFL {
                // Who ignores it (`nohup`) goes on to.
                // SAFETY: `before` is what was there.
                unsafe { libc::signal(signal, before) };
            }
        }
    });
}

/// This process lives on when it is told to end, because [`run_in_our_stead`] waits for who is to decide that.
static STANDS_FOR_ANOTHER: AtomicBool = AtomicBool::new(false);
/// The signal that came when there was no group to pass it on to; 0 = none.
static MISSED: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int) {
    let lives_on = STANDS_FOR_ANOTHER.load(Ordering::Relaxed);
    if lives_on {
        MISSED.store(signal, Ordering::SeqCst);
    }
    for group in &GROUPS {
        let leader = group.load(Ordering::SeqCst);
        if leader != 0 {
            kill_group(leader, signal);
            MISSED.store(0, Ordering::SeqCst);
        }
    }
    if !lives_on {
        do_as_usual(signal);
    }
}

/// Has a signal do to this process what it does to one that has no handler. May be called in a handler.
fn do_as_usual(signal: libc::c_int) {
    // SAFETY: has no preconditions.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: has no preconditions.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let mut command = Command::new("sh");
        // The one in the background holds the pipe: only when it is gone too is there an end of the output.
        command.args(["-c", "echo begun; tail -f /dev/null & tail -f /dev/null"]);
        let (mut output, writer) = io::pipe().unwrap();
        command.stderr(writer.try_clone().unwrap()).stdout(writer);
        let ended = run(command, Some(Duration::from_millis(500))).unwrap();
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert!(ended.timed_out);
        assert_eq!(ended.status.signal(), Some(libc::SIGKILL));
    }
}
