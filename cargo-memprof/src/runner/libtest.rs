//! An executable with libtest that is recorded by the list of its tests, and not by wrapping libtest: which part of a
//! test's process is the test, how the executable is asked for one, and how its list is read.

use super::call::{RunnerCall, cannot_note};
use crate::context::arguments::Arguments;
use crate::context::cargo_flags::Tool;
use crate::files::outlet;
use crate::runner::listing::{self, Tests};
use crate::ui::error::Error;
use memprof_harness::environment;
use memprof_harness::ledger::{Inventory, Listed};
use object::{Object, ObjectSymbol, SymbolKind};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// The function through which libtest calls every test, and nothing else.
const CALLER: &str = "test::__rust_begin_short_backtrace";

impl RunnerCall<'_> {
    /// Changes how the `tests` that the executable listed are asked for, and adds what it has besides. `args` are the user's.
    ///
    /// # Errors
    /// Where what it has cannot be written down.
    pub fn as_libtest(&mut self, tests: &mut Tests, args: &[OsString]) -> Result<(), Error> {
        let Some(why) = self.log_entry.build_record.as_ref().and_then(|build_record| build_record.listed.clone())
        else {
            return Ok(());
        };
        let measures = Arguments::new(Tool::Libtest, args).has("bench");
        tests.alone = if measures { Box::new(iteration) } else { Box::new(only) };
        tests.on_threads = true;
        tests.window = window(self.log_entry.exe.as_path());
        let mut remark = format!("recorded by the list of its tests: {why}");
        if tests.window.is_none() {
            remark.push_str(
                "; its symbols are missing, so each test's metrics have what libtest does on the test's thread",
            );
        }
        self.log_entry.remark = Some(remark).filter(|_| !tests.names.is_empty());
        self.leave_inventory()
    }

    /// Writes down which tests there are, whether they run or not; nothing where the executable does not list them.
    fn leave_inventory(&self) -> Result<(), Error> {
        let list = |flags: &[&str]| {
            let words = ["--list", "--format", "terse"].iter().chain(flags);
            let words: Vec<OsString> = words.map(OsString::from).collect();
            listing::of_libtest(self.command(&words))
        };
        // Without a list nobody knows what was not recorded, and no inventory says so.
        let Some(all) = list(&[]) else { return Ok(()) };
        let ignored = list(&["--ignored"]).unwrap_or_default();
        let tests = all.into_iter().map(|name| Listed { ignored: ignored.contains(&name), name });
        let inventory = Inventory { exe: self.log_entry.exe.as_path().to_owned(), tests: tests.collect() };
        let mut hasher = DefaultHasher::new();
        inventory.exe.hash(&mut hasher);
        let path = self.lists().join(format!("{:016x}.{}", hasher.finish(), Inventory::EXTENSION));
        outlet::put(path, inventory.to_bytes()).map_err(|error| cannot_note("which tests there are", &error))
    }
}

/// What of the process of a test of `exe` is recorded, as [`environment::WINDOW`] says it; `None` = its symbols do not say.
pub fn window(exe: &Path) -> Option<String> {
    let bytes = fs_err::read(exe).ok()?;
    let file = object::File::parse(bytes.as_slice()).ok()?;
    let callers = file.symbols().filter(|symbol| {
        let name = |name: &str| format!("{:#}", rustc_demangle::demangle(name)).starts_with(CALLER);
        symbol.kind() == SymbolKind::Text && symbol.size() > 0 && symbol.name().is_ok_and(name)
    });
    let ranges: Vec<String> = callers.map(|symbol| format!("{:x}+{:x}", symbol.address(), symbol.size())).collect();
    (!ranges.is_empty()).then(|| format!("{}{}", environment::FRAME, ranges.join(",")))
}

/// The arguments by which libtest runs one of its tests: on a thread of its own, and with an output that nobody keeps in memory.
fn only(name: &str, args: &[OsString]) -> Vec<OsString> {
    let kept = listing::about_ignored(args);
    kept.chain(["--exact", "--test-threads=2", "--nocapture", "--", name].map(OsString::from)).collect()
}

/// The same of a benchmark, which then runs once.
fn iteration(name: &str, _: &[OsString]) -> Vec<OsString> {
    ["--test", "--exact", "--test-threads=2", "--nocapture", "--", name].map(OsString::from).into()
}
