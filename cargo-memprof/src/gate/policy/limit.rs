//! Limits: how much a metric may grow, or be. `+5% or 64KiB` allows the larger of two growths, `10MiB` is a ceiling, and
//! rules with a comma between them hold all at once.

use crate::gate::policy::amount::amount;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// All rules for one metric; without rules anything goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// As the user wrote it.
    text: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// More than the baseline by the larger of the two.
    Growth {
        /// In thousandths of a percent of the baseline's metric.
        percent: u64,
        absolute: u64,
    },
    /// Whatever the baseline says.
    Ceiling(u64),
}

impl Limit {
    /// The most that the metric may be where the baseline has `before`; `None` = any number. A growth needs a baseline:
    /// without one only ceilings count.
    pub fn most(&self, before: Option<i64>) -> Option<i64> {
        let allowed = |rule: &Rule| match *rule {
            Rule::Ceiling(most) => Some(i64::try_from(most).unwrap_or(i64::MAX)),
            Rule::Growth { percent, absolute } => {
                let before = before?;
                let share = i128::from(before.max(0)) * i128::from(percent) / 100_000;
                let growth = share.max(i128::from(absolute));
                Some(i64::try_from(i128::from(before) + growth).unwrap_or(i64::MAX))
            }
        };
        self.rules.iter().filter_map(allowed).min()
    }
}

impl Limit {
    /// A limit that leaves room for a metric that was seen from `least` to `most`: twice as much, because a few runs do not show all, and never
    /// less than this one. `None` where this one has room enough, or no room can be had because it is a ceiling.
    pub fn with_room(&self, least: i64, most: i64, is_space: bool) -> Option<String> {
        let seen = most.saturating_sub(least);
        if self.most(Some(least)).is_none_or(|allowed| allowed >= most) {
            return None;
        }
        let twice = u64::try_from(seen).ok()?.saturating_mul(2);
        let mut rules = Vec::new();
        for rule in &self.rules {
            rules.push(match *rule {
                Rule::Ceiling(ceiling) if i64::try_from(ceiling).is_ok_and(|ceiling| ceiling < most) => return None,
                Rule::Ceiling(ceiling) => ceiling.to_string(),
                Rule::Growth { percent, absolute } => {
                    let absolute = absolute.max(twice);
                    let of_least = percent_of(least, twice).filter(|_| is_space);
                    let percent = percent.max(of_least.unwrap_or(0).saturating_mul(1000));
                    match percent {
                        0 => format!("+{absolute}"),
                        _ => format!("+{}% or {absolute}", shown_thousandths(percent)),
                    }
                }
            });
        }
        Some(rules.join(", "))
    }
}

/// `part` as a percentage of `whole`, rounded up; `None` where that says nothing.
fn percent_of(whole: i64, part: u64) -> Option<u64> {
    let whole = u64::try_from(whole).ok().filter(|whole| *whole > 0)?;
    Some(part.saturating_mul(100).div_ceil(whole)).filter(|percent| *percent <= 100)
}

fn shown_thousandths(percent: u64) -> String {
    let (whole, decimals) = (percent / 1000, percent % 1000);
    if decimals == 0 { whole.to_string() } else { format!("{whole}.{decimals:03}").trim_end_matches('0').to_owned() }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let rules = match text.trim() {
            "any" => Vec::new(),
            rules => rules.split(',').map(|rule| rule_of(rule.trim())).collect::<Result<_, _>>()?,
        };
        Ok(Limit { text: text.trim().to_owned(), rules })
    }
}

fn rule_of(text: &str) -> Result<Rule, String> {
    let example = "write a growth such as `+0`, `+5%` or `+5% or 64KiB`, a ceiling such as `10MiB`, or `any`";
    let wrong = |why: String| format!("`{text}` is no limit: {why}; {example}");
    let Some(growth) = text.strip_prefix('+') else {
        if text.contains('%') {
            return Err(wrong("a share of the baseline is a growth, and a growth begins with `+`".into()));
        }
        return amount(text).map(Rule::Ceiling).map_err(wrong);
    };
    let (mut percent, mut absolute) = (0, 0);
    for part in growth.split(" or ") {
        let part = part.trim().trim_start_matches('+');
        match part.strip_suffix('%') {
            Some(number) => percent = percent.max(thousandths(number.trim()).map_err(wrong)?),
            None => absolute = absolute.max(amount(part).map_err(wrong)?),
        }
    }
    Ok(Rule::Growth { percent, absolute })
}

