//! What is sent in `Authorization`: nothing, a name and password, or a token that a token server gave.
//!
//! The flow is Docker's (<https://distribution.github.io/distribution/spec/auth/token/>, `oauth` beside it): a registry that
//! wants to know who asks names a token server and a scope; whoever has a login shows it there, and the token to the registry.
//! As with Docker's own programs the login of a registry goes to the token server that this registry names, wherever that is,
//! but only over HTTPS (or to the same host, if the operator allows plain HTTP to it), never to a private address unless the
//! registry is there too, and never along a redirect. Tokens are kept until they expire, per registry and scope.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{
    Login,
    endpoint::{authority, header as value},
    explain::{refused, worth_another_try},
    login,
    reach::{Home, judge},
    transport::{Answer, Failure, Request, Transport},
};
use crate::{Error, bounds::MAX_TOKEN_BYTES};

/// How long a token is good whose server does not say; the specification's number.
const USUAL_LIFE: Duration = Duration::from_secs(60);
/// The longest that a token is kept, whatever its server says.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// A token that expires so soon is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens that are kept, at most.
const MAX_TOKENS: usize = 1_000;

/// Who asks for what: the key of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Access {
    /// The host as its login is kept under.
    pub(super) host: String,
    /// `repository:team/app:pull`.
    pub(super) scope: String,
}

impl Access {
    /// The scope of the token that is asked for. A registry names the one that the refused request needs; if that is in the
    /// same repository, ours is asked for, so that a push that begins with a look needs one token and not two.
    fn asked_for(&self, named: Option<String>) -> String {
        let place = |scope: &str| scope.rsplit_once(':').map(|(place, _)| place.to_owned());
        match named {
            Some(named) if !named.is_empty() && place(&named) != place(&self.scope) => named,
            _ => self.scope.clone(),
        }
    }
}

/// What is sent in `Authorization`, with the texts in it that no message may show.
#[derive(Clone)]
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    pub(super) secrets: Vec<String>,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(...)")
    }
}

/// What is known of how registries want to be asked.
#[derive(Debug, Default)]
pub(super) struct Auth {
    kept: Mutex<HashMap<Access, (Authorization, Instant)>>,
}

/// How a registry wants to know who asks, out of its `WWW-Authenticate`.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// What a token server answers; registries know both names of the token.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl Auth {
    /// What is known to be good for such a request, without asking anybody.
    pub(super) fn kept(&self, access: &Access) -> Option<Authorization> {
        let kept = self.kept.lock();
        let (authorization, until) = kept.get(access)?;
        (*until > Instant::now()).then(|| authorization.clone())
    }

    fn keep(&self, access: &Access, authorization: &Authorization, life: Duration) {
        let mut kept = self.kept.lock();
        if kept.len() >= MAX_TOKENS {
            kept.clear();
        }
        kept.insert(access.clone(), (authorization.clone(), Instant::now() + life));
    }

    /// Answers a 401. `None` if there is nothing that could be shown.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        access: &Access,
        refusal: &Answer,
    ) -> Result<Option<Authorization>, Failure> {
        self.kept.lock().remove(access);
        let Some(challenge) = strongest(&refusal.headers) else { return Ok(None) };
        let login = login::find(&transport.settings.logins, &access.host).await?;
        let (authorization, life) = match (challenge, login) {
            (Challenge::Basic, Some(Login::Password { user, password })) => (basic(&user, &password)?, LONGEST_LIFE),
            (Challenge::Basic, Some(Login::IdentityToken(_)) | None) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, login) => {
                let scope = access.asked_for(scope);
                let home = Home { url: refusal.url.clone(), kind: refusal.kind };
                token(transport, &home, &realm, service.as_deref(), &scope, login.as_ref()).await?
            }
        };
        self.keep(access, &authorization, life);
        Ok(Some(authorization))
    }
}

