//! Orders.

use jifen_domain::order::{Channel, Order, OrderState, Payment};
use jifen_domain::{Fen, Points, Time, UserId};

use crate::engine::Row;
use crate::{Error, Result, Tx};

/// A verified payment that could not be booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentIncident {
    /// Through which channel it was reported.
    pub channel: Channel,
    /// The provider's number.
    pub transaction_id: String,
    /// The order it names, ours or not.
    pub order_id: String,
    /// Why it was not booked.
    pub reason: String,
    /// First and last report.
    pub first_at: Time,
    /// Last report.
    pub last_at: Time,
    /// How often it was reported.
    pub times: i64,
}

/// The columns [`read_order`] reads, before the rest of the statement.
macro_rules! select_orders {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, package_id, package_name, points, price_fen, validity_days, channel, payer_openid, state, \
             created_at, payable_until, prepay_id, transaction_id, paid_at, closed_at, paid_after_close FROM orders ",
            $rest
        )
    };
}

impl Tx {
    /// Adds an order that is not yet paid or closed. `false` when the user already has an open one of the same package and
    /// channel, or the number is taken.
    pub async fn insert_order(&mut self, order: &Order) -> Result<bool> {
        let inserted = self
            .execute(
                "INSERT INTO orders (id, user_id, package_id, package_name, points, price_fen, validity_days, channel, \
                 payer_openid, state, created_at, payable_until, prepay_id, paid_after_close) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0) ON CONFLICT DO NOTHING",
                &[
                    (&order.id).into(),
                    order.user.0.into(),
                    (&order.package_id).into(),
                    (&order.package_name).into(),
                    order.points.get().into(),
                    order.price.get().into(),
                    order.validity_days.into(),
                    order.channel.name().into(),
                    order.payer_openid.as_deref().into(),
                    order.state.name().into(),
                    order.created_at.micros().into(),
                    order.payable_until.micros().into(),
                    order.prepay_id.as_deref().into(),
                ],
            )
            .await?;
        Ok(inserted == 1)
    }

    /// Writes where an order stands.
    pub async fn update_order(&mut self, order: &Order) -> Result<()> {
        self.execute(
            "UPDATE orders SET state = $1, prepay_id = $2, transaction_id = $3, paid_at = $4, closed_at = $5, \
             paid_after_close = $6 WHERE id = $7",
            &[
                order.state.name().into(),
                order.prepay_id.as_deref().into(),
                order.payment.as_ref().map(|payment| payment.transaction_id.as_str()).into(),
                order.payment.as_ref().map(|payment| payment.paid_at.micros()).into(),
                order.closed_at.map(Time::micros).into(),
                order.paid_after_close.into(),
                (&order.id).into(),
            ],
        )
        .await
        .map(drop)
    }

    /// An order by its number.
    pub async fn order(&mut self, id: &str) -> Result<Option<Order>> {
        self.fetch_optional(select_orders!("WHERE id = $1"), &[id.into()], read_order)
            .await
    }

    /// An order by its number, locked.
    pub async fn lock_order(&mut self, id: &str) -> Result<Option<Order>> {
        self.lock_optional(select_orders!("WHERE id = $1"), &[id.into()], read_order)
            .await
    }

    /// The order of this user, package and channel that is not yet paid or closed.
    pub async fn open_order(
        &mut self,
        user: UserId,
        package_id: &str,
        channel: Channel,
    ) -> Result<Option<Order>> {
        self.fetch_optional(
            select_orders!("WHERE user_id = $1 AND package_id = $2 AND channel = $3 AND state IN ('created', 'waiting')"),
            &[user.0.into(), package_id.into(), channel.name().into()],
            read_order,
        )
        .await
    }

    /// The order of a provider's transaction.
    pub async fn order_by_transaction(
        &mut self,
        channel: Channel,
        transaction_id: &str,
    ) -> Result<Option<Order>> {
        self.fetch_optional(
            select_orders!("WHERE channel = $1 AND transaction_id = $2"),
            &[channel.name().into(), transaction_id.into()],
            read_order,
        )
        .await
    }

    /// A user's orders, newest first, and how many there are in all.
    pub async fn orders_of(
        &mut self,
        user: UserId,
        skip: i64,
        rows_max: i64,
    ) -> Result<(i64, Vec<Order>)> {
        let total = self
            .fetch_optional(
                "SELECT COUNT(*) FROM orders WHERE user_id = $1",
                &[user.0.into()],
                |row| row.get(0),
            )
            .await?
            .unwrap_or(0);
        let orders = self
            .fetch_all(
                select_orders!(
                    "WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"
                ),
                &[user.0.into(), rows_max.into(), skip.into()],
                read_order,
            )
            .await?;
        Ok((total, orders))
    }

