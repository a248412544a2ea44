//! What can be told of a statement by its text: its first word.
//!
//! Nothing here parses SQL, and nothing is kept apart by it: that is the databases' work. The first word tells whether a
//! statement belongs to a transaction's frame (`begin`, `commit`), which is not sent as a statement but done by
//! [`Sql::begin`](super::Sql::begin), because connections are shared.

use super::SqlError;

/// Statements that open, close or divide transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// `begin`, `start transaction`.
    Begin,
    /// `commit`, `end`.
    Commit,
    /// `rollback` and `abort`, but not `rollback to`.
    Rollback,
}

/// The frame that a statement is, if it is one.
pub(super) fn frame(text: &str) -> Option<Frame> {
    let (first, rest) = word(text);
    let is = |expected: &str| first.eq_ignore_ascii_case(expected);
    if is("begin") || is("start") {
        return Some(Frame::Begin);
    }
    if is("commit") || is("end") {
        return Some(Frame::Commit);
    }
    if is("abort") {
        return Some(Frame::Rollback);
    }
    // `rollback [transaction | work] to [savepoint] x` stays inside.
    let (mut second, rest) = word(rest);
    if second.eq_ignore_ascii_case("transaction") || second.eq_ignore_ascii_case("work") {
        second = word(rest).0;
    }
    (is("rollback") && !second.eq_ignore_ascii_case("to")).then_some(Frame::Rollback)
}

/// Words that a frame may have: those that mean what the transactions here are.
const FRAMING: &[&str] = &[
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "transaction",
    "work",
    "deferred",
    "immediate",
    "exclusive",
];

/// Checks that a frame is nothing but one: what it says beyond that would be lost, because no database sees it.
///
/// # Errors
/// It asks for another kind of transaction, or another statement follows it.
pub(super) fn check_frame(text: &str) -> Result<(), SqlError> {
    let mut rest = blank(text);
    while !rest.is_empty() {
        let (next, after) = word(rest);
        if !FRAMING.iter().any(|known| known.eq_ignore_ascii_case(next)) {
            return Err(SqlError::Refused(
                "a statement that begins or ends a transaction says nothing else; give what follows a call of its own"
                    .to_owned(),
            ));
        }
        rest = blank(after);
    }
    Ok(())
}

/// Checks what every database would choke on, and that the statement is not the frame of a transaction.
///
/// # Errors
/// There is no statement, it holds a NUL, or it is a frame.
pub(super) fn check(text: &str) -> Result<(), SqlError> {
    if text.contains('\0') {
        return Err(SqlError::Refused("a statement has no NUL in it; give it as a parameter".to_owned()));
    }
    if blank(text).is_empty() {
        return Err(SqlError::Refused("the statement is empty".to_owned()));
    }
    match frame(text) {
        None => Ok(()),
        Some(_) => Err(SqlError::Refused(
            "connections are shared, so that a statement cannot begin or end a transaction; ask for one".to_owned(),
        )),
    }
}

