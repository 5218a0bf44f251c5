//! Blocks that one side makes and another gives back: Rust's that C frees or resizes, and those of
//! Rust on both sides of `dlopen`. They work by chance, since all allocate with C's allocator, and
//! work while they are recorded too.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::output::assert_same;
use memprof_tests::summary::Summary;
use memprof_tests::tool;

/// Of each test the blocks it makes, threads' own aside, and those that C gives back or resizes.
const KNOWN: [(&str, u64, u64); 8] = [
    ("given_back", 24, 12),
    ("texts_given_back", 4, 4),
    ("resized", 48, 48),
    ("not_resized", 3, 0),
    ("made_longer_as_by_getline", 1, 1),
    ("asked_for_their_size", 12, 12),
    ("aligned", 2, 2),
    ("in_a_forked_child", 12, 12),
];

/// How many bytes more may be taken to be in use for a block that was given back from outside: what
/// an allocator rounds up by.
const ROUNDED: i64 = 47 + 4096;

fn outside_frees(summary: &Summary, name: &str) -> u64 {
    summary.test(name).json["losses"]["outside_frees"].as_u64().expect("a number")
}

fn all_blocks_are_known_and_gone(summary: &Summary) {
    for (name, blocks, outside) in KNOWN {
        let metrics = summary.test(name).metrics();
        assert_eq!((metrics.alloc_objects, metrics.inuse_objects), (blocks, 0), "{name}");
        assert_eq!(outside_frees(summary, name), outside, "{name}");
    }
    for test in summary.tests() {
        let (frees, metrics) = (outside_frees(summary, test.name()), test.metrics());
        assert_eq!((test.outcome(), metrics.inuse_objects), ("ok", 0), "{}", test.name());
        let most = ROUNDED * i64::try_from(frees).expect("few");
        assert!((0..=most).contains(&metrics.inuse_space), "{}: {}", test.name(), metrics.inuse_space);
    }
    assert_eq!(outside_frees(summary, "given_back_by_other_threads"), 12);
    assert_eq!(outside_frees(summary, "two_hundred_threads"), 2000);
    let child = &summary.test("in_a_forked_child").json["children"][0];
    assert_eq!((child["alloc_objects"].as_u64(), child["inuse_objects"].as_i64()), (Some(12), Some(0)));
    assert!(child["inuse_space"].as_i64().is_some_and(|space| space >= 0), "{child}");
}

fn says_that_bytes_are_not_exact(ran: &Ran) {
    let text = "freed or resized by C, or by a library that the test loads";
    assert!(ran.stderr.contains(text), "{}", ran.all());
}

#[test]
fn c_gives_back_what_rust_made_at_every_rate() {
    let fixture = Fixture::copy("outside");
    let plain = fixture.cargo("test -p outside -- --test-threads=1").succeed();
    for rate in ["0", "1", "4096", "524288"] {
        let arguments = format!("test -p outside --memprofilerate {rate} -- --test-threads=1");
        let ran = fixture.memprof(&arguments).succeed();
        assert_same(&plain, &ran);
        says_that_bytes_are_not_exact(&ran);
        all_blocks_are_known_and_gone(&fixture.summary());
    }
    // Recorded below the C library all of it is seen, C's own blocks too.
    let ran = fixture.memprof("test -p outside --native --memprofilerate 1 -- --test-threads=1").succeed();
    assert_same(&plain, &ran);
    let summary = fixture.summary();
    assert_eq!(summary.test("given_back").metrics().inuse_space, 0);
    assert!(summary.tests().iter().all(|test| outside_frees(&summary, test.name()) == 0));
}

#[test]
fn what_cs_function_needs_is_there_in_a_program_however_it_is_linked() {
    let fixture = Fixture::copy("outside");
    for lto in ["fat", "thin"] {
        let call = fixture.memprof("test -p outside --release --memprofilerate 4096");
        call.env("CARGO_PROFILE_RELEASE_LTO", lto).succeed();
        all_blocks_are_known_and_gone(&fixture.summary());
    }
    let call = fixture.memprof("test -p outside --memprofilerate 1");
    call.env("RUSTFLAGS", "-Cprefer-dynamic").succeed();
    all_blocks_are_known_and_gone(&fixture.summary());
    // As a program that lists its tests, with the other harness.
    fixture.memprof("test -p outside --memprofilerate 1").env("CARGO_MEMPROF_LIBTEST", "list").succeed();
    all_blocks_are_known_and_gone(&fixture.summary());
}

#[test]
fn what_is_not_rusts_goes_on_to_an_allocator_that_was_preloaded() {
    let fixture = Fixture::copy("outside");
    for rate in ["1", "524288"] {
        let arguments = format!("test -p outside --memprofilerate {rate} -- --nocapture --test-threads=1");
        let ran = fixture.memprof(&arguments).succeed();
        let preloaded = ran.stdout.lines().find_map(|line| line.strip_prefix("preloaded: ")).expect("it is printed");
        // It ends a program that gives it a block of somebody else's.
        let call = fixture.memprof(&arguments);
        call.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", format!("env LD_PRELOAD={preloaded}"))
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("env LD_PRELOAD={preloaded}"))
            .succeed();
        let summary = fixture.summary();
        for (name, blocks, outside) in KNOWN {
            let metrics = summary.test(name).metrics();
            assert_eq!((metrics.alloc_objects, metrics.inuse_objects), (blocks, 0), "{name}");
            assert_eq!(outside_frees(&summary, name), outside, "{name}");
            assert!(metrics.inuse_space >= 0, "{name}");
        }
    }
}

