//! A run from its beginning to its end: the folders and the harness are made ready, cargo does the work, and the facts
//! go to the report.

use crate::collect::targets;
use crate::conditions::{self, Conditions};
use crate::config::{Config, ListLimit};
use crate::context::env::{self, Saved};
use crate::context::{Context, machine, test_filter};
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::folders::{self, Folders};
use crate::git::Git;
use crate::inject::harness::{Compiler, Form, Hooked, Wanted};
use crate::inject::{depot, harness, rustc, rustdoc};
use crate::interrupt;
use crate::options::{self, Task, TestOptions};
use crate::protocol;
use crate::protocol::plan::{self, Plan};
use crate::protocol::run_log::Trace;
use crate::protocol::stand_in::{self, StandIn};
use crate::protocol::way::Way;
use crate::protocol::{build_script, run_log};
use crate::provenance::Provenance;
use crate::report;
use crate::run::RunFacts;
use crate::shell::Shell;
use crate::surroundings::{Surroundings, absolute, triple};
use crate::toolchain::Toolchain;
use crate::view::amount::plural;
use crate::workspace::Workspace;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_harness::modes::{Modes, StackDepth};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::JoinHandle;

/// Runs the tests and reports on them.
///
/// # Errors
/// Where something of ours fails; what cargo says and ends with is passed on.
pub fn record(options: &TestOptions, here: &Context<'_>) -> Result<Done, Error> {
    let Context { surroundings, workspace, shell, git } = here;
    let libtest = Way::asked()?;
    let config = Config::read(&workspace.root, &workspace.metadata)?;
    let (list_limit, depth) = (config.list_limit, options.own.stack_depth.or(config.stack_depth));
    let toolchain = Toolchain::ask(surroundings.rustc())?;
    machine::refuse_others(&toolchain.rustc, &surroundings.targets(&toolchain.host))?;
    if options.own.native {
        refuse_native(&surroundings.targets(&toolchain.host))?;
    }
    let target_dir = surroundings.target_dir(workspace)?;
    let out_dir = options.own.folder.as_ref().map(|folder| absolute(folder, "--memprofile")).transpose()?;
    let built_for = if options.own.native { folders::BUILD_NATIVE } else { folders::BUILD };
    let folders = Folders::make(&target_dir, out_dir, built_for, &harness::build_key(libtest))?;
    report::check(&folders.out)?;
    let asks = options.cargo.only_asks || options.cargo.no_run;
    let running = (!asks).then(|| report::Running::begin(&folders.out, &options.command)).transpose()?;
    interrupt::watch(folders.scratch.clone().into())
        .map_err(|error| Error::new("cannot watch for Ctrl-C").caused_by(error))?;
    if options.own.rate.get() == 0 {
        shell.note("a rate of 0 records counts and no stacks (unlike Go, where it means the default rate)");
    }
    let git = git.as_ref();
    let shares = options.modes.partition.is_some();
    let provenance = shares.then(|| Provenance::look(&workspace.root, &options.cargo));
    let run = Run {
        options,
        surroundings,
        workspace,
        toolchain: &toolchain,
        libtest,
        folders: &folders,
        shell,
        git,
        list_limit,
        depth,
        provenance,
    };
    let done = run.to_its_end(target_dir);
    if let Ok(Done { code, outputs: None, .. }) = &done
        && *code != ExitCode::OK
    {
        // What nobody knows has been refused.
        options.suggestions.iter().for_each(|suggestion| shell.note(suggestion));
    }
    if let Some(running) = running {
        let (exit, produced, interrupted) = match &done {
            Ok(done) => (done.exit_code(), done.outputs.is_some(), done.interrupted),
            Err(error) => (error.code(), false, interrupt::requested().is_some()),
        };
        let said = running.end(exit, produced, interrupted);
        // What went wrong before is the more important news.
        return done.and_then(|done| said.map(|()| done));
    }
    done
}

