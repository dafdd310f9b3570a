//! Every checkout (a form a buyer has opened) and every trade of the merchant, and the moves between their states.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::{Timestamp, civil::Date};

use super::{
    answer::Failure,
    trade::{Buyer, Deadline, Ordered, Refund, Status, Trade},
};
use crate::{beijing, environment::Environment};

/// All trades. An `out_trade_no` is never freed.
pub(crate) struct Book {
    trades_max: usize,
    /// By `out_trade_no`.
    trades: BTreeMap<String, Trade>,
    by_trade_no: HashMap<String, String>,
    /// Opened forms, the oldest forgotten first.
    checkouts: VecDeque<Checkout>,
    /// What the seller can refund from.
    pub(crate) balance_fen: i64,
}

/// A form a browser has sent: the buyer is not known yet, and no trade exists.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    pub(crate) id: String,
    pub(crate) ordered: Ordered,
    pub(crate) opened_at: Timestamp,
}

impl Book {
    pub(crate) fn new(trades_max: usize) -> Self {
        Self {
            trades_max,
            trades: BTreeMap::new(),
            by_trade_no: HashMap::new(),
            checkouts: VecDeque::new(),
            balance_fen: 0,
        }
    }

    /// Opens the cashier for an order; the answer is the checkout's id.
    pub(crate) fn open(
        &mut self,
        ordered: Ordered,
        environment: &dyn Environment,
        now: Timestamp,
    ) -> Result<String, Failure> {
        if let Some(trade) = self.trades.get(&ordered.out_trade_no) {
            same_order(&trade.ordered, &ordered)?;
            payable(trade.status)?;
        }
        let id = environment.hex(32);
        while self.checkouts.len() >= self.trades_max.max(1) {
            self.checkouts.pop_front();
        }
        self.checkouts.push_back(Checkout {
            id: id.clone(),
            ordered,
            opened_at: now,
        });
        Ok(id)
    }

    /// A checkout by its id, or the newest one of an order.
    pub(crate) fn checkout(&self, id: &str) -> Option<&Checkout> {
        let newest_first = || self.checkouts.iter().rev();
        newest_first()
            .find(|checkout| checkout.id == id)
            .or_else(|| newest_first().find(|checkout| checkout.ordered.out_trade_no == id))
    }

    pub(crate) fn checkouts(&self) -> impl Iterator<Item = &Checkout> {
        self.checkouts.iter().rev()
    }

    /// The buyer logs in: the trade is created, or found again.
    pub(crate) fn log_in(
        &mut self,
        checkout_id: &str,
        buyer: Buyer,
        environment: &dyn Environment,
        now: Timestamp,
    ) -> Result<&Trade, Failure> {
        let Some(checkout) = self.checkout(checkout_id) else {
            return Err(Failure::new("ACQ.TRADE_NOT_EXIST", "交易不存在"));
        };
        let ordered = checkout.ordered.clone();
        let number = ordered.out_trade_no.clone();
        if let Some(trade) = self.trades.get(&number) {
            same_order(&trade.ordered, &ordered)?;
            payable(trade.status)?;
            if trade.buyer != buyer {
                return Err(Failure::new(
                    "ACQ.CONTEXT_INCONSISTENT",
                    "交易已由另一位买家创建",
                ));
            }
        } else {
            if self.trades.len() >= self.trades_max {
                let message = format!("沙箱中的交易数已达上限{}", self.trades_max);
                return Err(Failure::new("ACQ.SYSTEM_ERROR", message));
            }
            let expires_at = ordered.deadline.from(now);
            if expires_at <= now {
                return Err(Failure::new("ACQ.TRADE_HAS_CLOSE", "订单已超过支付时间"));
            }
            let trade_no = format!("{}22001{}", day(now), environment.digits(15));
            self.by_trade_no.insert(trade_no.clone(), number.clone());
            let trade = Trade {
                trade_no,
                ordered,
                buyer,
                status: Status::WaitBuyerPay,
                created_at: now,
                expires_at,
                paid_at: None,
                closed_at: None,
                refunds: Vec::new(),
            };
            self.trades.insert(number.clone(), trade);
        }
        self.trades
            .get(&number)
            .ok_or_else(|| Failure::new("ACQ.SYSTEM_ERROR", "系统错误"))
    }

    pub(crate) fn find(&self, out_trade_no: &str) -> Option<&Trade> {
        self.trades.get(out_trade_no)
    }

    pub(crate) fn find_by_trade_no(&self, trade_no: &str) -> Option<&Trade> {
        self.find(self.by_trade_no.get(trade_no)?)
    }

    /// As the interfaces look a trade up: the `trade_no` wins.
    pub(crate) fn look_up(
        &self,
        (trade_no, out_trade_no): (Option<&str>, Option<&str>),
    ) -> Option<&Trade> {
        match (trade_no, out_trade_no) {
            (Some(number), _) => self.find_by_trade_no(number),
            (None, Some(number)) => self.find(number),
            (None, None) => None,
        }
    }

