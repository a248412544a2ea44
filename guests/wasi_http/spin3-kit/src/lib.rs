//! A Spin component of the SDK 3, built for wasm32-wasip1 as `spin build` does: a core module with its component type in a
//! custom section. One path for each thing the SDK gives:
//!
//!   GET|PUT|DELETE /kv/STORE/KEY    GET /keys/STORE    GET /var/NAME    GET /count/STORE/KEY
//!   POST /sqlite/DATABASE           the body is a statement; answers its columns and rows, one line each
//!   POST /session/DATABASE          the same on one connection for each line of the body; `error` before what failed
//!   POST /sessions/DATABASE         the body on each of two connections   POST /redis-many?ADDRESS    opens until it is refused
//!   POST /redis?ADDRESS             lines `set K V`, `get K`, `incr K`, `publish C P`, `sadd K V`, `smembers K`, `del K`
//!   POST /pg?ADDRESS                each line of the body is a statement; by `spin:postgres@3.0.0`
//!   POST /pg2?ADDRESS               the same by `fermyon:spin/postgres@2.0.0`
//!   POST /mysql?ADDRESS   POST /mqtt?ADDRESS   POST /llm   GET /embeddings     the same of what needs a server or a model
use anyhow::{Result, anyhow};
use spin_sdk::{
    http::{IntoResponse, Method, Request, Response},
    http_component,
    key_value::Store,
    llm, mqtt, mysql, pg, pg3, redis,
    sqlite::{self, Value},
    variables,
};

#[http_component]
fn handle(request: Request) -> Result<impl IntoResponse> {
    let (status, body) = match answer(&request) {
        Ok(Some(body)) => (200, body),
        Ok(None) => (404, b"nothing there\n".to_vec()),
        Err(error) => (500, format!("{error}\n").into_bytes()),
    };
    Ok(Response::builder().status(status).body(body).build())
}

