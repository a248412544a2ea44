//! Lists, which come in pages: the tags of a repository, and what refers to a manifest.

use std::collections::HashSet;

use http::{HeaderValue, Method, StatusCode, header};
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::Deserialize;

use super::{
    endpoint::Endpoint,
    exchange::{Wanted, named_place},
    explain::clean,
    remote::Remote,
    transport::{Answer, Request},
};
use crate::{
    Error, Version,
    bounds::{MAX_DOCUMENT_BYTES, MAX_MANIFEST_BYTES, MAX_MANIFESTS, MAX_PAGES, MAX_TAGS},
    document::{self, Document},
};

/// Tags asked for at once.
const PAGE: &str = "1000";
/// What registries answer that do not know the Referrers API.
const NO_SUCH_API: &[StatusCode] = &[
    StatusCode::NOT_FOUND,
    StatusCode::BAD_REQUEST,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::NOT_IMPLEMENTED,
];

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Remote {
    /// All tags at one endpoint.
    pub(super) async fn tags_at(&self, at: &Endpoint) -> Result<Vec<String>, Error> {
        let what = format!("tags of `{}`", at.repository);
        let mut url = at.url("tags/list");
        url.query_pairs_mut().append_pair("n", PAGE);
        let mut request = Request::new(Method::GET, url)
            .with(header::ACCEPT, HeaderValue::from_static("application/json"))
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let name = format!("the list of {what}");
        let wanted = Wanted { name: &name, limit: MAX_DOCUMENT_BYTES, is_one: |_| true };
        let mut tags = Vec::new();
        let mut pages = Pages::default();
        loop {
            let (answer, bytes) = self.read_for(at, &request, &[StatusCode::OK], &what, &wanted).await?;
            let bytes = bytes.unwrap_or_default();
            let next = next_page(&answer, &mut pages, &what)?;
            let page: Tags = serde_json::from_slice(&bytes)
                .map_err(|error| Error::Invalid(format!("the list of {what} from `{}` is none: {error}", at.host())))?;
            for tag in page.tags.unwrap_or_default() {
                if !is_tag(&tag) {
                    let tag = clean(&tag);
                    return Err(Error::Invalid(format!("`{}` lists `{tag}` among {what}, which is no tag", at.host())));
                }
                if tags.len() == MAX_TAGS {
                    return Err(Error::OverLimit(format!("`{}` has over {MAX_TAGS} {what}", at.host())));
                }
                tags.push(tag);
            }
            match next {
                Some(url) => request.url = url,
                None => return Ok(tags),
            }
        }
    }

    /// What refers to a manifest at one endpoint: by the Referrers API, else by the tag that stands in for it.
    pub(super) async fn referrers_at(&self, at: &Endpoint, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        document::only_sha256(subject)?;
        let what = format!("referrers of `{}@{subject}`", at.repository);
        let mut request = Request::new(Method::GET, at.url(&format!("referrers/{subject}")))
            .with(header::ACCEPT, HeaderValue::from_static("application/vnd.oci.image.index.v1+json"))
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut good: Vec<_> = [StatusCode::OK].iter().chain(NO_SUCH_API).copied().collect();
        let name = format!("the list of {what}");
        // A page for people, where an old registry has no such path, is no list either.
        let is_one = |answer: &Answer| answer.status == StatusCode::OK && is_index(answer);
        let wanted = Wanted { name: &name, limit: MAX_MANIFEST_BYTES, is_one };
        let mut found = Vec::new();
        let mut pages = Pages::default();
        loop {
            let (answer, bytes) = self.read_for(at, &request, &good, &what, &wanted).await?;
            let Some(bytes) = bytes else {
                if good.len() == 1 {
                    return Err(Error::Invalid(format!(
                        "a later page of the list of {what} from `{}` is none",
                        at.host()
                    )));
                }
                return Ok(self.fallback_at(at, subject).await?.unwrap_or_default());
            };
            let next = next_page(&answer, &mut pages, &what)?;
            found.extend(descriptors(&bytes, &what)?);
            if found.len() > MAX_MANIFESTS {
                return Err(Error::OverLimit(format!("`{}` has over {MAX_MANIFESTS} {what}", at.host())));
            }
            match next {
                Some(url) => request.url = url,
                None => return Ok(found),
            }
            // Who had a first page knows the API. Without the later ones the list would be a part that looks like the whole.
            good.truncate(1);
        }
    }

    /// What the index under the tag `sha256-HEX` lists; `None` if there is none.
    pub(super) async fn fallback_at(&self, at: &Endpoint, subject: &Digest) -> Result<Option<Vec<Descriptor>>, Error> {
        match self.manifest_at(at, &Version::Tag(fallback_tag(subject))).await? {
            Some((bytes, _)) => descriptors(&bytes, &format!("referrers of `{}@{subject}`", at.repository)).map(Some),
            None => Ok(None),
        }
    }
}

