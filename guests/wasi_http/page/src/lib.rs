//! The page of `examples/hello`: one HTML file, whose buttons call the other workloads of the app.

use reply::start;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

const PAGE: &str = include_str!("../page.html");

/// The page brings its own style and script and talks to nobody but the app.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'";

struct Page;

impl Guest for Page {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let headers = [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("content-security-policy", POLICY),
        ];
        let sent = start(out, 200, &headers).and_then(|mut body| {
            body.write(PAGE.as_bytes())?;
            body.finish(None)
        });
        if let Err(error) = sent {
            eprintln!("the client went away: {error}");
        }
    }
}

wasip2::http::proxy::export!(Page);
