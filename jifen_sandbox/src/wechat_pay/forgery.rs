//! Notifications that differ from the truth in chosen ways, sent at once and several times in parallel: what a merchant must
//! survive.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::Flaw,
    notification::{Event, SCHEDULE, judge, outgoing},
};
use crate::{
    exchanges::Refusal,
    forgery::send_copies,
    outbox::{Answer, Attempt, Delivery, Outgoing, Schedule},
    payments::ActionError,
    provider::Provider,
    sandbox::Sandbox,
};

/// What to send. Everything but the order is optional; what is absent is as in a true notification.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgery {
    /// The order it starts from, paid or not.
    out_trade_no: String,
    /// Default: the order's `notify_url`.
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    amount_fen: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    appid: Option<String>,
    #[serde(default)]
    mchid: Option<String>,
    /// The `out_trade_no` the notification names.
    #[serde(default)]
    named_out_trade_no: Option<String>,
    #[serde(default)]
    transaction_id: Option<String>,
    #[serde(default)]
    trade_state: Option<String>,
    #[serde(default)]
    event_type: Option<String>,
    /// The value of `Wechatpay-Serial`; the key stays the one it belongs to, or the usual one where it is nobody's.
    #[serde(default)]
    serial: Option<String>,
    /// Added to the clock in `Wechatpay-Timestamp`.
    #[serde(default)]
    timestamp_skew_seconds: i64,
    #[serde(default)]
    bad_signature: bool,
    #[serde(default)]
    signature_probe: bool,
    /// Sealed with this instead of the merchant's `APIv3` key.
    #[serde(default)]
    api_v3_key: Option<String>,
    /// Copies sent at the same time, 1..=50.
    #[serde(default = "one")]
    repeat: u32,
}

const fn one() -> u32 {
    1
}

/// `POST /sandbox/api/wechat-pay/notify`: sends, and answers with what the merchant answered to each copy.
pub(crate) async fn notify(
    State(sandbox): State<Sandbox>,
    Json(forgery): Json<Forgery>,
) -> Result<Json<Value>, ActionError> {
    let repeat = forgery.repeat;
    let delivery = prepare(&sandbox, forgery)?;
    send_copies(&sandbox, Arc::new(delivery), repeat).await
}

fn prepare(sandbox: &Sandbox, forgery: Forgery) -> Result<ForgedDelivery, ActionError> {
    let book = sandbox.wechat_pay().book.lock();
    let order = book
        .find_by_any(&forgery.out_trade_no)
        .ok_or(ActionError::NotFound("transaction"))?;
    let prepay = &order.prepay;
    let total = forgery.amount_fen.unwrap_or(prepay.total_fen);
    let plain = json!({
        "mchid": forgery.mchid.as_deref().unwrap_or(sandbox.kit().mchid),
        "appid": forgery.appid.as_deref().unwrap_or(&prepay.appid),
        "out_trade_no": forgery.named_out_trade_no.as_deref().unwrap_or(&prepay.out_trade_no),
        "transaction_id": forgery.transaction_id.as_deref()
            .or(order.paid.as_ref().map(|paid| paid.transaction_id.as_str()))
            .unwrap_or("4200000000000000000000000000"),
        "trade_type": prepay.trade_type.as_str(),
        "trade_state": forgery.trade_state.as_deref().unwrap_or("SUCCESS"),
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": prepay.attach,
        "success_time": crate::beijing::rfc3339(sandbox.environment().now()),
        "payer": {"openid": prepay.openid.as_deref().unwrap_or("oForgedForgedForgedForgedForg")},
        "amount": {
            "total": total,
            "payer_total": total,
            "currency": forgery.currency.as_deref().unwrap_or("CNY"),
            "payer_currency": "CNY",
        },
    });
    let url = forgery
        .url
        .clone()
        .unwrap_or_else(|| prepay.notify_url.clone());
    let event_id = format!("EV-{}", sandbox.environment().hex(32));
    Ok(ForgedDelivery {
        forgery,
        plain,
        url,
        event_id,
    })
}

struct ForgedDelivery {
    forgery: Forgery,
    plain: Value,
    url: String,
    event_id: String,
}

impl Delivery for ForgedDelivery {
    fn provider(&self) -> Provider {
        Provider::WechatPay
    }

    fn label(&self) -> String {
        format!("forged {}", self.forgery.out_trade_no)
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            retry_seconds: &[],
            ..SCHEDULE
        }
    }

    fn outgoing(&self, sandbox: &Sandbox, _attempt: Attempt) -> Result<Outgoing, String> {
        let pay = sandbox.wechat_pay();
        let environment = sandbox.environment();
        let now = environment.now();
        let forgery = &self.forgery;
        let event = Event {
            id: &self.event_id,
            event_type: forgery
                .event_type
                .as_deref()
                .unwrap_or("TRANSACTION.SUCCESS"),
            summary: "支付成功",
            original_type: "transaction",
            plain: &self.plain,
            created_at: now,
        };
        let body = event.seal(
            forgery
                .api_v3_key
                .as_deref()
                .unwrap_or(sandbox.kit().api_v3_key),
            environment,
        )?;
        let usual = pay.settings.lock().notification_key.of(&pay.keys);
        let key = forgery
            .serial
            .as_deref()
            .and_then(|serial| pay.keys.by_serial(serial))
            .unwrap_or(usual);
        let flaw = match (forgery.signature_probe, forgery.bad_signature) {
            (true, _) => Flaw::Probe,
            (false, true) => Flaw::Bad,
            (false, false) => Flaw::None,
        };
        let signed_at = now
            .as_second()
            .saturating_add(forgery.timestamp_skew_seconds);
        let mut request = outgoing(
            &self.url,
            body,
            key,
            flaw,
            (signed_at, &environment.alphanumeric(32)),
        );
        if let Some(serial) = &forgery.serial {
            for (_, value) in request
                .headers
                .iter_mut()
                .filter(|(name, _)| *name == "wechatpay-serial")
            {
                value.clone_from(serial);
            }
        }
        Ok(request)
    }

    fn judge(&self, _sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        judge(answer)
    }
}
