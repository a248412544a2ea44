//! `pg-value` and the values of a database, both ways.
//!
//! A case names a type of PostgreSQL. Types that have no value of ours (points, ranges of moments, addresses of network cards)
//! go as text in the statement (`$1::text::point`) and come as text out of it (`at::text`): as a parameter they are refused by
//! name, as a column too.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _, Utc};
use samara_capability::sql::{Column, Kind, SqlError, Value};
use wasmtime::component::Val;

/// A float's mantissa, exponent and sign, as `num-traits` takes one apart: 1 is 2^52 * 2^-52.
const MANTISSA_BITS: u32 = 52;
/// Added to an exponent where it is kept, and what the mantissa shifts it by.
const EXPONENT_BIAS: i16 = 1023 + 52;
/// The exponent of numbers below the normal ones.
const LEAST_EXPONENT: i16 = 1 - EXPONENT_BIAS;

fn wrong(what: &str) -> SqlError {
    SqlError::Parameter(format!("a parameter `{what}` is not of its case's type"))
}

/// A parameter, by the name of its case.
pub(super) fn parameter(value: &Val) -> Result<Value, SqlError> {
    let Val::Variant(name, payload) = value else { return Err(wrong("pg-value")) };
    let Some(payload) = payload.as_deref() else {
        return if name == "null" { Ok(Value::Null) } else { Err(wrong(name)) };
    };
    match (name.strip_suffix("-array"), payload) {
        (Some(of), Val::List(items)) => {
            Ok(Value::Array(items.iter().map(|item| one(of, item)).collect::<Result<_, _>>()?))
        }
        _ => one(name, payload),
    }
}

/// One value of a case that is no list.
fn one(name: &str, payload: &Val) -> Result<Value, SqlError> {
    Ok(match (name, payload) {
        ("big-int" | "int8" | "big-serial" | "serial8", Val::S64(number)) => Value::Integer(*number),
        ("integer" | "int" | "int4", Val::S32(number)) => Value::Integer((*number).into()),
        ("serial" | "serial4", Val::U32(number)) => Value::Integer((*number).into()),
        ("small-int" | "int2" | "small-serial" | "serial2", Val::S16(number)) => Value::Integer((*number).into()),
        ("bool" | "boolean", Val::Bool(truth)) => Value::Bool(*truth),
        ("double" | "float8" | "real" | "float4", Val::Tuple(parts)) => {
            Value::Float(float(parts).ok_or_else(|| wrong(name))?)
        }
        ("numeric" | "decimal", Val::String(text)) => Value::Decimal(text.clone()),
        ("text" | "name", Val::String(text)) => Value::Text(text.clone()),
        ("json" | "jsonb", Val::String(text)) => Value::Json(text.clone()),
        ("uuid", Val::String(text)) => Value::Uuid(text.parse().map_err(|_| wrong(name))?),
        ("bytea", bytes) => Value::Bytes(octets(bytes).ok_or_else(|| wrong(name))?.into()),
        ("char" | "varchar", Val::Tuple(parts)) => {
            let bytes = parts.last().and_then(octets).ok_or_else(|| wrong(name))?;
            Value::Text(String::from_utf8(bytes).map_err(|_| wrong(name))?)
        }
        ("date", date) => Value::Date(day(date).ok_or_else(|| wrong(name))?),
        ("time", time) => Value::Time(clock(time).ok_or_else(|| wrong(name))?),
        ("timestamp", both) => Value::Timestamp(day_and_clock(both).ok_or_else(|| wrong(name))?),
        ("timestamp-tz", moment) => Value::Instant(instant(moment).ok_or_else(|| wrong(name))?),
        _ => {
            let name: String = name.chars().take(32).collect();
            return Err(SqlError::Parameter(format!(
                "a parameter `{name}` has no form here; give it as `text`, and cast it in the statement"
            )));
        }
    })
}

fn octets(value: &Val) -> Option<Vec<u8>> {
    let Val::List(items) = value else { return None };
    items.iter().map(|item| if let Val::U8(byte) = item { Some(*byte) } else { None }).collect()
}

