//! Every order and refund of the merchant, and the moves between their states.

use std::collections::{BTreeMap, HashMap};

use http::StatusCode;
use jiff::{Timestamp, civil::Date};

use super::{
    prepay::{Prepay, TradeType},
    refund::{Refund, RefundRequest, RefundState, not_refundable},
    refusal::Refusal,
    transaction::{Paid, PayError, State, Transaction},
};
use crate::{beijing, environment::Environment};

/// What a QR code for an order begins with.
const CODE_URL_PREFIX: &str = "weixin://wxpay/bizpayurl?pr=";

/// All orders. Numbers are never freed: an `out_trade_no` is unique for ever.
pub(crate) struct Book {
    transactions_max: usize,
    /// By `out_trade_no`.
    transactions: BTreeMap<String, Transaction>,
    /// The valid `prepay_id` of an order, and what it paid under, to its `out_trade_no`.
    by_prepay_id: HashMap<String, String>,
    by_transaction_id: HashMap<String, String>,
    by_out_refund_no: HashMap<String, String>,
    /// What the merchant can refund from.
    pub(crate) balance_fen: i64,
}

/// Who pays.
#[derive(Debug, Clone)]
pub(crate) struct Payer {
    pub(crate) openid: String,
    pub(crate) person_id: Option<String>,
    pub(crate) coupon_fen: i64,
}

impl Book {
    pub(crate) fn new(transactions_max: usize) -> Self {
        Self {
            transactions_max,
            transactions: BTreeMap::new(),
            by_prepay_id: HashMap::new(),
            by_transaction_id: HashMap::new(),
            by_out_refund_no: HashMap::new(),
            balance_fen: 0,
        }
    }

