//! What the operator does from the command line.

use jifen_domain::catalogue::Package;
use jifen_domain::key::{RateLimit, Scopes};
use jifen_domain::ledger::{Grant, LotSource, Refused};
use jifen_domain::order::{Order, OrderState};
use jifen_domain::user::User;
use jifen_domain::{AccountId, Points, Time, UserId, text};
use jifen_store::{
    FailedJob, Holdings, Maintenance, Notice, PaymentIncident, ServiceCredential, UserSummary,
};

use crate::App;
use crate::error::{Error, Result, Text};
use crate::provider_orders::Refreshed;
use crate::secret::{Purpose, SERVICE_CREDENTIAL_PREFIX, random_id, random_key};

/// Characters of an operator's texts: reasons, names, messages.
pub const TEXT_CHARS_MAX: usize = 500;

/// A user as the operator sees one.
pub struct UserDetails {
    /// The person.
    pub user: User,
    /// What they can spend.
    pub holdings: Holdings,
    /// Ids that were merged into this one.
    pub merged: Vec<UserId>,
    /// The latest orders.
    pub orders: Vec<Order>,
}

/// Points the operator gives.
#[derive(Clone, Debug)]
pub struct Gift {
    /// To whom.
    pub user: UserId,
    /// How many.
    pub points: i64,
    /// Days they live; `None` for ever.
    pub validity_days: Option<i64>,
    /// Why, for the books.
    pub reason: String,
    /// Under which key: the same key gives once. A new one is made up when there is none.
    pub key: Option<String>,
}

impl App {
    /// All packages, off sale too.
    pub async fn all_packages(&self) -> Result<Vec<Package>> {
        Ok(self.store.read().await?.packages(true).await?)
    }

    /// Adds a package.
    pub async fn add_package(&self, package: &Package) -> Result<()> {
        check_package(package)?;
        let mut tx = self.store.begin().await?;
        if !tx.insert_package(package).await? {
            return Err(Error::invalid(
                "id",
                Text::new("已有这个套餐", "there is a package of this id already"),
            ));
        }
        Ok(tx.commit().await?)
    }

    /// Changes a package; orders that exist keep what they were made with.
    pub async fn change_package(
        &self,
        id: &str,
        change: impl FnOnce(&mut Package),
    ) -> Result<Package> {
        let mut tx = self.store.begin().await?;
        let mut package = tx.lock_package(id).await?.ok_or(Error::NotFound(Text::new(
            "没有这个套餐",
            "no such package",
        )))?;
        change(&mut package);
        check_package(&package)?;
        tx.update_package(&package).await?;
        tx.commit().await?;
        Ok(package)
    }

    /// All notices.
    pub async fn notices(&self) -> Result<Vec<Notice>> {
        Ok(self.store.read().await?.notices().await?)
    }

    /// Adds a notice.
    pub async fn add_notice(&self, content: &str, start_at: Time, end_at: Time) -> Result<Notice> {
        let content = text::line(content, TEXT_CHARS_MAX)
            .map_err(|error| Error::from_text("content", error))?
            .to_owned();
        if end_at <= start_at {
            return Err(Error::invalid(
                "end",
                Text::new("必须晚于开始时间", "must be later than the start"),
            ));
        }
        let notice = Notice {
            id: random_id(&*self.environment),
            content,
            start_at,
            end_at,
        };
        let mut tx = self.store.begin().await?;
        tx.insert_notice(&notice).await?;
        tx.commit().await?;
        Ok(notice)
    }

    /// Removes a notice.
    pub async fn remove_notice(&self, id: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        if !tx.delete_notice(id).await? {
            return Err(Error::NotFound(Text::new("没有这个公告", "no such notice")));
        }
        Ok(tx.commit().await?)
    }

    /// Closes the mall.
    pub async fn start_maintenance(&self, maintenance: &Maintenance) -> Result<()> {
        text::line(&maintenance.message, TEXT_CHARS_MAX)
            .map_err(|error| Error::from_text("message", error))?;
        let mut tx = self.store.begin().await?;
        tx.put_maintenance(maintenance).await?;
        tx.commit().await?;
        self.maintenance_cache.clear();
        Ok(())
    }