/// A percentage with up to three decimals, in thousandths.
fn thousandths(text: &str) -> Result<u64, String> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || decimals.len() > 3 || !plain(whole) || !plain(decimals) {
        return Err(format!("`{text}%` is no percentage with up to three decimals"));
    }
    format!("{whole}{decimals:0<3}").parse().map_err(|_| format!("`{text}%` is no percentage"))
}

/// A text, a bare number (a ceiling), or a list of both, all of which hold.
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a limit is a text such as \"+5% or 64KiB\", a whole number, or a list of them")]
        enum Written {
            Number(u64),
            Text(String),
            List(Vec<Written>),
        }
        fn text(written: Written) -> String {
            match written {
                Written::Number(number) => number.to_string(),
                Written::Text(text) => text,
                Written::List(list) => list.into_iter().map(text).collect::<Vec<_>>().join(", "),
            }
        }
        text(Written::deserialize(deserializer)?).parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(limit: &str, before: i64) -> Option<i64> {
        limit.parse::<Limit>().unwrap().most(Some(before))
    }

    #[test]
    fn of_two_growths_the_larger_counts() {
        assert_eq!(most("+0", 12), Some(12));
        assert_eq!(most("+5%", 1000), Some(1050));
        assert_eq!(most("+5% or 64KiB", 1000), Some(1000 + 65536));
        assert_eq!(most("+5% or +64KiB", 2 << 20), Some((2 << 20) + 104_857));
        assert_eq!(most("+0.5%", 1000), Some(1005));
        assert_eq!(most("+100%", -5), Some(-5));
    }

    #[test]
    fn rules_with_a_comma_hold_all_at_once() {
        assert_eq!(most("+50%, 1_200", 1000), Some(1200));
        assert_eq!(most("+10%, 1200", 1000), Some(1100));
        assert_eq!(most("any", 1000), None);
    }

    #[test]
    fn without_a_baseline_only_ceilings_count() {
        let of = |limit: &str| limit.parse::<Limit>().unwrap().most(None);
        assert_eq!(of("+5%"), None);
        assert_eq!(of("+5%, 2KiB"), Some(2048));
        assert_eq!(of("0"), Some(0));
    }

    #[test]
    fn room_is_twice_what_was_seen_and_never_less_than_what_holds() {
        for (limit, least, most, is_space, room) in [
            ("+0", 10, 40, false, Some("+60")),
            ("+1", 10, 12, false, Some("+4")),
            ("+5% or 256", 1000, 1200, true, None),
            ("+5% or 256", 100_000, 110_000, true, Some("+20% or 20000")),
            ("+7.25% or 1KiB", 100_000, 107_500, true, Some("+15% or 15000")),
            ("+50%", 100, 151, false, Some("+50% or 102")),
            ("+0, 100", 10, 20, false, Some("+20, 100")),
            ("+0, 15", 10, 20, false, None),
            ("any", 0, 48, true, None),
            ("+0", 0, 48, true, Some("+96")),
        ] {
            let limit: Limit = limit.parse().unwrap();
            let given = limit.with_room(least, most, is_space);
            assert_eq!(given.as_deref(), room, "{limit} {least} {most}");
            let Some(given) = given else { continue };
            let given: Limit = given.parse().unwrap();
            assert!(given.most(Some(least)) >= limit.most(Some(least)) && given.most(Some(least)) >= Some(most));
        }
    }

    #[test]
    fn what_is_no_limit_says_why() {
        for (text, why) in [
            ("5%", "begins with `+`"),
            ("+x", "has no number"),
            ("+5 parsecs", "is no unit"),
            ("+1.2345%", "three decimals"),
            ("99999999999999999999", "more than a machine"),
            ("", "has no number"),
            ("-3", "has no number"),
        ] {
            let error = text.parse::<Limit>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
