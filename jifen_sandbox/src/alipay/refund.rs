//! `alipay.trade.refund` and `alipay.trade.fastpay.refund.query`.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    answer::{Failure, Members},
    biz_content::BizContent,
    book::not_exist,
    notification::Kind,
    trade::{Status, Trade},
    trades, yuan,
};
use crate::{beijing, sandbox::Sandbox};

/// The least time between two refunds of one trade.
const APART: SignedDuration = SignedDuration::from_secs(3);
/// The refund period of the standard contract.
const REFUNDABLE: SignedDuration = SignedDuration::from_hours(365 * 24);
const REFUNDS_MAX: usize = 200;

/// `alipay.trade.refund`. `fund_change` tells whether this very call moved money.
pub(crate) fn refund(
    sandbox: &Sandbox,
    biz: &BizContent,
    now: Timestamp,
) -> Result<Members, Failure> {
    let amount_fen = biz.amount_fen("refund_amount")?;
    biz.text("refund_reason", 256)?;
    let mut book = sandbox.alipay().book.lock();
    let trade = book
        .look_up(biz.trade_numbers()?)
        .ok_or_else(not_exist)?
        .clone();
    let number = trade.ordered.out_trade_no.clone();
    let out_request_no = match biz.text("out_request_no", 64)? {
        Some(request) => request.to_owned(),
        None if amount_fen == trade.ordered.total_fen => number.clone(),
        None => return Err(Failure::invalid_parameter("部分退款时out_request_no必填")),
    };
    let earlier = trade
        .refunds
        .iter()
        .find(|refund| refund.out_request_no == out_request_no);
    let moved = match earlier {
        Some(refund) if refund.amount_fen == amount_fen => false,
        Some(_) => {
            return Err(Failure::new(
                "ACQ.DISCORDANT_REPEAT_REQUEST",
                "不一致的请求：退款请求号相同而金额不同",
            ));
        }
        None => {
            check(&trade, amount_fen, book.balance_fen, now)?;
            book.refund(&number, out_request_no.clone(), amount_fen, now);
            true
        }
    };
    let trade = book.find(&number).ok_or_else(not_exist)?.clone();
    drop(book);
    if moved {
        trades::notify(
            sandbox,
            &number,
            &Kind::Refunded {
                out_request_no: out_request_no.clone(),
            },
            now,
        );
    }
    let at = trade
        .refunds
        .iter()
        .find(|refund| refund.out_request_no == out_request_no)
        .map_or(now, |refund| refund.at);
    let mut members: Members = trades::buyer(sandbox, &trade).into();
    members.extend([
        ("trade_no", Value::from(trade.trade_no.as_str())),
        ("out_trade_no", Value::from(number)),
        ("fund_change", Value::from(if moved { "Y" } else { "N" })),
        (
            "refund_fee",
            Value::from(yuan::format(trade.refunded_fen())),
        ),
        ("gmt_refund_pay", Value::from(beijing::plain(at))),
        (
            "send_back_fee",
            Value::from(if moved {
                yuan::format(amount_fen)
            } else {
                "0.00".to_owned()
            }),
        ),
    ]);
    Ok(members)
}

/// `alipay.trade.fastpay.refund.query`: without `refund_status` nothing was refunded under this number.
pub(crate) fn query(
    sandbox: &Sandbox,
    biz: &BizContent,
    _now: Timestamp,
) -> Result<Members, Failure> {
    let out_request_no = biz.required("out_request_no", 64)?;
    let book = sandbox.alipay().book.lock();
    let trade = book.look_up(biz.trade_numbers()?).ok_or_else(not_exist)?;
    let mut members = vec![
        ("trade_no", Value::from(trade.trade_no.as_str())),
        (
            "out_trade_no",
            Value::from(trade.ordered.out_trade_no.as_str()),
        ),
        ("out_request_no", Value::from(out_request_no)),
    ];
    if let Some(refund) = trade
        .refunds
        .iter()
        .find(|refund| refund.out_request_no == out_request_no)
    {
        members.extend([
            ("refund_status", Value::from("REFUND_SUCCESS")),
            (
                "refund_amount",
                Value::from(yuan::format(refund.amount_fen)),
            ),
            (
                "total_amount",
                Value::from(yuan::format(trade.ordered.total_fen)),
            ),
        ]);
        if biz.has_option("gmt_refund_pay") {
            members.push(("gmt_refund_pay", Value::from(beijing::plain(refund.at))));
        }
    }
    Ok(members)
}

fn check(trade: &Trade, amount_fen: i64, balance_fen: i64, now: Timestamp) -> Result<(), Failure> {
    match trade.status {
        Status::Success => {}
        Status::Finished => {
            return Err(Failure::new(
                "ACQ.TRADE_HAS_FINISHED",
                "交易已完结，不可退款",
            ));
        }
        Status::WaitBuyerPay | Status::Closed => {
            return Err(Failure::new("ACQ.TRADE_STATUS_ERROR", "交易状态不合法"));
        }
    }
    if amount_fen > trade.ordered.total_fen {
        return Err(Failure::new(
            "ACQ.REASON_TRADE_REFUND_FEE_ERR",
            "退款金额无效",
        ));
    }
    if amount_fen > trade.ordered.total_fen - trade.refunded_fen() {
        return Err(Failure::new(
            "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL",
            "退款金额超限",
        ));
    }
    if trade
        .paid_at
        .is_some_and(|paid_at| now.duration_since(paid_at) > REFUNDABLE)
    {
        return Err(Failure::new(
            "ACQ.TRADE_NOT_ALLOW_REFUND",
            "当前交易不允许退款：已超过退款期限",
        ));
    }
    if trade.refunds.len() >= REFUNDS_MAX {
        return Err(Failure::new(
            "ACQ.TRADE_NOT_ALLOW_REFUND",
            "当前交易不允许退款：退款次数过多",
        ));
    }
    if trade
        .refunds
        .last()
        .is_some_and(|refund| now.duration_since(refund.at) < APART)
    {
        return Err(Failure::new(
            "ACQ.SYSTEM_ERROR",
            "同一交易的多次退款需间隔3秒以上，请用相同参数重试",
        ));
    }
    if amount_fen > balance_fen {
        return Err(Failure::new(
            "ACQ.SELLER_BALANCE_NOT_ENOUGH",
            "卖家余额不足",
        ));
    }
    Ok(())
}
