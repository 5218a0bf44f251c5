//! A call of rustc, read and rewritten. Pure: what the arguments mean and what they become.

use super::settings::SettingsRead;
use crate::context::toolchain::Takes;
use crate::inject::flags::{MANGLING, for_all};
use crate::inject::harness::Unhookable;
use crate::protocol::library::Settings;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What a call of rustc is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A question, a build script, a proc macro, or what is no part of our build: passed through as it is.
    Untouched,
    /// A library or program of the user's or of a dependency.
    Plain,
    /// A test executable with libtest.
    Test,
}

/// A call of rustc that compiles something, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    pub purpose: Purpose,
    pub crate_name: String,
    /// As given: relative to the folder rustc runs in.
    pub source: PathBuf,
    /// The executable that will be made; `None` = none, or not known.
    pub executable: Option<PathBuf>,
    /// The library that will be made, with the name that cargo gives it; `None` = none, or not known.
    pub library: Option<PathBuf>,
    pub settings: Settings,
    /// `--target` as given; `None` = the host.
    pub target: Option<String>,
    /// The user's crate has a dependency called `test`.
    pub has_extern_test: bool,
    /// What keeps the C library's functions from being hooked in what is compiled.
    pub unhookable: Option<Unhookable>,
    /// The user says how symbols are named.
    pub has_mangling: bool,
}

impl Invocation {
    /// Reads the arguments behind rustc's name; `@file`s must be expanded. `names_binary` = cargo says that it is compiling a
    /// binary or an example, which it does not of build scripts. `has_build_script` = the package has a build script.
    pub fn read(args: &[OsString], names_binary: bool, has_build_script: bool) -> Invocation {
        let mut read = Reading::default();
        let mut words = args.iter().map(|arg| arg.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            read.take(&word, &mut words);
        }
        read.finish(names_binary, has_build_script)
    }

    /// The arguments to add. `harness` goes under a test executable; `None` = it is to be compiled without.
    pub fn additions(&self, harness: Option<&Harness>, takes: Takes) -> Vec<OsString> {
        if self.purpose == Purpose::Untouched {
            return Vec::new();
        }
        let mut added: Vec<OsString> = for_all(takes).map(OsString::from).collect();
        if let Some(harness) = harness {
            let (options, name) = match harness.visibility {
                Visibility::Prelude => ("", "test="),
                Visibility::Hidden => ("-Zunstable-options", "noprelude:test="),
                Visibility::Forced => ("-Zunstable-options", "force:__memprof_in_program="),
            };
            if !options.is_empty() {
                added.push(options.into());
                if harness.stable {
                    // What makes the option stable would open the crate's own feature gates as well.
                    added.push("-Zallow-features=".into());
                }
                let as_stable = harness.stable && !self.has_mangling;
                added.extend(MANGLING.iter().filter(|_| as_stable).map(OsString::from));
            }
            let mut value = OsString::from(name);
            value.push(harness.rlib);
            added.extend(["--extern".into(), value]);
        }
        added
    }
}

/// How the harness is handed to rustc.
#[derive(Debug, Clone, Copy)]
pub struct Harness<'a> {
    pub rlib: &'a Path,
    pub visibility: Visibility,
    /// The compiler takes no unstable options unless it is made to.
    pub stable: bool,
}

/// How the harness gets into the executable, and whether the user's paths can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// They can; all that stable rustc offers.
    Prelude,
    /// They cannot: for crates in which `use test::…` means a module that a glob import or a macro brings, which rustc
    /// calls ambiguous as soon as a crate of that name can be seen. Needs an unstable option, and so `RUSTC_BOOTSTRAP`
    /// for this one call.
    Hidden,
    /// For a program whose `main` is its own: nothing in it names the harness, so rustc is told to link it all the same.
    /// Needs an unstable option as well.
    Forced,
}

