//! HTTP for workloads that are commands: the Common Gateway Interface, RFC 3875.
//!
//! The request is in the environment and on standard input; standard output is a head of CGI fields, a blank line and
//! the body, which streams. As in WAGI, the environment also has `X_FULL_URL`, `X_MATCHED_ROUTE` and `X_RAW_PATH_INFO`,
//! and the arguments are the query's pairs.
//!
//! Not passed on: `Authorization` and `Proxy-Authorization` (RFC 3875, 9.2), `Proxy`, which would become `HTTP_PROXY` and
//! send the guest's own requests elsewhere (CVE-2016-5385), headers with `_`, which would pose as others, and arguments
//! that start with `-`, which would be options of an interpreter (CVE-2012-1823).

mod environment;
mod head;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, channel::mpsc, future::BoxFuture};
use http::{Response, request::Parts};
use http_body::Frame;
use http_body_util::BodyExt;
use samara_model::{
    Body, BodyError, Call, Caller, Command, Fault, Reply, Sink, SinkClosed, Stdio, WorkloadId, format_bytes,
};

use super::{function::Params, target::Destination};

/// Bytes of a head; a guest that writes more without a blank line is not speaking CGI.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Chunks of output that wait for the client before the guest does.
const CHUNKS: usize = 4;

/// What a script answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// A response to send.
    Response(Response<Body>),
    /// A path, perhaps with a query, whose response is to be sent instead (RFC 3875, 6.2.2).
    Elsewhere(String),
}

/// Answers one request.
///
/// # Errors
/// The guest failed or did not speak CGI.
pub(super) async fn answer(
    destination: &Destination,
    parts: &Parts,
    body: Body,
    caller: &Caller,
    pattern: &str,
    params: &Params,
) -> Result<Answer, Fault> {
    let (mut args, env) = environment::of(parts, &body, caller, pattern, params);
    // What the manifest says comes first, as it would on a command line.
    args.splice(1..1, destination.args.iter().cloned());
    let (sender, mut stdout) = mpsc::channel(CHUNKS);
    let stdio = Stdio::Piped { stdin: body, stdout: Box::new(Output(sender)) };
    let mut call = destination.target.answer(Call::Command(Command { args, env, stdio }));
    let mut ended = None;
    let mut written = BytesMut::new();
    let head_bytes = loop {
        if let Some(length) = head::length(&written) {
            break length;
        }
        if written.len() > MAX_HEAD_BYTES {
            let limit = format_bytes(u64::try_from(MAX_HEAD_BYTES).unwrap_or(u64::MAX));
            return Err(Fault::Guest(format!("its CGI head is over {limit}")));
        }
        tokio::select! {
            biased;
            chunk = stdout.next() => match chunk {
                Some(chunk) => written.extend_from_slice(&chunk),
                None => return Err(headless(match ended { Some(reply) => reply, None => call.await }, &written)),
            },
            reply = &mut call, if ended.is_none() => ended = Some(reply),
        }
    };
    let head = head::parse(&written.split_to(head_bytes))?;
    let rest = written.freeze();
    let workload = destination.target.id().clone();
    let call = if ended.is_some() { None } else { Some(call) };
    let mut output =
        ScriptBody { rest: Some(rest).filter(|rest| !rest.is_empty()), stdout, call, failed: None, workload };
    if let Some(reply) = ended {
        output.ended(reply);
    }
    Ok(match head {
        head::Head::Elsewhere(path) => Answer::Elsewhere(path),
        head::Head::Response(head) => Answer::Response(Response::from_parts(head, output.boxed_unsync())),
    })
}

/// Why there is no head.
fn headless(reply: Result<Reply, Fault>, written: &[u8]) -> Fault {
    let wrote = if written.is_empty() { "wrote nothing" } else { "wrote no blank line after its CGI head" };
    match reply {
        Err(fault) => fault,
        Ok(Reply::Exit(0)) => {
            Fault::Guest(format!("it {wrote}; a CGI script writes `Content-Type: ...` and a blank line first"))
        }
        Ok(Reply::Exit(code)) => Fault::Guest(format!("it exited with code {code} and {wrote}")),
        Ok(_) => Fault::Host("a command was answered with something else than an exit code".into()),
    }
}

/// Passes a guest's output on to whoever reads the response.
#[derive(Debug)]
struct Output(mpsc::Sender<Bytes>);

impl Sink for Output {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SinkClosed>> {
        self.0.poll_ready(context).map_err(|_| SinkClosed)
    }

    fn send(&mut self, chunk: Bytes) -> Result<(), SinkClosed> {
        self.0.start_send(chunk).map_err(|_| SinkClosed)
    }
}

/// What a script writes after its head. Dropping it gives the call up.
struct ScriptBody {
    rest: Option<Bytes>,
    stdout: mpsc::Receiver<Bytes>,
    /// The call, until it has ended.
    call: Option<BoxFuture<'static, Result<Reply, Fault>>>,
    /// Why it ended, told to the client after what was written before.
    failed: Option<Fault>,
    workload: WorkloadId,
}

impl ScriptBody {
    /// Takes note of how the call ended. An exit code after the head is for the log: the response is what was written.
    fn ended(&mut self, reply: Result<Reply, Fault>) {
        self.call = None;
        match reply {
            Ok(Reply::Exit(0)) => {}
            Ok(Reply::Exit(code)) => tracing::warn!(workload = %self.workload, code, "the script exited with an error"),
            Ok(_) => {
                self.failed = Some(Fault::Host("a command was answered with something else than an exit code".into()));
            }
            Err(fault) => {
                tracing::warn!(workload = %self.workload, blame = fault.label(), "after the reply's head: {fault}");
                self.failed = Some(fault);
            }
        }
    }
}

impl http_body::Body for ScriptBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let chunk = self.stdout.poll_next_unpin(context);
        if let Poll::Ready(Some(chunk)) = chunk {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(call) = &mut self.call
            && let Poll::Ready(reply) = call.as_mut().poll(context)
        {
            self.ended(reply);
        }
        if chunk.is_pending() || self.call.is_some() {
            return Poll::Pending;
        }
        Poll::Ready(self.failed.take().map(|fault| Err(fault.into())))
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}
