//! Values that go into a statement and come out of an answer, and what a database says of its columns.
//!
//! One set of values for all databases and all guest ABIs. Widths are the column's business ([`Kind`]), not the value's:
//! there is one integer, and an ABI that tells 16 bits from 64 looks at the column. What a database has and nobody here
//! names travels as [`Value::Other`]. Every value but that one has a text ([`Value::to_text`]) that databases read back.

use std::{borrow::Cow, fmt::Write as _, ops::Bound, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use uuid::Uuid;

/// One value of a row, or one parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number of any width.
    Integer(i64),
    /// A floating-point number; one of 32 bits is widened, which loses nothing.
    Float(f64),
    /// A decimal number of any precision, as decimal text: `-12.50`, `NaN`, `Infinity`.
    Decimal(String),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// A day.
    Date(NaiveDate),
    /// A time of day.
    Time(NaiveTime),
    /// A day and a time of day in no time zone.
    Timestamp(NaiveDateTime),
    /// A moment.
    Instant(DateTime<Utc>),
    /// A UUID.
    Uuid(Uuid),
    /// A JSON document, as text that nobody here has parsed.
    Json(String),
    /// A span of time whose months and days have no fixed length.
    Interval(Interval),
    /// A range of values.
    Range(Box<Range>),
    /// A list of values of one kind, nulls among them.
    Array(Vec<Self>),
    /// Something of a kind that is not named here, in the database's own bytes. It comes out of answers only.
    Other(Bytes),
}

/// A span of time: a month has no fixed number of days and a day no fixed number of hours, so that the three are not added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub microseconds: i64,
}

/// A range of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// The range in which nothing is.
    Empty,
    /// All from one bound to another.
    Between {
        /// Where it begins.
        lower: Bound<Value>,
        /// Where it ends.
        upper: Bound<Value>,
    },
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each row's value has its own kind: columns of SQLite.
    Any,
    /// True or false.
    Bool,
    /// 8 bits.
    Int8,
    /// 16 bits.
    Int16,
    /// 32 bits.
    Int32,
    /// 64 bits.
    Int64,
    /// 32 bits, floating.
    Float32,
    /// 64 bits, floating.
    Float64,
    /// Decimal numbers.
    Decimal,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// Days.
    Date,
    /// Times of day.
    Time,
    /// Days and times in no time zone.
    Timestamp,
    /// Moments.
    Instant,
    /// UUIDs.
    Uuid,
    /// JSON documents.
    Json,
    /// Spans of time.
    Interval,
    /// Ranges of a kind.
    Range(Box<Self>),
    /// Lists of a kind.
    Array(Box<Self>),
    /// Something else, which comes as [`Value::Other`].
    Other,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as the statement has it.
    pub name: Arc<str>,
    /// What is in it.
    pub kind: Kind,
    /// What the database calls that: `int4`, `VARCHAR(20)`; empty where it has no word for it.
    pub declared: Arc<str>,
}

/// What a value takes beside its bytes, for limits: small values are not free.
const VALUE_BYTES: u64 = 16;

impl Value {
    /// Bytes it takes, by which answers and parameters are limited.
    pub fn size(&self) -> u64 {
        let bytes = match self {
            Self::Decimal(text) | Self::Text(text) | Self::Json(text) => text.len() as u64,
            Self::Bytes(bytes) | Self::Other(bytes) => bytes.len() as u64,
            Self::Array(items) => items.iter().fold(0, |sum: u64, item| sum.saturating_add(item.size())),
            Self::Range(range) => match &**range {
                Range::Empty => 0,
                Range::Between { lower, upper } => bound_size(lower).saturating_add(bound_size(upper)),
            },
            _ => 0,
        };
        bytes.saturating_add(VALUE_BYTES)
    }

    /// What it is, for messages: `an integer`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::Decimal(_) => "a decimal number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Date(_) => "a date",
            Self::Time(_) => "a time",
            Self::Timestamp(_) => "a timestamp",
            Self::Instant(_) => "a moment",
            Self::Uuid(_) => "a uuid",
            Self::Json(_) => "json",
            Self::Interval(_) => "an interval",
            Self::Range(_) => "a range",
            Self::Array(_) => "an array",
            Self::Other(_) => "something of another kind",
        }
    }

    /// Its text, as PostgreSQL reads it; SQLite's functions read what they have functions for. `None` for null and for what
    /// has no text.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Null | Self::Other(_) => return None,
            Self::Bool(value) => if *value { "true" } else { "false" }.into(),
            Self::Integer(value) => value.to_string().into(),
            Self::Float(value) if value.is_infinite() => if *value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
            // The shortest text that reads back as the same number.
            Self::Float(value) => format!("{value:?}").into(),
            Self::Decimal(text) | Self::Text(text) | Self::Json(text) => text.as_str().into(),
            Self::Bytes(bytes) => hexadecimal(bytes).into(),
            Self::Date(date) => era(*date, &date_text(*date)).into(),
            Self::Time(time) => time_text(*time).into(),
            Self::Timestamp(at) => era(at.date(), &format!("{} {}", date_text(at.date()), time_text(at.time()))).into(),
            Self::Instant(at) => {
                let at = at.naive_utc();
                era(at.date(), &format!("{} {}+00:00", date_text(at.date()), time_text(at.time()))).into()
            }
            Self::Uuid(uuid) => uuid.hyphenated().to_string().into(),
            Self::Interval(Interval { months, days, microseconds }) => {
                format!("{months} months {days} days {microseconds} microseconds").into()
            }
            Self::Range(range) => range_text(range)?.into(),
            Self::Array(items) => array_text(items)?.into(),
        })
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

