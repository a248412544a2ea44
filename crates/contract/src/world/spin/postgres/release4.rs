//! `spin:postgres@4.2.0`: also decimals, UUIDs, JSON, ranges, lists and intervals; errors with the database's own fields; and
//! async functions beside the others.

use std::ops::Bound;

use samara_bindings::spin3::postgres::{
    Column, Connection as Theirs, ConnectionBuilder, DbDataType, DbError, DbValue, Error, Host, HostConnection,
    HostConnectionBuilder, HostConnectionBuilderWithStore, HostConnectionWithStore, Interval as TheirInterval,
    ParameterValue, QueryError, RangeBoundKind, RowSet, add_to_linker,
};
use samara_capability::sql::{Interval, Kind, Range, Rejection, Row, SqlError, Value};
use samara_runtime::Guest;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::{Connection, Failure, execute, moment, narrow, narrow_float, whole};
use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    // Its async functions cannot be left out where the engine cannot run them: a guest that imports them needs one that can.
    if concurrency { add_to_linker::<_, Views>(linker, view) } else { Ok(()) }
}

/// A guest's description of a connection.
struct Described(String);

fn error4(error: SqlError) -> Error {
    let rejection = match error {
        SqlError::Statement(rejection) => *rejection,
        other => {
            return match Failure::from(other) {
                Failure::Connection(said) => Error::ConnectionFailed(said),
                Failure::Parameter(said) => Error::BadParameter(said),
                Failure::Query(said) => Error::QueryFailed(QueryError::Text(said)),
                Failure::Conversion(said) => Error::ValueConversionFailed(said),
                Failure::Other(said) => Error::Other(said),
            };
        }
    };
    let Rejection { code, severity, message, detail, about, .. } = rejection;
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text: format!("{severity}: {message}"),
        severity,
        code,
        message,
        detail,
        extras: about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }))
}

fn to_us(parameters: Vec<ParameterValue>) -> Result<Vec<Value>, SqlError> {
    parameters.into_iter().map(parameter).collect()
}

fn parameter(value: ParameterValue) -> Result<Value, SqlError> {
    Ok(match value {
        ParameterValue::Boolean(truth) => Value::Bool(truth),
        ParameterValue::Int8(number) => Value::Integer(number.into()),
        ParameterValue::Int16(number) => Value::Integer(number.into()),
        ParameterValue::Int32(number) => Value::Integer(number.into()),
        ParameterValue::Int64(number) => Value::Integer(number),
        ParameterValue::Floating32(number) => Value::Float(number.into()),
        ParameterValue::Floating64(number) => Value::Float(number),
        ParameterValue::Str(text) => Value::Text(text),
        ParameterValue::Binary(bytes) => Value::Bytes(bytes.into()),
        ParameterValue::Date(date) => Value::Date(moment::date(date)?),
        ParameterValue::Time(time) => Value::Time(moment::time(time)?),
        ParameterValue::Datetime(both) => Value::Timestamp(moment::both(both)?),
        ParameterValue::Timestamp(seconds) => Value::Instant(moment::instant(seconds)?),
        ParameterValue::Uuid(text) => {
            let uuid = text.parse().map_err(|_| SqlError::Parameter("that is no UUID".to_owned()))?;
            Value::Uuid(uuid)
        }
        ParameterValue::Jsonb(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| SqlError::Parameter("JSON is not UTF-8".to_owned()))?;
            Value::Json(text)
        }
        ParameterValue::Decimal(text) => Value::Decimal(text),
        ParameterValue::RangeInt32((lower, upper)) => range(lower, upper, |number| Value::Integer(number.into())),
        ParameterValue::RangeInt64((lower, upper)) => range(lower, upper, Value::Integer),
        ParameterValue::RangeDecimal((lower, upper)) => range(lower, upper, Value::Decimal),
        ParameterValue::ArrayInt32(items) => array(items, |number| Value::Integer(number.into())),
        ParameterValue::ArrayInt64(items) => array(items, Value::Integer),
        ParameterValue::ArrayDecimal(items) => array(items, Value::Decimal),
        ParameterValue::ArrayStr(items) => array(items, Value::Text),
        ParameterValue::Interval(TheirInterval { micros, days, months }) => {
            Value::Interval(Interval { months, days, microseconds: micros })
        }
        ParameterValue::DbNull => Value::Null,
    })
}

fn range<T>(
    lower: Option<(T, RangeBoundKind)>,
    upper: Option<(T, RangeBoundKind)>,
    value: impl Fn(T) -> Value,
) -> Value {
    let bound = |bound| match bound {
        None => Bound::Unbounded,
        Some((at, RangeBoundKind::Inclusive)) => Bound::Included(value(at)),
        Some((at, RangeBoundKind::Exclusive)) => Bound::Excluded(value(at)),
    };
    Value::Range(Box::new(Range::Between { lower: bound(lower), upper: bound(upper) }))
}

fn array<T>(items: Vec<Option<T>>, value: impl Fn(T) -> Value) -> Value {
    Value::Array(items.into_iter().map(|item| item.map_or(Value::Null, &value)).collect())
}

