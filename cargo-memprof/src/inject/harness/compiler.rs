//! The compiler that compiles the harness.

use super::running::Running;
use crate::protocol::plan::Plan;
use std::ffi::OsString;

/// The compiler, and what it compiles for where it is not told.
#[derive(Debug, Clone)]
pub struct Compiler {
    pub rustc: OsString,
    pub host: String,
    /// What it says of itself: `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
    /// Its compilations that are under way.
    pub running: Running,
}

impl Compiler {
    /// That of the run that `plan` is of.
    pub fn of(plan: &Plan) -> Compiler {
        Compiler {
            rustc: plan.rustc.clone().into(),
            host: plan.host.clone(),
            version: plan.rustc_version.clone(),
            running: Running::default(),
        }
    }
}
