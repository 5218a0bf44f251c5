//! A disk that is soon full.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A file system in memory, gone when this is.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Of so many KiB. `None` where this user may mount nothing; then says what is skipped.
    pub fn of(kib: u32, skipped: &str) -> Option<SmallDisk> {
        let folder = TempDir::new().expect("a temporary folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o"]).arg(format!("size={kib}k")).arg("memprof-tests").arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(SmallDisk { folder }),
            _ => {
                eprintln!("skipped: {skipped}, because this user may not mount a small file system");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open there is not kept from it. Where it fails, an empty disk is left behind.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
