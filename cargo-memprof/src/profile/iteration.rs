//! Of the profile of a benchmark program that ran one iteration, what of it the iteration is: what the benchmark's own code
//! called for below criterion's or divan's `Bencher`. Pure.

use super::values::Estimated;
use super::{Profile, function::Origin};

/// Paths of the functions that call a benchmark's code and time it.
const BENCHERS: [&str; 3] = ["criterion::bencher::", "divan::benchmark::Bencher", "divan::benchmark::BenchContext"];
/// The crates they are in.
const CRATES: [&str; 2] = ["criterion::", "divan::"];

/// What one iteration did; `None` where the program uses neither crate, as far as its stacks tell.
pub fn of(profile: &Profile) -> Option<Estimated> {
    let name = |id| profile.strings.get(profile.functions.get(id).name);
    let mut functions = profile.functions.iter();
    if !functions.any(|(_, function)| is_below(profile.strings.get(function.name), &CRATES)) {
        return None;
    }
    let mut sum = Estimated::default();
    for sample in &profile.samples {
        // Innermost first: the benchmark's code, then who calls it.
        let locations = profile.stacks.locations(sample.stack);
        let frames = locations.flat_map(|location| profile.locations.get(location).frames.iter());
        let mut in_benchmark = false;
        for frame in frames {
            let name = name(frame.function);
            if is_below(name, &BENCHERS) {
                if in_benchmark {
                    sum += &sample.values;
                }
                break;
            }
            in_benchmark |=
                !is_below(name, &CRATES) && profile.functions.get(frame.function).origin == Origin::Workspace;
        }
    }
    Some(sum)
}

/// Whether the function called `name` is in one of `paths`, or a method of a type there.
fn is_below(name: &str, paths: &[&str]) -> bool {
    paths.iter().any(|path| name.trim_start_matches('<').starts_with(path))
}
