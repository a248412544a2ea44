//! The rows of an answer as they stream from a provider to whoever asked.
//!
//! A provider sends pages of rows and waits while two of them are unread, so that neither side holds more than
//! [`PAGE_BYTES`] a few times. An answer that nobody wants any more is dropped, which stops the statement. It must also be
//! read before the statement's time is over: what is unread then ends in an error, and the database is free for others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    vec,
};

use parking_lot::{Condvar, Mutex};
use samara_model::format_duration;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout_at},
};

use super::{Column, Done, SqlError, Terms, Value};

/// The values of one row, in the order of the columns.
pub type Row = Vec<Value>;

/// Rows in one page, at most.
const PAGE_ROWS: usize = 256;

/// Bytes in one page, unless one row alone is larger.
const PAGE_BYTES: u64 = 256 << 10;

/// Pages that wait to be read, at most.
const PAGES: usize = 2;

/// An answer: its columns, its rows one after the other, and what the statement did.
#[derive(Debug)]
pub struct Rows {
    columns: Arc<[Column]>,
    messages: mpsc::Receiver<Message>,
    page: vec::IntoIter<Row>,
    done: Option<Done>,
    stop: Arc<Stop>,
    /// The place among the open answers of a workload that this one takes, alone or with its transaction.
    pub(super) place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Rows {
    /// What the rows consist of; empty if the statement answers with none.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next row; `None` after the last. Once it was `None` or an error, it stays `None`.
    ///
    /// # Errors
    /// The database failed in between, the answer is over its limits, or its time is over.
    pub async fn next(&mut self) -> Result<Option<Row>, SqlError> {
        loop {
            if let Some(row) = self.page.next() {
                return Ok(Some(row));
            }
            if self.done.is_some() || self.stop.stopped() {
                return Ok(None);
            }
            match self.stop.receive(&mut self.messages).await {
                Ok(Message::Page(page)) => self.page = page.into_iter(),
                Ok(Message::Done(done)) => self.done = Some(done),
                Ok(Message::Head(_)) => {}
                Err(error) => {
                    self.stop.stop();
                    return Err(error);
                }
            }
        }
    }

    /// Waits until the statement has begun to answer.
    ///
    /// # Errors
    /// It was not accepted, or has not begun in time.
    pub(super) async fn begun(mut self) -> Result<Self, SqlError> {
        match self.stop.receive(&mut self.messages).await? {
            Message::Head(columns) => self.columns = columns,
            Message::Page(_) | Message::Done(_) => return Err(interrupted()),
        }
        Ok(self)
    }

    /// Whether the statement changes something, as far as its provider knows before its first row.
    pub(super) fn writes(&self) -> bool {
        self.stop.writes.load(Ordering::Acquire)
    }

    /// What the statement did, once [`next`](Self::next) has said `None`.
    pub fn done(&self) -> Option<Done> {
        self.done
    }

    /// All rows that are left, and what the statement did.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn collect(mut self) -> Result<(Vec<Row>, Done), SqlError> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        self.done.map(|done| (rows, done)).ok_or_else(interrupted)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// What a provider tells about a statement that runs.
#[derive(Debug)]
pub(super) enum Message {
    /// It has begun to answer. Always first.
    Head(Arc<[Column]>),
    /// Some rows.
    Page(Vec<Row>),
    /// It has ended. Always last.
    Done(Done),
}

/// What the two ends of an answer know of each other beside the pages.
#[derive(Debug)]
pub(super) struct Stop {
    /// When the statement's time is over.
    pub(super) until: Instant,
    terms: Terms,
    stopped: AtomicBool,
    /// Whether the statement is one that changes something; said before the head.
    writes: AtomicBool,
    failed: Mutex<Option<SqlError>>,
    /// A thread that waits for room sleeps here.
    room: Condvar,
    gate: Mutex<()>,
}

impl Stop {
    /// Whether nobody wants the answer any more, or its time is over: asked every few thousand steps of a statement.
    pub(super) fn now(&self) -> bool {
        self.stopped() || Instant::now() >= self.until
    }

    /// Notes, before the head is sent, that the statement changes something.
    pub(super) fn writes(&self) {
        self.writes.store(true, Ordering::Release);
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn fail(&self, error: SqlError) {
        *self.failed.lock() = Some(error);
    }

    fn wake(&self) {
        // The lock is what makes the other side either see the room or be asleep already.
        drop(self.gate.lock());
        self.room.notify_all();
    }

    /// The error for a statement whose time is over.
    pub(super) fn timed_out(&self) -> SqlError {
        SqlError::TimedOut(format!("the statement is over its time of `{}`", format_duration(self.terms.time)))
    }

    async fn receive(&self, messages: &mut mpsc::Receiver<Message>) -> Result<Message, SqlError> {
        let message = timeout_at(self.until, messages.recv()).await.map_err(|_| self.timed_out())?;
        self.wake();
        message.ok_or_else(|| self.failed.lock().take().unwrap_or_else(interrupted))
    }
}

fn interrupted() -> SqlError {
    SqlError::Backend("the answer ended before its end".to_owned())
}

/// A provider's end of an answer: it tells the columns once, then rows, then how it ended. A thread uses the methods that end
/// in `_blocking`.
#[derive(Debug)]
pub(super) struct Sink {
    messages: mpsc::Sender<Message>,
    pub(super) stop: Arc<Stop>,
    page: Vec<Row>,
    page_bytes: u64,
    rows: u64,
    bytes: u64,
}

/// The two ends of an answer to a statement that is about to run, and has until then.
pub(super) fn answer(terms: &Terms, until: Instant) -> (Rows, Sink) {
    let (messages, read) = mpsc::channel(PAGES);
    let stop = Arc::new(Stop {
        until,
        terms: terms.clone(),
        stopped: AtomicBool::new(false),
        writes: AtomicBool::new(false),
        failed: Mutex::default(),
        room: Condvar::new(),
        gate: Mutex::default(),
    });
    let sink = Sink { messages, stop: Arc::clone(&stop), page: Vec::new(), page_bytes: 0, rows: 0, bytes: 0 };
    let page = Vec::new().into_iter();
    (Rows { columns: [].into(), messages: read, page, done: None, stop, place: None }, sink)
}

impl Sink {
    /// Tells the columns: the statement was accepted and answers.
    #[cfg(any(test, feature = "postgres"))]
    pub(super) async fn head(&self, columns: Arc<[Column]>) -> Result<(), SqlError> {
        self.send(Message::Head(columns)).await
    }

    /// Adds a row; waits while the reader is behind.
    #[cfg(any(test, feature = "postgres"))]
    pub(super) async fn row(&mut self, row: Row) -> Result<(), SqlError> {
        match self.add(row)? {
            Some(page) => self.send(Message::Page(page)).await,
            None => Ok(()),
        }
    }

    /// The statement has ended, well or not.
    #[cfg(any(test, feature = "postgres"))]
    pub(super) async fn finish(mut self, done: Result<Done, SqlError>) {
        let told = async {
            let done = done?;
            let page = std::mem::take(&mut self.page);
            self.send(Message::Page(page)).await?;
            self.send(Message::Done(done)).await
        };
        if let Err(error) = told.await {
            self.stop.fail(error);
        }
    }

    /// As [`head`](Self::head).
    pub(super) fn head_blocking(&self, columns: Arc<[Column]>) -> Result<(), SqlError> {
        self.send_blocking(Message::Head(columns))
    }

    /// As [`row`](Self::row).
    pub(super) fn row_blocking(&mut self, row: Row) -> Result<(), SqlError> {
        match self.add(row)? {
            Some(page) => self.send_blocking(Message::Page(page)),
            None => Ok(()),
        }
    }

    /// As [`finish`](Self::finish).
    pub(super) fn finish_blocking(mut self, done: Result<Done, SqlError>) {
        let page = std::mem::take(&mut self.page);
        let told = done.and_then(|done| {
            self.send_blocking(Message::Page(page))?;
            self.send_blocking(Message::Done(done))
        });
        if let Err(error) = told {
            self.stop.fail(error);
        }
    }

    /// Counts a row against the limits; gives the page that is full with it.
    fn add(&mut self, row: Row) -> Result<Option<Vec<Row>>, SqlError> {
        let terms = &self.stop.terms;
        let bytes = row.iter().fold(0_u64, |sum, value| sum.saturating_add(value.size()));
        self.rows += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.rows > terms.rows {
            return Err(SqlError::TooMany { what: "rows in an answer", limit: terms.rows });
        }
        if self.bytes > terms.bytes {
            return Err(SqlError::TooLarge { what: "answer", limit: terms.bytes });
        }
        self.page.push(row);
        self.page_bytes = self.page_bytes.saturating_add(bytes);
        if self.page.len() < PAGE_ROWS && self.page_bytes < PAGE_BYTES {
            return Ok(None);
        }
        self.page_bytes = 0;
        Ok(Some(std::mem::take(&mut self.page)))
    }

    /// Waits until nobody wants the answer any more, or its time is over.
    #[cfg(feature = "postgres")]
    pub(super) fn unwanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let (messages, until) = (self.messages.clone(), self.stop.until);
        async move {
            let _ = timeout_at(until, messages.closed()).await;
        }
    }

    #[cfg(any(test, feature = "postgres"))]
    async fn send(&self, message: Message) -> Result<(), SqlError> {
        let sent = timeout_at(self.stop.until, self.messages.send(message)).await;
        sent.map_err(|_| self.stop.timed_out())?.map_err(|_| interrupted())
    }

    fn send_blocking(&self, mut message: Message) -> Result<(), SqlError> {
        let mut gate = self.stop.gate.lock();
        loop {
            message = match self.messages.try_send(message) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(message)) if !self.stop.stopped() => message,
                Err(_) => return Err(interrupted()),
            };
            if self.stop.room.wait_until(&mut gate, self.stop.until.into_std()).timed_out() {
                return Err(self.stop.timed_out());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sql::Access;

    fn terms(rows: u64, bytes: u64, time: Duration) -> Terms {
        Terms { access: Access::Read, time, rows, bytes, total_bytes: 0 }
    }

    fn ends(rows: u64, bytes: u64) -> (Rows, Sink) {
        answer(&terms(rows, bytes, Duration::from_secs(60)), Instant::now() + Duration::from_secs(60))
    }

    #[tokio::test]
    async fn rows_arrive_in_their_order_from_a_task_and_from_a_thread() {
        for thread in [false, true] {
            let (rows, mut sink) = ends(u64::MAX, u64::MAX);
            let told = async move {
                if thread {
                    tokio::task::spawn_blocking(move || {
                        sink.head_blocking([].into()).unwrap();
                        (0..5000).for_each(|n| sink.row_blocking(vec![Value::Integer(n)]).unwrap());
                        sink.finish_blocking(Ok(Done::default()));
                    });
                } else {
                    sink.head([].into()).await.unwrap();
                    for n in 0..5000 {
                        sink.row(vec![Value::Integer(n)]).await.unwrap();
                    }
                    sink.finish(Ok(Done::default())).await;
                }
            };
            let read = async { rows.begun().await.unwrap().collect().await.unwrap().0 };
            let ((), read) = tokio::join!(told, read);
            let expected: Vec<Row> = (0..5000).map(|n| vec![Value::Integer(n)]).collect();
            assert_eq!(read, expected);
        }
    }

    #[tokio::test]
    async fn an_answer_is_bounded_in_rows_and_in_bytes() {
        let (_rows, mut sink) = ends(2, u64::MAX);
        sink.row(vec![Value::Null]).await.unwrap();
        sink.row(vec![Value::Null]).await.unwrap();
        let refused = SqlError::TooMany { what: "rows in an answer", limit: 2 };
        assert_eq!(sink.row(vec![Value::Null]).await, Err(refused));

        let (_rows, mut sink) = ends(u64::MAX, 40);
        sink.row(vec![Value::Null]).await.unwrap();
        let refused = SqlError::TooLarge { what: "answer", limit: 40 };
        assert_eq!(sink.row(vec!["123456789".into()]).await, Err(refused));
    }

    #[tokio::test]
    async fn a_reader_that_leaves_wakes_the_thread_that_waits_for_it() {
        let (rows, mut sink) = ends(u64::MAX, u64::MAX);
        let thread = tokio::task::spawn_blocking(move || {
            sink.head_blocking([].into()).unwrap();
            loop {
                if let Err(error) = sink.row_blocking(vec!["row".into()]) {
                    return error;
                }
            }
        });
        let mut rows = rows.begun().await.unwrap();
        assert!(rows.next().await.unwrap().is_some());
        drop(rows);
        assert_eq!(thread.await.unwrap(), interrupted());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_in_time_holds_nobody() {
        let (rows, mut sink) = {
            let time = Duration::from_millis(50);
            answer(&terms(u64::MAX, u64::MAX, time), Instant::now() + time)
        };
        let thread = tokio::task::spawn_blocking(move || {
            sink.head_blocking([].into()).unwrap();
            loop {
                if let Err(error) = sink.row_blocking(vec!["row".into()]) {
                    return error;
                }
            }
        });
        let mut rows = rows.begun().await.unwrap();
        let error = thread.await.unwrap();
        assert!(matches!(&error, SqlError::TimedOut(why) if why.contains("50ms")), "{error}");
        while let Ok(Some(_)) = rows.next().await {}
        assert_eq!(rows.next().await, Ok(None), "an answer that failed has ended");
        assert_eq!(rows.done(), None);
    }

    #[tokio::test]
    async fn an_error_in_between_is_told_once() {
        let (rows, sink) = ends(9, 999);
        sink.head([].into()).await.unwrap();
        sink.finish(Err(SqlError::Backend("gone".into()))).await;
        let mut rows = rows.begun().await.unwrap();
        assert_eq!(rows.next().await, Err(SqlError::Backend("gone".into())));
        assert_eq!(rows.next().await, Ok(None));

        let (rows, sink) = ends(9, 999);
        sink.finish(Err(SqlError::ReadOnly)).await;
        assert_eq!(rows.begun().await.unwrap_err(), SqlError::ReadOnly);
    }
}
