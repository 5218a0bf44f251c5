//! A run from its beginning to its end: what the user has is looked at, the folders and the harness are made ready,
//! cargo does the work, and the facts go to the report.

use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::folders::Folders;
use crate::inject::cargo_config::{self, CargoConfig};
use crate::inject::env::{self, Saved};
use crate::inject::plan::{self, Plan};
use crate::inject::{harness, ran};
use crate::interrupt;
use crate::options::{CargoArgs, TestOptions};
use crate::report;
use crate::run::RunFacts;
use crate::runner;
use crate::shell::Shell;
use crate::toolchain::Toolchain;
use crate::workspace::{NoWorkspace, Workspace};
use camino::Utf8PathBuf;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::JoinHandle;

/// Runs the tests and reports on them.
///
/// # Errors
/// Where something of ours fails; what cargo says and ends with is passed on.
pub fn test(options: &TestOptions) -> Result<ExitCode, Error> {
    let cargo = cargo();
    let config_flags = config_flags(&options.cargo);
    let (workspace, config) = std::thread::scope(|scope| {
        let workspace = scope.spawn(|| Workspace::ask(&cargo, &workspace_flags(&options.cargo, &config_flags)));
        let config = CargoConfig::ask(&cargo, config_flags.clone());
        (workspace.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), config)
    });
    let shell = shell(&options.cargo, &config);
    let workspace = match workspace {
        Ok(workspace) => workspace,
        Err(NoWorkspace::Failed(error)) => return Err(error),
        Err(NoWorkspace::Refused { stderr, code }) => {
            shell.pass_on(&stderr);
            return Ok(code);
        }
    };
    let toolchain = Toolchain::ask(rustc(&config))?;
    let target_dir = target_dir(&options.cargo, &workspace)?;
    let folders = Folders::make(&target_dir, out_dir(options)?)?;
    interrupt::watch(folders.scratch.clone().into())
        .map_err(|error| Error::new("cannot watch for Ctrl-C").caused_by(error))?;
    if options.own.rate.get() == 0 {
        shell.note("a rate of 0 records counts and no stacks (unlike Go, where it means the default rate)");
    }
    let run = Run { options, cargo: &cargo, config: &config, toolchain: &toolchain, folders: &folders, shell: &shell };
    let ended = run.cargo_test()?;
    let facts = RunFacts {
        rate: options.own.rate.get(),
        command: options.command.clone(),
        rustc: toolchain.version.clone(),
        cargo_profile: options.cargo.profile.clone().unwrap_or_else(|| "test".into()),
        host: toolchain.host.clone(),
        target_dir,
        out_dir: folders.out.clone(),
        ledgers: folders.ledgers(),
        workspace_root: workspace.root.clone(),
        ran: workspace.identify(ran::read(&run.ran_file())),
        cargo_exit: i32::from(ended.code.get()),
        interrupted: interrupt::requested().is_some(),
    };
    run.conclude(&facts, &ended)
}

/// What there is when the tests can start.
struct Run<'a> {
    options: &'a TestOptions,
    cargo: &'a OsStr,
    config: &'a CargoConfig,
    toolchain: &'a Toolchain,
    folders: &'a Folders,
    shell: &'a Shell,
}

/// How cargo and the compilation of the harness ended.
struct Ended {
    code: ExitCode,
    /// What kept the harness from being compiled; `None` = it stands.
    harness_failure: Option<String>,
}

