//! What Alipay tells the merchant by itself: a signed form, the same `notify_id` on every retry; and the signed `return_url`.

use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::json;

use super::{charset::Charset, parameters, trade::Trade, yuan};
use crate::{
    beijing,
    environment::Environment,
    exchanges::Refusal,
    outbox::{Answer, Attempt, Delivery, Outgoing, Schedule},
    provider::Provider,
    rsa::PrivateKey,
    sandbox::Sandbox,
};

/// 4m,10m,10m,1h,2h,6h,15h
pub(crate) const SCHEDULE: Schedule = Schedule {
    retry_seconds: &[240, 600, 600, 3_600, 7_200, 21_600, 54_000],
    answer_seconds_max: 15,
};

/// What a form leaves unescaped.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

pub(crate) type Fields = Vec<(&'static str, String)>;

/// What happened to a trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Created,
    Paid,
    /// Unpaid, by time or by the merchant.
    Closed,
    Finished,
    Refunded {
        out_request_no: String,
    },
}

/// The notification of one event of one trade, its content fixed when it happened.
pub(crate) struct TradeDelivery {
    out_trade_no: String,
    label: String,
    url: String,
    charset: Charset,
    fields: Fields,
}

impl TradeDelivery {
    pub(crate) fn new(
        sandbox: &Sandbox,
        out_trade_no: &str,
        kind: &Kind,
        url: String,
        now: Timestamp,
    ) -> Self {
        let book = sandbox.alipay().book.lock();
        let trade = book.find(out_trade_no);
        let charset = trade.map_or(Charset::Utf8, |trade| trade.ordered.charset);
        let fields = trade
            .map(|trade| fields(sandbox, trade, kind, now))
            .unwrap_or_default();
        let status = fields
            .iter()
            .find(|(name, _)| *name == "trade_status")
            .map_or("", |(_, status)| status.as_str());
        let refund = if matches!(kind, Kind::Refunded { .. }) {
            " refund"
        } else {
            ""
        };
        let label = format!("{status}{refund} {out_trade_no}");
        Self {
            out_trade_no: out_trade_no.to_owned(),
            label,
            url,
            charset,
            fields,
        }
    }
}

/// Every field of a notification except those of one attempt: `notify_time`, `sign_type` and `sign`.
pub(crate) fn fields(sandbox: &Sandbox, trade: &Trade, kind: &Kind, now: Timestamp) -> Fields {
    let kit = sandbox.kit();
    let ordered = &trade.ordered;
    let mut fields = vec![
        ("notify_type", "trade_status_sync".to_owned()),
        ("notify_id", notify_id(sandbox.environment(), now)),
        ("app_id", kit.alipay_app_id.to_owned()),
        ("auth_app_id", kit.alipay_app_id.to_owned()),
        ("charset", ordered.charset.name().to_owned()),
        ("version", "1.0".to_owned()),
        ("trade_no", trade.trade_no.clone()),
        ("out_trade_no", ordered.out_trade_no.clone()),
        ("buyer_logon_id", trade.buyer.masked_login.clone()),
        ("seller_id", kit.alipay_seller_id.to_owned()),
        ("seller_email", kit.alipay_seller_email.to_owned()),
        ("trade_status", trade.status.as_str().to_owned()),
        ("total_amount", yuan::format(ordered.total_fen)),
        ("subject", ordered.subject.clone()),
        ("gmt_create", beijing::plain(trade.created_at)),
    ];
    fields.push(if sandbox.alipay().settings.lock().buyer_open_id {
        ("buyer_open_id", trade.buyer.open_id.clone())
    } else {
        ("buyer_id", trade.buyer.user_id.clone())
    });
    fields.extend(ordered.body.clone().map(|body| ("body", body)));
    fields.extend(
        ordered
            .passback_params
            .clone()
            .map(|passback| ("passback_params", passback)),
    );
    if let Some(paid_at) = trade.paid_at {
        fields.push(("gmt_payment", beijing::plain(paid_at)));
        let total = yuan::format(ordered.total_fen);
        for name in ["receipt_amount", "invoice_amount", "buyer_pay_amount"] {
            fields.push((name, total.clone()));
        }
        fields.push(("point_amount", "0.00".to_owned()));
        let bills = json!([{"amount": total, "fundChannel": "ALIPAYACCOUNT"}]);
        fields.push(("fund_bill_list", bills.to_string()));
    }
    if let Kind::Refunded { out_request_no } = kind
        && let Some(refund) = trade
            .refunds
            .iter()
            .find(|refund| refund.out_request_no == *out_request_no)
    {
        fields.push(("gmt_refund", beijing::plain_milliseconds(refund.at)));
        fields.push(("refund_fee", yuan::format(refund.cumulative_fen)));
        fields.push(("out_biz_no", refund.out_request_no.clone()));
    }
    fields.extend(
        trade
            .closed_at
            .map(|closed_at| ("gmt_close", beijing::plain(closed_at))),
    );
    fields
}

