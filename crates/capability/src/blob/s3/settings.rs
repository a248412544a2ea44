//! What a manifest says of a bucket.
//!
//! ```toml
//! [store.pictures]
//! provider = "s3://my-bucket/folder"
//! region = "eu-central-1"                       # default us-east-1
//! access_key_id = "AKIA..."                     # or "env:NAME", or "file:PATH"
//! secret_access_key = "env:PICTURES_SECRET"     # or "file:PATH"; never the secret itself
//! session_token = "file:/run/secrets/token"     # if there is one
//! credentials = "environment"                   # in place of these: AWS_* variables, web identity, the machine's own role
//! endpoint = "https://minio.internal:9000"      # a server that is not AWS
//! ca = "/etc/ssl/minio.pem"                     # whose authority the machine does not know
//! allow_http = false                            # true for an endpoint without TLS
//! timeout = "5s"
//! ```
//!
//! `credentials = "none"` asks without any, for a bucket that everybody may read. Without a word about credentials nothing is
//! guessed: what this machine may do is not every manifest's to use.

use std::{path::Path, sync::Arc, time::Duration};

use http::Uri;
use object_store::{
    BackoffConfig, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path as Key,
};

use super::{
    Bucket,
    wire::{Reach, Wire},
};
use crate::{
    blob::{
        BlobError,
        settings::{Settings, TIMEOUT},
    },
    without_credentials,
};

const KNOWN: &[&str] = &[
    "region",
    "endpoint",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "credentials",
    "ca",
    "allow_http",
    "timeout",
];

/// Bytes of a file with a secret or with certificate authorities, at most.
const FILE_BYTES: u64 = 1 << 20;

/// How often a request that may be repeated is, at most.
const RETRIES: usize = 2;