fn float(parts: &[Val]) -> Option<f64> {
    let [Val::U64(mantissa), Val::S16(exponent), Val::S8(sign)] = parts else { return None };
    if *mantissa >= 1 << (MANTISSA_BITS + 1) || !matches!(sign, -1..=1) {
        return None;
    }
    // A mantissa of 53 bits is a float as it is, and two steps to the exponent lose nothing on the way to the least numbers.
    #[expect(clippy::cast_precision_loss, reason = "checked above: it has 53 bits at most")]
    let mantissa = *mantissa as f64;
    let half = i32::from(*exponent) / 2;
    let magnitude = mantissa * 2_f64.powi(half) * 2_f64.powi(i32::from(*exponent) - half);
    Some(if *sign < 0 { -magnitude } else { magnitude })
}

fn parts(number: f64) -> Val {
    let bits = number.to_bits();
    let (kept, fraction) = ((bits >> MANTISSA_BITS) & 0x7ff, bits & ((1 << MANTISSA_BITS) - 1));
    let kept = i16::try_from(kept).unwrap_or(i16::MAX);
    let (mantissa, exponent) = match kept {
        0 => (fraction, LEAST_EXPONENT),
        _ => (fraction | (1 << MANTISSA_BITS), kept.saturating_sub(EXPONENT_BIAS)),
    };
    let sign = if number.is_sign_negative() { -1 } else { 1 };
    Val::Tuple(vec![Val::U64(mantissa), Val::S16(exponent), Val::S8(sign)])
}

fn field<'v>(record: &'v Val, name: &str) -> Option<&'v Val> {
    let Val::Record(fields) = record else { return None };
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn number(record: &Val, name: &str) -> Option<u32> {
    if let Some(Val::U32(number)) = field(record, name) { Some(*number) } else { None }
}

fn day(date: &Val) -> Option<NaiveDate> {
    let Val::Variant(case, Some(payload)) = date else { return None };
    match (case.as_str(), &**payload) {
        ("ymd", Val::Tuple(parts)) => match parts.as_slice() {
            [Val::S32(year), Val::U32(month), Val::U32(day)] => NaiveDate::from_ymd_opt(*year, *month, *day),
            _ => None,
        },
        _ => None,
    }
}

fn clock(time: &Val) -> Option<NaiveTime> {
    let part = |name| number(time, name);
    NaiveTime::from_hms_micro_opt(part("hour")?, part("min")?, part("sec")?, part("micro")?)
}

fn day_and_clock(both: &Val) -> Option<NaiveDateTime> {
    Some(day(field(both, "date")?)?.and_time(clock(field(both, "time")?)?))
}

/// East of Greenwich it is later than there.
fn instant(moment: &Val) -> Option<DateTime<Utc>> {
    let both = day_and_clock(field(moment, "timestamp")?)?;
    let Some(Val::Variant(side, Some(seconds))) = field(moment, "offset") else { return None };
    let Val::S32(seconds) = **seconds else { return None };
    let offset = TimeDelta::seconds(seconds.into());
    let utc = match side.as_str() {
        "eastern-hemisphere-secs" => both.checked_sub_signed(offset),
        "western-hemisphere-secs" => both.checked_add_signed(offset),
        _ => None,
    };
    Some(utc?.and_utc())
}

/// One entry of a row.
pub(super) fn cell(value: Value, column: &Column) -> Result<Val, SqlError> {
    let (name, payload) = told(value, &column.kind, &column.declared).ok_or_else(|| {
        let name: String = column.name.chars().take(63).flat_map(char::escape_debug).collect();
        SqlError::Conversion(format!("column `{name}` has no form here; cast it in the statement: `::text`"))
    })?;
    let value = Val::Variant(name, payload.map(Box::new));
    Ok(Val::Record(vec![("column-name".to_owned(), Val::String(column.name.to_string())), ("value".to_owned(), value)]))
}

