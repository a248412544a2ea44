//! Why a guest's request has no response, in the error codes of `wasi:http/types@0.2` (`error-code`).
//!
//! The libraries below nest their errors; [`EgressError::find`] looks through the layers for the one that says most.

use std::{error::Error, io};

use samara_model::{BodyError, Fault, format_bytes};

/// Why a guest's request has no response. Each variant is one error code of `wasi:http`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The grant does not include the origin, or the request may not be sent as it is (`HTTP-request-denied`).
    #[error("denied: {what}; `{grant}` would allow it")]
    Denied {
        /// What was asked for.
        what: String,
        /// The grant that would have allowed it, as a manifest writes it.
        grant: String,
    },
    /// The host leads only to addresses that need the `private` grant (`destination-IP-prohibited`).
    #[error("denied: {what}; `{grant}` would allow it")]
    AddressProhibited {
        /// What was asked for, and where it leads.
        what: String,
        /// The grant that would have allowed it, as a manifest writes it.
        grant: String,
    },
    /// The URI cannot be requested (`HTTP-request-URI-invalid`).
    #[error("the request's uri cannot be used: {0}")]
    UriInvalid(&'static str),
    /// A method that makes no request (`HTTP-request-method-invalid`).
    #[error("the method `{0}` cannot be sent; use one that asks for a resource")]
    MethodInvalid(String),
    /// A header that contradicts the request (`HTTP-request-denied`).
    #[error("the `{name}` header contradicts the request: {why}")]
    HeaderDenied {
        /// The header.
        name: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `content-length` is not the body's (`HTTP-request-body-size`).
    #[error("the `content-length` header is not the length of the request's body")]
    RequestBodySize,
    /// The request's head is over its limit (`HTTP-request-header-section-size`).
    #[error("the request's headers are over their limit of `{}` in {fields} fields", format_bytes(*.bytes))]
    RequestHeaderSize {
        /// The limit in bytes.
        bytes: u64,
        /// The limit in fields.
        fields: u64,
    },
    /// Writing the request's body failed (`HTTP-protocol-error`).
    #[error("the request's body failed: {0}")]
    RequestBody(String),
    /// The name could not be looked up in time (`DNS-timeout`).
    #[error("no answer in time to the look-up of `{0}`")]
    DnsTimeout(String),
    /// The look-up of the name failed (`DNS-error`).
    #[error("the look-up of `{host}` failed: {detail}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        detail: String,
    },
    /// The name has no address (`destination-not-found`).
    #[error("`{0}` has no address")]
    NotFound(String),
    /// No route leads to the address (`destination-IP-unroutable`).
    #[error("no route to the destination: {0}")]
    Unroutable(String),
    /// The destination cannot be reached for another reason (`destination-unavailable`).
    #[error("the destination is unavailable: {0}")]
    Unavailable(String),
    /// Nobody listens there (`connection-refused`).
    #[error("the connection was refused")]
    ConnectionRefused,
    /// No connection in time (`connection-timeout`).
    #[error("no connection in time")]
    ConnectionTimeout,
    /// The connection broke (`connection-terminated`).
    #[error("the connection was closed before the response: {0}")]
    ConnectionTerminated(String),
    /// The workload has too many connections open (`connection-limit-reached`).
    #[error("all {0} connections of this workload are in use")]
    ConnectionLimit(usize),
    /// TLS could not be agreed on (`TLS-protocol-error`).
    #[error("tls failed: {0}")]
    TlsProtocol(String),
    /// The server's certificate is not acceptable (`TLS-certificate-error`).
    #[error("the server's certificate is not accepted: {0}")]
    TlsCertificate(String),
    /// The server refused with a TLS alert (`TLS-alert-received`).
    #[error("the server refused with the tls alert {message} ({id})")]
    TlsAlert {
        /// The alert's number.
        id: u8,
        /// The alert's name.
        message: String,
    },
    /// The head of the response did not come in time (`HTTP-response-timeout`).
    #[error("no response in time")]
    ResponseTimeout,
    /// The head of the response is over its limit (`HTTP-response-header-section-size`).
    #[error("the response's headers are over their limit of `{}` in {fields} fields", format_bytes(*.bytes))]
    ResponseHeaderSize {
        /// The limit in bytes.
        bytes: u64,
        /// The limit in fields.
        fields: u64,
    },
    /// The server closed the connection before the end of the response's head (`HTTP-response-incomplete`).
    #[error("the connection was closed before the response was complete")]
    ResponseIncomplete,
    /// The server wants another protocol that nobody asked for (`HTTP-upgrade-failed`).
    #[error("the server switched to another protocol")]
    UpgradeFailed,
    /// The server does not speak HTTP, or we do not understand it (`HTTP-protocol-error`).
    #[error("the response is not http: {0}")]
    Protocol(String),
    /// Our own mistake (`internal-error`).
    #[error("{0}")]
    Internal(String),
}

