//! The one way in for files that somebody else may have written: a baseline, a summary, a profile, a ledger. A shard is
//! the artifact of a job that ran a stranger's code, and a test may do with its ledger what it likes. So a name in such a file must be a
//! plain path; only a regular file below the expected folder is opened, through no link; and a file that is larger than any of ours can be
//! is refused.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use memprof_profile::import::{Limited, MOST, too_much};
use memprof_profile::view::plain::plain;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Bytes of the largest text: a summary of a hundred thousand tests is half as long. What is made of a text takes up to eight times as much.
pub const MOST_OF_TEXT: u64 = 256 << 20;

/// A path that leads down from a folder and nowhere else: names alone, on one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlainPath(Utf8PathBuf);

impl PlainPath {
    /// `None` where the path is another kind.
    pub fn new(path: Utf8PathBuf) -> Option<PlainPath> {
        let names = path.components().all(|part| matches!(part, Utf8Component::Normal(_)));
        // `a/./b` and `a//b` have only names, too, and are no names that we give.
        let same = path.components().map(|part| part.as_str()).collect::<Vec<_>>().join("/") == path.as_str();
        let plain = names && same && !path.as_str().is_empty() && !path.as_str().contains(char::is_control);
        plain.then_some(PlainPath(path))
    }

    /// A path that this program has made up itself.
    pub fn ours(path: Utf8PathBuf) -> PlainPath {
        PlainPath::new(path).expect("the layout of the outputs gives plain paths")
    }
}

impl Deref for PlainPath {
    type Target = Utf8Path;

    fn deref(&self) -> &Utf8Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PlainPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PlainPath, D::Error> {
        let path = Utf8PathBuf::deserialize(deserializer)?;
        let refused = format!("`{}` is no plain path below its folder", path.as_str().escape_debug());
        PlainPath::new(path).ok_or_else(|| serde::de::Error::custom(refused))
    }
}

/// A text of somebody else's that is to be one line and shows what it holds: for a field that `serde` reads. Names of tests come as they
/// are, since metrics for programs have them so; who shows one takes [`plain`].
///
/// # Errors
/// Where it is no text.
pub fn line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(plain(&String::deserialize(deserializer)?).into_owned())
}

/// The same for a text that may have several lines. None of them is one that GitHub takes for a command, which it does wherever
/// `::` comes first on a line of a job's output, spaces aside.
///
/// # Errors
/// Where it is no text.
pub fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let lines = text.split('\n').map(|line| match plain(line) {
        line if line.trim_start().starts_with("::") => line.replacen(':', "\\u{3a}", 1),
        line => line.into_owned(),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The same as [`line()`] for a list of them.
///
/// # Errors
/// Where it is no list of texts.
pub fn list_of_lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.iter().map(|text| plain(text).into_owned()).collect())
}

/// The JSON in `bytes`.
///
/// # Errors
/// Where it is none, or is no `T`. The reason quotes from the file, so that it is one line.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| plain(&error.to_string()).into_owned())
}

/// A file in a folder that somebody else may have filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeFile {
    folder: Utf8PathBuf,
    file: PlainPath,
}

impl IntakeFile {
    pub fn new(folder: &Utf8Path, file: &PlainPath) -> IntakeFile {
        IntakeFile { folder: folder.to_owned(), file: file.clone() }
    }

    /// Where it is, to be shown; reading it so would follow links.
    pub fn path(&self) -> Utf8PathBuf {
        self.folder.join(&*self.file)
    }

    /// Whether there is anything.
    pub fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// # Errors
    /// Where it cannot be opened, is no regular file, is behind a link, or is too large.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        self.read_within(MOST)
    }

    /// The same of a text, which is to be taken apart.
    ///
    /// # Errors
    /// As of [`IntakeFile::read`].
    pub fn read_text(&self) -> io::Result<Vec<u8>> {
        self.read_within(MOST_OF_TEXT)
    }

    fn read_within(&self, most: u64) -> io::Result<Vec<u8>> {
        let read = self.open().and_then(|file| contents(file, most));
        read.map_err(|error| told_of(self.path().as_std_path(), &error))
    }

    /// Goes down name by name. The folder itself is the user's word, and may be a link.
    fn open(&self) -> io::Result<File> {
        let down = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut folder: OwnedFd = rustix::fs::openat(CWD, self.folder.as_std_path(), down, Mode::empty())?;
        let mut names = self.file.components().map(|part| part.as_str()).peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                return open_regular(&folder, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW, OFlags::NOFOLLOW);
            }
            folder = rustix::fs::openat(&folder, name, down | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| {
                // What Linux says of a link here, as of a file that is no folder.
                let is_link = error == rustix::io::Errno::LOOP || error == rustix::io::Errno::NOTDIR;
                if is_link { io::Error::other("a folder on the way is a link, or none") } else { error.into() }
            })?;
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A text that the user or this program has named: it may be a link, and must be a regular file.
///
/// # Errors
/// Where it cannot be opened, is no regular file, or is too large. It is not found only where there is no link either.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(CWD, path, AtFlags::empty(), OFlags::empty()).map_err(|error| match path.read_link() {
        // Who made the link does not take the file for one that need not be there.
        Ok(to) if error.kind() == io::ErrorKind::NotFound => {
            io::Error::other(format!("it is a link to `{}`, which is not there", to.display()))
        }
        _ => error,
    });
    file.and_then(|file| contents(file, MOST_OF_TEXT)).map_err(|error| told_of(path, &error))
}

