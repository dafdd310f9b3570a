//! A user's API keys.

use jifen_domain::UserId;
use jifen_domain::key::{self, ApiKey, EXPIRY_MONTHS, KEYS_PER_USER_MAX, KeyRefused};
use jifen_store::Tx;

use crate::App;
use crate::error::{Error, Result, Text};
use crate::secret::{API_KEY_PREFIX, Purpose, random_id, random_key};

/// A key just made, with its secret: the only time it is told.
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// What the holder sends.
    pub secret: String,
}

const NO_SUCH_KEY: Text = Text::new("没有这个 API Key", "no such API key");

impl App {
    /// A user's keys, newest first.
    pub async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>> {
        Ok(self.store.read().await?.api_keys(user).await?)
    }

    /// Makes a key that lives for so many calendar months.
    pub async fn create_api_key(
        &self,
        user: UserId,
        name: &str,
        expiry_months: i64,
    ) -> Result<CreatedKey> {
        let name = key::name(name).map_err(|error| Error::from_text("name", error))?;
        let months = EXPIRY_MONTHS
            .into_iter()
            .find(|months| i64::from(*months) == expiry_months);
        let months = months.ok_or(Error::invalid(
            "expiryMonths",
            Text::new("只能是 1、3、6 或 12", "must be 1, 3, 6 or 12"),
        ))?;
        let now = self.now();

        let mut tx = self.store.begin().await?;
        // Locked, so that parallel calls cannot pass the limit together.
        let user = tx
            .lock_user(user)
            .await?
            .ok_or_else(|| Error::internal(format!("user {user} is gone")))?
            .id;
        let live = i64::try_from(tx.api_keys(user).await?.len()).unwrap_or(i64::MAX);
        if live >= KEYS_PER_USER_MAX {
            let text = Text::owned(
                format!("最多 {KEYS_PER_USER_MAX} 个 API Key，请先删除不用的"),
                format!("at most {KEYS_PER_USER_MAX} API keys: delete one first"),
            );
            return Err(Error::Invalid {
                field: "name",
                text,
            });
        }
        let secret = random_key(API_KEY_PREFIX, &*self.environment);
        let key = ApiKey {
            id: random_id(&*self.environment),
            user,
            name: name.to_owned(),
            active: true,
            created_at: now,
            expires_at: now.plus_months(months),
            last_used_at: None,
            deleted_at: None,
        };
        tx.insert_api_key(&key, &self.hasher.hash(Purpose::ApiKey, &secret))
            .await?;
        tx.commit().await?;
        Ok(CreatedKey { key, secret })
    }

    /// Switches a key on or off, at once.
    pub async fn set_api_key_active(&self, user: UserId, id: &str, active: bool) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let mut key = own_key(&mut tx, user, id).await?;
        key.set_active(active, self.now())
            .map_err(|refused| match refused {
                KeyRefused::Expired => Error::invalid(
                    "status",
                    Text::new(
                        "API Key 已过期，无法启用",
                        "the API key has expired and cannot be activated",
                    ),
                ),
                KeyRefused::Unknown | KeyRefused::Inactive => Error::NotFound(NO_SUCH_KEY),
            })?;
        tx.update_api_key(&key).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes a key for good, at once. Its name stays in the histories.
    pub async fn delete_api_key(&self, user: UserId, id: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let mut key = own_key(&mut tx, user, id).await?;
        key.deleted_at = Some(self.now());
        tx.update_api_key(&key).await?;
        Ok(tx.commit().await?)
    }
}

async fn own_key(tx: &mut Tx, user: UserId, id: &str) -> Result<ApiKey> {
    match tx.lock_api_key(id).await? {
        Some(key) if key.user == user && key.deleted_at.is_none() => Ok(key),
        _ => Err(Error::NotFound(NO_SUCH_KEY)),
    }
}
