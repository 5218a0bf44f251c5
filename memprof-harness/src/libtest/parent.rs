//! The parent: gives real libtest a list of closures in place of the tests, each of which runs its test in a child and
//! reproduces what happened there, so that libtest's own machinery comes to its own verdict.
#![allow(unsafe_code)] // std has no way to say a word at the end of the process

use super::bencher;
use super::child::{InChild, PANIC_TEXT_EXTENSION};
use super::face::{OnPanic, FAILURE};
use super::folder;
use super::options::{Options, Plan, SampleRate, NO_CAPTURE};
use super::process::{self, run_collecting, run_inheriting};
use super::shape::{self, EntryReturn};
use super::verdict::{self, Ending, Expectation, Reached};
use crate::emulator::Emulator;
use crate::ledger::{
    fnv1a, layout, source_in_every_checkout, target_of, Benchmark, Counts, Finish, Hook, Identity, Inventory,
    LedgerFile, Listed, OutcomeCode, Seed,
};
use crate::run_options::{Detail, RunOptions};
use crate::settle::{Rules, Runs};
use crate::std_start::StdStart;
use crate::{aslr, environment, file_limit};
use real::{Bencher, ShouldPanic, TestDesc, TestDescAndFn, TestFn};
use std::ffi::OsString;
use std::io::Write;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io};

/// What std says under the first panic of a process.
const ADVICE: &str = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

/// What all tests of one run share.
struct Run {
    rate: SampleRate,
    folder: PathBuf,
    /// Where the lists of its tests are.
    lists: PathBuf,
    exe: Executable,
    /// Keeps the ledgers of different executables apart; the same in every run.
    exe_hash: u64,
    /// What a test sees as its process's arguments.
    arguments: Vec<OsString>,
    package: String,
    manifest_dir: PathBuf,
    inherit_output: bool,
    run_options: RunOptions,
    /// By which tests are run again; `None` = they are run as often as the modes say.
    rules: Option<Rules>,
    on_panic: OnPanic,
    hook: Hook,
    /// See [`environment::THREAD_INFO`].
    thread_info: String,
    /// Std's advice to ask for backtraces has been shown, which it gives once for each process, and the tests have one each.
    advised: AtomicBool,
}

impl Run {
    /// What has the programs that a test starts record themselves, as the test's own.
    fn for_programs(&self, ledger: &Path, seed: Seed) -> OsString {
        let stem = ledger.file_stem().unwrap_or_default();
        let detail = Detail { rate: self.rate.0, depth: self.run_options.depth };
        let mut asked = OsString::from(format!("{detail} {} {} ", seed.to_text(), stem.to_string_lossy()));
        asked.push(&self.folder);
        asked
    }
}

/// One test, as far as the parent has to know it.
#[derive(Clone)]
struct Test {
    /// Its place in the executable's own list, which is the same in the child.
    index: usize,
    name: String,
    source_file: &'static str,
    start_line: usize,
    expectation: Expectation,
    part: Part,
}

/// What the child records of it.
#[derive(Clone, Copy)]
enum Part {
    /// The whole function.
    Test,
    /// The whole function, where it iterates nothing that was measured.
    Benchmark,
    Iteration {
        /// Which call of `iter` was measured, the first is 1.
        call: NonZeroU32,
        /// Of an iteration's time, in nanoseconds.
        median_ns: f64,
    },
}

/// What the process was told besides its arguments.
pub(super) struct Given {
    /// See [`environment::MODES`].
    pub(super) run_options: Option<OsString>,
    pub(super) emulator: Emulator,
    pub(super) on_panic: OnPanic,
}

