//! What became of an order, as its buyer asks.

use jifen_domain::order::OrderState;
use jifen_domain::{Points, Time, UserId};

use crate::App;
use crate::error::{Error, Result, Text};

/// Seconds between two questions to the provider about one order.
const QUERY_INTERVAL_SECONDS: i64 = 3;

/// The answer to a waiting buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Not yet, as far as the provider knows.
    Unpaid,
    /// The points are there.
    Paid {
        /// The balance now.
        points: Points,
        /// When the points just bought expire.
        expires_at: Option<Time>,
    },
}

impl App {
    /// Whether a user's order is paid. While it is not, the provider itself is asked now and then, so that a lost
    /// notification leaves nobody waiting; when the provider does not answer, the order counts as unpaid for now.
    pub async fn check_payment(&self, user: UserId, order_id: &str) -> Result<PaymentStatus> {
        let mut order = self.own_order(user, order_id).await?;
        if order.state != OrderState::Delivered {
            if self.may_ask_provider(order_id).await?
                && let Err(error) = self.refresh_order(&order, "query on demand").await
            {
                tracing::warn!(order = order_id, %error, "the provider could not be asked about an order");
            }
            // Read again in any case: whoever may not ask may have been told meanwhile.
            order = self.own_order(user, order_id).await?;
        }
        if order.state != OrderState::Delivered {
            return Ok(PaymentStatus::Unpaid);
        }
        let mut tx = self.store.read().await?;
        let points = tx.holdings(user.into(), self.now()).await?.available;
        let expires_at = tx.grant_expiry(order_id).await?.flatten();
        Ok(PaymentStatus::Paid { points, expires_at })
    }

    async fn may_ask_provider(&self, order_id: &str) -> Result<bool> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let claimed = tx
            .claim_order_query(order_id, now, now.plus_seconds(-QUERY_INTERVAL_SECONDS))
            .await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn own_order(&self, user: UserId, order_id: &str) -> Result<jifen_domain::order::Order> {
        let order = self.store.read().await?.order(order_id).await?;
        order
            .filter(|order| order.user == user)
            .ok_or(Error::NotFound(Text::new("没有这个订单", "no such order")))
    }
}
