//! The folder of the ledgers where a test executable is run by hand, and the word at the end that says where it is.
#![allow(unsafe_code)] // std has no way to say a word at the end of the process

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::{fs, process};

/// Where the ledgers of an executable go that was run by hand: below the `target` folder it stands in, or else below the
/// current folder's.
pub(super) fn fresh(exe: &Path) -> PathBuf {
    // Cargo marks the folder, whatever it is called.
    let target = exe.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").exists());
    let memprof = match target {
        Some(target) if ["memprof/build", "memprof/build-native"].iter().any(|ours| target.ends_with(ours)) => {
            target.parent().unwrap_or(target).to_owned()
        }
        Some(target) => target.join("memprof"),
        None => PathBuf::from("target/memprof"),
    };
    let stem = exe.file_name().unwrap_or_default().to_string_lossy();
    memprof.join("ledgers").join(format!("{stem}-{}", process::id()))
}

/// Ledgers begun by this process.
pub(super) static RECORDED: AtomicUsize = AtomicUsize::new(0);
/// Where they are, if the user did not choose the place.
static ANNOUNCED: OnceLock<PathBuf> = OnceLock::new();

/// Says at the end where the ledgers are. libtest ends the process itself where a test failed, so the end is the
/// process's.
pub(super) fn announce_at_exit(folder: &Path) {
    extern "C" fn announce() {
        let Some(folder) = ANNOUNCED.get() else { return };
        match RECORDED.load(Ordering::Relaxed) {
            // It was made for this run and stayed empty. If it cannot be removed it does no harm.
            0 => drop(fs::remove_dir(folder)),
            1 => eprintln!("memprof: the ledger of 1 test is in `{}`", folder.display()),
            recorded => eprintln!("memprof: the ledgers of {recorded} tests are in `{}`", folder.display()),
        }
    }
    if ANNOUNCED.set(folder.to_owned()).is_ok() {
        // SAFETY: `announce` is a function of the program, so it outlives every exit, and it cannot unwind: it prints
        // to stderr, whose failure ends the process.
        // A refusal (no memory) leaves the user without the hint and breaks nothing.
        let _ = unsafe { libc::atexit(announce) };
    }
}
