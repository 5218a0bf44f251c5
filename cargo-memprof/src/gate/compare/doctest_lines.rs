//! Which line of a baseline is that of which doctest. Doctests of one item are numbered: where that many ran as have lines, they are taken to be the
//! same, in another order if all of them fit their lines then; where there are more or fewer, the lines are given to those that they fit.
//! Before all that, a line has a doctest of the same text. Pure.

use super::doctest::{item, number, with_number};
use crate::gate::committed::Baseline;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::one_test::seen;
use crate::gate::metrics::{Metric, Seen};
use crate::gate::program;
use memprof_profile::record::TestId;
use std::collections::BTreeMap;

/// Whether all doctests that there are ran, so that one that did not is gone.
pub fn all_ran(run: &LoadedRun) -> bool {
    !run.run.filtered && !run.run.interrupted && run.run.cargo_exit == 0
}

/// `baseline` with the lines of items whose doctests stand in another order, or are more or fewer than when they were written, at the places of those that they are of: a doctest
/// that was added or removed shifts no other's. Which that are is told by their texts, and where these are others by their metrics and their order. Lines that are left stand behind all others.
/// `None` = nothing changes.
pub fn aligned(baseline: &Baseline, run: &LoadedRun) -> Option<Baseline> {
    let ran = run.by_test();
    let is_own = |id: &&TestId| program::of_line(id).is_none();
    let mut items: BTreeMap<TestId, [Vec<(usize, Seen)>; 2]> = BTreeMap::new();
    for (id, line) in baseline.tests.iter().filter(|(id, _)| is_own(id)) {
        item(id).into_iter().for_each(|item| items.entry(item).or_default()[0].push((number(id), *line)));
    }
    for (id, repeats) in ran.iter().filter(|(id, _)| is_own(id)) {
        let known = item(id).zip(seen(repeats));
        known.into_iter().for_each(|(item, seen)| items.entry(item).or_default()[1].push((number(id), seen)));
    }
    let mut moved: BTreeMap<TestId, TestId> = BTreeMap::new();
    for (item, [lines, ran]) in &mut items {
        lines.sort_by_key(|(number, _)| *number);
        ran.sort_by_key(|(number, _)| *number);
        let are_same = lines.len() == ran.len();
        let may_be_known = are_same || lines.len() < ran.len() || all_ran(run);
        if lines.is_empty() || ran.is_empty() || !may_be_known {
            continue;
        }
        let pairs = assigned(lines, ran);
        let mut behind = ran.last().map_or(0, |(number, _)| *number);
        for (at, (before, _)) in lines.iter().enumerate() {
            let place = pairs.iter().find(|(line, _)| *line == at).map(|(_, ran_at)| ran[*ran_at].0);
            let now = place.unwrap_or_else(|| {
                behind += 1;
                behind
            });
            moved.insert(with_number(item, *before), with_number(item, now));
        }
    }
    moved.retain(|before, now| before != now);
    if moved.is_empty() {
        return None;
    }
    let place = |id: &TestId| match program::of_line(id) {
        Some((test, program)) => moved
            .get(&test)
            .map(|test| TestId { name: memprof_harness::settle::line_of(&test.name, &program), ..test.clone() }),
        None => moved.get(id).cloned(),
    };
    let at_place = |(id, line): (&TestId, &Seen)| (place(id).unwrap_or_else(|| id.clone()), *line);
    let tests = baseline.tests.iter().map(at_place).collect();
    Some(Baseline { tests, ..baseline.clone() })
}

