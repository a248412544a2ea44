//! Runs a command to its end and finds its exit code.

use async_trait::async_trait;
use samara_model::{Call, Reply};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};
use wasmtime_wasi::I32Exit;

/// A preview 1 module.
pub(super) struct Preview1(pub(super) wasmtime::InstancePre<Guest>);
/// A 0.2 component.
pub(super) struct Preview2(pub(super) wasmtime_wasi::p2::bindings::CommandPre<Guest>);
/// A 0.3 component.
pub(super) struct Preview3(pub(super) wasmtime_wasi::p3::bindings::CommandPre<Guest>);

#[async_trait]
impl Ready for Preview1 {
    async fn serve(&self, live: &mut Live, _call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let ran = async {
            let instance = instantiating(self.0.instantiate_async(&mut live.store)).await?;
            let start = instance.get_typed_func::<(), ()>(&mut live.store, "_start")?;
            trace::to_guest("_start", format_args!(""));
            start.call_async(&mut live.store, ()).await
        };
        finish(ran.await.map(|()| 0), reply)
    }
}

#[async_trait]
impl Ready for Preview2 {
    async fn serve(&self, live: &mut Live, _call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let ran = async {
            let command = instantiating(self.0.instantiate_async(&mut live.store)).await?;
            trace::to_guest("wasi:cli/run@0.2#run", format_args!(""));
            command.wasi_cli_run().call_run(&mut live.store).await
        };
        finish(ran.await.map(exit_code), reply)
    }
}

#[async_trait]
impl Ready for Preview3 {
    async fn serve(&self, live: &mut Live, _call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let ran = async {
            let command = instantiating(self.0.instantiate_async(&mut live.store)).await?;
            trace::to_guest("wasi:cli/run@0.3#run", format_args!(""));
            live.store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await?
        };
        finish(ran.await.map(exit_code), reply)
    }
}

fn exit_code(result: Result<(), ()>) -> i32 {
    if result.is_ok() { 0 } else { 1 }
}

/// An exit is an error to the engine and a reply to us. A command is spent after one run.
fn finish(ran: wasmtime::Result<i32>, reply: ReplyTo) -> Result<After, Failure> {
    let code = match ran {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => return Err(error.into()),
        },
    };
    trace::from_guest(format_args!("exit {code}"));
    reply.send(Reply::Exit(code));
    Ok(After::Discard)
}
