//! Amounts of bytes as text, `64KiB`. Limits of the gate and of `#[budget]` are read by this one file: a crate of macros can export nothing
//! but macros, so `cargo-memprof` has a link to it.

/// A number of bytes or objects, with or without a unit; or why it is none.
pub fn amount(text: &str) -> Result<u64, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.replace('_', "");
    if number.is_empty() {
        return Err("it has no number".into());
    }
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("`{other}` is no unit: there are B, KiB, MiB, GiB, kB, MB and GB")),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| format!("`{text}` is more than a machine can have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units_and_what_is_none_says_why() {
        for (text, bytes) in [("12", 12), ("1_000B", 1000), ("64KiB", 65_536), ("2 MB", 2_000_000)] {
            assert_eq!(amount(text), Ok(bytes), "{text}");
        }
        for (text, why) in
            [("KiB", "no number"), ("+5%", "no number"), ("5 K", "no unit"), ("99999999999GiB", "more than")]
        {
            assert!(amount(text).is_err_and(|error| error.contains(why)), "{text}");
        }
    }
}
