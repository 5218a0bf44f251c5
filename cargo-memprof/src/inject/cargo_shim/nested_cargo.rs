//! Has the program of a `cargo run` within a recorded test recorded. It uses neither a runner, which cargo would print, nor a variable, which
//! the program would see: a flag wraps the compiler, and the wrapper finds its plan by the process number of the cargo that calls it.

use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_env::CargoEnv;
use crate::context::cargo_flags::Tool;
use crate::context::env::{self, Saved};
use crate::context::target_dir;
use crate::context::toolchain::Toolchain;
use crate::context::workspace::NoWorkspace;
use crate::inject::harness::compile;
use crate::inject::harness::compiler::Compiler;
use crate::inject::harness::{Form, Hooked, cache, fingerprint};
use crate::protocol::ancestors::plan_path;
use crate::protocol::build_script;
use crate::protocol::plan::Plan;
use crate::ui::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The word by which this program asks itself; the number of the process that becomes cargo, the path of the plan of the
/// run and cargo's flags follow.
pub const COMMAND: &str = "__nested";

/// What is added to a call of `cargo run`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Additions {
    pub flags: Vec<String>,
    /// Variables and their values; `None` = to be taken away.
    pub variables: Vec<(String, Option<String>)>,
}

/// Answers the question in `args`.
///
/// # Errors
/// Where nothing can be added; the call is then made as it is.
pub fn answer(args: &[OsString]) -> Result<Additions, Error> {
    let [process, plan, flags @ ..] = args else { return Err(refused("it is no question")) };
    let process = process.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| refused("it has no number"))?;
    let outer = Plan::read(Path::new(plan))?;
    let args = CargoArgs::read(Tool::CargoRun, flags.to_vec());
    let (cargo_env, workspace) = CargoEnv::load(&args);
    let workspace = workspace.map_err(|error| match error {
        NoWorkspace::Failed(error) => error,
        NoWorkspace::Refused { stderr, .. } => refused(String::from_utf8_lossy(&stderr)),
    })?;
    let toolchain = Toolchain::ask(cargo_env.rustc())?;
    let built = if outer.native { target_dir::BUILD_NATIVE } else { target_dir::BUILD };
    let build =
        target_dir::make_build(&cargo_env.target_dir(&workspace)?, built, &fingerprint::build_key(outer.libtest))?;
    let nested = Nested { outer: &outer, cargo_env: &cargo_env, toolchain: &toolchain, process };
    let plan = nested.plan(build.as_std_path());
    for (target, place) in plan.harness.iter().filter(|(_, place)| !cache::claim(place, &Form::ALL)) {
        compile::build_all(&Compiler::of(&plan), target, place, hooked(&outer), &Form::ALL).map_err(refused)?;
    }
    plan.write(&plan_path(&plan.links, process))?;
    nested.additions(build.as_str())
}

fn refused(cause: impl std::fmt::Display) -> Error {
    Error::new("cannot record what a test has cargo run").caused_by(cause)
}

fn hooked(outer: &Plan) -> Hooked {
    if outer.native { Hooked::Native } else { Hooked::Rust }
}

/// What is known of the call.
struct Nested<'a> {
    outer: &'a Plan,
    cargo_env: &'a CargoEnv<'a>,
    toolchain: &'a Toolchain,
    /// Becomes cargo.
    process: u32,
}

impl Nested<'_> {
    fn plan(&self, build: &Path) -> Plan {
        let host = &self.toolchain.host;
        let targets = self.cargo_env.targets(host);
        let cache = cache::find(build.join("harness"));
        let places = |hooked| -> BTreeMap<String, PathBuf> {
            let place = |target: &String| (target.clone(), fingerprint::place(&cache, self.toolchain, target, hooked));
            targets.iter().map(place).collect()
        };
        let scratch = self.outer.links.clone();
        Plan {
            driver: self.process,
            wrapper: self.cargo_env.wrapper(),
            rustc: self.toolchain.sysroot.join("bin/rustc"),
            rustc_version: self.toolchain.version.clone(),
            nightly: self.toolchain.is_nightly(),
            rustdoc: self.cargo_env.rustdoc(),
            bootstrap: std::env::var_os(env::RUSTC_BOOTSTRAP),
            host: host.clone(),
            harness: places(hooked(self.outer)),
            libtest: self.outer.libtest,
            native: self.outer.native,
            native_harness: places(Hooked::Native),
            // The harness is there before cargo is.
            harness_pending: scratch.join("never"),
            harness_missed: scratch.join("nested-harness-missed"),
            // Cargo itself calls the user's runners, and nothing of ours is in the environment.
            runners: BTreeMap::new(),
            saved: Saved::default(),
            around: Saved::capture(build_script::names().map(String::from), |name| std::env::var_os(name)),
            rate: self.outer.rate,
            tests: false,
            run_options: None,
            ledgers: self.outer.ledgers.clone(),
            workspace_root: self.outer.workspace_root.clone(),
            list_limit: self.outer.list_limit,
            ran: scratch.join("nested-ran"),
            cargo_shim: self.outer.cargo_shim.clone(),
            links: scratch,
        }
    }

    fn additions(&self, build: &str) -> Result<Additions, Error> {
        let exe = std::env::current_exe().map_err(refused)?;
        let mut added = Additions::default();
        added.configure("build.rustc-wrapper", text(exe.as_os_str())?);
        added.flags.extend(["--target-dir".into(), build.into()]);
        if self.cargo_env.has_build_dir() {
            added.configure("build.build-dir", build);
        }
        if let Some(wrapper) = std::env::var_os(env::RUSTC_WRAPPER) {
            // It would win over the flag. Cargo gives it back to everything that it starts.
            added.variables.push((env::RUSTC_WRAPPER.into(), None));
            added.configure("env.RUSTC_WRAPPER", text(&wrapper)?);
        }
        if self.outer.native {
            // With other flags than the run's own, what build scripts compile would be compiled again and again.
            for name in [env::CFLAGS, env::CXXFLAGS] {
                let flags = env::with_frame_pointers(self.cargo_env.variable(name));
                added.variables.push((name.into(), Some(flags)));
            }
        }
        Ok(added)
    }
}

impl Additions {
    /// As the process that asked reads it.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    fn configure(&mut self, key: &str, value: &str) {
        self.flags.extend(["--config".into(), format!("{key}={}", serde_json::json!(value))]);
    }
}

fn text(value: &OsStr) -> Result<&str, Error> {
    value.to_str().ok_or_else(|| refused(format!("`{}` is not UTF-8", value.display())))
}
