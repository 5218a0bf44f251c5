//! Patterns for names: `*` is any text, `?` any letter, everything else itself.

/// Whether a user who says `pattern` means `name`: all of it where there is a `*` or a `?`, otherwise a part of it, as in a
/// filter of libtest's.
pub fn picks(pattern: &str, name: &str) -> bool {
    if pattern.contains(['*', '?']) {
        matches(pattern, name)
    } else {
        name.contains(pattern)
    }
}

/// Whether all of `name` is what `pattern` says.
///
/// Runs in the product of both lengths at worst: on a mismatch only the last `*` takes one letter more.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    // Behind the last star, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                star = Some((at, in_name));
            }
            Some(letter) if *letter == '?' || *letter == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((behind, taken)) = star else { return false };
                star = Some((behind, taken + 1));
                (at, in_name) = (behind, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, matches) in [
            ("a::b", "a::b", true),
            ("a::b", "a::bc", false),
            ("a::*", "a::b::c", true),
            ("*", "", true),
            ("*::c", "a::b::c", true),
            ("*b*d", "abcbd", true),
            ("*b*d", "abcb", false),
            ("?::x", "ä::x", true),
            ("", "a", false),
            ("**", "a", true),
        ] {
            assert_eq!(super::matches(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        assert!(!super::matches(&("*a".repeat(40) + "b"), &"a".repeat(2000)));
    }

    #[test]
    fn a_name_is_picked_by_a_part_of_it_or_by_a_pattern() {
        for (pattern, picked) in [
            ("parse", true),
            ("a::parse_1", true),
            ("parse_2", false),
            ("a::*", true),
            ("parse*", false),
            ("*_?", true),
        ] {
            assert_eq!(super::picks(pattern, "a::parse_1"), picked, "{pattern}");
        }
    }
}
