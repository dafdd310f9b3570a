//! What WeChat Pay notifies.

use http::HeaderMap;
use jifen_wechat::pay::{Notification, Transaction};

use crate::App;
use crate::error::Result;
use crate::settle::Settlement;

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
            Notification::Refund { id, refund } => {
                tracing::info!(
                    notification = id,
                    order = refund.out_trade_no,
                    "WeChat Pay reports a refund"
                );
                Ok(WechatPayAnswer::Accepted)
            }
            _ => Ok(WechatPayAnswer::Accepted),
        }
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
                tracing::error!(
                    order = transaction.out_trade_no,
                    reason,
                    "an authentic payment was not booked"
                );
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