fn bound_size(bound: &Bound<Value>) -> u64 {
    match bound {
        Bound::Unbounded => 0,
        Bound::Included(value) | Bound::Excluded(value) => value.size(),
    }
}

/// The years before 1 are counted from 1 BC, and 0 is not one of them.
fn date_text(date: NaiveDate) -> String {
    let year = if date.year() > 0 { date.year() } else { 1 - date.year() };
    format!("{year:04}-{:02}-{:02}", date.month(), date.day())
}

fn era(date: NaiveDate, text: &str) -> String {
    if date.year() > 0 { text.to_owned() } else { format!("{text} BC") }
}

/// Up to microseconds, which is what databases keep.
fn time_text(time: NaiveTime) -> String {
    time.format("%H:%M:%S%.6f").to_string()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Text between double quotes, so that nothing in it is taken for punctuation.
fn quote(text: &str, quoted: &mut String) {
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
}

fn range_text(range: &Range) -> Option<String> {
    let Range::Between { lower, upper } = range else { return Some("empty".to_owned()) };
    let mut text = String::from(if matches!(lower, Bound::Included(_)) { "[" } else { "(" });
    if let Bound::Included(value) | Bound::Excluded(value) = lower {
        quote(&value.to_text()?, &mut text);
    }
    text.push(',');
    if let Bound::Included(value) | Bound::Excluded(value) = upper {
        quote(&value.to_text()?, &mut text);
    }
    text.push(if matches!(upper, Bound::Included(_)) { ']' } else { ')' });
    Some(text)
}

fn array_text(items: &[Value]) -> Option<String> {
    let mut text = String::from("{");
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        match item {
            Value::Null => text.push_str("NULL"),
            // Its braces are punctuation.
            Value::Array(items) => text.push_str(&array_text(items)?),
            other => quote(&other.to_text()?, &mut text),
        }
    }
    text.push('}');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Value, text: &str) {
        assert_eq!(value.to_text().as_deref(), Some(text), "{value:?}");
    }

    #[test]
    fn a_value_has_a_text_that_databases_read() {
        let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        let time = NaiveTime::from_hms_micro_opt(1, 2, 3, 40).unwrap();
        check(&Value::Bool(true), "true");
        check(&Value::Integer(i64::MIN), "-9223372036854775808");
        check(&Value::Float(0.1), "0.1");
        check(&Value::Float(f64::NAN), "NaN");
        check(&Value::Float(f64::NEG_INFINITY), "-Infinity");
        check(&Value::Float(1e300), "1e300");
        check(&Value::Bytes(Bytes::from_static(&[0, 255])), "\\x00ff");
        check(&Value::Date(date), "2024-02-29");
        check(&Value::Time(time), "01:02:03.000040");
        check(&Value::Timestamp(date.and_time(time)), "2024-02-29 01:02:03.000040");
        check(&Value::Instant(date.and_time(time).and_utc()), "2024-02-29 01:02:03.000040+00:00");
        check(&Value::Date(NaiveDate::from_ymd_opt(-43, 3, 15).unwrap()), "0044-03-15 BC");
        check(&Value::Uuid(Uuid::from_u128(1)), "00000000-0000-0000-0000-000000000001");
        let interval = Interval { months: 1, days: -2, microseconds: 3 };
        check(&Value::Interval(interval), "1 months -2 days 3 microseconds");
    }

    #[test]
    fn nothing_in_a_list_is_taken_for_punctuation() {
        let awkward = Value::Array(vec!["a,b".into(), "\"}\\".into(), Value::Null, "NULL".into(), "".into()]);
        check(&awkward, r#"{"a,b","\"}\\",NULL,"NULL",""}"#);
        check(&Value::Array(vec![Value::Array(vec![1.into()]), Value::Array(vec![2.into()])]), r#"{{"1"},{"2"}}"#);
        let range = Range::Between { lower: Bound::Included("a,b".into()), upper: Bound::Unbounded };
        check(&Value::Range(Box::new(range)), r#"["a,b",)"#);
        check(&Value::Range(Box::new(Range::Empty)), "empty");
    }

    #[test]
    fn what_has_no_text_says_so() {
        let other = Value::Other(Bytes::new());
        assert_eq!(Value::Null.to_text(), None);
        assert_eq!(Value::Array(vec![other.clone()]).to_text(), None);
        assert_eq!(other.to_text(), None);
    }

    #[test]
    fn small_values_are_not_free() {
        assert_eq!(Value::Null.size(), VALUE_BYTES);
        assert_eq!(Value::from("four").size(), VALUE_BYTES + 4);
        assert_eq!(Value::Array(vec![Value::Null, "a".into()]).size(), 3 * VALUE_BYTES + 1);
    }
}