    /// Orders, or repeats an order; the answer is a `prepay_id` that can be paid with now.
    pub(crate) fn prepay(
        &mut self,
        prepay: Prepay,
        environment: &dyn Environment,
        now: Timestamp,
    ) -> Result<String, Refusal> {
        let number = prepay.out_trade_no.clone();
        let prepay_id = new_prepay_id(environment, now);
        if let Some(order) = self.transactions.get_mut(&number) {
            repeatable(order, &prepay, now)?;
            if order.prepay_expired(now) {
                self.by_prepay_id.remove(&order.prepay_id);
                order.prepay_id = prepay_id;
                order.prepared_at = now;
                self.by_prepay_id.insert(order.prepay_id.clone(), number);
            }
            return Ok(order.prepay_id.clone());
        }
        if self.transactions.len() >= self.transactions_max {
            let message = format!("沙箱中的订单数已达上限{}", self.transactions_max);
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "SYSTEM_ERROR",
                message,
            ));
        }
        self.by_prepay_id.insert(prepay_id.clone(), number.clone());
        let order = Transaction {
            prepay,
            state: State::NotPay,
            created_at: now,
            prepay_id: prepay_id.clone(),
            prepared_at: now,
            paid: None,
            refunds: Vec::new(),
        };
        self.transactions.insert(number, order);
        Ok(prepay_id)
    }

    pub(crate) fn find(&self, out_trade_no: &str) -> Option<&Transaction> {
        self.transactions.get(out_trade_no)
    }

    pub(crate) fn find_by_transaction_id(&self, transaction_id: &str) -> Option<&Transaction> {
        self.find(self.by_transaction_id.get(transaction_id)?)
    }

    pub(crate) fn find_by_prepay_id(&self, prepay_id: &str) -> Option<&Transaction> {
        self.find(self.by_prepay_id.get(prepay_id)?)
    }

    /// By any of the names an order has, `code_url` included.
    pub(crate) fn find_by_any(&self, id: &str) -> Option<&Transaction> {
        self.find(id)
            .or_else(|| self.find_by_prepay_id(id))
            .or_else(|| self.find_by_transaction_id(id))
            .or_else(|| self.find_by_code(id.strip_prefix(CODE_URL_PREFIX)?))
    }

    fn find_by_code(&self, code: &str) -> Option<&Transaction> {
        let native = |order: &&Transaction| order.prepay.trade_type == TradeType::Native;
        self.transactions
            .values()
            .filter(native)
            .find(|order| code_of(&order.prepay_id) == code)
    }

    /// The newest orders first.
    pub(crate) fn newest(&self, count: usize) -> Vec<&Transaction> {
        let mut orders: Vec<_> = self.transactions.values().collect();
        orders.sort_by_key(|order| std::cmp::Reverse(order.created_at));
        orders.truncate(count);
        orders
    }

    /// Takes the payer's money. The merchant has it at once.
    pub(crate) fn pay(
        &mut self,
        out_trade_no: &str,
        payer: Payer,
        environment: &dyn Environment,
        now: Timestamp,
    ) -> Result<(), PayError> {
        let Some(order) = self.transactions.get_mut(out_trade_no) else {
            return Err(PayError::Closed);
        };
        order.payable(now)?;
        let transaction_id = format!(
            "4200{}{}{}",
            environment.digits(6),
            day(now),
            environment.digits(10)
        );
        self.by_transaction_id
            .insert(transaction_id.clone(), out_trade_no.to_owned());
        order.state = State::Success;
        order.paid = Some(Paid {
            transaction_id,
            openid: payer.openid,
            person_id: payer.person_id,
            coupon_fen: payer.coupon_fen.clamp(0, order.prepay.total_fen),
            at: now,
        });
        self.balance_fen = self.balance_fen.saturating_add(order.prepay.total_fen);
        Ok(())
    }

    /// The payer tried, and the bank refused.
    pub(crate) fn fail(&mut self, out_trade_no: &str, now: Timestamp) -> Result<(), PayError> {
        let Some(order) = self.transactions.get_mut(out_trade_no) else {
            return Err(PayError::Closed);
        };
        order.payable(now)?;
        order.state = State::PayError;
        Ok(())
    }

    /// Closes an unpaid order. Closing a closed one changes nothing.
    pub(crate) fn close(&mut self, out_trade_no: &str) -> Result<(), Refusal> {
        let order = self
            .transactions
            .get_mut(out_trade_no)
            .ok_or_else(order_not_exist)?;
        match order.state {
            State::NotPay | State::PayError | State::Closed => {
                order.state = State::Closed;
                Ok(())
            }
            State::Success | State::Refund => Err(order_paid()),
        }
    }

    /// Sets an unpaid order's state by hand. A payment cannot be forced away or into being: it has other traces.
    pub(crate) fn force(&mut self, out_trade_no: &str, state: State) -> Result<(), String> {
        let Some(order) = self.transactions.get_mut(out_trade_no) else {
            return Err("transaction not found".to_owned());
        };
        let unpaid = |state| matches!(state, State::NotPay | State::PayError | State::Closed);
        if !unpaid(state) || !unpaid(order.state) {
            return Err(format!(
                "{} cannot be forced to {}",
                order.state.as_str(),
                state.as_str()
            ));
        }
        order.state = state;
        Ok(())
    }

    /// Accepts a refund or repeats the answer of an earlier one with the same number. Whether it is new stands beside it.
    pub(crate) fn refund(
        &mut self,
        request: &RefundRequest,
        environment: &dyn Environment,
        now: Timestamp,
    ) -> Result<(String, bool), Refusal> {
        if let Some((order, earlier)) = self.find_refund(&request.out_refund_no) {
            if request.repeats(order, earlier) {
                return Ok((earlier.out_refund_no.clone(), false));
            }
            return Err(Refusal::rule(
                "该退款单号已被使用，且订单号或金额与之前的请求不一致，请核实后再试",
            ));
        }
        let number = match (&request.transaction_id, &request.out_trade_no) {
            (Some(id), _) => self.by_transaction_id.get(id).cloned(),
            (None, number) => number.clone(),
        };
        let order = number
            .and_then(|number| self.transactions.get_mut(&number))
            .ok_or_else(not_refundable)?;
        request.check(order, now)?;
        if request.refund_fen > self.balance_fen {
            let message = "基本账户余额不足，请充值后重新发起";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "NOT_ENOUGH", message));
        }
        let refund_id = format!(
            "5030{}{}{}",
            environment.digits(7),
            day(now),
            environment.digits(10)
        );
        order.refunds.push(request.accept(order, refund_id, now));
        order.state = State::Refund;
        self.balance_fen -= request.refund_fen;
        self.by_out_refund_no.insert(
            request.out_refund_no.clone(),
            order.prepay.out_trade_no.clone(),
        );
        Ok((request.out_refund_no.clone(), true))
    }

    pub(crate) fn find_refund(&self, out_refund_no: &str) -> Option<(&Transaction, &Refund)> {
        let order = self.find(self.by_out_refund_no.get(out_refund_no)?)?;
        let refund = order
            .refunds
            .iter()
            .find(|refund| refund.out_refund_no == out_refund_no)?;
        Some((order, refund))
    }

    /// Decides what becomes of a refund, at once. A closed refund gives the merchant the money back.
    pub(crate) fn settle_refund(
        &mut self,
        out_refund_no: &str,
        outcome: RefundState,
        now: Timestamp,
    ) -> Result<(), String> {
        let order = self
            .by_out_refund_no
            .get(out_refund_no)
            .and_then(|number| self.transactions.get_mut(number));
        let refund = order.and_then(|order| {
            order
                .refunds
                .iter_mut()
                .find(|refund| refund.out_refund_no == out_refund_no)
        });
        let Some(refund) = refund else {
            return Err("refund not found".to_owned());
        };
        let state = refund.state(now);
        let open = match outcome {
            RefundState::Processing => false,
            RefundState::Success | RefundState::Closed => {
                matches!(state, RefundState::Processing | RefundState::Abnormal)
            }
            RefundState::Abnormal => state == RefundState::Processing,
        };
        if !open {
            return Err(format!(
                "a refund in {} cannot become {}",
                state.as_str(),
                outcome.as_str()
            ));
        }
        refund.outcome = outcome;
        refund.settles_at = now;
        if outcome == RefundState::Closed {
            self.balance_fen = self.balance_fen.saturating_add(refund.refund_fen);
        }
        Ok(())
    }

    /// Lets a refund still in process reach its outcome now.
    pub(crate) fn settle_early(&mut self, out_refund_no: &str, now: Timestamp) {
        let order = self
            .by_out_refund_no
            .get(out_refund_no)
            .and_then(|number| self.transactions.get_mut(number));
        let refunds = order
            .map(|order| order.refunds.as_mut_slice())
            .unwrap_or_default();
        for refund in refunds
            .iter_mut()
            .filter(|refund| refund.out_refund_no == out_refund_no)
        {
            refund.settles_at = refund.settles_at.min(now);
        }
    }

    /// Orders paid on a day and refunds accepted on it, in the order they happened.
    pub(crate) fn day(&self, day: Date) -> Vec<(Timestamp, &Transaction, Option<&Refund>)> {
        let mut rows = Vec::new();
        for order in self.transactions.values() {
            let paid = order.paid.iter().map(|paid| (paid.at, order, None));
            let refunds = order
                .refunds
                .iter()
                .map(|refund| (refund.created_at, order, Some(refund)));
            rows.extend(
                paid.chain(refunds)
                    .filter(|(at, _, _)| beijing::date(*at) == day),
            );
        }
        rows.sort_by_key(|(at, order, _)| (*at, order.prepay.out_trade_no.clone()));
        rows
    }
}

