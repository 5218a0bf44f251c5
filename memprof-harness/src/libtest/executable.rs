//! The executable of this process, which its children run.

use crate::emulator::Emulator;
use crate::own_file;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The file this process runs.
pub(super) struct Executable {
    pub(super) path: PathBuf,
    /// Device and inode: what the path meant when the run began.
    file: (u64, u64),
    /// The kernel started it, and not the loader.
    is_started: bool,
    emulator: Emulator,
}

impl Executable {
    pub(super) fn current(emulator: Emulator) -> io::Result<Executable> {
        let path = own_file::path()?;
        let file = file_id(&path)?;
        let is_started = own_file::mapped().is_none();
        Ok(Executable { path, file, is_started, emulator })
    }

    /// A child with these arguments, its name first. A build in mid-run may put another file at our path, whose list of tests is
    /// another; the kernel still has ours.
    ///
    /// # Errors
    /// Where ours cannot be had: an emulator, and the loader, read the file by its path.
    pub(super) fn command(&self, arguments: &[OsString]) -> io::Result<Command> {
        let ours = file_id(&self.path).is_ok_and(|file| file == self.file);
        if !ours && !(self.is_started && self.emulator.is_none()) {
            return Err(io::Error::other("another file was put in the place of its executable"));
        }
        let mut command = self.emulator.command(if ours { &self.path } else { Path::new(own_file::STARTED) });
        let mut arguments = arguments.iter();
        let name = arguments.next().filter(|_| self.emulator.is_none());
        if let Some(name) = name {
            command.arg0(name);
        }
        command.args(arguments);
        Ok(command)
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
