//! Runs a program as ever and reads what it writes. Where stdout is a terminal, the program gets a terminal of its own,
//! whose output is passed on letter by letter, so that it writes what it would have written.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

/// What was heard of a program.
pub struct Captured {
    pub status: ExitStatus,
    /// What it wrote to stdout, and to stderr where that is the same; the beginning of it, where it is very much.
    pub text: String,
}

/// Bytes that are remembered.
const MOST: usize = 64 << 20;

/// Runs `command` to its end.
///
/// # Errors
/// Where it could not be started, or waited for.
pub fn run(command: &mut Command) -> io::Result<Captured> {
    let stdout = io::stdout();
    let (listener, speaker) = match stdout.is_terminal() {
        true => terminal(stdout.as_fd())?,
        false => io::pipe().map(|(listener, speaker)| (OwnedFd::from(listener), OwnedFd::from(speaker)))?,
    };
    if is_same(stdout.as_fd(), io::stderr().as_fd()) {
        // So that the two are in their order.
        command.stderr(Stdio::from(speaker.try_clone()?));
    }
    command.stdout(Stdio::from(speaker));
    let mut child = command.spawn()?;
    // They hold the end that it writes to.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let (gone, until_gone) = io::pipe()?;
    let waits = thread::spawn(move || {
        let status = child.wait();
        drop(until_gone);
        status
    });
    let text = pass_on(File::from(listener), &gone);
    let status = waits.join().unwrap_or_else(|_| Err(io::Error::other("the thread that waits for it is gone")))?;
    Ok(Captured { status, text: String::from_utf8_lossy(&text).into_owned() })
}

/// Writes to stdout what comes from `listener`, until nobody can write there any more, or the program is `gone` and all is read
/// that it wrote: what it started may outlive it.
fn pass_on(mut listener: File, gone: &impl AsFd) -> Vec<u8> {
    let mut text = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let mut waited = [PollFd::new(&listener, PollFlags::IN), PollFd::from_borrowed_fd(gone.as_fd(), PollFlags::IN)];
        match poll(&mut waited, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return text,
            Ok(_) => {}
        }
        if waited[0].revents().is_empty() {
            // Nothing is left, and nothing will come.
            return text;
        }
        // A terminal whose other end is closed gives an error, which is an end.
        let read = match listener.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return text,
            Ok(read) => &chunk[..read],
        };
        let mut stdout = io::stdout().lock();
        if stdout.write_all(read).and_then(|()| stdout.flush()).is_err() {
            // The program is to find out as it would have.
            return text;
        }
        let room = MOST.saturating_sub(text.len());
        text.extend_from_slice(&read[..read.len().min(room)]);
    }
}

/// A terminal like `model`, but for what it does with what is written, which `model` will do: the end to read from, and that
/// to write to.
fn terminal(model: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let listener = open_terminal()?;
    grantpt(&listener)?;
    unlockpt(&listener)?;
    let path = ptsname(&listener, Vec::new())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let speaker = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let mut settings = tcgetattr(&speaker)?;
    settings.make_raw();
    tcsetattr(&speaker, OptionalActions::Now, &settings)?;
    if let Ok(size) = tcgetwinsize(model) {
        tcsetwinsize(&speaker, size)?;
    }
    Ok((listener, speaker))
}

/// A new terminal, which no program that is started inherits.
fn open_terminal() -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    #[cfg(target_os = "linux")]
    return Ok(openpt(flags | OpenptFlags::CLOEXEC)?);
    // Elsewhere it cannot be had at once.
    #[cfg(not(target_os = "linux"))]
    {
        let terminal = openpt(flags)?;
        rustix::io::fcntl_setfd(&terminal, rustix::io::FdFlags::CLOEXEC)?;
        Ok(terminal)
    }
}

/// Whether what is written to the one goes where what is written to the other goes.
fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let identity = |file: BorrowedFd<'_>| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
