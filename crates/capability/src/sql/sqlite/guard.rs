//! What a guest's statement may reach: its own database, and nothing beyond it.
//!
//! SQLite asks an authorizer for everything a statement would do, while it prepares it. What is not allowed here by name is
//! refused: another database file (`ATTACH`, `VACUUM INTO`), code from a file (`load_extension`), and whatever would change
//! a connection that others use after this one (most `PRAGMA`s, temporary tables, `BEGIN`).

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::{
    Connection,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

/// Bytes of one value and of one row, at most: SQLite builds them in memory.
pub(super) const VALUE_BYTES: i32 = 64 << 20;

/// What SQLite itself is bounded to on every connection. The defaults are for programs that trust their SQL.
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
    (Limit::SQLITE_LIMIT_COLUMN, 1000),
    // The parser and the code generator recurse on the thread's stack.
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 200),
    (Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    // `like` takes the product of pattern and text, and nothing interrupts it.
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 32),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Functions that reach outside, beside those that are not compiled in.
const REFUSED_FUNCTIONS: &[&str] = &["load_extension", "fts3_tokenizer"];

/// Virtual tables whose data is within the database.
const MODULES: &[&str] = &["fts5", "rtree", "rtree_i32"];

/// Pragmas that only tell something, with whatever they are asked about.
const TELLING: &[&str] = &[
    "collation_list",
    "compile_options",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Pragmas that tell something as long as they are given nothing.
const READABLE: &[&str] = &[
    "auto_vacuum",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "journal_mode",
    "max_page_count",
    "page_count",
    "page_size",
    "schema_version",
    "synchronous",
];

/// Pragmas that are kept in the database itself, or end with the transaction.
const OWN: &[&str] = &["application_id", "defer_foreign_keys", "optimize", "user_version"];

/// What many guests ask for at their start and have already.
const ALREADY: &[(&str, &[&str])] = &[("foreign_keys", &["on", "1", "true", "yes"]), ("journal_mode", &["wal"])];

/// The door between a connection and whoever uses it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Whether the statement is one of ours.
    ours: AtomicBool,
    /// Whether a transaction is open, in which savepoints have a meaning.
    inside: AtomicBool,
    /// Why the last statement was refused.
    why: Mutex<Option<String>>,
}

impl Gate {
    /// Lets statements of ours through while `work` runs them.
    pub(super) fn ours<T>(&self, work: impl FnOnce() -> T) -> T {
        self.ours.store(true, Ordering::Relaxed);
        let done = work();
        self.ours.store(false, Ordering::Relaxed);
        done
    }

    /// Says whether a transaction of a guest is open.
    pub(super) fn inside(&self, inside: bool) {
        self.inside.store(inside, Ordering::Relaxed);
    }

    /// Why a statement was refused since this was asked last, if one was.
    pub(super) fn why(&self) -> Option<String> {
        self.why.lock().take()
    }

    fn authorize(&self, context: AuthContext<'_>) -> Authorization {
        if self.ours.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match self.refuse(context.action) {
            None => Authorization::Allow,
            Some(why) => {
                *self.why.lock() = Some(why);
                Authorization::Deny
            }
        }
    }

    fn refuse(&self, action: AuthAction<'_>) -> Option<String> {
        let own = "a guest has no other database than its own";
        match action {
            AuthAction::Select
            | AuthAction::Recursive
            | AuthAction::Read { .. }
            | AuthAction::Insert { .. }
            | AuthAction::Update { .. }
            | AuthAction::Delete { .. }
            | AuthAction::CreateTable { .. }
            | AuthAction::CreateIndex { .. }
            | AuthAction::CreateTrigger { .. }
            | AuthAction::CreateView { .. }
            | AuthAction::DropTable { .. }
            | AuthAction::DropIndex { .. }
            | AuthAction::DropTrigger { .. }
            | AuthAction::DropView { .. }
            | AuthAction::AlterTable { .. }
            | AuthAction::Reindex { .. }
            | AuthAction::Analyze { .. } => None,
            AuthAction::Savepoint { .. } if self.inside.load(Ordering::Relaxed) => None,
            AuthAction::Savepoint { .. } => Some("a savepoint needs a transaction around it".to_owned()),
            AuthAction::CreateVtable { module_name, .. } | AuthAction::DropVtable { module_name, .. }
                if among(MODULES, module_name) =>
            {
                None
            }
            AuthAction::CreateVtable { module_name, .. } | AuthAction::DropVtable { module_name, .. } => {
                Some(format!("a guest's virtual tables are of {}; not of `{module_name}`", MODULES.join(", ")))
            }
            AuthAction::Function { function_name } if among(REFUSED_FUNCTIONS, function_name) => {
                Some(format!("a guest may not call `{function_name}`"))
            }
            AuthAction::Function { .. } => None,
            AuthAction::Pragma { pragma_name, pragma_value } => refuse_pragma(pragma_name, pragma_value),
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some(own.to_owned()),
            AuthAction::Transaction { .. } => {
                Some("a statement cannot begin or end a transaction; ask for one".to_owned())
            }
            AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::DropTempTable { .. }
            | AuthAction::DropTempIndex { .. }
            | AuthAction::DropTempTrigger { .. }
            | AuthAction::DropTempView { .. } => {
                Some("connections are shared, so that nothing on them can be temporary".to_owned())
            }
            // A newer SQLite may ask for what nobody here has thought about.
            _ => Some("the statement does something that no guest may do".to_owned()),
        }
    }
}

fn refuse_pragma(name: &str, value: Option<&str>) -> Option<String> {
    let has_already = |value: &str| {
        let found = ALREADY.iter().find(|(pragma, _)| pragma.eq_ignore_ascii_case(name));
        found.is_some_and(|(_, values)| among(values, value))
    };
    if among(TELLING, name) || among(OWN, name) {
        return None;
    }
    match value {
        None if among(READABLE, name) => None,
        Some(value) if has_already(value) => None,
        None => Some(format!("a guest may not use `pragma {name}`")),
        Some(_) => Some(format!("a guest may not set `pragma {name}`")),
    }
}

fn among(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Bounds a connection that was just opened, and puts a gate before it.
pub(super) fn guard(connection: &mut Connection, gate: &std::sync::Arc<Gate>) -> rusqlite::Result<()> {
    for (limit, value) in LIMITS {
        connection.set_limit(*limit, *value)?;
    }
    // The file may come from somebody else: nothing in its schema is trusted, and none of it can be written as data.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false)?;
    let gate = std::sync::Arc::clone(gate);
    connection.authorizer(Some(move |context: AuthContext<'_>| gate.authorize(context)))
}
