//! The table of known benchmark frameworks: the crates by which a program shows that it has one, the form of its output, and the functions
//! that call a benchmark's code. `#[bench]` is not here, because it belongs to libtest, which the harness replaces.

use memchr::memmem;
use memprof_profile::model::iteration::Owner;

/// How a framework is asked for its benchmarks, runs one of them once, and prints what it measured. `benches` and `printed`
/// know the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Has a list, and `--test` for one iteration of each.
    Criterion,
    /// Has `--test` for one iteration of each, and draws a tree of what it ran.
    Divan,
    /// Has neither: names are in what a run prints, and what is iterated in the first of many calls is one iteration.
    Bencher,
}

/// One framework, or a copy of one under another name.
#[derive(Debug)]
pub struct Framework {
    /// What its users call it.
    pub name: &'static str,
    /// Its crates, as symbols name them.
    crates: &'static [&'static str],
    pub dialect: Dialect,
    /// What begins the paths, inside of its crates, of the functions that call a benchmark's code.
    benchers: &'static [&'static str],
    /// The same of those that call the function again and again which has the bencher call that code.
    repeaters: &'static [&'static str],
}

/// Until criterion 0.3.2 the `Bencher` was in the crate's root.
const CRITERION: &[&str] = &["bencher::", "Bencher"];
/// Until divan 0.1.17 the module was called `bench`.
const DIVAN: &[&str] = &["benchmark::Bencher", "benchmark::BenchContext", "bench::Bencher", "bench::BenchContext"];

/// The table. A copy stands before what it is a copy of, which it may have in its tree of dependencies too.
pub static FRAMEWORKS: [Framework; 6] = [
    Framework {
        name: "CodSpeed's criterion",
        crates: &["codspeed_criterion_compat_walltime", "codspeed"],
        dialect: Dialect::Criterion,
        benchers: CRITERION,
        repeaters: &[],
    },
    Framework {
        name: "CodSpeed's divan",
        crates: &["codspeed_divan_compat_walltime", "codspeed"],
        dialect: Dialect::Divan,
        benchers: DIVAN,
        repeaters: &[],
    },
    Framework {
        name: "criterion2",
        crates: &["criterion2"],
        dialect: Dialect::Criterion,
        benchers: CRITERION,
        repeaters: &[],
    },
    // Later versions of criterion2 call their crate so too.
    Framework {
        name: "criterion",
        crates: &["criterion"],
        dialect: Dialect::Criterion,
        benchers: CRITERION,
        repeaters: &[],
    },
    Framework { name: "divan", crates: &["divan"], dialect: Dialect::Divan, benchers: DIVAN, repeaters: &[] },
    Framework {
        name: "bencher",
        crates: &["bencher"],
        dialect: Dialect::Bencher,
        benchers: &["Bencher::iter"],
        repeaters: &["Bencher::auto_bench"],
    },
];

