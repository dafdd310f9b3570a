//! The control API of Alipay: what a test does instead of a buyer, and how the provider behaves.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{cashier, forgery, notification::Kind, trade::Status, trades, yuan};
use crate::{
    beijing,
    payments::{ActionError, CashierAction, Payment},
    sandbox::Sandbox,
};

const LISTED_MAX: usize = 200;

/// How the provider behaves, until changed. Which events are pushed depends on the contract.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub(crate) struct Settings {
    pub(crate) push_wait_buyer_pay: bool,
    pub(crate) push_trade_closed: bool,
    pub(crate) push_trade_finished: bool,
    /// The buyer is named by `buyer_open_id`, as for newer applications, instead of `buyer_id`.
    pub(crate) buyer_open_id: bool,
    /// Bills can be had at once, even of today, instead of the next morning.
    pub(crate) bill_at_once: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            push_wait_buyer_pay: false,
            push_trade_closed: true,
            push_trade_finished: true,
            buyer_open_id: false,
            bill_at_once: false,
        }
    }
}

/// What can be changed; absent members stay as they are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    push_wait_buyer_pay: Option<bool>,
    push_trade_closed: Option<bool>,
    push_trade_finished: Option<bool>,
    buyer_open_id: Option<bool>,
    bill_at_once: Option<bool>,
    /// What the seller can refund from.
    balance_fen: Option<i64>,
}

/// Everything under `/sandbox/api/alipay`.
pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route(
            "/sandbox/api/alipay/settings",
            get(settings).patch(change_settings),
        )
        .route("/sandbox/api/alipay/transactions", get(list))
        .route("/sandbox/api/alipay/transactions/{id}", get(show))
        .route("/sandbox/api/alipay/transactions/{id}/login", post(log_in))
        .route("/sandbox/api/alipay/transactions/{id}/pay", post(pay))
        .route("/sandbox/api/alipay/transactions/{id}/fail", post(fail))
        .route(
            "/sandbox/api/alipay/transactions/{id}/abandon",
            post(abandon),
        )
        .route("/sandbox/api/alipay/transactions/{id}/state", post(force))
        .route("/sandbox/api/alipay/notify", post(forgery::notify))
}

async fn settings(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(settings_json(&sandbox))
}

async fn change_settings(
    State(sandbox): State<Sandbox>,
    Json(change): Json<Change>,
) -> Result<Json<Value>, ActionError> {
    let alipay = sandbox.alipay();
    {
        let mut settings = alipay.settings.lock();
        let settings = &mut *settings;
        for (wish, setting) in [
            (
                change.push_wait_buyer_pay,
                &mut settings.push_wait_buyer_pay,
            ),
            (change.push_trade_closed, &mut settings.push_trade_closed),
            (
                change.push_trade_finished,
                &mut settings.push_trade_finished,
            ),
            (change.buyer_open_id, &mut settings.buyer_open_id),
            (change.bill_at_once, &mut settings.bill_at_once),
        ] {
            *setting = wish.unwrap_or(*setting);
        }
    }
    if let Some(balance_fen) = change.balance_fen {
        if balance_fen < 0 {
            return Err(ActionError::Invalid(
                "balance_fen must not be negative".to_owned(),
            ));
        }
        alipay.book.lock().balance_fen = balance_fen;
    }
    Ok(Json(settings_json(&sandbox)))
}

fn settings_json(sandbox: &Sandbox) -> Value {
    let alipay = sandbox.alipay();
    let mut value = json!(alipay.settings.lock().clone());
    value["balance_fen"] = Value::from(alipay.book.lock().balance_fen);
    value
}

async fn list(State(sandbox): State<Sandbox>) -> Json<Vec<Payment>> {
    let mut payments = cashier::payments(&sandbox);
    payments.truncate(LISTED_MAX);
    Json(payments)
}

/// The payment as the cashier knows it, and the trade once there is one.
async fn show(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ActionError> {
    let payment = cashier::payment(&sandbox, &id)?;
    let book = sandbox.alipay().book.lock();
    let trade = book.find(&payment.out_trade_no).map(|trade| {
        let refunds: Vec<Value> = trade
            .refunds
            .iter()
            .map(|refund| {
                json!({
                    "out_request_no": refund.out_request_no,
                    "amount": yuan::format(refund.amount_fen),
                    "at": beijing::rfc3339(refund.at),
                })
            })
            .collect();
        json!({
            "trade_no": trade.trade_no,
            "trade_status": trade.status.as_str(),
            "expires_at": beijing::rfc3339(trade.expires_at),
            "paid_at": trade.paid_at.map(beijing::rfc3339),
            "closed_at": trade.closed_at.map(beijing::rfc3339),
            "refunds": refunds,
        })
    });
    Ok(Json(json!({"payment": payment, "trade": trade})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AsPerson {
    person_id: Option<String>,
}

async fn log_in(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    body: Option<Json<AsPerson>>,
) -> Result<Json<Payment>, ActionError> {
    let Json(wish) = body.unwrap_or_default();
    cashier::log_in(&sandbox, &id, wish.person_id.as_deref()).map(Json)
}

async fn pay(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    body: Option<Json<AsPerson>>,
) -> Result<Json<Payment>, ActionError> {
    let Json(wish) = body.unwrap_or_default();
    cashier::act(
        &sandbox,
        &id,
        CashierAction::Pay {
            person_id: wish.person_id,
        },
    )
    .map(Json)
}

async fn fail(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, ActionError> {
    cashier::act(&sandbox, &id, CashierAction::Fail).map(Json)
}

async fn abandon(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, ActionError> {
    cashier::act(&sandbox, &id, CashierAction::Abandon).map(Json)
}

#[derive(Debug, Deserialize)]
struct Force {
    state: String,
}

/// `TRADE_CLOSED` ends the time of an unpaid trade, `TRADE_FINISHED` the refund period of a paid one; both are notified.
async fn force(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Json(wish): Json<Force>,
) -> Result<Json<Payment>, ActionError> {
    let number = cashier::payment(&sandbox, &id)?.out_trade_no;
    let now = sandbox.environment().now();
    let mut book = sandbox.alipay().book.lock();
    let kind = match Status::from_name(&wish.state) {
        Some(Status::Closed) => {
            book.close(&number, now)
                .map_err(|failure| ActionError::Conflict(failure.sub_msg))?;
            Kind::Closed
        }
        Some(Status::Finished) => {
            book.finish(&number, now).map_err(ActionError::Conflict)?;
            Kind::Finished
        }
        _ => {
            return Err(ActionError::Invalid(
                "state must be TRADE_CLOSED or TRADE_FINISHED".to_owned(),
            ));
        }
    };
    drop(book);
    trades::notify(&sandbox, &number, &kind, now);
    cashier::payment(&sandbox, &number).map(Json)
}
