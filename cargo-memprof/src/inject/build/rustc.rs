//! This program as cargo's rustc wrapper: it adds the flags the profiles need, slips the harness under test
//! executables, and notes beside every executable whether that worked.

use crate::context::env;
use crate::context::toolchain::Takes;
use crate::files::outlet;
use crate::inject::build::dep_info;
use crate::inject::build::invocation::{Harness, Invocation, Purpose, Visibility, expand, split_programs};
use crate::inject::diagnostics;
use crate::inject::harness::built::Built;
use crate::inject::harness::compile;
use crate::inject::harness::{self, Form, Hooked};
use crate::protocol::build_record::BuildRecord;
use crate::protocol::build_script;
use crate::protocol::library::Library;
use crate::protocol::plan::Plan;
use crate::protocol::way::Way;
use crate::ui::error::Error;
use memprof_harness::link_marker::{NAME, NAME_ROOM};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// A file in the run's own folder: a benchmark was not compiled, because its attribute is unstable.
pub const BENCH_REFUSED: &str = "bench-refused";

/// Why a program is not recorded that was compiled with the harness.
const LEFT_OUT: &str = "the linker left the harness out";

/// Whether `args` (without this program's name) may be cargo calling its wrapper: only while cargo runs for us, and only
/// with a program in front. That no command of ours stands there is the caller's to know.
pub fn is_meant(args: &[OsString]) -> bool {
    args.first().is_some_and(|first| !starts_with_dash(first)) && (Plan::path().is_some() || is_wrapper())
}

/// Whether this program is the wrapper in the environment, from which other variables of ours may have been taken.
fn is_wrapper() -> bool {
    let exe = std::env::current_exe().ok();
    let named = |name| env::non_empty(name).map(std::path::PathBuf::from);
    exe.is_some_and(|exe| {
        [env::RUSTC_WRAPPER, env::CARGO_BUILD_RUSTC_WRAPPER].into_iter().any(|name| named(name) == Some(exe.clone()))
    })
}

/// Does what rustc was called for, with our additions.
///
/// # Errors
/// Where the compiler cannot be started or there is no plan.
pub fn wrap(args: &[OsString]) -> Result<ExitCode, Error> {
    let Some(path) = Plan::path_here_or_above() else {
        // Somebody who took the plan away, and has no process of ours above, is no part of the run.
        let (compiler, rest) = args.split_first().expect("a compiler is in front");
        let mut command = Command::new(compiler);
        return Err(become_it(command.args(rest)));
    };
    let plan = Plan::read(&path)?;
    let (_, rest) = split_programs(args);
    let names_binary = std::env::var_os(env::CARGO_BIN_NAME).is_some();
    let has_build_script = std::env::var_os(env::OUT_DIR).is_some();
    let words = expand(rest, |path| fs_err::read_to_string(path).ok());
    let mut invocation = Invocation::read(&words, names_binary, has_build_script);
    if build_script::is_another_build(&plan) {
        invocation.purpose = Purpose::Untouched;
    }
    let call = RustcCall { plan: &plan, args, invocation: &invocation };
    match invocation.purpose {
        Purpose::Untouched => Err(call.become_compiler()),
        Purpose::Plain if invocation.executable.is_some() => call.compile_program(),
        Purpose::Plain => {
            call.note_library();
            Err(call.become_compiler())
        }
        Purpose::Test => call.compile_test(),
    }
}

/// One call of rustc.
struct RustcCall<'a> {
    plan: &'a Plan,
    /// As cargo gave them, the compiler first.
    args: &'a [OsString],
    invocation: &'a Invocation,
}