/// Refuses `--native` where one of `targets` has no C library that can be hooked.
fn refuse_native(targets: &[String]) -> Result<(), Error> {
    match targets.iter().find_map(|target| Hooked::Native.refusal(target, None)) {
        None => Ok(()),
        Some(refusal) => Err(Error::usage("cannot use `--native`")
            .caused_by(refusal)
            .help("run without it: what is allocated through Rust's global allocator is recorded on every target")),
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Done {
    /// Cargo's.
    pub code: ExitCode,
    /// Something that was to be recorded left no recording, and nobody knows why.
    pub not_recorded: bool,
    /// The user stopped it: what is in its outputs is what was recorded until then.
    pub interrupted: bool,
    /// Where its outputs are; `None` = it left none, and those of before are still there.
    pub outputs: Option<Utf8PathBuf>,
}

impl Done {
    fn without_outputs(code: ExitCode) -> Done {
        Done { code, not_recorded: false, interrupted: false, outputs: None }
    }

    /// What a command ends with that only runs the tests.
    pub fn exit_code(&self) -> ExitCode {
        match self.code {
            ExitCode::OK if self.not_recorded => ExitCode::NOT_RECORDED,
            code => code,
        }
    }
}

fn conditions_of(
    options: &TestOptions,
    surroundings: &Surroundings<'_>,
    toolchain: &Toolchain,
    default: Option<&str>,
) -> Conditions {
    let targets = surroundings.targets(&toolchain.host);
    // The host is always among them, last where others are asked for.
    let targets: Vec<String> = targets.iter().take(targets.len().max(2) - 1).map(|target| triple(target)).collect();
    Conditions {
        rustc: toolchain.release.clone(),
        target: targets.join(","),
        profile: options.cargo.profile.clone().unwrap_or_else(|| options.task.usual_profile().into()),
        features: conditions::features(&options.cargo, default),
        seeds: if options.modes.deterministic { "fixed" } else { "random" }.into(),
        counting: if options.own.native { conditions::COUNTING_NATIVE } else { conditions::COUNTING },
    }
}

/// What there is when the tests can start.
struct Run<'a> {
    /// How many frames of a stack are kept, where it is said.
    depth: Option<StackDepth>,
    options: &'a TestOptions,
    surroundings: &'a Surroundings<'a>,
    workspace: &'a Workspace,
    toolchain: &'a Toolchain,
    libtest: Way,
    folders: &'a Folders,
    shell: &'a Shell,
    /// See [`Context::git`].
    git: Option<&'a Git>,
    list_limit: ListLimit,
    provenance: Option<Provenance>,
}

/// How cargo and the compilation of the harness ended.
struct Ended {
    code: ExitCode,
    /// Cargo died of a signal by which users end programs.
    interrupted: bool,
    /// What kept the harness from being compiled; `None` = it stands.
    harness_failure: Option<String>,
}

impl Run<'_> {
    fn to_its_end(&self, target_dir: Utf8PathBuf) -> Result<Done, Error> {
        let ended = self.cargo_test()?;
        let ran = targets::identify(self.workspace, run_log::read(&self.ran_file()));
        let mut conditions =
            conditions_of(self.options, self.surroundings, self.toolchain, self.workspace.default_package());
        if ran.iter().any(|executable| executable.listed) {
            conditions.counting += conditions::LISTED;
        }
        let facts = RunFacts {
            rate: self.options.own.rate.get(),
            command: self.options.command.clone(),
            rustc: self.toolchain.version.clone(),
            cargo_profile: self
                .options
                .cargo
                .profile
                .clone()
                .unwrap_or_else(|| self.options.task.usual_profile().into()),
            host: self.toolchain.host.clone(),
            conditions,
            modes: self.options.modes.clone(),
            provenance: self.provenance.as_ref().map(|one| one.with_lock(&self.workspace.root)),
            last_attempts: self.options.task == Task::Nextest,
            filtered: test_filter::is_filtered(&self.options.cargo),
            target_dir,
            out_dir: self.folders.out.clone(),
            ledgers: self.folders.ledgers(),
            lists: self.folders.lists(),
            workspace_root: self.workspace.root.clone(),
            places: targets::places(self.workspace),
            ran,
            cargo_exit: i32::from(ended.code.get()),
            interrupted: ended.interrupted || interrupt::requested().is_some(),
        };
        self.conclude(&facts, &ended)
    }

    fn cargo_test(&self) -> Result<Ended, Error> {
        if self.options.task == Task::Nextest {
            self.look_for_nextest()?;
        }
        // The link must live as long as cargo does.
        let (program, _link) = callable_name()?;
        let plan = self.plan();
        let mut command = self.command(&program, &plan)?;
        let harness = self.build_harness(&plan)?;
        let shown = options::shown(std::iter::once(command.get_program()).chain(command.get_args()));
        let mut child = command.spawn().map_err(|error| {
            Error::new("cannot run the tests").caused_by(format!("`{shown}`: {error}")).help("is cargo in PATH?")
        })?;
        interrupt::runs(Some(child.id()));
        let status = child.wait();
        interrupt::runs(None);
        let status = status.map_err(|error| Error::new("cannot wait for cargo").caused_by(error))?;
        let harness_failure = harness.and_then(|thread| thread.join().unwrap_or_else(|_| Some("it panicked".into())));
        let interrupted = status.signal().is_some_and(interrupt::is_meant);
        Ok(Ended { code: code_of(status), interrupted, harness_failure })
    }

    fn plan(&self) -> Plan {
        let host = &self.toolchain.host;
        let targets = self.surroundings.targets(host);
        let depot = depot::find(self.folders.build.join("harness").into());
        let places = |hooked| {
            let place = |target: &String| (target.clone(), harness::place(&depot, self.toolchain, target, hooked));
            targets.iter().map(place).collect()
        };
        let names = targets.iter().map(|target| env::runner_of(&triple(target)));
        let taken = [env::RUSTC_WRAPPER, env::RUSTDOC, env::PLAN, env::CFLAGS, env::CXXFLAGS];
        let names = names.chain(taken.map(String::from));
        Plan {
            driver: std::process::id(),
            wrapper: self.surroundings.wrapper(),
            rustc: self.toolchain.sysroot.join("bin/rustc"),
            rustc_version: self.toolchain.version.clone(),
            nightly: self.toolchain.is_nightly(),
            rustdoc: self.surroundings.rustdoc(),
            links: self.folders.scratch.clone().into(),
            bootstrap: std::env::var_os(env::RUSTC_BOOTSTRAP),
            host: host.clone(),
            harness: places(self.hooked()),
            libtest: self.libtest,
            native: self.options.own.native,
            native_harness: places(Hooked::Native),
            harness_pending: self.folders.scratch.join("harness-pending").into(),
            harness_missed: self.harness_missed(),
            runners: self.surroundings.runners(&targets, host),
            saved: Saved::capture(names, |name| std::env::var_os(name)),
            around: Saved::capture(build_script::names().map(String::from), |name| {
                self.surroundings.variable(name).map(OsString::from)
            }),
            rate: self.options.own.rate.get(),
            tests: self.options.task != Task::Run,
            modes: self.modes_of_tests(),
            workspace_root: self.workspace.root.clone().into(),
            list_limit: self.list_limit.0,
            ledgers: self.folders.ledgers().into(),
            ran: self.ran_file(),
            stand_in: self.stand_in(),
        }
    }

    /// What the tests find in cargo's place; `None` where it cannot be made, and what they have cargo run is not recorded.
    fn stand_in(&self) -> Option<StandIn> {
        let cargo = [PathBuf::from(self.surroundings.cargo()), self.toolchain.sysroot.join("bin/cargo")];
        let cargo = cargo.into_iter().find(|cargo| cargo.is_absolute() && cargo.exists())?;
        let exe = std::env::current_exe().ok()?;
        StandIn::make(self.folders.build.join(stand_in::NAME).into(), &exe, &cargo).ok()
    }

    fn hooked(&self) -> Hooked {
        if self.options.own.native { Hooked::Native } else { Hooked::Rust }
    }

    fn look_for_nextest(&self) -> Result<(), Error> {
        let asked = Command::new(self.surroundings.cargo()).args(["nextest", "--version"]).output();
        let cause = match asked {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed").to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Error::new(format!("cannot run `{}`", self.options.command))
            .caused_by(format!("`cargo nextest --version`: {}", cause.trim_start_matches("error: ")))
            .help("install nextest (https://nexte.st), or use `cargo memprof test`"))
    }

    /// What test executables are to know of how they are run; `None` = nothing.
    fn modes_of_tests(&self) -> Option<String> {
        let mut modes = self.options.modes.clone();
        if self.options.task == Task::Nextest {
            // It leaves out what is not in its share.
            modes.partition = None;
        }
        modes.depth = self.depth;
        (modes != Modes::default()).then(|| modes.to_string())
    }

    fn harness_missed(&self) -> PathBuf {
        self.folders.scratch.join("harness-missed").into()
    }

    fn ran_file(&self) -> PathBuf {
        self.folders.scratch.join("ran").into()
    }

    fn command(&self, program: &Path, plan: &Plan) -> Result<Command, Error> {
        let plan_file = self.folders.scratch.join(plan::FILE);
        plan.write(plan_file.as_std_path())?;
        let mut command = Command::new(self.surroundings.cargo());
        if let Some(git) = self.git {
            git.hide_from(&mut command);
        }
        let given = &self.options.cargo.given;
        let (before, after) = given.split_at(given.iter().position(|arg| arg == "--").unwrap_or(given.len()));
        command.arg(self.options.task.name());
        command.args((self.options.task == Task::Nextest).then_some("run"));
        command.arg("--target-dir").arg(&self.folders.build).args(before);
        for target in plan.harness.keys() {
            let triple = triple(target);
            let mut runner = OsString::from(program);
            runner.push(format!(" {} {triple}", protocol::RUNNER));
            if let Some(list) = self.surroundings.runner_by_flag(&triple) {
                let text = runner.to_string_lossy();
                let words: Vec<&str> = text.split(' ').collect();
                let value = if list { serde_json::json!(words) } else { serde_json::json!(text) };
                command.arg("--config").arg(format!("target.\"{triple}\".runner={value}"));
            }
            command.env(env::runner_of(&triple), runner);
        }
        if self.surroundings.has_build_dir() {
            let folder = serde_json::json!(self.folders.build);
            command.arg("--config").arg(format!("build.build-dir={folder}"));
        }
        command.args(after);
        if self.options.modes.deterministic && env::non_empty(env::RUST_TEST_THREADS).is_none() {
            // libtest's flag, where it is given, wins over its variable.
            command.env(env::RUST_TEST_THREADS, "1");
        }
        if self.options.stdout_is_taken {
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            command.stdout(stderr.map_err(|error| Error::new("cannot use stderr").caused_by(error))?);
        }
        if self.options.own.native {
            for name in [env::CFLAGS, env::CXXFLAGS] {
                command.env(name, env::with_frame_pointers(self.surroundings.variable(name)));
            }
        }
        let exe = std::env::current_exe().map_err(|error| cannot_call_back(&error))?;
        for name in [rustdoc::COMPILER, protocol::DOCTEST_PROCESS] {
            fs_err::os::unix::fs::symlink(&exe, plan.links.join(name)).map_err(|error| cannot_call_back(&error))?;
        }
        // The same in every run: a build script may ask to be run again where the variable changes.
        let rustdoc = self.folders.build.join(rustdoc::FOLDER).join(rustdoc::NAME);
        stand_in::put_link(&exe, rustdoc.as_std_path()).map_err(|error| cannot_call_back(&error))?;
        command.env(env::RUSTDOC, rustdoc);
        command.env(env::RUSTC_WRAPPER, exe).env(env::PLAN, plan_file);
        Ok(command)
    }

    /// Starts compiling the harnesses that are missing, beside cargo. The thread gives what went wrong.
    fn build_harness(&self, plan: &Plan) -> Result<Option<JoinHandle<Option<String>>>, Error> {
        let missing = |places: &BTreeMap<String, PathBuf>, forms: &[Form]| -> Vec<(String, PathBuf)> {
            let missing = places.iter().filter(|(_, place)| !depot::claim(place, forms));
            missing.map(|(target, place)| (target.clone(), place.clone())).collect()
        };
        // That for tests first: the others are needed later or never.
        let forms: &[Form] = if plan.libtest == Way::List { &[Form::Program] } else { &Form::ALL };
        let needed = missing(&plan.harness, forms);
        let likely = if self.expects_own_allocators() { missing(&plan.native_harness, &forms[..1]) } else { vec![] };
        if needed.is_empty() && likely.is_empty() {
            return Ok(None);
        }
        let pending = harness::Pending::declare(plan.harness_pending.clone())
            .map_err(|error| Error::new("cannot prepare the run").caused_by(error))?;
        let what = format!("memprof-harness v{} (rustc {})", harness::VERSION, self.toolchain.release);
        self.shell.status("Compiling", &what);
        let compiler = Compiler {
            rustc: self.toolchain.rustc.clone(),
            host: self.toolchain.host.clone(),
            version: self.toolchain.version.clone(),
        };
        let hooked = self.hooked();
        Ok(Some(std::thread::spawn(move || {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // What fails here is told where it is needed.
                    likely.iter().for_each(|(target, place)| {
                        let _ = harness::build(&compiler, target, place, Hooked::Native, forms[0], Wanted::Later);
                    });
                });
                let _pending = pending;
                let build =
                    |(target, place): &(String, PathBuf)| harness::build_all(&compiler, target, place, hooked, forms);
                needed.iter().map(build).find_map(Result::err)
            })
        })))
    }

    /// Whether some crate seems to have a global allocator of its own and to be compiled by this run. Where the user chose what
    /// is compiled, that is seen when it comes to it.
    fn expects_own_allocators(&self) -> bool {
        !self.options.own.native
            && test_filter::choice(&self.options.cargo).is_none()
            && Hooked::Native.refusal(&self.toolchain.host, None).is_none()
            && self.workspace.sources().any(harness::names_an_allocator)
    }

    fn conclude(&self, facts: &RunFacts, ended: &Ended) -> Result<Done, Error> {
        // Cargo may have heard of the signal before we have.
        let interrupted = interrupt::requested().or(Some(ended.code).filter(|_| ended.interrupted));
        // A program is often ended so, and what it did until then is what its user wants to see.
        if let Some(code) = interrupted
            && (self.options.task != Task::Run || facts.ran.is_empty())
        {
            return self.keep_interrupted(facts, code);
        }
        if let Some(failure) = &ended.harness_failure
            && self.harness_missed().exists()
        {
            let help = match harness::is_about_the_text(failure) {
                true => format!("{} may be too new or too old for cargo-memprof {}", facts.rustc, harness::VERSION),
                false => "see to what the compiler says, and run again".to_owned(),
            };
            return Err(Error::new("cannot profile the tests: the memprof harness does not compile")
                .caused_by(failure)
                .help(help));
        }
        if self.options.cargo.only_asks {
            // No test ran, so the outputs of the run before are still the latest.
            return Ok(Done::without_outputs(ended.code));
        }
        // A test executable makes the ledgers' folder again, and nobody makes this one.
        if !self.folders.lists().exists() {
            let error = removed_scratch(&self.folders.scratch);
            // Where tests failed, that is what scripts wait for.
            return Err(if ended.code == ExitCode::OK { error } else { error.with_code(ended.code) });
        }
        if facts.ran.is_empty() {
            if self.folders.scratch.join(rustc::BENCH_REFUSED).exists() && ended.code != ExitCode::OK {
                return Err(unstable_benchmarks(&self.options.command, &facts.rustc).with_code(ended.code));
            }
            if ended.code == ExitCode::OK && !self.options.cargo.no_run {
                self.shell.note("cargo ran no tests, so there is nothing to profile");
            }
            if !self.options.cargo.no_run && facts.out_dir.join(report::SUMMARY).exists() {
                self.shell.note(&of_before(facts));
            }
            return Ok(Done::without_outputs(ended.code));
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
                if !written.not_recorded.is_empty() && ended.code == ExitCode::OK {
                    self.shell.error(&no_recording(&written.not_recorded));
                }
                if !written.removed.is_empty() {
                    self.shell.error(&removed_recordings(&written.removed, &facts.ledgers));
                }
                let not_recorded = not_recorded && ended.code == ExitCode::OK;
                let meant = facts.ran.iter().any(|executable| executable.leaves != Trace::Nothing);
                if written.tests == 0 && written.without_trace == 0 && meant {
                    self.shell.note(match (ended.code == ExitCode::OK, facts.modes.only.is_empty()) {
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
                Ok(Done { code: ended.code, not_recorded, interrupted, outputs })
            }
            // Tests that failed are the more important news, and their code is what scripts wait for.
            Err(error) if ended.code != ExitCode::OK => {
                self.shell.error(&error);
                Ok(Done::without_outputs(ended.code))
            }
            Err(error) => Err(error),
        }
    }

    fn keep_or_drop_ledgers(&self) -> Result<(), Error> {
        self.folders.replace_kept_ledgers(self.options.own.keep_ledgers).map_err(|error| {
            Error::new(format!("cannot replace the ledgers in `{}`", self.folders.kept()))
                .caused_by(error)
                .with_code(ExitCode::OUTPUT)
        })
    }

    /// Writes what was recorded until the user stopped the run. It is marked, so that nobody takes it for the whole.
    fn keep_interrupted(&self, facts: &RunFacts, code: ExitCode) -> Result<Done, Error> {
        // A second signal ends all at once. The first may yet come, where cargo has heard of it before we have.
        let written = report::write(facts, self.shell);
        // Kept where they are asked for; what cannot be done on the way out is not what the user has to know now.
        let _ = self.keep_or_drop_ledgers();
        let (tests, produced) = written.map_or((0, false), |written| (written.tests, written.produced));
        let told = if produced {
            format!("what they did until then is in `{}`; `accept` will not take it", facts.out_dir)
        } else if facts.out_dir.join(report::SUMMARY).exists() {
            format!("no profiles were written; {}", of_before(facts))
        } else {
            "no profiles were written".to_owned()
        };
        let begun = if tests == 1 { "1 test had begun".to_owned() } else { format!("{tests} tests had begun") };
        self.shell.error(&Error::new("the run was interrupted").caused_by(begun).help(told));
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
        .caused_by(format!("`#[bench]` is unstable, and {rustc} is no nightly compiler"))
        .help("use one (`cargo +nightly memprof bench`), or a bench target with a harness of its own, such as criterion's")
}

/// A path of this program without white space, at which cargo would split it, and the folder of the link that the path
/// may need.
fn callable_name() -> Result<(PathBuf, Option<tempfile::TempDir>), Error> {
    let spaced = |path: &Path| path.to_string_lossy().contains(char::is_whitespace);
    let exe = std::env::current_exe().map_err(|error| cannot_call_back(&error))?;
    if !spaced(&exe) {
        return Ok((exe, None));
    }
    let folder = [std::env::temp_dir(), "/var/tmp".into()].into_iter().find(|folder| !spaced(folder));
    let link = |folder: PathBuf| -> std::io::Result<_> {
        let folder = tempfile::Builder::new().prefix("cargo-memprof-").tempdir_in(folder)?;
        let link = folder.path().join("cargo-memprof");
        fs_err::os::unix::fs::symlink(&exe, &link)?;
        Ok((link, Some(folder)))
    };
    link(folder.unwrap_or_default()).map_err(|error| cannot_call_back(&error))
}

fn cannot_call_back(error: &std::io::Error) -> Error {
    Error::new("cannot tell cargo how to call this program back").caused_by(error)
}

/// Cargo's own code; of a signal what shells make of it.
fn code_of(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::of_cargo(code),
        (None, signal) => ExitCode::of_signal(signal.unwrap_or(0)),
    }
}
