//! The program by which executables for another processor run: the user's own `runner`, `qemu-aarch64` say. A process that starts its own
//! executable again has it do so, since the kernel may know nothing of that processor.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

/// Its path and arguments; empty = the kernel starts executables of this kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emulator(Vec<OsString>);

impl Emulator {
    pub fn new(words: Vec<OsString>) -> Emulator {
        Emulator(words)
    }

    /// The kernel does without.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Starts `program`.
    pub fn command(&self, program: &Path) -> Command {
        let mut words = self.0.iter().map(OsString::as_os_str).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// As [`crate::environment::EMULATOR`] says it: each word, which may hold anything, behind its length in bytes and a colon.
    pub fn to_variable(&self) -> OsString {
        let mut text = Vec::new();
        for word in &self.0 {
            text.extend_from_slice(format!("{}:", word.len()).as_bytes());
            text.extend_from_slice(word.as_bytes());
        }
        OsString::from_vec(text)
    }

    /// What [`Self::to_variable`] gave; none where the text is another.
    pub fn from_variable(text: &OsStr) -> Emulator {
        Emulator(words_of(text.as_bytes()).unwrap_or_default())
    }
}

fn words_of(mut text: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    while !text.is_empty() {
        let colon = text.iter().position(|&byte| byte == b':')?;
        let length: usize = std::str::from_utf8(&text[..colon]).ok()?.parse().ok()?;
        let (word, rest) = (text.get(colon + 1..)?.get(..length)?, text.get(colon + 1 + length..)?);
        words.push(OsString::from_vec(word.to_owned()));
        text = rest;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_whatever_they_hold() {
        for words in [&[][..], &["qemu"], &["/a b/qemu", "-L", "/x:y/3:z", "", "a\nb"]] {
            let emulator = Emulator(words.iter().map(OsString::from).collect());
            assert_eq!(Emulator::from_variable(&emulator.to_variable()), emulator);
        }
        let binary = Emulator(vec![OsString::from_vec(vec![0xff, b':', 1])]);
        assert_eq!(Emulator::from_variable(&binary.to_variable()), binary);
    }

    #[test]
    fn what_is_no_list_of_words_names_none() {
        for text in ["qemu", "5:qemu", "x:y", "1:ab", "18446744073709551615:a", ":"] {
            assert!(Emulator::from_variable(text.as_ref()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_program_is_its_last_word() {
        let emulator = Emulator(vec!["qemu".into(), "-x".into()]);
        let command = emulator.command(Path::new("/t/a"));
        assert_eq!(command.get_program(), "qemu");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-x", "/t/a"]);
        assert_eq!(Emulator::default().command(Path::new("/t/a")).get_program(), "/t/a");
    }
}
