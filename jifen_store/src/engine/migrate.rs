//! The schema's versions: what there is, what is applied, what comes next.
//!
//! Each engine has its own text of a migration. A migration that has been released is never edited; the checksum recorded
//! with it finds out.

use aws_lc_rs::digest;

use super::Engine;
use super::error::{Error, Result};

/// Every migration, in order. Append only.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_mall",
        sqlite: include_str!("../../migrations/sqlite/0001_mall.sql"),
        postgres: include_str!("../../migrations/postgres/0001_mall.sql"),
    },
    Migration {
        name: "0002_metering",
        sqlite: include_str!("../../migrations/sqlite/0002_metering.sql"),
        postgres: include_str!("../../migrations/postgres/0002_metering.sql"),
    },
];

/// The record of what was applied, the same text on both engines. `applied_at` is the database's clock, in microseconds
/// since 1970.
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    name TEXT NOT NULL PRIMARY KEY,
    checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)";

/// The columns of [`Applied`].
pub(super) const SELECT_APPLIED: &str =
    "SELECT name, checksum FROM schema_migrations ORDER BY name";

/// One step of the schema.
pub(super) struct Migration {
    /// Four digits and what it is about; the names sort as they are applied.
    pub(super) name: &'static str,
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Migration {
    /// SHA-256 of the engine's text, in hexadecimal.
    pub(super) fn checksum(&self, engine: Engine) -> String {
        let text = match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        };
        sha256(text)
    }
}

/// A migration as the database remembers it.
pub(super) struct Applied {
    pub(super) name: String,
    pub(super) checksum: String,
}

/// The first migration that is missing.
///
/// # Errors
/// [`Error::Migration`] when what is applied is not a beginning of `migrations`.
pub(super) fn next(
    migrations: &'static [Migration],
    engine: Engine,
    applied: &[Applied],
) -> Result<Option<&'static Migration>> {
    let mut known = migrations.iter();
    for done in applied {
        let Some(migration) = known.next().filter(|known| known.name == done.name) else {
            return Err(Error::Migration(format!(
                "it has {}, which this version does not know here; run the version that wrote it, or a newer one",
                done.name
            )));
        };
        if migration.checksum(engine) != done.checksum {
            return Err(Error::Migration(format!(
                "{} is not the text that was applied; a released migration must not be edited",
                done.name
            )));
        }
    }
    Ok(known.next())
}

/// A name for the schema all migrations make together, 16 hexadecimal characters.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn fingerprint(engine: Engine) -> String {
    let checksums: String = MIGRATIONS
        .iter()
        .map(|migration| migration.checksum(engine))
        .collect();
    sha256(&checksums).chars().take(16).collect()
}

fn sha256(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut hexadecimal = String::with_capacity(64);
    for byte in digest.as_ref() {
        for digit in [byte >> 4, byte & 15] {
            hexadecimal.extend(char::from_digit(digit.into(), 16));
        }
    }
    hexadecimal
}
