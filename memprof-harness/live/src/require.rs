//! Whether a test may pass although nothing counts its allocations, or nobody looks for leaks.

use crate::recorded::{self, LeakLimit};
use std::io::Write;
use std::sync::Once;

/// Set to `0` by a user: where nothing is counted, an assertion holds.
const REQUIRE: &str = "MEMPROF_REQUIRE";

/// Gives whether something is counted, as `is_counted` says.
///
/// # Panics
/// Where nothing is, and that is not allowed.
#[track_caller]
pub(crate) fn counted(is_counted: bool) -> bool {
    if is_counted {
        return true;
    }
    let _uncounted = crate::count::events::uncounted();
    let (cause, help) = if cfg!(memprof) {
        (
            "`cargo memprof` built this program and does not record it, or is older than this crate",
            "look for this program under `unprofiled` in its report; update cargo-memprof",
        )
    } else {
        (
            "the program's allocator is not memprof's",
            "add `#[cfg(test)] memprof::install!();` to the root of the crate, or `memprof::install!();` to the file in `tests/`",
        )
    };
    assert!(
        may_pass(),
        "allocations cannot be checked: nothing counts them\n  caused by: {cause}\n  help: {help}; with `{REQUIRE}=0` assertions hold unchecked"
    );
    static SAID: Once = Once::new();
    say_once(&SAID, "allocations are not checked: nothing counts them");
    false
}

/// Has the recording limit the bytes that the whole test may have leaked at its end.
///
/// # Panics
/// Where nobody is going to look, and that is not allowed.
#[track_caller]
pub(crate) fn leaks_are_limited(bytes: u64) {
    let (cause, help) = match recorded::limit_leaked(bytes) {
        LeakLimit::Set => return,
        LeakLimit::OtherProgram => (
            "leaks are known of a whole test of libtest's alone, and this is another program",
            "limit `inuse_space` instead",
        ),
        LeakLimit::NotRecorded => (
            "leaks are looked for at a test's end, by `cargo memprof test` alone",
            "run the tests with `cargo memprof test`, or limit `inuse_space` instead",
        ),
    };
    let _uncounted = crate::count::events::uncounted();
    assert!(
        may_pass(),
        "the budget of `leaked` cannot be checked\n  caused by: {cause}\n  help: {help}; with `{REQUIRE}=0` it holds unchecked"
    );
    static SAID: Once = Once::new();
    say_once(&SAID, "budgets of `leaked` are not checked: nobody looks for leaks");
}

fn may_pass() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "0")
}

/// Not by `eprintln!`, which libtest keeps to itself where the test passes. Where it cannot be said nothing is lost.
fn say_once(once: &Once, what: &str) {
    once.call_once(|| {
        let _ = writeln!(std::io::stderr(), "note: {what}, and {REQUIRE}=0 is set");
    });
}
