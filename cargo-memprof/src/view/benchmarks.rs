//! The table at the end of a run of benchmarks: what one iteration of each takes, in the manner of Go's `-benchmem`.

use super::amount::count;
use crate::record::{Outcome, TestRecord};
use anstyle::{AnsiColor, Style};

const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The table, with ANSI styles, in the order of `tests`.
pub fn render(tests: &[TestRecord]) -> String {
    let mut out = format!("{HEAD}{:>15}{:>14}{:>14}  benchmark{HEAD:#}\n", "ns/iter", "B/iter", "allocs/iter");
    let mut whole = false;
    for test in tests {
        let (ns, space, objects) = match test.iteration {
            Some(iteration) => (iteration.ns, iteration.alloc_space, iteration.alloc_objects),
            None => (None, test.counters.alloc_space, test.counters.alloc_objects),
        };
        let ns = ns.map_or("-".to_owned(), nanoseconds);
        let mark = if test.outcome == Outcome::Ok { "" } else { " FAILED" };
        let as_one = test.iteration.is_none() && mark.is_empty();
        whole |= as_one;
        out.push_str(&format!(
            "{ns:>15}{:>14}{:>14}  {DIM}{} {DIM:#}{}{}{BAD}{mark}{BAD:#}\n",
            count(space),
            count(objects),
            test.id.target,
            test.id.name,
            if as_one { " *" } else { "" },
        ));
    }
    if whole {
        out.push_str(&format!("{DIM}* with all that its program does around it{DIM:#}\n"));
    }
    out
}

/// As libtest shows it: with two digits behind the point, where there are not enough in front of it.
fn nanoseconds(ns: f64) -> String {
    if ns < 1000.0 { format!("{ns:.2}") } else { count(ns.round() as i128) }
}
