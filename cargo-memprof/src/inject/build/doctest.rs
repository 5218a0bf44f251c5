//! This program as the compiler of doctests: it slips the harness under each one that is going to run, and notes which
//! doctest it is.

use crate::context::env;
use crate::context::toolchain::Takes;
use crate::files::outlet;
use crate::inject::build::invocation::{Invocation, expand};
use crate::inject::diagnostics;
use crate::inject::flags;
use crate::inject::flags::PROGRAM_CRATE;
use crate::inject::harness::built::Built;
use crate::inject::harness::compile;
use crate::inject::harness::{Form, Hooked};
use crate::protocol::build_record::{BuildRecord, Doctest};
use crate::protocol::plan::Plan;
use crate::ui::error::Error;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

/// Set by rustdoc for the compilation of one doctest: the file it stands in, and a line near its beginning.
const FILE: &str = "UNSTABLE_RUSTDOC_TEST_PATH";
const LINE: &str = "UNSTABLE_RUSTDOC_TEST_LINE";
/// In the name that rustdoc gives to the function it puts a doctest into; its file and line follow.
const FUNCTION: &str = "fn _doctest_main_";
/// Beginning of the name of the program by which rustdoc runs doctests that it compiled as one.
const RUNNER: &str = "doctest_runner_";
/// Where that program runs the one it was asked for.
const ONE_OF_MANY: &str = "return std::process::Termination::report(f());";
/// The harness's name in a doctest.
const ALIAS: &str = "__memprof_harness";
/// How far rustdoc's idea of the line may be from the doctest's first: it counts what it puts in front.
const SLACK: i64 = 8;

/// Compiles what rustdoc wants compiled.
///
/// # Errors
/// Where the compiler cannot be started or there is no plan.
pub fn compile(args: &[OsString]) -> Result<ExitCode, Error> {
    let plan = Plan::of_this_run()?;
    let call = DoctestCall::read(&plan, args)?;
    let expected = call.expected();
    let runs = call.executable.is_some() && !expected.compile_fail;
    if runs && let Some(done) = call.compile_with_harness(&expected)? {
        return Ok(done);
    }
    let mut output = call.run(call.command(&[]), call.source.as_deref().or(call.runner.as_deref()))?;
    if !output.status.success() && expected.compile_fail && !plan.nightly {
        // A stable rustdoc does not look at the codes it is told to expect; made to take our options, it does.
        for code in &expected.codes {
            output.stderr.extend_from_slice(format!("error[{code}]\n").as_bytes());
        }
    }
    Ok(replay(&output))
}

/// One call of the compiler.
struct DoctestCall<'a> {
    plan: &'a Plan,
    /// Argument files expanded.
    args: Vec<OsString>,
    /// What it compiles from its stdin; `None` = a file.
    source: Option<String>,
    /// The program that runs doctests which were compiled as one: its text, which is given to the compiler as the source.
    runner: Option<String>,
    /// What it makes, where that is going to run.
    executable: Option<PathBuf>,
    file: String,
    line: i64,
}

/// What the documentation says of a doctest, as far as it can be found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    should_panic: bool,
    compile_fail: bool,
    /// Codes of errors that rustdoc is told to look for.
    codes: Vec<String>,
}

impl<'a> DoctestCall<'a> {
    fn read(plan: &'a Plan, args: &[OsString]) -> Result<DoctestCall<'a>, Error> {
        let mut args = expand(args, |path| fs_err::read_to_string(path).ok());
        let mut source = None;
        if args.iter().any(|arg| arg == "-") {
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text);
            read.map_err(|error| Error::new("cannot read the doctest").caused_by(error))?;
            source = Some(text);
        }
        let runner =
            args.iter().find(|arg| is_runner(arg)).and_then(|path| fs_err::read_to_string(PathBuf::from(path)).ok());
        if runner.is_some() {
            args.iter_mut().filter(|arg| is_runner(arg)).for_each(|arg| *arg = "-".into());
        } else if !plan.nightly {
            // Ours, and a stable compiler refuses it.
            args.retain(|arg| arg != "-Zunstable-options");
        }
        let follows = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
        let links = !args.iter().any(|arg| arg.to_string_lossy().starts_with("--emit"))
            && args.iter().any(|arg| arg == "--crate-type=bin");
        let executable = follows("-o").filter(|_| links).map(PathBuf::from);
        let variable = |name| std::env::var(name).unwrap_or_default();
        let line = variable(LINE).parse().unwrap_or(0);
        Ok(DoctestCall { plan, source, runner, executable, file: variable(FILE), line, args })
    }

    /// The line that rustdoc names the doctest by; `None` = only a line not far in front of it is known.
    fn exact_line(&self) -> Option<u32> {
        let (_, rest) = self.source.as_ref()?.split_once(FUNCTION)?;
        let (name, _) = rest.split_once('(')?;
        name.rsplit('_').nth(1)?.parse().ok()
    }

