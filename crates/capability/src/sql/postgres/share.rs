//! A share's part of a database: a schema, and an account of its own that can reach no other.
//!
//! A `SET ROLE` or a `search_path` would not keep guests apart: a statement can undo both. So the pool of a share logs in as
//! the share's own account, which owns nothing but what it makes. The account of the URL is only used to make it, once, and
//! needs `CREATEROLE` and the right to create schemas for that. The password is derived from the URL's, so that all hosts
//! that know the URL know it and nobody has to keep it; the server is told its SCRAM verifier only.
//!
//! What PostgreSQL does not keep apart, and shares can therefore see of each other: the names of schemas, tables and accounts
//! in the catalogs, the channels of `NOTIFY`, advisory locks, and whatever the operator granted to `PUBLIC`.

use std::fmt::Write as _;

use ring::{hmac, rand::SecureRandom as _};
use tokio::time::Instant;
use tokio_postgres::Config;

use super::server::{Line, Server};
use crate::sql::{Share, SqlError};

/// What the names of accounts and schemas begin with.
const PREFIX: &str = "samara_";

/// Bytes of a name, at most: PostgreSQL cuts longer ones without asking, and two would be one.
const NAME_BYTES: usize = 63;

/// Settings of each session; the statements of a guest can change them for themselves. A host that is gone leaves no
/// transaction open for long, and no statement running for ever.
const SESSION: &str = "-c TimeZone=UTC -c idle_in_transaction_session_timeout=1min -c statement_timeout=1h";

/// The account and the schema of a share are called the same.
fn name(share: &Share) -> Result<String, SqlError> {
    let name = format!("{PREFIX}{}", share.as_str());
    if name.len() > NAME_BYTES {
        let most = NAME_BYTES - PREFIX.len();
        return Err(SqlError::Configuration(format!(
            "`{}` is too long for a name of PostgreSQL; a tenant with a database there has at most {most} characters",
            share.as_str()
        )));
    }
    Ok(name)
}

/// The server as a share sees it: the account and the schema are made if they are not there.
///
/// # Errors
/// The server does not answer, or the account of the URL may not make others.
pub(super) async fn enter(server: &Server, share: &Share, until: Instant) -> Result<Server, SqlError> {
    let name = name(share)?;
    let password = password(&server.config, &name)?;
    let mut own = server.clone();
    own.config.user(&name).password(&password);
    let given = server.config.get_options().unwrap_or_default();
    // A name has no space and no backslash in it, which is all that would need an escape here.
    own.config.options(format!("{given} -c search_path=\"{name}\" {SESSION}"));
    match is_there(&own, &name, until).await {
        Ok(true) => return Ok(own),
        Ok(false) => {}
        Err(error) if error.is_refused_account() => {}
        Err(error) => return Err(error),
    }
    let line = server.connect(until).await?;
    make(server, &line, &name, &password).await?;
    if is_there(&own, &name, until).await? {
        return Ok(own);
    }
    Err(SqlError::Configuration(format!(
        "`{}`: the schema `{name}` is there and belongs to somebody else",
        server.place
    )))
}

/// Logs in as the share, and looks whether its schema is there and its own.
async fn is_there(own: &Server, name: &str, until: Instant) -> Result<bool, SqlError> {
    let line = own.connect(until).await?;
    let asked = "SELECT coalesce(has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE'), false) \
        FROM pg_namespace WHERE nspname = $1";
    let found = own.told(line.client.query_opt(asked, &[&name]).await, &line)?;
    Ok(found.is_some_and(|row| row.try_get(0).unwrap_or(false)))
}

async fn make(server: &Server, line: &Line, name: &str, password: &str) -> Result<(), SqlError> {
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    // Neither a name nor a verifier has a quote in it. Hosts that start together wait for one another.
    let text = format!(
        "BEGIN;
        SELECT pg_advisory_xact_lock(7310889461);
        DO $do$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE \"{name}\"; END IF;
        END $do$;
        ALTER ROLE \"{name}\" NOINHERIT NOCREATEROLE NOCREATEDB LOGIN PASSWORD '{verifier}';
        CREATE SCHEMA IF NOT EXISTS \"{name}\";
        GRANT USAGE, CREATE ON SCHEMA \"{name}\" TO \"{name}\";
        DO $do$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO \"{name}\"', current_database()); END $do$;
        COMMIT"
    );
    let made = server.told(line.client.batch_execute(&text).await, line);
    made.map_err(|error| match error {
        SqlError::Statement(why) => SqlError::Configuration(format!(
            "`{}`: tenants are kept apart by an account and a schema for each, and these cannot be made: {}; give the account \
             of the URL CREATEROLE and CREATE on the database, or write `separate = false` to use it as it is",
            server.place, why.message
        )),
        other => other,
    })
}

/// The password of a share's account.
fn password(config: &Config, name: &str) -> Result<String, SqlError> {
    let mut random = [0; 32];
    let secret = match config.get_password() {
        Some(password) => password,
        // A server that asks the URL for no password asks the share for none, or it is set anew by each host that comes.
        None => {
            let filled = ring::rand::SystemRandom::new().fill(&mut random);
            filled.map_err(|_| SqlError::Backend("this machine has no random numbers".to_owned()))?;
            &random
        }
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("samara sql account {name}").as_bytes());
    let mut text = String::with_capacity(64);
    for byte in tag.as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use samara_model::Tenant;

    use super::*;

    #[test]
    fn a_password_is_the_same_on_every_host_and_another_for_every_account() {
        let config = |text: &str| text.parse::<Config>().unwrap();
        let of = |config: &Config, account: &str| password(config, account).unwrap();
        let url = config("postgres://a:secret@db/x");
        assert_eq!(of(&url, "samara_a"), of(&config("postgres://b:secret@other/y"), "samara_a"));
        assert_ne!(of(&url, "samara_a"), of(&url, "samara_b"));
        assert_ne!(of(&url, "samara_a"), of(&config("postgres://a:other@db/x"), "samara_a"));
        let open = config("postgres://a@db/x");
        assert_ne!(of(&open, "samara_a"), of(&open, "samara_a"), "without a secret it cannot be guessed");
        assert!(!of(&url, "samara_a").contains("secret"));
    }

    #[test]
    fn a_name_that_would_be_cut_is_refused() {
        let share = |length: usize| Share::of(&Tenant::new(&"t".repeat(length)).unwrap());
        assert_eq!(name(&share(56)).unwrap().len(), NAME_BYTES);
        assert!(name(&share(57)).unwrap_err().to_string().contains("at most 56 characters"));
    }
}