#[derive(Default)]
struct Reading {
    test: bool,
    crate_name: Option<String>,
    crate_types: Vec<String>,
    source: Option<String>,
    out_dir: Option<String>,
    output: Option<String>,
    extra_filename: String,
    target: Option<String>,
    has_extern_test: bool,
    static_libc: bool,
    sanitizer: Option<String>,
    has_mangling: bool,
    /// `--cfg test`, which cargo gives to tests and benchmarks with a `main` of their own.
    cfg_test: bool,
    settings: SettingsRead,
}

impl Reading {
    fn take(&mut self, word: &str, words: &mut impl Iterator<Item = String>) {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word, None),
        };
        let mut value = || inline.clone().or_else(|| words.next()).unwrap_or_default();
        match flag {
            "--test" => self.test = true,
            "--crate-name" => self.crate_name = Some(value()),
            "--crate-type" => self.crate_types.extend(value().split(',').map(str::to_owned)),
            "--out-dir" => self.out_dir = Some(value()),
            "--target" => self.target = Some(value()),
            "--extern" => self.take_extern(&value()),
            "-o" => self.output = Some(value()),
            "-C" | "--codegen" => self.take_codegen(&value()),
            "-Z" => self.take_unstable(&value()),
            "--cfg" => {
                let cfg = value();
                self.cfg_test |= cfg == "test";
                self.settings.take_cfg(&cfg);
            }
            "-O" => self.settings.opt_level = Some("3".to_owned()),
            // Flags whose value is a word of its own, which is not the source file.
            "-L"
            | "-l"
            | "-A"
            | "-W"
            | "-D"
            | "-F"
            | "--check-cfg"
            | "--emit"
            | "--edition"
            | "--cap-lints"
            | "--allow"
            | "--warn"
            | "--deny"
            | "--forbid"
            | "--force-warn"
            | "--sysroot"
            | "--error-format"
            | "--json"
            | "--color"
            | "--diagnostic-width"
            | "--remap-path-prefix"
            | "--explain"
            | "--print" => {
                value();
            }
            _ if flag.starts_with("-C") => self.take_codegen(&word[2..]),
            _ if flag.starts_with("-Z") => self.take_unstable(&word[2..]),
            _ if flag.starts_with("-o") => self.output = Some(word[2..].to_owned()),
            "-" => self.source = Some(word.to_owned()),
            _ if !flag.starts_with('-') => self.source = Some(word.to_owned()),
            _ => {}
        }
    }

    fn take_unstable(&mut self, option: &str) {
        /// Those whose run-time has allocation functions of its own.
        const ALLOCATING: [&str; 6] = ["address", "hwaddress", "leak", "memory", "realtime", "thread"];
        self.settings.take_unstable(option);
        let kinds = option.strip_prefix("sanitizer=").unwrap_or_default();
        if let Some(name) = kinds.split(',').find(|name| ALLOCATING.contains(name)) {
            self.sanitizer = Some(name.to_owned());
        }
    }

    fn take_codegen(&mut self, option: &str) {
        self.settings.take_codegen(option);
        if let Some(extra) = option.strip_prefix("extra-filename=") {
            extra.clone_into(&mut self.extra_filename);
        }
        // Coverage wants the new names, and rustc warns where it is told otherwise.
        self.has_mangling |=
            ["symbol-mangling-version=", "instrument-coverage"].iter().any(|name| option.starts_with(name));
        if let Some(features) = option.strip_prefix("target-feature=") {
            for feature in features.split(',') {
                match feature {
                    "+crt-static" => self.static_libc = true,
                    "-crt-static" => self.static_libc = false,
                    _ => {}
                }
            }
        }
    }

    /// `--extern name=path`, where options such as `priv,noprelude:` may stand before the name.
    fn take_extern(&mut self, value: &str) {
        self.settings.take_extern(value);
        let name = value.split('=').next().unwrap_or_default();
        let name = name.rsplit(':').next().unwrap_or_default();
        self.has_extern_test |= name == "test";
    }

    fn finish(self, names_binary: bool, has_build_script: bool) -> Invocation {
        let crate_name = self.crate_name.unwrap_or_default();
        let program = self.crate_types.is_empty() || self.crate_types.iter().any(|kind| kind == "bin");
        let is_build_script =
            crate_name.starts_with("build_script_") && self.crate_types == ["bin"] && !names_binary && !self.cfg_test;
        // Cargo asks its questions under the name `___`.
        let compiles = !crate_name.is_empty() && crate_name != "___" && self.source.is_some();
        let purpose = if !compiles {
            Purpose::Untouched
        } else if self.test {
            Purpose::Test
        } else if is_build_script || self.crate_types.iter().any(|kind| kind == "proc-macro") {
            Purpose::Untouched
        } else {
            Purpose::Plain
        };
        let is_library = self.crate_types.iter().any(|kind| kind == "lib" || kind == "rlib");
        let library = self
            .out_dir
            .as_ref()
            .filter(|_| purpose == Purpose::Plain && is_library)
            .map(|folder| Path::new(folder).join(format!("lib{crate_name}{}.rlib", self.extra_filename)));
        let executable = match (&purpose, self.output, self.out_dir) {
            (Purpose::Test | Purpose::Plain, _, _) if !self.test && !program => None,
            (Purpose::Test | Purpose::Plain, Some(output), _) => Some(output.into()),
            (Purpose::Test | Purpose::Plain, None, Some(folder)) => {
                let name = format!("{crate_name}{}{}", self.extra_filename, std::env::consts::EXE_SUFFIX);
                Some(Path::new(&folder).join(name))
            }
            _ => None,
        };
        Invocation {
            purpose,
            crate_name,
            source: self.source.unwrap_or_default().into(),
            executable,
            library,
            settings: self.settings.finish(has_build_script),
            target: self.target,
            has_extern_test: self.has_extern_test,
            unhookable: match self.sanitizer {
                Some(name) => Some(Unhookable::Sanitizer(name)),
                None => self.static_libc.then_some(Unhookable::StaticLibc),
            },
            has_mangling: self.has_mangling,
        }
    }
}

