//! This program as cargo's rustdoc. It runs the real rustdoc, which has us compile its doctests. It also asks rustdoc for the doctests' names,
//! because the compiler of a doctest is told its line and nothing else.

use crate::context::env;
use crate::files::outlet;
use crate::inject::build::invocation::{Invocation, expand};
use crate::protocol::build_script;
use crate::protocol::library::Library;
use crate::protocol::plan::Plan;
use crate::protocol::{DOCTEST_PROCESS, RUNNER};
use crate::ui::error::Error;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The folder of that link, in the folder of our builds.
pub const FOLDER: &str = ".memprof-rustdoc";
/// The name of the link by which cargo calls us for this.
pub const NAME: &str = "rustdoc";
/// The name of the link by which rustdoc calls us as the compiler of its doctests.
pub const COMPILER: &str = "doctest-rustc";

/// Whether this process was called by one of the links above, and by which.
pub fn called_as() -> Option<&'static str> {
    let called = std::env::args_os().next()?;
    let is_in_our_folder = Path::new(&called).parent().is_some_and(|folder| folder.ends_with(FOLDER));
    if std::env::var_os(env::PLAN).is_none() && !is_in_our_folder {
        return None;
    }
    [NAME, COMPILER, DOCTEST_PROCESS].into_iter().find(|name| Path::new(&called).file_name() == Some(OsStr::new(name)))
}

/// Does what rustdoc was called for.
///
/// # Errors
/// Where it cannot be started or there is no plan.
pub fn wrap(args: &[OsString]) -> Result<ExitCode, Error> {
    let plan = Plan::of_this_run()?;
    let has = |flag: &str| args.iter().any(|arg| arg == flag || arg.to_string_lossy().starts_with(&format!("{flag}=")));
    if !has("--test") || has("--test-builder") || build_script::is_another_build(&plan) {
        let mut command = command(&plan, args);
        if has("--test") {
            // Cargo tells rustdoc to start doctests through our runner, which puts the environment back for them.
            command.env(env::PLAN, std::env::var_os(env::PLAN).unwrap_or_default());
        }
        let error = command.exec();
        return Err(cannot_start(&command, &error));
    }
    let list = plan.ran.with_file_name(format!("doctests-{:010}", std::process::id()));
    // What is lost without it is that the doctests' dependencies are held against the baseline's.
    let _ = unit(args).write(&list);
    let mut real = command(&plan, args);
    real.args(["-Zunstable-options", "--test-builder"]).arg(plan.links.join(COMPILER));
    if !has(RUNTOOL) && !has(OLD_RUNTOOL) {
        // Cargo before 1.89 has doctests run without its runner.
        let exe = std::env::current_exe().map_err(|error| Error::new("cannot find this program").caused_by(error))?;
        let runtool = runtool(&plan);
        let argument = format!("{runtool}-arg");
        real.arg(runtool).arg(exe).args([&argument, RUNNER, &argument, &plan.host]);
    }
    // What rustdoc says itself needs no stable compiler, but these two options do.
    real.env(env::RUSTC_BOOTSTRAP, bootstrap(args)).env(env::DOCTESTS, &list);
    // The compiler and the runner of the doctests need the plan, so only they put the environment back.
    real.env(env::PLAN, std::env::var_os(env::PLAN).unwrap_or_default());
    std::thread::scope(|scope| {
        scope.spawn(|| put_down_names(&plan, args, &list));
        let status = real.status().map_err(|error| cannot_start(&real, &error))?;
        Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(101)))
    })
}

/// The library whose doctests are run, as those that are compiled see it.
fn unit(args: &[OsString]) -> Library {
    let has_build_script = std::env::var_os(env::OUT_DIR).is_some();
    let words = expand(args, |path| fs_err::read_to_string(path).ok());
    let invocation = Invocation::read(&words, false, has_build_script);
    Library::of(&invocation.crate_name, &invocation.settings)
}

/// The option that names what starts a doctest.
const RUNTOOL: &str = "--test-runtool";
/// What it was called before it was stable.
const OLD_RUNTOOL: &str = "--runtool";

/// The one that rustdoc knows.
fn runtool(plan: &Plan) -> &'static str {
    let help = command(plan, &["--help".into()]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let old = help.is_ok_and(|help| !String::from_utf8_lossy(&help.stdout).contains(RUNTOOL));
    if old { OLD_RUNTOOL } else { RUNTOOL }
}

/// What allows rustdoc, called with `args`, the options that are added.
fn bootstrap(args: &[OsString]) -> OsString {
    let mut words = args.iter().map(|arg| arg.to_string_lossy());
    let krate = words.find_map(|word| match word.strip_prefix("--crate-name")? {
        "" => Some(None),
        inline => Some(inline.strip_prefix('=').map(str::to_owned)),
    });
    let krate = krate.and_then(|inline| inline.or_else(|| words.next().map(|word| word.into_owned())));
    match krate {
        Some(krate) => env::bootstrap(std::env::var_os(env::RUSTC_BOOTSTRAP), &krate),
        None => "1".into(),
    }
}

fn command(plan: &Plan, args: &[OsString]) -> Command {
    let mut command = Command::new(&plan.rustdoc);
    command.args(args);
    plan.saved.restore(&mut command);
    command
}

/// Asks for the names of the doctests, without compiling any. Without them doctests are known by their lines.
fn put_down_names(plan: &Plan, args: &[OsString], list: &Path) {
    let mut command = command(plan, args);
    // Where doctests are compiled as one, rustdoc lists them one by one as soon as that fails.
    command.args(["-Zunstable-options", "--test-builder", "/bin/false"]);
    command.args(["--test-args", "--list", "--test-args", "--format=terse"]);
    command.env(env::RUSTC_BOOTSTRAP, bootstrap(args)).stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = command.output() else { return };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let names: Vec<&str> = stdout.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    // The names are all that is lost.
    let _ = outlet::put(list, names.join("\n"));
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Error {
    let program = PathBuf::from(command.get_program());
    Error::new(format!("cannot start `{}`", program.display())).caused_by(error)
}
