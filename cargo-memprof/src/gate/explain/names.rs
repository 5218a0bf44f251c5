//! Names of functions: as short as they can be understood beside a file and a line, and without what two builds need not have in
//! common. Takes the names of both manglings: `a::one`, `a::W<T>::get`, `a::f::{{closure}}` (legacy) and `a::one::<u8>`,
//! `<a::W<u8>>::get`, `a::f::{closure#1}` (v0). Pure.

/// Arguments of a type or a function that are shown; longer ones are `<…>`.
const MOST_SHOWN: usize = 24;

/// A function's name without the modules in front of it: `function`, `function::<u8>`, `Type::method`, `function::{{closure}}`,
/// `<Type as Trait>::method`.
pub fn short(name: &str) -> String {
    let parts = parts(name);
    // What a reader knows a closure by is the function around it.
    let own = parts.iter().rposition(|part| !part.starts_with('{')).unwrap_or(0);
    let is_type = |part: &&str| part.starts_with(|letter: char| letter.is_uppercase() || "<&[({*".contains(letter));
    let first = match own.checked_sub(1).and_then(|before| parts.get(before)) {
        Some(before) if is_type(before) => own - 1,
        _ => own,
    };
    let shown: Vec<String> =
        parts[first..].iter().enumerate().map(|(at, part)| shortened(part, first + at == 0)).collect();
    shown.join("::")
}

/// `name` as another build has it too: without the arguments of generics, and without the numbers of closures, which count those above.
pub fn normalised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, letter) in name.char_indices() {
        match letter {
            '<' if depth > 0 => depth += 1,
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth > 0 => {}
            '<' if out.ends_with("::") && begins_arguments(&name[at..]) => {
                out.truncate(out.len() - "::".len());
                depth = 1;
            }
            '<' if out.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | '}')) => depth = 1,
            _ => out.push(letter),
        }
        before = letter;
    }
    let out = without_numbers(&out);
    // `<a::W>::get` of the newer mangling is `a::W::get` of the older one.
    match out.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((of, rest)) if is_path(of) => format!("{of}{rest}"),
        _ => out,
    }
}

/// Whether the function clones a value. What a clone allocates, it always has: where it is new, its call is.
pub fn is_clone(name: &str) -> bool {
    name.ends_with("Clone>::clone")
}

/// `{closure#3}` as `{{closure}}`.
fn without_numbers(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once("{closure#") {
        let Some((_, behind)) = behind.split_once('}') else { break };
        out.push_str(before);
        out.push_str("{{closure}}");
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// What follows a `::` as the arguments of what stands before it; `<impl [T]>` is a part of its own.
fn begins_arguments(text: &str) -> bool {
    text.starts_with('<') && !text.starts_with("<impl ")
}

fn is_path(text: &str) -> bool {
    text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':' | '{' | '}'))
}

/// The parts of a path between its `::`; arguments stay with what they belong to.
fn parts(name: &str) -> Vec<&str> {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth -= 1,
            b':' if depth == 0 && bytes.get(at + 1) == Some(&b':') => {
                if !begins_arguments(&name[at + 2..]) {
                    parts.push((start, at));
                    start = at + 2;
                }
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push((start, name.len()));
    parts.into_iter().map(|(start, end)| &name[start..end]).collect()
}

/// One part with the types in it without their modules. What is `outermost` and begins with a bracket is a type itself.
fn shortened(part: &str, outermost: bool) -> String {
    let is_type = outermost && part.starts_with('<');
    if let Some(of) = part.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).filter(|_| is_type) {
        let of = types(of);
        // Of the newer mangling, where nothing but a type is in the brackets.
        let is_plain = !of.contains(" as ") && !of.starts_with("impl ") && of.starts_with(char::is_alphabetic);
        return if is_plain { of } else { format!("<{of}>") };
    }
    match part.split_once('<') {
        Some((name, arguments)) => format!("{name}<{}", limited(arguments.strip_suffix('>').unwrap_or(arguments))),
        None => part.to_owned(),
    }
}