/// Runs the executable's tests under real libtest, recording each.
pub(super) fn run(tests: &[&TestDescAndFn], options: Options, plan: Plan, given: Given) -> EntryReturn {
    let on_panic = given.on_panic;
    let listed = || shape::run_list(&options.rest, tests.iter().map(|test| untouched(test)).collect());
    if options.list && !plan.by_environment {
        return listed();
    }
    let by_environment = plan.by_environment;
    let run = match prepare(&options, plan, given) {
        Ok(run) => Arc::new(run),
        Err(refusal) if by_environment && refusal.is_of_folder() => return shape::plain(tests, on_panic),
        Err(refusal) => refusal.give_up(),
    };
    match run.leave_inventory(tests) {
        Err(refusal) if by_environment && refusal.is_of_folder() => return shape::plain(tests, on_panic),
        Err(refusal) => refusal.give_up(),
        Ok(()) => {}
    }
    if options.list {
        // Whoever runs tests one by one, as nextest does, may list an executable and run none of its tests.
        return listed();
    }
    let share = run.share(tests);
    let tests = tests.iter().enumerate().filter(|(index, _)| share[*index]);
    let list = tests.map(|(index, test)| match test.testfn {
        TestFn::StaticBenchFn(_) if options.bench && run.leaves_alone(test) => noted(&run, test),
        TestFn::StaticBenchFn(function) if options.bench => measured(&run, index, test, function),
        TestFn::StaticTestFn(_) if run.leaves_alone(test) => noted(&run, test),
        _ => recorded(&run, index, test),
    });
    shape::run_list(&options.rest, list.collect())
}

/// A copy, as libtest makes one for itself.
fn untouched(test: &TestDescAndFn) -> TestDescAndFn {
    let testfn = match test.testfn {
        TestFn::StaticTestFn(function) => TestFn::StaticTestFn(function),
        TestFn::StaticBenchFn(function) => TestFn::StaticBenchFn(function),
        _ => unreachable!("rustc's expansion makes static tests only"),
    };
    TestDescAndFn { desc: test.desc.clone(), testfn }
}

fn recorded(run: &Arc<Run>, index: usize, test: &TestDescAndFn) -> TestDescAndFn {
    let run = Arc::clone(run);
    let test_in_child = Test::new(index, &test.desc);
    TestDescAndFn { desc: test.desc.clone(), testfn: shape::dyn_test(move || test_in_child.run(&run)) }
}

/// A test that is run here, as by libtest itself, and counted.
fn noted(run: &Arc<Run>, test: &TestDescAndFn) -> TestDescAndFn {
    let run = Arc::clone(run);
    let name = test.desc.name.as_slice().to_owned();
    let testfn = match test.testfn {
        TestFn::StaticBenchFn(function) => shape::dyn_bench(move |bencher| {
            run.note(Inventory::UNRECORDED, &name);
            function(bencher)
        }),
        TestFn::StaticTestFn(function) => shape::dyn_test(move || {
            run.note(Inventory::UNRECORDED, &name);
            function()
        }),
        _ => return untouched(test),
    };
    TestDescAndFn { desc: test.desc.clone(), testfn }
}

/// A benchmark: libtest measures it in this process, and one iteration is recorded in a child. Its verdict is libtest's.
fn measured(
    run: &Arc<Run>,
    index: usize,
    test: &TestDescAndFn,
    function: fn(&mut Bencher) -> Result<(), String>,
) -> TestDescAndFn {
    let run = Arc::clone(run);
    let in_child = Test::new(index, &test.desc);
    let call = move |bencher: &mut Bencher| {
        let before = bencher::iterated();
        let ended = catch_unwind(AssertUnwindSafe(|| bencher.bench(function)));
        // libtest's figures are those of the last call of `iter`.
        let part = match (&ended, NonZeroU32::new(bencher::iterated().wrapping_sub(before))) {
            (Ok(Ok(Some(summary))), Some(call)) => Part::Iteration { call, median_ns: summary.median },
            _ => Part::Benchmark,
        };
        let recorded = Test { part, ..in_child.clone() }.run(&run);
        match ended {
            Ok(ended) => ended.and(recorded),
            Err(panic) => resume_unwind(panic),
        }
    };
    TestDescAndFn { desc: test.desc.clone(), testfn: shape::dyn_bench(call) }
}

