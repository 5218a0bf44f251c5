//! The benchmarks of a run: the cost of one iteration of each, or the reason why it is not known.

use crate::collect::run_facts::RunFacts;
use crate::context::executable::ExecutablePath;
use crate::context::frameworks::{Dialect, Framework};
use crate::protocol::WHOLE;
use crate::protocol::measured::Measured;
use memprof_profile::model::Profile;
use memprof_profile::model::iteration::{self, Question};
use memprof_profile::model::values::{Estimated, ValueType};
use memprof_profile::record::{Iteration, Outcome, TestRecord};
use memprof_profile::view::amount::{bytes, count, plural};
use memprof_profile::view::benchmarks::{Row, Whole};
use memprof_profile::view::plain::plain;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// What the programs of benchmarks of a run said of themselves.
pub struct Benchmarks {
    measured: HashMap<ExecutablePath, Measured>,
}

/// What the profile of one benchmark says of an iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    Iteration {
        iteration: Iteration,
        /// Of other threads, whose part in it is not known.
        elsewhere: Estimated,
    },
    Unknown(Why),
}

/// Why it is not known what one iteration allocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    NothingRecorded,
    NotEveryStack,
    StacksLost,
    NoBencher,
    SeveralCalls,
    NotMeasured,
    OfStd,
    NotIterated,
    Failed,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::NothingRecorded => "nothing of them was recorded: their processes ended at once",
            Why::NotEveryStack => {
                "an iteration is told by the stacks, and not every allocation has one: `--memprofilerate 1`"
            }
            Why::StacksLost => {
                "some of their stacks are not complete, so that it is not known which are of an iteration"
            }
            Why::NoBencher => {
                "no stack shows which function of the framework calls them, or which of its calls is the first"
            }
            Why::SeveralCalls => {
                "they call the framework's bencher more than once, and the time that is printed is of one call only"
            }
            Why::NotMeasured => {
                "no time was printed for them, and no allocation of an iteration was recorded: they may have iterated nothing"
            }
            Why::OfStd => {
                "they measure a function of the standard library as it is, and what that allocates looks like the framework's own: \
                 call it in a closure"
            }
            Why::NotIterated => {
                "they called no `Bencher::iter`, or failed, and the zero that libtest prints was not measured"
            }
            Why::Failed => {
                "they failed while one was recorded, so that no iteration came to its end, or none was ever called for"
            }
        }
    }
}

impl Benchmarks {
    pub fn of(facts: &RunFacts) -> Benchmarks {
        Benchmarks { measured: Measured::of_run(&facts.lists) }
    }

