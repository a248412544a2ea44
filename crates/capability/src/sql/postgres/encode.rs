//! Parameters on their way to the server: as text, which the server reads as whatever type the statement wants there.
//!
//! So an integer fits a `smallint`, a `numeric` and a `text`, a UUID given as text fits a `uuid`, and what does not fit is told
//! by the server in its own words. Only bytes go as they are.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use crate::sql::{SqlError, Value};

/// A parameter that has a text, or is bytes or null.
#[derive(Debug)]
pub(super) struct Parameter<'a>(&'a Value);

/// Checks parameters against what the statement takes.
///
/// # Errors
/// Their number differs, or one is nothing that can be sent.
pub(super) fn parameters<'a>(wanted: &[Type], given: &'a [Value]) -> Result<Vec<Parameter<'a>>, SqlError> {
    if wanted.len() != given.len() {
        let (wanted, given) = (wanted.len(), given.len());
        return Err(SqlError::Parameter(format!("the statement has {wanted} parameters, and there are {given}")));
    }
    let mut parameters = Vec::with_capacity(given.len());
    for (place, value) in given.iter().enumerate() {
        if !matches!(value, Value::Null) && value.to_text().is_none() {
            let (number, what) = (place + 1, value.what());
            return Err(SqlError::Parameter(format!(
                "parameter {number} is {what}, which cannot be sent; give it as text"
            )));
        }
        parameters.push(Parameter(value));
    }
    Ok(parameters)
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bytes(bytes) if *wanted == Type::BYTEA => out.put_slice(bytes),
            other => out.put_slice(other.to_text().unwrap_or_default().as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(wanted, out)
    }

    fn encode_format(&self, wanted: &Type) -> Format {
        if matches!(self.0, Value::Bytes(_)) && *wanted == Type::BYTEA { Format::Binary } else { Format::Text }
    }
}
