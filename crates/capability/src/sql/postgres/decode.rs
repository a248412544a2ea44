//! Values on their way from the server, in the binary form of each type. Types that are not named here come as their bytes.
//!
//! The forms are those of the server's `*_send` functions (PostgreSQL's sources, `src/backend/utils/adt`).

use std::{error::Error, fmt::Write as _, ops::Bound};

use bytes::{Buf as _, Bytes};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use tokio_postgres::types::{FromSql, Kind as Form, Type};
use uuid::Uuid;

use crate::sql::{Column, Interval, Kind, Range, Row, SqlError, Value};

/// Dimensions that an array of PostgreSQL's can have.
const DIMENSIONS: usize = 6;

/// A column in our words.
pub(super) fn column(column: &tokio_postgres::Column) -> Column {
    Column { name: column.name().into(), kind: kind(column.type_()), declared: column.type_().name().into() }
}

/// The values of a row.
///
/// # Errors
/// One of them has no place in our values (a date that is `infinity`), or is not what the server says it is.
pub(super) fn row(row: &tokio_postgres::Row) -> Result<Row, SqlError> {
    let mut values = Vec::with_capacity(row.len());
    for (place, column) in row.columns().iter().enumerate() {
        let wrong = |why: &dyn std::fmt::Display| {
            SqlError::Conversion(format!("column `{}` of type `{}`: {why}", column.name(), column.type_().name()))
        };
        let Raw(raw) = row.try_get(place).map_err(|error| wrong(&error))?;
        values.push(match raw {
            None => Value::Null,
            Some(raw) => value(column.type_(), raw).map_err(|error| wrong(&error))?,
        });
    }
    Ok(values)
}

/// A value as the server sent it.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What a column of a type holds.
fn kind(of: &Type) -> Kind {
    match *of {
        Type::BOOL => Kind::Bool,
        Type::CHAR => Kind::Int8,
        Type::INT2 => Kind::Int16,
        Type::INT4 => Kind::Int32,
        Type::INT8 | Type::OID => Kind::Int64,
        Type::FLOAT4 => Kind::Float32,
        Type::FLOAT8 => Kind::Float64,
        Type::NUMERIC => Kind::Decimal,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::XML => Kind::Text,
        Type::BYTEA => Kind::Bytes,
        Type::DATE => Kind::Date,
        Type::TIME => Kind::Time,
        Type::TIMESTAMP => Kind::Timestamp,
        Type::TIMESTAMPTZ => Kind::Instant,
        Type::UUID => Kind::Uuid,
        Type::JSON | Type::JSONB => Kind::Json,
        Type::INTERVAL => Kind::Interval,
        _ => match of.kind() {
            Form::Enum(_) => Kind::Text,
            Form::Domain(base) => kind(base),
            Form::Array(member) => Kind::Array(Box::new(kind(member))),
            Form::Range(member) => Kind::Range(Box::new(kind(member))),
            // An extension's type whose number differs from server to server.
            _ if of.name() == "citext" => Kind::Text,
            _ => Kind::Other,
        },
    }
}

type Read<T> = Result<T, Box<dyn Error + Sync + Send>>;

fn value(of: &Type, mut raw: &[u8]) -> Read<Value> {
    Ok(match kind(of) {
        Kind::Bool => Value::Bool(raw.try_get_u8()? != 0),
        Kind::Int8 => Value::Integer(raw.try_get_i8()?.into()),
        Kind::Int16 => Value::Integer(raw.try_get_i16()?.into()),
        Kind::Int32 => Value::Integer(raw.try_get_i32()?.into()),
        Kind::Int64 if *of == Type::OID => Value::Integer(raw.try_get_u32()?.into()),
        Kind::Int64 => Value::Integer(raw.try_get_i64()?),
        Kind::Float32 => Value::Float(raw.try_get_f32()?.into()),
        Kind::Float64 => Value::Float(raw.try_get_f64()?),
        Kind::Decimal => Value::Decimal(decimal(raw)?),
        Kind::Text => Value::Text(std::str::from_utf8(raw)?.to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::copy_from_slice(raw)),
        Kind::Date => Value::Date(NaiveDate::from_sql(of, raw)?),
        Kind::Time => Value::Time(NaiveTime::from_sql(of, raw)?),
        Kind::Timestamp => Value::Timestamp(NaiveDateTime::from_sql(of, raw)?),
        Kind::Instant => Value::Instant(DateTime::<Utc>::from_sql(of, raw)?),
        Kind::Uuid => Value::Uuid(Uuid::from_slice(raw)?),
        Kind::Json => {
            if *of == Type::JSONB && raw.try_get_u8()? != 1 {
                return Err("its form is of a newer server".into());
            }
            Value::Json(std::str::from_utf8(raw)?.to_owned())
        }
        Kind::Interval => {
            let microseconds = raw.try_get_i64()?;
            let days = raw.try_get_i32()?;
            Value::Interval(Interval { months: raw.try_get_i32()?, days, microseconds })
        }
        Kind::Array(_) => array(member(of), raw)?,
        Kind::Range(_) => Value::Range(Box::new(range(member(of), raw)?)),
        Kind::Any | Kind::Other => Value::Other(Bytes::copy_from_slice(raw)),
    })
}