/// The variables of the environment that `credentials = "environment"` reads.
const VARIABLES: &[(&str, AmazonS3ConfigKey)] = &[
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

fn wrong(message: String) -> BlobError {
    BlobError::Configuration(message)
}

async fn file(name: &str, path: &str) -> Result<Vec<u8>, BlobError> {
    let unread = |why: String| wrong(format!("`{name}` names the file `{path}`, which cannot be read: {why}"));
    let metadata = tokio::fs::metadata(Path::new(path)).await.map_err(|error| unread(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES {
        return Err(unread("it is no file, or too long for what should be in it".to_owned()));
    }
    tokio::fs::read(path).await.map_err(|error| unread(error.to_string()))
}

/// A value that stands elsewhere, if it says where.
async fn elsewhere(name: &str, value: &str) -> Result<Option<String>, BlobError> {
    if let Some(variable) = value.strip_prefix("env:") {
        let found = std::env::var(variable);
        return found
            .map(Some)
            .map_err(|_| wrong(format!("`{name}` names the variable `{variable}`, which is not set")));
    }
    let Some(path) = value.strip_prefix("file:") else { return Ok(None) };
    let text = String::from_utf8(file(name, path).await?);
    let text = text.map_err(|_| wrong(format!("`{name}` names the file `{path}`, which is no text")))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Puts the credentials into a client.
async fn credentials(mut builder: AmazonS3Builder, settings: &Settings<'_>) -> Result<AmazonS3Builder, BlobError> {
    let mut given = Vec::new();
    for (name, key, secret) in [
        ("access_key_id", AmazonS3ConfigKey::AccessKeyId, false),
        ("secret_access_key", AmazonS3ConfigKey::SecretAccessKey, true),
        ("session_token", AmazonS3ConfigKey::Token, true),
    ] {
        let Some(text) = settings.text(name, "env:NAME")? else { continue };
        let value = match elsewhere(name, text).await? {
            Some(value) => value,
            None if secret => {
                return Err(wrong(format!(
                    "`{name}` is written into the manifest, where everybody reads it; write `env:NAME` or `file:PATH`"
                )));
            }
            None => text.to_owned(),
        };
        given.push(name);
        builder = builder.with_config(key, value);
    }
    let whole = given.starts_with(&["access_key_id", "secret_access_key"]);
    match settings.text("credentials", "environment")? {
        None if whole => Ok(builder),
        None => Err(wrong(
            "a bucket needs credentials: `access_key_id` and `secret_access_key`, or `credentials = \"environment\"` for what \
             this machine has, or `credentials = \"none\"`"
                .to_owned(),
        )),
        Some(_) if !given.is_empty() => Err(wrong(format!("`credentials` and `{}` exclude each other", given.join("`, `")))),
        Some("none") => Ok(builder.with_skip_signature(true)),
        Some("environment") => Ok(VARIABLES.iter().fold(builder, |builder, (variable, key)| {
            match std::env::var(variable) {
                Ok(value) if !value.is_empty() => builder.with_config(*key, value),
                _ => builder,
            }
        })),
        Some(other) => Err(wrong(format!("`credentials` is `{other}`; write `environment` or `none`"))),
    }
}

/// The endpoint, and whether it is without TLS and on this machine.
fn endpoint(settings: &Settings<'_>) -> Result<Option<(String, bool, bool)>, BlobError> {
    let Some(text) = settings.text("endpoint", "https://minio.internal:9000")? else { return Ok(None) };
    let refuse = |why: &str| wrong(format!("`endpoint` is `{}`: {why}", without_credentials(text)));
    let uri: Uri = text.parse().map_err(|_| refuse("write a URL such as `https://minio.internal:9000`"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refuse("write a URL such as `https://minio.internal:9000`"));
    };
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(refuse("credentials do not belong here; write `access_key_id` and `secret_access_key`"));
    }
    let plain = match scheme {
        "https" => false,
        "http" if settings.flag("allow_http")? => true,
        "http" => {
            return Err(refuse(
                "without TLS anybody on the way reads and changes objects; if that may be, `allow_http = true`",
            ));
        }
        _ => return Err(refuse("the scheme must be https or http")),
    };
    let host = authority.host().trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    let local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    Ok(Some((text.trim_end_matches('/').to_owned(), plain, local)))
}

/// The bucket of a URL, and the folder in it.
fn place(url: &str) -> Result<(&str, String), BlobError> {
    let shown = without_credentials(url);
    let rest = url
        .strip_prefix("s3://")
        .ok_or_else(|| wrong(format!("`{shown}` names no bucket; write `s3://bucket` or `s3://bucket/folder`")))?;
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if bucket.is_empty() || !bucket.bytes().all(plain) {
        return Err(wrong(format!(
            "`{shown}` names no bucket: its name has lower-case letters, digits, `-` and `.`; credentials are settings"
        )));
    }
    let folder = folder.trim_end_matches('/');
    let folder = Key::parse(folder).map_err(|error| wrong(format!("`{shown}` has a folder that is none: {error}")))?;
    let folder = if folder.as_ref().is_empty() { String::new() } else { format!("{folder}/") };
    Ok((bucket, folder))
}

/// The bucket that a URL and its settings name; nothing is asked of it yet.
pub(super) async fn opened(url: &str, settings: &toml::Table) -> Result<Bucket, BlobError> {
    let settings = Settings::new("s3:", settings, KNOWN)?;
    let (bucket, folder) = place(url)?;
    let timeout = settings.duration("timeout", TIMEOUT)?;
    let region = settings.text("region", "us-east-1")?.unwrap_or("us-east-1");
    let endpoint = endpoint(&settings)?;
    let authorities = match settings.text("ca", "/etc/ssl/minio.pem")? {
        None => None,
        Some(path) => Some(file("ca", path).await?),
    };
    let (plain, local) = endpoint.as_ref().map_or((false, false), |(_, plain, local)| (*plain, *local));
    let wire = Wire::new(&Reach { timeout, plain, local, authorities });
    let wire = wire.map_err(|why| {
        wrong(format!(
            "TLS cannot be set up: {why}; install the machine's authorities (`ca-certificates`), or check `ca`"
        ))
    })?;
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        ..BackoffConfig::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_allow_http(plain)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: timeout })
        .with_http_connector(wire);
    if let Some((endpoint, ..)) = &endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let builder = credentials(builder, &settings).await?;
    // Its own errors name the keys of the configuration, never their values.
    let client = builder.build().map_err(|error| wrong(format!("the bucket cannot be opened: {error}")))?;
    Ok(Bucket {
        client: Arc::new(client),
        place: format!("s3://{bucket}/{folder}").into(),
        folder: folder.into(),
        timeout,
    })
}