impl RustcCall<'_> {
    /// Compiles with the harness; without it where that is not possible.
    fn compile_test(&self) -> Result<ExitCode, Error> {
        if self.invocation.has_extern_test {
            return self.compile_without("it has a dependency that is called `test`, as the harness must be".into());
        }
        let why = match self.plan.libtest {
            Way::List => Some(format!("`{}=list` asks for it", env::CARGO_MEMPROF_LIBTEST)),
            Way::Auto | Way::Wrap => match self.harness(Form::Test)? {
                Ok(Built::NoLibtest(reason)) if self.plan.libtest == Way::Wrap => return self.compile_without(reason),
                Ok(Built::NoLibtest(reason)) => Some(reason),
                _ => None,
            },
        };
        match why {
            None => self.compile_recorded(Form::Test),
            Some(why) => self.compile_listed(why),
        }
    }

    /// Compiles a test executable so that it is recorded by the list of its tests: with nothing that knows libtest.
    fn compile_listed(&self, why: String) -> Result<ExitCode, Error> {
        match self.try_all(Form::Program)? {
            Ok(output) if self.has_marker(Form::Program) => self.done(&output, Form::Program, None, Some(why)),
            Ok(output) => self.done(&output, Form::Program, Some(LEFT_OUT.into()), None),
            Err(reason) => self.compile_without(reason),
        }
    }

    /// Compiles a program with a `main` of its own, with the harness that needs no libtest; without it where that is not
    /// possible.
    fn compile_program(&self) -> Result<ExitCode, Error> {
        self.compile_recorded(Form::Program)
    }

    fn compile_recorded(&self, form: Form) -> Result<ExitCode, Error> {
        let output = match self.try_all(form)? {
            Ok(output) => output,
            Err(reason)
                if form == Form::Test && self.plan.libtest == Way::Auto && diagnostics::lacks_entry(&reason) =>
            {
                return self.compile_listed(reason);
            }
            Err(reason) => return self.compile_without(reason),
        };
        match form {
            _ if self.has_marker(form) => self.done(&output, form, None, None),
            // Its tests are run by something else than libtest (`#![test_runner]`), so it is a program like others.
            Form::Test => self.compile_recorded(Form::Program),
            Form::Program => self.done(&output, form, Some(LEFT_OUT.into()), None),
        }
    }

    /// Whether the harness can be reached in what was linked. What cannot be read is believed: then nothing was to be linked,
    /// or whoever runs it is going to say so.
    fn has_marker(&self, form: Form) -> bool {
        let read = self.invocation.executable.as_ref().map(fs_err::read);
        let Some(Ok(bytes)) = read else { return true };
        memchr::memmem::find(&bytes, form.link_marker()).is_some()
    }

    /// Compiles with the harness, or where a global allocator stands in its way, with the native one. Gives what the compiler said
    /// where that went well, or else the reason why it did not.
    fn try_all(&self, form: Form) -> Result<Result<Output, String>, Error> {
        std::thread::scope(|scope| {
            let native = || compile::native(self.plan, self.target(), self.invocation.unhookable.as_ref(), form);
            // It takes seconds to compile, so it had better begin at once where it will be needed.
            let likely = !self.plan.native && harness::names_an_allocator(&self.invocation.source);
            let native_begun = likely.then(|| scope.spawn(native));
            let rlib = match self.harness(form)? {
                Ok(Built::Rlib(rlib)) => rlib,
                Ok(Built::NoLibtest(reason)) | Err(reason) => return Ok(Err(reason)),
            };
            let output = self.try_form(form, &rlib)?;
            if output.status.success() {
                return Ok(Ok(output));
            }
            if diagnostics::is_unstable_bench(&output.stderr) {
                // Without the file there is rustc's own message.
                let _ = outlet::put(self.plan.links.join(BENCH_REFUSED), "");
            }
            let reason = diagnostics::reason(&output.stderr);
            if self.plan.native || !diagnostics::is_own_allocator(&output.stderr) {
                return Ok(Err(reason));
            }
            let native = match native_begun {
                Some(begun) => begun.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => native(),
            };
            let rlib = match native {
                Ok(rlib) => rlib,
                Err(refusal) => return Ok(Err(format!("{reason}, and {refusal}"))),
            };
            let output = self.try_form(form, &rlib)?;
            if output.status.success() {
                return Ok(Ok(output));
            }
            let again = diagnostics::reason(&output.stderr);
            Ok(Err(format!("{reason}, and with the native hook {again}")))
        })
    }

    /// Ends a compilation with the harness that went well; `listed` as in [`BuildRecord`].
    fn done(
        &self,
        output: &Output,
        form: Form,
        unprofiled: Option<String>,
        listed: Option<String>,
    ) -> Result<ExitCode, Error> {
        if let (Some((cargo_shim, real)), Some(executable)) = (self.cargo_shim(), &self.invocation.executable) {
            dep_info::hide(executable, &cargo_shim, &real)
                .map_err(|error| Error::new("cannot tell cargo what a program depends on").caused_by(error))?;
        }
        if form == Form::Program {
            self.write_name();
        }
        self.write_build_record(form, unprofiled, listed)?;
        Ok(replay(output))
    }

    /// Has a binary know what it is called, however often it is copied. Without it, it is called what its file is.
    fn write_name(&self) {
        let name = env::non_empty(env::CARGO_BIN_NAME).and_then(|name| name.into_string().ok());
        let (Some(name), Some(executable)) = (name, &self.invocation.executable) else { return };
        let place = fs_err::read(executable).ok().and_then(|bytes| place_of_name(&bytes, &name));
        if let Some(place) = place {
            let _ = outlet::write_over(executable, place as u64, name.as_bytes());
        }
    }

    /// What programs that name cargo by `env!("CARGO")` are to find there, and what it is for cargo; `None` = the same.
    fn cargo_shim(&self) -> Option<(String, String)> {
        let real = std::env::var(env::CARGO).ok()?;
        let cargo_shim = self.plan.cargo_shim.as_ref()?.for_variable(OsStr::new(&real))?;
        Some((cargo_shim.into_os_string().into_string().ok()?, real))
    }

    /// Compiles with the harness at `rlib`.
    fn try_form(&self, form: Form, rlib: &Path) -> Result<Output, Error> {
        match form {
            Form::Test => self.try_test(rlib),
            Form::Program => self.try_program(rlib),
        }
    }

    /// Compiles with the harness at `rlib` under the name `test`.
    fn try_test(&self, rlib: &Path) -> Result<Output, Error> {
        let mut harness = Harness { rlib, visibility: Visibility::Prelude, stable: self.is_stable() };
        let output = self.output(self.command(Some(&harness)))?;
        if output.status.success() || !diagnostics::is_ambiguous_test(&output.stderr) {
            return Ok(output);
        }
        harness.visibility = Visibility::Hidden;
        let mut command = self.command(Some(&harness));
        command.env(env::RUSTC_BOOTSTRAP, self.bootstrap());
        self.output(command)
    }

    /// Compiles with the harness at `rlib`, which needs no libtest.
    fn try_program(&self, rlib: &Path) -> Result<Output, Error> {
        let harness = Harness { rlib, visibility: Visibility::Forced, stable: self.is_stable() };
        let mut command = self.command(Some(&harness));
        command.env(env::RUSTC_BOOTSTRAP, self.bootstrap());
        self.output(command)
    }

    /// What allows this one crate unstable options, beside what the user allows.
    fn bootstrap(&self) -> OsString {
        env::bootstrap(std::env::var_os(env::RUSTC_BOOTSTRAP), &self.invocation.crate_name)
    }

    fn is_stable(&self) -> bool {
        !self.plan.nightly && std::env::var_os(env::RUSTC_BOOTSTRAP).is_none()
    }

    fn target(&self) -> &str {
        self.invocation.target.as_ref().unwrap_or(&self.plan.host)
    }

    /// The harness for this call's target, once it is compiled; or the reason why there is none.
    ///
    /// # Errors
    /// Where it does not compile.
    fn harness(&self, form: Form) -> Result<Result<Built, String>, Error> {
        let target = self.target();
        let Some(place) = self.plan.harness.get(target) else {
            return Ok(Err(format!("there is no harness for the target `{target}`")));
        };
        let hooked = if self.plan.native { Hooked::Native } else { Hooked::Rust };
        if let Some(refusal) = hooked.refusal(target, self.invocation.unhookable.as_ref()) {
            return Ok(Err(refusal));
        }
        if let Some(built) = compile::wait_for(place, form, self.plan) {
            return Ok(Ok(built));
        }
        // The driver tells why, once, when cargo has ended. If it cannot be told, cargo's error must do.
        let _ = outlet::put(&self.plan.harness_missed, "");
        Err(Error::new(format!("cannot profile `{}`", self.invocation.crate_name))
            .caused_by("the memprof harness did not compile"))
    }

    /// Compiles as cargo wanted it: what that says is what cargo sees.
    fn compile_without(&self, reason: String) -> Result<ExitCode, Error> {
        let form = if self.invocation.purpose == Purpose::Test { Form::Test } else { Form::Program };
        self.write_build_record(form, Some(reason), None)?;
        Err(self.become_compiler())
    }

    /// Notes what the executable is, where this call makes one.
    fn write_build_record(&self, form: Form, unprofiled: Option<String>, listed: Option<String>) -> Result<(), Error> {
        let Some(executable) = &self.invocation.executable else { return Ok(()) };
        let folder = std::env::current_dir().unwrap_or_default();
        let variable = |name| env::non_empty(name).map(|value| value.to_string_lossy().into_owned());
        let build_record = BuildRecord {
            crate_name: self.invocation.crate_name.clone(),
            source: folder.join(&self.invocation.source),
            package: variable(env::CARGO_PKG_NAME).unwrap_or_default(),
            manifest_dir: env::non_empty(env::CARGO_MANIFEST_DIR).map(PathBuf::from).unwrap_or_default(),
            bin_name: variable(env::CARGO_BIN_NAME),
            doctest: None,
            own_main: form == Form::Program,
            listed,
            unprofiled,
            unit: Some(Library::of(&self.invocation.crate_name, &self.invocation.settings).unit),
        };
        build_record.write(&folder.join(executable)).map_err(|error| {
            Error::new(format!("cannot write the build record of `{}`", executable.display())).caused_by(error)
        })
    }

    /// Leaves beside the library what those that link it must know. Without it, nothing is held against their dependencies.
    fn note_library(&self) {
        if let Some(path) = &self.invocation.library {
            let _ = Library::of(&self.invocation.crate_name, &self.invocation.settings).write(path);
        }
    }

    fn command(&self, harness: Option<&Harness>) -> Command {
        let mut programs = self.plan.wrapper.iter().chain(self.args);
        let first = programs.next().cloned().unwrap_or_default();
        let mut command = Command::new(first);
        command.args(programs);
        if self.plan.harness.contains_key(self.target()) {
            command.args(self.invocation.additions(harness, Takes::of(&self.plan.rustc_version)));
        }
        self.plan.saved.restore(&mut command);
        if let (Some(_), Some((cargo_shim, _))) = (harness, self.cargo_shim()) {
            command.env(env::CARGO, cargo_shim);
        }
        command
    }

    fn output(&self, mut command: Command) -> Result<Output, Error> {
        command.output().map_err(|error| cannot_start(&command, &error))
    }

    /// Turns this process into the compiler; comes back only where that fails.
    fn become_compiler(&self) -> Error {
        become_it(&mut self.command(None))
    }
}