/// Of what an array or a range is one.
fn member(of: &Type) -> &Type {
    match of.kind() {
        Form::Array(member) | Form::Range(member) => member,
        Form::Domain(base) => member(base),
        _ => of,
    }
}

/// A part of a value behind its length, which is -1 for null.
fn part<'a>(raw: &mut &'a [u8]) -> Read<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(raw.try_get_i32()?) else { return Ok(None) };
    let (part, rest) = raw.split_at_checked(length).ok_or("it ends too early")?;
    *raw = rest;
    Ok(Some(part))
}

fn array(member: &Type, mut raw: &[u8]) -> Read<Value> {
    let dimensions = usize::try_from(raw.try_get_i32()?)?;
    let (_has_nulls, _member) = (raw.try_get_i32()?, raw.try_get_u32()?);
    if dimensions > DIMENSIONS {
        return Err("it has too many dimensions".into());
    }
    let mut lengths = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        lengths.push(usize::try_from(raw.try_get_i32()?)?);
        let _first_index = raw.try_get_i32()?;
    }
    // Read until nothing is left, not until a count is reached that anybody may have written.
    let mut items = Vec::new();
    while !raw.is_empty() {
        items.push(part(&mut raw)?.map_or(Ok(Value::Null), |item| value(member, item))?);
    }
    if items.len() != lengths.iter().try_fold(1_usize, |all, length| all.checked_mul(*length)).unwrap_or(0)
        && !lengths.is_empty()
    {
        return Err("its dimensions are not those of its items".into());
    }
    for length in lengths.iter().skip(1).rev() {
        let mut items_left = items.into_iter();
        let mut rows = Vec::new();
        loop {
            let row: Vec<_> = items_left.by_ref().take((*length).max(1)).collect();
            if row.is_empty() {
                break;
            }
            rows.push(Value::Array(row));
        }
        items = rows;
    }
    Ok(Value::Array(items))
}

fn range(member: &Type, mut raw: &[u8]) -> Read<Range> {
    const EMPTY: u8 = 0x01;
    const LOWER_INCLUDED: u8 = 0x02;
    const UPPER_INCLUDED: u8 = 0x04;
    const LOWER_OPEN: u8 = 0x08;
    const UPPER_OPEN: u8 = 0x10;
    let flags = raw.try_get_u8()?;
    let is = |flag: u8| flags & flag != 0;
    if is(EMPTY) {
        return Ok(Range::Empty);
    }
    let mut bound = |open: bool, included: bool| -> Read<Bound<Value>> {
        if open {
            return Ok(Bound::Unbounded);
        }
        let end = value(member, part(&mut raw)?.ok_or("a bound is null")?)?;
        Ok(if included { Bound::Included(end) } else { Bound::Excluded(end) })
    };
    let lower = bound(is(LOWER_OPEN), is(LOWER_INCLUDED))?;
    let upper = bound(is(UPPER_OPEN), is(UPPER_INCLUDED))?;
    Ok(Range::Between { lower, upper })
}

