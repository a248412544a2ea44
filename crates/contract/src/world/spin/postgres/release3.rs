//! `spin:postgres@3.0.0`: also days and times.

use samara_bindings::spin3::postgres3::{
    Column, Connection as Theirs, DbDataType, DbValue, Error, Host, HostConnection, ParameterValue, RowSet,
    add_to_linker,
};
use samara_capability::sql::{Kind, Row, SqlError, Value};
use samara_runtime::Guest;
use wasmtime::component::{Linker, Resource};

use super::{Connection, execute, moment, narrow, narrow_float, textual_error, whole};
use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    add_to_linker::<_, Views>(linker, view)
}

textual_error!(error3, Error);

fn to_us(parameters: Vec<ParameterValue>) -> Result<Vec<Value>, SqlError> {
    let parameter = |value| {
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
            ParameterValue::DbNull => Value::Null,
        })
    };
    parameters.into_iter().map(parameter).collect()
}

fn to_them((columns, rows): (Vec<(String, Kind)>, Vec<Row>)) -> RowSet {
    let kinds: Vec<Kind> = columns.iter().map(|(_, kind)| kind.clone()).collect();
    let row = |row: Row| row.into_iter().zip(&kinds).map(|(value, kind)| told(value, kind)).collect();
    RowSet {
        columns: columns.into_iter().map(|(name, kind)| Column { name, data_type: data_type(&kind) }).collect(),
        rows: rows.into_iter().map(row).collect(),
    }
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
        _ => DbDataType::Other,
    }
}

fn told(value: Value, kind: &Kind) -> DbValue {
    let told = match (value, kind) {
        (Value::Null, _) => Some(DbValue::DbNull),
        (Value::Bool(truth), _) => Some(DbValue::Boolean(truth)),
        (Value::Integer(number), Kind::Int8) => narrow(number).map(DbValue::Int8),
        (Value::Integer(number), Kind::Int16) => narrow(number).map(DbValue::Int16),
        (Value::Integer(number), Kind::Int32) => narrow(number).map(DbValue::Int32),
        (Value::Integer(number), _) => Some(DbValue::Int64(number)),
        (Value::Float(number), Kind::Float32) => Some(DbValue::Floating32(narrow_float(number))),
        (Value::Float(number), _) => Some(DbValue::Floating64(number)),
        (Value::Text(text), _) => Some(DbValue::Str(text)),
        (Value::Bytes(bytes), _) => Some(DbValue::Binary(bytes.into())),
        (Value::Date(date), _) => moment::day(date).map(DbValue::Date),
        (Value::Time(time), _) => moment::clock(time).map(DbValue::Time),
        (Value::Timestamp(both), _) => moment::day_and_clock(both).map(DbValue::Datetime),
        (Value::Instant(instant), _) => Some(DbValue::Timestamp(instant.timestamp())),
        _ => None,
    };
    told.unwrap_or(DbValue::Unsupported)
}

impl Host for View<'_> {}

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
            Err(error) => return Ok(Err(error3(error))),
        };
        Ok(whole(&session, statement, parameters).await.map(to_them).map_err(error3))
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
            Err(error) => return Ok(Err(error3(error))),
        };
        Ok(execute(&session, statement, parameters).await.map_err(error3))
    }

    async fn drop(&mut self, connection: Resource<Theirs>) -> wasmtime::Result<()> {
        self.forget::<Connection>(connection.rep()).map(drop)
    }
}
