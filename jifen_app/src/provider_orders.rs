//! An order at its provider: what became of it there, and closing it there first.

use jifen_alipay::{FailureKind, TradeStatus};
use jifen_domain::order::{Channel, Order, Payment, PaymentClaim};
use jifen_domain::{Fen, Time};
use jifen_wechat::pay::{Pay, PayError, PayRefusalKind, TradeState, Transaction};

use crate::App;
use crate::error::{Error, Result};

/// What a provider says about an order of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AtProvider {
    /// Money was received.
    Paid(PaymentClaim),
    /// It can still be paid.
    Payable,
    /// It was closed there without payment.
    Closed,
    /// The provider has never seen it.
    Unknown,
}

impl App {
    /// Asks the provider about an order and books what it says. Returns what it said.
    pub(crate) async fn refresh_order(
        &self,
        order: &Order,
        via: &'static str,
    ) -> Result<AtProvider> {
        let answer = self.ask_provider(order).await?;
        match &answer {
            AtProvider::Paid(claim) => {
                self.settle(&order.id, claim.clone(), via).await?;
            }
            AtProvider::Closed => self.close_locally(&order.id).await?,
            AtProvider::Payable | AtProvider::Unknown => {}
        }
        Ok(answer)
    }

    /// Makes sure that an order cannot be paid any more, at the provider first; books a payment found on the way.
    pub(crate) async fn close_order(&self, order: &Order) -> Result<()> {
        let closed_there = match order.channel {
            Channel::WechatJsapi => self.close_at_wechat_pay(order).await?,
            Channel::AlipayPage => self.close_at_alipay(order).await?,
        };
        if closed_there {
            return self.close_locally(&order.id).await;
        }
        match self.refresh_order(order, "query before closing").await? {
            AtProvider::Paid(_) | AtProvider::Closed => Ok(()),
            AtProvider::Payable | AtProvider::Unknown => Err(Error::internal(format!(
                "order {} could not be closed at the provider",
                order.id
            ))),
        }
    }

    /// Whether it is closed now; `false` when it may have been paid.
    async fn close_at_wechat_pay(&self, order: &Order) -> Result<bool> {
        match self.wechat_pay()?.close(&order.id).await {
            Ok(_) => Ok(true),
            Err(error) if is_maybe_paid(&error) => Ok(false),
            Err(error) => Err(Error::wechat(error)),
        }
    }

    async fn close_at_alipay(&self, order: &Order) -> Result<bool> {
        match self.alipay()?.close(&order.id).await {
            Ok(_) => Ok(true),
            Err(error) => match error.failure_kind() {
                // The buyer never came to the cashier; the form itself ends with the order's time.
                Some(FailureKind::TradeNotExist | FailureKind::TradeClosed) => Ok(true),
                Some(
                    FailureKind::TradeState | FailureKind::TradePaid | FailureKind::TradeFinished,
                ) => Ok(false),
                _ => Err(Error::alipay(error)),
            },
        }
    }

    /// Notes that an order can no longer be paid; a delivered one stays delivered.
    pub(crate) async fn close_locally(&self, order_id: &str) -> Result<()> {
        let mut tx = self.store.begin().await?;
        if let Some(mut order) = tx.lock_order(order_id).await?
            && order.state.is_open()
        {
            order.close(self.now()).map_err(Error::internal)?;
            tx.update_order(&order).await?;
            tx.commit().await?;
            tracing::info!(order = order_id, "order closed");
        }
        Ok(())
    }

    async fn ask_provider(&self, order: &Order) -> Result<AtProvider> {
        match order.channel {
            Channel::WechatJsapi => self.ask_wechat_pay(&order.id).await,
            Channel::AlipayPage => self.ask_alipay(&order.id).await,
        }
    }