/// Groups of four decimal digits, the first one `weight` groups before the point.
fn decimal(mut raw: &[u8]) -> Read<String> {
    let groups = raw.try_get_u16()?;
    let weight = i32::from(raw.try_get_i16()?);
    let sign = raw.try_get_u16()?;
    let scale = usize::from(raw.try_get_u16()?);
    let mut digits = Vec::with_capacity(groups.into());
    for _ in 0..groups {
        digits.push(raw.try_get_u16()?);
    }
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => return Err("its sign is unknown".into()),
    };
    let group = |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    if weight < 0 {
        text.push('0');
    }
    for place in 0..=weight {
        // Writing to a string does not fail.
        let _ = if place == 0 { write!(text, "{}", group(place)) } else { write!(text, "{:04}", group(place)) };
    }
    if scale > 0 {
        let mut fraction = String::with_capacity(scale + 4);
        let mut place = weight + 1;
        // Groups before the first one are zeroes.
        while fraction.len() < scale {
            let _ = write!(fraction, "{:04}", group(place));
            place += 1;
        }
        fraction.truncate(scale);
        text.push('.');
        text.push_str(&fraction);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_decimal(groups: &[u16], weight: i16, sign: u16, scale: u16, text: &str) {
        let mut raw = Vec::new();
        raw.extend(u16::try_from(groups.len()).unwrap().to_be_bytes());
        raw.extend(weight.to_be_bytes());
        raw.extend(sign.to_be_bytes());
        raw.extend(scale.to_be_bytes());
        raw.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
        assert_eq!(decimal(&raw).unwrap(), text);
        assert!(groups.is_empty() || decimal(&raw[..raw.len() - 1]).is_err());
    }

    #[test]
    fn decimals_are_read_to_the_last_digit() {
        check_decimal(&[], 0, 0, 0, "0");
        check_decimal(&[], 0, 0, 2, "0.00");
        check_decimal(&[12, 3400], 0, 0x4000, 2, "-12.34");
        check_decimal(&[1], 2, 0, 0, "100000000");
        check_decimal(&[1, 2], 1, 0, 0, "10002");
        check_decimal(&[5], -1, 0, 4, "0.0005");
        check_decimal(&[5000], -2, 0, 5, "0.00005");
        check_decimal(&[], 0, 0xC000, 0, "NaN");
        check_decimal(&[], 0, 0xF000, 0, "-Infinity");
    }

    #[test]
    fn no_bytes_of_a_server_are_trusted() {
        let types = [
            Type::BOOL,
            Type::CHAR,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::DATE,
            Type::TIME,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::UUID,
            Type::JSONB,
            Type::INTERVAL,
            Type::INT4_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT8_RANGE,
        ];
        for of in types {
            for length in 0..24 {
                for byte in [0, 1, 0x7f, 0xff] {
                    // Whatever comes of it, it comes back.
                    let _ = value(&of, &vec![byte; length]);
                }
            }
            assert!(value(&of, &[]).is_err(), "{of}");
        }
    }

    fn four(numbers: &[i32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    #[test]
    fn arrays_have_the_dimensions_that_they_say() {
        let check =
            |raw: &[i32], expected: Option<Value>| assert_eq!(value(&Type::INT4_ARRAY, &four(raw)).ok(), expected);
        let row = |items: &[i64]| Value::Array(items.iter().map(|item| Value::Integer(*item)).collect());
        check(&[0, 0, 23], Some(row(&[])));
        check(&[1, 1, 23, 2, 1, 4, 7, -1], Some(Value::Array(vec![7.into(), Value::Null])));
        let nested = Value::Array(vec![row(&[1, 2]), row(&[3, 4])]);
        check(&[2, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4], Some(nested));
        check(&[1, 0, 23, 3, 1, 4, 7], None);
        check(&[7, 0, 23], None);
        check(&[-1, 0, 23], None);
        check(&[1, 0, 23, i32::MAX, 1], None);
        check(&[2, 0, 23, i32::MAX, 1, i32::MAX, 1], None);
    }

    #[test]
    fn ranges_have_ends_or_none() {
        let range = |raw: &[u8]| value(&Type::INT4_RANGE, raw).unwrap();
        let between = |lower, upper| Value::Range(Box::new(Range::Between { lower, upper }));
        assert_eq!(range(&[1]), Value::Range(Box::new(Range::Empty)));
        assert_eq!(range(&[0x18]), between(Bound::Unbounded, Bound::Unbounded));
        let raw = [&[2][..], &four(&[4, 1, 4, 9])].concat();
        assert_eq!(range(&raw), between(Bound::Included(1.into()), Bound::Excluded(9.into())));
    }
}
