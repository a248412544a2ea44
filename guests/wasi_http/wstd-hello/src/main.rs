//! A `wstd` server. As a program with a `main` it exports `wasi:cli/run` too, so the trigger must choose what it is.

use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    match request.uri().path() {
        "/" => Ok(Response::new("Hello, wstd!\n".to_owned().into())),
        "/echo" => Ok(Response::new(request.into_body())),
        "/wait" => {
            wstd::task::sleep(wstd::time::Duration::from_millis(100)).await;
            Ok(Response::new("waited\n".to_owned().into()))
        }
        _ => Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty())?),
    }
}