/// Which of `lines` is that of which of `ran`, by their places in both. A doctest with a text that a line has is that one. The others have another
/// text than before, or are new, or their texts are not known.
fn assigned(lines: &[(usize, Seen)], ran: &[(usize, Seen)]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut is_left = vec![true; ran.len()];
    for (line, (_, before)) in lines.iter().enumerate() {
        let has_its_text = |now: &usize| is_left[*now] && before.text.is_some() && ran[*now].1.text == before.text;
        // At its own place, if several have the same.
        let candidates = || std::iter::once(line).chain(0..ran.len()).filter(|now| *now < ran.len());
        if let Some(now) = candidates().find(has_its_text) {
            is_left[now] = false;
            found.push((line, now));
        }
    }
    let left_lines: Vec<usize> = (0..lines.len()).filter(|at| found.iter().all(|(line, _)| line != at)).collect();
    let left_ran: Vec<usize> = (0..ran.len()).filter(|at| is_left[*at]).collect();
    let [some_lines, some_ran] =
        [(&left_lines, lines), (&left_ran, ran)].map(|(left, all)| left.iter().map(|at| all[*at]).collect::<Vec<_>>());
    let rest = if some_lines.len() == some_ran.len() {
        in_another_order(&some_lines, &some_ran)
    } else {
        pairs(&some_lines, &some_ran)
    };
    found.extend(rest.into_iter().map(|(line, now)| (left_lines[line], left_ran[now])));
    found
}

/// As [`pairs`], of as many doctests as there are lines: each with a line that it fits, if that can be had for all, at its own place where that
/// is such a line. Where that cannot be had, in their order.
fn in_another_order(lines: &[(usize, Seen)], ran: &[(usize, Seen)]) -> Vec<(usize, usize)> {
    let fits = |line: usize, now: usize| lines[line].1.holds(&ran[now].1);
    let mut is_free: Vec<bool> = (0..ran.len()).map(|at| !fits(at, at)).collect();
    let moved: Vec<usize> = (0..lines.len()).filter(|at| is_free[*at]).collect();
    let mut pairs = Vec::new();
    for line in moved {
        let Some(now) = (0..ran.len()).find(|now| is_free[*now] && fits(line, *now)) else {
            return (0..lines.len()).map(|at| (at, at)).collect();
        };
        is_free[now] = false;
        pairs.push((line, now));
    }
    pairs.extend((0..lines.len()).filter(|at| fits(*at, *at)).map(|at| (at, at)));
    pairs
}

/// Which of `lines` is that of which of `ran`, by their places in both: in order, all of the shorter list, as many as can be with the metrics of
/// their lines, and then those that differ least.
fn pairs(lines: &[(usize, Seen)], ran: &[(usize, Seen)]) -> Vec<(usize, usize)> {
    type Cost = (usize, u128);
    let cost = |line: &Seen, now: &Seen| -> Cost {
        let distance = |metric| i128::from(line.most.get(metric)).abs_diff(now.most.get(metric).into());
        (usize::from(!line.holds(now)), Metric::ALL.into_iter().map(distance).fold(0, u128::saturating_add))
    };
    // Of the first so many lines and the first so many that ran, all of the fewer paired, the least cost; and by which step it is had.
    let most = (usize::MAX, u128::MAX);
    let mut least: Vec<Vec<(Cost, Step)>> = vec![vec![(most, Step::Pair); ran.len() + 1]; lines.len() + 1];
    for line in 0..=lines.len() {
        for now in 0..=ran.len() {
            let mut best = if line.min(now) == 0 { ((0, 0), Step::None) } else { (most, Step::None) };
            let mut offer = |cost: Cost, step: Step| {
                if cost < best.0 {
                    best = (cost, step);
                }
            };
            if line > 0 && now > 0 {
                let (misfits, distance) = least[line - 1][now - 1].0;
                let (misfit, far) = cost(&lines[line - 1].1, &ran[now - 1].1);
                if line > now {
                    offer(least[line - 1][now].0, Step::Line);
                }
                if now > line {
                    offer(least[line][now - 1].0, Step::Ran);
                }
                offer((misfits.saturating_add(misfit), distance.saturating_add(far)), Step::Pair);
            }
            least[line][now] = best;
        }
    }
    let (mut line, mut now) = (lines.len(), ran.len());
    let mut pairs = Vec::new();
    loop {
        match least[line][now].1 {
            Step::None => return pairs,
            Step::Line => line -= 1,
            Step::Ran => now -= 1,
            Step::Pair => {
                (line, now) = (line - 1, now - 1);
                pairs.push((line, now));
            }
        }
    }
}

