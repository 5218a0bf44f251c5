//! For which machines tests can be recorded: 64-bit Linux on two processors. Others are refused before cargo builds anything.

use crate::context::cargo_config;
use crate::ui::error::Error;
use cargo_metadata::cargo_platform::Cfg;
use std::ffi::OsStr;

/// What the harness is written for.
const RECORDED: &str = "the harness records on x86_64 and aarch64 Linux with 64-bit pointers only";
/// Triples that need no question to the compiler.
const USUAL: [&str; 4] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
];

/// Refuses where the machine that this runs on has another system: what stands around the harness asks it for what Linux has, too.
///
/// # Errors
/// See above.
pub fn refuse_this() -> Result<(), Error> {
    refuse_host(std::env::consts::OS)
}

fn refuse_host(system: &str) -> Result<(), Error> {
    if system == "linux" {
        return Ok(());
    }
    Err(Error::new("cannot profile tests on this machine")
        .caused_by(format!("its system is {system}; {RECORDED}"))
        .help("profile them in a container or virtual machine with Linux; here, `cargo test` runs them"))
}

/// Refuses where one of `targets`, as `--target` names them, is for a machine on which nothing can be recorded. `rustc` is asked about
/// those that are not known; of what it does not know, cargo says so.
///
/// # Errors
/// See above.
pub fn refuse_others(rustc: &OsStr, targets: &[String]) -> Result<(), Error> {
    for target in targets.iter().filter(|target| !USUAL.contains(&target.as_str())) {
        if let Some(reason) = refusal(&cargo_config::cfgs(rustc, Some(target))) {
            return Err(Error::usage(format!("cannot profile tests for `{target}`"))
                .caused_by(format!("{reason}; {RECORDED}"))
                .help("profile them for such a machine: pass another `--target`, or set another `build.target`"));
        }
    }
    Ok(())
}

/// Why a target with these `cfgs` is none on which tests are recorded; `None` = it is one, or there is no answer.
fn refusal(cfgs: &[Cfg]) -> Option<String> {
    let value = |name: &str| {
        cfgs.iter().find_map(|cfg| match cfg {
            Cfg::KeyPair(key, value) if key.as_str() == name => Some(value.as_str()),
            _ => None,
        })
    };
    let (os, processor, width) = (value("target_os")?, value("target_arch")?, value("target_pointer_width")?);
    if os != "linux" {
        return Some(if os == "none" { "it has no operating system".into() } else { format!("its system is {os}") });
    }
    if width != "64" {
        return Some(format!("its pointers have {width} bits"));
    }
    (!["x86_64", "aarch64"].contains(&processor)).then(|| format!("its processor is {processor}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn what_stands_in_the_way_is_named() {
        let refused = |os: &str, processor: &str, width: &str| {
            let cfgs = [("target_os", os), ("target_arch", processor), ("target_pointer_width", width)];
            refusal(&cfgs.map(|(name, value)| Cfg::from_str(&format!("{name}=\"{value}\"")).expect("a condition")))
        };
        assert_eq!(refused("linux", "x86_64", "64"), None);
        assert_eq!(refused("linux", "aarch64", "64"), None);
        assert_eq!(refused("linux", "x86", "32").as_deref(), Some("its pointers have 32 bits"));
        // x32: the processor's name alone does not say it.
        assert_eq!(refused("linux", "x86_64", "32").as_deref(), Some("its pointers have 32 bits"));
        assert_eq!(refused("linux", "riscv64", "64").as_deref(), Some("its processor is riscv64"));
        assert_eq!(refused("macos", "aarch64", "64").as_deref(), Some("its system is macos"));
        assert_eq!(refused("windows", "x86_64", "64").as_deref(), Some("its system is windows"));
        assert_eq!(refused("none", "wasm32", "32").as_deref(), Some("it has no operating system"));
    }

    #[test]
    fn a_machine_with_another_system_is_refused() {
        assert!(refuse_host("linux").is_ok());
        let refused = refuse_host("macos").expect_err("nothing is recorded there");
        let text = "cannot profile tests on this machine\n  caused by: its system is macos; the harness records on x86_64 and aarch64 \
             Linux with 64-bit pointers only\n  help: profile them in a container or virtual machine with Linux; here, `cargo test` runs them";
        assert_eq!(refused.to_string(), text);
    }

    #[test]
    fn a_compiler_that_does_not_answer_refuses_nothing() {
        assert_eq!(refusal(&[]), None);
    }
}
