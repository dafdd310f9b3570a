//! SQLite's errors under the store's names.

use rusqlite::{Connection, ErrorCode, ffi};

use crate::engine::error::Error;

/// Names an error of a statement. The connection tells which index a violated uniqueness belongs to.
pub(in crate::engine) fn failure(
    connection: &Connection,
    error: &rusqlite::Error,
    sql: &str,
) -> Error {
    let rusqlite::Error::SqliteFailure(cause, message) = error else {
        return Error::refused(&error.to_string(), sql);
    };
    let message = message.as_deref().unwrap_or("no message");
    match cause.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::Busy,
        ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::OutOfMemory
        | ErrorCode::FileLockingProtocolFailed => Error::Unavailable(message.to_owned()),
        ErrorCode::ConstraintViolation => constraint(connection, cause.extended_code, message)
            .unwrap_or_else(|| Error::refused(message, sql)),
        _ => Error::refused(message, sql),
    }
}

fn constraint(connection: &Connection, code: i32, message: &str) -> Option<Error> {
    let (_, subject) = message.split_once("constraint failed")?;
    let subject = subject.trim_start_matches(':').trim();
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => Some(Error::Unique {
            constraint: unique_name(connection, subject)?,
        }),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Some(Error::ForeignKey),
        ffi::SQLITE_CONSTRAINT_CHECK => Some(Error::Check {
            constraint: subject.to_owned(),
        }),
        ffi::SQLITE_CONSTRAINT_NOTNULL => Some(Error::Check {
            constraint: format!("{}_not_null", subject.replace('.', "_")),
        }),
        _ => None,
    }
}

/// The name of the unique index over the columns SQLite lists, as PostgreSQL would call it.
///
/// SQLite says `index 'name'` for an index over expressions and `table.a, table.b` for all others. Of two partial
/// indexes over the same columns the newer is named.
fn unique_name(connection: &Connection, subject: &str) -> Option<String> {
    if let Some(quoted) = subject.strip_prefix("index ") {
        return Some(quoted.trim_matches('\'').to_owned());
    }
    let mut table = "";
    let mut columns = Vec::new();
    for qualified in subject.split(", ") {
        let (owner, column) = qualified.split_once('.')?;
        table = owner;
        columns.push(column);
    }
    let (index, origin) = unique_index(connection, table, &columns.join(","))
        .ok()
        .flatten()
        // A rowid table's INTEGER PRIMARY KEY has no index.
        .unwrap_or((String::new(), "pk".to_owned()));
    Some(match origin.as_str() {
        "c" => index,
        "u" => format!("{table}_{}_key", columns.join("_")),
        _ => format!("{table}_pkey"),
    })
}

/// Name and origin (`c` a CREATE INDEX, `u` a UNIQUE, `pk` the primary key) of the unique index over these columns.
fn unique_index(
    connection: &Connection,
    table: &str,
    columns: &str,
) -> rusqlite::Result<Option<(String, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT list.name, list.origin FROM pragma_index_list($1) AS list
         WHERE list.\"unique\" = 1
           AND (SELECT group_concat(name, ',') FROM
                   (SELECT name FROM pragma_index_info(list.name) ORDER BY seqno)) = $2
         ORDER BY list.seq LIMIT 1",
    )?;
    let mut rows = statement.query((table, columns))?;
    match rows.next()? {
        Some(row) => Ok(Some((row.get(0)?, row.get(1)?))),
        None => Ok(None),
    }
}
