//! Orders: from the wish to buy to the points in the ledger.

use crate::{Fen, Points, Time, UserId};

/// Seconds an order can be paid after it was made.
pub const PAYABLE_SECONDS: i64 = 30 * 60;

/// How an order is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// WeChat Pay inside the mini program (JSAPI prepay).
    WechatJsapi,
    /// Alipay's page pay on the web.
    AlipayPage,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Channel; 2] = [Channel::WechatJsapi, Channel::AlipayPage];

    /// The name it has in the database and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Channel::WechatJsapi => "wechat_jsapi",
            Channel::AlipayPage => "alipay_page",
        }
    }

    /// The inverse of [`Channel::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }
}

/// Where an order stands. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// On our disk; the provider may or may not know it.
    Created,
    /// The provider takes money for it.
    Waiting,
    /// Money came, and the points are in the ledger: both in one transaction.
    Delivered,
    /// Can no longer be paid, as far as we know. A payment that arrives all the same is delivered.
    Closed,
}

impl OrderState {
    /// Every state.
    pub const ALL: [OrderState; 4] = [
        OrderState::Created,
        OrderState::Waiting,
        OrderState::Delivered,
        OrderState::Closed,
    ];

    /// The name it has in the database and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            OrderState::Created => "created",
            OrderState::Waiting => "waiting",
            OrderState::Delivered => "delivered",
            OrderState::Closed => "closed",
        }
    }

    /// The inverse of [`OrderState::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it can still be paid.
    pub fn is_open(self) -> bool {
        matches!(self, OrderState::Created | OrderState::Waiting)
    }
}

/// One purchase of one package by one user through one channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// The merchant order number, `out_trade_no` at the provider.
    pub id: String,
    /// Who gets the points.
    pub user: UserId,
    /// What was bought.
    pub package_id: String,
    /// Its name when it was bought.
    pub package_name: String,
    /// Its points when it was bought.
    pub points: Points,
    /// Its price when it was bought.
    pub price: Fen,
    /// Days the points live once paid; `None` for ever.
    pub validity_days: Option<i64>,
    /// How it is paid.
    pub channel: Channel,
    /// Who pays, for channels that need to know: the mini program's openid.
    pub payer_openid: Option<String>,
    /// Where it stands.
    pub state: OrderState,
    /// When it was made.
    pub created_at: Time,
    /// From then on it is closed, at the provider first.
    pub payable_until: Time,
    /// What the provider gave to pay with: the prepay id.
    pub prepay_id: Option<String>,
    /// The payment, once there is one.
    pub payment: Option<Payment>,
    /// When it was closed.
    pub closed_at: Option<Time>,
    /// The money came after the order had been closed: for the operator to see.
    pub paid_after_close: bool,
}

/// A payment as the provider vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's number: WeChat's `transaction_id`, Alipay's `trade_no`.
    pub transaction_id: String,
    /// When the payer paid.
    pub paid_at: Time,
}

/// What is claimed about an order by somebody whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentClaim {
    /// Through which channel the claim came.
    pub channel: Channel,
    /// What was paid, before the provider's coupons.
    pub amount: Fen,
    /// The payment itself.
    pub payment: Payment,
}

/// What settling found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The order is delivered now: grant the points.
    Now,
    /// It had been delivered by this very payment before: nothing to do.
    Before,
}

/// Why a verified claim does not pay for the order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleRefused {
    /// Paid through another provider than the order's.
    #[error("the order is of channel {expected}, the payment of channel {claimed}")]
    Channel {
        /// The order's.
        expected: &'static str,
        /// The payment's.
        claimed: &'static str,
    },
    /// Another amount than the order's.
    #[error("the order costs {expected}, the payment is of {claimed}")]
    Amount {
        /// The order's.
        expected: Fen,
        /// The payment's.
        claimed: Fen,
    },
    /// Already delivered for another payment: the buyer paid twice.
    #[error("the order is already paid by another transaction")]
    OtherTransaction,
}

impl std::fmt::Debug for Order {
    /// Without the payer's openid.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("id", &self.id)
            .field("user", &self.user)
            .field("package_id", &self.package_id)
            .field("channel", &self.channel)
            .field("state", &self.state)
            .field("payment", &self.payment)
            .field("paid_after_close", &self.paid_after_close)
            .finish_non_exhaustive()
    }
}

impl Order {
    /// The provider takes money for it now.
    ///
    /// # Errors
    /// When it is no longer open.
    pub fn wait_for_payment(&mut self, prepay_id: Option<String>) -> Result<(), InvalidTransition> {
        self.require_open("waiting")?;
        self.state = OrderState::Waiting;
        self.prepay_id = prepay_id;
        Ok(())
    }

    /// It can no longer be paid. Closing a closed order changes nothing.
    ///
    /// # Errors
    /// When it was delivered.
    pub fn close(&mut self, now: Time) -> Result<(), InvalidTransition> {
        if self.state == OrderState::Closed {
            return Ok(());
        }
        self.require_open("closed")?;
        self.state = OrderState::Closed;
        self.closed_at = Some(now);
        Ok(())
    }

