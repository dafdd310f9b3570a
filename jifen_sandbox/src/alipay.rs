//! Alipay's open platform for one merchant: the gateway with page pay, query, close, refunds and bills, the cashier at which a
//! buyer logs in and pays, and the notifications.

use axum::{Router, routing::get};

use crate::{
    locked::Locked,
    sandbox::{Config, Sandbox},
};

mod answer;
mod bill;
mod biz_content;
mod book;
mod cashier;
mod charset;
mod control;
mod forgery;
mod gateway;
mod keys;
mod notification;
mod page_pay;
mod parameters;
mod refund;
mod trade;
mod trades;
mod yuan;

pub(crate) use bill::DOWNLOAD_PATH as BILL_PATH;
pub(crate) use cashier::payments;
pub(crate) use control::router as control_router;
pub(crate) use trades::close_expired;

/// The state of the played Alipay.
pub(crate) struct Alipay {
    keys: keys::Keys,
    book: Locked<book::Book>,
    bills: Locked<bill::Downloads>,
    settings: Locked<control::Settings>,
}

impl Alipay {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            keys: keys::Keys::builtin(),
            book: Locked::new(book::Book::new(config.limits.payments_max)),
            bills: Locked::default(),
            settings: Locked::default(),
        }
    }
}

/// Alipay's own paths.
pub(crate) fn protocol_router() -> Router<Sandbox> {
    Router::new()
        .route("/gateway.do", get(gateway::receive).post(gateway::receive))
        .route(bill::DOWNLOAD_PATH, get(bill::download))
}

/// The cashier's pages.
pub(crate) fn page_router() -> Router<Sandbox> {
    Router::new()
        .route("/sandbox/alipay/cashier", get(cashier::list))
        .route(
            "/sandbox/alipay/cashier/{id}",
            get(cashier::page).post(cashier::submit),
        )
}