fn described(columns: Vec<(String, Kind)>) -> (Vec<Kind>, Vec<Column>) {
    let kinds = columns.iter().map(|(_, kind)| kind.clone()).collect();
    (kinds, columns.into_iter().map(|(name, kind)| Column { name, data_type: data_type(&kind) }).collect())
}

fn told_row(row: Row, kinds: &[Kind]) -> Vec<DbValue> {
    row.into_iter().zip(kinds).map(|(value, kind)| told(value, kind)).collect()
}

fn data_type(kind: &Kind) -> DbDataType {
    match kind {
        Kind::Bool => DbDataType::Boolean,
        Kind::Int8 => DbDataType::Int8,
        Kind::Int16 => DbDataType::Int16,
        Kind::Int32 => DbDataType::Int32,
        Kind::Int64 => DbDataType::Int64,
        Kind::Float32 => DbDataType::Floating32,
        Kind::Float64 => DbDataType::Floating64,
        Kind::Text => DbDataType::Str,
        Kind::Bytes => DbDataType::Binary,
        Kind::Date => DbDataType::Date,
        Kind::Time => DbDataType::Time,
        Kind::Timestamp => DbDataType::Datetime,
        Kind::Instant => DbDataType::Timestamp,
        Kind::Uuid => DbDataType::Uuid,
        Kind::Json => DbDataType::Jsonb,
        Kind::Decimal => DbDataType::Decimal,
        Kind::Interval => DbDataType::Interval,
        Kind::Range(of) => match **of {
            Kind::Int32 => DbDataType::RangeInt32,
            Kind::Int64 => DbDataType::RangeInt64,
            Kind::Decimal => DbDataType::RangeDecimal,
            _ => DbDataType::Other("range".to_owned()),
        },
        Kind::Array(of) => match **of {
            Kind::Int32 => DbDataType::ArrayInt32,
            Kind::Int64 => DbDataType::ArrayInt64,
            Kind::Decimal => DbDataType::ArrayDecimal,
            Kind::Text => DbDataType::ArrayStr,
            _ => DbDataType::Other("array".to_owned()),
        },
        Kind::Any | Kind::Other => DbDataType::Other(String::new()),
    }
}

fn told(value: Value, kind: &Kind) -> DbValue {
    // What has no case here goes as text, which is how the database would write it.
    let text = value.to_text().map(|text| text.into_owned().into_bytes()).unwrap_or_default();
    let told = match (value, kind) {
        (Value::Null, _) => Some(DbValue::DbNull),
        (Value::Bool(truth), _) => Some(DbValue::Boolean(truth)),
        (Value::Integer(number), Kind::Int8) => narrow(number).map(DbValue::Int8),
        (Value::Integer(number), Kind::Int16) => narrow(number).map(DbValue::Int16),
        (Value::Integer(number), Kind::Int32) => narrow(number).map(DbValue::Int32),
        (Value::Integer(number), _) => Some(DbValue::Int64(number)),
        (Value::Float(number), Kind::Float32) => Some(DbValue::Floating32(narrow_float(number))),
        (Value::Float(number), _) => Some(DbValue::Floating64(number)),
        (Value::Decimal(text), _) => Some(DbValue::Decimal(text)),
        (Value::Text(text), _) => Some(DbValue::Str(text)),
        (Value::Bytes(bytes), _) => Some(DbValue::Binary(bytes.into())),
        (Value::Date(date), _) => moment::day(date).map(DbValue::Date),
        (Value::Time(time), _) => moment::clock(time).map(DbValue::Time),
        (Value::Timestamp(both), _) => moment::day_and_clock(both).map(DbValue::Datetime),
        (Value::Instant(instant), _) => Some(DbValue::Timestamp(instant.timestamp())),
        (Value::Uuid(uuid), _) => Some(DbValue::Uuid(uuid.to_string())),
        (Value::Json(text), _) => Some(DbValue::Jsonb(text.into_bytes())),
        (Value::Interval(Interval { months, days, microseconds }), _) => {
            Some(DbValue::Interval(TheirInterval { micros: microseconds, days, months }))
        }
        (Value::Range(range), Kind::Range(of)) => match **of {
            Kind::Int32 => told_range(*range, small).map(DbValue::RangeInt32),
            Kind::Int64 => told_range(*range, whole_number).map(DbValue::RangeInt64),
            Kind::Decimal => told_range(*range, decimal).map(DbValue::RangeDecimal),
            _ => None,
        },
        (Value::Array(items), Kind::Array(of)) => match **of {
            Kind::Int32 => told_array(items, small).map(DbValue::ArrayInt32),
            Kind::Int64 => told_array(items, whole_number).map(DbValue::ArrayInt64),
            Kind::Decimal => told_array(items, decimal).map(DbValue::ArrayDecimal),
            Kind::Text => told_array(items, textual).map(DbValue::ArrayStr),
            _ => None,
        },
        (Value::Other(bytes), _) => return DbValue::Unsupported(bytes.into()),
        _ => None,
    };
    told.unwrap_or(DbValue::Unsupported(text))
}