    /// All orders, newest first; with `state`, only those in it.
    pub async fn list_orders(
        &mut self,
        state: Option<OrderState>,
        rows_max: i64,
    ) -> Result<Vec<Order>> {
        self.fetch_all(
            select_orders!(
                "WHERE state = COALESCE($1, state) ORDER BY created_at DESC, id DESC LIMIT $2"
            ),
            &[state.map(OrderState::name).into(), rows_max.into()],
            read_order,
        )
        .await
    }

    /// Notes that the provider is being asked about an order that is not delivered; `false` when it is, or the provider was
    /// asked after `not_since`.
    pub async fn claim_order_query(
        &mut self,
        id: &str,
        now: Time,
        not_since: Time,
    ) -> Result<bool> {
        let claimed = self
            .execute(
                "UPDATE orders SET queried_at = $1 WHERE id = $2 AND state <> 'delivered' \
                 AND (queried_at IS NULL OR queried_at <= $3)",
                &[now.micros().into(), id.into(), not_since.micros().into()],
            )
            .await?;
        Ok(claimed == 1)
    }

    /// Records a payment that could not be booked, reported at `last_at`; `true` the first time. How often and since when it
    /// was reported is counted here, not taken from `incident`.
    pub async fn record_incident(&mut self, incident: &PaymentIncident) -> Result<bool> {
        let times: Option<i64> = self
            .fetch_optional(
                "INSERT INTO payment_incidents (channel, transaction_id, order_id, reason, first_at, last_at, times) \
                 VALUES ($1, $2, $3, $4, $5, $5, 1) ON CONFLICT (channel, transaction_id, order_id) DO UPDATE \
                 SET times = payment_incidents.times + 1, last_at = excluded.last_at, reason = excluded.reason RETURNING times",
                &[
                    incident.channel.name().into(),
                    (&incident.transaction_id).into(),
                    (&incident.order_id).into(),
                    (&incident.reason).into(),
                    incident.last_at.micros().into(),
                ],
                |row| row.get(0),
            )
            .await?;
        Ok(times == Some(1))
    }

    /// Payments that could not be booked, newest first.
    pub async fn incidents(&mut self, rows_max: i64) -> Result<Vec<PaymentIncident>> {
        self.fetch_all(
            "SELECT channel, transaction_id, order_id, reason, first_at, last_at, times FROM payment_incidents \
             ORDER BY last_at DESC, channel, transaction_id, order_id LIMIT $1",
            &[rows_max.into()],
            |row| {
                Ok(PaymentIncident {
                    channel: channel(row, 0)?,
                    transaction_id: row.get(1)?,
                    order_id: row.get(2)?,
                    reason: row.get(3)?,
                    first_at: Time::from_micros(row.get(4)?),
                    last_at: Time::from_micros(row.get(5)?),
                    times: row.get(6)?,
                })
            },
        )
        .await
    }
}

fn read_order(row: &Row<'_>) -> Result<Order> {
    let id: String = row.get(0)?;
    let broken = |what: &str| Error::Corrupt(format!("order {id}: {what}"));
    let state: String = row.get(9)?;
    let transaction_id: Option<String> = row.get(13)?;
    let paid_at: Option<i64> = row.get(14)?;
    Ok(Order {
        user: UserId(row.get(1)?),
        package_id: row.get(2)?,
        package_name: row.get(3)?,
        points: Points::new(row.get(4)?).ok_or_else(|| broken("negative points"))?,
        price: Fen::new(row.get(5)?).ok_or_else(|| broken("negative price"))?,
        validity_days: row.get(6)?,
        channel: channel(row, 7)?,
        payer_openid: row.get(8)?,
        state: OrderState::from_name(&state).ok_or_else(|| broken("unknown state"))?,
        created_at: Time::from_micros(row.get(10)?),
        payable_until: Time::from_micros(row.get(11)?),
        prepay_id: row.get(12)?,
        payment: transaction_id
            .zip(paid_at)
            .map(|(transaction_id, paid_at)| Payment {
                transaction_id,
                paid_at: Time::from_micros(paid_at),
            }),
        closed_at: row.get::<Option<i64>>(15)?.map(Time::from_micros),
        paid_after_close: row.get(16)?,
        id,
    })
}

fn channel(row: &Row<'_>, index: usize) -> Result<Channel> {
    let name: String = row.get(index)?;
    Channel::from_name(&name).ok_or_else(|| Error::Corrupt(format!("unknown channel {name}")))
}
