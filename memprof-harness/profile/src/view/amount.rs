//! How numbers are written for people.

/// With thousands separators: `1,234,567`.
pub fn count(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In the largest unit that leaves a number above one, with one decimal: `12.3 KiB`. Below 1024 bytes it is exact.
pub fn bytes(number: impl Into<i128>) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let number = number.into();
    if number.unsigned_abs() < 1024 {
        return format!("{number} B");
    }
    let mut amount = number as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 belongs to the next unit.
    while amount.abs() >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// As [`bytes`], without a decimal where there is nothing to be said by it: `512 KiB`.
pub fn round_bytes(number: u64) -> String {
    let text = bytes(number);
    match text.split_once(".0 ") {
        Some((whole, unit)) if number >= 1024 => format!("{whole} {unit}"),
        _ => text,
    }
}

/// `1 test`, `2 tests`.
pub fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as i128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(-1_000), "-1,000");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn amounts_are_shown_in_the_largest_fitting_unit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(-2048), "-2.0 KiB");
        assert_eq!(bytes(3_u64 << 30), "3.0 GiB");
        assert_eq!(round_bytes(512 * 1024), "512 KiB");
        assert_eq!(round_bytes(1536), "1.5 KiB");
    }
}