/// `args` with the contents of `@file`s in their place, one argument a line, as rustc reads them. Cargo resorts to
/// them where a command line grows too long. What cannot be read stays as it is, for rustc to complain about.
pub fn expand(args: &[OsString], read: impl Fn(&Path) -> Option<String>) -> Vec<OsString> {
    let mut expanded = Vec::new();
    for arg in args {
        match arg.to_str().and_then(|text| text.strip_prefix('@')).and_then(|path| read(Path::new(path))) {
            Some(text) => expanded.extend(text.lines().map(OsString::from)),
            None => expanded.push(arg.clone()),
        }
    }
    expanded
}

/// Splits what cargo calls its wrapper with: the compiler (behind a workspace wrapper, where there is one) and its
/// arguments. A word that is no flag and is followed by another such word is such a wrapper.
pub fn split_programs(args: &[OsString]) -> (&[OsString], &[OsString]) {
    let is_rustc_argument = |arg: &OsStr| {
        let bytes = arg.as_encoded_bytes();
        bytes.starts_with(b"-") || bytes.starts_with(b"@")
    };
    let at = args.iter().position(|arg| is_rustc_argument(arg)).unwrap_or(args.len());
    args.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn read(text: &str) -> Invocation {
        Invocation::read(&words(text), false, false)
    }

    const ALL: Takes = Takes { check_cfg: true, non_leaf: true };

    const TEST: &str = "--crate-name csv --edition=2021 src/lib.rs --error-format=json --json=artifacts \
        --emit=dep-info,link -C debuginfo=2 --test --cfg feature=\"a\" -C metadata=12 -C extra-filename=-34 \
        --out-dir /t/debug/deps --extern serde=/t/libserde.rlib -L dependency=/t/debug/deps";

    #[test]
    fn a_test_gets_the_harness_after_everything_else() {
        let invocation = read(TEST);
        assert_eq!(invocation.purpose, Purpose::Test);
        assert_eq!(invocation.executable, Some("/t/debug/deps/csv-34".into()));
        assert_eq!(invocation.source, Path::new("src/lib.rs"));
        let harness = Harness { rlib: Path::new("/c/lib.rlib"), visibility: Visibility::Prelude, stable: true };
        let added = invocation.additions(Some(&harness), ALL);
        assert_eq!(added[added.len() - 2..], ["--extern", "test=/c/lib.rlib"]);
        assert!(added.iter().any(|arg| arg == "strip=none"));
        assert!(!invocation.additions(None, ALL).iter().any(|arg| arg == "--extern"));
        assert!(added.iter().any(|arg| arg == "--check-cfg"));
        let old = invocation.additions(Some(&harness), Takes::of("rustc 1.79.0"));
        assert!(!old.iter().any(|arg| arg == "--check-cfg") && old.iter().any(|arg| arg == "--cfg"));
    }

    #[test]
    fn a_stable_compiler_that_takes_an_unstable_option_names_symbols_as_ever() {
        let named = |line: &str, visibility, stable| {
            let harness = Harness { rlib: Path::new("/c/lib.rlib"), visibility, stable };
            read(line).additions(Some(&harness), ALL).iter().any(|flag| flag == MANGLING[1])
        };
        let program = "--crate-name t src/main.rs --crate-type bin --out-dir x";
        assert!(named(program, Visibility::Forced, true) && !named(program, Visibility::Forced, false));
        assert!(!named(TEST, Visibility::Prelude, true) && named(TEST, Visibility::Hidden, true));
        for flag in ["-Csymbol-mangling-version=v0", "-C instrument-coverage"] {
            assert!(!named(&format!("{program} {flag}"), Visibility::Forced, true), "{flag}");
        }
    }

    #[test]
    fn questions_build_scripts_and_proc_macros_stay_as_they_are() {
        for (line, purpose) in [
            ("-vV", Purpose::Untouched),
            ("- --crate-name ___ --print=file-names --crate-type bin --print=cfg", Purpose::Untouched),
            ("--print sysroot", Purpose::Untouched),
            ("--crate-name build_script_build build.rs --crate-type bin --out-dir x", Purpose::Untouched),
            ("--crate-name mac src/lib.rs --crate-type proc-macro --out-dir x", Purpose::Untouched),
        ] {
            let invocation = read(line);
            assert_eq!(invocation.purpose, purpose, "{line}");
            assert!(invocation.additions(None, ALL).is_empty(), "{line}");
            assert_eq!(invocation.executable, None, "{line}");
        }
    }

    #[test]
    fn only_a_build_script_is_taken_for_one() {
        let library = "--crate-name build_script_util src/lib.rs --crate-type lib --out-dir x";
        let program = "--crate-name build_script_util src/main.rs --crate-type bin --out-dir x";
        let test = "--crate-name build_script_util tests/t.rs --crate-type bin --cfg test --out-dir x";
        let purpose = |line, names_binary| Invocation::read(&words(line), names_binary, false).purpose;
        assert_eq!(purpose(library, false), Purpose::Plain);
        assert_eq!((purpose(program, true), purpose(program, false)), (Purpose::Plain, Purpose::Untouched));
        assert_eq!(purpose(test, false), Purpose::Plain);
        assert_eq!(read(program).executable, None);
    }

    #[test]
    fn a_proc_macros_own_tests_are_tests() {
        let invocation = read("--crate-name mac src/lib.rs --crate-type proc-macro --test --out-dir x");
        assert_eq!(invocation.purpose, Purpose::Test);
        assert_eq!(invocation.executable, Some("x/mac".into()));
    }

    #[test]
    fn a_program_without_libtest_is_known_and_a_library_makes_none() {
        let program = read("--crate-name t tests/t.rs --crate-type bin --cfg test -C extra-filename=-1 --out-dir x");
        assert_eq!((program.purpose, program.executable), (Purpose::Plain, Some("x/t-1".into())));
        let library = read("--crate-name t src/lib.rs --crate-type lib --out-dir x --target wasm32-wasip1");
        assert_eq!((library.purpose, library.executable), (Purpose::Plain, None));
        assert_eq!(library.target.as_deref(), Some("wasm32-wasip1"));
    }

    #[test]
    fn a_dependency_called_test_is_seen_whatever_its_options() {
        for (line, has) in [
            ("--extern test=/x.rlib", true),
            ("--extern priv,noprelude:test=/x.rlib", true),
            ("--extern=test", true),
            ("--extern testing=/x.rlib --extern a=/test=b", false),
        ] {
            assert_eq!(read(&format!("--crate-name a src/lib.rs {line}")).has_extern_test, has, "{line}");
        }
    }

    #[test]
    fn the_last_word_on_a_static_c_library_counts() {
        for (flags, is_static) in [
            ("", false),
            ("-C target-feature=+crt-static", true),
            ("-Ctarget-feature=+sse3,+crt-static", true),
            ("-Ctarget-feature=+crt-static -C target-feature=-crt-static", false),
        ] {
            let expected = is_static.then_some(Unhookable::StaticLibc);
            assert_eq!(read(&format!("--crate-name a src/lib.rs {flags}")).unhookable, expected, "{flags}");
        }
    }

    #[test]
    fn a_sanitizer_that_allocates_is_seen_however_it_is_asked_for() {
        for (flags, name) in [
            ("-Zsanitizer=address", Some("address")),
            ("-Z sanitizer=leak --edition 2021", Some("leak")),
            ("-Zsanitizer=cfi,thread -Ctarget-feature=+crt-static", Some("thread")),
            ("-Zsanitizer=cfi", None),
            ("-Z sanitizer-recover=address", None),
        ] {
            let expected = name.map(|name| Unhookable::Sanitizer(name.to_owned()));
            assert_eq!(read(&format!("--crate-name a src/lib.rs {flags}")).unhookable, expected, "{flags}");
        }
    }

    #[test]
    fn settings_are_what_changes_the_code() {
        let settings = read(&format!(
            "{TEST} -C opt-level=s -C debug-assertions=off --cfg tokio_unstable -Cpanic=abort -C linker=x -Cstrip=debuginfo \
             -Z threads=8 --extern priv:mac=/t/libmac.so --cfg feature=\"b\" --cfg memprof"
        ))
        .settings;
        let texts = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(texts(&settings.features), "a b");
        assert_eq!((settings.opt_level.as_str(), settings.debug_assertions), ("s", false));
        assert_eq!(texts(&settings.flags), "--cfg tokio_unstable -Cpanic=abort");
        assert_eq!(settings.externs, [Path::new("/t/libserde.rlib"), Path::new("/t/libmac.so")]);
        let of_script = Invocation::read(&words("--crate-name a src/lib.rs --cfg has_x"), false, true).settings;
        assert_eq!((of_script.flags.len(), of_script.debug_assertions), (0, true));
        assert!(!read("--crate-name a src/lib.rs -O").settings.debug_assertions);
        let library = read("--crate-name a src/lib.rs --crate-type lib -C extra-filename=-1 --out-dir /d").library;
        assert_eq!(library, Some("/d/liba-1.rlib".into()));
    }

    #[test]
    fn argument_files_are_read_for_their_meaning() {
        let args = expand(&words("@/f --cfg x"), |path| {
            (path == Path::new("/f")).then(|| "--crate-name\na\nsrc/lib.rs\n--test\n".to_owned())
        });
        assert_eq!(Invocation::read(&args, false, false).purpose, Purpose::Test);
    }

    #[test]
    fn a_workspace_wrapper_stays_in_front_of_rustc() {
        let args = words("clippy-driver rustc --crate-name a");
        let (programs, rest) = split_programs(&args);
        assert_eq!((programs.len(), rest.len()), (2, 2));
        let args = words("rustc - --crate-name ___");
        assert_eq!(split_programs(&args).0.len(), 1);
    }
}
