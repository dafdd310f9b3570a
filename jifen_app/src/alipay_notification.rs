//! What Alipay notifies.

use jifen_alipay::{Notification, TradeStatus};
use jifen_domain::Fen;
use jifen_domain::order::{Channel, Payment, PaymentClaim};

use crate::App;
use crate::error::Result;
use crate::settle::Settlement;

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
            return Ok(AlipayAnswer::False);
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

    /// Ends an unpaid order. Of a paid one it tells a full refund, which changes nothing here.
    async fn alipay_closed(&self, notification: &Notification) -> Result<AlipayAnswer> {
        if !self.is_for_us(notification) {
            return Ok(AlipayAnswer::False);
        }
        let order = self
            .store
            .read()
            .await?
            .order(&notification.out_trade_no)
            .await?;
        let matches = |order: &jifen_domain::order::Order| {
            order.channel == Channel::AlipayPage && order.price.get() == notification.total_fen
        };
        let Some(order) = order.filter(matches) else {
            tracing::error!(
                order = notification.out_trade_no,
                "Alipay closed an order that is not one of ours"
            );
            return Ok(AlipayAnswer::False);
        };
        self.close_locally(&order.id).await?;
        Ok(AlipayAnswer::Success)
    }

    fn is_for_us(&self, notification: &Notification) -> bool {
        let expected_seller = self.settings.alipay_seller_id.as_deref();
        let reason = if self.settings.alipay_app_id.as_deref() != Some(notification.app_id.as_str())
        {
            "it names another app id"
        } else if expected_seller
            .is_some_and(|seller| notification.seller_id.as_deref() != Some(seller))
        {
            "it names another seller"
        } else {
            return true;
        };
        tracing::error!(
            order = notification.out_trade_no,
            reason,
            "an authentic payment was not booked"
        );
        false
    }
}
