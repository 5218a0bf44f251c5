//! The cache of compiled harnesses, for all runs of a user, one folder each: it knows which are in use, and removes
//! those that nobody uses any more.

use super::Form;
use super::built::{self, Built};
use crate::context::env;
use crate::files::outlet;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Age at which a draft has no owner any more: compiling takes seconds.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// Time after the last run that used it when a harness goes. One is made again in seconds.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The folder: the user's cache, or `otherwise` where that cannot be written.
pub fn find(otherwise: PathBuf) -> PathBuf {
    let cache = env::non_empty(env::XDG_CACHE_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| env::non_empty(env::HOME).map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.map(|cache| cache.join("cargo-memprof"));
    // Only a file made there proves that one can be made.
    cache
        .filter(|cache| fs_err::create_dir_all(cache).and_then(|()| tempfile::tempfile_in(cache)).is_ok())
        .unwrap_or(otherwise)
}

/// Whether all these harnesses are in `place`; from now on it counts as used.
pub fn claim(place: &Path, forms: &[Form]) -> bool {
    let _lock = place.parent().and_then(|cache| lock(cache, FlockOperation::LockShared));
    // One that is somebody else's is not ours to remove either.
    let _ = File::open(place).and_then(|place| place.set_modified(SystemTime::now()));
    // Of each one, or a damaged one is found when the others were made again.
    forms.iter().filter(|form| !built::is_whole(place, **form)).count() == 0
}

/// Removes the drafts that killed runs left in `cache`, and the harnesses that no run has used for long.
///
/// # Errors
/// Whatever the file system says.
pub fn sweep(cache: &Path) -> io::Result<()> {
    let mut unused = Vec::new();
    {
        let _lock = lock(cache, FlockOperation::LockExclusive);
        for entry in fs_err::read_dir(cache)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b".") {
                unused.extend((age > ABANDONED).then_some(path));
            } else if age > UNUSED && Form::ALL.iter().any(|form| Built::look(&path, *form).is_some()) {
                // Whoever claims it from here on finds that it is not there.
                let away = cache.join(format!(".unused-{}", name.display()));
                // Where that cannot be done, the next run may.
                unused.extend(fs_err::rename(&path, &away).is_ok().then_some(away));
            }
        }
    }
    unused.into_iter().try_for_each(fs_err::remove_dir_all)
}

/// Locks the folder until the file is dropped. Without a lock, on a file system that has none, a harness may go in the moment in which
/// it is wanted after a month; the run then says that it is not there.
fn lock(cache: &Path, how: FlockOperation) -> Option<File> {
    let cache = File::open(cache).ok()?;
    rustix::fs::flock(&cache, how).ok()?;
    Some(cache)
}

/// Makes a file and locks it until it is dropped, once no other process has it locked.
pub fn lock_file(path: &Path) -> Option<File> {
    let file = outlet::to_lock(path).ok()?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_run_has_used_for_a_month_goes_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let cache = temporary.path();
        let days = |number: u64| SystemTime::now() - Duration::from_secs(number * 24 * 60 * 60);
        let make = |name: &str, file: &str, used: SystemTime| {
            let place = cache.join(name);
            fs_err::create_dir(&place).unwrap();
            fs_err::write(place.join(file), "").unwrap();
            if let Some(form) = Form::ALL.into_iter().find(|form| form.rlib(&place) == place.join(file)) {
                built::seal(&place.join(file), &place, form).unwrap();
            }
            File::open(&place).unwrap().set_modified(used).unwrap();
        };
        let [test, program] = Form::ALL.map(|form| form.rlib(Path::new("")).to_str().unwrap().to_owned());
        make("unused", &test, days(31));
        make("unused-too", &program, days(31));
        make("used", &test, days(29));
        make("claimed", &test, days(99));
        make("damaged", &test, days(29));
        make("a-strangers", "notes", days(99));
        make(".draft-old", &test, days(2));
        make(".draft-new", &test, days(0));
        let (damaged, rlib) = (cache.join("damaged"), cache.join("damaged").join(&test));
        for (then, now) in [("whole", "wh"), ("whole", "who e")] {
            fs_err::write(&rlib, then).unwrap();
            built::seal(&rlib, &damaged, Form::Test).unwrap();
            assert!(claim(&damaged, &[Form::Test]));
            fs_err::write(&rlib, now).unwrap();
            assert!(!claim(&damaged, &[Form::Test]) && Built::look(&damaged, Form::Test).is_none());
        }
        assert!(claim(&cache.join("claimed"), &[Form::Test]));
        assert!(!claim(&cache.join("claimed"), &Form::ALL) && !claim(&cache.join("missing"), &[Form::Test]));
        sweep(cache).unwrap();
        let mut left: Vec<_> = fs_err::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".draft-new", "a-strangers", "claimed", "damaged", "used"]);
    }
}
