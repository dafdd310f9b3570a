//! Login sessions: who a token is, a new token for an old one, the end of a session.

use jifen_domain::session::{Session, SessionRefused, TOKEN_TTL_SECONDS};
use jifen_domain::{Time, UserId};
use jifen_store::Tx;

use crate::App;
use crate::error::{Error, Result, Text};
use crate::secret::{Purpose, random_id, random_token};

/// A token just given out.
#[derive(Clone)]
pub struct IssuedToken {
    /// The secret; shown once.
    pub token: String,
    /// Seconds it is good for.
    pub expires_in_seconds: i64,
}

const LOG_IN: Text = Text::new(
    "未登录或登录已过期，请重新登录",
    "not logged in, or the login has expired: log in again",
);

impl App {
    /// The user a session token belongs to. A replaced token that turns up after its grace ends the whole session.
    pub async fn authenticate(&self, token: &str) -> Result<UserId> {
        let token_hash = self.hasher.hash(Purpose::Session, token);
        let session = self.store.read().await?.session(&token_hash).await?;
        let Some(session) = session else {
            return Err(Error::Unauthenticated(LOG_IN));
        };
        match session.check(self.now()) {
            Ok(()) => Ok(session.user),
            Err(refused) => Err(self.refuse_session(&session, refused).await?),
        }
    }

    /// Exchanges a current or recently expired token for a new one, which replaces it.
    pub async fn refresh_session(&self, token: &str) -> Result<IssuedToken> {
        let now = self.now();
        let token_hash = self.hasher.hash(Purpose::Session, token);
        let mut tx = self.store.begin().await?;
        let Some(session) = tx.lock_session(&token_hash).await? else {
            tx.commit().await?;
            return Err(Error::Unauthenticated(LOG_IN));
        };
        if let Err(refused) = session.check_refresh(now) {
            tx.commit().await?;
            return Err(self.refuse_session(&session, refused).await?);
        }
        let issued = self
            .issue_token(&mut tx, session.user, session.chain, now)
            .await?;
        tx.replace_session(&token_hash, now).await?;
        tx.commit().await?;
        Ok(issued)
    }

    /// Ends the session a token belongs to, with every token of its chain.
    pub async fn log_out(&self, token: &str) -> Result<()> {
        let token_hash = self.hasher.hash(Purpose::Session, token);
        let mut tx = self.store.begin().await?;
        let Some(session) = tx.lock_session(&token_hash).await? else {
            tx.commit().await?;
            return Err(Error::Unauthenticated(LOG_IN));
        };
        tx.revoke_sessions(&session.chain).await?;
        Ok(tx.commit().await?)
    }

    /// Starts a session for somebody who has just proved who they are.
    pub(crate) async fn start_session(
        &self,
        tx: &mut Tx,
        user: UserId,
        now: Time,
    ) -> Result<IssuedToken> {
        self.issue_token(tx, user, random_id(&*self.environment), now)
            .await
    }

    async fn issue_token(
        &self,
        tx: &mut Tx,
        user: UserId,
        chain: String,
        now: Time,
    ) -> Result<IssuedToken> {
        let token = random_token(&*self.environment);
        let session = Session {
            chain,
            user,
            expires_at: now.plus_seconds(TOKEN_TTL_SECONDS),
            replaced_at: None,
        };
        tx.insert_session(&self.hasher.hash(Purpose::Session, &token), &session)
            .await?;
        Ok(IssuedToken {
            token,
            expires_in_seconds: TOKEN_TTL_SECONDS,
        })
    }

    async fn refuse_session(&self, session: &Session, refused: SessionRefused) -> Result<Error> {
        if refused == SessionRefused::Stolen {
            let mut tx = self.store.begin().await?;
            tx.revoke_sessions(&session.chain).await?;
            tx.commit().await?;
            tracing::warn!(user = %session.user, "a replaced token was used after its grace: the session is revoked");
        }
        Ok(Error::Unauthenticated(LOG_IN))
    }
}
