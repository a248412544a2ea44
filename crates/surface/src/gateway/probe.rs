//! One request that comes from us: how a new version is tried before clients reach it.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use samara_model::{Caller, Fault, RouteTable, manifest::Canary};

use super::{
    site::Site,
    target::{Backing, Routes},
};

/// How long the answer may take when the workload's own deadline is longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the answer that are read; one that is longer has shown that it works.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Asks these routes as a client would, and reads the answer to its end.
///
/// # Errors
/// What a client would have been told, with the reason that only the log has otherwise: no route, a fault of the guest, a
/// body that broke off, or no end within `PATIENCE`.
pub async fn probe(routes: RouteTable<Backing>, canary: &Canary) -> Result<StatusCode, Fault> {
    let host = canary.host.as_deref().unwrap_or("localhost");
    let request = Request::get(format!("http://{host}{}", canary.path))
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("samara/", env!("CARGO_PKG_VERSION"), " (canary)"))
        .body(())
        .map_err(|error| Fault::Config(format!("`{}` cannot be asked for: {error}", canary.path)))?;
    let (parts, ()) = request.into_parts();
    let site = Arc::new(Site {
        routes: Routes::new(routes),
        body_timeout: PATIENCE,
        header_fields: usize::MAX,
        observer: None,
        redirect: None,
    });
    let asked = async {
        let response = site.ask(parts, samara_model::empty(), Caller::default()).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut read = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::Guest(format!("its body broke off: {error}")))?;
            read = read.saturating_add(frame.data_ref().map_or(0, bytes::Bytes::len));
            if read > MAX_BODY_BYTES {
                break;
            }
        }
        Ok(status)
    };
    let late = || Fault::Guest(format!("no answer within {} seconds", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| late())?
}