/// The challenge that is answered: a token rather than a password, which is then not sent with each request.
fn strongest(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for header in headers.get_all(header::WWW_AUTHENTICATE) {
        let Ok(text) = header.to_str() else { continue };
        for challenge in http_auth::parser::ChallengeParser::new(text).map_while(Result::ok) {
            let param = |name: &str| {
                let (_, value) = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
                Some(value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = param("realm")
            {
                return Some(Challenge::Bearer { realm, service: param("service"), scope: param("scope") });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                found = Some(Challenge::Basic);
            }
        }
    }
    found
}

fn basic(user: &str, password: &str) -> Result<Authorization, Error> {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut header = value(&format!("Basic {encoded}"))?;
    header.set_sensitive(true);
    Ok(Authorization { header, secrets: vec![password.to_owned(), encoded] })
}

/// Gets a token from the server that a registry named.
async fn token(
    transport: &Transport,
    home: &Home,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    login: Option<&Login>,
) -> Result<(Authorization, Duration), Failure> {
    let registry = authority(&home.url);
    let what = format!("the token server of `{registry}`");
    let mut url: Url =
        realm.parse().map_err(|_| Error::Invalid(format!("{what} is no URL: `{}`", super::explain::clean(realm))))?;
    let same_host = url.host() == home.url.host() && transport.settings.insecure(&home.url);
    if url.scheme() == "http" && !same_host && !transport.settings.insecure(&url) {
        return Err(Error::Invalid(format!(
            "{what} is `{}`, plain http, over which no login is sent; {}",
            super::endpoint::shown(&url),
            super::reach::allow(&url)
        ))
        .into());
    }
    let reach = judge(&transport.settings, home, &url, &what)?;

    let mut secrets = Vec::new();
    let request = if let Some(Login::IdentityToken(refresh)) = login {
        secrets.push(refresh.clone());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh);
        form.append_pair("client_id", "samara").append_pair("scope", scope);
        form.extend_pairs(service.map(|service| ("service", service)));
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut request = Request::new(Method::POST, url).with(header::CONTENT_TYPE, form_type);
        request.body = Bytes::from(form.finish());
        request
    } else {
        url.query_pairs_mut().extend_pairs(service.map(|service| ("service", service))).append_pair("scope", scope);
        let request = Request::new(Method::GET, url);
        match login {
            Some(Login::Password { user, password }) => {
                let shown = basic(user, password)?;
                secrets.extend(shown.secrets);
                request.with(header::AUTHORIZATION, shown.header)
            }
            _ => request,
        }
    };

    let mut answer = transport.send(&request, reach).await?;
    match answer.status {
        StatusCode::OK => {}
        status if worth_another_try(status) => return Err(refused(answer, "a token", &secrets).await),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            let why = if login.is_some() { "does not accept this login" } else { "wants a login" };
            let said = refused(answer, "a token", &secrets).await.error;
            return Err(Error::Unauthorized(format!("{what} {why}: {said}")).into());
        }
        _ => {
            let said = refused(answer, "a token", &secrets).await.error;
            return Err(Error::Unauthorized(format!("{what} gave no token: {said}")).into());
        }
    }
    let bytes = answer.body.document("the token", MAX_TOKEN_BYTES).await?;
    let unread = || Failure::from(Error::Invalid(format!("{what} answered what is no token")));
    let Token { token, access_token, expires_in } = serde_json::from_slice(&bytes).map_err(|_| unread())?;
    let token = if token.is_empty() { access_token } else { token };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unread());
    }
    let life = expires_in.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE).saturating_sub(MARGIN);
    let mut header = value(&format!("Bearer {token}"))?;
    header.set_sensitive(true);
    secrets.push(token);
    Ok((Authorization { header, secrets }, life))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[&'static str], expected: Option<&Challenge>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(header));
        }
        assert_eq!(strongest(&map).as_ref(), expected);
    }

    #[test]
    fn a_token_is_preferred_wherever_it_is_offered() {
        let bearer = |scope: Option<&str>| {
            let realm = "https://auth.example/token".to_owned();
            Some(Challenge::Bearer { realm, service: Some("r, x".to_owned()), scope: scope.map(str::to_owned) })
        };
        check(&[r#"Bearer realm="https://auth.example/token",service="r, x""#], bearer(None).as_ref());
        check(
            &[
                r#"Basic realm="x", bearer realm="https://auth.example/token", service="r\, x", scope="repository:a:pull,push""#,
            ],
            bearer(Some("repository:a:pull,push")).as_ref(),
        );
        check(
            &["Basic realm=\"x\"", r#"BEARER realm="https://auth.example/token",service="r, x""#],
            bearer(None).as_ref(),
        );
        check(&["basic"], Some(&Challenge::Basic));
        check(&["Negotiate"], None);
        check(&["Bearer service=\"r\""], None);
        check(&["\"\"\"", "Basic realm=x"], Some(&Challenge::Basic));
        check(&[], None);
    }

    #[test]
    fn a_scope_of_the_registry_counts_if_it_is_elsewhere() {
        let access = Access { host: "r.example".to_owned(), scope: "repository:a:pull,push".to_owned() };
        let asked = |named: &str| access.asked_for(Some(named.to_owned()));
        assert_eq!(access.asked_for(None), "repository:a:pull,push");
        assert_eq!(asked("repository:a:pull"), "repository:a:pull,push");
        assert_eq!(asked("repository:proxied/a:pull"), "repository:proxied/a:pull");
        assert_eq!(asked("registry:catalog:*"), "registry:catalog:*");
        assert_eq!(asked(""), "repository:a:pull,push");
    }

    #[test]
    fn what_is_kept_is_not_shown_and_ends() {
        let auth = Auth::default();
        let access = Access { host: "r.example".to_owned(), scope: "repository:a:pull".to_owned() };
        let authorization = basic("me", "hunter2").unwrap();
        auth.keep(&access, &authorization, Duration::from_secs(60));
        let shown = format!("{auth:?} {:?}", auth.kept(&access).unwrap().header);
        assert!(!shown.contains("hunter2") && !shown.contains("bWU6"), "{shown}");
        auth.keep(&access, &authorization, Duration::ZERO);
        assert!(auth.kept(&access).is_none());
    }
}
