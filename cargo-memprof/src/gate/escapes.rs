//! The form of names in the text of a baseline, whatever characters they have. Pure.

use memprof_profile::view::plain::plain;

/// Stands for a package that is not known.
pub const NOTHING: &str = "-";

/// `text` as one word.
pub fn word(text: &str) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { escaped(text).replace(' ', "\\u{20}") }
}

/// A test's name, in which no word looks like a metric.
pub fn name(text: &str) -> String {
    let text = escaped(text);
    let (before, last) = text.split_at(text.rfind(' ').map_or(0, |space| space + 1));
    format!("{before}{}", last.replace('=', "\\u{3d}"))
}

/// `text` in one line, where a backslash begins an escape.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_control() || letter == '\\' { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}

/// The name that `text` stands for, as it may be shown anywhere; names in a summary are taken in the same way.
///
/// # Errors
/// A backslash that begins no escape.
pub fn shown(text: &str) -> Result<String, String> {
    Ok(plain(&unescaped(text)?).into_owned())
}

/// What [`escaped`] wrote, read back.
///
/// # Errors
/// A backslash that begins no escape.
pub fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (letter, behind) =
            escape(after).ok_or_else(|| format!("`\\{}` is no escape", after.get(..1).unwrap_or("")))?;
        out.push(letter);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// The letter that the escape at the start of `text` stands for, and what follows it.
fn escape(text: &str) -> Option<(char, &str)> {
    let simple = [('n', '\n'), ('r', '\r'), ('t', '\t'), ('\\', '\\'), ('0', '\0')];
    if let Some((name, letter)) = simple.iter().find(|(name, _)| text.starts_with(*name)) {
        return Some((*letter, &text[name.len_utf8()..]));
    }
    let (code, rest) = text.strip_prefix("u{")?.split_once('}')?;
    Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, rest))
}
