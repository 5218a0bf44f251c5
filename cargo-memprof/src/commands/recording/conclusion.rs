//! The end of a run, once cargo has ended: the report is written, or the user learns why there is none.

use super::{CargoExit, Done, Recording};
use crate::collect::run_facts::RunFacts;
use crate::context::options::Task;
use crate::inject::build::rustc;
use crate::inject::harness::{self, compile};
use crate::protocol::run_log::Trace;
use crate::report;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::interrupt;
use camino::Utf8Path;
use memprof_profile::view::amount::plural;

impl Recording<'_> {
    pub(super) fn conclude(&self, facts: &RunFacts, exit: &CargoExit) -> Result<Done, Error> {
        // Cargo may have heard of the signal before we have.
        let interrupted = interrupt::requested().or(Some(exit.code).filter(|_| exit.interrupted));
        // A program is often ended so, and what it did until then is what its user wants to see.
        if let Some(code) = interrupted
            && (self.options.task != Task::Run || facts.ran.is_empty())
        {
            return self.keep_interrupted(facts, code);
        }
        if let Some(failure) = &exit.harness_failure
            && self.harness_missed().exists()
        {
            let help = match compile::is_about_the_text(failure) {
                true => format!("{} may be too new or too old for cargo-memprof {}", facts.rustc, harness::VERSION),
                false => "see to what the compiler says, and run again".to_owned(),
            };
            return Err(Error::new("cannot profile the tests: the memprof harness does not compile")
                .caused_by(failure)
                .help(help));
        }
        if self.options.cargo.only_asks {
            // No test ran, so the outputs of the run before are still the latest.
            return Ok(Done::without_outputs(exit.code));
        }
        // A test executable makes the ledgers' folder again, and nobody makes this one.
        if !self.folders.lists().exists() {
            let error = removed_scratch(&self.folders.scratch);
            // Where tests failed, that is what scripts wait for.
            return Err(if exit.code == ExitCode::OK { error } else { error.with_code(exit.code) });
        }
        if facts.ran.is_empty() {
            if self.folders.scratch.join(rustc::BENCH_REFUSED).exists() && exit.code != ExitCode::OK {
                return Err(unstable_benchmarks(&self.options.command, &facts.rustc).with_code(exit.code));
            }
            if exit.code == ExitCode::OK && !self.options.cargo.no_run {
                self.shell.note("cargo ran no tests, so there is nothing to profile");
            }
            if !self.options.cargo.no_run && facts.out_dir.join(report::SUMMARY).exists() {
                self.shell.note(&of_before(facts));
            }
            return Ok(Done::without_outputs(exit.code));
        }
        interrupt::end_at_once(
            Error::new("the report was interrupted")
                .caused_by("the tests have run, but their profiles were not written")
                .help("run it again"),
        );
        let written = report::write(facts, self.shell);
        self.keep_or_drop_ledgers()?;
        match written {
            Ok(written) => {
                let not_recorded = !(written.not_recorded.is_empty() && written.removed.is_empty());
                if !written.not_recorded.is_empty() && exit.code == ExitCode::OK {
                    self.shell.error(&no_recording(&written.not_recorded));
                }
                if !written.removed.is_empty() {
                    self.shell.error(&removed_recordings(&written.removed, &facts.ledgers));
                }
                let not_recorded = not_recorded && exit.code == ExitCode::OK;
                let was_to_be_recorded = facts.ran.iter().any(|executable| executable.leaves != Trace::Nothing);
                if written.tests == 0 && written.without_trace == 0 && was_to_be_recorded {
                    self.shell.note(match (exit.code == ExitCode::OK, facts.run_options.only.is_empty()) {
                        // Such as a flag that the program does not know: no filter is to blame.
                        (false, true) => "no test was recorded; why the command failed stands above",
                        (true, true) => "no test was run: they are ignored, or no name fits the filter",
                        (_, false) => "no test was profiled: `--memprof-only` fits none that ran",
                    });
                }
                if !written.produced && facts.out_dir.join(report::SUMMARY).exists() {
                    self.shell.note(&of_before(facts));
                }
                let interrupted = facts.interrupted;
                let outputs = written.produced.then(|| facts.out_dir.clone());
                Ok(Done { code: exit.code, not_recorded, interrupted, outputs })
            }
            // Tests that failed are the more important news, and their code is what scripts wait for.
            Err(error) if exit.code != ExitCode::OK => {
                self.shell.error(&error);
                Ok(Done::without_outputs(exit.code))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn keep_or_drop_ledgers(&self) -> Result<(), Error> {
        self.folders.replace_kept_ledgers(self.options.own.keep_ledgers).map_err(|error| {
            Error::new(format!("cannot replace the ledgers in `{}`", self.folders.kept()))
                .caused_by(error)
                .with_code(ExitCode::OUTPUT)
        })
    }

    /// Writes what was recorded until the user stopped the run. It is marked, so that nobody takes it for the whole.
    pub(super) fn keep_interrupted(&self, facts: &RunFacts, code: ExitCode) -> Result<Done, Error> {
        // A second signal ends all at once. The first may yet come, where cargo has heard of it before we have.
        let written = report::write(facts, self.shell);
        // Kept where they are asked for; what cannot be done on the way out is not what the user has to know now.
        let _ = self.keep_or_drop_ledgers();
        let (tests, produced) = written.map_or((0, false), |written| (written.tests, written.produced));
        let help = if produced {
            format!("what they did until then is in `{}`; `accept` will not take it", facts.out_dir)
        } else if facts.out_dir.join(report::SUMMARY).exists() {
            format!("no profiles were written; {}", of_before(facts))
        } else {
            "no profiles were written".to_owned()
        };
        let begun = if tests == 1 { "1 test had begun".to_owned() } else { format!("{tests} tests had begun") };
        self.shell.error(&Error::new("the run was interrupted").caused_by(begun).help(help));
        let outputs = produced.then(|| facts.out_dir.clone());
        Ok(Done { code, not_recorded: false, interrupted: true, outputs })
    }
}

fn no_recording(targets: &[String]) -> Error {
    Error::new(format!("cannot record {}", targets.join(", ")))
        .caused_by("the harness is in it, it ran to its end, and it left no recording")
        .help("see whether its tests go past `main`, or something empties the environment before it; if not, please report it")
}

/// Names of tests that the terminal has; `summary.json` has all.
const NAMED: usize = 20;

fn removed_recordings(tests: &[String], ledgers: &Utf8Path) -> Error {
    let named: Vec<String> = tests.iter().take(NAMED).map(|test| format!("`{test}`")).collect();
    let more = match tests.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more (`not_run` in summary.json)"),
    };
    Error::new(format!("cannot report on {}: {}{more}", plural(tests.len(), "test"), named.join(", ")))
        .caused_by(format!("they ran, and their recordings were removed from `{ledgers}` before all tests had ended"))
        .help("see which test removes files that it did not make")
}

/// The folder that the run worked in is gone, and with it whatever was recorded.
fn removed_scratch(scratch: &Utf8Path) -> Error {
    Error::new("cannot report on the tests")
        .caused_by(format!("`{scratch}`, where they were recorded, was removed before all of them had ended"))
        .help("see which test removes files that it did not make, such as the whole target folder")
        .with_code(ExitCode::NOT_RECORDED)
}

fn of_before(facts: &RunFacts) -> String {
    format!("what is in `{}` is of an earlier run", facts.out_dir)
}

/// What rustc said at length, in short.
fn unstable_benchmarks(command: &str, rustc: &str) -> Error {
    Error::new(format!("cannot run `{command}`"))
        .caused_by(format!("`#[bench]` is unstable, like the feature `test` that goes with it, and {rustc} is no nightly compiler"))
        .help("use one (`cargo +nightly memprof bench`), or a bench target with a harness of its own, such as criterion's")
}