    async fn ask_wechat_pay(&self, order_id: &str) -> Result<AtProvider> {
        match self.wechat_pay()?.query(order_id).await {
            Ok(transaction) if transaction.trade_state.is_paid() => self
                .wechat_claim(&transaction)
                .map(AtProvider::Paid)
                .map_err(Error::wechat),
            Ok(transaction) if transaction.trade_state == TradeState::Closed => {
                Ok(AtProvider::Closed)
            }
            Ok(_) => Ok(AtProvider::Payable),
            Err(error) if error.refusal_kind() == Some(PayRefusalKind::NotExist) => {
                Ok(AtProvider::Unknown)
            }
            Err(error) => Err(Error::wechat(error)),
        }
    }

    async fn ask_alipay(&self, order_id: &str) -> Result<AtProvider> {
        match self.alipay()?.query(order_id).await {
            Ok(trade) => match trade.status {
                TradeStatus::Success | TradeStatus::Finished => {
                    Ok(AtProvider::Paid(PaymentClaim {
                        channel: Channel::AlipayPage,
                        amount: Fen::new(trade.total_fen)
                            .ok_or_else(|| Error::alipay("a negative amount"))?,
                        payment: Payment {
                            transaction_id: trade.trade_no,
                            paid_at: self.at_unix_seconds(trade.paid_at),
                        },
                    }))
                }
                TradeStatus::Closed => Ok(AtProvider::Closed),
                _ => Ok(AtProvider::Payable),
            },
            Err(error) if error.failure_kind() == Some(FailureKind::TradeNotExist) => {
                Ok(AtProvider::Unknown)
            }
            Err(error) => Err(Error::alipay(error)),
        }
    }

    /// What a transaction that WeChat Pay vouches for claims; an error names what is not ours about it.
    pub(crate) fn wechat_claim(
        &self,
        transaction: &Transaction,
    ) -> std::result::Result<PaymentClaim, &'static str> {
        if self.settings.wechat_pay_mch_id.as_deref() != Some(transaction.mch_id.as_str()) {
            return Err("it names another merchant");
        }
        if self.settings.mini_program_app_id.as_deref() != Some(transaction.app_id.as_str()) {
            return Err("it names another app id");
        }
        let amount = transaction.amount.as_ref().ok_or("it names no amount")?;
        if amount.currency.as_deref().unwrap_or("CNY") != "CNY" {
            return Err("it names another currency than CNY");
        }
        Ok(PaymentClaim {
            channel: Channel::WechatJsapi,
            amount: Fen::new(amount.total_fen).ok_or("it names a negative amount")?,
            payment: Payment {
                transaction_id: transaction
                    .transaction_id
                    .clone()
                    .ok_or("it names no transaction")?,
                paid_at: self
                    .at_unix_seconds(transaction.success_time.map(jiff::Timestamp::as_second)),
            },
        })
    }

    /// A moment told by a provider; now when it tells none.
    pub(crate) fn at_unix_seconds(&self, seconds: Option<i64>) -> Time {
        seconds
            .and_then(Time::from_seconds)
            .unwrap_or_else(|| self.now())
    }

    pub(crate) fn wechat_pay(&self) -> Result<&Pay> {
        self.providers
            .wechat_pay
            .as_ref()
            .ok_or(Error::not_configured(
                "微信支付未开通",
                "WeChat Pay is not configured",
            ))
    }

    pub(crate) fn alipay(&self) -> Result<&jifen_alipay::Alipay> {
        self.providers.alipay.as_ref().ok_or(Error::not_configured(
            "支付宝未开通",
            "Alipay is not configured",
        ))
    }
}

/// Refusals of WeChat Pay under which an order may have been paid: only a query tells.
pub(crate) fn is_maybe_paid(error: &PayError) -> bool {
    matches!(
        error.refusal_kind(),
        Some(
            PayRefusalKind::AlreadyPaid
                | PayRefusalKind::TradeState
                | PayRefusalKind::InvalidRequest
                | PayRefusalKind::UserPaying
                | PayRefusalKind::NumberUsed
        )
    )
}
