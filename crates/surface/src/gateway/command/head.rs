//! The head a script writes: RFC 3875, section 6.

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
    response::Parts,
};
use samara_model::Fault;

/// Fields in one head.
const MAX_FIELDS: usize = 128;

/// A head as the script means it.
#[derive(Debug)]
pub(super) enum Head {
    /// The head of a response; its body follows.
    Response(Parts),
    /// The response of another path is to be sent.
    Elsewhere(String),
}

/// The length of a head with its blank line, if that has come. Lines end in LF or CRLF.
pub(super) fn length(written: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(end) = written.get(start..)?.iter().position(|byte| *byte == b'\n') {
        let line = written.get(start..start + end)?;
        start += end + 1;
        if line.is_empty() || line == b"\r" {
            return Some(start);
        }
    }
    None
}

/// Reads a head.
///
/// # Errors
/// A line is not a field, or the fields do not make a response: the guest does not speak CGI.
pub(super) fn parse(head: &[u8]) -> Result<Head, Fault> {
    let (mut parts, ()) = Response::new(()).into_parts();
    let mut status = None;
    let mut fields = 0;
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(Fault::Guest(format!("its CGI head has over {MAX_FIELDS} fields")));
        }
        let (name, value) = field(line).ok_or_else(|| not_a_field(line))?;
        if name == "status" {
            status = Some(read_status(&value)?);
        } else {
            parts.headers.append(name, value);
        }
    }
    let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    match (status, location) {
        // Differs from the spec: a local location beside other fields is the client's to follow, as scripts mean it.
        (None, Some(path)) if path.starts_with('/') && !path.starts_with("//") && parts.headers.len() == 1 => {
            return Ok(Head::Elsewhere(path.to_owned()));
        }
        (None, Some(_)) => parts.status = StatusCode::FOUND,
        (Some(status), _) => parts.status = status,
        (None, None) => {}
    }
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let empty = parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    if !parts.headers.contains_key(CONTENT_TYPE) && !parts.headers.contains_key(LOCATION) && !bodiless && !empty {
        return Err(Fault::Guest("its CGI head has no `Content-Type`".into()));
    }
    Ok(Head::Response(parts))
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.get(1..)?.trim_ascii();
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

fn not_a_field(line: &[u8]) -> Fault {
    let shown = String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned();
    Fault::Guest(format!("it wrote `{shown}` where CGI wants `Name: value` or a blank line"))
}

/// `404 Not Found`: the reason is not sent on.
fn read_status(value: &HeaderValue) -> Result<StatusCode, Fault> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let code = text.split(' ').next().unwrap_or_default();
    // Those below 200 are no answers, but news of one.
    let status = code.parse().ok().filter(|status: &StatusCode| !status.is_informational());
    status.ok_or_else(|| Fault::Guest(format!("its CGI status `{text}` is not one; write `Status: 404 Not Found`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_the_first_blank_line() {
        for (written, expected) in [
            ("A: b\n\nbody\n\n", Some(6)),
            ("A: b\r\n\r\nbody", Some(8)),
            ("A: b\n\r\nbody", Some(7)),
            ("\nbody", Some(1)),
            ("A: b\nC: d\n", None),
            ("A: b\r\n\r", None),
            ("", None),
        ] {
            assert_eq!(length(written.as_bytes()), expected, "{written:?}");
        }
    }

    fn response(head: &str) -> Parts {
        match parse(head.as_bytes()).unwrap() {
            Head::Response(parts) => parts,
            Head::Elsewhere(path) => panic!("{head:?} goes to {path}"),
        }
    }

    #[test]
    fn fields_make_a_response() {
        let parts =
            response("Status: 404 Not Found\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n");
        assert_eq!(parts.status, 404);
        assert_eq!(parts.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(parts.headers[CONTENT_TYPE], "text/plain");
        assert_eq!(response("Content-Type:text/plain\n\n").status, 200);
        assert_eq!(response("Status: 204\n\n").status, 204);
        assert_eq!(response("Content-Length: 0\n\n").status, 200);
    }

    #[test]
    fn locations_redirect_the_client_or_the_server() {
        assert_eq!(response("Location: http://elsewhere.test/\n\n").status, 302);
        assert_eq!(response("Status: 301 Moved\nLocation: /x\n\n").status, 301);
        assert_eq!(response("Location: //elsewhere.test/\n\n").status, 302);
        assert!(matches!(parse(b"Location: /x?y\n\n").unwrap(), Head::Elsewhere(path) if path == "/x?y"));
    }

    #[test]
    fn what_is_not_cgi_is_the_guests_fault() {
        for (head, why) in [
            ("<html>\n\n", "`<html>`"),
            ("A b: c\n\n", "`A b: c`"),
            ("X-A: b\n\n", "`Content-Type`"),
            ("\n", "`Content-Type`"),
            ("Status: soon\nContent-Type: a/b\n\n", "`soon`"),
            ("Status: 112 Not Found\nContent-Type: a/b\n\n", "`112 Not Found`"),
            ("Content-Type: a\u{0}b\n\n", "Name: value"),
        ] {
            let fault = parse(head.as_bytes()).unwrap_err();
            assert!(fault.status() == 502 && fault.to_string().contains(why), "{head:?}: {fault}");
        }
        assert!(parse("A: b\n".repeat(200).as_bytes()).unwrap_err().to_string().contains("128 fields"));
    }
}
