//! The console: the operator's page, at `/` of the operator's address.
//!
//! Plain files, built into the binary, that ask the API for all they show. What they show is hostile: names, messages and
//! backtraces are guests' own words. The page sets them as text only, and [`POLICY`] has the browser refuse the rest: no
//! script but ours, nothing from elsewhere, and no text that becomes markup (`trusted-types 'none'`).

use bytes::Bytes;
use futures::FutureExt;
use headers::{ETag, HeaderMapExt as _};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};

use super::{
    Path, Response,
    problem::Problem,
    request::{Asked, answer},
};

/// What the browser lets the page do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
const HEADERS: &[(&str, &str)] = &[
    // Kept by the browser, and asked about every time: another version of Samara has other files at the same addresses.
    ("cache-control", "no-cache"),
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The console's addresses.
pub(super) const PATHS: &[Path] = &[
    (Method::GET, "/", |asked| async move { file(&asked, "index.html") }.boxed()),
    (Method::GET, "/console/:file", |asked| async move { file(&asked, asked.param("file")) }.boxed()),
];

/// The page and what it needs: name, type, contents.
const FILES: &[(&str, &str, &str)] = &[
    ("index.html", "text/html; charset=utf-8", include_str!("index.html")),
    ("console.css", "text/css; charset=utf-8", include_str!("console.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("main.js", SCRIPT, include_str!("main.js")),
    ("change.js", SCRIPT, include_str!("change.js")),
    ("detail.js", SCRIPT, include_str!("detail.js")),
    ("element.js", SCRIPT, include_str!("element.js")),
    ("history.js", SCRIPT, include_str!("history.js")),
    ("host.js", SCRIPT, include_str!("host.js")),
    ("keys.js", SCRIPT, include_str!("keys.js")),
    ("numbers.js", SCRIPT, include_str!("numbers.js")),
    ("views.js", SCRIPT, include_str!("views.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

fn file(asked: &Asked, name: &str) -> Result<Response, Problem> {
    let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("the console has no file `{}`; open /", name.escape_debug()),
        ));
    };
    let tag = tag(text);
    let known = asked.if_none_match.as_ref().is_some_and(|known| !known.precondition_passes(&tag));
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, Bytes::from_static(text.as_bytes()))
    };
    let mut response = answer(status, kind, body);
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.typed_insert(tag);
    Ok(response)
}

/// A version of a file, by its contents.
fn tag(text: &str) -> ETag {
    let digest: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digest}\"").parse().expect("hex digits in quotes are a tag")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name that SVG has in every document, which nothing ever asks for.
    const SVG: &str = "http://www.w3.org/2000/svg";

    #[test]
    fn no_file_refers_to_the_outside_or_makes_markup_of_text() {
        for (name, _, text) in FILES {
            let text = text.replace(SVG, "");
            let forbidden = [
                "http:",
                "https:",
                "//cdn",
                "@import",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "srcdoc",
                "createContextualFragment",
                "eval(",
                "Function(",
                "localStorage",
                " style=",
                "javascript:",
                "onclick",
                "onload",
                "onerror",
            ];
            for word in forbidden {
                assert!(!text.contains(word), "{name} has `{word}`");
            }
        }
    }

    #[test]
    fn every_file_that_is_asked_for_is_there_and_every_one_there_is_asked_for() {
        let known = |wanted: &str| FILES.iter().any(|(name, ..)| *name == wanted);
        let all: String = FILES.iter().map(|(_, _, text)| *text).collect();
        for (name, _, text) in FILES {
            let quoted = |mark: &str| {
                let after = text.split(mark).skip(1);
                after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
            };
            for wanted in quoted("from \"./").into_iter().chain(quoted("=\"/console/")) {
                assert!(known(&wanted), "{name} asks for {wanted}");
            }
            assert!(*name == "index.html" || all.contains(&format!("/{name}\"")), "nothing asks for {name}");
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/console")).unwrap();
        for entry in folder {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.ends_with(".rs") || known(&name), "{name} is not served");
        }
    }

    #[test]
    fn a_tag_changes_with_the_file() {
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
    }
}
