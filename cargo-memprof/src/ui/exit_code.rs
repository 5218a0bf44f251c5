//! Every code `cargo memprof` ends with. Whatever `cargo` itself ends with is passed on unchanged, in particular 101
//! for a crate that does not compile and for tests that fail.

use std::process;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// The tests passed and the outputs are written.
    pub const OK: ExitCode = ExitCode(0);
    /// The command line cannot be understood; nothing was run.
    pub const USAGE: ExitCode = ExitCode(2);
    /// Something that must stand before the tests can run does not: the harness does not compile, a folder cannot be
    /// written, `cargo` cannot be started.
    pub const SET_UP: ExitCode = ExitCode(3);
    /// The tests ran and passed, but their profiles could not be written.
    pub const OUTPUT: ExitCode = ExitCode(4);
    /// The tests passed, and at least one of them allocates more than it may; or less, and the policy has a ratchet.
    pub const OVER_BUDGET: ExitCode = ExitCode(5);
    /// The tests passed, and they, or some of them, cannot be compared: there is no baseline, it was recorded under
    /// other conditions, a test that is in it did not run, or nothing was compared at all.
    pub const CANNOT_COMPARE: ExitCode = ExitCode(6);
    /// The tests passed, and a target that carries the harness left no recording, for no reason that is known.
    pub const NOT_RECORDED: ExitCode = ExitCode(7);
    /// `cargo`'s own code. Codes beyond a byte do not exist on Unix; elsewhere they are reported as cargo's 101.
    pub fn of_cargo(code: i32) -> ExitCode {
        ExitCode(u8::try_from(code).unwrap_or(101))
    }

    /// What shells make of a process that `signal` ended, such as 130 for Ctrl-C.
    pub fn of_signal(signal: i32) -> ExitCode {
        ExitCode(u8::try_from(128 + signal).unwrap_or(101))
    }

    /// The number itself.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> process::ExitCode {
        process::ExitCode::from(code.0)
    }
}
