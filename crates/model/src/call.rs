//! One unit of work on its way to a guest, and what comes back.
//!
//! The variants are the *shapes* of a call. A surface builds one, a contract answers one; neither knows the other.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;

use crate::{Body, KeyValueCall, KeyValueReply};

/// The form of a call: what goes in and what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// Arguments, environment and standard streams in; an exit code out.
    Command,
    /// An HTTP request in, a response out, both streaming.
    Http,
    /// An operation's name and bytes in, bytes out.
    Function,
    /// A message of a subject in, perhaps an answer out.
    Message,
    /// An operation on a store that the guest is in, what came of it out.
    KeyValue,
}

impl Shape {
    /// Every shape, in the order tables list them.
    pub const ALL: &[Self] = &[Self::Command, Self::Http, Self::Function, Self::Message, Self::KeyValue];

    /// The word used in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Http => "http",
            Self::Function => "function",
            Self::Message => "message",
            Self::KeyValue => "key-value",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One invocation travelling from a surface to a guest.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a call is moved a few times; a box would be an allocation per request")]
pub enum Call {
    /// Run a command to its end.
    Command(Command),
    /// Answer one HTTP request.
    Http(HttpCall),
    /// Call one function.
    Function(Function),
    /// Handle one message.
    Message(Message),
    /// Do one thing to the store that the guest is.
    KeyValue(KeyValueCall),
}

impl Call {
    /// The shape of this call.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Command(_) => Shape::Command,
            Self::Http(_) => Shape::Http,
            Self::Function(_) => Shape::Function,
            Self::Message(_) => Shape::Message,
            Self::KeyValue(_) => Shape::KeyValue,
        }
    }
}

/// A run of a command, as a shell would start it.
#[derive(Debug, Default)]
pub struct Command {
    /// Arguments; the first is the program's name.
    pub args: Vec<String>,
    /// Environment on top of what the workload's `env` grant gives.
    pub env: Vec<(String, String)>,
    /// Where the standard streams go.
    pub stdio: Stdio,
}

/// Where a command's standard streams come from and go to.
#[derive(Debug, Default)]
pub enum Stdio {
    /// Standard input is empty; output and errors become log lines of the workload.
    #[default]
    Log,
    /// The host process's own streams (`samara run`).
    Inherit,
    /// Standard input from a body, standard output into the reply's body, errors into the log (CGI).
    Piped {
        /// What the guest reads.
        stdin: Body,
        /// Receives what the guest writes to standard output.
        stdout: Box<dyn Sink>,
    },
}

/// Receives a guest's output, chunk by chunk, with back-pressure.
///
/// The runtime calls `poll_ready` before each `send`; a sink that is not ready blocks the guest, not the host.
pub trait Sink: Send + fmt::Debug {
    /// Whether the sink takes another chunk; wakes the task when it will.
    ///
    /// # Errors
    /// The receiver is gone: the guest sees a closed stream.
    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), SinkClosed>>;
    /// Takes a chunk; only called after `poll_ready` answered `Ready(Ok)`.
    ///
    /// # Errors
    /// The receiver is gone.
    fn send(&mut self, chunk: Bytes) -> Result<(), SinkClosed>;
}

/// The receiver of a [`Sink`] is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of this output is gone")]
pub struct SinkClosed;

/// Who sent an HTTP request, as far as the surface knows.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The peer's address, absent when the call did not come over a socket.
    pub peer: Option<SocketAddr>,
    /// The address the request arrived at.
    pub local: Option<SocketAddr>,
    /// Whether the connection was TLS.
    pub secure: bool,
    /// The certificate the client showed, once an authority that the operator named has signed it.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// What a client's verified certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose it is: a distinguished name as RFC 4514 writes it, `CN=ada,O=Acme`.
    pub subject: String,
    /// Who signed it, in the same form.
    pub issuer: String,
    /// Its number with that signer, in upper-case hexadecimal.
    pub serial: String,
}

/// One HTTP exchange.
#[derive(Debug)]
pub struct HttpCall {
    /// The request; its URI is absolute (scheme and authority filled in by the surface).
    pub request: http::Request<Body>,
    /// Who sent it.
    pub caller: Caller,
    /// The route pattern that matched, such as `/cart/:id`.
    pub route: Arc<str>,
    /// What the pattern's parameters matched, percent-decoded, in the pattern's order.
    pub params: Vec<(Arc<str>, String)>,
}

/// A named operation on bytes.
#[derive(Clone, Debug)]
pub struct Function {
    /// The operation's name, in the ABI's own words: an export, a waPC operation.
    pub operation: String,
    /// The argument, in the ABI's own encoding. For plain exports: a JSON array, or WAVE text.
    pub payload: Bytes,
    /// How `payload` is written and how the reply should be.
    pub encoding: Encoding,
}

/// A message that was published to a subject a workload is subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The subject, without what the store puts before a tenant's subjects.
    pub subject: String,
    /// What was sent.
    pub body: Bytes,
    /// What was said about it, in the order it came.
    pub headers: Vec<(String, String)>,
    /// The subject that an answer is expected on, if one is.
    pub reply_to: Option<String>,
}

/// How a function's arguments are written in `payload`, and its result in the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Opaque bytes, handed on as they are; the reply too.
    #[default]
    Bytes,
    /// A JSON array of arguments, or an object of arguments by name; the reply is JSON.
    Json,
    /// A JSON array of `[name, text]` pairs, as from a query string. Each text is read as its parameter's type; an empty
    /// name is the next parameter in order. The reply is JSON.
    Text,
    /// As [`Encoding::Text`]; the reply is WAVE, the component model's value syntax.
    Wave,
}

/// What a guest answered.
#[derive(Debug)]
pub enum Reply {
    /// A command ended with this exit code, 0 to 255 as a shell sees it.
    Exit(i32),
    /// The head of a response and its streaming body.
    Http(http::Response<Body>),
    /// A function's result.
    Bytes(Bytes),
    /// A message was taken; with what to answer, if the ABI answers by returning. Guests of most ABIs publish instead.
    Message(Option<Bytes>),
    /// What came of an operation on the guest's store.
    KeyValue(KeyValueReply),
}
