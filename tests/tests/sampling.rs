//! Samples stand for what was not sampled, for every size from a byte to a gibibyte and with all of them mixed: each size is
//! scaled by its own probability, and the estimates are as near to the truth as the formula says. The counters are exact
//! whatever the rate.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::{Metrics, Summary};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes in bytes, how many blocks of each are allocated, and how many of them are left live: one in so many, 0 = none.
const SIZES: &[(u64, u64, u64)] = &[
    (1, 2_000_000, 16),
    (7, 1_000_000, 16),
    (64, 300_000, 16),
    (1000, 100_000, 16),
    (4096, 50_000, 16),
    (10_000, 20_000, 0),
    (65_536, 5000, 0),
    (524_288, 1000, 0),
    (3 << 20, 300, 0),
    (1 << 30, 20, 0),
];

/// A test that allocates all of it in an order that looks random and is the same in every run. Nothing is written to the
/// blocks, so a large one costs no memory.
fn program() -> String {
    let mut text = String::from(
        "use std::alloc::{alloc, dealloc, Layout};\nuse std::hint::black_box;\n\n\
         fn layout(size: usize) -> Layout {\n    Layout::from_size_align(size, 1).unwrap()\n}\n\n",
    );
    let mut table = String::new();
    for (size, blocks, kept) in SIZES {
        text.push_str(&format!(
            "#[inline(never)]\nfn of_{size}() -> *mut u8 {{\n    \
             black_box(unsafe {{ alloc(layout(black_box({size}))) }})\n}}\n\n"
        ));
        table.push_str(&format!("        (of_{size}, {size}, {blocks}, {kept}),\n"));
    }
    text.push_str(&format!(
        "#[test]\nfn sizes() {{\n    \
             let mut left: [(fn() -> *mut u8, usize, u64, u64); {}] = [\n{table}    ];\n    \
             let mut total: u64 = left.iter().map(|(_, _, blocks, _)| blocks).sum();\n    \
             let mut random = 1_u64;\n    \
             while total > 0 {{\n        \
                 random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);\n        \
                 let mut at = (random >> 33) % total;\n        \
                 for (of, size, blocks, kept) in &mut left {{\n            \
                     if at < *blocks {{\n                \
                         let block = of();\n                \
                         assert!(!block.is_null());\n                \
                         *blocks -= 1;\n                \
                         if *kept == 0 || *blocks % *kept != 0 {{\n                    \
                             unsafe {{ dealloc(block, layout(*size)) }};\n                \
                         }}\n                \
                         break;\n            \
                     }}\n            \
                     at -= *blocks;\n        \
                 }}\n        \
                 total -= 1;\n    \
             }}\n\
         }}\n",
        SIZES.len()
    ));
    text
}

/// Of those with an index that is a multiple of `kept`.
fn live(blocks: u64, kept: u64) -> u64 {
    if kept == 0 { 0 } else { blocks.div_ceil(kept) }
}

fn truth() -> Metrics {
    let sum = |metric: fn(&(u64, u64, u64)) -> u64| SIZES.iter().map(metric).sum::<u64>();
    Metrics {
        alloc_objects: sum(|(_, blocks, _)| *blocks),
        alloc_space: sum(|(size, blocks, _)| size * blocks),
        reallocs: 0,
        // Not known beforehand: it is the same in every run.
        peak_space: 0,
        inuse_objects: sum(|(_, blocks, kept)| live(*blocks, *kept)) as i64,
        inuse_space: sum(|(size, blocks, kept)| size * live(*blocks, *kept)) as i64,
    }
}

#[test]
fn every_size_is_estimated_within_its_bounds_and_counted_exactly() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/sizes.rs", &program());
    let mut peaks = Vec::new();
    for rate in [0, 1, 4096, 524_288] {
        fixture.memprof("test --test sizes").arg(format!("--memprofilerate={rate}")).succeed();
        let summary = fixture.summary();
        let mut metrics = summary.test("sizes").metrics();
        peaks.push(std::mem::take(&mut metrics.peak_space));
        assert_eq!(metrics, truth(), "at rate {rate}");
        if rate > 0 && can_read() {
            estimates_are_near(&summary, rate);
        }
    }
    assert!(peaks.iter().all(|peak| *peak == peaks[0] && *peak > 1 << 30), "{peaks:?}");
}

fn estimates_are_near(summary: &Summary, rate: u64) {
    let raw = Raw::read(&summary.test("sizes").file("profile"));
    for &(size, blocks, kept) in SIZES {
        let through = raw.through(&format!("sizes::of_{size}"));
        let total = |value: usize| through.iter().map(|sample| sample.values[value]).sum::<i64>() as f64;
        // A block is sampled with this probability, whatever came before. At rate 1 every block is.
        let sampled = if rate == 1 { 1.0 } else { 1.0 - (-(size as f64) / rate as f64).exp() };
        for (value, objects) in [(0, blocks), (2, live(blocks, kept))] {
            let objects = objects as f64;
            // Of so many blocks, each of which counts 1 / `sampled` times or not at all. The seed is fixed, so that an
            // estimate is within four standard deviations always or never. Metrics are whole numbers.
            let bound = 4.0 * (objects * (1.0 - sampled) / sampled).sqrt() + 1.0;
            let found = total(value);
            assert!((found - objects).abs() <= bound, "rate {rate}, {size} bytes: {found} for {objects} ± {bound}");
            let (found, space) = (total(value + 1), objects * size as f64);
            let bound = bound * size as f64;
            assert!((found - space).abs() <= bound, "rate {rate}, {size} bytes: {found} for {space} ± {bound}");
        }
    }
}