/// The name of a case and what is in it.
fn told(value: Value, kind: &Kind, declared: &str) -> Option<(String, Option<Val>)> {
    if value == Value::Null {
        return Some(("null".to_owned(), None));
    }
    if let (Value::Array(items), Kind::Array(of)) = (value.clone(), kind) {
        // PostgreSQL writes the type of a list with an underscore before its items'.
        let declared = declared.trim_start_matches('_').trim_end_matches("[]");
        let case = case(of, declared)?;
        let items: Option<Vec<Val>> = items.into_iter().map(|item| payload(item, of, case)).collect();
        return Some((format!("{case}-array"), Some(Val::List(items?))));
    }
    let case = case(kind, declared)?;
    Some((case.to_owned(), Some(payload(value, kind, case)?)))
}

/// The case of a column's type.
fn case(kind: &Kind, declared: &str) -> Option<&'static str> {
    Some(match kind {
        Kind::Bool => "bool",
        Kind::Int8 | Kind::Int16 => "int2",
        Kind::Int32 => "int4",
        Kind::Int64 => "int8",
        Kind::Float32 => "float4",
        Kind::Float64 => "float8",
        Kind::Decimal => "numeric",
        Kind::Text => match declared {
            "varchar" | "bpchar" => "varchar",
            "name" => "name",
            _ => "text",
        },
        Kind::Bytes => "bytea",
        Kind::Date => "date",
        Kind::Time => "time",
        Kind::Timestamp => "timestamp",
        Kind::Instant => "timestamp-tz",
        Kind::Uuid => "uuid",
        Kind::Json if declared == "json" => "json",
        Kind::Json => "jsonb",
        Kind::Any | Kind::Interval | Kind::Range(_) | Kind::Array(_) | Kind::Other => return None,
    })
}

fn payload(value: Value, kind: &Kind, case: &str) -> Option<Val> {
    Some(match (value, kind) {
        (Value::Bool(truth), _) => Val::Bool(truth),
        (Value::Integer(number), Kind::Int8 | Kind::Int16) => Val::S16(number.try_into().ok()?),
        (Value::Integer(number), Kind::Int32) => Val::S32(number.try_into().ok()?),
        (Value::Integer(number), _) => Val::S64(number),
        (Value::Float(number), _) => parts(number),
        (Value::Text(text), _) if case == "varchar" => Val::Tuple(vec![Val::Option(None), bytes(text.into_bytes())]),
        (Value::Text(text) | Value::Decimal(text) | Value::Json(text), _) => Val::String(text),
        (Value::Bytes(octets), _) => bytes(octets.into()),
        (Value::Date(date), _) => told_day(date),
        (Value::Time(time), _) => told_clock(time),
        (Value::Timestamp(both), _) => told_both(both),
        (Value::Instant(moment), _) => {
            let east = Val::Variant("eastern-hemisphere-secs".to_owned(), Some(Box::new(Val::S32(0))));
            record([("timestamp", told_both(moment.naive_utc())), ("offset", east)])
        }
        (Value::Uuid(uuid), _) => Val::String(uuid.to_string()),
        // A list of theirs has no place for what is null.
        _ => return None,
    })
}

