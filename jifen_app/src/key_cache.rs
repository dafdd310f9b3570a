//! Whose secret it is, remembered for a while: gateways ask about the same keys again and again.
//!
//! A secret is looked up by its keyed hash. What is found is believed for [`believed_seconds`] at most, and forgotten at once
//! when this node changes it; other nodes hear of it through [`App::follow_key_changes`]. That nobody has a secret is
//! remembered, too, apart from what is known, so that noise neither asks the database again nor drives keys out.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jifen_domain::Time;
use jifen_domain::key::{ApiKey, KeyRefused};
use jifen_store::{Change, ServiceCredential, Tx};
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use tokio::sync::broadcast::error::RecvError;

use crate::App;
use crate::error::{Error, Result, Text};
use crate::secret::{API_KEY_PREFIXES, Purpose, SERVICE_CREDENTIAL_PREFIX, is_well_formed};

/// Seconds for which an answer of the database is believed. A change of somebody else is late by five at most: where others are
/// heard, what is missed of them is noticed as soon, and only what was written past the mall takes a minute.
const fn believed_seconds(is_listening: bool) -> i64 {
    if is_listening { 60 } else { 5 }
}

/// API keys remembered; about 500 bytes each.
const API_KEYS_MAX: usize = 50_000;
/// Service credentials remembered.
const CREDENTIALS_MAX: usize = 1_000;
/// Secrets remembered as nobody's, of each kind.
const UNKNOWN_MAX: usize = 20_000;
/// Room made when the mall starts; the rest is made when it is needed.
const FIRST_ROOM: usize = 1_024;
/// Secrets that are forgotten together. A power of two.
const SLOTS: usize = 1_024;
/// Under which topic nodes tell each other whose secrets to forget.
const TOPIC: &str = "secret";

impl App {
    /// The API key with this secret, whether or not it may be used: see [`ApiKey::allows`].
    ///
    /// # Errors
    /// [`Error::KeyRefused`] when there is none, or it was deleted.
    pub async fn find_api_key(&self, secret: &str) -> Result<Arc<ApiKey>> {
        self.api_key_of(secret)
            .await?
            .ok_or(refused(KeyRefused::Unknown))
    }

    /// The API key its holder shows to ask about it, unless it is expired or off. From where and for what it may be used is
    /// not looked at: nothing is spent.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when there is no such key, [`Error::KeyRefused`] when it is expired or off.
    pub async fn authenticate_key_holder(&self, secret: &str) -> Result<Arc<ApiKey>> {
        let unknown = || Error::Unauthenticated(Text::new("API Key 无效", "unknown API key"));
        let key = self.api_key_of(secret).await?.ok_or_else(unknown)?;
        key.usable(self.now()).map_err(refused)?;
        Ok(key)
    }

    /// The gateway a service credential belongs to.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when it is nobody's, or revoked.
    pub async fn authenticate_service(&self, secret: &str) -> Result<Arc<ServiceCredential>> {
        let unknown = || {
            Error::Unauthenticated(Text::new(
                "服务凭证无效",
                "unknown or revoked service credential",
            ))
        };
        if !is_well_formed(SERVICE_CREDENTIAL_PREFIX, secret) {
            return Err(unknown());
        }
        let hash = self.hasher.digest(Purpose::ServiceCredential, secret);
        let read = async |_| {
            let mut tx = self.store.read().await?;
            let found = tx.service_credential_by_hash(&hash).await?;
            let valid = found.filter(|credential| credential.revoked_at.is_none());
            Ok(valid.map(|credential| (credential, None)))
        };
        let seconds = believed_seconds(self.store.is_listening());
        let found = self.credentials.find(hash, self.now(), seconds, read);
        let found = found.await?;
        found.ok_or_else(unknown)
    }