    /// The framework of a benchmark that had a process of its own; `None` where `test` is none.
    fn framework(&self, test: &TestRecord) -> Option<&'static Framework> {
        let alone = test.id.name != WHOLE && test.child.is_none() && !test.is_benchmark && test.iteration.is_none();
        alone.then(|| self.measured_of(test)?.framework())?
    }

    /// What one iteration of `test` took; `None` where it is no benchmark, or has its metrics by itself. `profile` is `None`
    /// where nothing was recorded; `shared` = its name is a part of another's.
    pub fn read(&self, test: &TestRecord, profile: Option<&Profile>, shared: bool) -> Option<Reading> {
        if test.is_benchmark && test.iteration.is_none() {
            return Some(Reading::Unknown(Why::NotIterated));
        }
        let framework = self.framework(test)?;
        let losses = &test.losses;
        Some(match profile {
            _ if test.outcome != Outcome::Ok => Reading::Unknown(Why::Failed),
            _ if test.rate != 1 => Reading::Unknown(Why::NotEveryStack),
            _ if losses.unattributed_objects > 0 || losses.truncated_stacks > 0 => Reading::Unknown(Why::StacksLost),
            None => Reading::Unknown(Why::NothingRecorded),
            Some(profile) => {
                // Those that are recorded as none run beside the one whose name is a part of theirs.
                let others = self.measured_of(test).is_some_and(|measured| measured.remark.is_some());
                let question = Question {
                    owner: &|name| framework.owner(name),
                    program: &test.id.target.replace('-', "_"),
                    first_call: framework.dialect == Dialect::Bencher,
                    routine: ((shared || others) && framework.dialect == Dialect::Bencher)
                        .then_some(test.id.name.as_str()),
                };
                match iteration::of(profile, &question) {
                    None => Reading::Unknown(Why::NoBencher),
                    Some(found) if found.calls > 1 => Reading::Unknown(Why::SeveralCalls),
                    Some(found)
                        if found.values[ValueType::AllocObjects] == 0
                            && !was_measured(framework.dialect, self.ns(test)) =>
                    {
                        Reading::Unknown(Why::NotMeasured)
                    }
                    Some(found) if found.values[ValueType::AllocObjects] == 0 && found.is_unsure => {
                        Reading::Unknown(Why::OfStd)
                    }
                    Some(found) => Reading::Iteration {
                        iteration: Iteration {
                            ns: self.ns(test),
                            alloc_objects: u64::try_from(found.values[ValueType::AllocObjects]).unwrap_or(0),
                            alloc_space: u64::try_from(found.values[ValueType::AllocSpace]).unwrap_or(0),
                        },
                        elsewhere: found.elsewhere,
                    },
                }
            }
        })
    }

    /// What the run of a program told of those of its benchmarks that are missing.
    pub fn remark(&self, exe: &ExecutablePath) -> Option<&str> {
        self.measured.get(exe)?.remark.as_deref()
    }

    fn measured_of(&self, test: &TestRecord) -> Option<&Measured> {
        self.measured.get(&ExecutablePath::resolve(&test.executable))
    }

    fn ns(&self, test: &TestRecord) -> Option<f64> {
        self.measured_of(test)?.ns(&test.id.name)
    }

    /// Parts `tests` into benchmarks, programs of benchmarks that were recorded as one, and tests, each in their order.
    pub fn part<'a>(
        &'a self,
        facts: &'a RunFacts,
        tests: &'a [TestRecord],
    ) -> (Vec<Row<'a>>, Vec<Whole<'a>>, Vec<TestRecord>) {
        let (mut rows, mut wholes, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for test in tests {
            if test.is_benchmark || test.iteration.is_some() || self.framework(test).is_some() {
                rows.push(Row { test, ns: test.iteration.map_or_else(|| self.ns(test), |iteration| iteration.ns) });
            } else if test.id.kind == "bench" && test.id.name == WHOLE {
                let ran = facts.ran.iter().find(|ran| ran.exe.as_path() == test.executable);
                wholes.push(Whole { test, why: ran.and_then(|ran| ran.remark.as_deref()) });
            } else {
                others.push(test.clone());
            }
        }
        (rows, wholes, others)
    }
}

/// Whether there was an iteration, where nothing of one was recorded. criterion sees to it; divan lists benchmarks that have nothing to
/// run; bencher prints a time of zero where its `iter` was not called.
fn was_measured(dialect: Dialect, ns: Option<f64>) -> bool {
    match dialect {
        Dialect::Criterion => true,
        Dialect::Divan => ns.is_some(),
        Dialect::Bencher => ns.is_some_and(|ns| ns > 0.0),
    }
}

/// What must be said of the metrics: of the benchmarks without, and of those whose are not all.
pub fn warnings(readings: &[(&TestRecord, Reading)]) -> Vec<String> {
    let mut without: BTreeMap<Why, Vec<Cow<'_, str>>> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    for (test, reading) in readings {
        match reading {
            Reading::Unknown(why) => without.entry(*why).or_default().push(plain(&test.id.name)),
            Reading::Iteration { elsewhere: values, .. } if values[ValueType::AllocObjects] > 0 => {
                elsewhere.push(format!(
                    "{}: {} ({})",
                    plain(&test.id.name),
                    plural_of(values[ValueType::AllocObjects], "allocation"),
                    bytes(values[ValueType::AllocSpace])
                ))
            }
            Reading::Iteration { .. } => {}
        }
    }
    let mut texts: Vec<String> = without
        .into_iter()
        .map(|(why, names)| {
            let what = plural(names.len(), "benchmark");
            let have = if names.len() == 1 { "has" } else { "have" };
            format!("{what} {have} no metrics of an iteration: {}\n{}", why.text(), names.join(", "))
        })
        .collect();
    if !elsewhere.is_empty() {
        let head = "what other threads allocate is not in the metrics: it cannot be told from what they did before";
        texts.push(format!("{head}\n{}", elsewhere.join("\n")));
    }
    texts
}

fn plural_of(amount: i64, what: &str) -> String {
    format!("{} {what}{}", count(amount), if amount == 1 { "" } else { "s" })
}
