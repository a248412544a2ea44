//! SQL provider on a PostgreSQL server (`postgres://user@host/database`, also `postgresql:`). The password is in the URL or,
//! better, where the setting `password` says (`password = "env:SHOP_DB_PASSWORD"`).
//!
//! Statements run on a pool of connections, each as a transaction of its own. A statement that may only read runs in a
//! transaction that the server keeps from writing. A statement that is dropped or over its time is cancelled on the server.
//! What a guest sets in its session ends with the statement or the transaction. A function that a `select` calls and that
//! writes has written even if the answer is then over its limit.
//!
//! **Shares.** Each has a schema and an account of its own, which are made when it is opened first (`share.rs` says how, and
//! what the server does not keep apart). With the setting `separate = false` the account of the URL is used as it is: what it
//! may do, every workload with a grant may do, whatever its tenant.
//!
//! **TLS.** `sslmode=require` in the URL asks for it, and the server's certificate must then be of a public authority or of
//! the one in the file that the setting `ca` names. Without it nothing is encrypted.
//!
//! **Bounds.** The size of a database (`sql_total`) is the server's business and is not bounded here.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{runtime::Handle, time::Instant};
use tokio_postgres::{Config, config::SslMode};

use self::{
    pool::{Held, Pool},
    run::{Around, BEGIN_READ, Failed, run},
    server::Server,
    transaction::Open,
};
use super::{
    Access, Dialect, Provider, Rows, Share, Sql, SqlError, Statement, Terms, Transaction, rows::answer,
    settings::Settings, statement::check,
};
use crate::without_credentials;

mod decode;
mod encode;
mod pool;
mod run;
mod server;
mod share;
mod transaction;
mod wire;

/// The default of `connections`.
const CONNECTIONS: usize = 8;

/// The most that `connections` may be.
const MOST_CONNECTIONS: usize = 256;

/// The default of `timeout`: how long a server has to accept a connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The provider under one of its schemes.
#[derive(Debug)]
pub(super) struct Postgres(pub(super) &'static str);

#[async_trait]
impl Provider for Postgres {
    fn scheme(&self) -> &'static str {
        self.0
    }

    async fn open(&self, url: &str, settings: &toml::Table, share: &Share) -> Result<Arc<dyn Sql>, SqlError> {
        let mut settings = Settings::new(self.0, settings);
        let connections = settings.number("connections", CONNECTIONS, MOST_CONNECTIONS)?;
        let timeout = settings.duration("timeout", TIMEOUT)?;
        let separate = settings.flag("separate", true)?;
        let password = settings.secret("password").await?;
        let authority = settings.text("ca")?.map(PathBuf::from);
        settings.end()?;
        let place: Arc<str> = without_credentials(url).into();
        // What the parser says of a URL that it cannot read may be a part of it.
        let wrong = |why: &str| {
            SqlError::Configuration(format!("`{place}` {why}; write `postgres://user:password@host/database`"))
        };
        let mut config: Config = url.parse().map_err(|_| wrong("is not a URL of PostgreSQL"))?;
        if let Some(password) = password {
            config.password(password.expose());
        }
        if config.get_hosts().is_empty() {
            return Err(wrong("names no server"));
        }
        let tls = if config.get_ssl_mode() == SslMode::Require || authority.is_some() {
            config.ssl_mode(SslMode::Require);
            Some(wire::tls(authority.as_deref())?)
        } else {
            config.ssl_mode(SslMode::Disable);
            None
        };
        config.application_name("samara");
        let server = Server { config, tls, place: Arc::clone(&place), timeout, runtime: Handle::current() };
        let until = Instant::now() + timeout;
        let (server, home) = if separate {
            (share::enter(&server, share, until).await?, Some((server, share.clone())))
        } else {
            (server, None)
        };
        let first = server.connect(until).await?;
        Ok(Arc::new(Database { pool: Pool::new(server, home, first, connections) }))
    }
}

/// A database that is open.
#[derive(Debug)]
struct Database {
    pool: Arc<Pool>,
}

#[async_trait]
impl Sql for Database {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn query(&self, statement: Statement, terms: &Terms) -> Result<Rows, SqlError> {
        check(&statement.text)?;
        let until = Instant::now() + terms.time;
        let (rows, mut sink) = answer(terms, until);
        let mut held = self.pool.take(until).await?;
        let terms = terms.clone();
        let runtime = held.pool.server.runtime.clone();
        // A task, because the connection has to be cleaned up even if nobody waits for the answer any more.
        runtime.spawn(async move {
            let unwanted = sink.unwanted();
            let Held { session, pool, .. } = &mut held;
            let done = tokio::select! {
                biased;
                done = run(&pool.server, session, &statement, &terms, Around::Nothing, &mut sink) => done,
                () = unwanted => Err(Failed::Unread(sink.stop.timed_out())),
            };
            match done {
                Err(Failed::Unread(error)) => {
                    sink.finish(Err(error)).await;
                    held.stop().await;
                }
                done => {
                    held.give_back();
                    sink.finish(done.map_err(Failed::into_error)).await;
                }
            }
        });
        rows.begun().await
    }

    async fn begin(&self, terms: &Terms, time: Duration) -> Result<Box<dyn Transaction>, SqlError> {
        let until = Instant::now() + terms.time;
        let held = self.pool.take(until).await?;
        let begin = if terms.access == Access::Read { BEGIN_READ } else { "BEGIN" };
        let (line, server) = (&held.session.line, &held.pool.server);
        let begun = tokio::time::timeout_at(until, line.client.batch_execute(begin)).await;
        let begun = begun.map_err(|_| SqlError::TimedOut(format!("`{}` does not answer", server.place)))?;
        server.told(begun, line)?;
        Ok(Box::new(Open::new(held, time)))
    }
}
