//! `postgres` of `fermyon:spin` without a version (functions that take the address) and of `fermyon:spin@2.0.0` (connections).
//! Both have the same values.

use samara_bindings::{spin1, spin2};
use samara_capability::sql::{Kind, Row, SqlError, Value};
use samara_runtime::Guest;
use wasmtime::component::{Linker, Resource};

use super::{Connection, execute, narrow, narrow_float, session, textual_error, whole};
use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    spin1::rdbms_types::add_to_linker::<_, Views>(linker, view)?;
    spin1::postgres::add_to_linker::<_, Views>(linker, view)?;
    spin2::rdbms_types::add_to_linker::<_, Views>(linker, view)?;
    spin2::postgres::add_to_linker::<_, Views>(linker, view)
}

/// The values of a generation, whose types differ in their path only.
macro_rules! codec {
    ($codec:ident, $spin:ident) => {
        mod $codec {
            use samara_bindings::$spin::rdbms_types::{Column, DbDataType, DbValue, ParameterValue, RowSet};

            use super::{Kind, Row, SqlError, Value, narrow, narrow_float};

            pub(super) fn to_us(parameters: Vec<ParameterValue>) -> Result<Vec<Value>, SqlError> {
                parameters.into_iter().map(parameter).collect()
            }

            fn parameter(value: ParameterValue) -> Result<Value, SqlError> {
                Ok(match value {
                    ParameterValue::Boolean(truth) => Value::Bool(truth),
                    ParameterValue::Int8(number) => Value::Integer(number.into()),
                    ParameterValue::Int16(number) => Value::Integer(number.into()),
                    ParameterValue::Int32(number) => Value::Integer(number.into()),
                    ParameterValue::Int64(number) => Value::Integer(number),
                    ParameterValue::Uint8(number) => Value::Integer(number.into()),
                    ParameterValue::Uint16(number) => Value::Integer(number.into()),
                    ParameterValue::Uint32(number) => Value::Integer(number.into()),
                    ParameterValue::Uint64(number) => match i64::try_from(number) {
                        Ok(number) => Value::Integer(number),
                        Err(_) => {
                            return Err(SqlError::Parameter(format!("`{number}` does not fit 64 bits with a sign")))
                        }
                    },
                    ParameterValue::Floating32(number) => Value::Float(number.into()),
                    ParameterValue::Floating64(number) => Value::Float(number),
                    ParameterValue::Str(text) => Value::Text(text),
                    ParameterValue::Binary(bytes) => Value::Bytes(bytes.into()),
                    ParameterValue::DbNull => Value::Null,
                })
            }

            pub(super) fn to_them((columns, rows): (Vec<(String, Kind)>, Vec<Row>)) -> RowSet {
                let kinds: Vec<Kind> = columns.iter().map(|(_, kind)| kind.clone()).collect();
                let row = |row: Row| row.into_iter().zip(&kinds).map(|(value, kind)| told(value, kind)).collect();
                RowSet {
                    columns: columns
                        .into_iter()
                        .map(|(name, kind)| Column { name, data_type: data_type(&kind) })
                        .collect(),
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
                    _ => None,
                };
                told.unwrap_or(DbValue::Unsupported)
            }
        }
    };
}

codec!(codec1, spin1);
codec!(codec2, spin2);

textual_error!(error2, spin2::rdbms_types::Error);

fn error1(failure: impl Into<super::Failure>) -> spin1::postgres::PgError {
    use spin1::postgres::PgError;
    match failure.into() {
        super::Failure::Connection(said) => PgError::ConnectionFailed(said),
        super::Failure::Parameter(said) => PgError::BadParameter(said),
        super::Failure::Query(said) => PgError::QueryFailed(said),
        super::Failure::Conversion(said) => PgError::ValueConversionFailed(said),
        super::Failure::Other(said) => PgError::OtherError(said),
    }
}

impl spin1::rdbms_types::Host for View<'_> {}

impl spin1::postgres::Host for View<'_> {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<spin1::rdbms_types::ParameterValue>,
    ) -> wasmtime::Result<Result<spin1::rdbms_types::RowSet, spin1::postgres::PgError>> {
        let (session, parameters) = match (session(self.0, &address), codec1::to_us(parameters)) {
            (Err(refused), _) => return Ok(Err(spin1::postgres::PgError::ConnectionFailed(refused))),
            (_, Err(error)) => return Ok(Err(error1(error))),
            (Ok(session), Ok(parameters)) => (session, parameters),
        };
        Ok(whole(&session, statement, parameters).await.map(codec1::to_them).map_err(error1))
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        parameters: Vec<spin1::rdbms_types::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, spin1::postgres::PgError>> {
        let (session, parameters) = match (session(self.0, &address), codec1::to_us(parameters)) {
            (Err(refused), _) => return Ok(Err(spin1::postgres::PgError::ConnectionFailed(refused))),
            (_, Err(error)) => return Ok(Err(error1(error))),
            (Ok(session), Ok(parameters)) => (session, parameters),
        };
        Ok(execute(&session, statement, parameters).await.map_err(error1))
    }
}

impl spin2::rdbms_types::Host for View<'_> {}

impl spin2::postgres::Host for View<'_> {}

impl spin2::postgres::HostConnection for View<'_> {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<spin2::postgres::Connection>, spin2::rdbms_types::Error>> {
        let opened = self.open_postgres(&address);
        Ok(opened.map(Resource::new_own).map_err(spin2::rdbms_types::Error::ConnectionFailed))
    }

    async fn query(
        &mut self,
        connection: Resource<spin2::postgres::Connection>,
        statement: String,
        parameters: Vec<spin2::rdbms_types::ParameterValue>,
    ) -> wasmtime::Result<Result<spin2::rdbms_types::RowSet, spin2::rdbms_types::Error>> {
        let session = self.postgres(connection.rep())?;
        let parameters = match codec2::to_us(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error2(error))),
        };
        Ok(whole(&session, statement, parameters).await.map(codec2::to_them).map_err(error2))
    }

    async fn execute(
        &mut self,
        connection: Resource<spin2::postgres::Connection>,
        statement: String,
        parameters: Vec<spin2::rdbms_types::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, spin2::rdbms_types::Error>> {
        let session = self.postgres(connection.rep())?;
        let parameters = match codec2::to_us(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error2(error))),
        };
        Ok(execute(&session, statement, parameters).await.map_err(error2))
    }

    async fn drop(&mut self, connection: Resource<spin2::postgres::Connection>) -> wasmtime::Result<()> {
        self.forget::<Connection>(connection.rep()).map(drop)
    }
}
