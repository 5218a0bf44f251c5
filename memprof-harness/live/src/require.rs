//! Whether it may pass that nothing is counted.

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
    assert!(
        std::env::var_os(REQUIRE).is_some_and(|value| value == "0"),
        "allocations cannot be checked: nothing counts them\n  \
         caused by: the program's allocator is not memprof's\n  \
         help: add `#[cfg(test)] memprof::install!();` to the root of the crate, or `memprof::install!();` to the file in `tests/`; \
         with `{REQUIRE}=0` assertions hold unchecked"
    );
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        // Not `eprintln!`, which libtest keeps to itself where the test passes. Where it cannot be said nothing is lost.
        let _ = writeln!(
            std::io::stderr(),
            "note: allocations are not checked: nothing counts them, and {REQUIRE}=0 is set"
        );
    });
    false
}
