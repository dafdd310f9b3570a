//! Login sessions.

use jifen_domain::session::Session;
use jifen_domain::{Time, UserId};

use crate::engine::Row;
use crate::{Result, Tx};

impl Tx {
    /// Adds a token to a chain.
    pub async fn insert_session(&mut self, token_hash: &[u8], session: &Session) -> Result<()> {
        self.execute(
            "INSERT INTO sessions (token_hash, chain_id, user_id, expires_at, replaced_at) VALUES ($1, $2, $3, $4, $5)",
            &[
                token_hash.into(),
                (&session.chain).into(),
                session.user.0.into(),
                session.expires_at.micros().into(),
                session.replaced_at.map(Time::micros).into(),
            ],
        )
        .await
        .map(drop)
    }

    /// The session of a token.
    pub async fn session(&mut self, token_hash: &[u8]) -> Result<Option<Session>> {
        self.fetch_optional(
            "SELECT s.chain_id, COALESCE(u.merged_into, u.id), s.expires_at, s.replaced_at \
             FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = $1",
            &[token_hash.into()],
            read_session,
        )
        .await
    }

    /// The session of a token, locked.
    pub async fn lock_session(&mut self, token_hash: &[u8]) -> Result<Option<Session>> {
        self.lock_optional(
            "SELECT chain_id, (SELECT COALESCE(u.merged_into, u.id) FROM users u WHERE u.id = sessions.user_id), expires_at, \
             replaced_at FROM sessions WHERE token_hash = $1",
            &[token_hash.into()],
            read_session,
        )
        .await
    }

    /// Marks a token as replaced, unless it was already.
    pub async fn replace_session(&mut self, token_hash: &[u8], now: Time) -> Result<()> {
        self.execute(
            "UPDATE sessions SET replaced_at = $1 WHERE token_hash = $2 AND replaced_at IS NULL",
            &[now.micros().into(), token_hash.into()],
        )
        .await
        .map(drop)
    }

    /// Makes every token of a chain unknown.
    pub async fn revoke_sessions(&mut self, chain: &str) -> Result<()> {
        // A token being issued meanwhile is not seen by the first statement, but waited for by it; deleted tokens are
        // never exchanged, so this ends.
        loop {
            let revoked = self
                .execute("DELETE FROM sessions WHERE chain_id = $1", &[chain.into()])
                .await?;
            if revoked == 0 {
                return Ok(());
            }
        }
    }

    /// Forgets tokens that expired before `expired_before`; returns how many.
    pub async fn purge_sessions(&mut self, expired_before: Time) -> Result<u64> {
        self.execute(
            "DELETE FROM sessions WHERE expires_at < $1",
            &[expired_before.micros().into()],
        )
        .await
    }
}

fn read_session(row: &Row<'_>) -> Result<Session> {
    Ok(Session {
        chain: row.get(0)?,
        user: UserId(row.get(1)?),
        expires_at: Time::from_micros(row.get(2)?),
        replaced_at: row.get::<Option<i64>>(3)?.map(Time::from_micros),
    })
}
