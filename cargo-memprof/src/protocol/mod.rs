//! What the driver, the rustc wrapper and the runner tell each other, who are this program called in different ways: in variables of the
//! environment, in the plan of the run, and in notes beside what they made.

pub mod build_record;
pub mod build_script;
pub mod env;
pub mod plan;
pub mod run_log;
