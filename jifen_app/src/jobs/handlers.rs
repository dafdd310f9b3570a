//! What each kind of job does.

use std::collections::BTreeMap;

use jifen_domain::AccountId;
use jifen_domain::order::OrderState;
use jifen_domain::session::REFRESH_WINDOW_SECONDS;
use jifen_store::Job;
use jifen_wechat::official::TemplateMessage;
use jifen_wechat::{ApiError, Private, RefusalKind};

use super::Outcome;
use crate::App;
use crate::error::{Error, Result};
use crate::mail::Mail;
use crate::official_account::LoginMessage;
use crate::provider_orders::Refreshed;

/// Seconds between questions about an unpaid order, by how often it was asked.
const QUERY_SECONDS: [i64; 6] = [30, 60, 120, 300, 600, 600];
/// Seconds after closing at which the provider is asked once more.
const LAST_QUERY_SECONDS: i64 = 600;
/// Seconds between sweeps of expired points.
const SWEEP_SECONDS: i64 = 10;
/// Accounts swept at a time.
const SWEEP_ACCOUNTS_MAX: i64 = 200;
/// Seconds between purges.
const PURGE_SECONDS: i64 = 3_600;
/// Seconds for which a handled message is remembered; WeChat repeats within half a minute.
const HANDLED_MESSAGE_SECONDS: i64 = 86_400;
/// Seconds for which work that was given up is shown to the operator: 90 days.
const FAILED_JOB_SECONDS: i64 = 90 * 86_400;

impl App {
    /// A lost notification is found here.
    pub(super) async fn query_order_job(&self, job: &Job) -> Result<Outcome> {
        let order = self.store.read().await?.order(&job.subject).await?;
        let Some(order) = order.filter(|order| order.state != OrderState::Delivered) else {
            return Ok(Outcome::Done);
        };
        let answer = self.refresh_order(&order, "query by job").await?;
        let is_final = matches!(answer, Refreshed::Delivered | Refreshed::NotBooked(_));
        if is_final || order.state == OrderState::Closed {
            return Ok(Outcome::Done);
        }
        let step = usize::try_from(job.attempts)
            .unwrap_or(usize::MAX)
            .min(QUERY_SECONDS.len() - 1);
        Ok(Outcome::Again(self.now().plus_seconds(QUERY_SECONDS[step])))
    }

    /// Closed at the provider first, then here; asked once more later, should a payment have been under way.
    pub(super) async fn close_order_job(&self, job: &Job) -> Result<Outcome> {
        let order = self.store.read().await?.order(&job.subject).await?;
        let Some(order) = order.filter(|order| order.state != OrderState::Delivered) else {
            return Ok(Outcome::Done);
        };
        self.close_order(&order).await?;
        let mut tx = self.store.begin().await?;
        tx.cancel_job(super::QUERY_ORDER, &order.id).await?;
        tx.enqueue(
            super::QUERY_ORDER,
            &order.id,
            "",
            self.now().plus_seconds(LAST_QUERY_SECONDS),
        )
        .await?;
        tx.commit().await?;
        Ok(Outcome::Done)
    }

    pub(super) async fn send_mail_job(&self, job: &Job) -> Result<Outcome> {
        let mail: Mail = serde_json::from_str(&job.payload).map_err(Error::internal)?;
        self.mailer.send(&mail).await.map_err(Error::Internal)?;
        Ok(Outcome::Done)
    }

    pub(super) async fn send_login_message_job(&self, job: &Job) -> Result<Outcome> {
        let login: LoginMessage = serde_json::from_str(&job.payload).map_err(Error::internal)?;
        let Some(template_id) = self.settings.login_template_id.clone() else {
            return Ok(Outcome::Done);
        };
        let message = TemplateMessage {
            template_id,
            data: BTreeMap::from([("user".to_owned(), login.openid.clone())]),
            client_msg_id: Some(job.subject.clone()),
            ..TemplateMessage::default()
        };
        match self
            .official_account()?
            .send_template(&Private::from(login.openid), &message)
            .await
        {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if is_unwanted(&error) => {
                tracing::info!(%error, "a login message was not wanted");
                Ok(Outcome::Done)
            }
            Err(error) => Err(Error::wechat(error)),
        }
    }

    pub(super) async fn sweep_expired_job(&self) -> Result<Outcome> {
        let accounts = self
            .store
            .read()
            .await?
            .accounts_to_sweep(self.now(), SWEEP_ACCOUNTS_MAX)
            .await?;
        let is_more = i64::try_from(accounts.len()).unwrap_or(i64::MAX) == SWEEP_ACCOUNTS_MAX;
        for id in accounts {
            // One account that cannot be swept must not keep the others from it.
            if let Err(error) = self.sweep(id).await {
                tracing::error!(account = %id, %error, "expired points could not be swept");
            }
        }
        let wait = if is_more { 1 } else { SWEEP_SECONDS };
        Ok(Outcome::Again(self.now().plus_seconds(wait)))
    }

    async fn sweep(&self, id: AccountId) -> Result<()> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        if let Some(mut account) = tx.lock_account(id).await? {
            account
                .expire(now)
                .map_err(|refused| Error::internal(refused.to_string()))?;
            tx.append_journal(&account).await?;
        }
        Ok(tx.commit().await?)
    }

    pub(super) async fn purge_job(&self) -> Result<Outcome> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        tx.purge_sessions(now.plus_seconds(-REFRESH_WINDOW_SECONDS))
            .await?;
        tx.purge_qr_logins(now.plus_seconds(-HANDLED_MESSAGE_SECONDS))
            .await?;
        tx.purge_failed_jobs(now.plus_seconds(-FAILED_JOB_SECONDS))
            .await?;
        tx.purge_handled_messages(now.plus_seconds(-HANDLED_MESSAGE_SECONDS))
            .await?;
        tx.commit().await?;
        Ok(Outcome::Again(now.plus_seconds(PURGE_SECONDS)))
    }
}

/// The receiver does not want the message, or cannot get it: sending it again changes nothing.
fn is_unwanted(error: &ApiError) -> bool {
    let kind = error.refusal_kind();
    matches!(
        kind,
        Some(RefusalKind::NotFollowing | RefusalKind::ReceiverRefuses | RefusalKind::OpenidUnknown)
    )
}