/// # Errors
/// Where nothing can be recorded at all.
fn prepare(options: &Options, plan: Plan, given: Given) -> Result<Run, Refusal> {
    let Given { run_options, emulator, on_panic } = given;
    let run_options = understood(run_options)?;
    let rules = run_options.rules.as_ref().map(|file| rules(Path::new(file))).transpose()?;
    let hook = hook(&emulator);
    let exe = Executable::current(emulator).map_err(|cause| Refusal {
        what: "cannot start tests in processes of their own".into(),
        cause,
        help: "mount `/proc`, or run without profiling",
    })?;
    let by_hand = plan.folder.is_none();
    let folder = plan.folder.unwrap_or_else(|| folder::fresh(&exe.path));
    let made = fs::create_dir_all(&folder).and_then(|()| folder.canonicalize());
    let folder = made.map_err(|cause| Refusal {
        what: format!("cannot keep ledgers in `{}`", folder.display()),
        cause,
        help: "pass a folder that can be written to with `--memprofile DIR`",
    })?;
    if by_hand {
        folder::announce_at_exit(&folder);
    }
    Ok(Run {
        rate: plan.rate,
        lists: if by_hand { folder.clone() } else { Inventory::folder(&folder) },
        folder,
        exe_hash: fnv1a(exe.path.as_os_str().as_bytes()),
        exe,
        arguments: options.rest.iter().map(OsString::from).collect(),
        package: env::var("CARGO_PKG_NAME").unwrap_or_default(),
        advised: AtomicBool::new(false),
        manifest_dir: env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default(),
        inherit_output: options.no_capture || env::var_os(NO_CAPTURE).is_some_and(|value| value != "0"),
        run_options,
        rules,
        on_panic,
        hook,
        thread_info: StdStart::of_this_program().unwrap_or_default().thread_info_text(),
    })
}

fn understood(run_options: Option<OsString>) -> Result<RunOptions, Refusal> {
    let Some(text) = run_options else { return Ok(RunOptions::default()) };
    text.to_string_lossy().parse().map_err(|error: String| Refusal {
        what: format!("cannot run the tests as `{}` says", environment::MODES),
        cause: io::Error::other(error),
        help: "run them with `cargo memprof`, which sets it",
    })
}

fn rules(file: &Path) -> Result<Rules, Refusal> {
    let read = fs::read_to_string(file).and_then(|text| text.parse().map_err(io::Error::other));
    read.map_err(|cause| Refusal {
        what: format!("cannot run the tests by the rules in `{}`", file.display()),
        cause,
        help: "run them with `cargo memprof`, which writes them",
    })
}

#[cfg(not(memprof_native))]
fn hook(_: &Emulator) -> Hook {
    Hook::Rust
}

#[cfg(memprof_native)]
fn hook(emulator: &Emulator) -> Hook {
    crate::probe::ask(emulator)
}

/// Why nothing can be recorded.
struct Refusal {
    what: String,
    cause: io::Error,
    help: &'static str,
}

impl Refusal {
    fn give_up(&self) -> ! {
        let Refusal { what, cause, help } = self;
        eprintln!("error: {what}");
        eprintln!("  caused by: {cause}");
        eprintln!("  help: {help}");
        std::process::exit(FAILURE)
    }

    /// Whether it is the ledgers' folder that this process may not write to, or cannot see: somebody between `cargo memprof` and
    /// this process made it another user's, or put it elsewhere. The tests are no worse for it, so they run as ever, and
    /// that there is no inventory tells `cargo memprof`.
    fn is_of_folder(&self) -> bool {
        let errors = [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENOENT, libc::ENOTDIR];
        self.cause.raw_os_error().is_some_and(|error| errors.contains(&error))
    }
}

