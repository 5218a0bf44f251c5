//! From a symbol to a name that a Rust programmer would write.

use std::borrow::Cow;

/// `symbol` demangled, without hashes. What is not a Rust symbol is given back as it is; no name is longer than [`MOST_LETTERS`].
pub fn readable(symbol: &str) -> String {
    let name = match rustc_demangle::try_demangle(symbol) {
        // The alternate form leaves out the hash of a legacy symbol and the crate ids of a v0 one.
        Ok(demangled) => Cow::Owned(shortened(without_inherent_brackets(&format!("{demangled:#}")))),
        Err(_) => Cow::Borrowed(symbol),
    };
    within(&name, MOST_LETTERS).into_owned()
}

/// Letters of the longest name in a profile. A picture writes a name once for each frame, so that a long one is many bytes.
pub const MOST_LETTERS: usize = 1024;

/// `name` without its middle, where it has more than `most` letters.
pub fn within(name: &str, most: usize) -> Cow<'_, str> {
    // No letter has less than a byte.
    if name.len() <= most || name.chars().count() <= most {
        return Cow::Borrowed(name);
    }
    // What tells functions apart is at the end, and whose they are at the beginning.
    let end = most / 2;
    let byte = |found: Option<(usize, char)>| found.map_or(0, |(at, _)| at);
    let start = &name[..byte(name.char_indices().nth(most - end - 1))];
    Cow::Owned(format!("{start}{LEFT_OUT}{}", &name[byte(name.char_indices().nth_back(end - 1))..]))
}

/// Whether `symbol` says of itself in which crate and module it is, or is no Rust symbol. A bare `push<u8>` does not:
/// that is what debug information holds of an inlined function where linkage names were left out.
pub fn is_mangled(symbol: &str) -> bool {
    rustc_demangle::try_demangle(symbol).is_ok()
}

/// Letters of a name that can still be read. Adaptors of iterators and futures, spelt out, have thousands.
const LONGEST: usize = 160;

/// Stands for what was left out.
const LEFT_OUT: char = '…';

/// `name` with its innermost type arguments left out, level by level, until it is short enough:
/// `a::f::<Map<Range<i32>, g>>`, `a::f::<Map<…>>`, `a::f::<…>`.
fn shortened(mut name: String) -> String {
    while name.chars().count() > LONGEST {
        // A trait's name stands on the first level of brackets, and is what tells one method from another.
        let keep = if name.starts_with('<') { 1 } else { 0 };
        let left_in = name.chars().zip(levels(&name)).filter(|(letter, _)| *letter != LEFT_OUT);
        let deepest = left_in.map(|(_, level)| level).max().unwrap_or(0);
        if deepest <= keep {
            break;
        }
        let mut shorter = String::with_capacity(name.len());
        for (letter, level) in name.chars().zip(levels(&name)) {
            if level < deepest {
                if letter == '>' && shorter.ends_with('<') {
                    shorter.push(LEFT_OUT);
                }
                shorter.push(letter);
            }
        }
        name = shorter;
    }
    name
}

/// For each letter of `name`, in how many angle brackets it stands; a bracket stands outside of itself.
fn levels(name: &str) -> impl Iterator<Item = usize> {
    let mut depth = 0usize;
    let mut previous = ' ';
    name.chars().map(move |letter| {
        let closes = letter == '>' && !matches!(previous, '-' | '=');
        if closes {
            depth = depth.saturating_sub(1);
        }
        let level = depth;
        if letter == '<' {
            depth += 1;
        }
        previous = letter;
        level
    })
}

