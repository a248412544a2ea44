//! A server and an account on it: how connections are opened, how a statement on one is stopped, and what its errors mean.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::{CancelToken, Client, Config, NoTls, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::wire::{Bound, Bounded, Tls, dial};
use crate::sql::{Rejection, SqlError};

/// Bytes of one message of the server, at most; so of one row as well.
const MESSAGE_BYTES: u64 = 64 << 20;

/// How long a server has to stop a statement, and to clean up a connection after one.
pub(super) const TIDY: Duration = Duration::from_secs(2);

/// A server, an account and its password.
#[derive(Clone)]
pub(super) struct Server {
    /// With credentials: never printed.
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    /// The URL without credentials.
    pub(super) place: Arc<str>,
    /// How long it may take to connect.
    pub(super) timeout: Duration,
    /// Where connections live.
    pub(super) runtime: Handle,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("place", &self.place).finish_non_exhaustive()
    }
}

/// How a statement came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    ByItself,
    WhenAsked,
    /// It has not, or nobody knows.
    Never,
}

/// How long a statement may take to end by itself, once nobody wants its answer.
const ENDING: Duration = Duration::from_millis(10);

/// How long to wait for a statement to stop before asking again.
const AGAIN: Duration = Duration::from_millis(100);

/// A connection that is open. Dropped, its socket is closed at once, whatever the server still does.
pub(super) struct Line {
    pub(super) client: Client,
    over: Arc<AtomicBool>,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("closed", &self.client.is_closed()).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens a connection, within the server's own time and until then.
    ///
    /// # Errors
    /// Nobody answers, or not in time, or the account is refused.
    pub(super) async fn connect(&self, until: Instant) -> Result<Line, SqlError> {
        let until = until.min(Instant::now() + self.timeout);
        let connecting = timeout_at(until, self.open()).await;
        connecting.unwrap_or_else(|_| Err(SqlError::TimedOut(format!("`{}` does not answer", self.place))))
    }

    async fn open(&self) -> Result<Line, SqlError> {
        let over = Arc::<AtomicBool>::default();
        let bound = Bound { most: MESSAGE_BYTES, over: Arc::clone(&over) };
        let (wire, host) = dial(&self.config)
            .await
            .map_err(|error| SqlError::Backend(format!("`{}` cannot be reached: {error}", self.place)))?;
        let refused = |error| self.tell(&error, None);
        let (client, driver) = match &self.tls {
            None => {
                let opened = self.config.connect_raw(Bounded::new(wire, bound), NoTls).await;
                let (client, connection) = opened.map_err(refused)?;
                (client, self.runtime.spawn(connection).abort_handle())
            }
            Some(make) => {
                let opened = self.config.connect_raw(wire, Tls::new(make, &host, bound)).await;
                let (client, connection) = opened.map_err(refused)?;
                (client, self.runtime.spawn(connection).abort_handle())
            }
        };
        Ok(Line { client, over, driver })
    }

    /// Waits until nothing runs on a connection any more, and sees to it. The last of its asking may be late, so that
    /// whatever runs there next may be hit.
    pub(super) async fn stop(&self, line: &Line) -> Stopped {
        let mut ended = pin!(line.client.simple_query(""));
        // Most are at their end already: then the connection is as it should be.
        if let Ok(ended) = timeout(ENDING, &mut ended).await {
            return if ended.is_ok() { Stopped::ByItself } else { Stopped::Never };
        }
        let until = Instant::now() + TIDY;
        while Instant::now() < until {
            // Asked before the statement has arrived there, the server finds nothing to stop.
            self.cancel(line.client.cancel_token()).await;
            if let Ok(ended) = timeout(AGAIN, &mut ended).await {
                return if ended.is_ok() { Stopped::WhenAsked } else { Stopped::Never };
            }
        }
        Stopped::Never
    }

    async fn cancel(&self, token: CancelToken) {
        let asked = async {
            let (wire, host) = dial(&self.config).await.ok()?;
            match &self.tls {
                None => token.cancel_query_raw(wire, NoTls).await.ok(),
                Some(make) => {
                    let bound = Bound { most: MESSAGE_BYTES, over: Arc::default() };
                    token.cancel_query_raw(wire, Tls::new(make, &host, bound)).await.ok()
                }
            }
        };
        // If it cannot be asked, the connection is closed, and the server notices when it has rows to send.
        let _ = timeout(TIDY, asked).await;
    }

    /// An error of the client's in our words; of a statement, if there is a line it ran on.
    pub(super) fn tell(&self, error: &tokio_postgres::Error, line: Option<&Line>) -> SqlError {
        let place = &self.place;
        let Some(said) = error.as_db_error() else {
            if line.is_some_and(|line| line.over.load(Ordering::Acquire)) {
                return SqlError::TooLarge { what: "row", limit: MESSAGE_BYTES };
            }
            let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
            return SqlError::Backend(format!("`{place}`: {error}{cause}"));
        };
        let code = said.code();
        // The server's own words name the account.
        if line.is_none() && code.code().starts_with("28") {
            return SqlError::Configuration(format!(
                "`{place}` refuses the account of its URL; check user and password"
            ));
        }
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            return SqlError::ReadOnly;
        }
        // Connections, resources, shut-downs, the server's own faults.
        let theirs = ["08", "53", "57P", "58", "XX"].iter().any(|class| code.code().starts_with(class));
        if theirs || line.is_none() {
            return SqlError::Backend(format!("`{place}`: {}", said.message()));
        }
        let about = [
            ("schema", said.schema()),
            ("table", said.table()),
            ("column", said.column()),
            ("datatype", said.datatype()),
            ("constraint", said.constraint()),
        ];
        SqlError::Statement(Box::new(Rejection {
            code: code.code().to_owned(),
            severity: said.severity().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
            about: about.into_iter().filter_map(|(name, word)| Some((name, word?.to_owned()))).collect(),
        }))
    }

    /// Turns what the client says of this server into our error.
    pub(super) fn told<T>(&self, result: Result<T, tokio_postgres::Error>, line: &Line) -> Result<T, SqlError> {
        result.map_err(|error| self.tell(&error, Some(line)))
    }
}

impl SqlError {
    /// Whether the account does not exist or its password is another.
    pub(super) fn is_refused_account(&self) -> bool {
        matches!(self, Self::Configuration(_))
    }
}