fn next_page(answer: &Answer, pages: &mut Pages, what: &str) -> Result<Option<url::Url>, Error> {
    let Some(next) = answer.headers.get_all(header::LINK).iter().find_map(|link| next_link(link.to_str().ok()?)) else {
        return Ok(None);
    };
    let host = super::endpoint::authority(&answer.url);
    let next = named_place(answer, next, &format!("the next page of {what}"))?;
    if pages.0.len() + 1 >= MAX_PAGES {
        return Err(Error::OverLimit(format!("`{host}` lists {what} on over {MAX_PAGES} pages")));
    }
    if next == answer.url || !pages.0.insert(next.clone()) {
        return Err(Error::Invalid(format!("`{host}` lists {what} in a circle")));
    }
    Ok(Some(next))
}

/// Pages that were named so far.
#[derive(Default)]
struct Pages(HashSet<url::Url>);

/// The tag under which a registry without the Referrers API keeps what refers to a manifest.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    subject.as_ref().replacen(':', "-", 1)
}

fn is_index(answer: &Answer) -> bool {
    let said = answer.text(header::CONTENT_TYPE).unwrap_or_default();
    let said = said.split(';').next().unwrap_or_default().trim();
    said.eq_ignore_ascii_case(MediaType::ImageIndex.as_ref()) || said.eq_ignore_ascii_case("application/json")
}

fn descriptors(bytes: &[u8], what: &str) -> Result<Vec<Descriptor>, Error> {
    match document::read(bytes, None)? {
        Document::Index(index) => Ok(index.manifests().clone()),
        Document::Manifest(_) => Err(Error::Invalid(format!("the list of {what} is a manifest and no index"))),
    }
}

/// The target of `Link: <...>; rel="next"` (RFC 8288).
fn next_link(link: &str) -> Option<&str> {
    let mut rest = link;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let (params, more) = after.split_once(",").unwrap_or((after, ""));
        let is_next = |param: &str| {
            let (name, value) = param.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        };
        if params.split(';').any(is_next) {
            return Some(target);
        }
        rest = more;
    }
    None
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`: nothing that a path could be made of.
pub(super) fn is_tag(tag: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    tag.len() <= 128 && tag.chars().all(rest) && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next_link(r#"</v2/a/tags/list?last=b&n=1>; rel="next""#), Some("/v2/a/tags/list?last=b&n=1"));
        assert_eq!(next_link(r#"<a>; rel=prev, <b>; title="x"; rel=NEXT"#), Some("b"));
        assert_eq!(next_link("<a>; rel=prev"), None);
        assert_eq!(next_link("<a"), None);
        assert_eq!(next_link(""), None);
    }

    #[test]
    fn a_tag_is_no_path() {
        for good in ["v1", "_", "1.4.0", &"a".repeat(128)] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".", "..", "-a", "../../etc", "a/b", "a b", "a\0", "ä", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
