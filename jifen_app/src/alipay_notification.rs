//! What Alipay notifies.

use jifen_alipay::{Notification, TradeStatus};
use jifen_domain::Fen;
use jifen_domain::order::{Channel, Order, Payment, PaymentClaim};

use crate::App;
use crate::error::Result;
use crate::settle::{Settlement, Unbooked};

/// What to answer Alipay, as plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlipayAnswer {
    /// Taken note of, now or before.
    Success,
    /// Not: deliver it again.
    False,
}

impl AlipayAnswer {
    /// The exact body.
    pub fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::False => "false",
        }
    }
}

impl App {
    /// Verifies a notification over its exact bytes, and books or closes what it tells.
    pub async fn alipay_notified(&self, body: &[u8]) -> Result<AlipayAnswer> {
        let notification = match self.alipay()?.parse_notification(body) {
            Ok(notification) => notification,
            Err(refusal) => {
                tracing::warn!(reason = %refusal, "an Alipay notification was refused");
                return Ok(AlipayAnswer::False);
            }
        };
        match notification.status {
            TradeStatus::Success | TradeStatus::Finished => self.alipay_paid(&notification).await,
            TradeStatus::Closed => self.alipay_closed(&notification).await,
            _ => Ok(AlipayAnswer::Success),
        }
    }

    async fn alipay_paid(&self, notification: &Notification) -> Result<AlipayAnswer> {
        let amount = Fen::new(notification.total_fen);
        let Some(amount) = amount.filter(|_| self.is_for_us(notification)) else {
            return self.not_for_us(notification).await;
        };
        let claim = PaymentClaim {
            channel: Channel::AlipayPage,
            amount,
            payment: Payment {
                transaction_id: notification.trade_no.clone(),
                paid_at: self.at_unix_seconds(notification.paid_at),
            },
        };
        Ok(
            match self
                .settle(&notification.out_trade_no, claim, "Alipay notification")
                .await?
            {
                Settlement::Done(_) => AlipayAnswer::Success,
                Settlement::Refused(_) => AlipayAnswer::False,
            },
        )
    }

    /// Ends an unpaid order; of a paid one it tells a full refund.
    async fn alipay_closed(&self, notification: &Notification) -> Result<AlipayAnswer> {
        if !self.is_for_us(notification) {
            return self.not_for_us(notification).await;
        }
        let order = self
            .store
            .read()
            .await?
            .order(&notification.out_trade_no)
            .await?;
        let matches = |order: &Order| {
            order.channel == Channel::AlipayPage && order.price.get() == notification.total_fen
        };
        let Some(order) = order.filter(matches) else {
            tracing::error!(
                order = notification.out_trade_no,
                "Alipay closed an order that is not one of ours"
            );
            return Ok(AlipayAnswer::False);
        };
        self.closed_there(&order).await?;
        Ok(AlipayAnswer::Success)
    }

    fn is_for_us(&self, notification: &Notification) -> bool {
        let seller = self.settings.alipay_seller_id.as_deref();
        self.settings.alipay_app_id.as_deref() == Some(notification.app_id.as_str())
            && seller.is_none_or(|seller| notification.seller_id.as_deref() == Some(seller))
    }

    async fn not_for_us(&self, notification: &Notification) -> Result<AlipayAnswer> {
        let payment = Unbooked {
            channel: Channel::AlipayPage,
            transaction_id: &notification.trade_no,
            order_id: &notification.out_trade_no,
        };
        self.record_unbooked(&payment, "it names another app id or seller")
            .await?;
        Ok(AlipayAnswer::False)
    }
}
