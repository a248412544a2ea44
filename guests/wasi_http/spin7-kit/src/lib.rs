//! A Spin component of the SDK 7, whose calls are async. The same paths as `spin3-kit`:
//!
//!   GET|PUT|DELETE /kv/STORE/KEY    GET /keys/STORE    GET /var/NAME    GET /count/STORE/KEY
//!   POST /sqlite/DATABASE           the body is a statement; answers its columns and rows, one line each
//!   POST /session/DATABASE          the same on one connection for each line of the body; `error` before what failed
//!   POST /sessions/DATABASE         the body on each of two connections   POST /redis-many?ADDRESS    opens until it is refused
//!   POST /redis?ADDRESS             lines `set K V`, `get K`, `incr K`, `publish C P`, `sadd K V`, `smembers K`, `del K`
//!   POST /pg?ADDRESS                each line of the body is a statement; by `spin:postgres@4.2.0`
//!   POST /mysql?ADDRESS   POST /mqtt?ADDRESS   POST /llm   GET /embeddings     the same of what needs a server or a model
use spin_sdk::{
    http::{IntoResponse, Method, Request, Response, body::IncomingBodyExt},
    http_service,
    key_value::Store,
    llm, mqtt, mysql, pg, redis,
    sqlite::{self, Value},
    variables,
};

type Answer = Result<Option<Vec<u8>>, String>;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let Ok(body) = body.bytes().await else { return Response::builder().status(400).body(String::new()).unwrap() };
    let (status, body) = match answer(&head.method, &head.uri, &body).await {
        Ok(Some(body)) => (200, body),
        Ok(None) => (404, b"nothing there\n".to_vec()),
        Err(error) => (500, format!("{error}\n").into_bytes()),
    };
    Response::builder().status(status).body(String::from_utf8_lossy(&body).into_owned()).unwrap()
}

