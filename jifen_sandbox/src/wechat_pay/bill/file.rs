//! The text of a trade bill: UTF-8 with byte order mark, CRLF, a back-tick before every value, yuan with two decimals.

use jiff::{Timestamp, civil::Date};

use super::BillType;
use crate::{
    beijing,
    wechat_pay::{book::Book, refund::Refund, transaction::Transaction},
};

/// Hundredths of a percent.
const FEE_RATE: i64 = 60;

/// The columns of a bill of everything, in their order, and which bills have them.
const COLUMNS: [(&str, Presence); 29] = [
    ("交易时间", Presence::Always),
    ("公众账号ID", Presence::Always),
    ("商户号", Presence::Always),
    ("特约商户号", Presence::Always),
    ("设备号", Presence::Always),
    ("微信订单号", Presence::Always),
    ("商户订单号", Presence::Always),
    ("用户标识", Presence::Always),
    ("交易类型", Presence::Always),
    ("交易状态", Presence::Always),
    ("付款银行", Presence::Always),
    ("货币种类", Presence::Always),
    ("应结订单金额", Presence::Always),
    ("代金券金额", Presence::Always),
    ("退款申请时间", Presence::OnlyRefundBill),
    ("退款成功时间", Presence::OnlyRefundBill),
    ("微信退款单号", Presence::NotSuccessBill),
    ("商户退款单号", Presence::NotSuccessBill),
    ("退款金额", Presence::NotSuccessBill),
    ("充值券退款金额", Presence::NotSuccessBill),
    ("退款类型", Presence::NotSuccessBill),
    ("退款状态", Presence::NotSuccessBill),
    ("商品名称", Presence::Always),
    ("商户数据包", Presence::Always),
    ("手续费", Presence::Always),
    ("费率", Presence::Always),
    ("订单金额", Presence::Always),
    ("申请退款金额", Presence::NotSuccessBill),
    ("费率备注", Presence::Always),
];

const SUMMARY: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    NotSuccessBill,
    OnlyRefundBill,
}

#[derive(Default)]
struct Totals {
    rows: i64,
    settled: i64,
    refunded: i64,
    fees: i64,
    ordered: i64,
    refund_asked: i64,
}

/// The whole file; `None` when the day has no row of this kind.
pub(super) fn write(book: &Book, day: Date, bill_type: BillType, mchid: &str) -> Option<Vec<u8>> {
    let mut totals = Totals::default();
    let mut text = String::from("\u{FEFF}");
    let names: Vec<&str> = COLUMNS
        .iter()
        .filter(|(_, presence)| presence.in_bill(bill_type))
        .map(|(name, _)| *name)
        .collect();
    text.push_str(&names.join(","));
    text.push_str("\r\n");
    for (at, order, refund) in book.day(day) {
        let wanted = match bill_type {
            BillType::All => true,
            BillType::Success => refund.is_none(),
            BillType::Refund => refund.is_some(),
        };
        if wanted {
            let values = row(at, order, refund, mchid, &mut totals);
            let shown = COLUMNS
                .iter()
                .zip(values)
                .filter(|((_, presence), _)| presence.in_bill(bill_type));
            push_row(&mut text, shown.map(|(_, value)| value));
        }
    }
    if totals.rows == 0 {
        return None;
    }
    text.push_str(SUMMARY);
    text.push_str("\r\n");
    let sums = [
        totals.settled,
        totals.refunded,
        0,
        totals.fees,
        totals.ordered,
        totals.refund_asked,
    ]
    .map(yuan);
    push_row(
        &mut text,
        std::iter::once(totals.rows.to_string()).chain(sums),
    );
    Some(text.into_bytes())
}

impl Presence {
    fn in_bill(self, bill_type: BillType) -> bool {
        match self {
            Self::Always => true,
            Self::NotSuccessBill => bill_type != BillType::Success,
            Self::OnlyRefundBill => bill_type == BillType::Refund,
        }
    }
}

fn row(
    at: Timestamp,
    order: &Transaction,
    refund: Option<&Refund>,
    mchid: &str,
    totals: &mut Totals,
) -> [String; 29] {
    let paid = order.paid.as_ref();
    let payer_total = order.payer_total_fen();
    let (settled, ordered) = if refund.is_some() {
        (0, 0)
    } else {
        (payer_total, order.total_fen())
    };
    let (returned, asked) = refund.map_or((0, 0), |refund| {
        (refund.payer_refund_fen, refund.refund_fen)
    });
    let fee = fee(settled) - fee(returned);
    totals.rows += 1;
    totals.settled += settled;
    totals.refunded += returned;
    totals.fees += fee;
    totals.ordered += ordered;
    totals.refund_asked += asked;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let coupon = if refund.is_some() {
        0
    } else {
        order.total_fen() - payer_total
    };
    [
        beijing::plain(at),
        order.prepay.appid.clone(),
        mchid.to_owned(),
        "0".to_owned(),
        String::new(),
        text(paid.map(|paid| paid.transaction_id.as_str())),
        order.prepay.out_trade_no.clone(),
        text(paid.map(|paid| paid.openid.as_str())),
        order.prepay.trade_type.as_str().to_owned(),
        if refund.is_some() {
            "REFUND"
        } else {
            "SUCCESS"
        }
        .to_owned(),
        "OTHERS".to_owned(),
        "CNY".to_owned(),
        yuan(settled),
        yuan(coupon),
        refund
            .map(|refund| beijing::plain(refund.created_at))
            .unwrap_or_default(),
        refund
            .map(|refund| beijing::plain(refund.settles_at))
            .unwrap_or_default(),
        refund.map_or_else(|| "0".to_owned(), |refund| refund.refund_id.clone()),
        refund.map_or_else(|| "0".to_owned(), |refund| refund.out_refund_no.clone()),
        yuan(returned),
        yuan(0),
        if refund.is_some() { "ORIGINAL" } else { "" }.to_owned(),
        refund
            .map(|refund| refund.outcome.as_str().to_owned())
            .unwrap_or_default(),
        order.prepay.description.clone(),
        order.prepay.attach.clone(),
        format!(
            "{}{}.{:05}",
            if fee < 0 { "-" } else { "" },
            fee.abs() / 100,
            fee.abs() % 100 * 1000
        ),
        format!("{}.{:02}%", FEE_RATE / 100, FEE_RATE % 100),
        yuan(ordered),
        yuan(asked),
        String::new(),
    ]
}

fn push_row(text: &mut String, values: impl Iterator<Item = String>) {
    let cells: Vec<String> = values
        .map(|value| format!("`{}", value.replace(['\r', '\n'], " ")))
        .collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

fn fee(fen: i64) -> i64 {
    (fen * FEE_RATE + 5_000) / 10_000
}

fn yuan(fen: i64) -> String {
    format!(
        "{}{}.{:02}",
        if fen < 0 { "-" } else { "" },
        fen.abs() / 100,
        fen.abs() % 100
    )
}
