//! The user's choice of how executables with libtest are recorded.

use crate::context::env;
use crate::ui::error::Error;
use serde::{Deserialize, Serialize};

/// How executables with libtest are recorded: `CARGO_MEMPROF_LIBTEST`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By wrapping libtest, or where that cannot be had, by its list.
    #[default]
    Auto,
    /// By wrapping libtest, or not at all.
    Wrap,
    /// By its list: each test in a process that libtest itself runs it in.
    List,
}

impl Way {
    /// What the user asks for.
    ///
    /// # Errors
    /// Where it is none of the three words.
    pub fn from_environment() -> Result<Way, Error> {
        let Some(word) = env::non_empty(env::CARGO_MEMPROF_LIBTEST) else { return Ok(Way::default()) };
        match word.to_str() {
            Some("auto") => Ok(Way::Auto),
            Some("wrap") => Ok(Way::Wrap),
            Some("list") => Ok(Way::List),
            _ => Err(Error::usage(format!("cannot use `{}` as the way tests are recorded", word.display()))
                .caused_by(format!("`{}` is `auto`, `wrap` or `list`", env::CARGO_MEMPROF_LIBTEST))
                .help("unset it: `auto` wraps libtest where it can, and reads its list where it cannot")),
        }
    }
}
