//! Web logins by QR code, handled messages, and the access tokens all nodes share.

use jifen_domain::{Time, UserId};

use crate::engine::Row;
use crate::{Result, Tx};

/// A login QR code somebody asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct QrLogin {
    /// Hash of what the browser that asked for it was given.
    pub browser_hash: Vec<u8>,
    /// End of the code's life.
    pub expires_at: Time,
    /// Who scanned it.
    pub scanned_by: Option<(String, UserId)>,
    /// Whether the web session was handed out.
    pub session_given: bool,
}

/// An access token with the end of its life.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// The secret.
    pub token: String,
    /// End of its life.
    pub expires_at: Time,
}

impl std::fmt::Debug for QrLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QrLogin")
            .field("expires_at", &self.expires_at)
            .field("user", &self.scanned_by.as_ref().map(|(_, user)| user))
            .field("session_given", &self.session_given)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Tx {
    /// Remembers a ticket. `false` when it is known already.
    pub async fn insert_qr_login(
        &mut self,
        ticket: &str,
        browser_hash: &[u8],
        expires_at: Time,
    ) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO qr_logins (ticket, browser_hash, expires_at, session_given) VALUES ($1, $2, $3, 0) \
                 ON CONFLICT (ticket) DO NOTHING",
                &[ticket.into(), browser_hash.into(), expires_at.micros().into()],
            )
            .await?;
        Ok(inserted == 1)
    }

    /// What became of a ticket.
    pub async fn qr_login(&mut self, ticket: &str) -> Result<Option<QrLogin>> {
        self.fetch_optional(SELECT_QR_LOGIN, &[ticket.into()], read_qr_login)
            .await
    }

    /// The same, locked until the transaction ends.
    pub async fn lock_qr_login(&mut self, ticket: &str) -> Result<Option<QrLogin>> {
        self.lock_optional(SELECT_QR_LOGIN, &[ticket.into()], read_qr_login)
            .await
    }

    /// Notes who scanned a ticket that is alive; the first one stays. `false` when it is dead or already scanned.
    pub async fn scan_qr_login(
        &mut self,
        ticket: &str,
        openid: &str,
        user: UserId,
        now: Time,
    ) -> Result<bool> {
        let scanned = self
            .execute(
                "UPDATE qr_logins SET openid = $1, user_id = $2 WHERE ticket = $3 AND expires_at > $4 AND openid IS NULL",
                &[openid.into(), user.0.into(), ticket.into(), now.micros().into()],
            )
            .await?;
        Ok(scanned == 1)
    }

    /// Claims the one web session of a scanned ticket.
    pub async fn claim_qr_session(&mut self, ticket: &str) -> Result<bool> {
        let claimed = self
            .execute(
                "UPDATE qr_logins SET session_given = 1 WHERE ticket = $1 AND session_given = 0 AND openid IS NOT NULL",
                &[ticket.into()],
            )
            .await?;
        Ok(claimed == 1)
    }

    /// Forgets tickets that expired before; returns how many.
    pub async fn purge_qr_logins(&mut self, expired_before: Time) -> Result<u64> {
        self.execute(
            "DELETE FROM qr_logins WHERE expires_at < $1",
            &[expired_before.micros().into()],
        )
        .await
    }

    /// Claims a message for handling: `None` when it is new, the answer given to it when it is a repetition.
    pub async fn claim_message(
        &mut self,
        message_key: &str,
        reply: &str,
        now: Time,
    ) -> Result<Option<String>> {
        let inserted = self
            .execute(
                "INSERT INTO handled_messages (message_key, reply, handled_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (message_key) DO NOTHING",
                &[message_key.into(), reply.into(), now.micros().into()],
            )
            .await?;
        if inserted == 1 {
            return Ok(None);
        }
        self.fetch_optional(
            "SELECT reply FROM handled_messages WHERE message_key = $1",
            &[message_key.into()],
            |row| row.get(0),
        )
        .await
    }

    /// Forgets messages handled before; returns how many.
    pub async fn purge_handled_messages(&mut self, handled_before: Time) -> Result<u64> {
        self.execute(
            "DELETE FROM handled_messages WHERE handled_at < $1",
            &[handled_before.micros().into()],
        )
        .await
    }

    /// The token all nodes share, with its version: 0 before the first, one more each time it is replaced or dropped.
    pub async fn access_token(&mut self, app_id: &str) -> Result<(i64, Option<StoredToken>)> {
        let record = self
            .fetch_optional(
                "SELECT version, token, expires_at FROM access_tokens WHERE app_id = $1",
                &[app_id.into()],
                |row| {
                    let token = row
                        .get::<Option<String>>(1)?
                        .zip(row.get::<Option<i64>>(2)?);
                    let token = token.map(|(token, at)| StoredToken {
                        token,
                        expires_at: Time::from_micros(at),
                    });
                    Ok((row.get(0)?, token))
                },
            )
            .await?;
        Ok(record.unwrap_or((0, None)))
    }

    /// Claims the right to fetch the next token until `lease_until`. `false` when another node holds it at `now`.
    pub async fn lease_access_token(
        &mut self,
        app_id: &str,
        now: Time,
        lease_until: Time,
    ) -> Result<bool> {
        let leased = self
            .execute(
                "INSERT INTO access_tokens (app_id, version, lease_until) VALUES ($1, 0, $2) ON CONFLICT (app_id) DO UPDATE \
                 SET lease_until = excluded.lease_until WHERE access_tokens.lease_until <= $3",
                &[app_id.into(), lease_until.micros().into(), now.micros().into()],
            )
            .await?;
        Ok(leased == 1)
    }

    /// Replaces the token (`None` drops it) and ends the lease, if its version is still `expected_version`.
    pub async fn replace_access_token(
        &mut self,
        app_id: &str,
        expected_version: i64,
        token: Option<&StoredToken>,
    ) -> Result<bool> {
        self.execute(
            "INSERT INTO access_tokens (app_id, version, lease_until) VALUES ($1, 0, 0) ON CONFLICT (app_id) DO NOTHING",
            &[app_id.into()],
        )
        .await?;
        let replaced = self
            .execute(
                "UPDATE access_tokens SET version = version + 1, token = $1, expires_at = $2, lease_until = 0 \
                 WHERE app_id = $3 AND version = $4",
                &[
                    token.map(|token| token.token.as_str()).into(),
                    token.map(|token| token.expires_at.micros()).into(),
                    app_id.into(),
                    expected_version.into(),
                ],
            )
            .await?;
        Ok(replaced == 1)
    }
}

const SELECT_QR_LOGIN: &str = "SELECT browser_hash, expires_at, openid, user_id, session_given FROM qr_logins WHERE ticket = $1";

fn read_qr_login(row: &Row<'_>) -> Result<QrLogin> {
    let openid: Option<String> = row.get(2)?;
    let user: Option<i64> = row.get(3)?;
    Ok(QrLogin {
        browser_hash: row.get(0)?,
        expires_at: Time::from_micros(row.get(1)?),
        scanned_by: openid.zip(user.map(UserId)),
        session_given: row.get(4)?,
    })
}
