//! Service credentials of gateways. Only keyed hashes of the secrets are stored.

use jifen_domain::Time;
use jifen_domain::key::{RateLimit, Scopes};

use crate::api_key::read_rate;
use crate::engine::Row;
use crate::{Error, Result, Tx};

/// What a gateway of the operator authenticates with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCredential {
    /// Opaque, not secret.
    pub id: String,
    /// Given by the operator.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// How often it may ask.
    pub rate: Option<RateLimit>,
    /// When it was made.
    pub created_at: Time,
    /// From then on it is refused.
    pub revoked_at: Option<Time>,
}

impl Tx {
    /// Adds a service credential.
    pub async fn insert_service_credential(
        &mut self,
        credential: &ServiceCredential,
        secret_hash: &[u8],
    ) -> Result<()> {
        self.execute(
            "INSERT INTO service_credentials (id, name, secret_hash, created_at, scopes, rate_requests, rate_seconds) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                (&credential.id).into(),
                (&credential.name).into(),
                secret_hash.into(),
                credential.created_at.micros().into(),
                credential.scopes.to_string().as_str().into(),
                credential
                    .rate
                    .map(|rate| i64::from(rate.requests()))
                    .into(),
                credential.rate.map(|rate| i64::from(rate.seconds())).into(),
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
            "SELECT id, name, created_at, revoked_at, scopes, rate_requests, rate_seconds FROM service_credentials \
             WHERE secret_hash = $1",
            &[secret_hash.into()],
            read_credential,
        )
        .await
    }

    /// All service credentials, oldest first.
    pub async fn service_credentials(&mut self) -> Result<Vec<ServiceCredential>> {
        self.fetch_all(
            "SELECT id, name, created_at, revoked_at, scopes, rate_requests, rate_seconds FROM service_credentials \
             ORDER BY created_at, id",
            &[],
            read_credential,
        )
        .await
    }

    /// The keyed hash of a service credential's secret.
    pub async fn service_credential_hash(&mut self, id: &str) -> Result<Option<Vec<u8>>> {
        self.fetch_optional(
            "SELECT secret_hash FROM service_credentials WHERE id = $1",
            &[id.into()],
            |row| row.get(0),
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

fn read_credential(row: &Row<'_>) -> Result<ServiceCredential> {
    let scopes: String = row.get(4)?;
    Ok(ServiceCredential {
        id: row.get(0)?,
        name: row.get(1)?,
        created_at: Time::from_micros(row.get(2)?),
        revoked_at: row.get::<Option<i64>>(3)?.map(Time::from_micros),
        scopes: Scopes::parse(&scopes)
            .ok_or_else(|| Error::Corrupt(format!("the scopes {scopes}")))?,
        rate: read_rate(row, 5)?,
    })
}
