//! A process that may take so long and no longer: it leads a process group of its own, and where its time is up the whole
//! group is killed, so that nothing it started is left behind. Signals by which users end a run are passed on to such
//! groups, which a terminal does not reach.
#![allow(unsafe_code)] // std has neither process groups to kill nor signal handlers

use super::process::{Ended, WAITER_STACK};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Runs `command` to its end, or for `time` at most. The output of [`Ended`] is empty.
///
/// # Errors
/// Where it could not be started, or a thread could not be had.
pub fn run(mut command: Command, time: Option<Duration>) -> io::Result<Ended> {
    if time.is_some() {
        command.process_group(0);
        pass_signals_on();
    }
    let started = Instant::now();
    let mut child = command.spawn()?;
    // It may hold our copies of the writing end of a pipe.
    drop(command);
    let late = match time {
        Some(time) => Group::of(&child).end_after(time)?,
        None => false,
    };
    let status = child.wait()?;
    // It may have ended by itself at the last moment.
    let timed_out = late && status.signal() == Some(libc::SIGKILL);
    Ok(Ended { status, wall: started.elapsed(), timed_out, output: Vec::new() })
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
        let free = |slot: &&AtomicI32| slot.compare_exchange(0, leader, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Group { leader, slot: GROUPS.iter().find(free) }
    }

    /// Comes back when the leader has ended. True where it had to be killed.
    fn end_after(&self, time: Duration) -> io::Result<bool> {
        let leader = self.leader;
        let (gone, until_gone) = mpsc::channel();
        thread::Builder::new().stack_size(WAITER_STACK).spawn(move || {
            wait_without_taking(leader);
            // Nobody listens any more where the time was up.
            let _ = gone.send(());
        })?;
        let late = until_gone.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        if late {
            kill_group(leader, libc::SIGKILL);
        }
        Ok(late)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.store(0, Ordering::Relaxed);
        }
    }
}

/// Waits until a child has ended and leaves it to be waited for.
fn wait_without_taking(child: libc::pid_t) {
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: `info` is a place for the one `siginfo_t` that is written.
        let result =
            unsafe { libc::waitid(libc::P_PID, child as libc::id_t, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Sends a signal to all of a group. That it is gone already is no error.
fn kill_group(leader: libc::pid_t, signal: libc::c_int) {
    // SAFETY: has no preconditions. The leader is a child of ours that was not waited for, so the number is its.
    unsafe { libc::kill(-leader, signal) };
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

extern "C" fn pass_on(signal: libc::c_int) {
    for group in &GROUPS {
        let leader = group.load(Ordering::Relaxed);
        if leader != 0 {
            kill_group(leader, signal);
        }
    }
    // SAFETY: both may be called in a handler. The signal does what it would have done to this process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
    // SAFETY: as above.
    unsafe {
        libc::raise(signal);
    }
}
