//! Budgets in a test's own code: exact under `cargo memprof`, silent but for one note under plain `cargo test`.

use memprof_tests::fixture::Fixture;
use memprof_tests::workspace;

fn budgets() -> Fixture {
    let fixture = Fixture::copy("budgets");
    let harness = workspace::root().join("memprof-harness");
    fixture.replace("Cargo.toml", "../../memprof-harness", harness.to_str().expect("a path in UTF-8"));
    fixture
}

#[test]
fn a_budget_that_does_not_hold_fails_its_test_when_it_is_measured() {
    let fixture = budgets();
    let plain = fixture.cargo("test --lib -- --nocapture --test-threads 1").succeed();
    assert_eq!(plain.stderr.matches("note: allocation budgets are not checked").count(), 1, "{}", plain.all());
    let required = fixture.cargo("test --lib").env("MEMPROF_REQUIRE", "1").run().ended_with(101);
    required.says("a budget cannot be checked").says("test tests::a_region_is_measured_exactly ... ok");

    for rate in ["1", "524288", "0"] {
        let ran = fixture.memprof("test --lib --memprofilerate").arg(rate).run().ended_with(101);
        let ran = ran.says("over budget: `alloc_objects <= 1` does not hold: it is 2").says("3 passed; 1 failed");
        assert!(!ran.stdout.contains("not checked"), "{}", ran.all());
    }
    // Optimized, with link-time optimisation, where symbols that nobody seems to need go first.
    fixture.replace("Cargo.toml", "[workspace]", "[profile.release]\nlto = true\ncodegen-units = 1\n\n[workspace]");
    let optimized = fixture.memprof("test --lib --release").run().ended_with(101);
    optimized.says("does not hold: it is 2").says("3 passed; 1 failed");
}