fn limited(arguments: &str) -> String {
    let arguments = types(arguments);
    if arguments.chars().count() > MOST_SHOWN { "…>".to_owned() } else { format!("{arguments}>") }
}

/// Each path in `text` without its modules, and the rest as it is.
fn types(text: &str) -> String {
    let is_letter = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':' | '{' | '}' | '#');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_letter) {
        let (before, path) = rest.split_at(start);
        let (path, behind) = path.split_at(path.find(|letter| !is_letter(letter)).unwrap_or(path.len()));
        out.push_str(before);
        out.push_str(if path.starts_with("::") { path } else { without_modules(path) });
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// From the first part on that is no module's name, or else the last.
fn without_modules(path: &str) -> &str {
    let end = path.strip_suffix("::").unwrap_or(path).len();
    let mut at = 0;
    for part in path[..end].split("::") {
        let is_last = at + part.len() == end;
        if is_last || !part.starts_with(|letter: char| letter.is_lowercase() || letter == '_') {
            return &path[at..];
        }
        at += part.len() + "::".len();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_go_and_what_a_reader_knows_the_function_by_stays() {
        for (name, expected) in [
            ("main", "main"),
            ("csv::reader::read", "read"),
            ("csv::reader::Reader::read", "Reader::read"),
            ("csv::tests::iter::{{closure}}", "iter::{{closure}}"),
            ("csv::tests::iter::{{closure}}::{{closure}}", "iter::{{closure}}::{{closure}}"),
            ("<csv::a::Record as core::convert::From<alloc::vec::Vec<T>>>::from", "<Record as From<Vec<T>>>::from"),
            ("<[u8; 4] as names::Make>::make", "<[u8; 4] as Make>::make"),
            ("csv::reader::Reader<R>::read::{{closure}}", "Reader<R>::read::{{closure}}"),
            ("alloc::slice::<impl [T]>::to_vec", "<impl [T]>::to_vec"),
            ("<T as a::b::Into<U>>::into", "<T as Into<U>>::into"),
            ("größe::schätzen", "schätzen"),
        ] {
            assert_eq!(short(name), expected, "{name}");
        }
    }

    #[test]
    fn the_newer_mangling_reads_as_well() {
        for (name, expected) in [
            ("ng::one::<u8>", "one::<u8>"),
            ("ng::deep::one::<ng::W<alloc::vec::Vec<u8>>>", "one::<W<Vec<u8>>>"),
            ("ng::one::<ng::Wrapper<ng::Wrapper<ng::Wrapper<u8>>>>", "one::<…>"),
            ("ng::d::{closure#0}", "d::{closure#0}"),
            ("ng::d::<i32>::{closure#1}", "d::<i32>::{closure#1}"),
            ("<ng::W<u8>>::get", "W<u8>::get"),
            ("<ng::W<u8> as ng::Get>::get", "<W<u8> as Get>::get"),
            ("<ng::a::Reader<std::fs::File>>::read::{closure#0}", "Reader<File>::read::{closure#0}"),
            ("<fn(u8) -> ng::W as ng::Call<(u8,)>>::call", "<fn(u8) -> W as Call<(u8,)>>::call"),
        ] {
            assert_eq!(short(name), expected, "{name}");
        }
    }

    #[test]
    fn instances_and_closures_of_both_manglings_have_one_name() {
        for (name, expected) in [
            ("ng::one::<u8>", "ng::one"),
            ("ng::d::<i32>::{closure#1}", "ng::d::{{closure}}"),
            ("ng::d::{{closure}}", "ng::d::{{closure}}"),
            ("<ng::W<u8>>::get", "ng::W::get"),
            ("ng::W<T>::get", "ng::W::get"),
            ("<ng::W<u8> as ng::Get<fn() -> u8>>::get", "<ng::W as ng::Get>::get"),
            ("<[u8; 4] as names::Make>::make", "<[u8; 4] as names::Make>::make"),
            ("alloc::slice::<impl [T]>::to_vec", "alloc::slice::<impl [T]>::to_vec"),
        ] {
            assert_eq!(normalised(name), expected, "{name}");
        }
    }
}
