//! Settling: a verified payment becomes points, once, whoever brings the news.

use jifen_domain::AccountId;
use jifen_domain::ledger::{Grant, LotSource};
use jifen_domain::order::{Channel, Order, PaymentClaim, Settled};
use jifen_store::{PaymentIncident, Tx};

use crate::App;
use crate::error::{Error, Result};
use crate::jobs;

/// What became of a claim of payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// The points are in the ledger, by this claim or by an earlier one.
    Done(Settled),
    /// Authentic, but not booked; the reason is recorded for the operator.
    Refused(String),
}

/// An authentic payment that is not in the ledger as the provider tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unbooked<'a> {
    pub(crate) channel: Channel,
    pub(crate) transaction_id: &'a str,
    pub(crate) order_id: &'a str,
}

impl App {
    /// Books a payment for which a provider vouches. One transaction: lock the order, check, deliver, grant the points,
    /// withdraw the follow-up work. `via` says who brought the news, for the log.
    pub(crate) async fn settle(
        &self,
        order_id: &str,
        claim: PaymentClaim,
        via: &'static str,
    ) -> Result<Settlement> {
        let mut tx = self.store.begin().await?;
        let Some(mut order) = tx.lock_order(order_id).await? else {
            drop(tx);
            return self
                .refuse(order_id, &claim, "there is no such order")
                .await;
        };
        if let Some(other) = tx
            .order_by_transaction(claim.channel, &claim.payment.transaction_id)
            .await?
            && other.id != order.id
        {
            drop(tx);
            return self
                .refuse(
                    order_id,
                    &claim,
                    "the transaction already paid for another order",
                )
                .await;
        }
        let settled = match order.settle(claim.clone()) {
            Ok(settled) => settled,
            Err(refused) => {
                drop(tx);
                return self.refuse(order_id, &claim, &refused.to_string()).await;
            }
        };
        if settled == Settled::Now {
            self.deliver(&mut tx, &order).await?;
        }
        // Also when nothing was written: what was read may belong to somebody whose commit is under way.
        tx.commit().await?;
        if settled == Settled::Now {
            if order.paid_after_close {
                tracing::warn!(order = %order.id, via, "a closed order was paid: the points are granted, look at it");
            }
            tracing::info!(order = %order.id, user = %order.user, points = order.points.get(), via, "order delivered");
        }
        Ok(Settlement::Done(settled))
    }

    async fn deliver(&self, tx: &mut Tx, order: &Order) -> Result<()> {
        let now = self.now();
        let gone = || Error::internal(format!("order {} belongs to nobody", order.id));
        let user = tx.lock_user(order.user).await?.ok_or_else(gone)?;
        let mut account = tx
            .lock_account(AccountId::from(user.id))
            .await?
            .ok_or_else(gone)?;
        let grant = Grant {
            source: LotSource::Purchase {
                order_id: order.id.clone(),
            },
            points: order.points,
            expires_at: order.points_expire_at(now),
            title: order.package_name.clone(),
        };
        account
            .grant(grant, now)
            .map_err(|refused| Error::internal(format!("order {}: {refused}", order.id)))?;
        tx.append_journal(&account).await?;
        tx.update_order(order).await?;
        for kind in [jobs::QUERY_ORDER, jobs::CLOSE_ORDER] {
            tx.cancel_job(kind, &order.id).await?;
        }
        Ok(())
    }

    async fn refuse(
        &self,
        order_id: &str,
        claim: &PaymentClaim,
        reason: &str,
    ) -> Result<Settlement> {
        let payment = Unbooked {
            channel: claim.channel,
            transaction_id: &claim.payment.transaction_id,
            order_id,
        };
        self.record_unbooked(&payment, reason).await?;
        Ok(Settlement::Refused(reason.to_owned()))
    }

    /// Money somebody has to look at: recorded, and logged the first time.
    pub(crate) async fn record_unbooked(&self, payment: &Unbooked<'_>, reason: &str) -> Result<()> {
        let now = self.now();
        let incident = PaymentIncident {
            channel: payment.channel,
            transaction_id: payment.transaction_id.to_owned(),
            order_id: payment.order_id.to_owned(),
            reason: reason.to_owned(),
            first_at: now,
            last_at: now,
            times: 1,
        };
        let mut tx = self.store.begin().await?;
        let is_first = tx.record_incident(&incident).await?;
        tx.commit().await?;
        if is_first {
            tracing::error!(
                order = payment.order_id,
                channel = payment.channel.name(),
                transaction = payment.transaction_id,
                reason,
                "an authentic payment needs to be looked at"
            );
        }
        Ok(())
    }
}