    /// Opens the mall again. `false` when it was open.
    pub async fn end_maintenance(&self) -> Result<bool> {
        let mut tx = self.store.begin().await?;
        let ended = tx.delete_maintenance().await?;
        tx.commit().await?;
        self.maintenance_cache.clear();
        Ok(ended)
    }

    /// Makes a service credential that may do everything, as often as it likes. Its secret is told here and never again.
    pub async fn create_service_credential(
        &self,
        name: &str,
    ) -> Result<(ServiceCredential, String)> {
        self.create_limited_credential(name, Scopes::all(), None)
            .await
    }

    /// Makes a service credential. Its secret is told here and never again.
    pub async fn create_limited_credential(
        &self,
        name: &str,
        scopes: Scopes,
        rate: Option<RateLimit>,
    ) -> Result<(ServiceCredential, String)> {
        let name =
            text::line(name, TEXT_CHARS_MAX).map_err(|error| Error::from_text("name", error))?;
        if scopes.is_empty() {
            let text = Text::new("至少需要一项", "must have at least one");
            return Err(Error::invalid("scopes", text));
        }
        let secret = random_key(SERVICE_CREDENTIAL_PREFIX, &*self.environment);
        let credential = ServiceCredential {
            id: random_id(&*self.environment),
            name: name.to_owned(),
            scopes,
            rate,
            created_at: self.now(),
            revoked_at: None,
        };
        let mut tx = self.store.begin().await?;
        let secret_hash = self.hasher.hash(Purpose::ServiceCredential, &secret);
        tx.insert_service_credential(&credential, &secret_hash)
            .await?;
        tx.commit().await?;
        Ok((credential, secret))
    }

    /// All service credentials.
    pub async fn service_credentials(&self) -> Result<Vec<ServiceCredential>> {
        Ok(self.store.read().await?.service_credentials().await?)
    }

    /// Refuses a service credential from now on.
    pub async fn revoke_service_credential(&self, id: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        let hash = tx.service_credential_hash(id).await?;
        self.changes_secrets(&mut tx, hash.as_slice());
        if !tx.revoke_service_credential(id, self.now()).await? {
            let text = Text::new(
                "没有这个凭证，或已吊销",
                "no such credential, or it is revoked already",
            );
            return Err(Error::NotFound(text));
        }
        Ok(tx.commit().await?)
    }

    /// The latest orders.
    pub async fn list_orders(
        &self,
        state: Option<OrderState>,
        rows_max: i64,
    ) -> Result<Vec<Order>> {
        Ok(self
            .store
            .read()
            .await?
            .list_orders(state, rows_max)
            .await?)
    }

    /// One order.
    pub async fn find_order(&self, id: &str) -> Result<Order> {
        let order = self.store.read().await?.order(id).await?;
        order.ok_or(Error::NotFound(Text::new("没有这个订单", "no such order")))
    }

    /// Asks the provider about an order, books what it says, and returns its words and the order after that.
    pub async fn query_order(&self, id: &str) -> Result<(String, Order)> {
        let order = self.find_order(id).await?;
        let answer = self.refresh_order(&order, "query by the operator").await?;
        let words = match answer {
            Refreshed::Delivered => "paid".to_owned(),
            Refreshed::NotBooked(reason) => format!("paid, but not booked: {reason}"),
            Refreshed::Payable => "not paid, still payable".to_owned(),
            Refreshed::Closed => "closed without payment".to_owned(),
            Refreshed::Unknown => "the provider has never seen it".to_owned(),
        };
        Ok((words, self.find_order(id).await?))
    }

    /// Closes an open order that its provider has never seen. `false` when it has.
    pub async fn close_unknown_order(&self, id: &str) -> Result<bool> {
        let order = self.find_order(id).await?;
        let answer = self.refresh_order(&order, "query of an open order").await?;
        if answer == Refreshed::Unknown {
            self.close_locally(id).await?;
        }
        Ok(answer == Refreshed::Unknown)
    }

    /// Payments that could not be booked.
    pub async fn incidents(&self, rows_max: i64) -> Result<Vec<PaymentIncident>> {
        Ok(self.store.read().await?.incidents(rows_max).await?)
    }

    /// Follow-up work that was given up.
    pub async fn failed_jobs(&self, rows_max: i64) -> Result<Vec<FailedJob>> {
        Ok(self.store.read().await?.failed_jobs(rows_max).await?)
    }