    async fn api_key_of(&self, secret: &str) -> Result<Option<Arc<ApiKey>>> {
        if !API_KEY_PREFIXES
            .iter()
            .any(|prefix| is_well_formed(prefix, secret))
        {
            return Ok(None);
        }
        let hash = self.hasher.digest(Purpose::ApiKey, secret);
        let read = async |now| {
            let mut tx = self.store.read().await?;
            let found = tx.api_key_by_hash(&hash, now).await?;
            let not_deleted = found.filter(|found| found.key.deleted_at.is_none());
            Ok(not_deleted.map(|found| (found.key, found.valid_until)))
        };
        let seconds = believed_seconds(self.store.is_listening());
        self.api_keys.find(hash, self.now(), seconds, read).await
    }

    /// Forgets what other nodes have changed, as soon as they say so. Runs until the mall ends; without it, such changes
    /// are seen when what is remembered is too old.
    pub fn follow_key_changes(&self) -> impl Future<Output = ()> + use<> {
        let app = self.clone();
        let mut changes = app.store.subscribe();
        async move {
            loop {
                match changes.recv().await {
                    Ok(Change::Made { topic, key }) if topic == TOPIC => match key.parse() {
                        Ok(slot) => app.forget_secrets(slot),
                        Err(_) => app.forget_all_secrets(),
                    },
                    Ok(Change::Made { .. }) => {}
                    Ok(Change::Missed) | Err(RecvError::Lagged(_)) => app.forget_all_secrets(),
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    fn forget_all_secrets(&self) {
        (0..SLOTS).for_each(|slot| self.forget_secrets(slot));
    }

    fn forget_secrets(&self, slot: usize) {
        self.api_keys.forget(slot);
        self.credentials.forget(slot);
    }

    /// To be called before a transaction that changes what these secrets open is committed: other nodes will hear of it,
    /// and this one has forgotten them when the outcome is there, whatever it is.
    pub(crate) fn changes_secrets(&self, tx: &mut Tx, hashes: &[Vec<u8>]) {
        let slots: Vec<usize> = hashes.iter().map(|hash| slot_of(hash)).collect();
        for slot in &slots {
            tx.announce(TOPIC, &slot.to_string());
        }
        let app = self.clone();
        tx.keep_until_decided(ForgetOnDrop { app, slots });
    }
}

/// To be called in a transaction that gives keys another owner: every node will forget all secrets.
pub(crate) fn announce_new_owners(tx: &mut Tx) {
    tx.announce(TOPIC, "all");
}

fn refused(refused: KeyRefused) -> Error {
    Error::KeyRefused {
        limit: refused.into(),
        balance: None,
        limited: None,
    }
}

/// See [`App::changes_secrets`].
struct ForgetOnDrop {
    app: App,
    slots: Vec<usize>,
}

impl Drop for ForgetOnDrop {
    fn drop(&mut self) {
        for slot in &self.slots {
            self.app.forget_secrets(*slot);
        }
    }
}

/// What is remembered of one kind of secret, by keyed hash.
pub(crate) struct SecretCache<T> {
    owners: Cache<SecretHash, Remembered<Owner<T>>>,
    /// Nobody's.
    unknown: Cache<SecretHash, Remembered<()>>,
    /// How often the secrets of each slot were forgotten. Counted before the database is asked and compared when the answer
    /// is used, so that an answer from before a change is never believed after it.
    changes: Box<[AtomicU64]>,
}

/// A keyed hash, of 256 bits that nobody can foresee.
pub(crate) type SecretHash = [u8; 32];

struct Owner<T> {
    owner: Arc<T>,
    /// From then on the secret is nobody's.
    valid_until: Option<Time>,
}

impl<T> Clone for Owner<T> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
            valid_until: self.valid_until,
        }
    }
}

#[derive(Clone)]
struct Remembered<V> {
    value: V,
    read_at: Time,
    changes: u64,
}

impl SecretCache<ApiKey> {
    pub(crate) fn of_api_keys() -> Self {
        Self::new(API_KEYS_MAX)
    }
}

impl SecretCache<ServiceCredential> {
    pub(crate) fn of_credentials() -> Self {
        Self::new(CREDENTIALS_MAX)
    }
}

impl<T> SecretCache<T> {
    fn new(owners_max: usize) -> Self {
        Self {
            owners: bounded(owners_max),
            unknown: bounded(UNKNOWN_MAX),
            changes: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whose secret it is, as remembered or else as `read` from the database, with the end of the secret's life.
    async fn find<F>(
        &self,
        hash: SecretHash,
        now: Time,
        believed_seconds: i64,
        read: impl FnOnce(Time) -> F,
    ) -> Result<Option<Arc<T>>>
    where
        F: Future<Output = Result<Option<(T, Option<Time>)>>>,
    {
        let changes = self.changes_of(slot_of(&hash));
        let since = now.plus_seconds(-believed_seconds);
        if let Some(known) = recall(&self.owners, &hash, changes, since, now) {
            let is_valid = known.valid_until.is_none_or(|until| now < until);
            return Ok(is_valid.then_some(known.owner));
        }
        if recall(&self.unknown, &hash, changes, since, now).is_some() {
            return Ok(None);
        }
        let found = read(now).await?;
        let owner = found.map(|(owner, valid_until)| Owner {
            owner: Arc::new(owner),
            valid_until,
        });
        match &owner {
            Some(owner) => remember(&self.owners, hash, owner.clone(), changes, now),
            None => remember(&self.unknown, hash, (), changes, now),
        }
        Ok(owner.map(|owner| owner.owner))
    }

    fn forget(&self, slot: usize) {
        if let Some(changes) = self.changes.get(slot) {
            changes.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn changes_of(&self, slot: usize) -> u64 {
        self.changes
            .get(slot)
            .map_or(0, |changes| changes.load(Ordering::SeqCst))
    }
}

fn bounded<V: Clone>(entries_max: usize) -> Cache<SecretHash, V> {
    let weight_max = u64::try_from(entries_max).unwrap_or(u64::MAX);
    Cache::with_weighter(entries_max.min(FIRST_ROOM), weight_max, UnitWeighter)
}

fn recall<V: Clone>(
    cache: &Cache<SecretHash, Remembered<V>>,
    hash: &SecretHash,
    changes: u64,
    since: Time,
    now: Time,
) -> Option<V> {
    let found = cache.get(hash)?;
    let is_fresh = found.changes == changes && since < found.read_at && found.read_at <= now;
    is_fresh.then_some(found.value)
}

fn remember<K: Eq + Hash, V: Clone>(
    cache: &Cache<K, Remembered<V>>,
    hash: K,
    value: V,
    changes: u64,
    read_at: Time,
) {
    let remembered = Remembered {
        value,
        read_at,
        changes,
    };
    cache.insert(hash, remembered);
}

/// A part of the hash that tells nothing of the secret.
fn slot_of(hash: &[u8]) -> usize {
    hash.iter()
        .take(2)
        .fold(0, |slot, byte| slot << 8 | usize::from(*byte))
        % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const HASH: SecretHash = [7; 32];

    fn at(seconds: i64) -> Time {
        Time::from_seconds(seconds).unwrap()
    }

    /// What the cache finds, and how often it has asked the database, in which there is `owner`.
    struct Asked<'a> {
        cache: &'a SecretCache<&'static str>,
        owner: Cell<Option<&'static str>>,
        valid_until: Cell<Option<Time>>,
        is_listening: Cell<bool>,
        times: Cell<u32>,
    }

    impl<'a> Asked<'a> {
        fn new(cache: &'a SecretCache<&'static str>, owner: Option<&'static str>) -> Self {
            Self {
                cache,
                owner: Cell::new(owner),
                valid_until: Cell::new(None),
                is_listening: Cell::new(false),
                times: Cell::new(0),
            }
        }

        async fn at(&self, seconds: i64) -> (Option<&'static str>, u32) {
            let read = async |_| {
                self.times.set(self.times.get() + 1);
                Ok(self
                    .owner
                    .get()
                    .map(|owner| (owner, self.valid_until.get())))
            };
            let believed = believed_seconds(self.is_listening.get());
            let found = self.cache.find(HASH, at(seconds), believed, read);
            let found = found.await.unwrap();
            (found.map(|owner| *owner), self.times.get())
        }
    }

    #[tokio::test]
    async fn an_answer_is_believed_for_five_seconds_and_for_a_minute_where_others_are_heard() {
        for owner in [Some("k"), None] {
            let cache = SecretCache::new(10);
            let asked = Asked::new(&cache, owner);
            assert_eq!(asked.at(0).await, (owner, 1));
            assert_eq!(asked.at(4).await, (owner, 1));
            assert_eq!(asked.at(5).await, (owner, 2));
            assert_eq!(asked.at(-1).await, (owner, 3), "the clock was set back");
            asked.is_listening.set(true);
            assert_eq!(asked.at(58).await, (owner, 3));
            assert_eq!(asked.at(59).await, (owner, 4));
            // Nobody is heard any more: what is older than five seconds is no longer believed at once.
            asked.is_listening.set(false);
            assert_eq!(asked.at(63).await, (owner, 4));
            assert_eq!(asked.at(64).await, (owner, 5));
        }
    }

    #[tokio::test]
    async fn a_change_is_seen_at_once() {
        let cache = SecretCache::new(10);
        let asked = Asked::new(&cache, Some("before"));
        asked.at(0).await;
        asked.owner.set(Some("after"));
        assert_eq!(asked.at(0).await, (Some("before"), 1));
        cache.forget(slot_of(&HASH));
        assert_eq!(asked.at(0).await, (Some("after"), 2));
        asked.owner.set(None);
        cache.forget(slot_of(&HASH));
        assert_eq!(asked.at(0).await, (None, 3));
        asked.owner.set(Some("again"));
        cache.forget(slot_of(&HASH) + 1);
        assert_eq!(asked.at(0).await, (None, 3), "another slot's change");
        cache.forget(SLOTS);
        cache.forget(slot_of(&HASH));
        assert_eq!(asked.at(0).await, (Some("again"), 4));
    }

    #[tokio::test]
    async fn an_answer_from_before_a_change_is_not_believed_after_it() {
        let cache = SecretCache::new(10);
        let read = async |_| {
            // The change is committed after it was read, and before it is remembered.
            cache.forget(slot_of(&HASH));
            Ok(Some(("before", None)))
        };
        assert!(cache.find(HASH, at(0), 5, read).await.unwrap().is_some());
        let asked = Asked::new(&cache, Some("after"));
        assert_eq!(asked.at(0).await, (Some("after"), 1));
    }

    #[tokio::test]
    async fn a_replaced_secret_ends_while_it_is_remembered() {
        let cache = SecretCache::new(10);
        let asked = Asked::new(&cache, Some("k"));
        asked.valid_until.set(Some(at(3)));
        assert_eq!(asked.at(2).await, (Some("k"), 1));
        assert_eq!(asked.at(3).await, (None, 1));
    }

    #[tokio::test]
    async fn noise_does_not_drive_out_what_is_known_and_stays_bounded() {
        let cache = SecretCache::new(10);
        let asked = Asked::new(&cache, Some("k"));
        asked.at(0).await;
        for number in 0..2 * UNKNOWN_MAX as u64 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            let read = async |_| Ok(None);
            assert!(cache.find(hash, at(0), 5, read).await.unwrap().is_none());
        }
        assert!(cache.unknown.len() <= UNKNOWN_MAX);
        assert_eq!(asked.at(0).await, (Some("k"), 1));
    }
}
