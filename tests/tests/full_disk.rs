//! A disk without room costs stacks or outputs, and says so: never counts, never a test's verdict, never what was there.

use memprof_tests::fixture::Fixture;
use memprof_tests::probe::{Hook, probe_in};
use memprof_tests::small_disk::SmallDisk;
use std::fs;

/// Allocates under 4096 stacks, which a ledger's first blocks have no room for. Where it is told to, it fills the disk
/// meanwhile.
const PROGRAM: &str = "use std::io::Write;

#[inline(never)]
fn branch<const SIDE: usize>(path: u32, steps: u32) {
    if steps == 0 {
        drop(std::hint::black_box(vec![1_u8; 24]));
    } else if path & 1 == 0 {
        branch::<0>(path >> 1, steps - 1);
    } else {
        branch::<1>(path >> 1, steps - 1);
    }
    std::hint::black_box(SIDE);
}

#[test]
fn allocates_under_many_stacks() {
    let filling = std::env::var_os(\"FILL\");
    if let Some(path) = &filling {
        let mut file = std::fs::File::create(path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
    for path in 0..4096 {
        branch::<0>(path, 12);
    }
    if let Some(path) = &filling {
        std::fs::remove_file(path).unwrap();
    }
}
";

#[test]
fn a_ledger_without_room_has_exact_counters_and_the_stacks_until_then() {
    let Some(disk) = SmallDisk::of(128, "a ledger on a full disk") else { return };
    for hook in [Hook::Rust, Hook::Native] {
        let probed = probe_in(disk.path(), hook, "many-sites", 1);
        assert!(probed.status.success() && probed.ledger.end.whole);
        probed.totals_are_true();
        assert!(
            probed.ledger.losses.unattributed_objects > 0 && probed.ledger.sites.len() > 50,
            "{:?}",
            probed.ledger.losses
        );
    }
}

#[test]
fn a_test_that_fills_the_disk_is_counted_and_what_has_no_stack_is_said() {
    let Some(disk) = SmallDisk::of(8 << 10, "a test that fills the disk") else { return };
    let fixture = Fixture::copy("known");
    fixture.write("tests/filling.rs", PROGRAM);
    let command = format!("test --test filling --memprofilerate 1 --memprofile {}/out", disk.path().display());
    let metrics = |fill: bool| {
        let mut call = fixture.memprof(&command);
        if fill {
            call = call.env("FILL", disk.path().join("filling"));
        }
        let ran = call.succeed();
        let summary = memprof_tests::summary::Summary::read(&disk.path().join("out"));
        let test = summary.test("allocates_under_many_stacks");
        let lost = test.json["losses"]["unattributed_objects"].as_u64().expect("a number");
        assert_eq!(lost > 0, fill, "{}", ran.all());
        assert_eq!(ran.stderr.contains("have no stack"), fill, "{}", ran.all());
        assert_eq!((test.outcome(), &test.json["cut_short"]), ("ok", &false.into()));
        test.metrics().alloc_objects
    };
    // What it takes to open the file and its name is all that comes to the 4096.
    assert_eq!(metrics(false), 4096);
    assert!((4096..4110).contains(&metrics(true)));
}

#[test]
fn outputs_without_room_are_an_error_and_leave_nothing_behind() {
    let Some(disk) = SmallDisk::of(300, "outputs on a full disk") else { return };
    let fixture = Fixture::copy("known");
    fixture.write("tests/filling.rs", PROGRAM);
    let ran = fixture.memprof("test --test filling --memprofilerate 1 --memprofile").arg(disk.path().join("out")).run();
    let ran = ran.ended_with(4).says("test allocates_under_many_stacks ... ok");
    let ran = ran.complains("cannot write the profiles to `").complains("No space left on device");
    let ran = ran.complains("help: make room or pass another folder");
    // All that is left says that the run produced nothing.
    let left = fs::read_dir(disk.path().join("out")).expect("it was made").map(|entry| entry.expect("one").file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["last-command.json"], "{}", ran.all());
}
