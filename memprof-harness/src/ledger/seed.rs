//! The seed of a process's sampler. It is the same on every run and in every checkout, so that a test has the same
//! profile again. Each test and each of its repeats has another one, so that their errors cancel and do not add up.

use std::path::Path;
use std::str::FromStr;

/// See the head of this file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// Bytes that a seed has as text.
    pub const TEXT_LEN: usize = 16;

    /// Of the process that records a test: `target` is its executable's, `source_file` as rustc was given it, `repeat` how often the
    /// test was recorded before in the same run. What is not known is empty.
    #[must_use]
    pub fn of_test(package: &str, target: &str, source_file: &str, name: &str, repeat: u64) -> Seed {
        let parts = [package, target, source_file, name].map(str::as_bytes);
        Seed(FIRST).with_all(&parts).with(&repeat.to_le_bytes())
    }

    /// Of what differs from this by `part`.
    #[must_use]
    pub fn with(self, part: &[u8]) -> Seed {
        // The length keeps "a", "bc" apart from "ab", "c".
        Seed(fnv1a_from(fnv1a_from(self.0, &(part.len() as u64).to_le_bytes()), part))
    }

    fn with_all(self, parts: &[&[u8]]) -> Seed {
        parts.iter().fold(self, |seed, part| seed.with(part))
    }

    /// As good as random, from 0 up to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        // The hash's lowest bits are its best; the factor spreads them over all.
        const BITS: u32 = f64::MANTISSA_DIGITS;
        let spread = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (spread >> (u64::BITS - BITS)) as f64 / (1u64 << BITS) as f64
    }

    /// As [`FromStr`] reads it: always as long, so that what is inherited takes as many bytes in every run.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{:016x}", self.0)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Seed, Self::Err> {
        u64::from_str_radix(text, 16).map(Seed)
    }
}

/// The name of the target that an executable was made of: what cargo adds to it is another in every checkout.
#[must_use]
pub fn target_of(exe: &Path) -> String {
    // The kernel says of a file that nobody else can find any more that it is gone.
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    let name = Path::new(name.strip_suffix(" (deleted)").unwrap_or(&name)).file_stem().unwrap_or_default();
    let name = name.to_string_lossy();
    match name.rsplit_once('-') {
        Some((stem, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => stem.to_owned(),
        _ => name.into_owned(),
    }
}

/// A source file as it is called in every checkout. Of a package outside of the workspace's root rustc is given whole paths: there it is
/// the path within the package, or the name alone where the file is outside of that too, as what a build script made is.
#[must_use]
pub fn source_in_every_checkout<'a>(file: &'a str, package: &Path) -> &'a str {
    let path = Path::new(file);
    if path.is_relative() {
        return file;
    }
    let within = path.strip_prefix(package).ok().filter(|within| within.is_relative());
    within.and_then(Path::to_str).or_else(|| path.file_name()?.to_str()).unwrap_or("")
}

/// What FNV-1a of 64 bits begins with.
const FIRST: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits: short, stable over releases, and good enough to tell some hundred thousand names apart.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_from(FIRST, bytes)
}

fn fnv1a_from(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_part_of_a_test_makes_another_seed() {
        let seeds = [
            Seed::of_test("p", "t", "s", "n", 0),
            Seed::of_test("q", "t", "s", "n", 0),
            Seed::of_test("p", "u", "s", "n", 0),
            Seed::of_test("p", "t", "r", "n", 0),
            Seed::of_test("p", "t", "s", "m", 0),
            Seed::of_test("p", "t", "s", "n", 1),
            Seed::of_test("pt", "", "s", "n", 0),
            Seed::of_test("p", "ts", "", "n", 0),
        ];
        assert_eq!(seeds.iter().map(|seed| seed.0).collect::<HashSet<_>>().len(), seeds.len());
    }

    #[test]
    fn a_seed_comes_back_from_its_text() {
        for seed in [Seed(0), Seed(1), Seed(u64::MAX)] {
            assert_eq!(seed.to_text().len(), Seed::TEXT_LEN);
            assert_eq!(seed.to_text().parse(), Ok(seed));
        }
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let mut tenths = [0; 10];
        for test in 0..100u64 {
            let seed = Seed::of_test("p", "t", "s", &test.to_string(), 0);
            for site in 0..100u64 {
                tenths[(seed.with(&site.to_le_bytes()).fraction() * 10.0) as usize] += 1;
            }
        }
        // 1000 in each, of which the standard deviation is 30.
        assert!(tenths.iter().all(|count| (880..=1120).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_source_file_is_called_the_same_in_every_checkout() {
        for (file, package, name) in [
            ("mem/src/lib.rs", "/a/ws/mem", "mem/src/lib.rs"),
            ("/a/mem/src/lib.rs", "/a/mem", "src/lib.rs"),
            ("/b/deep er/mem/src/lib.rs", "/b/deep er/mem", "src/lib.rs"),
            ("/a/ws/target/debug/build/mem-0123/out/made.rs", "/a/mem", "made.rs"),
            ("/a/mem/src/lib.rs", "", "lib.rs"),
        ] {
            assert_eq!(source_in_every_checkout(file, Path::new(package)), name);
        }
    }

    #[test]
    fn a_target_is_named_without_what_cargo_adds() {
        for (exe, target) in [
            ("/a/target/debug/deps/known-0123456789abcdef", "known"),
            ("/a/out/my-tests", "my-tests"),
            ("/a/out/my-0123456789abcdeg", "my-0123456789abcdeg"),
            ("rust_out", "rust_out"),
            ("/a/target/debug/known-0123456789abcdef (deleted)", "known"),
            ("/a/target/debug/known (deleted)", "known"),
        ] {
            assert_eq!(target_of(Path::new(exe)), target);
        }
    }
}
