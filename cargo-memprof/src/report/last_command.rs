//! `last-command.json`: the result of the last command that wrote, or would have written, into the folder. Where a command ran no test, the
//! outputs of an earlier one stay, and this file says so.

use crate::files::intake;
use crate::files::outlet;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// Its name in the folder of the outputs.
pub const LAST_COMMAND: &str = "last-command.json";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommand {
    /// As the user gave it.
    #[serde(deserialize_with = "intake::line")]
    pub command: String,
    /// What it ended with; `None` = it has not ended, or was killed.
    pub exit: Option<u8>,
    /// The outputs in the folder are its own.
    pub produced: bool,
    /// The user stopped it.
    pub interrupted: bool,
}

/// A command that is at work. Until it has ended, the folder's outputs count as those of before.
#[derive(Debug)]
pub struct Running {
    out: Utf8PathBuf,
    last: LastCommand,
}

impl Running {
    /// `command` begins. Its outputs go to `out`, which exists.
    ///
    /// # Errors
    /// Where the file is somebody else's, or cannot be written.
    pub fn begin(out: &Utf8Path, command: &str) -> Result<Running, Error> {
        let there = out.join(LAST_COMMAND);
        if there.symlink_metadata().is_ok() && LastCommand::read(out).is_none() {
            return Err(cannot_write(out)
                .caused_by(format!("`{there}` is there already, and `cargo memprof` did not write it"))
                .help("move it away, or pass another folder: `--memprofile DIR`"));
        }
        let last = LastCommand { command: command.to_owned(), exit: None, produced: false, interrupted: false };
        let running = Running { out: out.to_owned(), last };
        running.write()?;
        Ok(running)
    }

    /// It has ended with `exit`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn end(mut self, exit: ExitCode, produced: bool, interrupted: bool) -> Result<(), Error> {
        (self.last.exit, self.last.produced, self.last.interrupted) = (Some(exit.get()), produced, interrupted);
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        let text = serde_json::to_string(&self.last).expect("plain values can be written as JSON");
        let written = outlet::put(self.out.join(LAST_COMMAND), format!("{text}\n"));
        written.map_err(|error| cannot_write(&self.out).caused_by(error))
    }
}

impl LastCommand {
    /// `None` = there is none, or none of ours.
    pub fn read(out: &Utf8Path) -> Option<LastCommand> {
        let bytes = intake::read_unlinked(out.join(LAST_COMMAND).as_std_path()).ok()?;
        intake::json(&bytes).ok()
    }

    /// Looks whether the outputs in `out` are those of the last command. Where it left no word, as commands of older
    /// versions did, they count as its own.
    ///
    /// # Errors
    /// Where they are of before; `request` says what cannot be done then.
    pub fn must_have_produced(out: &Utf8Path, request: &str) -> Result<(), Error> {
        let Some(last) = LastCommand::read(out).filter(|last| !last.produced) else { return Ok(()) };
        let ended = match last.exit {
            Some(exit) => format!("ended with {exit} and recorded nothing"),
            None => "did not come to its end".to_owned(),
        };
        Err(Error::new(request)
            .caused_by(format!("`{}` {ended}; what is in `{out}` is of an earlier run", last.command))
            .help("run the tests again")
            .with_code(ExitCode::CANNOT_COMPARE))
    }
}

fn cannot_write(out: &Utf8Path) -> Error {
    Error::new(format!("cannot write to `{out}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_the_last_commands_only_once_it_has_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let out = Utf8Path::from_path(folder.path()).unwrap();
        assert!(LastCommand::must_have_produced(out, "x").is_ok());
        let running = Running::begin(out, "cargo memprof test").unwrap();
        let error = LastCommand::must_have_produced(out, "cannot compare").unwrap_err();
        assert!(error.causes()[0].starts_with("`cargo memprof test` did not come to its end"), "{error}");
        running.end(ExitCode::of_cargo(101), false, false).unwrap();
        let error = LastCommand::must_have_produced(out, "cannot compare").unwrap_err();
        assert!(error.causes()[0].contains("ended with 101 and recorded nothing"), "{error}");
        Running::begin(out, "again").unwrap().end(ExitCode::OK, true, false).unwrap();
        assert!(LastCommand::must_have_produced(out, "x").is_ok());
        fs_err::write(out.join(LAST_COMMAND), "mine").unwrap();
        assert!(Running::begin(out, "again").unwrap_err().causes()[0].contains("did not write it"));
    }
}