    /// The buyer pays. The seller has the money at once.
    pub(crate) fn pay(&mut self, out_trade_no: &str, now: Timestamp) -> Result<&Trade, Failure> {
        let trade = self.trades.get_mut(out_trade_no).ok_or_else(not_exist)?;
        payable(trade.status)?;
        trade.status = Status::Success;
        trade.paid_at = Some(now);
        self.balance_fen = self.balance_fen.saturating_add(trade.ordered.total_fen);
        Ok(trade)
    }

    /// The merchant closes an unpaid trade.
    pub(crate) fn close(&mut self, out_trade_no: &str, now: Timestamp) -> Result<&Trade, Failure> {
        let trade = self.trades.get_mut(out_trade_no).ok_or_else(not_exist)?;
        match trade.status {
            Status::WaitBuyerPay => {
                trade.status = Status::Closed;
                trade.closed_at = Some(now);
                Ok(trade)
            }
            Status::Success => Err(Failure::new("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")),
            Status::Finished => Err(Failure::new("ACQ.TRADE_HAS_FINISHED", "交易已完结")),
            Status::Closed => Err(Failure::new("ACQ.TRADE_HAS_CLOSE", "交易已经关闭")),
        }
    }

    /// Closes every unpaid trade whose time is over, and returns their numbers.
    pub(crate) fn close_expired(&mut self, now: Timestamp) -> Vec<String> {
        let over =
            |trade: &&mut Trade| trade.status == Status::WaitBuyerPay && trade.expires_at <= now;
        let mut closed = Vec::new();
        for trade in self.trades.values_mut().filter(over) {
            trade.status = Status::Closed;
            trade.closed_at = Some(trade.expires_at);
            closed.push(trade.ordered.out_trade_no.clone());
        }
        closed
    }

    /// When the next unpaid trade will be closed.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        let waiting = self
            .trades
            .values()
            .filter(|trade| trade.status == Status::WaitBuyerPay);
        waiting.map(|trade| trade.expires_at).min()
    }

    /// Ends the time in which a paid trade can be refunded.
    pub(crate) fn finish(&mut self, out_trade_no: &str, now: Timestamp) -> Result<(), String> {
        let trade = self.trades.get_mut(out_trade_no).ok_or("trade not found")?;
        if trade.status != Status::Success {
            return Err(format!(
                "a trade in {} cannot be finished",
                trade.status.as_str()
            ));
        }
        trade.status = Status::Finished;
        trade.closed_at = Some(now);
        Ok(())
    }

    /// Books a refund that was checked. A trade refunded in full is closed.
    pub(crate) fn refund(
        &mut self,
        out_trade_no: &str,
        out_request_no: String,
        amount_fen: i64,
        now: Timestamp,
    ) {
        if let Some(trade) = self.trades.get_mut(out_trade_no) {
            let cumulative_fen = trade.refunded_fen() + amount_fen;
            trade.refunds.push(Refund {
                out_request_no,
                amount_fen,
                at: now,
                cumulative_fen,
            });
            if cumulative_fen == trade.ordered.total_fen {
                trade.status = Status::Closed;
                trade.closed_at = Some(now);
            }
            self.balance_fen -= amount_fen;
        }
    }

    /// Payments and refunds of the days from `first` to `last`, in the order they happened.
    pub(crate) fn movements(
        &self,
        first: Date,
        last: Date,
    ) -> Vec<(Timestamp, &Trade, Option<&Refund>)> {
        let mut rows = Vec::new();
        for trade in self.trades.values() {
            let paid = trade.paid_at.iter().map(|at| (*at, trade, None));
            let refunds = trade
                .refunds
                .iter()
                .map(|refund| (refund.at, trade, Some(refund)));
            rows.extend(
                paid.chain(refunds)
                    .filter(|(at, _, _)| (first..=last).contains(&beijing::date(*at))),
            );
        }
        rows.sort_by_key(|(at, trade, _)| (*at, trade.trade_no.clone()));
        rows
    }
}

impl Deadline {
    fn from(self, created_at: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::After(time) => created_at.checked_add(time).unwrap_or(Timestamp::MAX),
            Self::EndOfDay => beijing::end_of_day(created_at),
        }
    }
}

pub(crate) fn not_exist() -> Failure {
    Failure::new("ACQ.TRADE_NOT_EXIST", "交易不存在")
}

fn same_order(first: &Ordered, again: &Ordered) -> Result<(), Failure> {
    if first.total_fen == again.total_fen && first.subject == again.subject {
        return Ok(());
    }
    Err(Failure::new(
        "ACQ.CONTEXT_INCONSISTENT",
        "交易信息被篡改：同一商户订单号的金额或标题不一致",
    ))
}

fn payable(status: Status) -> Result<(), Failure> {
    match status {
        Status::WaitBuyerPay => Ok(()),
        Status::Success => Err(Failure::new("ACQ.TRADE_HAS_SUCCESS", "交易已被支付")),
        Status::Finished => Err(Failure::new("ACQ.TRADE_HAS_FINISHED", "交易已完结")),
        Status::Closed => Err(Failure::new("ACQ.TRADE_HAS_CLOSE", "交易已经关闭")),
    }
}

fn day(moment: Timestamp) -> String {
    beijing::date(moment).strftime("%Y%m%d").to_string()
}