    /// Users after `after`, in the order of their ids.
    pub async fn list_users(&self, after: UserId, rows_max: i64) -> Result<Vec<UserSummary>> {
        Ok(self.store.read().await?.list_users(after, rows_max).await?)
    }

    /// One user.
    pub async fn find_user(&self, id: UserId) -> Result<UserDetails> {
        const ORDERS_SHOWN_MAX: i64 = 20;
        let mut tx = self.store.read().await?;
        let (user, holdings) = tx
            .user_with_holdings(id, self.now())
            .await?
            .ok_or(Error::NotFound(Text::new("没有这个用户", "no such user")))?;
        let merged = tx.merged_into(user.id).await?;
        let (_, orders) = tx.orders_of(user.id, 0, ORDERS_SHOWN_MAX).await?;
        Ok(UserDetails {
            user,
            holdings,
            merged,
            orders,
        })
    }

    /// Gives points, once per key. Returns the balance after it.
    pub async fn give_points(&self, gift: &Gift) -> Result<Points> {
        let reason = text::line(&gift.reason, TEXT_CHARS_MAX)
            .map_err(|error| Error::from_text("reason", error))?;
        let range = || Error::Invalid {
            field: "points",
            text: Text::owned(
                format!("须为 1 至 {}", Points::MOVEMENT_MAX.get()),
                format!("must be 1 to {}", Points::MOVEMENT_MAX.get()),
            ),
        };
        let points = Points::new(gift.points)
            .filter(|points| points.is_movable())
            .ok_or_else(range)?;
        let days_max = jifen_domain::catalogue::VALIDITY_DAYS_MAX;
        if gift
            .validity_days
            .is_some_and(|days| !(1..=days_max).contains(&days))
        {
            return Err(Error::invalid(
                "days",
                Text::new("须为 1 至 36500", "must be 1 to 36500"),
            ));
        }
        let key = gift
            .key
            .clone()
            .unwrap_or_else(|| random_id(&*self.environment));
        let key = text::line(&key, 64)
            .map_err(|error| Error::from_text("key", error))?
            .to_owned();
        let now = self.now();

        let mut tx = self.store.begin().await?;
        let no_user = Error::NotFound(Text::new("没有这个用户", "no such user"));
        let user = tx.lock_user(gift.user).await?.ok_or(no_user)?.id;
        let account_id = AccountId::from(user);
        if let Some(given) = tx.gift(&key).await? {
            if given == (account_id, points.get()) {
                let available = tx.holdings(account_id, now).await?.available;
                tx.commit().await?;
                return Ok(available);
            }
            let text = Text::new(
                "这个 key 已用于另一次赠送",
                "this key was used for another gift",
            );
            return Err(Error::Conflict(text));
        }
        let mut account = tx
            .lock_account(account_id)
            .await?
            .ok_or_else(|| Error::internal("a user without an account"))?;
        let expires_at = gift.validity_days.map(|days| now.plus_days(days));
        let grant = Grant {
            source: LotSource::Gift { key },
            points,
            expires_at,
            title: reason.to_owned(),
        };
        account.grant(grant, now).map_err(|refused| match refused {
            Refused::OutOfRange => range(),
            other => Error::internal(other.to_string()),
        })?;
        tx.append_journal(&account).await?;
        tx.commit().await?;
        tracing::info!(%user, points = points.get(), reason, "points given by the operator");
        Ok(account.available(now).unwrap_or_default())
    }
}

fn check_package(package: &Package) -> Result<()> {
    let id_fits = !package.id.is_empty()
        && package.id.len() <= 64
        && package
            .id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if !id_fits {
        let text = Text::new(
            "须为 1 至 64 个字母、数字或 _-.",
            "must be 1 to 64 letters, digits or _-.",
        );
        return Err(Error::invalid("id", text));
    }
    text::line(&package.name, 64).map_err(|error| Error::from_text("name", error))?;
    if !package.description.is_empty() {
        text::line(&package.description, TEXT_CHARS_MAX)
            .map_err(|error| Error::from_text("description", error))?;
    }
    package.check().map_err(|error| {
        let text = error.to_string();
        Error::Invalid {
            field: "package",
            text: Text::owned(text.clone(), text),
        }
    })
}