/// A file that a test may have put in the place of one of ours: no link.
///
/// # Errors
/// As of [`read`].
pub fn read_unlinked(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(CWD, path, AtFlags::SYMLINK_NOFOLLOW, OFlags::NOFOLLOW);
    file.and_then(|file| contents(file, MOST)).map_err(|error| told_of(path, &error))
}

/// Looks before it opens: to open a device may do something, and to open a pipe may wait for ever.
fn open_regular(folder: impl AsFd, name: &Path, look: AtFlags, open: OFlags) -> io::Result<File> {
    refuse_other(FileType::from_raw_mode(rustix::fs::statat(&folder, name, look)?.st_mode))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | open;
    let file = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
    // It may have become another meanwhile.
    refuse_other(FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode))?;
    Ok(file.into())
}

fn refuse_other(kind: FileType) -> io::Result<()> {
    let what = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "a link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    };
    Err(io::Error::other(format!("it is {what}, and no regular file")))
}

fn contents(file: File, most: u64) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > most { Err(too_much(most)) } else { limited(file, most) }
}

/// All that `from` gives, where that is not too much. Its length is not believed: some files of the kernel's have none.
fn limited(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Limited::new(from, most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn told_of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read `{}`: {error}", plain(&path.display().to_string())))
}

impl fmt::Display for PlainPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn plain_path(path: &str) -> Option<PlainPath> {
        PlainPath::new(path.into())
    }

    #[test]
    fn only_names_one_below_the_other_are_a_plain_path() {
        for path in ["a", "a/b.gz", "p/lib-p/tests::a b/x", ".x", "..x", "a~2/…"] {
            assert!(plain_path(path).is_some(), "{path}");
        }
        for path in ["", "/a", "..", "a/../b", "./a", "a/./b", "a//b", "a/", "a\nb", "a\0b", "a\u{1b}[2J"] {
            assert!(plain_path(path).is_none(), "{path:?}");
        }
        let error = serde_json::from_str::<PlainPath>("\"../a\\n\"").unwrap_err().to_string();
        assert!(error.starts_with(r"`../a\n` is no plain path below its folder"), "{error}");
    }

    #[derive(Debug, Deserialize)]
    struct Shown {
        #[serde(deserialize_with = "line")]
        one: String,
        #[serde(deserialize_with = "lines")]
        several: String,
        #[serde(deserialize_with = "list_of_lines")]
        list: Vec<String>,
    }

    #[test]
    fn a_text_of_somebody_elses_moves_no_cursor_and_commands_no_runner() {
        let text = r#"{"one":"x\n::error::y\u001b[2J\u202ez","several":"a: b\n  ::error::c\r\n::d::","list":["a\nb"]}"#;
        let shown: Shown = json(text.as_bytes()).unwrap();
        assert_eq!(shown.one, r"x\n::error::y\u{1b}[2J\u{202e}z");
        assert_eq!(shown.several, "a: b\n  \\u{3a}:error::c\\r\n\\u{3a}:d::");
        assert_eq!(shown.list, [r"a\nb"]);
        let error = json::<memprof_profile::record::Outcome>(br#""x\n::error::y""#).unwrap_err();
        assert!(!error.contains('\n') && error.contains(r"x\n::error::y"), "{error}");
    }

    /// Lines of a file that are fields of type `of`, with the line before each.
    fn fields<'a>(text: &'a str, of: &str) -> Vec<(&'a str, &'a str)> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let is_field = |line: &str| line.starts_with("pub ") && line.ends_with(&format!(": {of},"));
        lines.windows(2).filter(|pair| is_field(pair[1])).map(|pair| (pair[0], pair[1])).collect()
    }

    #[test]
    fn every_text_that_the_gate_reads_is_fit_to_be_shown() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = 0;
        for file in [
            "gate/compare/loaded_run.rs",
            "context/conditions.rs",
            "context/provenance.rs",
            "context/unit.rs",
            "report/last_command.rs",
        ] {
            let text = fs_err::read_to_string(root.join(file)).unwrap();
            let read = text
                .split("#[derive(")
                .filter(|part| part.lines().next().is_some_and(|line| line.contains("Deserialize")));
            for (before, field) in read.flat_map(|part| [fields(part, "String"), fields(part, "Vec<String>")].concat())
            {
                let is_name = field == "pub name: String,";
                assert!(is_name || before.contains("intake::l"), "`{field}` in `{file}`: as `intake::line` has it");
                found += 1;
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn only_regular_files_without_a_link_on_the_way_are_read() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path()).unwrap();
        let folder = root.join("shard");
        fs_err::create_dir_all(folder.join("a/b")).unwrap();
        fs_err::write(folder.join("a/b/file"), "mine").unwrap();
        fs_err::write(root.join("secret"), "theirs").unwrap();
        symlink(root.join("secret"), folder.join("a/link")).unwrap();
        symlink("..", folder.join("a/up")).unwrap();
        symlink("b", folder.join("a/inside")).unwrap();
        rustix::fs::mkfifoat(CWD, folder.join("a/pipe").as_std_path(), Mode::RUSR).unwrap();
        let read =
            |path: &str| IntakeFile::new(&folder, &plain_path(path).unwrap()).read().map_err(|error| error.to_string());
        assert_eq!(read("a/b/file").unwrap(), b"mine");
        for (path, why) in [
            ("a/link", "it is a link"),
            ("a/up/a/b/file", "a folder on the way is a link"),
            ("a/inside/file", "a folder on the way is a link"),
            ("a/pipe", "it is a named pipe"),
            ("a/b", "it is a folder"),
            ("a/b/file/x", "a folder on the way is a link, or none"),
            ("a/none", "No such file"),
        ] {
            let error = read(path).unwrap_err();
            assert!(error.contains(why) && error.contains(path), "{path}: {error}");
        }
        // The folder itself may be a link, and so may a file that the user names.
        symlink(&folder, root.join("linked")).unwrap();
        let linked = IntakeFile::new(&root.join("linked"), &plain_path("a/b/file").unwrap());
        assert_eq!(linked.read().unwrap(), b"mine");
        assert_eq!(super::read(folder.join("a/link").as_std_path()).unwrap(), b"theirs");
        assert!(super::read_unlinked(folder.join("a/link").as_std_path()).is_err());
        for device in ["/dev/zero", "/dev/null"] {
            let error = super::read(Path::new(device)).unwrap_err().to_string();
            assert!(error.contains("it is a device"), "{error}");
        }
    }

    #[test]
    fn a_file_that_becomes_another_between_the_look_and_the_opening_is_not_read() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path()).unwrap();
        let folder = root.join("shard");
        fs_err::create_dir(&folder).unwrap();
        fs_err::write(root.join("secret"), "theirs").unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let place = IntakeFile::new(&folder, &plain_path("file").unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (file, next) = (folder.join("file"), folder.join("next"));
                for turn in 0u32.. {
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    match turn % 3 {
                        0 => fs_err::write(&next, "mine").unwrap(),
                        1 => symlink(root.join("secret"), &next).unwrap(),
                        _ => rustix::fs::mkfifoat(CWD, next.as_std_path(), Mode::RUSR | Mode::WUSR).unwrap(),
                    }
                    fs_err::rename(&next, &file).unwrap();
                }
            });
            let (mut read, mut refused) = (0, 0);
            // A pipe without a writer would stop it for good.
            while read < 1000 || refused < 1000 {
                match place.read() {
                    Ok(bytes) if bytes == b"mine" || bytes.is_empty() => read += 1,
                    Ok(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
                    Err(_) => refused += 1,
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn what_is_too_large_is_not_read_to_its_end() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("large");
        let file = File::create(&path).unwrap();
        file.set_len(MOST + 1).unwrap();
        let error = read_unlinked(&path).unwrap_err().to_string();
        assert!(error.contains("it holds more than 1024 MiB"), "{error}");
        let folder = Utf8Path::from_path(temporary.path()).unwrap();
        let place = IntakeFile::new(folder, &plain_path("large").unwrap());
        for (error, most) in [(place.read(), "1024 MiB"), (place.read_text(), "256 MiB"), (read(&path), "256 MiB")] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&format!("it holds more than {most}")), "{error}");
        }
        let error = limited(io::repeat(0), 2 << 20).unwrap_err().to_string();
        assert!(error.contains("more than 2 MiB"), "{error}");
        assert_eq!(limited(io::repeat(0).take(2 << 20), 2 << 20).unwrap().len(), 2 << 20);
    }

    fn sources(path: PathBuf, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            fs_err::read_dir(path).unwrap().for_each(|entry| sources(entry.unwrap().path(), found));
        } else {
            found.push(path);
        }
    }

    #[test]
    fn whoever_reads_what_others_may_have_written_reads_it_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        for room in ["commands", "gate", "report", "collect", "protocol/run_log.rs", "runner/benchmarks.rs"] {
            sources(root.join(room), &mut files);
        }
        assert!(files.len() > 40);
        for file in files {
            let text = fs_err::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for way in ["fs_err::read(", "fs::read(", "read_to_string(", "fs_err::copy(", "fs::copy(", "GzDecoder"] {
                assert!(!text.contains(way), "`{way}…` in `{}`: go through `crate::files::intake`", file.display());
            }
        }
    }
}
