//! PostgreSQL's errors under the store's names.

use std::error::Error as _;

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use tokio_postgres::error::{DbError, SqlState};

use crate::engine::error::Error;

/// Names an error of a statement. Of what the server says only the code and the message are kept: its detail quotes the
/// values of the row.
pub(super) fn failure(error: &tokio_postgres::Error, sql: &str) -> Error {
    match error.as_db_error() {
        Some(refusal) => refused(refusal, sql),
        None if error.is_closed() => Error::Unavailable("the connection is closed".to_owned()),
        None => Error::Unavailable(with_causes(error)),
    }
}

/// Names why a transaction did not begin; a server that only serves readers refuses it.
pub(super) fn begin_failure(error: &tokio_postgres::Error) -> Error {
    Error::Unavailable(match error.as_db_error() {
        Some(refusal) => format!("{} ({})", refusal.message(), refusal.code().code()),
        None => with_causes(error),
    })
}

/// Whether the statements prepared on this connection no longer fit the schema, which another node has migrated.
pub(super) fn is_stale_plan(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(is_stale)
}

/// Names why there is no connection.
pub(super) fn pool_failure(error: &PoolError) -> Error {
    Error::Unavailable(match error {
        PoolError::Timeout(TimeoutType::Wait) => "no connection became free in time".to_owned(),
        PoolError::Timeout(_) => "the server did not answer in time".to_owned(),
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            match error.as_db_error() {
                Some(refusal) => refusal.message().to_owned(),
                None => with_causes(error),
            }
        }
        PoolError::Closed => "the pool is closed".to_owned(),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            "a connection could not be set up".to_owned()
        }
    })
}

fn refused(refusal: &DbError, sql: &str) -> Error {
    let code = refusal.code();
    let constraint = || refusal.constraint().unwrap_or_default().to_owned();
    if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::EXCLUSION_VIOLATION {
        return Error::Unique {
            constraint: constraint(),
        };
    }
    if *code == SqlState::FOREIGN_KEY_VIOLATION || *code == SqlState::RESTRICT_VIOLATION {
        return Error::ForeignKey;
    }
    if *code == SqlState::CHECK_VIOLATION {
        return Error::Check {
            constraint: constraint(),
        };
    }
    if *code == SqlState::NOT_NULL_VIOLATION {
        let table = refusal.table().unwrap_or_default();
        let column = refusal.column().unwrap_or_default();
        return Error::Check {
            constraint: format!("{table}_{column}_not_null"),
        };
    }
    if is_stale(refusal)
        || *code == SqlState::T_R_DEADLOCK_DETECTED
        || *code == SqlState::T_R_SERIALIZATION_FAILURE
        || *code == SqlState::LOCK_NOT_AVAILABLE
    {
        return Error::Busy;
    }
    let unavailable = ["08", "53", "57", "58"]
        .iter()
        .any(|class| code.code().starts_with(class))
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
    let message = format!("{} ({})", refusal.message(), code.code());
    if unavailable {
        Error::Unavailable(message)
    } else {
        Error::refused(&message, sql)
    }
}

fn is_stale(refusal: &DbError) -> bool {
    // "cached plan must not change result type" has no code of its own.
    *refusal.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        || (*refusal.code() == SqlState::FEATURE_NOT_SUPPORTED
            && refusal.routine() == Some("RevalidateCachedQuery"))
}

/// The error and what caused it: refused connections, certificates, values of the wrong kind. None of them quotes data.
fn with_causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
