//! What a test does to its own process costs it neither its verdict nor its profile.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};

const PROGRAM: &str = "use std::ffi::{c_char, c_int, c_ulong};

extern \"C\" {
    fn chdir(path: *const c_char) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn fork() -> c_int;
    fn setrlimit(resource: c_int, limit: *const [c_ulong; 2]) -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

/// A block that is not given back.
#[inline(never)]
fn keeps() {
    std::mem::forget(std::hint::black_box(vec![1_u8; 1000]));
}

fn limit(resource: c_int, bytes: u64) {
    assert_eq!(unsafe { setrlimit(resource, &[bytes, bytes]) }, 0);
}

#[test]
fn closes_every_descriptor() {
    keeps();
    (0..4096).for_each(|descriptor| _ = unsafe { close(descriptor) });
    keeps();
}

#[test]
fn changes_the_folder() {
    keeps();
    assert_eq!(unsafe { chdir(b\"/\\0\".as_ptr().cast()) }, 0);
    keeps();
}

#[test]
fn allows_no_more_memory() {
    keeps();
    limit(9, 0);
    keeps();
}

#[test]
fn allows_files_to_grow_no_more() {
    keeps();
    limit(1, 0);
    keeps();
}

#[test]
fn forks() {
    keeps();
    let process = unsafe { fork() };
    if process == 0 {
        (0..7).for_each(|_| keeps());
        unsafe { _exit(0) };
    }
    let mut status = -1;
    assert_eq!(unsafe { waitpid(process, &mut status, 0) }, process);
    assert_eq!(status, 0);
    keeps();
}

#[test]
fn starts_a_program() {
    keeps();
    assert!(std::process::Command::new(\"true\").status().unwrap().success());
    keeps();
}

#[test]
fn leaves_threads_running() {
    keeps();
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let sender = sender.clone();
        std::thread::spawn(move || {
            sender.send(()).unwrap();
            loop {
                drop(std::hint::black_box(vec![1_u8; 10]));
            }
        });
    }
    (0..4).for_each(|_| receiver.recv().unwrap());
    keeps();
}
";

#[test]
fn each_is_counted_to_its_end() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/hostile.rs", PROGRAM);
    for rate in [1, 524_288] {
        let ran = fixture.memprof("test --test hostile").arg(format!("--memprofilerate={rate}")).succeed();
        let summary = fixture.summary();
        let roots: Vec<_> = summary.tests().into_iter().filter(|test| !test.text("kind").contains("child")).collect();
        assert_eq!(roots.len(), 7, "{}", ran.all());
        for test in roots {
            let name = test.name();
            assert_eq!((test.outcome(), &test.json["cut_short"]), ("ok", &false.into()), "{name}");
            let metrics = test.metrics();
            match name {
                "starts_a_program" => assert!(metrics.inuse_space >= 2000 && metrics.alloc_objects >= 2, "{name}"),
                "leaves_threads_running" => assert!(metrics.alloc_space >= 2000, "{name}"),
                _ => assert_eq!((metrics.alloc_objects, metrics.inuse_space), (2, 2000), "{name}"),
            }
            if rate == 1 && can_read() {
                let raw = Raw::read(&test.file("profile"));
                let kept: i64 = raw.through("hostile::keeps").iter().map(|sample| sample.values[3]).sum();
                assert_eq!(kept, 2000, "{name}");
            }
        }
    }
}

const REMOVES: &str = "use std::{fs, path::PathBuf};

/// What is in the folder of the run.
fn of_run(below: &str) -> PathBuf {
    let entries = fs::read_dir(\"target/memprof\").unwrap().map(|entry| entry.unwrap().path());
    let of_run = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(\".run-\");
    entries.filter(of_run).next().unwrap().join(below)
}

#[test]
fn a_is_before() {
    std::hint::black_box(vec![1_u8; 100]);
}

#[test]
fn b_removes() {
    std::hint::black_box(vec![1_u8; 100]);
    // Where another test makes a file there meanwhile, it comes to nothing in the end.
    let _ = fs::remove_dir_all(of_run(BELOW));
}

#[test]
fn c_is_after() {
    std::hint::black_box(vec![1_u8; 100]);
}
";

fn removing(below: &str) -> Fixture {
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/a_first.rs",
        "#[test]\nfn of_another_target() {\n    std::hint::black_box(vec![1_u8; 100]);\n}\n",
    );
    fixture.write("tests/b_second.rs", &REMOVES.replace("BELOW", &format!("{below:?}")));
    fixture
}

const TARGETS: &str = "--test a_first --test b_second";

#[test]
fn tests_whose_recordings_another_test_removes_are_all_named() {
    let fixture = removing("ledgers");
    let test = |more: &str| fixture.memprof(&format!("test --memprofilerate 1 {TARGETS} {more}"));
    let mut ran = test("-- --test-threads=1").run().ended_with(7);
    let lost = ["test/a_first of_another_target", "test/b_second a_is_before", "test/b_second b_removes"];
    for name in lost {
        ran = ran.complains(&format!("`known {name}`"));
    }
    let ran = ran.complains("cannot report on 3 tests").complains("were removed from");
    let summary = fixture.summary();
    assert_eq!(summary.test("c_is_after").metrics().alloc_objects, 1, "{}", ran.all());
    assert_eq!(summary.tests().len(), 1);
    let named: Vec<_> = summary.json["not_run"].as_array().unwrap().iter().filter(|one| one["lost"] == true).collect();
    assert_eq!(named.len(), 3, "{}", summary.json["not_run"]);

    // Whatever ran at once: every test has its metrics or is named, and no gate passes.
    test("--save-baseline").run().ended_with(7).complains("was not written: not all of it was recorded");
    let summary = fixture.summary();
    let lost = summary.json["not_run"].as_array().unwrap().iter().filter(|one| one["lost"] == true).count();
    let recorded: std::collections::BTreeSet<_> = summary.tests().iter().map(|test| test.name().to_owned()).collect();
    assert_eq!(recorded.len() + lost, 4, "{}", summary.json);
    let removing = fixture.read("tests/b_second.rs");
    fixture.replace("tests/b_second.rs", "fs::remove_dir_all(", "fs::read_dir(");
    test("--save-baseline").succeed();
    fixture.write("tests/b_second.rs", &removing);
    let gate = fixture.memprof(&format!("gate {TARGETS}")).run().ended_with(6);
    gate.says("were removed while the tests ran").says("its recording was removed while the tests ran");
}

#[test]
fn a_test_that_removes_the_folder_of_the_run_is_no_run_without_tests() {
    let fixture = removing("");
    let ran = fixture.memprof(&format!("test {TARGETS} -- --test-threads=1")).run().ended_with(7);
    ran.complains("cannot report on the tests").complains("was removed before all of them had ended");
    fixture.memprof("gate --no-run --baseline x").run().ended_with(6);
}

#[test]
fn a_limit_on_the_size_of_files_ends_no_executable() {
    let fixture = Fixture::copy("known");
    // Built before, as the compiler needs larger files.
    fixture.memprof("test --test outside").succeed();
    let line = "ulimit -f 100; exec cargo memprof test --test outside";
    let limited = fixture.program("sh").args(["-c", line]).run();
    assert!(limited.status.code().is_some(), "{}", limited.all());
    let limited = limited.never_says("SIGXFSZ").never_says("signal: 25");
    // Each test that cannot be recorded says so and fails, and libtest comes to its end.
    limited.says("test result: FAILED").says("in a process of its own").says("help: see that `");
    // The command's own files have an end as well, and it says so.
    let line = "ulimit -f 1; exec cargo memprof test --test outside";
    let limited = fixture.program("sh").args(["-c", line]).run().ended_with(3);
    limited.complains("error: cannot ").complains("File too large");
}