/// The last step on the way to a pairing.
#[derive(Clone, Copy)]
enum Step {
    /// There is nothing to be paired.
    None,
    /// The last line is left.
    Line,
    /// The last that ran is new.
    Ran,
    Pair,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doctest_that_is_added_or_removed_shifts_no_line_of_another() {
        use crate::gate::metrics::Metrics;
        let list = |objects: &[u64]| -> Vec<(usize, Seen)> {
            let seen = |alloc_objects| Seen::once(Metrics { alloc_objects, ..Metrics::default() });
            objects.iter().zip(1..).map(|(objects, number)| (number, seen(*objects))).collect()
        };
        let paired = |lines: &[u64], ran: &[u64]| {
            let mut pairs = pairs(&list(lines), &list(ran));
            pairs.reverse();
            pairs
        };
        // In front, in between, behind; of equal ones the first are the old ones.
        assert_eq!(paired(&[3, 5], &[9, 3, 5]), [(0, 1), (1, 2)]);
        assert_eq!(paired(&[3, 5], &[3, 9, 5]), [(0, 0), (1, 2)]);
        assert_eq!(paired(&[3, 5], &[3, 5, 9]), [(0, 0), (1, 1)]);
        assert_eq!(paired(&[3], &[3, 3]), [(0, 0)]);
        assert_eq!(paired(&[3, 9, 5], &[3, 5]), [(0, 0), (2, 1)]);
        assert_eq!(paired(&[3, 3], &[3]), [(0, 0)]);
        // One that has grown is still that one: nothing may be taken for new that is over its line.
        assert_eq!(paired(&[3, 50], &[9, 3, 52]), [(0, 1), (1, 2)]);
        assert_eq!(paired(&[3, 50], &[3, 52, 9]), [(0, 0), (1, 1)]);
        assert_eq!(paired(&[], &[3]), []);
        let reordered = |lines: &[u64], ran: &[u64]| {
            let mut pairs = in_another_order(&list(lines), &list(ran));
            pairs.sort_unstable();
            pairs
        };
        assert_eq!(reordered(&[1, 2, 3], &[3, 1, 2]), [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(reordered(&[1, 5, 1, 2], &[2, 5, 1, 1]), [(0, 3), (1, 1), (2, 2), (3, 0)]);
        // One of them has grown, so nothing is known of any.
        assert_eq!(reordered(&[1, 2, 3], &[3, 1, 4]), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(reordered(&[1, 2], &[2, 3]), [(0, 0), (1, 1)]);
    }

    #[test]
    fn a_doctest_with_the_text_of_a_line_is_that_one_whatever_it_allocates() {
        use crate::gate::metrics::Metrics;
        let list = |all: &[(u64, u32)]| -> Vec<(usize, Seen)> {
            let seen = |(objects, text): (u64, u32)| {
                let once = Seen::once(Metrics { alloc_objects: objects, ..Metrics::default() });
                Seen { text: Some(text).filter(|text| *text > 0), ..once }
            };
            all.iter().zip(1..).map(|(one, number)| (number, seen(*one))).collect()
        };
        let assigned = |lines: &[(u64, u32)], ran: &[(u64, u32)]| {
            let mut found = assigned(&list(lines), &list(ran));
            found.sort_unstable();
            found
        };
        // One is added in front, and both others have grown: by metrics alone the new one would be the first, and the first the second.
        assert_eq!(assigned(&[(1, 7), (2, 8)], &[(1, 9), (2, 7), (4, 8)]), [(0, 1), (1, 2)]);
        // In another order, one of them with another text now; equal texts in their order.
        assert_eq!(assigned(&[(1, 7), (2, 8), (3, 9)], &[(3, 9), (5, 7), (2, 6)]), [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(assigned(&[(1, 7), (2, 7)], &[(5, 7), (6, 7)]), [(0, 0), (1, 1)]);
        // One that is gone takes nobody's place.
        assert_eq!(assigned(&[(1, 7), (2, 8)], &[(2, 8)]), [(1, 0)]);
        // Lines from before there were texts.
        assert_eq!(assigned(&[(3, 0), (5, 0)], &[(9, 1), (3, 2), (5, 3)]), [(0, 1), (1, 2)]);
    }
}
