//! Running one child to its end and collecting what it prints, whatever it leaves behind.
#![allow(unsafe_code)] // std has neither `poll` nor a way to ask a pipe how much it holds

use crate::os::file;
use crate::timeout::{self, WAITER_STACK};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// A process that is gone, and what it said.
#[derive(Debug)]
pub struct ProcessOutput {
    pub process: timeout::ProcessEnd,
    /// What it wrote to stdout and stderr, in the order in which it did; empty where that was not collected.
    pub output: Vec<u8>,
}

/// Runs `command` with the stdout and stderr that this process has, for `time` at most.
///
/// # Errors
/// Where it could not be started.
pub fn run_inheriting(mut command: Command, time: Option<Duration>) -> io::Result<ProcessOutput> {
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    Ok(ProcessOutput { process: timeout::run(command, time)?, output: Vec::new() })
}

/// Runs `command` for `time` at most and collects its output, through one pipe, so that the order of stdout and stderr is
/// kept.
///
/// The end of the process is the end of the output: what it wrote is all there, but a process that it leaves behind with
/// the pipe open is not waited for.
///
/// # Errors
/// Where it could not be started, or where a pipe or a thread could not be had.
pub fn run_collecting(mut command: Command, time: Option<Duration>) -> io::Result<ProcessOutput> {
    let (mut output, writer) = pipe()?;
    enlarge(&output);
    command.stdout(writer.try_clone()?).stderr(writer);
    // Nothing is ever written here: that its writing end closes is how the reader below learns that the child is gone.
    let (gone, until_gone) = pipe()?;
    let waiter = thread::Builder::new().stack_size(WAITER_STACK).spawn(move || {
        let _until_gone = until_gone;
        timeout::run(command, time)
    })?;
    let mut collected = Vec::new();
    let held_open = collect(&mut output, &gone, &mut collected)?;
    let process = waiter.join().map_err(|_| io::Error::other("the thread that waits for it panicked"))??;
    if held_open {
        // Who still writes must neither block nor meet a closed pipe: under libtest it would not either. Without a
        // thread to spare it does.
        let _ = thread::Builder::new().spawn(move || io::copy(&mut output, &mut io::sink()));
    }
    Ok(ProcessOutput { process, output: collected })
}

/// A pipe, whose reading end comes first. No program that is started meanwhile gets it. std's own is younger than our oldest toolchain.
fn pipe() -> io::Result<(File, File)> {
    let [reader, writer] = file::pipe()?;
    // SAFETY: the call above opened it, and nobody else has it.
    let reader = unsafe { File::from_raw_fd(reader) };
    // SAFETY: as above.
    let writer = unsafe { File::from_raw_fd(writer) };
    Ok((reader, writer))
}

/// Reads until the last writer is gone or, once the child itself is, until what was there by then is read. True where
/// somebody else still holds the pipe open.
fn collect(output: &mut File, gone: &File, collected: &mut Vec<u8>) -> io::Result<bool> {
    // Not on the stack: this runs on a test's thread, which may be as small as its user wants it.
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let [output_events, gone_events] = poll([output, gone], FOREVER)?;
        if gone_events != 0 {
            let left = held(output)?;
            output.take(left).read_to_end(collected)?;
            let [events, _] = poll([output, gone], AT_ONCE)?;
            return Ok(events & libc::POLLHUP == 0);
        }
        if output_events != 0 {
            match output.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    collected.extend_from_slice(&buffer[..read]);
                    if read < buffer.len() {
                        // The pipe is empty, and `eprintln!` makes a write of every piece of a line: to be woken for each
                        // would take more time than the test. The end of the child still ends the wait at once.
                        poll([gone], A_BATCH)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Time limits for [`poll`], in milliseconds.
const FOREVER: libc::c_int = -1;
const AT_ONCE: libc::c_int = 0;
const A_BATCH: libc::c_int = 1;

/// Waits until one of the pipes can be read or has lost its last writer; gives the events of each.
fn poll<const N: usize>(pipes: [&File; N], limit: libc::c_int) -> io::Result<[libc::c_short; N]> {
    let mut entries = pipes.map(|pipe| libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: `entries` is an array of as many `pollfd`s as are announced, borrowed for the call alone; its
        // descriptors are open for as long as `pipes` are borrowed.
        let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, limit) };
        if ready >= 0 {
            return Ok(entries.map(|entry| entry.revents));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Lets the pipe hold what a chatty test prints between two reads, so that it is seldom stopped. Where the system grants
/// no more than the usual, it is stopped more often and that is all.
fn enlarge(pipe: &File) {
    file::enlarge(pipe.as_raw_fd(), 1 << 20);
}

/// Bytes that the pipe holds.
fn held(pipe: &File) -> io::Result<u64> {
    let mut held: libc::c_int = 0;
    // SAFETY: FIONREAD writes one `int` through the pointer, which is to one; the descriptor is open.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut held) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(u64::try_from(held).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ProcessOutput {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run_collecting(command, None).unwrap()
    }

    #[test]
    fn stdout_and_stderr_keep_their_order() {
        let ended = shell("echo a; echo b >&2; echo c; printf d >&2; exit 3");
        assert_eq!(String::from_utf8(ended.output).unwrap(), "a\nb\nc\nd");
        assert_eq!(ended.process.status.code(), Some(3));
    }

    #[test]
    fn more_than_a_pipe_holds_arrives_whole() {
        let ended = shell("head -c 3000001 /dev/zero");
        assert_eq!(ended.output.len(), 3_000_001);
    }

    #[test]
    fn a_process_left_behind_is_not_waited_for_and_loses_nothing_that_was_written() {
        // The one left behind ends when this test's own pipe closes: no clock is involved.
        let (hold, release) = pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "cat <&0 >/dev/null & head -c 50000 /dev/zero; exit 0"]).stdin(hold);
        let ended = run_collecting(command, None).unwrap();
        assert_eq!(ended.output.len(), 50_000);
        assert_eq!(ended.process.status.code(), Some(0));
        drop(release);
    }

    #[test]
    fn who_is_in_time_is_left_alone() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo done; exit 3"]);
        let ended = run_collecting(command, Some(Duration::from_secs(3600))).unwrap();
        assert_eq!(
            (ended.process.timed_out, ended.process.status.code(), ended.output.as_slice()),
            (false, Some(3), b"done\n".as_slice())
        );
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        let error = run_collecting(Command::new("/nonexistent/program"), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