impl EgressError {
    /// The error code's name in `wasi:http/types`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } | Self::HeaderDenied { .. } => "HTTP-request-denied",
            Self::AddressProhibited { .. } => "destination-IP-prohibited",
            Self::UriInvalid(_) => "HTTP-request-URI-invalid",
            Self::MethodInvalid(_) => "HTTP-request-method-invalid",
            Self::RequestBodySize => "HTTP-request-body-size",
            Self::RequestHeaderSize { .. } => "HTTP-request-header-section-size",
            Self::DnsTimeout(_) => "DNS-timeout",
            Self::Dns { .. } => "DNS-error",
            Self::NotFound(_) => "destination-not-found",
            Self::Unroutable(_) => "destination-IP-unroutable",
            Self::Unavailable(_) => "destination-unavailable",
            Self::ConnectionRefused => "connection-refused",
            Self::ConnectionTimeout => "connection-timeout",
            Self::ConnectionTerminated(_) => "connection-terminated",
            Self::ConnectionLimit(_) => "connection-limit-reached",
            Self::TlsProtocol(_) => "TLS-protocol-error",
            Self::TlsCertificate(_) => "TLS-certificate-error",
            Self::TlsAlert { .. } => "TLS-alert-received",
            Self::ResponseTimeout => "HTTP-response-timeout",
            Self::ResponseHeaderSize { .. } => "HTTP-response-header-section-size",
            Self::ResponseIncomplete => "HTTP-response-incomplete",
            Self::UpgradeFailed => "HTTP-upgrade-failed",
            Self::RequestBody(_) | Self::Protocol(_) => "HTTP-protocol-error",
            Self::Internal(_) => "internal-error",
        }
    }

    /// The fault of a call that cannot go on without this response.
    pub fn into_fault(self, origin: &str) -> Fault {
        let slow = matches!(self, Self::DnsTimeout(_) | Self::ConnectionTimeout | Self::ResponseTimeout);
        match self {
            Self::Denied { what, grant } | Self::AddressProhibited { what, grant } => Fault::Denied { what, grant },
            Self::UriInvalid(_)
            | Self::MethodInvalid(_)
            | Self::HeaderDenied { .. }
            | Self::RequestBodySize
            | Self::RequestHeaderSize { .. }
            | Self::RequestBody(_) => Fault::Guest(format!("request to `{origin}`: {self}")),
            Self::Internal(detail) => Fault::Host(detail),
            other => Fault::Backend { name: origin.to_owned(), detail: other.to_string(), slow },
        }
    }

    /// What an error of the client means, from whichever layer says most. `headers` is the error for a head too large.
    pub(super) fn find(error: &(dyn Error + 'static), headers: &Self) -> Self {
        let mut best = None;
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some((rank, meaning)) = meaning(error, headers)
                && best.as_ref().is_none_or(|(so_far, _)| rank > *so_far)
            {
                best = Some((rank, meaning));
            }
            next = inner(error);
        }
        best.map_or_else(|| Self::Protocol(chain(error)), |(_, meaning)| meaning)
    }
}

/// The next layer. `source` of an I/O error made from another error is *its* source: the error itself is `get_ref`.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

/// What one layer says, and how much that is worth: ours, then TLS, then a guest's body, then HTTP, then the socket.
fn meaning(error: &(dyn Error + 'static), headers: &EgressError) -> Option<(u8, EgressError)> {
    if let Some(error) = error.downcast_ref::<EgressError>() {
        return Some((5, error.clone()));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some((4, tls(error)));
    }
    if error.is::<rustls::pki_types::InvalidDnsNameError>() {
        return Some((4, EgressError::UriInvalid("its host is no name that a certificate could have")));
    }
    if let Some(error) = error.downcast_ref::<BodyError>() {
        return Some((3, EgressError::RequestBody(error.to_string())));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return http(error, headers).map(|meaning| (2, meaning));
    }
    error.downcast_ref::<io::Error>().map(|error| (1, EgressError::socket(error)))
}

fn http(error: &hyper::Error, headers: &EgressError) -> Option<EgressError> {
    Some(if error.is_parse_too_large() {
        headers.clone()
    } else if error.is_parse() || error.is_parse_status() {
        EgressError::Protocol(error.to_string())
    } else if error.is_incomplete_message() {
        EgressError::ResponseIncomplete
    } else if error.is_canceled() || error.is_closed() {
        EgressError::ConnectionTerminated(error.to_string())
    } else if error.is_timeout() {
        EgressError::ResponseTimeout
    } else if error.is_body_write_aborted() {
        EgressError::RequestBodySize
    } else {
        return None;
    })
}

fn tls(error: &rustls::Error) -> EgressError {
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::InvalidCertRevocationList(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType => EgressError::TlsCertificate(error.to_string()),
        rustls::Error::AlertReceived(alert) => {
            EgressError::TlsAlert { id: u8::from(*alert), message: format!("{alert:?}") }
        }
        other => EgressError::TlsProtocol(other.to_string()),
    }
}

impl EgressError {
    /// What an error of a socket means.
    pub(super) fn socket(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectionTimeout,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Self::Unroutable(error.to_string()),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Self::ConnectionTerminated(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = inner(error);
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = inner(error);
    }
    text
}
