//! The control API of WeChat Pay: what a test does instead of a person, and how the provider behaves.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    cashier, forgery,
    keys::{Keys, PlatformKey},
    pay_sign::RequestPayment,
    refund::RefundState,
    transaction::State as TradeState,
};
use crate::{
    payments::{ActionError, CashierAction, Payment},
    sandbox::Sandbox,
};

const LISTED_MAX: usize = 200;

/// How the provider behaves, until changed.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Settings {
    /// A second platform certificate is valid besides the first, and handed out with it.
    pub(crate) rotating_certificates: bool,
    /// Which key signs notifications.
    pub(crate) notification_key: NotificationKey,
    /// Every so many answers one carries a probe instead of a signature; 0: none does.
    pub(crate) answer_probe_every: u32,
    /// Likewise for deliveries of notifications.
    pub(crate) notification_probe_every: u32,
    /// Bills can be had at once, even of today, instead of the next morning.
    pub(crate) bill_at_once: bool,
    #[serde(skip)]
    answers: u32,
    #[serde(skip)]
    notifications: u32,
}

/// A key notifications can be signed with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotificationKey {
    #[default]
    PublicKey,
    Certificate,
    NextCertificate,
}

impl NotificationKey {
    pub(crate) const fn of(self, keys: &Keys) -> &PlatformKey {
        match self {
            Self::PublicKey => &keys.public_key,
            Self::Certificate => &keys.certificate,
            Self::NextCertificate => &keys.next_certificate,
        }
    }
}

impl Settings {
    pub(crate) fn draw_answer_probe(&mut self) -> bool {
        draw(&mut self.answers, self.answer_probe_every)
    }

    pub(crate) fn draw_notification_probe(&mut self) -> bool {
        draw(&mut self.notifications, self.notification_probe_every)
    }
}

fn draw(count: &mut u32, every: u32) -> bool {
    if every == 0 {
        return false;
    }
    *count = (*count + 1) % every;
    *count == 0
}

/// What can be changed; absent members stay as they are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    rotating_certificates: Option<bool>,
    notification_key: Option<NotificationKey>,
    answer_probe_every: Option<u32>,
    notification_probe_every: Option<u32>,
    bill_at_once: Option<bool>,
    /// What the merchant can refund from.
    balance_fen: Option<i64>,
}

/// Everything under `/sandbox/api/wechat-pay`.
pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route(
            "/sandbox/api/wechat-pay/settings",
            get(settings).patch(change_settings),
        )
        .route("/sandbox/api/wechat-pay/transactions", get(list))
        .route("/sandbox/api/wechat-pay/transactions/{id}", get(show))
        .route("/sandbox/api/wechat-pay/transactions/{id}/pay", post(pay))
        .route("/sandbox/api/wechat-pay/transactions/{id}/fail", post(fail))
        .route(
            "/sandbox/api/wechat-pay/transactions/{id}/abandon",
            post(abandon),
        )
        .route(
            "/sandbox/api/wechat-pay/transactions/{id}/state",
            post(force),
        )
        .route(
            "/sandbox/api/wechat-pay/refunds/{out_refund_no}/settle",
            post(settle),
        )
        .route(
            "/sandbox/api/wechat-pay/request-payment",
            post(request_payment),
        )
        .route("/sandbox/api/wechat-pay/notify", post(forgery::notify))
}

async fn settings(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(settings_json(&sandbox))
}

async fn change_settings(
    State(sandbox): State<Sandbox>,
    Json(change): Json<Change>,
) -> Result<Json<Value>, ActionError> {
    let pay = sandbox.wechat_pay();
    {
        let mut settings = pay.settings.lock();
        if let Some(rotating) = change.rotating_certificates {
            settings.rotating_certificates = rotating;
        }
        if let Some(key) = change.notification_key {
            settings.notification_key = key;
        }
        if let Some(every) = change.answer_probe_every {
            (settings.answer_probe_every, settings.answers) = (every, 0);
        }
        if let Some(every) = change.notification_probe_every {
            (settings.notification_probe_every, settings.notifications) = (every, 0);
        }
        if let Some(at_once) = change.bill_at_once {
            settings.bill_at_once = at_once;
        }
    }
    if let Some(balance_fen) = change.balance_fen {
        if balance_fen < 0 {
            return Err(ActionError::Invalid(
                "balance_fen must not be negative".to_owned(),
            ));
        }
        pay.book.lock().balance_fen = balance_fen;
    }
    Ok(Json(settings_json(&sandbox)))
}

