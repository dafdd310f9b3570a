//! An order at its provider: what became of it there, and closing it there first.

use jifen_alipay::{FailureKind, TradeStatus};
use jifen_domain::order::{Channel, Order, Payment, PaymentClaim};
use jifen_domain::{Fen, Time};
use jifen_wechat::pay::{Pay, PayError, PayRefusalKind, TradeState, Transaction};

use crate::App;
use crate::error::{Error, Result};
use crate::settle::{Settlement, Unbooked};

/// What a provider says about an order of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AtProvider {
    /// Money was received.
    Paid(PaymentClaim),
    /// Money was received, but it does not pay for the order.
    Unbookable {
        transaction_id: String,
        reason: &'static str,
    },
    /// It can still be paid.
    Payable,
    /// It was closed there, without payment or after a full refund.
    Closed,
    /// The provider has never seen it.
    Unknown,
}

/// What asking the provider came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// The points are in the ledger, now or before.
    Delivered,
    /// Money was received that is recorded for the operator instead, for this reason.
    NotBooked(String),
    /// It can still be paid.
    Payable,
    /// It was closed, there and here.
    Closed,
    /// The provider has never seen it.
    Unknown,
}

/// Seconds after its time in which an order is closed here only when the provider has closed it. After that it is closed
/// whatever the provider says, so that its buyer can order again; a payment that comes all the same is credited.
const CLOSE_AT_PROVIDER_SECONDS: i64 = 3_600;
/// Why a refunded payment is not booked.
pub(crate) const REFUNDED: &str = "the provider has refunded it";

impl App {
    /// Asks the provider about an order and books what it says.
    pub(crate) async fn refresh_order(
        &self,
        order: &Order,
        via: &'static str,
    ) -> Result<Refreshed> {
        match self.ask_provider(order).await? {
            AtProvider::Paid(claim) => match self.settle(&order.id, claim, via).await? {
                Settlement::Done(_) => Ok(Refreshed::Delivered),
                Settlement::Refused(reason) => Ok(Refreshed::NotBooked(reason)),
            },
            AtProvider::Unbookable {
                transaction_id,
                reason,
            } => {
                let payment = Unbooked {
                    channel: order.channel,
                    transaction_id: &transaction_id,
                    order_id: &order.id,
                };
                self.record_unbooked(&payment, reason).await?;
                Ok(Refreshed::NotBooked(reason.to_owned()))
            }
            AtProvider::Closed => self.closed_there(order).await,
            AtProvider::Payable => Ok(Refreshed::Payable),
            AtProvider::Unknown => Ok(Refreshed::Unknown),
        }
    }

    /// Makes sure that an order cannot be paid any more, at the provider first; books a payment found on the way.
    pub(crate) async fn close_order(&self, order: &Order) -> Result<()> {
        match self.close_at_provider(order).await {
            Err(error)
                if self.now() >= order.payable_until.plus_seconds(CLOSE_AT_PROVIDER_SECONDS) =>
            {
                tracing::warn!(order = %order.id, %error, "the provider could not be made to close an order; it is closed here");
                self.close_locally(&order.id).await
            }
            other => other,
        }
    }

    /// What a close reported by the provider means here: the end of an open order, a refund of a delivered one.
    pub(crate) async fn closed_there(&self, order: &Order) -> Result<Refreshed> {
        if let Some(payment) = order.payment.as_ref() {
            let payment = Unbooked {
                channel: order.channel,
                transaction_id: &payment.transaction_id,
                order_id: &order.id,
            };
            self.record_unbooked(&payment, REFUNDED).await?;
            return Ok(Refreshed::NotBooked(REFUNDED.to_owned()));
        }
        self.close_locally(&order.id).await?;
        Ok(Refreshed::Closed)
    }

    async fn close_at_provider(&self, order: &Order) -> Result<()> {
        let is_closed_there = match order.channel {
            Channel::WechatJsapi => self.close_at_wechat_pay(order).await?,
            Channel::AlipayPage => self.close_at_alipay(order).await?,
        };
        if is_closed_there {
            return self.close_locally(&order.id).await;
        }
        match self.refresh_order(order, "query before closing").await? {
            Refreshed::Delivered | Refreshed::Closed => Ok(()),
            // Nothing more can come of it: the money is recorded, or nobody could ever pay.
            Refreshed::NotBooked(_) | Refreshed::Unknown => self.close_locally(&order.id).await,
            Refreshed::Payable => Err(Error::internal(format!(
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
            tracing::info!(order = order_id, "order closed");
        }
        Ok(tx.commit().await?)
    }

    async fn ask_provider(&self, order: &Order) -> Result<AtProvider> {
        match order.channel {
            Channel::WechatJsapi => self.ask_wechat_pay(&order.id).await,
            Channel::AlipayPage => self.ask_alipay(&order.id).await,
        }
    }

    async fn ask_wechat_pay(&self, order_id: &str) -> Result<AtProvider> {
        match self.wechat_pay()?.query(order_id).await {
            Ok(transaction) if transaction.trade_state.is_paid() => {
                let claim = self.wechat_claim(&transaction);
                Ok(claim.map_or_else(
                    |reason| AtProvider::Unbookable {
                        transaction_id: transaction.transaction_id.unwrap_or_default(),
                        reason,
                    },
                    AtProvider::Paid,
                ))
            }
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
        if transaction.trade_state == TradeState::Refund {
            return Err(REFUNDED);
        }
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
