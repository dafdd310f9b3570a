//! A user's API keys. Version 1 of the interface knows live keys only, and neither caps nor limits.

mod change;

use jifen_domain::key::{
    self, ApiKey, Caps, EXPIRY_MONTHS, KEYS_PER_USER_MAX, ROTATION_GRACE_SECONDS_MAX, Spending,
    china_month_days,
};
use jifen_domain::ledger::{Grant, LotSource};
use jifen_domain::{Points, Time, UserId};
use jifen_store::{KeySpending, Tx};

use crate::App;
use crate::error::{Error, Result, Text};
use crate::secret::{API_KEY_PREFIX, Purpose, TEST_KEY_PREFIX, hint, random_id, random_key};

pub use change::{Change, KeyChange};

/// A key as its owner wants it.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Shown to the owner.
    pub name: String,
    /// Calendar months it lives.
    pub expiry_months: i64,
    /// It spends play points only.
    pub is_test: bool,
    /// Everything else.
    pub settings: KeyChange,
}

/// A key just made, with its secret: the only time it is told.
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// What the holder sends.
    pub secret: String,
}

/// A key with a new secret: the only time it is told.
pub struct RotatedKey {
    /// The key.
    pub key: ApiKey,
    /// What the holder sends from now on.
    pub secret: String,
    /// Until then the secret before it works, too.
    pub old_valid_until: Time,
}

/// What the account of test keys is filled up to whenever one is made.
const PLAY_POINTS: i64 = 10_000;

const NO_SUCH_KEY: Text = Text::new("没有这个 API Key", "no such API key");

impl App {
    /// A user's live keys, newest first.
    pub async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>> {
        let mut keys = self.all_api_keys(user).await?;
        keys.retain(|key| !key.is_test);
        Ok(keys)
    }

    /// A user's live and test keys, newest first. At most [`KEYS_PER_USER_MAX`].
    pub async fn all_api_keys(&self, user: UserId) -> Result<Vec<ApiKey>> {
        Ok(self.store.read().await?.api_keys(user).await?)
    }

    /// One key of a user.
    pub async fn api_key(&self, user: UserId, id: &str) -> Result<ApiKey> {
        own(self.store.read().await?.api_key(id).await?, user)
    }

    /// Makes a live key that lives for so many calendar months.
    pub async fn create_api_key(
        &self,
        user: UserId,
        name: &str,
        expiry_months: i64,
    ) -> Result<CreatedKey> {
        let wanted = NewKey {
            name: name.to_owned(),
            expiry_months,
            ..NewKey::default()
        };
        self.make_api_key(user, wanted).await
    }

    /// Makes a key.
    pub async fn make_api_key(&self, user: UserId, wanted: NewKey) -> Result<CreatedKey> {
        let name = key::name(&wanted.name).map_err(|error| Error::from_text("name", error))?;
        let months = EXPIRY_MONTHS
            .into_iter()
            .find(|months| i64::from(*months) == wanted.expiry_months);
        let months = months.ok_or(Error::invalid(
            "expiryMonths",
            Text::new("只能是 1、3、6 或 12", "must be 1, 3, 6 or 12"),
        ))?;
        let now = self.now();
        let prefix = if wanted.is_test {
            TEST_KEY_PREFIX
        } else {
            API_KEY_PREFIX
        };
        let secret = random_key(prefix, &*self.environment);
        let mut key = ApiKey {
            id: random_id(&*self.environment),
            user,
            name: name.to_owned(),
            active: true,
            is_test: wanted.is_test,
            hint: hint(&secret),
            created_at: now,
            expires_at: now.plus_months(months),
            last_used_at: None,
            deleted_at: None,
            caps: Caps::NONE,
            rate: None,
            ip_ranges: Vec::new(),
            scopes: Vec::new(),
        };
        wanted.settings.apply(&mut key, now)?;

        let mut tx = self.store.begin().await?;
        // Locked, so that parallel calls cannot pass the limit together.
        key.user = tx
            .lock_user(user)
            .await?
            .ok_or_else(|| Error::internal(format!("user {user} is gone")))?
            .id;
        require_room(&mut tx, key.user).await?;
        let secret_hash = self.hasher.hash(Purpose::ApiKey, &secret);
        tx.insert_api_key(&key, &secret_hash).await?;
        if key.is_test {
            self.give_play_points(&mut tx, key.user).await?;
        }
        if !key.caps.is_none() {
            tx.start_key_spending(&nothing_spent(&key, now)).await?;
        }
        self.changes_secrets(&mut tx, &[secret_hash]);
        tx.commit().await?;
        Ok(CreatedKey { key, secret })
    }

