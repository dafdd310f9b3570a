//! What WeChat Pay notifies.

use http::HeaderMap;
use jifen_domain::order::Channel;
use jifen_wechat::pay::{Notification, RefundNotice, RefundStatus, Transaction};

use crate::App;
use crate::error::Result;
use crate::provider_orders::REFUNDED;
use crate::settle::{Settlement, Unbooked};

/// What to answer WeChat Pay; only the status counts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WechatPayAnswer {
    /// Taken note of, now or before.
    Accepted,
    /// Not: deliver it again.
    Refused {
        /// 401 for what is not WeChat Pay's, 422 for what is authentic but not ours, 500 for our own failures.
        status: u16,
        /// For WeChat's records.
        message: String,
    },
}

impl App {
    /// Verifies a notification over its exact bytes and books a payment.
    pub async fn wechat_pay_notified(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<WechatPayAnswer> {
        let notification = match self.wechat_pay()?.notification(headers, body).await {
            Ok(notification) => notification,
            Err(refusal) => {
                let (status, reason) = (refusal.http_status(), refusal.to_string());
                if refusal.is_probe() {
                    tracing::info!("WeChat Pay probed whether a wrong signature is refused; it is");
                } else {
                    tracing::warn!(reason, "a WeChat Pay notification was refused");
                }
                return Ok(WechatPayAnswer::Refused {
                    status,
                    message: reason,
                });
            }
        };
        match notification {
            Notification::Transaction { transaction, .. } => {
                self.transaction_notified(&transaction).await
            }
            Notification::Refund { refund, .. } => self.refund_notified(&refund).await,
            _ => Ok(WechatPayAnswer::Accepted),
        }
    }

    async fn refund_notified(&self, refund: &RefundNotice) -> Result<WechatPayAnswer> {
        if refund.status == RefundStatus::Success {
            let payment = Unbooked {
                channel: Channel::WechatJsapi,
                transaction_id: &refund.transaction_id,
                order_id: &refund.out_trade_no,
            };
            self.record_unbooked(&payment, REFUNDED).await?;
        }
        Ok(WechatPayAnswer::Accepted)
    }

    async fn transaction_notified(&self, transaction: &Transaction) -> Result<WechatPayAnswer> {
        if !transaction.trade_state.is_paid() {
            return Ok(WechatPayAnswer::Accepted);
        }
        let refused = |message: String| WechatPayAnswer::Refused {
            status: 422,
            message,
        };
        let claim = match self.wechat_claim(transaction) {
            Ok(claim) => claim,
            Err(reason) => {
                let payment = Unbooked {
                    channel: Channel::WechatJsapi,
                    transaction_id: transaction.transaction_id.as_deref().unwrap_or_default(),
                    order_id: &transaction.out_trade_no,
                };
                self.record_unbooked(&payment, reason).await?;
                return Ok(refused(reason.to_owned()));
            }
        };
        Ok(
            match self
                .settle(&transaction.out_trade_no, claim, "WeChat Pay notification")
                .await?
            {
                Settlement::Done(_) => WechatPayAnswer::Accepted,
                Settlement::Refused(reason) => refused(reason),
            },
        )
    }
}
