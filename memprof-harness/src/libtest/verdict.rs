//! Reading how a child ended, and what libtest will make of it. Pure.

use crate::ledger::layout::state;
use crate::ledger::OutcomeCode;
use crate::timeout;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// What a test is to do, from its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Return,
    Panic,
    /// To panic with a text that contains this.
    PanicWith(&'static str),
}

/// What a test did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Returned,
    /// Returned a value that means failure.
    ReturnedErr,
    /// The text of the panic; `None` where the payload was something else, or where the text does not matter.
    Panicked(Option<String>),
    /// The process ended before the test did, or not as a harness ends it. The sentence to show.
    Broken(String),
    /// Its time was up, and it was killed. The sentence to show.
    TimedOut(String),
}

/// How far a child came, as its ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub state: u32,
    /// It was ending the recording, which the test has no part in.
    pub was_ending: bool,
}

impl Ending {
    /// Reads an ending from what the ledger says and from the process's status. `panic_text` is only asked after a panic.
    pub fn new(reached: Reached, status: ExitStatus, panic_text: impl FnOnce() -> Option<String>) -> Ending {
        // The test has forbidden its process a system call, and the recording's end made it.
        let is_ours = reached.was_ending && status.signal() == Some(libc::SIGSYS);
        match (reached.state, status.code()) {
            (state::RETURNED, Some(0)) => Ending::Returned,
            (state::RETURNED_ERR, Some(CHILD_FAILED)) => Ending::ReturnedErr,
            (state::PANICKED, Some(CHILD_FAILED)) => Ending::Panicked(panic_text()),
            (state::RETURNED, _) if is_ours => Ending::Returned,
            (state::RETURNED_ERR, _) if is_ours => Ending::ReturnedErr,
            (state::PANICKED, _) if is_ours => Ending::Panicked(panic_text()),
            (state, _) => Ending::Broken(sentence(state, status)),
        }
    }

    /// The ending of a test that was given `time` and was killed.
    pub fn timed_out(time: Duration) -> Ending {
        Ending::TimedOut(format!("test {}", timeout::sentence(time)))
    }

    /// The verdict that libtest reaches for a test that ended so.
    pub fn outcome(&self, expectation: Expectation) -> OutcomeCode {
        let passes = match (self, expectation) {
            (Ending::Returned, Expectation::Return) => true,
            (Ending::Panicked(_), Expectation::Panic) => true,
            (Ending::Panicked(Some(text)), Expectation::PanicWith(expected)) => text.contains(expected),
            _ => false,
        };
        match self {
            Ending::TimedOut(_) => OutcomeCode::TimedOut,
            _ if passes => OutcomeCode::Ok,
            _ => OutcomeCode::Failed,
        }
    }
}

/// The status with which a child ends whose test failed. A child whose test succeeded ends with 0.
pub const CHILD_FAILED: i32 = 101;

fn sentence(reached: u32, status: ExitStatus) -> String {
    let when = match reached {
        state::CREATED | state::MAPPED => " before the test began",
        state::OPEN => " before the test ended",
        _ => " after the test had ended",
    };
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            // A signal in the middle of the test is what one expects; only the other moments need to be told.
            let when = if reached == state::OPEN { "" } else { when };
            match signal_name(signal) {
                Some(name) => format!("test process was killed by signal {signal} ({name}){when}"),
                None => format!("test process was killed by signal {signal}{when}"),
            }
        }
        (None, Some(code)) => format!("test process exited with status {code}{when}"),
        (None, None) => format!("test process ended with {status}{when}"),
    }
}

/// What to make of a broken end from what was printed before. glibc's words, from its malloc.c.
pub fn remark(output: &[u8]) -> Option<&'static str> {
    const COMPLAINTS: [&str; 5] = [
        "munmap_chunk(): invalid pointer",
        "free(): invalid ",
        "double free or corruption",
        "realloc(): invalid ",
        "mremap_chunk(): invalid pointer",
    ];
    let last = output.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty())?;
    let complains = COMPLAINTS.iter().any(|complaint| last.starts_with(complaint.as_bytes()));
    // Below the C library blocks are its own.
    (complains && !cfg!(memprof_native)).then_some(
        "note: C's free or realloc got a block that C did not make; where it was Rust's, such as a CString's, it works while recorded if \
         the C library is linked dynamically (without crt-static); for code that was loaded with RTLD_DEEPBIND, or that found \
         free by dlsym in the C library itself, run with --native",
    )
}

