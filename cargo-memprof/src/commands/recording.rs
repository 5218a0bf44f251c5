//! A run from its beginning to its end: makes the folders and the harness ready, starts cargo, and gives the facts to
//! the report.

mod call;
mod callback;
mod conclusion;

use crate::collect::run_facts::RunFacts;
use crate::collect::targets;
use crate::context::cargo_env::{CargoEnv, absolute, triple};
use crate::context::conditions::{self, Conditions};
use crate::context::config::{Config, ListLimit};
use crate::context::options::{self, Task, TestOptions};
use crate::context::provenance::Provenance;
use crate::context::target_dir::{self, Folders};
use crate::context::toolchain::Toolchain;
use crate::context::workspace::Workspace;
use crate::context::{Context, machine, test_filter, unit};
use crate::files::outlet;
use crate::gate::policy::Policy;
use crate::git::Git;
use crate::inject::harness::Hooked;
use crate::inject::harness::fingerprint;
use crate::inject::harness::running::Running;
use crate::protocol::run_log;
use crate::protocol::way::Way;
use crate::report;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::interrupt;
use crate::ui::terminal::Shell;
use camino::Utf8PathBuf;
use memprof_harness::run_options::StackDepth;
use memprof_harness::settle::Rules;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// By which rules tests are run again in a run of these conditions; `None` = none is.
pub type RulesFor<'a> = &'a dyn Fn(&Conditions) -> Option<Rules>;

