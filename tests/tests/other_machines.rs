//! A target on which nothing can be recorded is refused by name, before anything is built.

use memprof_tests::fixture::Fixture;

#[test]
fn another_machine_is_refused_with_the_reason() {
    let fixture = Fixture::copy("known");
    for (target, reason) in [
        ("i686-unknown-linux-gnu", "its pointers have 32 bits"),
        ("x86_64-unknown-linux-gnux32", "its pointers have 32 bits"),
        ("riscv64gc-unknown-linux-gnu", "its processor is riscv64"),
        ("aarch64-apple-darwin", "its system is macos"),
        ("x86_64-pc-windows-msvc", "its system is windows"),
        ("wasm32-unknown-unknown", "its system is unknown"),
    ] {
        let ran = fixture.memprof(&format!("test --target {target}")).run().ended_with(2);
        ran.complains(&format!("cannot profile tests for `{target}`")).complains(reason);
    }
    assert!(!fixture.path("target/memprof/build").exists());
    // From cargo's own configuration as well.
    fixture.write(".cargo/config.toml", "[build]\ntarget = \"i686-unknown-linux-gnu\"\n");
    fixture.memprof("run").run().ended_with(2).complains("its pointers have 32 bits");
}