impl Run<'_> {
    fn cargo_test(&self) -> Result<Ended, Error> {
        // The link must live as long as cargo does.
        let (program, _link) = callable_name()?;
        let plan = self.plan();
        let mut command = self.command(&program, &plan)?;
        let harness = self.build_harness(&plan);
        let shown = crate::options::shown(std::iter::once(command.get_program()).chain(command.get_args()));
        let mut child = command.spawn().map_err(|error| {
            Error::new("cannot run the tests").caused_by(format!("`{shown}`: {error}")).help("is cargo in PATH?")
        })?;
        interrupt::runs(Some(child.id()));
        let status = child.wait();
        interrupt::runs(None);
        let status = status.map_err(|error| Error::new("cannot wait for cargo").caused_by(error))?;
        let harness_failure = harness.and_then(|thread| thread.join().unwrap_or_else(|_| Some("it panicked".into())));
        Ok(Ended { code: code_of(status), harness_failure })
    }

    fn plan(&self) -> Plan {
        let targets = self.targets();
        let depot = harness::depot(self.folders.build.join("harness").into());
        let place = |target: &String| (target.clone(), harness::place(&depot, self.toolchain, target));
        let names = targets.iter().map(|target| env::runner_of(&triple(target)));
        let names = names.chain([env::RUSTC_WRAPPER, env::PLAN].map(String::from));
        Plan {
            key: plan::key_line(harness::fingerprint()),
            driver: std::process::id(),
            wrapper: self.user_wrapper(),
            host: self.toolchain.host.clone(),
            harness: targets.iter().map(place).collect(),
            harness_failed: self.folders.scratch.join("harness-failed").into(),
            runners: self.user_runners(&targets),
            saved: Saved::capture(names, |name| std::env::var_os(name)),
            rate: self.options.own.rate.get(),
            ledgers: self.folders.ledgers().into(),
            ran: self.ran_file(),
        }
    }

    fn ran_file(&self) -> PathBuf {
        self.folders.scratch.join("ran").into()
    }

    /// Every target that tests may be compiled for: those asked for, and the host, for which proc macros are.
    fn targets(&self) -> Vec<String> {
        let asked: Vec<String> = if !self.options.cargo.targets.is_empty() {
            self.options.cargo.targets.iter().map(|target| target.to_string_lossy().into_owned()).collect()
        } else if let Some(target) = env::non_empty(env::CARGO_BUILD_TARGET) {
            vec![target.to_string_lossy().into_owned()]
        } else {
            self.config.texts(&["build", "target"])
        };
        let mut targets: Vec<String> = Vec::new();
        for target in asked.into_iter().chain([self.toolchain.host.clone()]) {
            let target = if target == "host-tuple" { self.toolchain.host.clone() } else { target };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    fn user_wrapper(&self) -> Option<OsString> {
        // A variable that is set and empty means none, whatever the configuration says.
        let variable =
            std::env::var_os(env::RUSTC_WRAPPER).or_else(|| std::env::var_os(env::CARGO_BUILD_RUSTC_WRAPPER));
        let variable = variable.map(|program| cargo_config::resolve(&program, || None));
        variable.or_else(|| self.config.program(&["build", "rustc-wrapper"])).filter(|wrapper| !wrapper.is_empty())
    }

    fn user_runners(&self, targets: &[String]) -> BTreeMap<String, Vec<OsString>> {
        let runner = |target: &String| {
            let triple = triple(target);
            let told = self.config.runner(&triple, || {
                let target = Some(target.as_str()).filter(|target| *target != self.toolchain.host);
                cargo_config::cfgs(&self.toolchain.rustc, target)
            });
            let variable = std::env::var(env::runner_of(&triple)).ok();
            let words = variable.map(|text| runner_words(&text));
            // What `--config` says goes above the environment; the files go below it.
            let runner = if self.runner_by_flag(&triple).is_some() { told } else { words.or(told) };
            runner.filter(|words: &Vec<OsString>| !words.is_empty()).map(|words| (target.clone(), words))
        };
        targets.iter().filter_map(runner).collect()
    }

    /// Where the runner of `triple` may come from a `--config` of the user's, which would win over our variable: whether
    /// it is a list, since ours must then be of the same form.
    fn runner_by_flag(&self, triple: &str) -> Option<bool> {
        if self.options.cargo.config.is_empty() {
            return None;
        }
        self.config.is_list(&["target", triple, "runner"])
    }

    fn command(&self, program: &Path, plan: &Plan) -> Result<Command, Error> {
        let plan_file = self.folders.scratch.join("plan.json");
        plan.write(plan_file.as_std_path())?;
        let mut command = Command::new(self.cargo);
        let given = &self.options.cargo.given;
        let (before, after) = given.split_at(given.iter().position(|arg| arg == "--").unwrap_or(given.len()));
        command.arg("test").arg("--target-dir").arg(&self.folders.build).args(before);
        for target in plan.harness.keys() {
            let triple = triple(target);
            let runner = format!("{} {} {target}", program.display(), runner::COMMAND);
            if let Some(list) = self.runner_by_flag(&triple) {
                let words: Vec<&str> = runner.split(' ').collect();
                let value = if list { serde_json::json!(words) } else { serde_json::json!(runner) };
                command.arg("--config").arg(format!("target.\"{triple}\".runner={value}"));
            }
            command.env(env::runner_of(&triple), runner);
        }
        if self.config.text(&["build", "build-dir"]).is_some() || env::non_empty(env::CARGO_BUILD_BUILD_DIR).is_some() {
            let folder = serde_json::json!(self.folders.build);
            command.arg("--config").arg(format!("build.build-dir={folder}"));
        }
        command.args(after);
        let exe = std::env::current_exe().map_err(|error| cannot_call_back(&error))?;
        command.env(env::RUSTC_WRAPPER, exe).env(env::PLAN, plan_file);
        Ok(command)
    }

    /// Starts compiling the harnesses that are missing, beside cargo. The thread gives what went wrong.
    fn build_harness(&self, plan: &Plan) -> Option<JoinHandle<Option<String>>> {
        let missing: Vec<(String, PathBuf)> =
            plan.harness.iter().filter(|(_, rlib)| !rlib.exists()).map(|(a, b)| (a.clone(), b.clone())).collect();
        if missing.is_empty() {
            return None;
        }
        let what = format!("memprof-harness v{} (rustc {})", harness::VERSION, self.toolchain.release);
        self.shell.status("Compiling", &what);
        let (toolchain, failed) = (self.toolchain.clone(), plan.harness_failed.clone());
        Some(std::thread::spawn(move || {
            let mut built = missing.iter().map(|(target, rlib)| harness::build(&toolchain, target, rlib));
            let failure = built.find_map(Result::err)?;
            // Where even this cannot be written, the wrappers wait until this process has ended.
            let _ = fs_err::write(failed, &failure);
            Some(failure)
        }))
    }

    fn conclude(&self, facts: &RunFacts, ended: &Ended) -> Result<ExitCode, Error> {
        if let Some(code) = interrupt::requested() {
            return Err(self.interrupted(code));
        }
        if let Some(failure) = &ended.harness_failure
            && ended.code != ExitCode::OK
        {
            return Err(Error::new("cannot profile the tests: the memprof harness does not compile")
                .caused_by(failure)
                .help(format!("{} may be too new or too old for cargo-memprof {}", facts.rustc, harness::VERSION)));
        }
        if facts.ran.is_empty() {
            if ended.code == ExitCode::OK && !self.options.cargo.no_run {
                self.shell.note("cargo ran no tests, so there is nothing to profile");
            }
            return Ok(ended.code);
        }
        let written = report::write(facts, self.shell);
        if self.options.own.keep_ledgers {
            self.keep_ledgers()?;
        }
        match written {
            Ok(_) => Ok(ended.code),
            // Tests that failed are the more important news, and their code is what scripts wait for.
            Err(error) if ended.code != ExitCode::OK => {
                self.shell.error(&error);
                Ok(ended.code)
            }
            Err(error) => Err(error),
        }
    }

    fn keep_ledgers(&self) -> Result<Utf8PathBuf, Error> {
        self.folders.keep_ledgers().map_err(|error| {
            Error::new(format!("cannot keep the ledgers in `{}`", self.folders.out))
                .caused_by(error)
                .with_code(ExitCode::OUTPUT)
        })
    }

    fn interrupted(&self, code: ExitCode) -> Error {
        let recorded = self.folders.ledgers().read_dir_utf8().map_or(0, |entries| entries.count());
        let recorded = match recorded {
            1 => "1 test had begun".to_owned(),
            tests => format!("{tests} tests had begun"),
        };
        let error = Error::new("the run was interrupted").caused_by(recorded).with_code(code);
        let kept = if self.options.own.keep_ledgers { self.keep_ledgers().ok() } else { None };
        let written = format!("no profiles were written; what is in `{}` is of an earlier run", self.folders.out);
        error.help(match kept {
            Some(kept) => format!("the ledgers are in `{kept}`; {written}"),
            None => written,
        })
    }
}

/// Removes what `cargo memprof` made below the target folder.
///
/// # Errors
/// Where that fails.
pub fn clean(options: &crate::cli::CleanOptions) -> Result<ExitCode, Error> {
    let cargo = cargo();
    let given = CargoArgs {
        manifest_path: options.manifest_path.clone(),
        target_dir: options.target_dir.clone(),
        ..CargoArgs::default()
    };
    let config = CargoConfig::ask(&cargo, Vec::new());
    let shell = shell(&CargoArgs { quiet: options.quiet, ..CargoArgs::default() }, &config);
    let workspace = match Workspace::ask(&cargo, &workspace_flags(&given, &[])) {
        Ok(workspace) => workspace,
        Err(NoWorkspace::Failed(error)) => return Err(error),
        Err(NoWorkspace::Refused { stderr, code }) => {
            shell.pass_on(&stderr);
            return Ok(code);
        }
    };
    let folder = target_dir(&given, &workspace)?.join(crate::folders::NAME);
    match fs_err::remove_dir_all(&folder) {
        Ok(()) => shell.status("Removed", folder.as_str()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => shell.status("Removed", "nothing: it is clean"),
        Err(error) => return Err(Error::new(format!("cannot remove `{folder}`")).caused_by(error)),
    }
    Ok(ExitCode::OK)
}

fn cargo() -> OsString {
    env::non_empty(env::CARGO).unwrap_or_else(|| "cargo".into())
}

/// The compiler that cargo will use.
fn rustc(config: &CargoConfig) -> OsString {
    env::non_empty(env::RUSTC)
        .or_else(|| env::non_empty(env::CARGO_BUILD_RUSTC))
        .or_else(|| config.program(&["build", "rustc"]))
        .unwrap_or_else(|| "rustc".into())
}

/// What a runner's variable says; cargo splits it at white space, without any quoting.
fn runner_words(text: &str) -> Vec<OsString> {
    let mut words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
    if let Some(program) = words.first_mut() {
        *program = cargo_config::resolve(program, || None);
    }
    words
}

/// The flags by which the user changes cargo's configuration.
fn config_flags(args: &CargoArgs) -> Vec<OsString> {
    let flags = |name: &'static str, values: &[OsString]| {
        values.iter().flat_map(|value| [name.into(), value.clone()]).collect::<Vec<OsString>>()
    };
    [flags("--config", &args.config), flags("-Z", &args.unstable)].concat()
}

fn workspace_flags(args: &CargoArgs, config_flags: &[OsString]) -> Vec<OsString> {
    let mut flags = config_flags.to_vec();
    if let Some(path) = &args.manifest_path {
        flags.extend(["--manifest-path".into(), path.clone().into_os_string()]);
    }
    flags
}

fn shell(args: &CargoArgs, config: &CargoConfig) -> Shell {
    let variable = |name| env::non_empty(name).map(|value| value.to_string_lossy().into_owned());
    let quiet = args.quiet
        || match variable(env::CARGO_TERM_QUIET) {
            Some(value) => value == "true",
            None => config.truth(&["term", "quiet"]).unwrap_or(false),
        };
    let color = args.color.clone().or_else(|| variable(env::CARGO_TERM_COLOR));
    Shell::configured(quiet, color.as_deref().or_else(|| config.text(&["term", "color"])))
}

/// The user's target folder, absolute.
fn target_dir(args: &CargoArgs, workspace: &Workspace) -> Result<Utf8PathBuf, Error> {
    match &args.target_dir {
        Some(folder) => absolute(folder, "--target-dir"),
        None => Ok(workspace.target_dir.clone()),
    }
}

fn out_dir(options: &TestOptions) -> Result<Option<Utf8PathBuf>, Error> {
    options.own.folder.as_ref().map(|folder| absolute(folder, "--memprofile")).transpose()
}

fn absolute(folder: &Path, flag: &str) -> Result<Utf8PathBuf, Error> {
    let cannot = || Error::usage(format!("cannot use `{}` as the folder of `{flag}`", folder.display()));
    let path = std::path::absolute(folder).map_err(|error| cannot().caused_by(error))?;
    Utf8PathBuf::from_path_buf(path).map_err(|_| cannot().caused_by("its name is not UTF-8"))
}

/// The triple that cargo uses in the names of variables and keys: of a target's description, the file's name.
fn triple(target: &str) -> String {
    match target.strip_suffix(".json") {
        Some(path) => Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => target.to_owned(),
    }
}

/// A path of this program without white space, at which cargo would split it, and the folder of the link that the path
/// may need.
fn callable_name() -> Result<(PathBuf, Option<tempfile::TempDir>), Error> {
    let spaced = |path: &Path| path.to_string_lossy().contains(char::is_whitespace);
    let exe = std::env::current_exe().map_err(|error| cannot_call_back(&error))?;
    if !spaced(&exe) {
        return Ok((exe, None));
    }
    let folder = [std::env::temp_dir(), "/tmp".into()].into_iter().find(|folder| !spaced(folder));
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