/// Runs the tests and reports on them.
///
/// # Errors
/// Where something of ours fails; what cargo says and ends with is passed on.
pub fn record(options: &TestOptions, context: &Context<'_>, rules: RulesFor<'_>) -> Result<Done, Error> {
    let Context { cargo_env, workspace, shell, git } = context;
    let libtest = Way::from_environment()?;
    let config = Config::<Policy>::read(workspace)?;
    let (list_limit, depth) = (config.list_limit, options.own.stack_depth.or(config.stack_depth));
    let toolchain = Toolchain::ask(cargo_env.rustc())?;
    machine::refuse_others(&toolchain.rustc, &cargo_env.targets(&toolchain.host))?;
    if options.own.native {
        refuse_native(&cargo_env.targets(&toolchain.host))?;
    }
    let target_dir = cargo_env.target_dir(workspace)?;
    let out_dir = options.own.folder.as_ref().map(|folder| absolute(folder, "--memprofile")).transpose()?;
    let built_for = if options.own.native { target_dir::BUILD_NATIVE } else { target_dir::BUILD };
    let folders = Folders::make(&target_dir, out_dir, built_for, &fingerprint::build_key(libtest))?;
    report::check(&folders.out)?;
    let asks = options.cargo.only_asks || options.cargo.no_run;
    let running = (!asks).then(|| report::Running::begin(&folders.out, &options.command)).transpose()?;
    interrupt::watch(Some(folders.scratch.clone().into()))
        .map_err(|error| Error::new("cannot watch for Ctrl-C").caused_by(error))?;
    if options.own.rate.get() == 0 {
        shell.note("a rate of 0 records counts and no stacks (unlike Go, where it means the default rate)");
    }
    let git = git.as_ref();
    let shares = options.run_options.partition.is_some();
    let provenance = shares.then(|| Provenance::look(&workspace.root, &options.cargo));
    let conditions = conditions_of(options, cargo_env, &toolchain, workspace.default_package());
    let rules = rules(&conditions).map(|rules| write_rules(&folders, &rules)).transpose()?;
    let recording = Recording {
        rules,
        conditions,
        options,
        cargo_env,
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
    let done = recording.to_its_end(target_dir);
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
        let recorded_end = running.end(exit, produced, interrupted);
        // What went wrong before is the more important news.
        return done.and_then(|done| recorded_end.map(|()| done));
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
    cargo_env: &CargoEnv<'_>,
    toolchain: &Toolchain,
    default: Option<&str>,
) -> Conditions {
    let targets = cargo_env.targets(&toolchain.host);
    // The host is always among them, last where others are asked for.
    let targets: Vec<String> = targets.iter().take(targets.len().max(2) - 1).map(|target| triple(target)).collect();
    Conditions {
        rustc: toolchain.named(),
        target: targets.join(","),
        profile: options.cargo.profile.clone().unwrap_or_else(|| options.task.usual_profile().into()),
        features: conditions::features(&options.cargo, default),
        seeds: if options.run_options.deterministic { "fixed" } else { "random" }.into(),
        backtrace: unit::switch(run_log::asks_for_backtraces()),
        counting: if options.own.native { conditions::COUNTING_NATIVE } else { conditions::COUNTING },
    }
}

/// Writes the rules where the processes that start tests find them.
fn write_rules(folders: &Folders, rules: &Rules) -> Result<String, Error> {
    let path = folders.scratch.join("rules");
    let failed = |error| Error::new("cannot prepare the run").caused_by(error);
    outlet::put(&path, rules.to_text()).map_err(failed)?;
    Ok(path.into_string())
}

/// What there is when the tests can start.
struct Recording<'a> {
    /// The file with the rules by which tests are run again.
    rules: Option<String>,
    conditions: Conditions,
    /// How many frames of a stack are kept, where it is said.
    depth: Option<StackDepth>,
    options: &'a TestOptions,
    cargo_env: &'a CargoEnv<'a>,
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

/// What cargo ends with where it cannot understand its arguments, and a program that it ran may end with. Where none ran, cargo has built
/// nothing, and nobody waits for a harness.
const REFUSED_ARGUMENTS: i32 = 1;

/// How cargo and the compilation of the harness ended.
struct CargoExit {
    code: ExitCode,
    /// Cargo died of a signal by which users end programs.
    interrupted: bool,
    /// What kept the harness from being compiled; `None` = it stands.
    harness_failure: Option<String>,
}

impl Recording<'_> {
    fn to_its_end(&self, target_dir: Utf8PathBuf) -> Result<Done, Error> {
        let exit = self.cargo_test()?;
        let ran = run_log::read(&self.ran_file());
        let backtraces = ran.iter().any(|one| one.backtraces);
        let ran = targets::identify(self.workspace, ran);
        let mut conditions = self.conditions.clone();
        if ran.iter().any(|executable| executable.listed) {
            conditions.counting += conditions::LISTED;
        }
        if !ran.is_empty() {
            // Cargo's configuration may set the variable for what it runs.
            conditions.backtrace = unit::switch(backtraces);
        }
        let everything = self.options.task == Task::Test
            && exit.code == ExitCode::OK
            && test_filter::choice(&self.options.cargo).is_none();
        let targets = targets::known(self.workspace, &ran, everything);
        let facts = RunFacts {
            rate: self.options.own.rate.get(),
            task: self.options.task.name().to_owned(),
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
            run_options: self.options.run_options.clone(),
            provenance: self.provenance.as_ref().map(|one| one.with_lock(&self.workspace.root)),
            last_attempts: self.options.task == Task::Nextest,
            filtered: test_filter::is_filtered(&self.options.cargo),
            targets,
            settled: self.rules.is_some(),
            packages: conditions::packages(&self.options.cargo, self.workspace),
            target_dir,
            out_dir: self.folders.out.clone(),
            ledgers: self.folders.ledgers(),
            lists: self.folders.lists(),
            workspace_root: self.workspace.root.clone(),
            source_roots: targets::source_roots(self.workspace),
            ran,
            cargo_exit: i32::from(exit.code.get()),
            interrupted: exit.interrupted || interrupt::requested().is_some(),
        };
        self.conclude(&facts, &exit)
    }

    fn cargo_test(&self) -> Result<CargoExit, Error> {
        if self.options.task == Task::Nextest {
            self.look_for_nextest()?;
        }
        // The link must live as long as cargo does.
        let (program, _link) = callback::callable_name()?;
        let plan = self.plan();
        let mut command = self.command(&program, &plan)?;
        let running = Running::default();
        let harness = self.build_harness(&plan, &running)?;
        let shown = options::shown(std::iter::once(command.get_program()).chain(command.get_args()));
        let mut child = command.spawn().map_err(|error| {
            Error::new("cannot run the tests").caused_by(format!("`{shown}`: {error}")).help("is cargo in PATH?")
        })?;
        interrupt::runs(Some(child.id()));
        let status = child.wait();
        interrupt::runs(None);
        let status = status.map_err(|error| Error::new("cannot wait for cargo").caused_by(error))?;
        if status.code() == Some(REFUSED_ARGUMENTS) && !self.ran_file().exists() {
            running.stop();
        }
        let harness_failure = harness.and_then(|thread| thread.join().unwrap_or_else(|_| Some("it panicked".into())));
        let interrupted = status.signal().is_some_and(interrupt::is_meant);
        Ok(CargoExit { code: code_of(status), interrupted, harness_failure })
    }

    fn harness_missed(&self) -> PathBuf {
        self.folders.scratch.join("harness-missed").into()
    }

    fn ran_file(&self) -> PathBuf {
        self.folders.scratch.join("ran").into()
    }
}

/// Cargo's own code; of a signal what shells make of it.
fn code_of(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::of_cargo(code),
        (None, signal) => ExitCode::of_signal(signal.unwrap_or(0)),
    }
}