impl Run {
    /// Names all tests for whoever reads the ledgers: those that are filtered out have none.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn leave_inventory(&self, tests: &[&TestDescAndFn]) -> Result<(), Refusal> {
        let listed =
            |test: &&TestDescAndFn| Listed { name: test.desc.name.as_slice().to_owned(), ignored: test.desc.ignore };
        let inventory = Inventory { exe: self.exe.path.clone(), tests: tests.iter().map(listed).collect() };
        let path = self.list(Inventory::EXTENSION);
        let write = || {
            self.put_list(&path, &inventory, |draft| fs::rename(draft, &path))?;
            if !self.run_options.only.is_empty() {
                self.begin_list(Inventory::UNRECORDED)?;
            }
            self.begin_list(Inventory::BEGUN)
        };
        file_limit::as_error(write).map_err(|cause| Refusal {
            what: format!("cannot write `{}`", path.display()),
            cause,
            help: "make room on the disk",
        })
    }

    /// Makes the list of the name that ends in `ending`, where another process of this executable has not: nextest starts one for
    /// each test.
    fn begin_list(&self, ending: &str) -> io::Result<()> {
        let path = self.list(ending);
        if path.exists() {
            return Ok(());
        }
        let none = Inventory { exe: self.exe.path.clone(), tests: Vec::new() };
        self.put_list(&path, &none, |draft| {
            match fs::hard_link(draft, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            fs::remove_file(draft)
        })
    }

    /// Writes a list beside its place, and has `place_it` put it there. A test may have put a link in either place: none is followed.
    fn put_list(
        &self,
        path: &Path,
        list: &Inventory,
        place_it: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&draft);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&draft)?;
        file.write_all(&list.to_bytes())?;
        place_it(&draft)
    }

    fn list(&self, ending: &str) -> PathBuf {
        self.lists.join(format!("{:016x}.{ending}", self.exe_hash))
    }

    /// Adds a test to a list. What cannot be noted is not counted.
    fn note(&self, ending: &str, name: &str) {
        let _ = fs::OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.list(ending))
            .and_then(|mut file| file.write_all(&Inventory::entry(name, false)));
    }

    /// Whether the test is to be run without being recorded. Where panics abort, libtest starts itself again for each test,
    /// and would find nothing but our closures.
    fn leaves_alone(&self, test: &TestDescAndFn) -> bool {
        self.on_panic == OnPanic::Unwind && !self.run_options.records(test.desc.name.as_slice())
    }

    /// For each test whether it is in the share that is to be run.
    fn share(&self, tests: &[&TestDescAndFn]) -> Vec<bool> {
        let names: Vec<&str> = tests.iter().map(|test| test.desc.name.as_slice()).collect();
        self.run_options.partition.map_or_else(|| vec![true; names.len()], |partition| partition.selects(&names))
    }
}

impl Test {
    fn new(index: usize, desc: &TestDesc) -> Test {
        let expectation = match desc.should_panic {
            ShouldPanic::No => Expectation::Return,
            ShouldPanic::Yes => Expectation::Panic,
            ShouldPanic::YesWithMessage(text) => Expectation::PanicWith(text),
        };
        let name = desc.name.as_slice().to_owned();
        Test { index, name, source_file: desc.source_file, start_line: desc.start_line, expectation, part: Part::Test }
    }

    /// Runs the test in a child and reproduces how it ended, for libtest to judge.
    fn run(&self, run: &Run) -> Result<(), String> {
        match self.record_all(run) {
            Ok(ending) => self.reproduce(ending, run.on_panic),
            Err(error) => {
                println!("error: cannot run `{}` in a process of its own", self.name);
                println!("  caused by: {error}");
                println!(
                    "  help: see that `{}` can be written to and has room, or run without profiling",
                    run.folder.display()
                );
                self.fail()
            }
        }
    }

    /// Records the test as often as it is to be, or until it does not end as expected. The last ending is the test's, of those that the user
    /// has asked for: what we run besides changes no verdict, and says nothing.
    fn record_all(&self, run: &Run) -> io::Result<Ending> {
        let rule = run.rules.as_ref().map(|rules| rules.of(&run.package, &target_of(&run.exe.path), &self.name));
        let mut runs = Runs::new(rule.unwrap_or_default(), run.run_options.repeat);
        loop {
            let (ending, counts, wall) = self.record(run, u64::from(runs.count()))?;
            if ending.outcome(self.expectation) != OutcomeCode::Ok || !runs.again(counts, wall) {
                return Ok(ending);
            }
            if runs.is_ours() {
                self.record_again(run, &mut runs)?;
                return Ok(ending);
            }
        }
    }

    /// Records the test until its figures are known, or it does not end as expected: what cannot be run twice is run once.
    fn record_again(&self, run: &Run, runs: &mut Runs) -> io::Result<()> {
        loop {
            let (ledger, ended) = self.start(run, self.seed(run, u64::from(runs.count())), false)?;
            let ending = self.finish(&ledger, &ended, run.run_options.timeout)?;
            if ending.outcome(self.expectation) != OutcomeCode::Ok {
                return fs::remove_file(ledger.path());
            }
            if !runs.again(ledger.counts().ok(), ended.process.wall) {
                return Ok(());
            }
        }
    }

    /// `repeat` tells the recordings of a test apart that one run makes.
    fn seed(&self, run: &Run, repeat: u64) -> Seed {
        let source_file = source_in_every_checkout(self.source_file, &run.manifest_dir);
        Seed::of_test(&run.package, &target_of(&run.exe.path), source_file, &self.name, repeat)
    }

