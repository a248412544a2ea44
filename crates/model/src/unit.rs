//! Sizes, durations and rates as people write them: `64MiB`, `50ms`, `500/s`.

use std::time::Duration;

/// Text that is not a quantity, and what one looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}; write {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// The units of sizes, largest first so that formatting picks the largest that divides.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("B", 1),
    ("", 1),
];

/// Reads a size: `64MiB`, `1.5GiB`, `1000kB`, `4096`.
///
/// # Errors
/// The text is not a number with one of the known units, or does not fit 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let error =
        || UnitError { text: text.to_owned(), what: "a size", example: "`64MiB`, `512KiB` or a number of bytes" };
    let (number, unit) = split(text);
    let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
    scale(number, *factor).ok_or_else(error)
}

/// Reads a duration: `50ms`, `1.5s`, `2m`, `1h`, `250us`.
///
/// # Errors
/// The text is not a number with one of the known units.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError { text: text.to_owned(), what: "a duration", example: "`50ms`, `2s` or `1m`" };
    let (number, unit) = split(text);
    let factor = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(error()),
    };
    scale(number, factor).map(Duration::from_nanos).ok_or_else(error)
}

/// Reads a rate: `64KiB/s` or `500/s`; the answer is per second.
///
/// # Errors
/// The text does not end in `/s` or does not start with a size.
pub fn parse_rate(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError { text: text.to_owned(), what: "a rate", example: "`64KiB/s` or `500/s`" };
    let amount = text.strip_suffix("/s").ok_or_else(error)?;
    parse_bytes(amount).map_err(|_| error())
}

/// Writes a size with the largest binary unit that divides it, else with one decimal: `64MiB`, `1.4MiB`, `17B`.
pub fn format_bytes(bytes: u64) -> String {
    let binary = BYTE_UNITS.iter().filter(|(name, factor)| name.ends_with("iB") || *factor == 1);
    for (name, factor) in binary {
        if *factor == 1 {
            return format!("{bytes}B");
        }
        if bytes >= *factor {
            let whole = bytes / factor;
            let tenth = (bytes % factor) * 10 / factor;
            return if bytes.is_multiple_of(*factor) {
                format!("{whole}{name}")
            } else {
                format!("{whole}.{tenth}{name}")
            };
        }
    }
    format!("{bytes}B")
}

/// Writes a duration with the unit that reads best: `50ms`, `1.5s`, `2m`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, factor) = match nanos {
        0 => return "0s".to_owned(),
        n if n.is_multiple_of(60_000_000_000) => ("m", 60_000_000_000),
        n if n >= 1_000_000_000 => ("s", 1_000_000_000),
        n if n >= 1_000_000 => ("ms", 1_000_000),
        n if n >= 1_000 => ("us", 1_000),
        _ => ("ns", 1),
    };
    let (whole, thousandths) = (nanos / factor, (nanos % factor) * 1000 / factor);
    let fraction = format!("{thousandths:03}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{whole}{unit}") } else { format!("{whole}.{fraction}{unit}") }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `number` x `factor` without floating point, so that `4GiB` is exact and an overflow is seen.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let digits = fraction.parse::<u128>().ok()?;
    let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u64::try_from(digits * u128::from(factor) / divisor).ok()?;
    whole.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_exactly_and_print_as_people_write_them() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("4096", 4096),
            ("1kB", 1000),
            ("0", 0),
            ("2 MiB", 2 << 20),
            ("16Ki", 16384),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (bytes, text) in [(64 << 20, "64MiB"), (3 << 29, "1.5GiB"), (17, "17B"), (0, "0B"), (1536, "1.5KiB")] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn durations_read_exactly_and_print_as_people_write_them() {
        for (text, nanos) in
            [("50ms", 50_000_000), ("1.5s", 1_500_000_000), ("250us", 250_000), ("2m", 120_000_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(format_duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused_with_an_example() {
        for bad in
            ["", "MiB", "-1", "1.", ".5s", "64 lightyears", "99999999999999999999", "18446744073709551615KiB", "1e9"]
        {
            assert!(parse_bytes(bad).unwrap_err().to_string().contains("64MiB"), "{bad}");
            assert!(parse_duration(bad).unwrap_err().to_string().contains("50ms"), "{bad}");
        }
        assert!(parse_rate("64KiB").unwrap_err().to_string().contains("64KiB/s"));
        assert_eq!(parse_rate("64KiB/s"), Ok(65536));
        assert!(parse_duration("5").is_err(), "a duration without a unit is ambiguous");
    }
}
