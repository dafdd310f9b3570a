//! `alipay.trade.query` and `alipay.trade.close`, and the closing of trades whose time is over.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answer::{Failure, Members},
    biz_content::BizContent,
    book::not_exist,
    notification::{Kind, TradeDelivery},
    trade::Trade,
    yuan,
};
use crate::{beijing, sandbox::Sandbox};

/// `alipay.trade.query`. That the query worked says nothing about a payment.
pub(crate) fn query(
    sandbox: &Sandbox,
    biz: &BizContent,
    _now: Timestamp,
) -> Result<Members, Failure> {
    let numbers = biz.trade_numbers()?;
    let book = sandbox.alipay().book.lock();
    let Some(trade) = book.look_up(numbers) else {
        let mut failure = not_exist();
        failure.members = amounts(0);
        for (name, number) in [("trade_no", numbers.0), ("out_trade_no", numbers.1)] {
            failure
                .members
                .extend(number.map(|number| (name, Value::from(number))));
        }
        return Err(failure);
    };
    let mut members = amounts(if trade.paid_at.is_some() {
        trade.ordered.total_fen
    } else {
        0
    });
    members.extend(buyer(sandbox, trade));
    members.extend([
        ("trade_no", Value::from(trade.trade_no.as_str())),
        (
            "out_trade_no",
            Value::from(trade.ordered.out_trade_no.as_str()),
        ),
        ("trade_status", Value::from(trade.status.as_str())),
        (
            "total_amount",
            Value::from(yuan::format(trade.ordered.total_fen)),
        ),
    ]);
    if let Some(paid_at) = trade.paid_at {
        members.push(("send_pay_date", Value::from(beijing::plain(paid_at))));
        let paid = yuan::format(trade.ordered.total_fen);
        members.push((
            "fund_bill_list",
            json!([{"amount": paid, "fund_channel": "ALIPAYACCOUNT"}]),
        ));
    }
    Ok(members)
}

/// `alipay.trade.close`
pub(crate) fn close(
    sandbox: &Sandbox,
    biz: &BizContent,
    now: Timestamp,
) -> Result<Members, Failure> {
    let numbers = biz.trade_numbers()?;
    let mut book = sandbox.alipay().book.lock();
    let number = book
        .look_up(numbers)
        .ok_or_else(not_exist)?
        .ordered
        .out_trade_no
        .clone();
    let trade = book.close(&number, now)?;
    let members = vec![
        ("trade_no", Value::from(trade.trade_no.as_str())),
        (
            "out_trade_no",
            Value::from(trade.ordered.out_trade_no.as_str()),
        ),
    ];
    drop(book);
    notify(sandbox, &number, &Kind::Closed, now);
    Ok(members)
}

/// Closes the unpaid trades whose time is over and tells the merchant; the answer is when the next one is due.
pub(crate) fn close_expired(sandbox: &Sandbox, now: Timestamp) -> Option<Timestamp> {
    let mut book = sandbox.alipay().book.lock();
    let closed = book.close_expired(now);
    let next = book.next_expiry();
    drop(book);
    for number in closed {
        notify(sandbox, &number, &Kind::Closed, now);
    }
    next
}

/// Puts a notification about a trade in line, where the merchant gave an address and the contract pushes this kind.
pub(crate) fn notify(sandbox: &Sandbox, out_trade_no: &str, kind: &Kind, now: Timestamp) {
    let settings = sandbox.alipay().settings.lock().clone();
    let pushed = match kind {
        Kind::Created => settings.push_wait_buyer_pay,
        Kind::Closed => settings.push_trade_closed,
        Kind::Finished => settings.push_trade_finished,
        Kind::Paid | Kind::Refunded { .. } => true,
    };
    let url = {
        let book = sandbox.alipay().book.lock();
        book.find(out_trade_no)
            .and_then(|trade| trade.ordered.notify_url.clone())
    };
    if let Some(url) = url.filter(|_| pushed) {
        let delivery = TradeDelivery::new(sandbox, out_trade_no, kind, url, now);
        sandbox.outbox().enqueue(Arc::new(delivery), now);
    }
}

/// `buyer_user_id`, or `buyer_open_id` where the application is a newer one, and the masked log-in name.
pub(crate) fn buyer(sandbox: &Sandbox, trade: &Trade) -> [(&'static str, Value); 2] {
    let id = if sandbox.alipay().settings.lock().buyer_open_id {
        ("buyer_open_id", Value::from(trade.buyer.open_id.as_str()))
    } else {
        ("buyer_user_id", Value::from(trade.buyer.user_id.as_str()))
    };
    [
        id,
        (
            "buyer_logon_id",
            Value::from(trade.buyer.masked_login.as_str()),
        ),
    ]
}

fn amounts(paid_fen: i64) -> Members {
    let paid = || Value::from(yuan::format(paid_fen));
    vec![
        ("buyer_pay_amount", paid()),
        ("receipt_amount", paid()),
        ("invoice_amount", paid()),
        ("point_amount", Value::from("0.00")),
    ]
}
