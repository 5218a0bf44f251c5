//! Names as they may be shown: a terminal, a page and an editor do what control letters say, and letters that turn the
//! direction of writing make one name look like another. Metrics for programs have names as they are.

use std::borrow::Cow;

/// Letters that are not seen and change how others are: marks and overrides of direction, and separators of lines.
fn is_hidden(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Begins a command to GitHub's runner wherever in a line it stands; a `::` does so at a line's start alone.
const COMMAND: &str = "##[";

/// `name` with such letters, and what begins a command to a CI's runner, as Rust's escapes.
pub fn plain(name: &str) -> Cow<'_, str> {
    let shown = |letter: char| !letter.is_control() && !is_hidden(letter);
    if name.chars().all(shown) && !name.contains(COMMAND) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 16);
    for letter in name.chars() {
        match letter {
            '[' if out.ends_with("##") => out.extend(letter.escape_unicode()),
            _ if shown(letter) => out.push(letter),
            _ => out.extend(letter.escape_default()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_how_others_look_is_written_out() {
        assert_eq!(plain("a::ü 日本 <b>"), "a::ü 日本 <b>");
        assert_eq!(plain("a[0] #[b] ##[stop-commands]x"), "a[0] #[b] ##\\u{5b}stop-commands]x");
        assert_eq!(plain("\u{1b}[2Jx\n\0\u{202e}y"), "\\u{1b}[2Jx\\n\\u{0}\\u{202e}y");
    }
}
