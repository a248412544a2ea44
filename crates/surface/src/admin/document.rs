//! The OpenAPI 3.1 document, made of the handlers' own descriptions.

use std::sync::OnceLock;

use http::StatusCode;
use utoipa::{
    Modify, OpenApi, ToResponse,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    Response, apps, health, host,
    problem::Problem,
    profile,
    request::{Asked, answer},
    stores, view, workloads,
};

/// What is asked for cannot be done, and why.
#[derive(ToResponse)]
#[response(description = "What is wrong, and what would fix it", content_type = "application/problem+json")]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct Failed(#[to_schema] Problem);

/// Whoever asks may not.
#[derive(ToResponse)]
#[response(
    description = "The token is missing or wrong, or the host is not one of this address",
    content_type = "application/problem+json"
)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct Refusal(#[to_schema] Problem);

#[derive(OpenApi)]
#[openapi(
    info(title = "Samara", description = "What a running `samara serve` serves, and how to change it. Reading is open to whoever reaches the address; changing takes the token."),
    paths(
        health::metrics, health::livez, health::readyz, health::app_livez, health::app_readyz, openapi, host::show,
        apps::list, apps::show, apps::put, apps::remove, apps::roll_back, apps::set_traffic, stores::usage, stores::link, workloads::list, workloads::routes,
        profile::take
    ),
    components(schemas(view::App, view::Usage, view::Workload, view::Route, Problem), responses(Failed, Refusal)),
    modifiers(&Token)
)]
struct Document;

/// How changes are authorized.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The token of the host")).build();
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "document", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"), (status = 403, response = Refusal)))]
pub(super) async fn openapi(_: Asked) -> Result<Response, Problem> {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| Document::openapi().to_pretty_json().unwrap_or_default());
    Ok(answer(StatusCode::OK, "application/json", text.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_describes_every_path_and_no_other() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                described.insert(format!("{} {path}", method.to_uppercase()));
                let secured = operation["security"][0].get("token").is_some();
                assert_eq!(
                    secured,
                    method != "get",
                    "{method} {path}: what changes takes the token, and nothing else does"
                );
            }
        }
        let braces = |path: &str| {
            let segments = path.split('/').map(|segment| match segment.strip_prefix(':') {
                Some(name) => format!("{{{name}}}"),
                None => segment.to_owned(),
            });
            segments.collect::<Vec<_>>().join("/")
        };
        let served: BTreeSet<_> =
            super::super::PATHS.iter().map(|(method, path, _)| format!("{method} {}", braces(path))).collect();
        assert_eq!(described, served);
    }
}