/// Functions of tests that all do the same: the name, the size of the first block in bytes, that of the last one, and how many there are
/// in one test. Of the sizes between them each comes as often as the others. One block in four is left.
const EQUAL: &[(&str, u64, u64, u64)] = &[
    ("of_16", 16, 16, 100_000),
    ("of_1000", 1000, 1000, 10_000),
    ("mixed", 1, 5000, 20_000),
    ("of_64_kib", 65_536, 65_536, 400),
    ("of_1_mib", 1 << 20, 1 << 20, 4),
    ("of_2_mib", 2 << 20, 2 << 20, 20),
];
const EQUAL_TESTS: u64 = 40;
const LEFT: u64 = 4;

fn equal_tests() -> String {
    let mut text = String::from(
        "use std::alloc::{alloc, dealloc, Layout};\nuse std::hint::black_box;\n\n\
         fn block(i: usize, size: usize) {\n    \
             let layout = Layout::from_size_align(size, 1).unwrap();\n    \
             let block = black_box(unsafe { alloc(black_box(layout)) });\n    \
             assert!(!block.is_null());\n    \
             if i % 4 != 0 {\n        unsafe { dealloc(block, layout) };\n    }\n\
         }\n\n",
    );
    let mut calls = String::new();
    for (name, first, last, blocks) in EQUAL {
        let sizes = last - first + 1;
        text.push_str(&format!(
            "#[inline(never)]\nfn {name}() {{\n    for i in 0..{blocks}_usize {{\n        \
             block(i, {first} + i / 4 % {sizes});\n    }}\n}}\n\n"
        ));
        calls.push_str(&format!("    {name}();\n"));
    }
    for test in 0..EQUAL_TESTS {
        text.push_str(&format!("#[test]\nfn equal_{test}() {{\n{calls}}}\n\n"));
    }
    text
}

/// Of a metric that is estimated: its value and its variance, and the most that a single sampled block stands for.
#[derive(Default)]
struct Expected {
    truth: f64,
    variance: f64,
    heaviest: f64,
}

impl Expected {
    /// Adds `blocks`, each of which counts `value / sampled` times with the probability `sampled`, and otherwise not at all.
    fn add(&mut self, blocks: f64, sampled: f64, value: f64) {
        self.truth += blocks * value;
        self.variance += blocks * value * value * (1.0 - sampled) / sampled;
        self.heaviest = self.heaviest.max(value / sampled);
    }

    /// How far the estimate may be off: four standard deviations where no block counts for much. A block of a byte stands for as many as the rate
    /// has bytes, and one of them by chance is more than four standard deviations where less than one was to be expected. So it is Bernstein's
    /// bound on sums of what is bounded, by which it is exceeded with the probability that four standard deviations have in it: exp(-8), on either side.
    fn bound(&self) -> f64 {
        const EXPONENT: f64 = 4.0 * 4.0 / 2.0;
        // Each test's metric is a whole number, rounded up or down by chance.
        let variance = self.variance + EQUAL_TESTS as f64 / 4.0;
        let skew = self.heaviest * EXPONENT / 3.0;
        skew + (skew * skew + 2.0 * EXPONENT * variance).sqrt()
    }
}

#[test]
fn the_errors_of_equal_tests_cancel_and_are_the_same_on_every_run_and_in_every_checkout() {
    if !can_read() {
        return;
    }
    let (fixture, other) = (Fixture::copy("known"), Fixture::copy_as("known", "elsewhere"));
    for fixture in [&fixture, &other] {
        fixture.write("tests/equal.rs", &equal_tests());
    }
    for rate in [65_536, 524_288] {
        let profile = |fixture: &Fixture| {
            fixture.memprof("test --test equal").arg(format!("--memprofilerate={rate}")).succeed();
            Raw::read(&fixture.path("target/memprof/profile.pb.gz"))
        };
        let first = profile(&fixture);
        let of = |raw: &Raw, name: &str| {
            let mut totals = [0; 4];
            for sample in raw.through(&format!("equal::{name}")) {
                totals.iter_mut().zip(&sample.values).for_each(|(total, value)| *total += value);
            }
            totals
        };
        for &(name, first_size, last_size, blocks) in EQUAL {
            for (value, blocks) in [(0, blocks), (2, blocks / LEFT)] {
                // The sizes come in turn, and the number of blocks is a multiple of how many there are.
                let each = (blocks * EQUAL_TESTS) as f64 / (last_size - first_size + 1) as f64;
                let (mut objects, mut space) = (Expected::default(), Expected::default());
                for size in (first_size..=last_size).map(|size| size as f64) {
                    let sampled = 1.0 - (-size / f64::from(rate)).exp();
                    objects.add(each, sampled, 1.0);
                    space.add(each, sampled, size);
                }
                let found = of(&first, name);
                for (found, expected, what) in [(found[value], objects, "objects"), (found[value + 1], space, "bytes")]
                {
                    let (truth, bound) = (expected.truth, expected.bound());
                    let off = found as f64 - truth;
                    assert!(off.abs() <= bound, "rate {rate}, {name}, {what}: {found} for {truth} ± {bound}");
                }
            }
        }
        let (again, elsewhere) = (profile(&fixture), profile(&other));
        for &(name, ..) in EQUAL {
            assert_eq!(of(&first, name), of(&again, name), "{name} on another run");
            assert_eq!(of(&first, name), of(&elsewhere, name), "{name} in another checkout");
        }
    }
}