/// The day, `00222`, the time of day and 15 digits.
fn notify_id(environment: &dyn Environment, now: Timestamp) -> String {
    let compact = beijing::compact(now);
    let (day, time) = compact.split_at_checked(8).unwrap_or((&compact, ""));
    format!("{day}00222{time}{}", environment.digits(15))
}

/// Signs fields and writes them as a form: `sign` covers all of them but itself and `sign_type`, as bytes of the charset.
pub(crate) fn form(
    fields: &Fields,
    key: &PrivateKey,
    charset: Charset,
    badly_signed: bool,
) -> Vec<u8> {
    let content = parameters::join(fields.iter().map(|(name, value)| (*name, value.as_str())));
    let mut covered = charset.encode(&content);
    if badly_signed {
        covered.push(b'x');
    }
    let sign = key.sign(&covered);
    let end = [("sign_type", "RSA2"), ("sign", sign.as_str())];
    let all = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(end);
    let pieces: Vec<String> = all
        .map(|(name, value)| format!("{name}={}", encode(value, charset)))
        .collect();
    pieces.join("&").into_bytes()
}

fn encode(value: &str, charset: Charset) -> String {
    percent_encode(&charset.encode(value), FORM)
        .to_string()
        .replace("%20", "+")
}

/// A `POST` of a signed form to `url`.
pub(crate) fn outgoing(url: &str, form: Vec<u8>, charset: Charset) -> Outgoing {
    let kind = format!(
        "application/x-www-form-urlencoded; charset={}",
        charset.name()
    );
    Outgoing {
        url: url.to_owned(),
        method: http::Method::POST,
        headers: vec![
            ("content-type", kind),
            ("user-agent", "Mozilla/4.0".to_owned()),
        ],
        body: Bytes::from(form),
    }
}

/// Only the seven characters `success` are acceptance, whatever stands around them is too much.
pub(crate) fn judge(answer: &Answer) -> Result<(), Refusal> {
    if answer.status == 200 && answer.body.as_ref() == b"success" {
        return Ok(());
    }
    let shown: String = String::from_utf8_lossy(&answer.body)
        .chars()
        .take(80)
        .collect();
    let reason = format!(
        "Alipay takes only status 200 and the body success as acceptance; it was {}",
        answer.status
    );
    Err(Refusal::new("NOTIFICATION_NOT_ACCEPTED", reason).compare("body", "success", shown))
}

