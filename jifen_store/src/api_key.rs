//! API keys of users, and service credentials of gateways. Only keyed hashes of the secrets are stored.

use jifen_domain::key::ApiKey;
use jifen_domain::{Time, UserId};

use crate::engine::Row;
use crate::{Result, Tx};

/// What a gateway of the operator authenticates with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCredential {
    /// Opaque, not secret.
    pub id: String,
    /// Given by the operator.
    pub name: String,
    /// When it was made.
    pub created_at: Time,
    /// From then on it is refused.
    pub revoked_at: Option<Time>,
}

impl Tx {
    /// Adds a key.
    pub async fn insert_api_key(&mut self, key: &ApiKey, key_hash: &[u8]) -> Result<()> {
        self.execute(
            "INSERT INTO api_keys (id, user_id, name, key_hash, active, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                (&key.id).into(),
                key.user.0.into(),
                (&key.name).into(),
                key_hash.into(),
                key.active.into(),
                key.created_at.micros().into(),
                key.expires_at.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// Writes whether a key is on, and whether it was deleted.
    pub async fn update_api_key(&mut self, key: &ApiKey) -> Result<()> {
        self.execute(
            "UPDATE api_keys SET active = $1, deleted_at = $2 WHERE id = $3",
            &[
                key.active.into(),
                key.deleted_at.map(Time::micros).into(),
                (&key.id).into(),
            ],
        )
        .await
        .map(drop)
    }

    /// A user's keys that are not deleted, newest first.
    pub async fn api_keys(&mut self, user: UserId) -> Result<Vec<ApiKey>> {
        self.fetch_all(
            "SELECT id, user_id, name, active, created_at, expires_at, last_used_at, deleted_at FROM api_keys \
             WHERE user_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC, id DESC",
            &[user.0.into()],
            read_key,
        )
        .await
    }

    /// A key by its id, locked.
    pub async fn lock_api_key(&mut self, id: &str) -> Result<Option<ApiKey>> {
        self.lock_optional(
            "SELECT id, user_id, name, active, created_at, expires_at, last_used_at, deleted_at FROM api_keys WHERE id = $1",
            &[id.into()],
            read_key,
        )
        .await
    }

    /// A key by the keyed hash of its secret.
    pub async fn api_key_by_hash(&mut self, key_hash: &[u8]) -> Result<Option<ApiKey>> {
        self.fetch_optional(
            "SELECT id, user_id, name, active, created_at, expires_at, last_used_at, deleted_at FROM api_keys \
             WHERE key_hash = $1",
            &[key_hash.into()],
            read_key,
        )
        .await
    }

    /// Notes that a key was used.
    pub async fn touch_api_key(&mut self, id: &str, now: Time) -> Result<()> {
        self.execute(
            "UPDATE api_keys SET last_used_at = $1 WHERE id = $2",
            &[now.micros().into(), id.into()],
        )
        .await
        .map(drop)
    }

    /// Adds a service credential.
    pub async fn insert_service_credential(
        &mut self,
        credential: &ServiceCredential,
        secret_hash: &[u8],
    ) -> Result<()> {
        self.execute(
            "INSERT INTO service_credentials (id, name, secret_hash, created_at) VALUES ($1, $2, $3, $4)",
            &[
                (&credential.id).into(),
                (&credential.name).into(),
                secret_hash.into(),
                credential.created_at.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// A service credential by the keyed hash of its secret.
    pub async fn service_credential_by_hash(
        &mut self,
        secret_hash: &[u8],
    ) -> Result<Option<ServiceCredential>> {
        self.fetch_optional(
            "SELECT id, name, created_at, revoked_at FROM service_credentials WHERE secret_hash = $1",
            &[secret_hash.into()],
            read_credential,
        )
        .await
    }

    /// All service credentials, oldest first.
    pub async fn service_credentials(&mut self) -> Result<Vec<ServiceCredential>> {
        self.fetch_all(
            "SELECT id, name, created_at, revoked_at FROM service_credentials ORDER BY created_at, id",
            &[],
            read_credential,
        )
        .await
    }

    /// Refuses a service credential from now on. `false` when there is none of this id or it was revoked before.
    pub async fn revoke_service_credential(&mut self, id: &str, now: Time) -> Result<bool> {
        let revoked = self
            .execute(
                "UPDATE service_credentials SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL",
                &[now.micros().into(), id.into()],
            )
            .await?;
        Ok(revoked == 1)
    }
}

fn read_key(row: &Row<'_>) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.get(0)?,
        user: UserId(row.get(1)?),
        name: row.get(2)?,
        active: row.get(3)?,
        created_at: Time::from_micros(row.get(4)?),
        expires_at: Time::from_micros(row.get(5)?),
        last_used_at: row.get::<Option<i64>>(6)?.map(Time::from_micros),
        deleted_at: row.get::<Option<i64>>(7)?.map(Time::from_micros),
    })
}

fn read_credential(row: &Row<'_>) -> Result<ServiceCredential> {
    Ok(ServiceCredential {
        id: row.get(0)?,
        name: row.get(1)?,
        created_at: Time::from_micros(row.get(2)?),
        revoked_at: row.get::<Option<i64>>(3)?.map(Time::from_micros),
    })
}
