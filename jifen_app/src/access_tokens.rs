//! The providers' access tokens in the database, so that all nodes share them.

use jifen_domain::Time;
use jifen_store::{Store, StoredToken};
use jifen_wechat::token::{AccessToken, StoreFuture, TokenRecord, TokenStore, TokenStoreError};
use secrecy::ExposeSecret as _;

/// The token store of every node.
pub struct SharedTokens(pub Store);

impl TokenStore for SharedTokens {
    fn load<'a>(&'a self, app_id: &'a str) -> StoreFuture<'a, TokenRecord> {
        Box::pin(async move {
            let (version, token) = self.read(app_id).await.map_err(failed)?;
            let token = token.map(|stored| AccessToken {
                value: stored.token.into(),
                expires_at_unix_seconds: stored.expires_at.seconds(),
            });
            Ok(TokenRecord { version, token })
        })
    }

    fn try_lease<'a>(
        &'a self,
        app_id: &'a str,
        now_unix_seconds: i64,
        lease_seconds: u32,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let now = at(now_unix_seconds);
            let lease_until = now.plus_seconds(lease_seconds.into());
            let lease = async {
                let mut tx = self.0.begin().await?;
                let leased = tx.lease_access_token(app_id, now, lease_until).await?;
                tx.commit().await?;
                Ok(leased)
            };
            lease.await.map_err(failed)
        })
    }

    fn save<'a>(
        &'a self,
        app_id: &'a str,
        expected_version: i64,
        token: Option<&'a AccessToken>,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let token = token.map(|token| StoredToken {
                token: token.value.expose_secret().to_owned(),
                expires_at: at(token.expires_at_unix_seconds),
            });
            let save = async {
                let mut tx = self.0.begin().await?;
                let saved = tx
                    .replace_access_token(app_id, expected_version, token.as_ref())
                    .await?;
                tx.commit().await?;
                Ok(saved)
            };
            save.await.map_err(failed)
        })
    }
}

impl SharedTokens {
    async fn read(&self, app_id: &str) -> jifen_store::Result<(i64, Option<StoredToken>)> {
        self.0.read().await?.access_token(app_id).await
    }
}

fn at(unix_seconds: i64) -> Time {
    Time::from_seconds(unix_seconds).unwrap_or(Time::from_micros(i64::MAX))
}

fn failed(error: jifen_store::Error) -> TokenStoreError {
    TokenStoreError(Box::new(error))
}
