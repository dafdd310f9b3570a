//! Notifications that differ from the truth in chosen ways, sent at once and several times in parallel: what a merchant must
//! survive.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::Value;

use super::{
    charset::Charset,
    notification::{self, Fields, Kind, SCHEDULE},
    trade::{Buyer, Status, Trade},
};
use crate::{
    beijing,
    exchanges::Refusal,
    forgery::send_copies,
    outbox::{Answer, Attempt, Delivery, Outgoing, Schedule},
    payments::ActionError,
    provider::Provider,
    sandbox::Sandbox,
};

/// The fields of a notification a forgery may replace.
const REPLACEABLE: [&str; 21] = [
    "app_id",
    "auth_app_id",
    "body",
    "buyer_id",
    "buyer_pay_amount",
    "gmt_close",
    "gmt_payment",
    "gmt_refund",
    "invoice_amount",
    "notify_id",
    "out_biz_no",
    "out_trade_no",
    "passback_params",
    "receipt_amount",
    "refund_fee",
    "seller_email",
    "seller_id",
    "subject",
    "total_amount",
    "trade_no",
    "trade_status",
];

/// What to send: the notification of a payment of this order, paid or not, with some fields replaced.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgery {
    out_trade_no: String,
    /// Default: the order's `notify_url`.
    #[serde(default)]
    url: Option<String>,
    /// Fields as they shall be sent and signed; an empty value leaves the field out.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    /// Fields changed after signing.
    #[serde(default)]
    tampered: BTreeMap<String, String>,
    #[serde(default)]
    bad_signature: bool,
    /// Copies sent at the same time, 1..=50.
    #[serde(default = "one")]
    repeat: u32,
}

const fn one() -> u32 {
    1
}

/// `POST /sandbox/api/alipay/notify`: sends, and answers with what the merchant answered to each copy.
pub(crate) async fn notify(
    State(sandbox): State<Sandbox>,
    Json(forgery): Json<Forgery>,
) -> Result<Json<Value>, ActionError> {
    let (url, charset, body) = prepare(&sandbox, &forgery)?;
    let label = format!("forged {}", forgery.out_trade_no);
    let delivery = ForgedDelivery {
        label,
        url,
        charset,
        body,
    };
    send_copies(&sandbox, Arc::new(delivery), forgery.repeat).await
}

fn prepare(
    sandbox: &Sandbox,
    forgery: &Forgery,
) -> Result<(String, Charset, Vec<u8>), ActionError> {
    let now = sandbox.environment().now();
    let trade = as_if_paid(sandbox, &forgery.out_trade_no)?;
    let url = forgery
        .url
        .clone()
        .or_else(|| trade.ordered.notify_url.clone());
    let url = url.ok_or_else(|| {
        ActionError::Invalid("the order has no notify_url; name a url".to_owned())
    })?;
    let mut fields = notification::fields(sandbox, &trade, &Kind::Paid, now);
    fields.push(("notify_time", beijing::plain(now)));
    replace(&mut fields, &forgery.fields)?;
    let charset = trade.ordered.charset;
    let key = &sandbox.alipay().keys.alipay;
    let mut body = notification::form(&fields, key, charset, forgery.bad_signature);
    if !forgery.tampered.is_empty() {
        let signed_body = String::from_utf8_lossy(&body).into_owned();
        let signature = signed_body
            .find("&sign_type=")
            .and_then(|at| signed_body.get(at..))
            .unwrap_or_default();
        replace(&mut fields, &forgery.tampered)?;
        let changed = notification::form(&fields, key, charset, false);
        let changed = String::from_utf8_lossy(&changed).into_owned();
        let fields_only = changed
            .find("&sign_type=")
            .and_then(|at| changed.get(..at))
            .unwrap_or_default();
        body = format!("{fields_only}{signature}").into_bytes();
    }
    Ok((url, charset, body))
}

fn replace(fields: &mut Fields, wishes: &BTreeMap<String, String>) -> Result<(), ActionError> {
    for (name, value) in wishes {
        let Some(name) = REPLACEABLE
            .into_iter()
            .find(|replaceable| replaceable == name)
        else {
            return Err(ActionError::Invalid(format!(
                "{name} is not a field that can be replaced"
            )));
        };
        fields.retain(|(field, _)| *field != name);
        if !value.is_empty() {
            fields.push((name, value.clone()));
        }
    }
    Ok(())
}

/// The trade as it would be if it were paid now; for an order whose buyer never came, one is made up.
fn as_if_paid(sandbox: &Sandbox, id: &str) -> Result<Trade, ActionError> {
    let now = sandbox.environment().now();
    let book = sandbox.alipay().book.lock();
    if let Some(trade) = book.find(id).or_else(|| book.find_by_trade_no(id)) {
        let mut trade = trade.clone();
        if trade.paid_at.is_none() {
            trade.paid_at = Some(now);
            trade.status = Status::Success;
            trade.closed_at = None;
        }
        return Ok(trade);
    }
    let checkout = book.checkout(id).ok_or(ActionError::NotFound("payment"))?;
    Ok(Trade {
        trade_no: format!(
            "{}22001000000000000000",
            beijing::date(now).strftime("%Y%m%d")
        ),
        ordered: checkout.ordered.clone(),
        buyer: Buyer {
            person_id: String::new(),
            user_id: "2088000000000000".to_owned(),
            open_id: "forged".to_owned(),
            masked_login: "for******ed".to_owned(),
        },
        status: Status::Success,
        created_at: now,
        expires_at: now,
        paid_at: Some(now),
        closed_at: None,
        refunds: Vec::new(),
    })
}

struct ForgedDelivery {
    label: String,
    url: String,
    charset: Charset,
    body: Vec<u8>,
}

impl Delivery for ForgedDelivery {
    fn provider(&self) -> Provider {
        Provider::Alipay
    }

    fn label(&self) -> String {
        self.label.clone()
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

    fn outgoing(&self, _sandbox: &Sandbox, _attempt: Attempt) -> Result<Outgoing, String> {
        Ok(notification::outgoing(
            &self.url,
            self.body.clone(),
            self.charset,
        ))
    }

    fn judge(&self, _sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        notification::judge(answer)
    }
}
