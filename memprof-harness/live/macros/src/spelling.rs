//! Finds the word that a misspelt one may have meant.

/// The word that is nearest to what was written, if it is near enough to be a slip.
pub fn nearest<'a>(written: &str, words: &[&'a str]) -> Option<&'a str> {
    let by_distance = words.iter().map(|word| (distance(written, word), *word));
    let (distance, word) = by_distance.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.len() / 3).max(1)).then_some(word)
}

/// How many letters are to be put in, taken out or exchanged (Levenshtein's distance).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, against) in other.chars().enumerate() {
            let exchanged = diagonal + usize::from(letter != against);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let words = ["alloc_objects", "alloc_space", "leaked"];
        for (written, expected) in [
            ("alloc_object", Some("alloc_objects")),
            ("allocspace", Some("alloc_space")),
            ("leak", Some("leaked")),
            ("leaks", Some("leaked")),
            ("seconds", None),
        ] {
            assert_eq!(nearest(written, &words), expected, "{written}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