    /// Fills the account of a user's test keys up.
    async fn give_play_points(&self, tx: &mut Tx, user: UserId) -> Result<()> {
        let now = self.now();
        let id = tx.ensure_test_account(user).await?;
        let account = tx.lock_account(id).await?;
        let mut account = account.ok_or_else(|| Error::internal("no account for test keys"))?;
        account
            .expire(now)
            .map_err(|refused| Error::internal(refused.to_string()))?;
        let left = account.available(now).unwrap_or_default();
        let missing = Points::new(PLAY_POINTS).and_then(|full| full.checked_sub(left));
        if let Some(points) = missing.filter(|points| points.is_movable()) {
            let grant = Grant {
                source: LotSource::Gift {
                    key: format!("play/{}", random_id(&*self.environment)),
                },
                points,
                expires_at: None,
                title: "test key".to_owned(),
            };
            account
                .grant(grant, now)
                .map_err(|refused| Error::internal(refused.to_string()))?;
        }
        Ok(tx.append_journal(&account).await?)
    }

    /// Changes a key, at once.
    pub async fn change_api_key(
        &self,
        user: UserId,
        id: &str,
        change: KeyChange,
    ) -> Result<ApiKey> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let mut key = lock_own_key(&mut tx, user, id).await?;
        let was_counted = !key.caps.is_none();
        change.apply(&mut key, now)?;
        if !was_counted && !key.caps.is_none() {
            let spent = spent_so_far(&mut tx, &key, now).await?;
            tx.start_key_spending(&spent).await?;
        }
        if was_counted && key.caps.is_none() {
            tx.stop_key_spending(&key.id, key.account()).await?;
        }
        self.write_key(tx, &key).await?;
        Ok(key)
    }

    /// Gives a key a new secret. Name, caps and history stay; the old secret works for `grace_seconds` more, and one that
    /// was replaced before it no longer.
    pub async fn rotate_api_key(
        &self,
        user: UserId,
        id: &str,
        grace_seconds: i64,
    ) -> Result<RotatedKey> {
        if !(0..=ROTATION_GRACE_SECONDS_MAX).contains(&grace_seconds) {
            let text = Text::owned(
                format!("须为 0 至 {ROTATION_GRACE_SECONDS_MAX}"),
                format!("must be 0 to {ROTATION_GRACE_SECONDS_MAX}"),
            );
            return Err(Error::Invalid {
                field: "graceSeconds",
                text,
            });
        }
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let mut key = lock_own_key(&mut tx, user, id).await?;
        if now >= key.expires_at {
            let text = Text::new(
                "API Key 已过期，请新建一个",
                "the API key has expired: make a new one",
            );
            return Err(Error::invalid("id", text));
        }
        let prefix = if key.is_test {
            TEST_KEY_PREFIX
        } else {
            API_KEY_PREFIX
        };
        let secret = random_key(prefix, &*self.environment);
        let old_valid_until = now.plus_seconds(grace_seconds);
        let replaced = tx.api_key_secret_hashes(&key.id).await?;
        // One that was replaced before is deleted below, and would not be found any more.
        self.changes_secrets(&mut tx, &replaced);
        let secret_hash = self.hasher.hash(Purpose::ApiKey, &secret);
        tx.replace_api_key_secret(&key.id, &secret_hash, old_valid_until)
            .await?;
        key.hint = hint(&secret);
        self.write_key(tx, &key).await?;
        Ok(RotatedKey {
            key,
            secret,
            old_valid_until,
        })
    }

    /// Deletes a key for good, at once. Its name stays in the histories.
    pub async fn remove_api_key(&self, user: UserId, id: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let key = lock_own_key(&mut tx, user, id).await?;
        self.delete_key(tx, key).await
    }

    /// Switches a live key on or off, at once.
    pub async fn set_api_key_active(&self, user: UserId, id: &str, active: bool) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let mut key = live(lock_own_key(&mut tx, user, id).await?)?;
        change::set_active(&mut key, active, self.now(), "status")?;
        self.write_key(tx, &key).await
    }

    /// Deletes a live key for good, at once.
    pub async fn delete_api_key(&self, user: UserId, id: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let key = live(lock_own_key(&mut tx, user, id).await?)?;
        self.delete_key(tx, key).await
    }

    async fn delete_key(&self, mut tx: Tx, mut key: ApiKey) -> Result<()> {
        key.deleted_at = Some(self.now());
        tx.stop_key_spending(&key.id, key.account()).await?;
        self.write_key(tx, &key).await
    }

    /// The change counts from the moment this returns, on this node and, as soon as they have heard of it, on the others.
    async fn write_key(&self, mut tx: Tx, key: &ApiKey) -> Result<()> {
        tx.update_api_key(key).await?;
        let hashes = tx.api_key_secret_hashes(&key.id).await?;
        self.changes_secrets(&mut tx, &hashes);
        Ok(tx.commit().await?)
    }
}