    fn expected(&self) -> Expected {
        let Ok(text) = fs_err::read_to_string(&self.file) else { return Expected::default() };
        let from = self.exact_line().map_or(self.line, i64::from);
        let to = if self.exact_line().is_some() { from } else { from + SLACK };
        let numbered = text.lines().zip(1i64..);
        let mut near = numbered.filter(|(_, number)| (from..=to).contains(number)).map(|(line, _)| line);
        near.find_map(Expected::read).unwrap_or_default()
    }

    /// Compiles with the harness; `None` where that fails, and it must be seen how it goes without.
    fn compile_with_harness(&self, expected: &Expected) -> Result<Option<ExitCode>, Error> {
        let Some(place) = self.plan.harness.get(&self.plan.host) else { return Ok(None) };
        let Some(Built::Rlib(rlib)) = compile::wait_for(place, Form::Program, self.plan) else {
            // The driver tells why, once, when cargo has ended.
            let _ = outlet::put(&self.plan.harness_missed, "");
            return Ok(None);
        };
        let Some(text) = self.source.as_ref().or(self.runner.as_ref()) else { return Ok(None) };
        // Named in the source, the harness is linked without any unstable option.
        let (mut text, begins) = beginning(text);
        let unhookable = Invocation::read(&self.args, false, false).unhookable;
        if self.plan.native
            && let Some(refusal) = Hooked::Native.refusal(&self.plan.host, unhookable.as_ref())
        {
            self.write_build_record(expected, begins, Some(refusal))?;
            return Ok(None);
        }
        text.push_str(&format!("\nextern crate {PROGRAM_CRATE} as {ALIAS};\n"));
        let mut output = self.try_harness(&rlib, &text)?;
        let mut reason = (!output.status.success()).then(|| diagnostics::reason(&output.stderr));
        if let Some(first) = &reason
            && !self.plan.native
            && diagnostics::is_own_allocator(&output.stderr)
        {
            match compile::native(self.plan, &self.plan.host, unhookable.as_ref(), Form::Program) {
                Ok(rlib) => {
                    output = self.try_harness(&rlib, &text)?;
                    let failed =
                        || format!("{first}, and with the native hook {}", diagnostics::reason(&output.stderr));
                    reason = (!output.status.success()).then(failed);
                }
                Err(refusal) => reason = Some(format!("{first}, and {refusal}")),
            }
        }
        self.write_build_record(expected, begins, reason.clone())?;
        Ok(reason.is_none().then(|| replay(&output)))
    }

    /// Compiles `text`, which names the harness at `rlib`.
    fn try_harness(&self, rlib: &Path, text: &str) -> Result<Output, Error> {
        let mut flag = OsString::from(format!("--extern={PROGRAM_CRATE}="));
        flag.push(rlib);
        let mut command = self.command(&[flag]);
        if self.runner.is_some() {
            // The text comes from us, and the crate's name would be that of the file.
            command.args(["--crate-name", "doctest_runner"]);
        }
        self.run(command, Some(text))
    }

    fn write_build_record(&self, expected: &Expected, begins: bool, unprofiled: Option<String>) -> Result<(), Error> {
        let Some(executable) = &self.executable else { return Ok(()) };
        let variable = |name| env::non_empty(name).unwrap_or_default();
        let doctest = Doctest {
            list: PathBuf::from(variable(env::DOCTESTS)),
            file: self.file.clone(),
            line: self.exact_line().map_or(self.line, i64::from),
            exact: self.exact_line().is_some(),
            should_panic: expected.should_panic,
            begins,
            merged: self.runner.as_deref().map(merged).unwrap_or_default(),
        };
        let build_record = BuildRecord {
            crate_name: String::new(),
            source: PathBuf::from(&self.file),
            package: variable(env::CARGO_PKG_NAME).to_string_lossy().into_owned(),
            manifest_dir: PathBuf::from(variable(env::CARGO_MANIFEST_DIR)),
            bin_name: None,
            own_main: true,
            listed: None,
            doctest: Some(doctest),
            unprofiled,
            unit: None,
        };
        build_record
            .write(executable)
            .map_err(|error| Error::new("cannot write the build record of a doctest").caused_by(error))
    }

    fn command(&self, added: &[OsString]) -> Command {
        let mut command = Command::new(&self.plan.rustc);
        command.args(&self.args).args(flags::for_all(Takes::of(&self.plan.rustc_version))).args(added);
        if self.runner.is_none() {
            match &self.plan.bootstrap {
                Some(value) => command.env(env::RUSTC_BOOTSTRAP, value),
                None => command.env_remove(env::RUSTC_BOOTSTRAP),
            };
        }
        command
    }

    fn run(&self, mut command: Command, source: Option<&str>) -> Result<Output, Error> {
        let cannot = |error: io::Error| Error::new("cannot start the compiler of a doctest").caused_by(error);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(cannot)?;
        if let (Some(mut stdin), Some(source)) = (child.stdin.take(), source) {
            // A compiler that does not want to read on says why.
            let _ = stdin.write_all(source.as_bytes());
        }
        child.wait_with_output().map_err(cannot)
    }
}

