//! Lends the terminal to a process group that wants to read from it: a group of its own is stopped when it reads, where
//! the same program in our group would just read. A shell does the same; here it happens only when the group asks for
//! it.
#![allow(unsafe_code)] // std knows nothing of who has the terminal

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

/// While this lives the terminal is another group's: what is typed there, Ctrl-C included, is for that one alone.
pub struct Loan {
    terminal: File,
    /// The group that has it again afterwards.
    ours: libc::pid_t,
}

impl Loan {
    /// Lends the terminal to the group of `leader`, which was stopped, and lets that go on. `None` where there is no terminal, or it
    /// is not ours to lend: who runs in the background waits until the user brings it to the front.
    pub fn to(leader: libc::pid_t) -> Option<Loan> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        // SAFETY: has no preconditions.
        let ours = unsafe { libc::getpgrp() };
        // SAFETY: has no preconditions; the descriptor is open.
        if unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) } != ours {
            return None;
        }
        let loan = Loan { terminal, ours };
        loan.give_to(leader);
        // SAFETY: has no preconditions.
        unsafe { libc::kill(-leader, libc::SIGCONT) };
        Some(loan)
    }

    fn give_to(&self, group: libc::pid_t) {
        // Who does this without having the terminal is stopped, unless it blocks the signal.
        let mut signals = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: there is a place for the one set that is written.
        unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
        // SAFETY: the set was made by the call above.
        unsafe { libc::sigaddset(signals.as_mut_ptr(), libc::SIGTTOU) };
        // SAFETY: the one set was made above, and there is a place for the other.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: has no preconditions; the descriptor is open. A group that is gone is refused, which changes nothing.
        unsafe { libc::tcsetpgrp(self.terminal.as_raw_fd(), group) };
        // SAFETY: the set was written by the call that blocked the signal, which cannot fail with such arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.give_to(self.ours);
    }
}