#[test]
fn a_c_library_that_is_linked_in_has_its_own_functions_and_the_harness_says_so() {
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/freed_by_c.rs",
        r#"
use std::ffi::c_void;
unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void;
    fn malloc_usable_size(block: *mut c_void) -> usize;
    fn free(block: *mut c_void);
}
#[test]
fn of_c() {
    unsafe {
        let block = reallocarray(realloc(malloc(100), 1000), 100, 20);
        assert!(malloc_usable_size(block) >= 2000);
        free(block);
    }
}
#[test]
fn of_rust() {
    let texts = [c"a text of Rust's", c"another"].map(|text| text.to_owned());
    for text in texts.into_iter().rev() {
        unsafe { free(text.into_raw().cast()) };
    }
}
"#,
    );
    let flags = "-Ctarget-feature=+crt-static";
    fixture.cargo("test --test freed_by_c").env("RUSTFLAGS", flags).succeed();
    for rate in ["1", "524288"] {
        let call = fixture.memprof(&format!("test --test freed_by_c --memprofilerate {rate}"));
        let ran = call.env("RUSTFLAGS", flags).run().ended_with(101);
        // Before it stands what the C library says, which depends on what the block looks like to it.
        let text = "\ntest process was killed by signal 6 (SIGABRT)\nnote: C's free";
        let ran = ran.says(text).says("(without crt-static)");
        assert_eq!(ran.verdicts().len(), 2);
        assert_eq!(fixture.summary().test("of_c").outcome(), "ok");
        // The same, linked dynamically.
        fixture.memprof(&format!("test --test freed_by_c --memprofilerate {rate}")).succeed();
        assert_eq!(fixture.summary().test("of_rust").metrics().inuse_objects, 0);
    }
}

#[test]
fn rust_on_both_sides_of_dlopen_drops_what_the_other_made() {
    let fixture = Fixture::copy("outside");
    let plain = fixture.cargo("test -p plugin -- --test-threads=1").succeed();
    for rate in ["0", "1", "4096", "524288"] {
        let arguments = format!("test -p plugin --memprofilerate {rate} -- --test-threads=1");
        let ran = fixture.memprof(&arguments).succeed();
        assert_same(&plain, &ran);
        says_that_bytes_are_not_exact(&ran);
        let summary = fixture.summary();
        for test in summary.tests() {
            let (name, metrics) = (test.name(), test.metrics());
            // What the plugin makes is not seen, nor is that it goes.
            assert_eq!(metrics.inuse_objects, 0, "{name} at rate {rate}");
            let most = ROUNDED * i64::try_from(outside_frees(&summary, name)).expect("few");
            assert!((0..=most).contains(&metrics.inuse_space), "{name} at rate {rate}: {}", metrics.inuse_space);
        }
        assert_eq!(outside_frees(&summary, "the_plugin_drops_what_the_host_makes"), 7);
        assert_eq!(outside_frees(&summary, "the_host_drops_what_the_plugin_makes"), 0);
    }
    let ran = fixture.memprof("test -p plugin --native --memprofilerate 1 -- --test-threads=1").succeed();
    assert_same(&plain, &ran);
}

#[test]
fn a_sanitizer_finds_what_it_finds_without_us_and_refuses_the_native_hook() {
    if !tool::has("cargo", &["+nightly", "--version"], "a sanitizer") {
        return;
    }
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/sanitized.rs",
        r#"
use std::hint::black_box;
use std::sync::OnceLock;
static KEPT: OnceLock<Box<Vec<u8>>> = OnceLock::new();
static SMALL: OnceLock<Box<Box<u8>>> = OnceLock::new();
#[test]
fn keeps() {
    KEPT.get_or_init(|| Box::new(vec![1; 10_000]));
    SMALL.get_or_init(|| Box::new(Box::new(1)));
}
#[test]
fn works() {
    let texts: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    std::thread::spawn(move || drop(texts)).join().unwrap();
}
#[test]
fn leaks() {
    std::mem::forget(black_box(vec![1_u8; 96]));
}
#[test]
fn reads_behind_a_block() {
    let block = black_box(vec![1_u8; 50]);
    black_box(unsafe { block.as_ptr().add(50).read() });
}
"#,
    );
    let flags = "-Zsanitizer=address";
    let host = tool::host();
    for rate in ["0", "1", "524288"] {
        let call = fixture.cargo("+nightly memprof test --test sanitized --memprofilerate").arg(rate);
        let ran = call.args(["--target", &host]).env("RUSTFLAGS", flags).run().ended_with(101);
        let summary = fixture.summary();
        for (name, outcome) in
            [("keeps", "ok"), ("works", "ok"), ("leaks", "failed"), ("reads_behind_a_block", "failed")]
        {
            assert_eq!(summary.test(name).outcome(), outcome, "{name} at rate {rate}: {}", ran.all());
        }
        assert!(ran.stdout.contains("heap-buffer-overflow"), "{}", ran.all());
        assert!(ran.stdout.contains("in 1 object(s) allocated from"), "{}", ran.all());
    }
    let call = fixture.cargo("+nightly memprof test --native --test sanitized keeps");
    let ran = call.args(["--target", &host]).env("RUSTFLAGS", flags).succeed();
    assert!(ran.stderr.contains("hooked by a sanitizer (`-Zsanitizer=address`)"), "{}", ran.all());
}
