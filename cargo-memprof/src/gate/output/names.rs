//! Names of functions as short as they can be understood beside a file and a line. Pure.

/// A function's name without the modules in front of it: `function`, `Type::method`, `function::{{closure}}`,
/// `<Type as Trait>::method`.
pub fn short(name: &str) -> String {
    let is_path = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':' | '{' | '}');
    if name.chars().all(is_path) {
        let parts: Vec<&str> = name.split("::").collect();
        let is_own_name = |part: &str| part.starts_with('{') || part.starts_with(char::is_uppercase);
        let shown = match parts.len() {
            0 | 1 => 1,
            len if is_own_name(parts[len - 2]) || is_own_name(parts[len - 1]) => 2,
            _ => 1,
        };
        return parts[parts.len() - shown..].join("::");
    }
    // Types with parameters, arrays, traits: each path in it loses its modules, and what follows a bracket stays.
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find(is_path) {
        let (before, path) = rest.split_at(start);
        let (path, behind) = path.split_at(path.find(|letter| !is_path(letter)).unwrap_or(path.len()));
        out.push_str(before);
        out.push_str(if path.starts_with("::") { path } else { without_modules(path) });
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// From the first part on that is no module's name, or else the last.
fn without_modules(path: &str) -> &str {
    let mut at = 0;
    for part in path.split("::") {
        let is_last = at + part.len() == path.len();
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
}