/// Where in an executable a program's name is to be written, as [`memprof_harness::link_marker::NameSlot`] has it; `None` = there is no
/// room for it, or nobody knows in which of several.
fn place_of_name(executable: &[u8], name: &str) -> Option<usize> {
    let behind_mark = memchr::memmem::find_iter(executable, &NAME).map(|place| place + NAME.len());
    let is_empty = |place: &usize| {
        executable.get(*place..place + NAME_ROOM).is_some_and(|room| room.iter().all(|byte| *byte == 0))
    };
    let mut places = behind_mark.filter(is_empty);
    let place = places.next()?;
    (places.next().is_none() && name.len() < NAME_ROOM).then_some(place)
}

/// Turns this process into what `command` starts; comes back only where that fails.
fn become_it(command: &mut Command) -> Error {
    let error = command.exec();
    cannot_start(command, &error)
}

fn cannot_start(command: &Command, error: &io::Error) -> Error {
    Error::new(format!("cannot start the compiler `{}`", Path::new(command.get_program()).display())).caused_by(error)
}

/// Gives out what a compiler that was listened to said, and its exit code.
fn replay(output: &Output) -> ExitCode {
    // If cargo no longer listens, it no longer cares either.
    let _ = io::stdout().write_all(&output.stdout);
    let _ = io::stderr().write_all(&output.stderr);
    match output.status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(101)),
        None => ExitCode::from(101),
    }
}

fn starts_with_dash(arg: &OsString) -> bool {
    arg.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_over_nothing_and_only_where_it_is_read() {
        let slot = [&NAME[..], &[0; NAME_ROOM], b"x"].concat();
        // Whoever looks for the mark has it, with something else behind it.
        let file = [b"ELF", &NAME[..], b"\0z", &slot].concat();
        assert_eq!(place_of_name(&file, "my-tool"), Some(3 + NAME.len() + 2 + NAME.len()));
        assert_eq!(place_of_name(&file, &"x".repeat(NAME_ROOM)), None);
        assert_eq!(place_of_name(&[&*slot, &slot].concat(), "x"), None);
        let mut named = slot;
        named[NAME.len()] = b'n';
        assert_eq!((place_of_name(&named, "x"), place_of_name(&NAME, "x")), (None, None));
    }
}
