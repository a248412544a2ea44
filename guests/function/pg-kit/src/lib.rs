//! Functions over `wasmcloud:postgres@0.1.1-draft`, as a component of wasmCloud 1.x imports it. Each says in words what the host
//! answered; what they do is written in `wit/kit.wit`.

use wasmcloud::postgres::{
    prepared::{exec, prepare},
    query::{query, query_batch},
    types::{Date, Offset, PgValue, ResultRow, Time, Timestamp, TimestampTz},
};

wit_bindgen::generate!({ world: "pg-kit", path: "wit", generate_all });

struct Kit;

export!(Kit);

impl Guest for Kit {
    fn run(statements: Vec<String>) -> Vec<String> {
        statements.iter().flat_map(|statement| told(query(statement, &[]))).collect()
    }

    fn ask(statement: String, kind: String, value: String) -> Vec<String> {
        told(query(&statement, &[parameter(&kind, value)]))
    }

    fn batch(statements: String) -> String {
        format!("{:?}", query_batch(&statements))
    }

    fn repeat(statement: String, values: Vec<i32>) -> Vec<String> {
        match prepare(&statement) {
            Ok(token) => {
                values.into_iter().map(|value| format!("{:?}", exec(&token, &[PgValue::Int4(value)]))).collect()
            }
            Err(error) => vec![format!("{error:?}")],
        }
    }

    fn guess(token: String) -> String {
        format!("{:?}", exec(&token, &[]))
    }
}

fn told<E: std::fmt::Debug>(answer: Result<Vec<ResultRow>, E>) -> Vec<String> {
    let entry = |(name, value): (&str, &PgValue)| format!("{name}={value:?}");
    match answer {
        Ok(rows) => rows
            .iter()
            .map(|row| row.iter().map(|cell| entry((&cell.column_name, &cell.value))).collect::<Vec<_>>().join(" "))
            .collect(),
        Err(error) => vec![format!("{error:?}")],
    }
}

fn parameter(kind: &str, value: String) -> PgValue {
    let noon = Timestamp { date: Date::Ymd((2024, 2, 29)), time: Time { hour: 12, min: 0, sec: 0, micro: 7 } };
    match kind {
        "int2" => PgValue::Int2(value.parse().unwrap()),
        "int4" => PgValue::Int4(value.parse().unwrap()),
        "int8" => PgValue::Int8(value.parse().unwrap()),
        "bool" => PgValue::Bool(value == "true"),
        // One and a half.
        "float8" => PgValue::Float8((3 << 51, -52, 1)),
        "numeric" => PgValue::Numeric(value),
        "varchar" => PgValue::Varchar((None, value.into_bytes())),
        "bytea" => PgValue::Bytea(value.into_bytes()),
        "uuid" => PgValue::Uuid(value),
        "jsonb" => PgValue::Jsonb(value),
        "date" => PgValue::Date(noon.date),
        "timestamp" => PgValue::Timestamp(noon),
        "timestamp-tz" => {
            PgValue::TimestampTz(TimestampTz { timestamp: noon, offset: Offset::EasternHemisphereSecs(3600) })
        }
        "int4-array" => PgValue::Int4Array(value.split(',').map(|number| number.parse().unwrap()).collect()),
        "text-array" => PgValue::TextArray(value.split(',').map(str::to_owned).collect()),
        "null" => PgValue::Null,
        "point" => PgValue::Point(((1, 0, 1), (1, 0, 1))),
        _ => PgValue::Text(value),
    }
}
