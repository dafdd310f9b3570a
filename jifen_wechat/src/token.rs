//! The access token of an app: fetched once, shared by all nodes, renewed before it expires.
//!
//! Fetched with `POST /cgi-bin/stable_token` in normal mode, which gives every caller the same token
//! while it is valid, so that nodes cannot invalidate each other's. Inside a process one refresh is in flight;
//! between nodes the [`TokenStore`] decides by a lease and by compare-and-swap on a version.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::SecretString;

mod source;

pub(crate) use source::{TokenSettings, TokenSource};

/// An access token as it is stored. At least 512 characters have to fit.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token.
    pub value: SecretString,
    /// When WeChat will no longer accept it, in seconds since 1970.
    pub expires_at_unix_seconds: i64,
}

/// What the store holds for an app.
#[derive(Debug, Clone, Default)]
pub struct TokenRecord {
    /// Counts the successful [`TokenStore::save`] calls for this app: 0 before the first.
    pub version: i64,
    /// The token last saved. `None` before the first and after the last was dropped.
    pub token: Option<AccessToken>,
}

/// A failure inside the caller's [`TokenStore`].
#[derive(Debug, thiserror::Error)]
#[error("the access token store failed")]
pub struct TokenStoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What a [`TokenStore`] returns.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, TokenStoreError>> + Send + 'a>>;

/// Where the nodes share access tokens, one row per app id: `version`, the token, its expiry and the end of a lease.
///
/// The three verbs have to be atomic. `version` only ever grows, also when a token is dropped, so that an answer that was
/// under way for long cannot overwrite what came after it.
pub trait TokenStore: Send + Sync {
    /// The record of `app_id`; [`TokenRecord::default`] when there is none.
    fn load<'a>(&'a self, app_id: &'a str) -> StoreFuture<'a, TokenRecord>;

    /// Takes the lease if nobody holds one that ends after `now_unix_seconds`; it then ends `lease_seconds` later by
    /// itself. Returns whether it was taken. The lease only saves calls; correctness rests on `save`.
    fn try_lease<'a>(
        &'a self,
        app_id: &'a str,
        now_unix_seconds: i64,
        lease_seconds: u32,
    ) -> StoreFuture<'a, bool>;

    /// If the version is still `expected_version`: replaces the token (`None` drops it), adds one to the version, ends the
    /// lease and returns true. Otherwise changes nothing and returns false.
    fn save<'a>(
        &'a self,
        app_id: &'a str,
        expected_version: i64,
        token: Option<&'a AccessToken>,
    ) -> StoreFuture<'a, bool>;
}

/// A store for a single process.
#[derive(Default)]
pub struct MemoryTokenStore {
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Default)]
struct Entry {
    record: TokenRecord,
    leased_until_unix_seconds: i64,
}

impl MemoryTokenStore {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Entries are replaced as a whole, so a panic elsewhere leaves nothing half-done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryTokenStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryTokenStore")
            .finish_non_exhaustive()
    }
}

impl TokenStore for MemoryTokenStore {
    fn load<'a>(&'a self, app_id: &'a str) -> StoreFuture<'a, TokenRecord> {
        let record = self.entries().get(app_id).map(|entry| entry.record.clone());
        Box::pin(async { Ok(record.unwrap_or_default()) })
    }

    fn try_lease<'a>(
        &'a self,
        app_id: &'a str,
        now_unix_seconds: i64,
        lease_seconds: u32,
    ) -> StoreFuture<'a, bool> {
        let mut entries = self.entries();
        let entry = entries.entry(app_id.to_owned()).or_default();
        let is_free = entry.leased_until_unix_seconds <= now_unix_seconds;
        if is_free {
            entry.leased_until_unix_seconds =
                now_unix_seconds.saturating_add(i64::from(lease_seconds));
        }
        Box::pin(async move { Ok(is_free) })
    }

    fn save<'a>(
        &'a self,
        app_id: &'a str,
        expected_version: i64,
        token: Option<&'a AccessToken>,
    ) -> StoreFuture<'a, bool> {
        let mut entries = self.entries();
        let entry = entries.entry(app_id.to_owned()).or_default();
        let is_current = entry.record.version == expected_version;
        if is_current {
            *entry = Entry {
                record: TokenRecord {
                    version: expected_version + 1,
                    token: token.cloned(),
                },
                leased_until_unix_seconds: 0,
            };
        }
        Box::pin(async move { Ok(is_current) })
    }
}