async fn require_room(tx: &mut Tx, user: UserId) -> Result<()> {
    let keys = i64::try_from(tx.api_keys(user).await?.len()).unwrap_or(i64::MAX);
    if keys < KEYS_PER_USER_MAX {
        return Ok(());
    }
    let text = Text::owned(
        format!("最多 {KEYS_PER_USER_MAX} 个 API Key，请先删除不用的"),
        format!("at most {KEYS_PER_USER_MAX} API keys: delete one first"),
    );
    Err(Error::Invalid {
        field: "name",
        text,
    })
}

/// What a key had spent before its first cap was set. Its account is locked.
async fn spent_so_far(tx: &mut Tx, key: &ApiKey, now: Time) -> Result<KeySpending> {
    let mut spent = nothing_spent(key, now);
    let day = spent.spending.day;
    let (day_points, month_points, total_points) = tx
        .spent_by_key(spent.account, &key.id, day, china_month_days(now))
        .await?;
    // More may have been given back in a time than was spent in it.
    let points = |points: i64| Points::new(points).unwrap_or(Points::ZERO);
    spent.spending.day_points = points(day_points);
    spent.spending.month_points = points(month_points);
    spent.spending.total_points = points(total_points);
    Ok(spent)
}

fn nothing_spent(key: &ApiKey, now: Time) -> KeySpending {
    KeySpending {
        key_id: key.id.clone(),
        account: key.account(),
        spending: Spending::none(now),
    }
}

/// Locks a key and, as charges do, before it the account it spends from.
async fn lock_own_key(tx: &mut Tx, user: UserId, id: &str) -> Result<ApiKey> {
    let account = own(tx.api_key(id).await?, user)?.account();
    tx.lock_accounts(&[account]).await?;
    own(tx.lock_api_key(id).await?, user)
}

fn own(key: Option<ApiKey>, user: UserId) -> Result<ApiKey> {
    key.filter(|key| key.user == user && key.deleted_at.is_none())
        .ok_or(Error::NotFound(NO_SUCH_KEY))
}

fn live(key: ApiKey) -> Result<ApiKey> {
    if key.is_test {
        Err(Error::NotFound(NO_SUCH_KEY))
    } else {
        Ok(key)
    }
}
