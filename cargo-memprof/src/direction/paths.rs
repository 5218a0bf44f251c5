//! The paths to modules that a source names, outside of its strings and comments.

/// The source without its comments and strings.
pub fn without_text(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|text| text.len() - text.trim_start_matches('#').len());
        let raw = raw.filter(|hashes| rest[1 + hashes..].starts_with('"') && !code.ends_with(is_of_name));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            end_of_comment(rest)
        } else if let Some(hashes) = raw {
            let open = hashes + 2;
            let close = format!("\"{}", "#".repeat(hashes));
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if letter == '"' {
            end_of_string(rest)
        } else if letter == '\'' {
            // A letter, or a lifetime.
            match rest[1..].chars().next() {
                Some('\\') => {
                    2 + rest[2..].char_indices().skip(1).find(|(_, end)| *end == '\'').map_or(0, |(at, _)| at + 1)
                }
                Some(inner) if rest[1 + inner.len_utf8()..].starts_with('\'') => 2 + inner.len_utf8(),
                _ => 0,
            }
        } else {
            0
        };
        if skipped == 0 {
            code.push(letter);
        }
        rest = &rest[skipped.max(letter.len_utf8())..];
    }
    code
}

fn end_of_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text.is_char_boundary(at) && text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text.is_char_boundary(at) && text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn end_of_string(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The paths in `code`, which is that of the module `here`, from the crate's root.
pub fn paths(code: &str, here: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (start, base) in [("crate::", 0), ("self::", here.len()), ("super::", here.len().saturating_sub(1))] {
        for (at, _) in code.match_indices(start) {
            // `pub(in crate::x)` counts; `a_crate::x` and `super::super::x` seen from within do not.
            if !code[..at].ends_with(|letter| is_of_name(letter) || letter == ':') {
                let (mut base, mut rest) = (base, &code[at + start.len()..]);
                while let Some(further) = rest.strip_prefix("super::") {
                    (base, rest) = (base.saturating_sub(1), further);
                }
                tree(rest, here[..base].to_vec(), &mut |path| found.push((at, path)));
            }
        }
    }
    for child in declared(code) {
        for (at, _) in code.match_indices(&format!("{child}::")) {
            let before = code[..at].trim_end();
            // What is passed on to others is not known by who passes it on.
            let passed_on = before.ends_with("pub use") || before.ends_with(") use");
            if !passed_on && !code[..at].ends_with(|letter| is_of_name(letter) || letter == ':') {
                tree(&code[at..], here.to_vec(), &mut |path| found.push((at, path)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The modules that `code` says are in files below it.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    let names = code.match_indices("mod ").filter_map(|(at, word)| code[at + word.len()..].split_once(';'));
    names.map(|(name, _)| name).filter(|name| name.chars().all(is_of_name))
}

/// Gives every path in a tree such as `a::{self, b::C as D}`, below `above`; gives what follows the tree.
fn tree<'a>(text: &'a str, mut above: Vec<String>, give: &mut impl FnMut(Vec<String>)) -> &'a str {
    let mut text = text.trim_start();
    loop {
        if let Some(mut inside) = text.strip_prefix('{') {
            loop {
                inside = inside.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
                if let Some(behind) = inside.strip_prefix('}') {
                    return behind;
                }
                if inside.is_empty() {
                    return inside;
                }
                inside = tree(inside, above.clone(), give);
            }
        }
        let end = text.find(|letter| !is_of_name(letter)).unwrap_or(text.len());
        if end == 0 {
            // `*`, or what is no path.
            give(above);
            return text.get(text.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
        }
        let name = &text[..end];
        text = &text[end..];
        if name != "self" {
            above.push(name.to_owned());
        }
        match text.strip_prefix("::") {
            Some(further) => text = further.trim_start(),
            None => {
                give(above);
                return match text.trim_start().strip_prefix("as ") {
                    Some(alias) => alias.trim_start().trim_start_matches(is_of_name),
                    None => text,
                };
            }
        }
    }
}

#[test]
fn paths_are_found_wherever_they_stand_and_strings_and_comments_are_none() {
    let text = "// crate::a\nmod m;\nuse m::S;pub use m::T;\nuse crate::b::{self, c::{D, E as F}};\nfn f<'a>(x: &'a super::g::H) { let _ = (\"crate::i\", '\"', r#\"crate::j\"#); \
                crate::k::l(crate::m::N) }\n/* crate::o /* */ crate::p */ use self::q::R;";
    let paths: Vec<String> =
        paths(&without_text(text), &["here".into(), "deep".into()]).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        paths,
        ["here::deep::m::S", "b", "b::c::D", "b::c::E", "here::g::H", "k::l", "m::N", "here::deep::q::R"]
    );
}