fn answer(request: &Request) -> Result<Option<Vec<u8>>> {
    let body = String::from_utf8_lossy(request.body()).into_owned();
    let path = request.path().trim_start_matches('/').to_owned();
    let parts: Vec<&str> = path.splitn(3, '/').collect();
    match parts.as_slice() {
        ["kv", store, key] => {
            let store = Store::open(store)?;
            match request.method() {
                Method::Get => Ok(store.get(key)?),
                Method::Put => store.set(key, request.body()).map(|()| Some(Vec::new())).map_err(Into::into),
                Method::Delete => store.delete(key).map(|()| Some(Vec::new())).map_err(Into::into),
                Method::Head => Ok(store.exists(key)?.then(Vec::new)),
                _ => Err(anyhow!("no such method")),
            }
        }
        ["count", store, key] => {
            let store = Store::open(store)?;
            let before =
                store.get(key)?.and_then(|text| String::from_utf8(text).ok()?.parse::<u64>().ok()).unwrap_or(0);
            store.set(key, (before + 1).to_string().as_bytes())?;
            Ok(Some(format!("{}\n", before + 1).into_bytes()))
        }
        ["keys", store] => Ok(Some(lines(Store::open(store)?.get_keys()?))),
        ["var", name] => Ok(Some(format!("{}\n", variables::get(name)?).into_bytes())),
        ["sqlite", database] => {
            let connection = sqlite::Connection::open(database)?;
            Ok(Some(lines(told(connection.execute(&body, &[])?))))
        }
        ["session", database] => {
            let connection = sqlite::Connection::open(database)?;
            let said = body.lines().flat_map(|statement| match connection.execute(statement, &[]) {
                Ok(result) => told(result),
                Err(error) => vec![format!("error {error}")],
            });
            Ok(Some(lines(said.collect())))
        }
        ["sessions", database] => {
            let (one, other) = (sqlite::Connection::open(database)?, sqlite::Connection::open(database)?);
            one.execute(&body, &[])?;
            other.execute(&body, &[])?;
            Ok(Some(Vec::new()))
        }
        ["redis-many"] => {
            let mut open = Vec::new();
            loop {
                open.push(redis::Connection::open(request.query()).map_err(|error| anyhow!("{error:?}"))?);
            }
        }
        ["redis"] => {
            let connection = redis::Connection::open(request.query()).map_err(|error| anyhow!("{error:?}"))?;
            let mut out = Vec::new();
            for line in body.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let said = match words.as_slice() {
                    ["set", key, value] => connection.set(key, &value.as_bytes().to_vec()).map(|()| "OK".to_owned()),
                    ["get", key] => connection.get(key).map(|value| {
                        value.map_or("nil".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
                    }),
                    ["incr", key] => connection.incr(key).map(|number| number.to_string()),
                    ["publish", channel, payload] => {
                        connection.publish(channel, &payload.as_bytes().to_vec()).map(|()| "OK".to_owned())
                    }
                    ["sadd", key, value] => connection.sadd(key, &[value.to_string()]).map(|n| n.to_string()),
                    ["smembers", key] => connection.smembers(key).map(|members| members.join(" ")),
                    ["del", key] => connection.del(&[key.to_string()]).map(|n| n.to_string()),
                    ["execute", command, arguments @ ..] => {
                        let arguments: Vec<_> = arguments
                            .iter()
                            .map(|word| redis::RedisParameter::Binary(word.as_bytes().to_vec()))
                            .collect();
                        connection.execute(command, &arguments).map(|results| format!("{results:?}"))
                    }
                    _ => return Err(anyhow!("cannot read `{line}`")),
                };
                out.push(said.unwrap_or_else(|error| format!("error {error:?}")));
            }
            Ok(Some(lines(out)))
        }
        ["pg"] => {
            let connection = pg3::Connection::open(request.query())?;
            let said = body.lines().flat_map(|statement| match connection.query(statement, &[]) {
                Ok(result) => {
                    let names = result.columns.iter().map(|column| format!("{}:{:?}", column.name, column.data_type));
                    table(names, result.rows)
                }
                Err(error) => vec![format!("error {error:?}")],
            });
            Ok(Some(lines(said.collect())))
        }
        ["pg2"] => {
            let connection = pg::Connection::open(request.query())?;
            let said = body.lines().flat_map(|statement| match connection.query(statement, &[]) {
                Ok(result) => {
                    let names = result.columns.iter().map(|column| format!("{}:{:?}", column.name, column.data_type));
                    table(names, result.rows)
                }
                Err(error) => vec![format!("error {error:?}")],
            });
            Ok(Some(lines(said.collect())))
        }
        ["mysql"] => {
            let connection = mysql::Connection::open(request.query())?;
            connection.execute(&body, &[])?;
            Ok(Some(Vec::new()))
        }
        ["mqtt"] => {
            let connection = mqtt::Connection::open(request.query(), "user", "password", 30)?;
            connection.publish("topic", &body.into_bytes(), mqtt::Qos::AtLeastOnce)?;
            Ok(Some(Vec::new()))
        }
        ["llm"] => Ok(Some(llm::infer(llm::InferencingModel::Llama2Chat, &body)?.text.into_bytes())),
        ["embeddings"] => {
            let all = llm::generate_embeddings(llm::EmbeddingModel::AllMiniLmL6V2, &["apple".to_owned()])?;
            Ok(Some(format!("{}\n", all.embeddings.len()).into_bytes()))
        }
        _ => Ok(None),
    }
}

/// The names of the columns and the rows.
fn told(result: sqlite::QueryResult) -> Vec<String> {
    let mut out = vec![result.columns.join(" ")];
    for row in &result.rows {
        let cells = row.values.iter().map(|value| match value {
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::Blob(bytes) => format!("{bytes:?}"),
            Value::Null => "null".to_owned(),
        });
        out.push(cells.collect::<Vec<_>>().join(" "));
    }
    out
}

fn table(names: impl Iterator<Item = String>, rows: Vec<Vec<impl std::fmt::Debug>>) -> Vec<String> {
    let mut out = vec![names.collect::<Vec<_>>().join(" ")];
    out.extend(rows.iter().map(|row| row.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" ")));
    out
}

fn lines(all: Vec<String>) -> Vec<u8> {
    all.into_iter().map(|line| line + "\n").collect::<String>().into_bytes()
}
