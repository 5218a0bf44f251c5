//! Ctrl-C, a terminal that is closed, and the wish to end: the terminal tells cargo and the tests itself; this program lives on to say what became
//! of the run and to remove what is half made.

use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::terminal::Shell;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The signal that asked for the end; 0 = none did.
static ASKED: AtomicI32 = AtomicI32::new(0);
/// Set when the process is about to end by itself.
static ENDING: AtomicBool = AtomicBool::new(false);
/// What there is to clean up where a second Ctrl-C will not wait.
static SCENE: Mutex<Scene> = Mutex::new(Scene { scratch: None, cargo: None, farewell: None });

struct Scene {
    /// A folder to remove.
    scratch: Option<PathBuf>,
    /// The process that a signal meant for us alone is passed on to.
    cargo: Option<u32>,
    /// What is said where the first signal ends the process.
    farewell: Option<Error>,
}

/// The signals by which users end programs.
const MEANT: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Whether `signal` is one by which users end programs.
pub fn is_meant(signal: i32) -> bool {
    MEANT.contains(&signal)
}

/// The code to end with, once the user has asked for the end; `None` = nobody has.
pub fn requested() -> Option<ExitCode> {
    match ASKED.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(ExitCode::of_signal(signal)),
    }
}

/// From here on the signals are ours. `scratch`, if there is any, is removed where a second signal ends the process at once.
///
/// # Errors
/// Where the signals cannot be had.
pub fn watch(scratch: Option<PathBuf>) -> io::Result<()> {
    static WATCHES: AtomicBool = AtomicBool::new(false);
    scene(|scene| scene.scratch = scratch);
    if WATCHES.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    // Who starts a program with `nohup`, or behind a shell's `&`, has it go on.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut signals = Signals::new(MEANT.into_iter().filter(|signal| !ignores(&status, *signal)))?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in &mut signals {
            take(signal);
        }
    })?;
    Ok(())
}

/// From here on a file that may grow no further (`ulimit -f`) is an error, and not the end of this program without a word. What this program
/// becomes or starts has the signal as it was: a handler does not outlive `exec`.
pub fn outlive_file_limit() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores(&status, SIGXFSZ) {
        // Without the handler it is as it ever was.
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    }
}

/// Whether a process whose state is `status` ignores the signal.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Waits for the end of `command`, which runs for us; a signal that is meant for us is passed on to it. Only for that: whatever it started may
/// live on.
///
/// # Errors
/// Where it cannot be started or waited for.
pub fn status(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    runs(Some(child.id()));
    let status = child.wait();
    runs(None);
    status
}

/// Names the process that runs for us now; `None` when it has ended.
pub fn runs(cargo: Option<u32>) {
    scene(|scene| scene.cargo = cargo);
}

/// From here on the first signal ends the process, with `farewell`. What is not in its place by then is in the scratch
/// folder and goes with it.
pub fn end_at_once(farewell: Error) {
    scene(|scene| scene.farewell = Some(farewell));
}

/// Takes [`end_at_once`] back: what follows takes a moment and must not be left half done.
pub fn let_finish() {
    scene(|scene| scene.farewell = None);
}

/// Does not come back once the process is ending: for whoever would write into the scratch folder while it is removed.
pub fn stand_still_at_the_end() {
    while ENDING.load(Ordering::Acquire) {
        std::thread::park();
    }
}

fn take(signal: i32) {
    let again = ASKED.swap(signal, Ordering::Relaxed) != 0;
    scene(|scene| {
        let cargo = scene.cargo.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let signal_for_cargo = match signal {
            SIGTERM => Signal::TERM,
            SIGHUP => Signal::HUP,
            _ => Signal::INT,
        };
        // A terminal sends Ctrl-C to cargo too, which does not survive the first; a signal from elsewhere reached
        // nobody but us. That cargo may be gone already is no error.
        if let Some(cargo) = cargo {
            let _ = kill_process(cargo, signal_for_cargo);
        }
        if again || scene.farewell.is_some() {
            ENDING.store(true, Ordering::Release);
            if let Some(scratch) = &scene.scratch {
                remove(scratch);
            }
            if let Some(farewell) = &scene.farewell {
                Shell::new().error_over_progress(farewell);
            }
            std::process::exit(i32::from(ExitCode::of_signal(signal).get()));
        }
    });
}

/// Removes the folder. A thread that has just begun to write a file there may spoil it a few times, not for ever; what
/// stays all the same, the next run removes.
fn remove(scratch: &Path) {
    for _ in 0..100 {
        if fs_err::remove_dir_all(scratch).is_ok() || !scratch.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn scene<T>(change: impl FnOnce(&mut Scene) -> T) -> T {
    // A scene that a panicking thread left is as good as before: each change is one assignment.
    change(&mut SCENE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_ignores_is_in_its_state() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert!(ignores(status, SIGHUP) && ignores(status, 13));
        assert!(!ignores(status, SIGINT) && !ignores(status, SIGTERM) && !ignores("", SIGHUP));
    }
}
