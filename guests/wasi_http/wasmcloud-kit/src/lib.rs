//! A component of wasmCloud 1.x, on its own library: an HTTP handler and a handler of messages.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET`, `PUT`, `DELETE /kv/STORE/KEY`, `POST /kv/STORE/KEY` | reads, writes, deletes a value; adds 1 |
//! | `GET /config/KEY` | one configuration value |
//! | `POST /log/LEVEL` | logs the body |
//! | `PUT`, `GET`, `DELETE /blob/CONTAINER/NAME`, `GET /blob/CONTAINER` | writes, reads, deletes an object; lists them |
//! | `PUT`, `DELETE /container/NAME`, `HEAD /container/NAME` | makes, deletes a container, asks whether it is there |
//! | `POST /publish/SUBJECT`, `POST /request/SUBJECT` | sends the body as a message; waits for the answer |
//!
//! A message to `fail` fails, one to any other subject is written to the store `default` under its subject and, if an answer
//! is expected, answered with its own body in upper case.

use std::io;

use reply::{Target, read_pieces, start};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam};
use wasmcloud_component::{
    wasi::{
        blobstore::{blobstore, types::{IncomingValue, OutgoingValue}},
        config::store as config,
        keyvalue::{atomics, store},
        logging::logging::{Level, log},
    },
    wasmcloud::messaging::{consumer, types::BrokerMessage},
};

mod subscriber {
    wit_bindgen::generate!({ world: "samara:wasmcloud-kit/subscriber", path: "wit", generate_all });
    use super::Kit;
    export!(Kit);
}

/// The most bytes of a request that are kept.
const BODY_LIMIT: usize = 16 << 20;

struct Kit;

impl Guest for Kit {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        if let Err(error) = respond(&request, out) {
            eprintln!("the client went away: {error}");
        }
    }
}

wasip2::http::proxy::export!(Kit);

impl subscriber::exports::wasmcloud::messaging::handler::Guest for Kit {
    fn handle_message(message: subscriber::wasmcloud::messaging::types::BrokerMessage) -> Result<(), String> {
        if message.subject.ends_with("fail") {
            return Err("told to fail".to_owned());
        }
        log(Level::Info, "message", &format!("{} bytes on {}", message.body.len(), message.subject));
        let bucket = store::open("default").map_err(|error| format!("{error:?}"))?;
        bucket.set(&message.subject, &message.body).map_err(|error| format!("{error:?}"))?;
        if let Some(subject) = message.reply_to {
            let body = message.body.to_ascii_uppercase();
            consumer::publish(&BrokerMessage { subject, body, reply_to: None })?;
        }
        Ok(())
    }
}

type Answer = Result<(u16, Vec<u8>), String>;

fn respond(request: &IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let target = Target::of(request);
    let mut body = Vec::new();
    let incoming = request.consume().map_err(|()| io::Error::other("the body was taken"))?;
    read_pieces(incoming, |piece| {
        if body.len() + piece.len() > BODY_LIMIT {
            return Err(io::Error::other("the body is too large"));
        }
        body.extend_from_slice(piece);
        Ok(())
    })?;
    let (status, said) = match answer(&request.method(), target.segments().as_slice(), &body) {
        Ok(said) => said,
        Err(error) => (502, format!("{error}\n").into_bytes()),
    };
    let mut body = start(out, status, &[("content-type", "text/plain; charset=utf-8")])?;
    body.write(&said)?;
    body.finish(None)
}

fn answer(method: &Method, path: &[&str], body: &[u8]) -> Answer {
    let found = |value: Option<Vec<u8>>| value.map_or((404, Vec::new()), |value| (200, value));
    match (method, path) {
        (_, ["kv", name, key]) => {
            let said = |error: store::Error| format!("{error:?}");
            let bucket = store::open(name).map_err(said)?;
            match method {
                Method::Get => bucket.get(key).map(found).map_err(said),
                Method::Put => bucket.set(key, body).map(|()| (200, Vec::new())).map_err(said),
                Method::Delete => bucket.delete(key).map(|()| (200, Vec::new())).map_err(said),
                Method::Post => {
                    atomics::increment(&bucket, key, 1).map(|sum| (200, format!("{sum}\n").into_bytes())).map_err(said)
                }
                _ => Ok((405, Vec::new())),
            }
        }
        (Method::Get, ["config", key]) => {
            config::get(key).map(|value| found(value.map(String::into_bytes))).map_err(|error| format!("{error:?}"))
        }
        (Method::Post, ["log", level]) => {
            let level = match *level {
                "debug" => Level::Debug,
                "warn" => Level::Warn,
                "error" => Level::Error,
                "critical" => Level::Critical,
                _ => Level::Info,
            };
            log(level, "kit", &String::from_utf8_lossy(body));
            Ok((200, Vec::new()))
        }
        (Method::Put, ["container", name]) => blobstore::create_container(&name.to_string()).map(|_| (200, Vec::new())),
        (Method::Delete, ["container", name]) => blobstore::delete_container(&name.to_string()).map(|()| (200, Vec::new())),
        (Method::Head, ["container", name]) => {
            blobstore::container_exists(&name.to_string()).map(|there| (if there { 200 } else { 404 }, Vec::new()))
        }
        (Method::Get, ["blob", container]) => {
            let listed = blobstore::get_container(&container.to_string())?.list_objects()?;
            let mut out = String::new();
            loop {
                let (names, end) = listed.read_stream_object_names(100)?;
                names.iter().for_each(|name| out.push_str(&format!("{name}\n")));
                if end {
                    return Ok((200, out.into_bytes()));
                }
            }
        }
        (_, ["blob", container, name]) => {
            let container = blobstore::get_container(&container.to_string())?;
            match method {
                Method::Put => {
                    let value = OutgoingValue::new_outgoing_value();
                    let stream = value.outgoing_value_write_body().map_err(|()| "no stream")?;
                    container.write_data(&name.to_string(), &value)?;
                    for chunk in body.chunks(4096) {
                        stream.blocking_write_and_flush(chunk).map_err(|error| format!("{error:?}"))?;
                    }
                    drop(stream);
                    OutgoingValue::finish(value)?;
                    Ok((200, Vec::new()))
                }
                Method::Get => {
                    if !container.has_object(&name.to_string())? {
                        return Ok((404, Vec::new()));
                    }
                    let info = container.object_info(&name.to_string())?;
                    let value = container.get_data(&name.to_string(), 0, info.size)?;
                    Ok((200, IncomingValue::incoming_value_consume_sync(value)?))
                }
                Method::Delete => container.delete_object(&name.to_string()).map(|()| (200, Vec::new())),
                _ => Ok((405, Vec::new())),
            }
        }
        (Method::Post, ["publish", subject]) => {
            let message = BrokerMessage { subject: (*subject).to_owned(), body: body.to_vec(), reply_to: None };
            consumer::publish(&message).map(|()| (200, Vec::new()))
        }
        (Method::Post, ["request", subject]) => {
            consumer::request(subject, body, 2000).map(|message| (200, message.body))
        }
        _ => Ok((404, b"no such path\n".to_vec())),
    }
}