/// Whether an argument is the source of the program that runs doctests which were compiled as one.
fn is_runner(arg: &OsString) -> bool {
    Path::new(arg).file_name().is_some_and(|name| name.to_string_lossy().starts_with(RUNNER))
}

/// A doctest's source with a call of the harness where the doctest's own code begins, and whether that could be done:
/// not where it has a `main` of its own.
fn beginning(source: &str) -> (String, bool) {
    let call = |at: usize| {
        let (before, after) = source.split_at(at);
        (format!("{before}{ALIAS}::begin(); {after}"), true)
    };
    if let Some(at) = source.rfind(ONE_OF_MANY) {
        return call(at);
    }
    let name = source.split_once(FUNCTION).and_then(|(_, rest)| rest.split_once('('));
    let name = name.map(|(name, _)| format!("}} _doctest_main_{name}("));
    match name.and_then(|name| source.rfind(&name)) {
        Some(at) => call(at + "} ".len()),
        None => (source.to_owned(), false),
    }
}

impl Expected {
    /// Reads the line that opens a block of code; `None` where it does not.
    fn read(line: &str) -> Option<Expected> {
        let (_, attributes) = line.split_once("```").or_else(|| line.split_once("~~~"))?;
        let words: Vec<&str> = attributes.split([',', ' ', '\t']).map(str::trim).collect();
        let is_code = |word: &&&str| {
            word.len() == 5 && word.starts_with('E') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
        };
        Some(Expected {
            should_panic: words.contains(&"should_panic"),
            compile_fail: words.contains(&"compile_fail"),
            codes: words.iter().filter(is_code).map(|word| (*word).to_owned()).collect(),
        })
    }
}

/// The doctests that were compiled as one, from the text of the program that runs them: name, and whether it is to panic.
fn merged(runner: &str) -> Vec<(String, bool)> {
    let mut tests = Vec::new();
    for (_, rest) in
        runner.match_indices("TestDescAndFn::new_doctest(").map(|(at, call)| (at, &runner[at + call.len()..]))
    {
        // `"name", ignore, "file", line, no_run, should_panic,`; a name may hold anything but a bare quote.
        let Some(quoted) = rest.trim_start().strip_prefix('"') else { continue };
        let Some(end) = end_of_string(quoted) else { continue };
        let name = quoted[..end].replace("\\\"", "\"").replace("\\\\", "\\");
        let flags = quoted[end + 1..].split("test::StaticTestFn").next().unwrap_or_default();
        let should_panic =
            flags.trim().trim_end_matches(',').rsplit(',').next().is_some_and(|last| last.trim() == "true");
        tests.push((name, should_panic));
    }
    tests
}

/// Where the string ends whose text begins here.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn replay(output: &Output) -> ExitCode {
    // Who does not listen any more does not care either.
    let _ = io::stdout().write_all(&output.stdout);
    let _ = io::stderr().write_all(&output.stderr);
    ExitCode::from(output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(101))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_block_says_what_is_expected() {
        let expected = |should_panic, compile_fail, codes: &[&str]| {
            let codes = codes.iter().map(|code| (*code).to_owned()).collect();
            Some(Expected { should_panic, compile_fail, codes })
        };
        assert_eq!(Expected::read("/// ```should_panic"), expected(true, false, &[]));
        assert_eq!(Expected::read("//! ```compile_fail,E0308"), expected(false, true, &["E0308"]));
        assert_eq!(Expected::read("    /// ```rust, edition2024"), expected(false, false, &[]));
        assert_eq!(Expected::read("/// let x = 1;"), None);
    }

    #[test]
    fn the_recording_begins_where_the_doctest_does() {
        let source =
            "fn main() { fn _doctest_main_a_rs_2_0() -> Result<(), E> {\nx();\n} _doctest_main_a_rs_2_0().unwrap() }";
        let (text, begins) = beginning(source);
        assert!(
            begins && text.ends_with("} __memprof_harness::begin(); _doctest_main_a_rs_2_0().unwrap() }"),
            "{text}"
        );
        assert_eq!(beginning("fn main() { x() }"), ("fn main() { x() }".to_owned(), false));
    }

    #[test]
    fn merged_doctests_are_known_by_their_place_in_the_list() {
        let call = |name: &str, should_panic: bool| {
            format!(
                "pub const TEST: test::TestDescAndFn = test::TestDescAndFn::new_doctest(\n\"{name}\", false, \"src/lib.rs\", 2, false, {should_panic},\ntest::StaticTestFn(\n|| {{}},\n));\n"
            )
        };
        let text = call("src/lib.rs - (line 2)", false) + &call("src/lib.rs - a<\\\"x\\\"> (line 5)", true);
        let expected =
            [("src/lib.rs - (line 2)".to_owned(), false), ("src/lib.rs - a<\"x\"> (line 5)".to_owned(), true)];
        assert_eq!(merged(&text), expected);
    }
}
