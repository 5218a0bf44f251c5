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
    // One of several.
    let ran = fixture.memprof("test --target x86_64-unknown-linux-gnu --target i686-unknown-linux-gnu").run();
    ran.ended_with(2).complains("cannot profile tests for `i686-unknown-linux-gnu`");
}

#[test]
fn another_machine_is_refused_wherever_cargo_is_told_of_it() {
    let fixture = Fixture::copy("known");
    let reason = "its pointers have 32 bits";
    fixture.memprof("test").env("CARGO_BUILD_TARGET", "i686-unknown-linux-gnu").run().ended_with(2).complains(reason);
    for target in ["\"i686-unknown-linux-gnu\"", "[\"x86_64-unknown-linux-gnu\", \"i686-unknown-linux-gnu\"]"] {
        fixture.write(".cargo/config.toml", &format!("[build]\ntarget = {target}\n"));
        for command in ["test", "run"] {
            fixture.memprof(command).run().ended_with(2).complains(reason);
        }
    }
}

#[test]
fn a_described_target_is_refused_by_what_its_description_says() {
    let fixture = Fixture::copy("known");
    let output = std::process::Command::new("rustc")
        .args(["-Zunstable-options", "--print", "target-spec-json", "--target", "i686-unknown-linux-gnu"])
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .expect("rustc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fixture.write("described/small.json", &String::from_utf8(output.stdout).expect("UTF-8"));
    let reason = "its pointers have 32 bits";
    fixture.memprof("test --target described/small.json").run().ended_with(2).complains(reason);
    fixture.memprof("test").env("CARGO_BUILD_TARGET", "described/small.json").run().ended_with(2).complains(reason);
    // Relative to the folder that has the configuration, wherever the user stands.
    fixture.write(".cargo/config.toml", "[build]\ntarget = \"described/small.json\"\n");
    let below = fixture.path("src");
    fixture.memprof("test").in_folder(&below).run().ended_with(2).complains(reason);
}