/// Whether a second prepay with the same number is the same order, still open.
fn repeatable(order: &Transaction, again: &Prepay, now: Timestamp) -> Result<(), Refusal> {
    match order.state {
        State::Success | State::Refund => return Err(order_paid()),
        State::Closed => return Err(order_closed()),
        State::NotPay | State::PayError => {}
    }
    if order.prepay.is_repeated_by(again) {
        if now > order.prepay.expires_at {
            return Err(Refusal::rule(
                "订单已超过支付结束时间，请使用新的商户订单号",
            ));
        }
        return Ok(());
    }
    if order.prepay.differs_in_substance(again) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "OUT_TRADE_NO_USED",
            "商户订单号重复",
        ));
    }
    Err(Refusal::rule(
        "请求重入时，参数与首次请求时不一致，请检查参数后再试",
    ))
}

pub(crate) fn order_not_exist() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "ORDER_NOT_EXIST", "订单不存在")
}

fn order_paid() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "ORDERPAID", "该订单已支付")
}

fn order_closed() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "ORDER_CLOSED",
        "该订单已关闭，请重新下单",
    )
}

/// `wx`, the moment and 20 hexadecimal digits: 36 characters.
fn new_prepay_id(environment: &dyn Environment, now: Timestamp) -> String {
    format!("wx{}{}", beijing::compact(now), environment.hex(20))
}

fn day(moment: Timestamp) -> String {
    beijing::date(moment).strftime("%Y%m%d").to_string()
}

impl Transaction {
    /// What a QR code for this order says: derived from the `prepay_id`, so that it is valid as long.
    pub(crate) fn code_url(&self) -> Option<String> {
        (self.prepay.trade_type == TradeType::Native)
            .then(|| format!("{CODE_URL_PREFIX}{}", code_of(&self.prepay_id)))
    }
}

/// The nine characters of a `code_url` that stand for a `prepay_id`: its random end.
fn code_of(prepay_id: &str) -> &str {
    prepay_id
        .len()
        .checked_sub(9)
        .and_then(|start| prepay_id.get(start..))
        .unwrap_or(prepay_id)
}