/// What a program shows of its framework.
#[derive(Debug, Clone, Copy)]
pub enum Shown {
    Known(&'static Framework),
    /// It has the crate, and none of the functions by which an iteration could be told.
    Unreadable(&'static Framework),
    Nothing,
}

impl Framework {
    /// What the executable with these bytes has among its symbols.
    pub fn shown_by(exe: &[u8]) -> Shown {
        let mut unreadable = Shown::Nothing;
        for framework in &FRAMEWORKS {
            let mut is_there = false;
            for name in framework.crates {
                for symbol in symbols(exe, name) {
                    match framework.owner(&symbol) {
                        Owner::Bencher | Owner::Repeater => return Shown::Known(framework),
                        Owner::Harness => is_there = true,
                        Owner::Other => {}
                    }
                }
            }
            if is_there && matches!(unreadable, Shown::Nothing) {
                unreadable = Shown::Unreadable(framework);
            }
        }
        unreadable
    }

    /// The one that is called `name` here.
    pub fn named(name: &str) -> Option<&'static Framework> {
        FRAMEWORKS.iter().find(|framework| framework.name == name)
    }

    /// Whose the function called `name` is.
    pub fn owner(&self, name: &str) -> Owner {
        // The path of an implementation stands in brackets.
        let path = name.trim_start_matches('<');
        let inside = self.crates.iter().find_map(|crate_name| path.strip_prefix(crate_name)?.strip_prefix("::"));
        let is_one_of = |starts: &[&str], inside: &str| starts.iter().any(|start| inside.starts_with(start));
        match inside {
            Some(inside) if is_one_of(self.benchers, inside) => Owner::Bencher,
            Some(inside) if is_one_of(self.repeaters, inside) => Owner::Repeater,
            Some(_) => Owner::Harness,
            // Of its traits for types that are not its own.
            None if self.has_trait_of(name) => Owner::Harness,
            None => Owner::Other,
        }
    }

    /// Whether the function called `name` is of an implementation of one of its traits.
    fn has_trait_of(&self, name: &str) -> bool {
        let traits = name.strip_prefix('<').and_then(|name| name.split_once(" as ")).map_or("", |(_, traits)| traits);
        self.crates.iter().any(|crate_name| traits.strip_prefix(crate_name).is_some_and(|rest| rest.starts_with("::")))
    }
}

/// The names in `exe`, readable, whose mangled forms have `crate_name` as a part of a path. They are in its table of symbols
/// and, where functions were inlined, in its debug information.
fn symbols(exe: &[u8], crate_name: &str) -> impl Iterator<Item = String> {
    let part = format!("{}{crate_name}", crate_name.len());
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    let found: Vec<usize> = memmem::find_iter(exe, part.as_bytes()).collect();
    found.into_iter().filter_map(move |at| {
        let start = exe[..at].iter().rposition(|byte| !is_letter(byte)).map_or(0, |before| before + 1);
        let end = exe[at..].iter().position(|byte| !is_letter(byte)).map_or(exe.len(), |length| at + length);
        let symbol = std::str::from_utf8(&exe[start..end]).ok()?;
        Some(format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_shows_its_framework_by_its_symbols() {
        let known = |symbol: &str| match Framework::shown_by(format!("\0main\0{symbol}\0rest").as_bytes()) {
            Shown::Known(framework) => framework.name,
            Shown::Unreadable(_) => "unreadable",
            Shown::Nothing => "nothing",
        };
        // Both manglings.
        assert_eq!(known("_ZN9criterion7bencher16Bencher$LT$M$GT$4iter17h0123456789abcdefE"), "criterion");
        assert_eq!(known("_RNvMs_NtCs4fqI2P2rA04_9criterion7bencherNtB4_7Bencher4iter"), "criterion");
        // Before 0.3.3.
        assert_eq!(known("_ZN9criterion16Bencher$LT$M$GT$4iter17h0123456789abcdefE"), "criterion");
        assert_eq!(known("_ZN5divan5bench7Bencher5bench17h0123456789abcdefE"), "divan");
        assert_eq!(known("_ZN5divan9benchmark12BenchContext13compute_stats17h0123456789abcdefE"), "divan");
        assert_eq!(known("_ZN7bencher7Bencher10auto_bench17h0123456789abcdefE"), "bencher");
        let copy = "_ZN30codspeed_divan_compat_walltime5bench7Bencher5bench17h0123456789abcdefE";
        assert_eq!(known(copy), "CodSpeed's divan");
        // The module `bencher` of criterion is not the crate of that name.
        assert_eq!(known("_ZN9criterion5bench17h0123456789abcdefE"), "unreadable");
        assert_eq!(known("_ZN4mine9criterion7bencher17h0123456789abcdefE"), "nothing");
        assert_eq!(known("9criterion7bencher"), "nothing");
        let bencher = Framework::named("bencher").unwrap();
        assert_eq!(bencher.owner("bencher::Bencher::iter::<u8, mine::one::{closure#0}>"), Owner::Bencher);
        assert_eq!(bencher.owner("bencher::Bencher::auto_bench::<mine::one>"), Owner::Repeater);
        assert_eq!(bencher.owner("<[f64] as bencher::stats::Stats>::sum"), Owner::Harness);
        assert_eq!(bencher.owner("<[f64] as mine::Stats>::sum"), Owner::Other);
    }
}
