//! WeChat Pay v3 for one direct merchant: prepay, query, close, refunds, bills, certificates, signed answers and notifications,
//! and the cashier at which a person pays.

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    locked::Locked,
    sandbox::{Config, Sandbox},
};

mod answer;
mod authorization;
mod bill;
mod book;
mod cashier;
mod control;
mod fields;
mod forgery;
mod keys;
mod notification;
mod orders;
mod pay_sign;
mod prepay;
mod refund;
mod refunds;
mod refusal;
mod sealed;
mod transaction;
mod verified;

pub(crate) use cashier::payments;
pub(crate) use control::router as control_router;

/// The largest amount of one order: a hundred million yuan.
const TOTAL_FEN_MAX: i64 = 10_000_000_000;

/// The state of the played WeChat Pay.
pub(crate) struct WechatPay {
    keys: keys::Keys,
    book: Locked<book::Book>,
    nonces: Locked<authorization::Nonces>,
    bills: Locked<bill::Downloads>,
    settings: Locked<control::Settings>,
}

impl WechatPay {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            keys: keys::Keys::builtin(),
            book: Locked::new(book::Book::new(config.limits.payments_max)),
            nonces: Locked::default(),
            bills: Locked::default(),
            settings: Locked::default(),
        }
    }
}

/// WeChat Pay's own paths, every answer signed except a bill's file.
pub(crate) fn protocol_router(sandbox: &Sandbox) -> Router<Sandbox> {
    let signed = Router::new()
        .route("/v3/pay/transactions/jsapi", post(orders::jsapi))
        .route("/v3/pay/transactions/native", post(orders::native))
        .route(
            "/v3/pay/transactions/out-trade-no/{out_trade_no}",
            get(orders::by_out_trade_no),
        )
        .route(
            "/v3/pay/transactions/id/{transaction_id}",
            get(orders::by_transaction_id),
        )
        .route(
            "/v3/pay/transactions/out-trade-no/{out_trade_no}/close",
            post(orders::close),
        )
        .route("/v3/refund/domestic/refunds", post(refunds::create))
        .route(
            "/v3/refund/domestic/refunds/{out_refund_no}",
            get(refunds::query),
        )
        .route("/v3/certificates", get(keys::certificates))
        .route("/v3/bill/tradebill", get(bill::tradebill))
        .layer(axum::middleware::from_fn_with_state(
            sandbox.clone(),
            answer::sign,
        ));
    signed.route("/v3/billdownload/file", get(bill::download))
}

/// The cashier's pages.
pub(crate) fn page_router() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox/wechat-pay/cashier", get(cashier::list))
        .route(
            "/sandbox/wechat-pay/cashier/{prepay_id}",
            get(cashier::page).post(cashier::submit),
        )
}
