//! How cargo is called: with the plan of the run, the wrapper, the runners, and the harness that is compiled beside it.

use super::Recording;
use super::callback::cannot_call_back;
use crate::context::cargo_env::triple;
use crate::context::env::{self, Saved};
use crate::context::options::Task;
use crate::context::test_filter;
use crate::inject::build::rustdoc;
use crate::inject::harness::compile::{Pending, Urgency};
use crate::inject::harness::compiler::Compiler;
use crate::inject::harness::running::Running;
use crate::inject::harness::{self, Form, Hooked};
use crate::inject::harness::{cache, compile, fingerprint};
use crate::protocol;
use crate::protocol::build_script;
use crate::protocol::cargo_shim::{self, CargoShim};
use crate::protocol::plan::{self, Plan};
use crate::protocol::way::Way;
use crate::ui::error::Error;
use memprof_harness::run_options::RunOptions;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

impl Recording<'_> {
    pub(super) fn plan(&self) -> Plan {
        let host = &self.toolchain.host;
        let targets = self.cargo_env.targets(host);
        let cache = cache::find(self.folders.build.join("harness").into());
        let places = |hooked| {
            let place = |target: &String| (target.clone(), fingerprint::place(&cache, self.toolchain, target, hooked));
            targets.iter().map(place).collect()
        };
        let names = targets.iter().map(|target| env::runner_of(&triple(target)));
        let taken = [env::RUSTC_WRAPPER, env::RUSTDOC, env::PLAN, env::CFLAGS, env::CXXFLAGS];
        let names = names.chain(taken.map(String::from));
        Plan {
            driver: std::process::id(),
            wrapper: self.cargo_env.wrapper(),
            rustc: self.toolchain.sysroot.join("bin/rustc"),
            rustc_version: self.toolchain.version.clone(),
            nightly: self.toolchain.is_nightly(),
            rustdoc: self.cargo_env.rustdoc(),
            links: self.folders.scratch.clone().into(),
            bootstrap: std::env::var_os(env::RUSTC_BOOTSTRAP),
            host: host.clone(),
            harness: places(self.hooked()),
            libtest: self.libtest,
            native: self.options.own.native,
            native_harness: places(Hooked::Native),
            harness_pending: self.folders.scratch.join("harness-pending").into(),
            harness_missed: self.harness_missed(),
            runners: self.cargo_env.runners(&targets, host),
            saved: Saved::capture(names, |name| std::env::var_os(name)),
            around: Saved::capture(build_script::names().map(String::from), |name| {
                self.cargo_env.variable(name).map(OsString::from)
            }),
            rate: self.options.own.rate.get(),
            tests: self.options.task != Task::Run,
            run_options: self.run_options_of_tests(),
            workspace_root: self.workspace.root.clone().into(),
            list_limit: self.list_limit.0,
            ledgers: self.folders.ledgers().into(),
            ran: self.ran_file(),
            cargo_shim: self.cargo_shim(),
        }
    }

    /// What the tests find in cargo's place; `None` where it cannot be made, and what they have cargo run is not recorded.
    pub(super) fn cargo_shim(&self) -> Option<CargoShim> {
        let cargo = [PathBuf::from(self.cargo_env.cargo()), self.toolchain.sysroot.join("bin/cargo")];
        let cargo = cargo.into_iter().find(|cargo| cargo.is_absolute() && cargo.exists())?;
        let exe = std::env::current_exe().ok()?;
        CargoShim::make(self.folders.build.join(cargo_shim::NAME).into(), &exe, &cargo).ok()
    }

    pub(super) fn hooked(&self) -> Hooked {
        if self.options.own.native { Hooked::Native } else { Hooked::Rust }
    }

    pub(super) fn look_for_nextest(&self) -> Result<(), Error> {
        let output = Command::new(self.cargo_env.cargo()).args(["nextest", "--version"]).output();
        let cause = match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed").to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Error::new(format!("cannot run `{}`", self.options.command))
            .caused_by(format!("`cargo nextest --version`: {}", cause.trim_start_matches("error: ")))
            .help("install nextest (https://nexte.st), or use `cargo memprof test`"))
    }

    /// What test executables are to know of how they are run; `None` = nothing.
    pub(super) fn run_options_of_tests(&self) -> Option<String> {
        let mut run_options = self.options.run_options.clone();
        if self.options.task == Task::Nextest {
            // It leaves out what is not in its share.
            run_options.partition = None;
        }
        run_options.depth = self.depth;
        run_options.rules.clone_from(&self.rules);
        (run_options != RunOptions::default()).then(|| run_options.to_string())
    }

    pub(super) fn command(&self, program: &Path, plan: &Plan) -> Result<Command, Error> {
        let plan_file = self.folders.scratch.join(plan::FILE);
        plan.write(plan_file.as_std_path())?;
        let mut command = Command::new(self.cargo_env.cargo());
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
            if let Some(list) = self.cargo_env.runner_by_flag(&triple) {
                let text = runner.to_string_lossy();
                let words: Vec<&str> = text.split(' ').collect();
                let value = if list { serde_json::json!(words) } else { serde_json::json!(text) };
                command.arg("--config").arg(format!("target.\"{triple}\".runner={value}"));
            }
            command.env(env::runner_of(&triple), runner);
        }
        if self.cargo_env.has_build_dir() {
            let folder = serde_json::json!(self.folders.build);
            command.arg("--config").arg(format!("build.build-dir={folder}"));
        }
        command.args(after);
        if self.options.run_options.deterministic && env::non_empty(env::RUST_TEST_THREADS).is_none() {
            // libtest's flag, where it is given, wins over its variable.
            command.env(env::RUST_TEST_THREADS, "1");
        }
        if self.options.stdout_is_taken {
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            command.stdout(stderr.map_err(|error| Error::new("cannot use stderr").caused_by(error))?);
        }
        if self.options.own.native {
            for name in [env::CFLAGS, env::CXXFLAGS] {
                command.env(name, env::with_frame_pointers(self.cargo_env.variable(name)));
            }
        }
        let exe = std::env::current_exe().map_err(|error| cannot_call_back(&error))?;
        for name in [rustdoc::COMPILER, protocol::DOCTEST_PROCESS] {
            fs_err::os::unix::fs::symlink(&exe, plan.links.join(name)).map_err(|error| cannot_call_back(&error))?;
        }
        // The same in every run: a build script may ask to be run again where the variable changes.
        let rustdoc = self.folders.build.join(rustdoc::FOLDER).join(rustdoc::NAME);
        cargo_shim::put_link(&exe, rustdoc.as_std_path()).map_err(|error| cannot_call_back(&error))?;
        command.env(env::RUSTDOC, rustdoc);
        command.env(env::RUSTC_WRAPPER, exe).env(env::PLAN, plan_file);
        Ok(command)
    }

    /// Starts compiling the harnesses that are missing, beside cargo, as some of those that are `running`. The thread gives what
    /// went wrong.
    pub(super) fn build_harness(
        &self,
        plan: &Plan,
        running: &Running,
    ) -> Result<Option<JoinHandle<Option<String>>>, Error> {
        let missing = |places: &BTreeMap<String, PathBuf>, forms: &[Form]| -> Vec<(String, PathBuf)> {
            let missing = places.iter().filter(|(_, place)| !cache::claim(place, forms));
            missing.map(|(target, place)| (target.clone(), place.clone())).collect()
        };
        // That for tests first: the others are needed later or never.
        let forms: &[Form] = if plan.libtest == Way::List { &[Form::Program] } else { &Form::ALL };
        let needed = missing(&plan.harness, forms);
        let likely = if self.expects_own_allocators() { missing(&plan.native_harness, &forms[..1]) } else { vec![] };
        if needed.is_empty() && likely.is_empty() {
            return Ok(None);
        }
        let pending = Pending::declare(plan.harness_pending.clone())
            .map_err(|error| Error::new("cannot prepare the run").caused_by(error))?;
        let what = format!("memprof-harness v{} (rustc {})", harness::VERSION, self.toolchain.release);
        self.shell.status("Compiling", &what);
        let compiler = Compiler {
            rustc: self.toolchain.rustc.clone(),
            host: self.toolchain.host.clone(),
            version: self.toolchain.version.clone(),
            running: running.clone(),
        };
        let hooked = self.hooked();
        Ok(Some(std::thread::spawn(move || {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // What fails here is told where it is needed.
                    likely.iter().for_each(|(target, place)| {
                        let _ = compile::build(&compiler, target, place, Hooked::Native, forms[0], Urgency::Later);
                    });
                });
                let _pending = pending;
                let build =
                    |(target, place): &(String, PathBuf)| compile::build_all(&compiler, target, place, hooked, forms);
                needed.iter().map(build).find_map(Result::err)
            })
        })))
    }

    /// Whether some crate seems to have a global allocator of its own and to be compiled by this run. Where the user chose what
    /// is compiled, that is seen when it comes to it.
    pub(super) fn expects_own_allocators(&self) -> bool {
        !self.options.own.native
            && test_filter::choice(&self.options.cargo).is_none()
            && Hooked::Native.refusal(&self.toolchain.host, None).is_none()
            && self.workspace.sources().any(harness::names_an_allocator)
    }
}