fn record<const N: usize>(fields: [(&str, Val); N]) -> Val {
    Val::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn bytes(octets: Vec<u8>) -> Val {
    Val::List(octets.into_iter().map(Val::U8).collect())
}

fn told_day(date: NaiveDate) -> Val {
    let parts = Val::Tuple(vec![Val::S32(date.year()), Val::U32(date.month()), Val::U32(date.day())]);
    Val::Variant("ymd".to_owned(), Some(Box::new(parts)))
}

fn told_clock(time: NaiveTime) -> Val {
    record([
        ("hour", Val::U32(time.hour())),
        ("min", Val::U32(time.minute())),
        ("sec", Val::U32(time.second())),
        ("micro", Val::U32(time.nanosecond() / 1000)),
    ])
}

fn told_both(both: NaiveDateTime) -> Val {
    record([("date", told_day(both.date())), ("time", told_clock(both.time()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str, payload: Option<Val>) -> Val {
        Val::Variant(name.to_owned(), payload.map(Box::new))
    }

    fn column(kind: Kind, declared: &str) -> Column {
        Column { name: "c".into(), kind, declared: declared.into() }
    }

    /// A value goes to a guest and comes back as it was.
    fn check(value: &Value, kind: Kind, declared: &str, case: &str) {
        let told = cell(value.clone(), &column(kind, declared)).unwrap();
        let told = field(&told, "value").unwrap();
        assert!(matches!(told, Val::Variant(name, _) if name == case), "{value:?}: {told:?}");
        assert_eq!(parameter(told).unwrap(), *value, "{told:?}");
    }

    #[test]
    fn values_come_back_as_they_went() {
        let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        let both = date.and_hms_micro_opt(1, 2, 3, 45).unwrap();
        check(&Value::Null, Kind::Int32, "int4", "null");
        check(&Value::Bool(true), Kind::Bool, "bool", "bool");
        check(&Value::Integer(-7), Kind::Int16, "int2", "int2");
        check(&Value::Integer(-7), Kind::Int32, "int4", "int4");
        check(&Value::Integer(i64::MIN), Kind::Int64, "int8", "int8");
        check(&Value::Decimal("12.50".into()), Kind::Decimal, "numeric", "numeric");
        check(&"apple".into(), Kind::Text, "text", "text");
        check(&"apple".into(), Kind::Text, "varchar", "varchar");
        check(&Value::Bytes(vec![0, 255].into()), Kind::Bytes, "bytea", "bytea");
        check(&Value::Date(date), Kind::Date, "date", "date");
        check(&Value::Time(both.time()), Kind::Time, "time", "time");
        check(&Value::Timestamp(both), Kind::Timestamp, "timestamp", "timestamp");
        check(&Value::Instant(both.and_utc()), Kind::Instant, "timestamptz", "timestamp-tz");
        check(&Value::Uuid(Default::default()), Kind::Uuid, "uuid", "uuid");
        check(&Value::Json("{}".into()), Kind::Json, "json", "json");
        check(&Value::Json("{}".into()), Kind::Json, "jsonb", "jsonb");
        let list = Value::Array(vec![1.into(), 2.into()]);
        check(&list, Kind::Array(Box::new(Kind::Int32)), "_int4", "int4-array");
        check(&Value::Array(vec!["a".into()]), Kind::Array(Box::new(Kind::Text)), "_varchar", "varchar-array");
    }

    #[test]
    fn floats_are_taken_apart_and_put_together() {
        for number in [0.0, 1.0, -1.5, 0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324, -2.5e-310, f64::from(0.1_f32)] {
            check(&Value::Float(number), Kind::Float64, "float8", "float8");
        }
        let Val::Tuple(one) = parts(1.0) else { panic!("no tuple") };
        assert_eq!(one, [Val::U64(1 << 52), Val::S16(-52), Val::S8(1)]);
    }

    #[test]
    fn what_is_not_of_its_type_is_refused() {
        let east = |seconds| variant("eastern-hemisphere-secs", Some(Val::S32(seconds)));
        let far = record([("date", told_day(NaiveDate::MAX)), ("time", told_clock(NaiveTime::MIN))]);
        for bad in [
            Val::S32(1),
            variant("int4", None),
            variant("int4", Some(Val::S64(1))),
            variant("int4-array", Some(Val::List(vec![Val::S64(1)]))),
            variant("float8", Some(Val::Tuple(vec![Val::U64(u64::MAX), Val::S16(0), Val::S8(1)]))),
            variant("date", Some(variant("positive-infinity", None))),
            variant("date", Some(variant("ymd", Some(Val::Tuple(vec![Val::S32(2024), Val::U32(13), Val::U32(1)]))))),
            variant("uuid", Some(Val::String("none".into()))),
            variant("varchar", Some(Val::Tuple(vec![Val::Option(None), bytes(vec![0xff])]))),
            variant("timestamp-tz", Some(record([("timestamp", far), ("offset", east(i32::MIN))]))),
            variant("point", Some(Val::String("(1,2)".into()))),
        ] {
            assert!(matches!(parameter(&bad), Err(SqlError::Parameter(_))), "{bad:?}");
        }
        let of_a_null = Value::Array(vec![Value::Null]);
        for (value, kind) in
            [(Value::Other(vec![1].into()), Kind::Other), (of_a_null, Kind::Array(Box::new(Kind::Int32)))]
        {
            assert!(matches!(cell(value, &column(kind, "")), Err(SqlError::Conversion(_))));
        }
    }
}
