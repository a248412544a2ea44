//! Numbers as they are stored: decimal text in its one shortest form, which every provider reads alike.

use super::KvError;

/// The longest number: `-9223372036854775808`.
pub(super) const NUMBER_BYTES: u64 = 20;

/// Reads a stored number. `+5`, `007`, `-0` and ` 5` are none: servers that count by themselves do not take them.
pub(super) fn parse(value: &[u8]) -> Result<i64, KvError> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    number.filter(|number| number.to_string().as_bytes() == value).ok_or(KvError::NotANumber)
}

/// The sum as it is stored; `None` counts as 0.
pub(super) fn add(before: Option<&[u8]>, delta: i64) -> Result<i64, KvError> {
    before.map_or(Ok(0), parse)?.checked_add(delta).ok_or(KvError::Overflow)
}
