//! The frames that are trimmed off a stack: those by which a thread comes to run a test (at the root), and those by which the allocator
//! is reached (at the leaf). This is a table of rules and knows no profile. The frames of std's collections between the two stay: they
//! tell which collection grew.

use super::symbols::NamedFunction;

/// What a frame is, as far as trimming goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Role {
    /// Cut off where it is innermost.
    pub leaf_glue: bool,
    /// The way into the global allocator: what is inside it is the allocator's affair, whoever wrote that.
    pub gate: bool,
    /// Cut off where it is outermost.
    pub root_glue: bool,
}

/// How a rule matches a function's name.
enum Rule {
    /// The whole name.
    Is(&'static str),
    /// Its beginning.
    Starts(&'static str),
    /// A beginning and an end: shims, which carry somebody else's name in between.
    Between(&'static str, &'static str),
}

use Rule::{Between, Is, Starts};

/// From an `alloc` of the user's to the global allocator.
const GATE: &[Rule] = &[
    // The symbols through which std reaches the global allocator, by age of the compiler.
    Starts("__rust_alloc"),
    Starts("__rust_realloc"),
    Starts("__rust_dealloc"),
    Starts("__rustc::__"),
    Starts("__rg_"),
    Starts("__rdl_"),
    // Free functions and `Global`; `alloc::alloc` is a module in the crate `alloc`.
    Starts("alloc::alloc::"),
    Starts("<alloc::alloc::Global as "),
];

/// What else there is between the two.
const LEAF: &[Rule] = &[
    // The hook and what it does.
    Starts("memprof_harness::"),
    Starts("<memprof_harness::"),
    Starts("__memprof_in_program::"),
    Starts("<__memprof_in_program::"),
    Starts("core::alloc::"),
    Is("alloc::boxed::box_new_uninit"),
    Is("alloc::boxed::box_new"),
    // std's own allocator, which is how Rust reaches the C library's.
    Starts("<std::alloc::System as "),
    Starts("std::sys::alloc::"),
    // The C library's names, where a program is recorded from below.
    Is("malloc"),
    Is("calloc"),
    Is("realloc"),
    Is("posix_memalign"),
    Is("aligned_alloc"),
    Is("reallocarray"),
];

/// How many calls, at most, an allocator is from its gate to the C library.
pub const ALLOCATOR_DEPTH: usize = 16;

/// From the start of a thread to the code it was started for.
const ROOT: &[Rule] = &[
    // The C library and the loader.
    Is("_start"),
    Is("main"),
    Is("start_thread"),
    Is("thread_start"),
    Is("clone"),
    Is("clone3"),
    Is("__clone3"),
    Starts("__libc_start"),
    Starts("__pthread_start"),
    Starts("_pthread_start"),
    // std's way to `main` and into threads.
    Starts("std::rt::"),
    Starts("std::sys::"),
    Starts("std::sys_common::"),
    Starts("std::thread::"),
    Starts("<std::thread::"),
    Starts("std::panicking::"),
    Starts("std::panic::"),
    Starts("core::panic::unwind_safe::"),
    Starts("<core::panic::unwind_safe::"),
    Starts("__rust_try"),
    Starts("__rust_begin_short_backtrace"),
    // Shims that call a closure or a function pointer.
    Starts("core::ops::function::"),
    Between("<", "::call_once"),
    Between("<", "::call_mut"),
    Between("<", "::call_once{{vtable.shim}}"),
    Between("<", "::call_once::{shim:vtable#0}"),
    // The harness, by the names of its own two crates and of the one it stands in for.
    Starts("memprof_harness::"),
    Starts("<memprof_harness::"),
    Starts("__memprof_in_program::"),
    Starts("<__memprof_in_program::"),
    Starts("test::"),
    Starts("<test::"),
];

/// What a shim between `<` and `::call_once` must be of.
const SHIM_OF: &str = " as core::ops::function::Fn";

/// Objects whose unnamed code at the root of a stack starts threads and programs.
const STARTERS: &[&str] = &["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libSystem", "libdyld", "dyld"];

/// The role of `function`.
pub fn role(function: &NamedFunction) -> Role {
    let matches = |rule: &Rule| match rule {
        Is(name) => function.name == *name,
        Starts(start) => function.name.starts_with(start),
        Between(start, end) => {
            function.name.starts_with(start) && function.name.ends_with(end) && function.name.contains(SHIM_OF)
        }
    };
    let gate = GATE.iter().any(matches);
    Role {
        leaf_glue: gate || LEAF.iter().any(matches),
        gate,
        root_glue: ROOT.iter().any(matches) && !is_user_code(function),
    }
}

/// The role of an address that nothing is known of but its object's file name.
pub fn role_of_unknown(object: &str) -> Role {
    Role { leaf_glue: false, gate: false, root_glue: STARTERS.iter().any(|start| object.starts_with(start)) }
}

/// A crate of the user's may well be called `test`, and any C program has a `main`. The harness's own sources and std's
/// are known by where they lie, so a name is believed only where the file does not speak against it.
fn is_user_code(function: &NamedFunction) -> bool {
    let named_like_a_crate = function.name.starts_with("test::") || function.name.starts_with("<test::");
    named_like_a_crate && !function.file.is_empty() && !function.file.contains("/library/test/")
}

/// Whether `outer` is the closure that rustc's expansion of `#[test]` wraps around the test function `inner`.
pub fn is_test_wrapper(outer: &str, inner: &str) -> bool {
    let closure = outer.strip_prefix(inner);
    closure.is_some_and(|rest| rest == "::{{closure}}" || rest == "::{closure#0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> (bool, bool) {
        let role = role(&NamedFunction { name: name.into(), file: String::new() });
        (role.leaf_glue, role.root_glue)
    }

    #[test]
    fn the_way_to_the_allocator_is_cut_off_at_the_leaf_only() {
        for name in [
            "__rustc::__rust_alloc",
            "__rust_alloc",
            "__rg_realloc",
            "alloc::alloc::alloc",
            "alloc::alloc::Global::alloc_impl",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
        ] {
            assert_eq!(of(name), (true, false), "{name}");
        }
    }

    #[test]
    fn an_allocator_is_no_gate_and_the_way_to_it_is() {
        let gate = |name: &str| role(&NamedFunction { name: name.into(), file: String::new() }).gate;
        assert!(gate("__rustc::__rust_alloc") && gate("alloc::alloc::Global::alloc_impl"));
        for name in ["<a::Counting as core::alloc::global::GlobalAlloc>::alloc", "a::count", "malloc"] {
            assert!(!gate(name), "{name}");
        }
    }

    #[test]
    fn the_way_into_a_thread_is_cut_off_at_the_root_only() {
        for name in [
            "start_thread",
            "std::sys::thread::unix::Thread::new::thread_start",
            "std::thread::Builder::spawn_unchecked_::{{closure}}",
            "core::ops::function::FnOnce::call_once{{vtable.shim}}",
            "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
            "<core::panic::unwind_safe::AssertUnwindSafe<F> as core::ops::function::FnOnce<()>>::call_once",
            "<a::tests::t::{closure#0} as core::ops::function::FnOnce<()>>::call_once",
            "std::panicking::catch_unwind::do_call",
            "test::__rust_begin_short_backtrace",
        ] {
            assert_eq!(of(name), (false, true), "{name}");
        }
        assert_eq!(of("memprof_harness::libtest::child::run"), (true, true));
    }

    #[test]
    fn what_grows_and_what_the_user_wrote_is_never_cut_off() {
        for name in [
            "alloc::raw_vec::RawVecInner<A>::reserve::do_reserve_and_handle",
            "alloc::vec::Vec<T,A>::push",
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
            "a::tests::it_works",
            "a::maintain",
            "<a::Job as a::Run>::call_once",
        ] {
            assert_eq!(of(name), (false, false), "{name}");
        }
        let mine = NamedFunction { name: "test::parse".into(), file: "/home/me/test/src/lib.rs".into() };
        assert!(!role(&mine).root_glue);
    }

    #[test]
    fn the_closure_around_a_test_is_known_by_the_tests_name() {
        assert!(is_test_wrapper("a::tests::t::{{closure}}", "a::tests::t"));
        assert!(is_test_wrapper("a::tests::t::{closure#0}", "a::tests::t"));
        assert!(!is_test_wrapper("a::tests::t::{closure#1}", "a::tests::t"));
        assert!(!is_test_wrapper("a::tests::t::{{closure}}", "a::tests"));
    }
}