    fn record(&self, run: &Run, repeat: u64) -> io::Result<(Ending, Option<Counts>, Duration)> {
        let (ledger, ended) = self.start(run, self.seed(run, repeat), run.inherit_output)?;
        let ending = self.finish(&ledger, &ended, run.run_options.timeout)?;
        // libtest captures what is printed here, and shows it where it shows a test's output: that of tests that failed.
        let output = String::from_utf8_lossy(&ended.output);
        let failed = ending.outcome(self.expectation) != OutcomeCode::Ok;
        if failed && output.contains(ADVICE) && run.advised.swap(true, Ordering::Relaxed) {
            print!("{}", output.replacen(ADVICE, "", 1));
        } else {
            print!("{output}");
        }
        if let Ending::Broken(sentence) | Ending::TimedOut(sentence) = &ending {
            let unfinished = !matches!(ended.output.last(), None | Some(b'\n'));
            println!("{}{sentence}", if unfinished { "\n" } else { "" });
            if let Some(remark) = verdict::remark(&ended.output) {
                println!("{remark}");
            }
        }
        let counts = run.rules.is_some().then(|| ledger.counts().ok()).flatten();
        Ok((ending, counts, ended.process.wall))
    }

    /// Runs the test in a child. Where another test takes the ledger away before the child has opened it, the test has not begun, and
    /// gets another.
    fn start(&self, run: &Run, seed: Seed, inherit_output: bool) -> io::Result<(LedgerFile, process::ProcessOutput)> {
        let mut left = 16;
        loop {
            let ledger = self.create_ledger(run, seed)?;
            run.note(Inventory::BEGUN, &self.name);
            let ended = self.start_into(run, seed, &ledger, inherit_output)?;
            left -= 1;
            if left == 0 || ledger.state()? != layout::state::CREATED || !ledger.is_removed()? {
                folder::RECORDED.fetch_add(1, Ordering::Relaxed);
                return Ok((ledger, ended));
            }
        }
    }

    fn start_into(
        &self,
        run: &Run,
        seed: Seed,
        ledger: &LedgerFile,
        inherit_output: bool,
    ) -> io::Result<process::ProcessOutput> {
        let mut command = run.exe.command(&run.arguments)?;
        command.env(environment::CHILD, self.in_child().to_string()).env(environment::LEDGER, ledger.path());
        // The ledger has the rate as well, but the first allocation of the child comes before its ledger is open.
        command.env(environment::RATE, run.rate.0.to_string());
        command.env(environment::PROGRAM, run.for_programs(ledger.path(), seed));
        if !run.thread_info.is_empty() {
            command.env(environment::THREAD_INFO, &run.thread_info);
        }
        if run.run_options.deterministic {
            command.env(environment::MODES, run.run_options.to_string());
            aslr::fix(&mut command);
        }
        let time = run.run_options.timeout;
        if inherit_output {
            run_inheriting(command, time)
        } else {
            run_collecting(command, time)
        }
    }

    fn in_child(&self) -> InChild {
        let call = match self.part {
            Part::Iteration { call, .. } => Some(call),
            Part::Test | Part::Benchmark => None,
        };
        InChild { index: self.index, call }
    }