/// Allocates 4000 blocks of 1 to 4000 bytes, one in four of which it keeps; and starts itself where it is told so, with the rest of its
/// arguments.
const BUSY: &str = "use std::hint::black_box;

#[inline(never)]
fn busy() {
    for size in 1..=4000_usize {
        let block = black_box(vec![1_u8; size]);
        if size % 4 == 0 {
            std::mem::forget(block);
        }
    }
}

fn main() {
    busy();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == \"nest\") {
        let me = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(me).args(arguments).status().unwrap().success());
    }
}
";

/// Starts it with arguments that are others on every run.
const STARTS_BUSY: &str = "use std::process::{Child, Command};
use std::time::SystemTime;

fn start(first: &str) -> Child {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let varying = std::env::temp_dir().join(format!(\"{}-{since}\", std::process::id()));
    Command::new(env!(\"CARGO_BIN_EXE_busy\")).arg(first).arg(&varying).arg(varying.join(\"port\")).spawn().unwrap()
}

#[test]
fn one_after_the_other() {
    for _ in 0..5 {
        assert!(start(\"\").wait().unwrap().success());
    }
}

#[test]
fn that_starts_another() {
    for _ in 0..3 {
        assert!(start(\"nest\").wait().unwrap().success());
    }
}

#[test]
fn from_eight_threads() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..3).for_each(|_| assert!(start(\"\").wait().unwrap().success())));
        }
    });
}
";

#[test]
fn what_a_test_starts_has_the_same_samples_whatever_its_arguments_are_and_wherever_it_lies() {
    const RATE: f64 = 65_536.0;
    const PROCESSES: usize = 5 + 6 + 24;
    let (fixture, other) = (Fixture::copy("programs"), Fixture::copy_as("programs", "elsewhere"));
    for fixture in [&fixture, &other] {
        fixture.write("src/bin/busy.rs", BUSY);
        fixture.write("tests/starts_busy.rs", STARTS_BUSY);
    }
    // Of each process the seed, and of what it sampled the sizes, how often, and how many of them are in use.
    let samples = |fixture: &Fixture, target: &str| {
        let call = fixture.memprof(&format!("test --test starts_busy --keep-ledgers --memprofilerate={RATE}"));
        call.env("CARGO_TARGET_DIR", fixture.path(target)).succeed();
        let started = fixture.ledgers_in(&format!("{target}/memprof/ledgers")).into_iter();
        let started = started.filter(|ledger| !ledger.identity.root.is_empty()).map(|ledger| {
            assert!(ledger.counters.alloc_objects >= 4000);
            let values =
                ledger.sites.iter().map(|site| (site.size, site.values.alloc_objects, site.values.inuse_objects()));
            let mut values: Vec<_> = values.collect();
            values.sort_unstable();
            (ledger.identity.seed.0, values)
        });
        started.collect::<BTreeMap<_, _>>()
    };
    let first = samples(&fixture, "target");
    assert_eq!(first.len(), PROCESSES, "each has a seed of its own");
    assert_eq!(first.values().collect::<BTreeSet<_>>().len(), PROCESSES);
    // A block stands for as many as its chance to be sampled says, which is nearly its size by the rate: so the bytes' variance is at most
    // theirs times the rate.
    let stands_for = |size: u64| 1.0 / (1.0 - (-(size as f64) / RATE).exp());
    let sampled = first.values().flatten().filter(|(size, ..)| *size <= 4000);
    let found: f64 = sampled.map(|&(size, objects, _)| (size * objects) as f64 * stands_for(size)).sum();
    let truth = (PROCESSES * 4000 * 4001 / 2) as f64;
    assert!((found - truth).abs() <= 4.0 * (truth * RATE).sqrt(), "{found} for {truth}");
    assert_eq!(first, samples(&fixture, "target"), "on another run");
    assert_eq!(first, samples(&fixture, "another/target/folder"), "in another target folder");
    assert_eq!(first, samples(&other, "target"), "in another checkout");
}
