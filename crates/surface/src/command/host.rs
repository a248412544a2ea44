//! A running host by its admin address, asked from the command line: one client, and one wording of what goes wrong.

use std::{fmt, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::admin::Token;

/// Bytes of an answer: room for the metrics of 10,000 workloads.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A running host.
#[derive(Debug)]
pub(super) struct Host {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Host {
    /// A host by its admin address, `127.0.0.1:9090` or `http://...`.
    pub(super) fn new(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    /// What it answers to a question that changes nothing.
    ///
    /// # Errors
    /// Nobody answers there in time, or not with what was asked for.
    pub(super) async fn get(&self, path: &str, patience: Duration) -> anyhow::Result<Bytes> {
        self.ask(&Method::GET, path, Bytes::new(), None, patience).await
    }

    /// What it answers to a request, with the token that changes need.
    ///
    /// # Errors
    /// Nobody answers there in time, or it refuses: then in its own words.
    pub(super) async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        token: Option<&Token>,
        patience: Duration,
    ) -> anyhow::Result<Bytes> {
        let address = &self.address;
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        let request = request
            .body(Full::new(body))
            .with_context(|| format!("`{address}` is not an address; write `127.0.0.1:9090`"))?;
        let asked = async {
            let response = self.client.request(request).await.with_context(|| {
                format!(
                    "no host answers at `{address}`; start one with `samara serve`, or name the admin address that it printed with `--admin`"
                )
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow!("reading the answer of `{address}`: {error}"))?.to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            match problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()) {
                Some(detail) => bail!("{detail}"),
                None => bail!("`{address}` answers {status}; is it the admin address of a samara?"),
            }
        };
        let late =
            |_| anyhow!("`{address}` does not answer within {} seconds; its log says what it does", patience.as_secs());
        tokio::time::timeout(patience, asked).await.map_err(late)?
    }
}