fn settings_json(sandbox: &Sandbox) -> Value {
    let pay = sandbox.wechat_pay();
    let mut value = json!(pay.settings.lock().clone());
    value["balance_fen"] = Value::from(pay.book.lock().balance_fen);
    value
}

async fn list(State(sandbox): State<Sandbox>) -> Json<Vec<Payment>> {
    let mut payments = cashier::payments(&sandbox);
    payments.truncate(LISTED_MAX);
    Json(payments)
}

/// The order as the cashier knows it, as a query answers it, and its refunds.
async fn show(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ActionError> {
    let payment = cashier::payment(&sandbox, &id)?;
    let now = sandbox.environment().now();
    let book = sandbox.wechat_pay().book.lock();
    let order = book
        .find(&payment.out_trade_no)
        .ok_or(ActionError::NotFound("transaction"))?;
    let refunds: Vec<Value> = order
        .refunds
        .iter()
        .map(|refund| refund.describe(order, now))
        .collect();
    Ok(Json(json!({
        "payment": payment,
        "code_url": order.code_url(),
        "transaction": order.describe(sandbox.kit().mchid),
        "refunds": refunds,
    })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pay {
    person_id: Option<String>,
    coupon_fen: i64,
}

async fn pay(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    body: Option<Json<Pay>>,
) -> Result<Json<Payment>, ActionError> {
    let Json(wish) = body.unwrap_or_default();
    cashier::pay(&sandbox, &id, wish.person_id.as_deref(), wish.coupon_fen).map(Json)
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

async fn force(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Json(wish): Json<Force>,
) -> Result<Json<Payment>, ActionError> {
    let state = TradeState::from_name(&wish.state).ok_or_else(|| {
        ActionError::Invalid("state must be NOTPAY, PAYERROR or CLOSED".to_owned())
    })?;
    let number = cashier::payment(&sandbox, &id)?.out_trade_no;
    sandbox
        .wechat_pay()
        .book
        .lock()
        .force(&number, state)
        .map_err(ActionError::Conflict)?;
    cashier::payment(&sandbox, &number).map(Json)
}

#[derive(Debug, Deserialize)]
struct Settle {
    status: String,
}

async fn settle(
    State(sandbox): State<Sandbox>,
    Path(out_refund_no): Path<String>,
    Json(wish): Json<Settle>,
) -> Result<Json<Value>, ActionError> {
    let outcome = RefundState::from_name(&wish.status).ok_or_else(|| {
        ActionError::Invalid("status must be SUCCESS, ABNORMAL or CLOSED".to_owned())
    })?;
    let now = sandbox.environment().now();
    let mut book = sandbox.wechat_pay().book.lock();
    if book.find_refund(&out_refund_no).is_none() {
        return Err(ActionError::NotFound("refund"));
    }
    book.settle_refund(&out_refund_no, outcome, now)
        .map_err(ActionError::Conflict)?;
    let (order, refund) = book
        .find_refund(&out_refund_no)
        .ok_or(ActionError::NotFound("refund"))?;
    Ok(Json(refund.describe(order, now)))
}

#[derive(Debug, Deserialize)]
struct RequestPaymentCall {
    #[serde(flatten)]
    fields: RequestPayment,
    openid: String,
}

async fn request_payment(
    State(sandbox): State<Sandbox>,
    Json(call): Json<RequestPaymentCall>,
) -> Result<Json<Payment>, ActionError> {
    cashier::request_payment(&sandbox, &call.fields, &call.openid).map(Json)
}
