//! People, their identities, and what joins them.

use jifen_domain::user::User;
use jifen_domain::{AccountId, Time, UserId};

use crate::engine::Row;
use crate::ledger::read_holdings;
use crate::{Holdings, Result, Tx};

/// How a user is found in a list of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    /// The person.
    pub user: User,
    /// Points in open lots, expired ones that were not yet swept included.
    pub balance: i64,
}

/// An address waiting for the code that was mailed to it.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailConfirmation {
    /// The address.
    pub email: String,
    /// Keyed hash of the code.
    pub code_hash: Vec<u8>,
    /// End of the code's life.
    pub expires_at: Time,
    /// When it was mailed.
    pub sent_at: Time,
    /// Wrong codes that may still be tried.
    pub attempts_left: i64,
}

impl std::fmt::Debug for EmailConfirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmailConfirmation")
            .field("expires_at", &self.expires_at)
            .field("attempts_left", &self.attempts_left)
            .finish_non_exhaustive()
    }
}

impl Tx {
    /// Adds a person with an empty account. `false` when the number is taken.
    pub async fn insert_user(&mut self, user: &User) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO users (id, nickname, avatar_url, unionid, phone, email, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
                &[
                    user.id.0.into(),
                    (&user.nickname).into(),
                    (&user.avatar_url).into(),
                    user.unionid.as_deref().into(),
                    user.phone.as_deref().into(),
                    user.email.as_deref().into(),
                    user.created_at.micros().into(),
                ],
            )
            .await?;
        if inserted == 1 {
            self.insert_account(AccountId::from(user.id), user.id)
                .await?;
        }
        Ok(inserted == 1)
    }

    /// Writes what may change about a person.
    pub async fn update_user(&mut self, user: &User) -> Result<()> {
        self.execute(
            "UPDATE users SET nickname = $1, avatar_url = $2, unionid = $3, phone = $4, email = $5 WHERE id = $6",
            &[
                (&user.nickname).into(),
                (&user.avatar_url).into(),
                user.unionid.as_deref().into(),
                user.phone.as_deref().into(),
                user.email.as_deref().into(),
                user.id.0.into(),
            ],
        )
        .await
        .map(drop)
    }

    /// The person with this id, or the one the id was merged into.
    pub async fn user(&mut self, id: UserId) -> Result<Option<User>> {
        self.fetch_optional(
            "SELECT u.id, u.nickname, u.avatar_url, u.unionid, u.phone, u.email, u.created_at \
             FROM users a JOIN users u ON u.id = COALESCE(a.merged_into, a.id) WHERE a.id = $1",
            &[id.0.into()],
            read_user,
        )
        .await
    }

    /// As [`Tx::user`], with what the person's account holds at `now`.
    pub async fn user_with_holdings(
        &mut self,
        id: UserId,
        now: Time,
    ) -> Result<Option<(User, Holdings)>> {
        self.fetch_optional(
            "SELECT u.id, u.nickname, u.avatar_url, u.unionid, u.phone, u.email, u.created_at, \
             CAST(COALESCE(SUM(CASE WHEN l.number = b.front_lot THEN b.front_remaining - b.front_held \
             ELSE l.remaining - l.held END), 0) AS BIGINT), MIN(l.expires_at) \
             FROM users a JOIN users u ON u.id = COALESCE(a.merged_into, a.id) JOIN accounts b ON b.id = u.id LEFT JOIN lots l \
             ON l.account_id = u.id AND l.remaining > 0 AND (l.expires_at IS NULL OR l.expires_at > $1) \
             WHERE a.id = $2 GROUP BY u.id",
            &[now.micros().into(), id.0.into()],
            |row| Ok((read_user(row)?, read_holdings(row, 7)?)),
        )
        .await
    }

    /// As [`Tx::user`], locked until the transaction ends, so that no merge can come in between.
    pub async fn lock_user(&mut self, id: UserId) -> Result<Option<User>> {
        let mut id = id;
        loop {
            let found = self
                .lock_optional(
                    "SELECT id, nickname, avatar_url, unionid, phone, email, created_at, merged_into FROM users WHERE id = $1",
                    &[id.0.into()],
                    |row| Ok((read_user(row)?, row.get::<Option<i64>>(7)?)),
                )
                .await?;
            match found {
                // A merged record always points at one that is older, so this ends.
                Some((_, Some(older))) => id = UserId(older),
                other => return Ok(other.map(|(user, _)| user)),
            }
        }
    }

    /// The person an app knows under this openid.
    pub async fn user_by_openid(&mut self, app_id: &str, openid: &str) -> Result<Option<User>> {
        self.fetch_optional(
            "SELECT u.id, u.nickname, u.avatar_url, u.unionid, u.phone, u.email, u.created_at \
             FROM identities i JOIN users a ON a.id = i.user_id JOIN users u ON u.id = COALESCE(a.merged_into, a.id) \
             WHERE i.app_id = $1 AND i.openid = $2",
            &[app_id.into(), openid.into()],
            read_user,
        )
        .await
    }

    /// The person any of the operator's apps knows under this openid; `None` also when two apps disagree.
    pub async fn user_by_any_openid(&mut self, openid: &str) -> Result<Option<User>> {
        let mut users = self
            .fetch_all(
                "SELECT DISTINCT u.id, u.nickname, u.avatar_url, u.unionid, u.phone, u.email, u.created_at \
                 FROM identities i JOIN users a ON a.id = i.user_id JOIN users u ON u.id = COALESCE(a.merged_into, a.id) \
                 WHERE i.openid = $1",
                &[openid.into()],
                read_user,
            )
            .await?;
        Ok(if users.len() == 1 { users.pop() } else { None })
    }

    /// The person with this unionid.
    pub async fn user_by_unionid(&mut self, unionid: &str) -> Result<Option<User>> {
        self.fetch_optional(
            "SELECT id, nickname, avatar_url, unionid, phone, email, created_at FROM users WHERE unionid = $1",
            &[unionid.into()],
            read_user,
        )
        .await
    }

    /// The openid a person has in an app; the one learnt first when there are several.
    pub async fn openid_of(&mut self, app_id: &str, user: UserId) -> Result<Option<String>> {
        self.fetch_optional(
            "SELECT openid FROM identities WHERE app_id = $1 AND user_id = $2 ORDER BY created_at, openid LIMIT 1",
            &[app_id.into(), user.0.into()],
            |row| row.get(0),
        )
        .await
    }

    /// Says who an openid is. `false` when the openid is already somebody's.
    pub async fn insert_identity(
        &mut self,
        app_id: &str,
        openid: &str,
        user: UserId,
        now: Time,
    ) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO identities (app_id, openid, user_id, created_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (app_id, openid) DO NOTHING",
                &[app_id.into(), openid.into(), user.0.into(), now.micros().into()],
            )
            .await?;
        Ok(inserted == 1)
    }

    /// Locks the orders of two people: the first step of a merge, since whoever settles an order locks it before the user.
    pub async fn lock_orders_of(&mut self, one: UserId, other: UserId) -> Result<()> {
        self.lock_all(
            "SELECT id FROM orders WHERE user_id = $1 OR user_id = $2 ORDER BY id",
            &[one.0.into(), other.0.into()],
            |_| Ok(()),
        )
        .await
        .map(drop)
    }

    /// Makes everything that names the younger person name the older one: identities, sessions, orders, keys, and
    /// people merged earlier. An order that both have open is closed for the younger; a payment of it still counts.
    /// Points and holds are moved by [`Tx::merge_accounts`], before.
    pub async fn redirect_user(
        &mut self,
        younger: UserId,
        older: UserId,
        reason: &str,
        now: Time,
    ) -> Result<()> {
        self.execute(
            "UPDATE orders SET state = 'closed', closed_at = $1 \
             WHERE user_id = $2 AND state IN ('created', 'waiting') AND EXISTS (SELECT 1 FROM orders o \
             WHERE o.user_id = $3 AND o.package_id = orders.package_id AND o.channel = orders.channel \
             AND o.state IN ('created', 'waiting'))",
            &[now.micros().into(), younger.0.into(), older.0.into()],
        )
        .await?;
        for statement in [
            "UPDATE orders SET user_id = $1 WHERE user_id = $2",
            "UPDATE identities SET user_id = $1 WHERE user_id = $2",
            "UPDATE sessions SET user_id = $1 WHERE user_id = $2",
            "UPDATE qr_logins SET user_id = $1 WHERE user_id = $2",
            "UPDATE users SET merged_into = $1, unionid = NULL WHERE merged_into = $2 OR id = $2",
        ] {
            self.execute(statement, &[older.0.into(), younger.0.into()])
                .await?;
        }
        self.redirect_api_keys(younger, older).await?;
        self.execute(
            "DELETE FROM email_confirmations WHERE user_id = $1",
            &[younger.0.into()],
        )
        .await?;
        self.execute(
            "INSERT INTO merges (younger_id, older_id, reason, merged_at) VALUES ($1, $2, $3, $4)",
            &[
                younger.0.into(),
                older.0.into(),
                reason.into(),
                now.micros().into(),
            ],
        )
        .await
        .map(drop)
    }

    /// The people merged into this one.
    pub async fn merged_into(&mut self, user: UserId) -> Result<Vec<UserId>> {
        self.fetch_all(
            "SELECT id FROM users WHERE merged_into = $1 ORDER BY id",
            &[user.0.into()],
            |row| row.get(0).map(UserId),
        )
        .await
    }

    /// People after `after`, in the order of their ids, with their balances.
    pub async fn list_users(&mut self, after: UserId, rows_max: i64) -> Result<Vec<UserSummary>> {
        self.fetch_all(
            "SELECT u.id, u.nickname, u.avatar_url, u.unionid, u.phone, u.email, u.created_at, a.balance \
             FROM users u JOIN accounts a ON a.id = u.id WHERE u.id > $1 AND u.merged_into IS NULL ORDER BY u.id LIMIT $2",
            &[after.0.into(), rows_max.into()],
            |row| Ok(UserSummary { user: read_user(row)?, balance: row.get(7)? }),
        )
        .await
    }

    /// Keeps an address until its code comes back; replaces an earlier one.
    pub async fn put_email_confirmation(
        &mut self,
        user: UserId,
        confirmation: &EmailConfirmation,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO email_confirmations (user_id, email, code_hash, expires_at, sent_at, attempts_left) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, \
             code_hash = excluded.code_hash, expires_at = excluded.expires_at, sent_at = excluded.sent_at, \
             attempts_left = excluded.attempts_left",
            &[
                user.0.into(),
                (&confirmation.email).into(),
                confirmation.code_hash.as_slice().into(),
                confirmation.expires_at.micros().into(),
                confirmation.sent_at.micros().into(),
                confirmation.attempts_left.into(),
            ],
        )
        .await
        .map(drop)
    }

    /// The address a user is confirming, locked.
    pub async fn lock_email_confirmation(
        &mut self,
        user: UserId,
    ) -> Result<Option<EmailConfirmation>> {
        self.lock_optional(
            "SELECT email, code_hash, expires_at, sent_at, attempts_left FROM email_confirmations WHERE user_id = $1",
            &[user.0.into()],
            |row| {
                Ok(EmailConfirmation {
                    email: row.get(0)?,
                    code_hash: row.get(1)?,
                    expires_at: Time::from_micros(row.get(2)?),
                    sent_at: Time::from_micros(row.get(3)?),
                    attempts_left: row.get(4)?,
                })
            },
        )
        .await
    }

    /// Forgets the address a user is confirming.
    pub async fn delete_email_confirmation(&mut self, user: UserId) -> Result<()> {
        self.execute(
            "DELETE FROM email_confirmations WHERE user_id = $1",
            &[user.0.into()],
        )
        .await
        .map(drop)
    }
}

fn read_user(row: &Row<'_>) -> Result<User> {
    Ok(User {
        id: UserId(row.get(0)?),
        nickname: row.get(1)?,
        avatar_url: row.get(2)?,
        unionid: row.get(3)?,
        phone: row.get(4)?,
        email: row.get(5)?,
        created_at: Time::from_micros(row.get(6)?),
    })
}