/// Whether a statement probably only reads. A guess, to send it to where it likely belongs.
pub(super) fn reads(text: &str) -> bool {
    let (first, _) = word(text);
    ["select", "values", "with", "explain", "pragma"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// Statements that PostgreSQL runs in a transaction that may only read, unless they lead to others.
#[cfg(any(test, feature = "postgres"))]
const READING: &[&str] = &[
    "select",
    "values",
    "with",
    "explain",
    "table",
    "show",
    "set",
    "reset",
    "declare",
    "fetch",
    "move",
    "close",
    "savepoint",
    "release",
    "rollback",
    "listen",
    "unlisten",
    "notify",
    "discard",
    "deallocate",
];

/// Words within such a statement that make it change something: in `with` and behind `explain`, `select ... into`, locked rows
/// (`for update`), sequences.
#[cfg(any(test, feature = "postgres"))]
const WRITING: &[&str] =
    &["insert", "update", "delete", "merge", "into", "create", "execute", "share", "nextval", "setval"];

/// Whether a statement of PostgreSQL's may need the right to change something. A guess that is rather a yes: any of the words
/// may be in a text or a name. What no text tells is that a function of the guest's own writes.
#[cfg(any(test, feature = "postgres"))]
pub(super) fn may_write(text: &str) -> bool {
    let among = |words: &[&str], word: &str| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    let (first, rest) = word(text.trim_start_matches(|c: char| c == '(' || c.is_whitespace()));
    let mut words = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    !among(READING, first) || words.any(|word| among(WRITING, word))
}

/// Whether a statement adds rows, so that the number of the last one says something. `with` may lead to anything.
pub(super) fn may_insert(text: &str) -> bool {
    let (first, _) = word(text);
    ["insert", "replace", "with"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = blank(text);
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.split_at(end)
}

/// The text without the space, comments and semicolons before its first word.
fn blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(comment) = text.strip_prefix("--") {
            text = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = text.strip_prefix("/*") {
            text = after_comment(comment);
        } else {
            return text;
        }
    }
}

/// What follows a comment. PostgreSQL's nest and SQLite's do not; taken as nested, one of SQLite's can only hide what follows
/// from us, and SQLite's authorizer looks again.
fn after_comment(mut text: &str) -> &str {
    let mut depth = 1_u32;
    while depth > 0 {
        let Some(mark) = text.find(['*', '/']) else { return "" };
        let (_, rest) = text.split_at(mark);
        let (step, length) = match rest.get(..2) {
            Some("*/") => (-1, 2),
            Some("/*") => (1, 2),
            _ => (0, 1),
        };
        depth = depth.saturating_add_signed(step);
        text = rest.get(length..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_frame(text: &str, expected: Option<Frame>) {
        assert_eq!(frame(text), expected, "{text}");
    }

    #[test]
    fn the_frame_of_a_transaction_is_known_by_its_words() {
        check_frame("BEGIN", Some(Frame::Begin));
        check_frame(" ;; begin immediate;", Some(Frame::Begin));
        check_frame("-- x\n/* y /* z */ */ Start Transaction read only", Some(Frame::Begin));
        check_frame("commit;", Some(Frame::Commit));
        check_frame("END TRANSACTION", Some(Frame::Commit));
        check_frame("rollback", Some(Frame::Rollback));
        check_frame("abort", Some(Frame::Rollback));
        check_frame("rollback to savepoint x", None);
        check_frame("rollback transaction to x", None);
        check_frame("rollback work", Some(Frame::Rollback));
        check_frame("select 'begin'", None);
        check_frame("beginning", None);
        check_frame("savepoint x", None);
        check_frame("", None);
    }

    #[test]
    fn what_is_no_statement_is_refused() {
        for text in ["", " \n;", "-- only a comment", "/* no end", "/* a */ -- b", "select '\0'", "begin", "Commit"] {
            assert!(matches!(check(text), Err(SqlError::Refused(_))), "{text:?}");
        }
        for text in ["select 1", "(select 1)", "-- a\nselect 1", "/**/select 1", "é"] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn statements_that_may_write_are_guessed_by_their_words() {
        for text in [
            "insert into t values (1) returning n",
            "/* select */ Update t set n = 1",
            "with gone as (delete from t returning n) select n from gone",
            "select n into u from t",
            "select n from t for no key update",
            "select nextval('s')",
            "explain analyze insert into t values (1)",
            "create table t ()",
            "call p()",
        ] {
            assert!(may_write(text), "{text}");
        }
        for text in [
            "select updated_at, deleted from t",
            "(select 1) union values (2)",
            "( (select 1))",
            "with a as (select 1) select * from a",
            "show search_path",
            "set local search_path = x",
            "explain select 1",
        ] {
            assert!(!may_write(text), "{text}");
        }
    }

    #[test]
    fn statements_that_add_rows_are_known() {
        assert!(
            may_insert("Insert into t values (1)") && may_insert("replace into t") && may_insert("with a as (b) x")
        );
        assert!(!may_insert("update t set a = 1") && !may_insert("select 1"));
    }
}