fn small(value: Value) -> Option<i32> {
    whole_number(value).and_then(narrow)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of its siblings, which consume it")]
fn whole_number(value: Value) -> Option<i64> {
    if let Value::Integer(number) = value { Some(number) } else { None }
}

fn decimal(value: Value) -> Option<String> {
    if let Value::Decimal(text) = value { Some(text) } else { None }
}

fn textual(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

type Ends<T> = (Option<(T, RangeBoundKind)>, Option<(T, RangeBoundKind)>);

/// An empty range has no form here, and is told as one that nothing is in.
fn told_range<T>(range: Range, value: impl Fn(Value) -> Option<T>) -> Option<Ends<T>> {
    let Range::Between { lower, upper } = range else { return None };
    let bound = |bound| match bound {
        Bound::Unbounded => Some(None),
        Bound::Included(at) => value(at).map(|at| Some((at, RangeBoundKind::Inclusive))),
        Bound::Excluded(at) => value(at).map(|at| Some((at, RangeBoundKind::Exclusive))),
    };
    Some((bound(lower)?, bound(upper)?))
}

fn told_array<T>(items: Vec<Value>, value: impl Fn(Value) -> Option<T>) -> Option<Vec<Option<T>>> {
    let item = |item| if item == Value::Null { Some(None) } else { value(item).map(Some) };
    items.into_iter().map(item).collect()
}

impl Host for View<'_> {}

impl HostConnectionBuilder for View<'_> {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<ConnectionBuilder>> {
        Ok(Resource::new_own(self.keep(Described(address))?))
    }

    async fn set_ca_root(&mut self, _: Resource<ConnectionBuilder>, _: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(Err(Error::Other("the store's settings in the manifest say whom to trust".to_owned())))
    }

    async fn build(
        &mut self,
        builder: Resource<ConnectionBuilder>,
    ) -> wasmtime::Result<Result<Resource<Theirs>, Error>> {
        let address = self.find::<Described>(builder.rep())?.0.clone();
        Ok(self.open_postgres(&address).map(Resource::new_own).map_err(Error::ConnectionFailed))
    }

    async fn drop(&mut self, builder: Resource<ConnectionBuilder>) -> wasmtime::Result<()> {
        self.forget::<Described>(builder.rep()).map(drop)
    }
}

impl<U> HostConnectionBuilderWithStore<U> for Views {
    async fn build_async(
        accessor: &Accessor<U, Self>,
        builder: Resource<ConnectionBuilder>,
    ) -> wasmtime::Result<Result<Resource<Theirs>, Error>> {
        accessor.with(|mut access| {
            let mut view = access.get();
            let address = view.find::<Described>(builder.rep())?.0.clone();
            Ok(view.open_postgres(&address).map(Resource::new_own).map_err(Error::ConnectionFailed))
        })
    }
}

impl HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> wasmtime::Result<Result<Resource<Theirs>, Error>> {
        Ok(self.open_postgres(&address).map(Resource::new_own).map_err(Error::ConnectionFailed))
    }

    async fn query(
        &mut self,
        connection: Resource<Theirs>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<RowSet, Error>> {
        let session = self.postgres(connection.rep())?;
        let parameters = match to_us(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error4(error))),
        };
        let answer = whole(&session, statement, parameters).await;
        let told = |(columns, rows): (_, Vec<Row>)| {
            let (kinds, columns) = described(columns);
            RowSet { columns, rows: rows.into_iter().map(|row| told_row(row, &kinds)).collect() }
        };
        Ok(answer.map(told).map_err(error4))
    }

    async fn execute(
        &mut self,
        connection: Resource<Theirs>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let session = self.postgres(connection.rep())?;
        let parameters = match to_us(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error4(error))),
        };
        Ok(execute(&session, statement, parameters).await.map_err(error4))
    }

    async fn drop(&mut self, connection: Resource<Theirs>) -> wasmtime::Result<()> {
        self.forget::<Connection>(connection.rep()).map(drop)
    }
}

type Streamed = (Vec<Column>, StreamReader<Vec<DbValue>>, FutureReader<Result<(), Error>>);

impl<U> HostConnectionWithStore<U> for Views {
    async fn open_async(
        accessor: &Accessor<U, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Theirs>, Error>> {
        let opened = accessor.with(|mut access| access.get().open_postgres(&address));
        Ok(opened.map(Resource::new_own).map_err(Error::ConnectionFailed))
    }

    async fn query_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<Theirs>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<Streamed, Error>> {
        let session = accessor.with(|mut access| access.get().postgres(connection.rep()))?;
        let parameters = match to_us(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error4(error))),
        };
        let (columns, rows) = match whole(&session, statement, parameters).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error4(error))),
        };
        let (kinds, columns) = described(columns);
        let rows: Vec<_> = rows.into_iter().map(|row| told_row(row, &kinds)).collect();
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<Theirs>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let session = accessor.with(|mut access| access.get().postgres(connection.rep()))?;
        let parameters = match to_us(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error4(error))),
        };
        Ok(execute(&session, statement, parameters).await.map_err(error4))
    }
}
