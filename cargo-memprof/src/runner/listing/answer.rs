//! The answer of a program that was asked what it has: tests, benchmarks, or neither.

use crate::context::frameworks::Framework;
use crate::ui::error::Error;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a program said.
pub enum Answer {
    /// It has these tests, which are to be run.
    Tests(Tests),
    /// It has benchmarks, which are to be measured.
    Benchmarks(Benchmarks),
    /// It is to be run as one; the reason where the user should know it.
    Whole(Option<String>),
    /// It was not asked to run tests.
    NoRun,
}

/// The tests of a program.
pub struct Tests {
    pub names: Vec<String>,
    /// They run on threads that the program starts for them, and what its main thread does is the harness's.
    pub on_threads: bool,
    /// What of such a process is recorded, as the harness reads it; `None` = as `on_threads` says.
    pub window: Option<String>,
    /// Processes to run at once.
    pub jobs: usize,
    /// Gives the arguments by which the program runs the one of this name; the second are those of the user.
    pub alone: Alone,
}

/// See [`Tests::alone`].
pub type Alone = Box<dyn Fn(&str, &[OsString]) -> Vec<OsString> + Send + Sync>;

impl Tests {
    /// Does `run` with each of `names`, as many at once as there may be processes.
    ///
    /// # Errors
    /// The first that `run` gives.
    pub fn run_each(&self, names: &[&str], run: impl Fn(&str) -> Result<(), Error> + Sync) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), Error> {
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                run(name)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.min(names.len())).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        })
    }
}

/// A program's benchmarks.
pub struct Benchmarks {
    /// `None`: it lists them as libtest does, and nothing is known of what it does around them.
    pub framework: Option<&'static Framework>,
    /// Without names where only a run tells them.
    pub tests: Tests,
    /// What the user should know of those that are missing.
    pub remark: Option<String>,
}
