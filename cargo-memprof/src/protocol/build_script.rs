//! Processes below a build script are left alone. Cargo gives a build script the whole environment, our variables included, so a cargo or
//! rustc that it calls comes to us as well. Its output must be the same as without us, byte for byte. So this program steps aside where it
//! is called below a build script, as wrapper, as runner and as rustdoc.

use crate::protocol::ancestors::{self, Descent};
use crate::protocol::plan::Plan;
use std::env;
use std::ffi::OsString;

/// What cargo sets for build scripts and for nothing else.
const OF_BUILD_SCRIPTS: [&str; 2] = ["NUM_JOBS", "CARGO_CFG_TARGET_ARCH"];
/// What nextest sets for its setup scripts and for tests, and not for the cargo that builds them.
const OF_SETUP_SCRIPTS: &str = "NEXTEST_RUN_ID";

/// The names of the variables whose values in the driver must be known.
pub fn names() -> impl Iterator<Item = &'static str> {
    OF_BUILD_SCRIPTS.into_iter().chain([OF_SETUP_SCRIPTS])
}

/// Whether a build script started this process, or what started it. The driver may be below one itself, or its user may have set
/// such a variable, so it is another value than the driver's that counts. A build script may take the variables from what it starts; what it
/// had itself it cannot. What it starts may outlive what stands between; then the driver is not above this process, as it is above all that its
/// own cargo starts.
pub fn is_above(plan: &Plan) -> bool {
    OF_BUILD_SCRIPTS.into_iter().any(|name| is_new(plan, name))
        || match ancestors::descent_from(plan.driver) {
            Descent::Below(between) => between.into_iter().any(|one| is_one(plan, one)),
            Descent::Apart => true,
            Descent::NotKnown => false,
        }
}

/// Whether the process is a build script, or one that it left its variables to.
fn is_one(plan: &Plan, process: u32) -> bool {
    let environment = ancestors::environment_of(process);
    let value = |name: &str| environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    OF_BUILD_SCRIPTS.into_iter().any(|name| is_another(value(name), plan.around.value(name)))
}

/// Whether what compiles here is no part of the build that the driver started.
pub fn is_another_build(plan: &Plan) -> bool {
    is_above(plan) || is_new(plan, OF_SETUP_SCRIPTS)
}

fn is_new(plan: &Plan, name: &str) -> bool {
    is_another(env::var_os(name), plan.around.value(name))
}

fn is_another(now: Option<OsString>, at_the_driver: Option<&OsString>) -> bool {
    now.as_ref().is_some_and(|now| Some(now) != at_the_driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_the_driver_had_says_nothing() {
        let some = |text: &str| Some(OsString::from(text));
        assert!(is_another(some("2"), None) && is_another(some("2"), some("8").as_ref()));
        assert!(!is_another(some("2"), some("2").as_ref()) && !is_another(None, some("2").as_ref()));
        assert!(!is_another(None, None));
    }
}