async fn answer(method: &Method, uri: &spin_sdk::http::Uri, body: &[u8]) -> Answer {
    let said = |error: spin_sdk::key_value::Error| format!("{error:?}");
    let text = String::from_utf8_lossy(body).into_owned();
    let parts: Vec<&str> = uri.path().trim_start_matches('/').splitn(3, '/').collect();
    match parts.as_slice() {
        ["kv", store, key] => {
            let store = Store::open(store).await.map_err(said)?;
            match method.as_str() {
                "GET" => store.get(key).await.map_err(said),
                "PUT" => store.set(key, body).await.map(|()| Some(Vec::new())).map_err(said),
                "DELETE" => store.delete(key).await.map(|()| Some(Vec::new())).map_err(said),
                "HEAD" => Ok(store.exists(key).await.map_err(said)?.then(Vec::new)),
                _ => Err("no such method".to_owned()),
            }
        }
        ["count", store, key] => {
            let store = Store::open(store).await.map_err(said)?;
            let before = store.get(key).await.map_err(said)?;
            let before = before.and_then(|text| String::from_utf8(text).ok()?.parse::<u64>().ok()).unwrap_or(0);
            store.set(key, (before + 1).to_string()).await.map_err(said)?;
            Ok(Some(format!("{}\n", before + 1).into_bytes()))
        }
        ["keys", store] => {
            let keys = Store::open(store).await.map_err(said)?.get_keys().await.collect().await.map_err(said)?;
            Ok(Some(lines(keys)))
        }
        ["var", name] => {
            let value = variables::get(name).await.map_err(|error| format!("{error:?}"))?;
            Ok(Some(format!("{value}\n").into_bytes()))
        }
        ["sqlite", database] => {
            let said = |error: sqlite::Error| format!("{error:?}");
            let connection = sqlite::Connection::open(database).await.map_err(said)?;
            Ok(Some(lines(told(&connection, text).await.map_err(said)?)))
        }
        ["session", database] => {
            let connection = sqlite::Connection::open(database).await.map_err(|error| format!("{error:?}"))?;
            let mut out = Vec::new();
            for statement in text.lines() {
                match told(&connection, statement.to_owned()).await {
                    Ok(rows) => out.extend(rows),
                    Err(error) => out.push(format!("error {error:?}")),
                }
            }
            Ok(Some(lines(out)))
        }
        ["sessions", database] => {
            let said = |error: sqlite::Error| format!("{error:?}");
            let one = sqlite::Connection::open(database).await.map_err(said)?;
            let other = sqlite::Connection::open(database).await.map_err(said)?;
            told(&one, text.clone()).await.map_err(said)?;
            told(&other, text).await.map_err(said)?;
            Ok(Some(Vec::new()))
        }
        ["redis-many"] => {
            let (address, mut open) = (uri.query().unwrap_or_default(), Vec::new());
            loop {
                open.push(redis::Connection::open(address).await.map_err(|error| format!("{error:?}"))?);
            }
        }
        ["redis"] => {
            let connection = redis::Connection::open(uri.query().unwrap_or_default());
            let connection = connection.await.map_err(|error| format!("{error:?}"))?;
            let mut out = Vec::new();
            for line in text.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let said = match words.as_slice() {
                    ["set", key, value] => connection.set(key, value).await.map(|()| "OK".to_owned()),
                    ["get", key] => connection.get(key).await.map(|value| {
                        value.map_or("nil".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
                    }),
                    ["incr", key] => connection.incr(key).await.map(|number| number.to_string()),
                    ["publish", channel, payload] => {
                        connection.publish(channel, payload).await.map(|()| "OK".to_owned())
                    }
                    ["sadd", key, value] => connection.sadd(key, [*value]).await.map(|n| n.to_string()),
                    ["smembers", key] => connection.smembers(key).await.map(|members| members.join(" ")),
                    ["del", key] => connection.del([*key]).await.map(|n| n.to_string()),
                    _ => return Err(format!("cannot read `{line}`")),
                };
                out.push(said.unwrap_or_else(|error| format!("error {error:?}")));
            }
            Ok(Some(lines(out)))
        }
        ["pg"] => {
            let connection = pg::Connection::open(uri.query().unwrap_or_default());
            let connection = connection.await.map_err(|error| format!("{error:?}"))?;
            let mut out = Vec::new();
            for statement in text.lines() {
                match table(&connection, statement.to_owned()).await {
                    Ok(rows) => out.extend(rows),
                    Err(error) => out.push(format!("error {error:?}")),
                }
            }
            Ok(Some(lines(out)))
        }
        ["mysql"] => {
            let said = |error: mysql::Error| format!("{error:?}");
            let connection = mysql::Connection::open(uri.query().unwrap_or_default()).await;
            connection.map_err(|error| format!("{error:?}"))?.execute(text, Vec::new()).await.map_err(said)?;
            Ok(Some(Vec::new()))
        }
        ["mqtt"] => {
            let said = |error: mqtt::Error| format!("{error:?}");
            let address = uri.query().unwrap_or_default();
            let connection = mqtt::Connection::open(address, "user", "password", 30).await.map_err(said)?;
            connection.publish("topic", body.to_vec(), mqtt::Qos::AtLeastOnce).await.map_err(said)?;
            Ok(Some(Vec::new()))
        }
        ["llm"] => {
            let said = llm::infer(llm::InferencingModel::Llama2Chat, &text).map_err(|error| format!("{error:?}"))?;
            Ok(Some(said.text.into_bytes()))
        }
        ["embeddings"] => {
            let all = llm::generate_embeddings(llm::EmbeddingModel::AllMiniLmL6V2, &["apple".to_owned()]);
            Ok(Some(format!("{}\n", all.map_err(|error| format!("{error:?}"))?.embeddings.len()).into_bytes()))
        }
        _ => Ok(None),
    }
}

/// The names of the columns and the rows of a statement of SQLite.
async fn told(connection: &sqlite::Connection, statement: String) -> Result<Vec<String>, sqlite::Error> {
    let result = connection.execute(statement, Vec::<Value>::new()).await?;
    let mut out = vec![result.columns().join(" ")];
    for row in result.collect().await? {
        let cells = row.values.iter().map(|value| match value {
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::Blob(bytes) => format!("{bytes:?}"),
            Value::Null => "null".to_owned(),
        });
        out.push(cells.collect::<Vec<_>>().join(" "));
    }
    Ok(out)
}

/// The names and kinds of the columns, and the rows, of a statement of PostgreSQL.
async fn table(connection: &pg::Connection, statement: String) -> Result<Vec<String>, pg::Error> {
    let result = connection.query(statement, &[]).await?;
    let names: Vec<_> = result.columns().iter().map(|one| format!("{}:{:?}", one.name, one.data_type)).collect();
    let mut out = vec![names.join(" ")];
    for row in result.collect().await? {
        let cells = (0..names.len()).map(|index| format!("{:?}", row[index]));
        out.push(cells.collect::<Vec<_>>().join(" "));
    }
    Ok(out)
}

fn lines(all: Vec<String>) -> Vec<u8> {
    all.into_iter().map(|line| line + "\n").collect::<String>().into_bytes()
}
