//! The ceiling of `wasi:http` on this engine: hyper, a fresh instance per request from the same pool, and nothing else: no
//! routing, no admission, no quota, no limit, no accounting, no time-outs, no trace. `ceiling ADDRESS COMPONENT`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use samara_runtime::{CodeKind, EngineKey, Engines, PoolSize};
use samara_telemetry::Gauge;
use tokio::{net::TcpListener, sync::oneshot};
use wasmtime::{
    Engine, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
    p2::{
        bindings::{ProxyPre, http::types::Scheme},
        body::HyperOutgoingBody,
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
}

struct NoRequests;

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Sent,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Sent), Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: ceiling ADDRESS COMPONENT");
    };
    let address: SocketAddr = address.parse().with_context(|| format!("`{address}` is not an address"))?;
    let key = EngineKey { code: CodeKind::default(), pooled: true };
    let engine = Engines::new(PoolSize::of_this_machine(None), Gauge::default()).get(key)?.engine.clone();
    let proxy = Arc::new(load(&engine, &path).map_err(|error| anyhow::anyhow!("{error:#}"))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind(address).await.with_context(|| format!("binding {address}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let proxy = Arc::clone(&proxy);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| answer(Arc::clone(&proxy), request));
                // A client that leaves is the end of a benchmark.
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

fn load(engine: &Engine, path: &str) -> wasmtime::Result<ProxyPre<Guest>> {
    let component = Component::from_file(engine, path)?;
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    ProxyPre::new(linker.instantiate_pre(&component)?)
}

async fn answer(
    proxy: Arc<ProxyPre<Guest>>,
    request: Request<Incoming>,
) -> Result<http::Response<HyperOutgoingBody>, std::io::Error> {
    let (sender, receiver) = oneshot::channel();
    let guest = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        let guest = Guest {
            table: ResourceTable::new(),
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            hooks: NoRequests,
        };
        async move {
            let mut store = Store::new(proxy.engine(), guest);
            // The code checks an epoch that never moves here.
            store.set_epoch_deadline(u64::MAX / 2);
            let request = request.map(|body| body.map_err(|_| Error::ConnectionTerminated).boxed_unsync());
            let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
            let out = store.data_mut().http().new_response_outparam(sender)?;
            let instance = proxy.instantiate_async(&mut store).await?;
            instance.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        }
    });
    match receiver.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(code)) => Err(std::io::Error::other(format!("the guest answered with {code:?}"))),
        Err(_) => Err(std::io::Error::other(format!("no answer: {:?}", guest.await))),
    }
}