fn signal_name(signal: i32) -> Option<&'static str> {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn ending(state: u32, status: ExitStatus) -> Ending {
        Ending::new(Reached { state, was_ending: false }, status, || Some("text".to_owned()))
    }

    #[test]
    fn a_filter_that_ends_the_recording_is_not_the_tests_fault() {
        let ended = |state, was_ending, signal| {
            Ending::new(Reached { state, was_ending }, ExitStatus::from_raw(signal), || Some("text".to_owned()))
        };
        assert_eq!(ended(state::RETURNED, true, libc::SIGSYS), Ending::Returned);
        assert_eq!(ended(state::RETURNED_ERR, true, libc::SIGSYS), Ending::ReturnedErr);
        assert_eq!(ended(state::PANICKED, true, libc::SIGSYS), Ending::Panicked(Some("text".to_owned())));
        let broken =
            [(state::OPEN, true, libc::SIGSYS), (state::RETURNED, false, libc::SIGSYS), (state::RETURNED, true, 9)];
        for (state, was_ending, signal) in broken {
            assert!(matches!(ended(state, was_ending, signal), Ending::Broken(_)));
        }
    }

    #[test]
    fn a_test_ends_in_order_only_where_state_and_status_agree() {
        assert_eq!(ending(state::RETURNED, exited(0)), Ending::Returned);
        assert_eq!(ending(state::RETURNED_ERR, exited(101)), Ending::ReturnedErr);
        assert_eq!(ending(state::PANICKED, exited(101)), Ending::Panicked(Some("text".to_owned())));
        assert!(matches!(ending(state::RETURNED, exited(101)), Ending::Broken(_)));
        assert!(matches!(ending(state::PANICKED, exited(0)), Ending::Broken(_)));
    }

    #[test]
    fn a_broken_end_names_signal_or_status_and_the_moment() {
        let text_of = |state, raw| match ending(state, ExitStatus::from_raw(raw)) {
            Ending::Broken(sentence) => sentence,
            other => panic!("{other:?}"),
        };
        assert_eq!(text_of(state::OPEN, 6), "test process was killed by signal 6 (SIGABRT)");
        assert_eq!(text_of(state::OPEN, 0), "test process exited with status 0 before the test ended");
        assert_eq!(text_of(state::OPEN, 40), "test process was killed by signal 40");
        assert_eq!(text_of(state::MAPPED, 9), "test process was killed by signal 9 (SIGKILL) before the test began");
        assert_eq!(text_of(state::RETURNED, 3 << 8), "test process exited with status 3 after the test had ended");
    }

    #[test]
    fn only_the_c_librarys_last_words_are_remarked_on() {
        for (output, is_remarkable) in [
            ("munmap_chunk(): invalid pointer\n", true),
            ("x\nfree(): invalid pointer\n\n", true),
            ("free(): invalid size", true),
            ("free(): invalid size\nx\n", false),
            ("x free(): invalid size\n", false),
            ("", false),
        ] {
            assert_eq!(remark(output.as_bytes()).is_some(), is_remarkable, "{output}");
        }
    }

    #[test]
    fn who_was_too_late_passes_nowhere() {
        let late = Ending::timed_out(Duration::from_millis(2500));
        assert_eq!(late, Ending::TimedOut("test timed out after 2.5 s (--test-timeout)".to_owned()));
        for expectation in [Expectation::Return, Expectation::Panic, Expectation::PanicWith("")] {
            assert_eq!(late.outcome(expectation), OutcomeCode::TimedOut);
        }
    }

    #[test]
    fn outcomes_are_those_of_libtest() {
        use Expectation::{Panic, PanicWith, Return};
        let panicked = |text: &str| Ending::Panicked(Some(text.to_owned()));
        let broken = Ending::Broken(String::new());
        for (ending, expectation, passes) in [
            (Ending::Returned, Return, true),
            (Ending::Returned, Panic, false),
            (Ending::Returned, PanicWith("x"), false),
            (Ending::ReturnedErr, Return, false),
            (panicked("axb"), Return, false),
            (panicked("axb"), Panic, true),
            (panicked("axb"), PanicWith("x"), true),
            (panicked("ab"), PanicWith("x"), false),
            (Ending::Panicked(None), Panic, true),
            (Ending::Panicked(None), PanicWith("x"), false),
            (broken.clone(), Return, false),
            (broken.clone(), Panic, false),
            (broken, PanicWith("x"), false),
        ] {
            let expected = if passes { OutcomeCode::Ok } else { OutcomeCode::Failed };
            assert_eq!(ending.outcome(expectation), expected, "{ending:?} where {expectation:?} was expected");
        }
    }
}