    fn create_ledger(&self, run: &Run, seed: Seed) -> io::Result<LedgerFile> {
        let identity = Identity {
            name: self.name.clone(),
            exe: run.exe.path.clone(),
            package: run.package.clone(),
            manifest_dir: run.manifest_dir.clone(),
            source_file: self.source_file.to_owned(),
            start_line: u32::try_from(self.start_line).unwrap_or(0),
            root: String::new(),
            benchmark: match self.part {
                Part::Test => None,
                Part::Benchmark => Some(Benchmark::NoIteration),
                Part::Iteration { median_ns, .. } => {
                    Some(Benchmark::Iteration { ps: (median_ns * 1000.0).round() as u64 })
                }
            },
            hook: run.hook,
            seed,
        };
        let stem = format!("{:016x}-{}", run.exe_hash, self.index);
        let mut path = run.folder.join(format!("{stem}.ledger"));
        for again in 2.. {
            match LedgerFile::create(&path, run.rate.0, &identity) {
                // The folder was used for the same executable before; what is there stays.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = run.folder.join(format!("{stem}-{again}.ledger"));
                }
                // A test may clean up more than its own. That is no reason for the next one to fail.
                Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::create_dir_all(&run.folder) {
                    // It is being cleaned up at this moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    made => made?,
                },
                result => {
                    let ledger = result?;
                    if let Some(depth) = run.run_options.depth {
                        ledger.set_depth(depth.get())?;
                    }
                    return Ok(ledger);
                }
            }
        }
        unreachable!("there are more numbers than files")
    }

    fn finish(
        &self,
        ledger: &LedgerFile,
        ended: &process::ProcessOutput,
        time: Option<Duration>,
    ) -> io::Result<Ending> {
        let ending = match time.filter(|_| ended.process.timed_out) {
            Some(time) => Ending::timed_out(time),
            None => {
                let reached = Reached { state: ledger.state()?, was_ending: ledger.was_ending()? };
                Ending::new(reached, ended.process.status, || match self.expectation {
                    Expectation::PanicWith(_) => take_panic_text(ledger.path()),
                    _ => None,
                })
            }
        };
        ledger.finish(Finish {
            outcome: ending.outcome(self.expectation),
            wait_status: ended.process.status.into_raw(),
            wall_ns: u64::try_from(ended.process.wall.as_nanos()).unwrap_or(u64::MAX),
        })?;
        Ok(ending)
    }

    fn reproduce(&self, ending: Ending, on_panic: OnPanic) -> Result<(), String> {
        match ending {
            Ending::Returned => Ok(()),
            Ending::ReturnedErr => Err(String::new()),
            // libtest treats the text of an error as it does that of a panic, so nothing has to be unwound.
            Ending::Panicked(Some(text)) => Err(text),
            Ending::Panicked(None) => match self.expectation {
                Expectation::Return | Expectation::Panic => Err(String::new()),
                Expectation::PanicWith(_) if on_panic == OnPanic::Unwind => resume_unwind(Box::new(NotText)),
                Expectation::PanicWith(_) => {
                    println!("note: the test panicked with a value that is not a string");
                    self.fail()
                }
            },
            Ending::Broken(_) | Ending::TimedOut(_) => self.fail(),
        }
    }

    /// What libtest takes for a failure whatever was expected: a test that was to panic fails by returning.
    fn fail(&self) -> Result<(), String> {
        match self.expectation {
            Expectation::Return => Err(String::new()),
            Expectation::Panic | Expectation::PanicWith(_) => Ok(()),
        }
    }
}

/// The file this process runs.
struct Executable {
    path: PathBuf,
    /// Device and inode: what the path meant when the run began.
    file: (u64, u64),
    emulator: Emulator,
}

impl Executable {
    fn current(emulator: Emulator) -> io::Result<Executable> {
        let path = env::current_exe()?;
        let file = file_id(&path)?;
        Ok(Executable { path, file, emulator })
    }

    /// A child with these arguments, its name first. A build in mid-run may put another file at our path, whose list of tests is
    /// another; the kernel still has ours.
    ///
    /// # Errors
    /// Where ours cannot be had: an emulator reads the file by its path.
    fn command(&self, arguments: &[OsString]) -> io::Result<Command> {
        let ours = file_id(&self.path).is_ok_and(|file| file == self.file);
        if !ours && !self.emulator.is_none() {
            return Err(io::Error::other("another file was put in the place of its executable"));
        }
        let mut command = self.emulator.command(if ours { &self.path } else { Path::new("/proc/self/exe") });
        let mut arguments = arguments.iter();
        let name = arguments.next().filter(|_| self.emulator.is_none());
        if let Some(name) = name {
            command.arg0(name);
        }
        command.args(arguments);
        Ok(command)
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Stands for a panic's payload that was no string.
struct NotText;

/// The text that the child left beside its ledger; `None` where the payload was no string.
fn take_panic_text(ledger: &Path) -> Option<String> {
    let path = ledger.with_extension(PANIC_TEXT_EXTENSION);
    let text = fs::read(&path).ok()?;
    // It was read; a file that cannot be removed does no harm, since only ledgers are collected.
    let _ = fs::remove_file(&path);
    Some(String::from_utf8_lossy(&text).into_owned())
}
