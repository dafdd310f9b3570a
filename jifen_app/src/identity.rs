//! Who somebody is: `(app, openid)` pairs joined into one person by the unionid.

use jifen_domain::ledger::Refused;
use jifen_domain::user::{DEFAULT_NICKNAME, User};
use jifen_domain::{Time, UserId};
use jifen_store::Tx;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::key_cache::announce_new_owners;

/// Rounds in which a login that met another login of the same person is repeated.
pub(crate) const LOGIN_ROUNDS_MAX: u32 = 5;

/// What an app of the operator tells of a person.
pub(crate) struct Known<'a> {
    pub(crate) app_id: &'a str,
    pub(crate) openid: &'a str,
    pub(crate) unionid: Option<&'a str>,
}

/// The person found for an identity.
pub(crate) struct Recognised {
    pub(crate) user: User,
    pub(crate) is_new: bool,
}

/// Finds the person, or makes one. When this identity proves that two records are one person, the younger is merged into
/// the older. `None` when another login of the same person came in between: roll back and repeat.
pub(crate) async fn recognise(
    tx: &mut Tx,
    environment: &dyn Environment,
    known: &Known<'_>,
    now: Time,
) -> Result<Option<Recognised>> {
    let by_openid = tx.user_by_openid(known.app_id, known.openid).await?;
    let by_unionid = match known.unionid {
        Some(unionid) => tx.user_by_unionid(unionid).await?,
        None => None,
    };
    let user = match (by_openid, by_unionid) {
        (Some(one), Some(other)) if one.id != other.id => merge(tx, &one, &other, now).await?,
        (Some(user), _) => learn_unionid(tx, user, known.unionid).await?,
        (None, Some(user)) => {
            // Locked, so that no merge redirects the person's identities just before this one is added.
            let Some(user) = tx.lock_user(user.id).await? else {
                return Ok(None);
            };
            if !tx
                .insert_identity(known.app_id, known.openid, user.id, now)
                .await?
            {
                return Ok(None);
            }
            Some(user)
        }
        (None, None) => return create(tx, environment, known, now).await,
    };
    Ok(user.map(|user| Recognised {
        user,
        is_new: false,
    }))
}

async fn create(
    tx: &mut Tx,
    environment: &dyn Environment,
    known: &Known<'_>,
    now: Time,
) -> Result<Option<Recognised>> {
    let mut bytes = [0; 8];
    environment.fill_random(&mut bytes);
    let user = User {
        id: UserId::from_random(bytes),
        nickname: DEFAULT_NICKNAME.to_owned(),
        avatar_url: String::new(),
        unionid: known.unionid.map(str::to_owned),
        phone: None,
        email: None,
        created_at: now,
    };
    let created = tx.insert_user(&user).await?
        && tx
            .insert_identity(known.app_id, known.openid, user.id, now)
            .await?;
    Ok(created.then_some(Recognised { user, is_new: true }))
}

async fn learn_unionid(tx: &mut Tx, user: User, unionid: Option<&str>) -> Result<Option<User>> {
    match (&user.unionid, unionid) {
        (None, Some(unionid)) => {
            let Some(mut user) = tx.lock_user(user.id).await? else {
                return Ok(None);
            };
            if user.unionid.is_none() {
                user.unionid = Some(unionid.to_owned());
                tx.update_user(&user).await?;
            }
            Ok(Some(user))
        }
        (Some(before), Some(unionid)) if before != unionid => {
            tracing::warn!(user = %user.id, "WeChat tells another unionid than before; the first one is kept");
            Ok(Some(user))
        }
        _ => Ok(Some(user)),
    }
}

/// Locks in the order every writer keeps: orders, users by id, accounts by id.
async fn merge(tx: &mut Tx, one: &User, other: &User, now: Time) -> Result<Option<User>> {
    tx.lock_orders_of(one.id, other.id).await?;
    let (low, high) = (one.id.min(other.id), one.id.max(other.id));
    let (Some(low), Some(high)) = (tx.lock_user(low).await?, tx.lock_user(high).await?) else {
        return Ok(None);
    };
    if low.id == high.id {
        return Ok(Some(low));
    }
    let (mut older, younger) = if low.is_older_than(&high) {
        (low, high)
    } else {
        (high, low)
    };
    tx.merge_accounts(younger.id, older.id, now)
        .await?
        .map_err(|refused: Refused| {
            Error::internal(format!(
                "merging {} into {}: {refused}",
                younger.id, older.id
            ))
        })?;
    tx.redirect_user(younger.id, older.id, "the same unionid", now)
        .await?;
    announce_new_owners(tx);
    older.absorb(&younger);
    tx.update_user(&older).await?;
    tracing::info!(younger = %younger.id, older = %older.id, "two records of one person were merged");
    Ok(Some(older))
}