    /// Applies a verified claim of payment, whatever state the order is in: money that was received is never dropped.
    ///
    /// # Errors
    /// When the claim is not for this order's channel or amount, or a second payment.
    pub fn settle(&mut self, claim: PaymentClaim) -> Result<Settled, SettleRefused> {
        if claim.channel != self.channel {
            return Err(SettleRefused::Channel {
                expected: self.channel.name(),
                claimed: claim.channel.name(),
            });
        }
        if claim.amount != self.price {
            return Err(SettleRefused::Amount {
                expected: self.price,
                claimed: claim.amount,
            });
        }
        match (self.state, &self.payment) {
            (OrderState::Delivered, Some(paid))
                if paid.transaction_id == claim.payment.transaction_id =>
            {
                Ok(Settled::Before)
            }
            (OrderState::Delivered, _) => Err(SettleRefused::OtherTransaction),
            (OrderState::Created | OrderState::Waiting | OrderState::Closed, _) => {
                self.paid_after_close = self.state == OrderState::Closed;
                self.state = OrderState::Delivered;
                self.payment = Some(claim.payment);
                Ok(Settled::Now)
            }
        }
    }

    /// When points paid for at `now` expire.
    pub fn points_expire_at(&self, now: Time) -> Option<Time> {
        self.validity_days.map(|days| now.plus_days(days))
    }

    /// Whether the buyer can still pay it at `now`.
    pub fn is_payable(&self, now: Time) -> bool {
        self.state.is_open() && now < self.payable_until
    }

    fn require_open(&self, to: &'static str) -> Result<(), InvalidTransition> {
        if self.state.is_open() {
            Ok(())
        } else {
            Err(InvalidTransition {
                from: self.state.name(),
                to,
            })
        }
    }
}

/// A move that an order's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {from} cannot become {to}")]
pub struct InvalidTransition {
    /// The state it is in.
    pub from: &'static str,
    /// The state that was asked for.
    pub to: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(state: OrderState) -> Order {
        Order {
            id: "o".into(),
            user: UserId(1),
            package_id: "p".into(),
            package_name: "p".into(),
            points: Points::new(100).unwrap(),
            price: Fen::new(168).unwrap(),
            validity_days: Some(1),
            channel: Channel::AlipayPage,
            payer_openid: None,
            state,
            created_at: Time::from_micros(0),
            payable_until: Time::from_micros(0).plus_seconds(PAYABLE_SECONDS),
            prepay_id: None,
            payment: None,
            closed_at: None,
            paid_after_close: false,
        }
    }

    fn claim(channel: Channel, fen: i64, transaction: &str) -> PaymentClaim {
        PaymentClaim {
            channel,
            amount: Fen::new(fen).unwrap(),
            payment: Payment {
                transaction_id: transaction.into(),
                paid_at: Time::from_micros(5),
            },
        }
    }

    #[test]
    fn a_payment_is_delivered_once_whatever_state_the_order_is_in() {
        for state in [OrderState::Created, OrderState::Waiting, OrderState::Closed] {
            let mut order = order(state);
            assert_eq!(
                order.settle(claim(Channel::AlipayPage, 168, "t")),
                Ok(Settled::Now),
                "{state:?}"
            );
            assert_eq!(order.paid_after_close, state == OrderState::Closed);
            assert_eq!(
                order.settle(claim(Channel::AlipayPage, 168, "t")),
                Ok(Settled::Before),
                "{state:?}"
            );
            assert_eq!(
                order.settle(claim(Channel::AlipayPage, 168, "u")),
                Err(SettleRefused::OtherTransaction)
            );
            assert!(order.close(Time::from_micros(9)).is_err());
        }
    }

    #[test]
    fn another_amount_or_channel_changes_nothing() {
        for bad in [
            claim(Channel::AlipayPage, 167, "t"),
            claim(Channel::AlipayPage, 16_800, "t"),
            claim(Channel::WechatJsapi, 168, "t"),
        ] {
            let mut touched = order(OrderState::Waiting);
            assert!(touched.settle(bad).is_err());
            assert_eq!(touched, order(OrderState::Waiting));
        }
    }

    #[test]
    fn a_closed_order_stays_closed_until_money_comes() {
        let mut closed = order(OrderState::Waiting);
        closed.close(Time::from_micros(7)).unwrap();
        closed.close(Time::from_micros(8)).unwrap();
        assert_eq!(closed.closed_at, Some(Time::from_micros(7)));
        assert!(closed.wait_for_payment(None).is_err());
        assert!(!closed.is_payable(Time::from_micros(8)));
    }

    #[test]
    fn names_read_back() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::from_name(state.name()), Some(state));
        }
        for channel in Channel::ALL {
            assert_eq!(Channel::from_name(channel.name()), Some(channel));
        }
    }
}