/// `<alloc::vec::Vec<u8>>::push` as `alloc::vec::Vec<u8>::push`: brackets around a path are needed only where a trait
/// is named inside them.
fn without_inherent_brackets(name: &str) -> String {
    let Some(inside) = name.strip_prefix('<') else { return name.to_owned() };
    let mut depth = 1usize;
    let mut previous = ' ';
    for (at, letter) in inside.char_indices() {
        match letter {
            '<' => depth += 1,
            // The arrow of a function type closes nothing.
            '>' if previous != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let (path, rest) = (&inside[..at], &inside[at + 1..]);
            let plain = path.starts_with(|c: char| c.is_alphabetic() || c == '_') && !names_a_trait(path);
            return if plain { format!("{path}{rest}") } else { name.to_owned() };
        }
        previous = letter;
    }
    name.to_owned()
}

/// Whether `path` is of several words outside of any brackets: one that names a trait (` as `), or `dyn A + B`.
fn names_a_trait(path: &str) -> bool {
    let mut depth = 0usize;
    let mut previous = ' ';
    for letter in path.chars() {
        match letter {
            '<' | '(' | '[' => depth += 1,
            '>' if previous == '-' => {}
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => return true,
            _ => {}
        }
        previous = letter;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_escapes_of_legacy_symbols_disappear() {
        let symbol = "_ZN76_$LT$alloc..string..String$u20$as$u20$core..convert..From$LT$$RF$str$GT$$GT$4from17h0123456789abcdefE";
        assert_eq!(readable(symbol), "<alloc::string::String as core::convert::From<&str>>::from");
        assert_eq!(readable("_ZN1a5inner17h21526afc48108b17E"), "a::inner");
    }

    #[test]
    fn crate_ids_of_v0_symbols_disappear() {
        let symbol = "_RNvMs25_NtNtCsgEmfK2I1SDS_4core3num11niche_typesNtB6_13I32NotAllOnes8as_inner";
        assert_eq!(readable(symbol), "core::num::niche_types::I32NotAllOnes::as_inner");
    }

    #[test]
    fn brackets_stay_where_a_trait_is_named() {
        assert_eq!(without_inherent_brackets("<a::S<u8>>::new"), "a::S<u8>::new");
        assert_eq!(without_inherent_brackets("<a::S<fn(u8) -> u8>>::new"), "a::S<fn(u8) -> u8>::new");
        for kept in ["<a::S as a::T>::f", "<[u8]>::to_vec", "<&a::S>::f", "<dyn a::T + Send>::f", "a::f", "<broken"] {
            assert_eq!(without_inherent_brackets(kept), kept);
        }
    }

    #[test]
    fn a_name_too_long_to_be_read_loses_its_innermost_arguments() {
        let long = "x".repeat(150);
        assert_eq!(shortened(format!("a::f::<Map<Range<i32>, fn(u8) -> {long}>>")), "a::f::<Map<…>>");
        assert_eq!(shortened(format!("a::f::<{long}, Vec<u8>, [u8; 4]>")), "a::f::<…>");
        let method = format!("<Vec<{long}> as FromIterator<{long}>>::from_iter::<Map<{long}>>");
        assert_eq!(shortened(method), "<Vec<…> as FromIterator<…>>::from_iter::<Map<…>>");
        assert_eq!(shortened(format!("a::{long}{long}")), format!("a::{long}{long}"));
        assert_eq!(shortened("a::f::<Vec<u8>>".into()), "a::f::<Vec<u8>>");
    }

    #[test]
    fn no_name_is_longer_than_a_picture_can_have() {
        assert_eq!(within("abcdefgh", 8), "abcdefgh");
        assert_eq!(within("abcdefghi", 8), "abc…fghi");
        assert_eq!(within("äöüßäöüßi", 8), "äöü…öüßi");
        for symbol in ["x".repeat(1 << 20), format!("_ZN100000{}17h0123456789abcdefE", "a".repeat(100_000))] {
            let name = readable(&symbol);
            assert_eq!(name.chars().count(), MOST_LETTERS, "{name}");
            assert_eq!(readable(&name), name);
        }
    }

    #[test]
    fn what_is_no_rust_symbol_is_left_alone() {
        assert_eq!(readable("start_thread"), "start_thread");
        assert!(!is_mangled("push<u8>"));
    }
}