/// The merchant's `return_url` with what the buyer's browser carries back, signed like a notification. Parameters the merchant
/// put there stay and are not signed.
pub(crate) fn return_url(sandbox: &Sandbox, trade: &Trade, now: Timestamp) -> Option<String> {
    let mut url = url::Url::parse(trade.ordered.return_url.as_deref()?).ok()?;
    let kit = sandbox.kit();
    let fields: Fields = vec![
        ("charset", trade.ordered.charset.name().to_owned()),
        ("out_trade_no", trade.ordered.out_trade_no.clone()),
        ("method", "alipay.trade.page.pay.return".to_owned()),
        ("total_amount", yuan::format(trade.ordered.total_fen)),
        ("trade_no", trade.trade_no.clone()),
        ("auth_app_id", kit.alipay_app_id.to_owned()),
        ("version", "1.0".to_owned()),
        ("app_id", kit.alipay_app_id.to_owned()),
        ("seller_id", kit.alipay_seller_id.to_owned()),
        ("timestamp", beijing::plain(now)),
    ];
    let form = form(
        &fields,
        &sandbox.alipay().keys.alipay,
        trade.ordered.charset,
        false,
    );
    let query = String::from_utf8(form).ok()?;
    let own = url
        .query()
        .filter(|own| !own.is_empty())
        .map(|own| format!("{own}&"))
        .unwrap_or_default();
    url.set_query(Some(&format!("{own}{query}")));
    Some(url.into())
}

impl Delivery for TradeDelivery {
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
        SCHEDULE
    }

    fn outgoing(&self, sandbox: &Sandbox, attempt: Attempt) -> Result<Outgoing, String> {
        if self.fields.is_empty() {
            return Err(format!("the trade {} is gone", self.out_trade_no));
        }
        let mut fields = self.fields.clone();
        fields.push(("notify_time", beijing::plain(sandbox.environment().now())));
        let form = form(
            &fields,
            &sandbox.alipay().keys.alipay,
            self.charset,
            attempt.badly_signed,
        );
        Ok(outgoing(&self.url, form, self.charset))
    }

    fn judge(&self, _sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        judge(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!(
            "../../tests/vectors/alipay_notifications.json"
        ))
        .unwrap()
    }

    #[test]
    fn signed_forms_equal_those_the_official_sdk_accepts() {
        let vectors = vectors();
        let pem = vectors["alipay_private_key_for_fake_provider_pkcs8_pem"]
            .as_str()
            .unwrap();
        let key = PrivateKey::from_pem(pem).unwrap();
        let mut compared = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let expected = case["expect"].as_str().unwrap();
            if !expected.starts_with("accept")
                || case["name"] == "trade_success_spaces_as_percent20"
            {
                continue;
            }
            let charset = if case["name"] == "gbk_charset" {
                Charset::Gbk
            } else {
                Charset::Utf8
            };
            let raw = case["raw_body"].as_str().unwrap();
            let read = |part: &str| {
                let bytes: Vec<u8> =
                    percent_encoding::percent_decode_str(&part.replace('+', " ")).collect();
                charset.decode(&bytes)
            };
            let fields: Fields = raw
                .split('&')
                .map(|pair| pair.split_once('=').unwrap())
                .filter(|(name, _)| !matches!(*name, "sign" | "sign_type"))
                .map(|(name, value)| (&*name.to_owned().leak(), read(value)))
                .collect();
            let made = String::from_utf8(form(&fields, &key, charset, false)).unwrap();
            let sorted = |form: &str| {
                // Whether an asterisk is escaped is the writer's choice.
                let mut pairs: Vec<String> = form
                    .split('&')
                    .map(|pair| pair.replace("%2A", "*"))
                    .collect();
                pairs.sort();
                pairs
            };
            assert_eq!(sorted(&made), sorted(raw), "{}", case["name"]);
            compared += 1;
        }
        assert!(compared >= 10, "{compared}");
    }

    #[test]
    fn only_the_exact_word_is_acceptance() {
        let answer = |status, body: &'static str| Answer {
            status,
            body: Bytes::from(body),
        };
        assert!(judge(&answer(200, "success")).is_ok());
        for (status, body) in [
            (200, "success\n"),
            (200, "\"success\""),
            (200, "false"),
            (200, ""),
            (500, "success"),
            (302, ""),
        ] {
            assert!(judge(&answer(status, body)).is_err(), "{status} {body:?}");
        }
    }
}
