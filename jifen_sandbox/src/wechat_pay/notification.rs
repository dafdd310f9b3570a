//! What WeChat Pay tells the merchant by itself: an event whose resource is sealed and whose whole body is signed, both anew for
//! every attempt.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answer::{Flaw, signature_headers},
    keys::PlatformKey,
    refund::RefundState,
    sealed,
};
use crate::{
    beijing,
    environment::Environment,
    exchanges::Refusal,
    outbox::{Answer, Attempt, Delivery, Outgoing, Schedule},
    provider::Provider,
    sandbox::Sandbox,
};

/// 15s/15s/30s/3m/10m/20m/30m/30m/30m/60m/3h/3h/3h/6h/6h, and five seconds for each answer.
pub(crate) const SCHEDULE: Schedule = Schedule {
    retry_seconds: &[
        15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600, 10_800, 10_800, 10_800, 21_600,
        21_600,
    ],
    answer_seconds_max: 5,
};

/// An event before it is sealed.
#[expect(clippy::struct_field_names, reason = "the protocol's own names")]
pub(crate) struct Event<'a> {
    /// The same on every retry.
    pub(crate) id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) summary: &'a str,
    /// `transaction` or `refund`.
    pub(crate) original_type: &'a str,
    pub(crate) plain: &'a Value,
    pub(crate) created_at: Timestamp,
}

impl Event<'_> {
    /// The request's body. Fails only for an `APIv3` key that has not 32 bytes.
    pub(crate) fn seal(
        &self,
        api_v3_key: &str,
        environment: &dyn Environment,
    ) -> Result<Bytes, String> {
        let nonce = environment.alphanumeric(sealed::NONCE_BYTES);
        let plain = self.plain.to_string();
        let ciphertext = sealed::seal(
            api_v3_key.as_bytes(),
            &nonce,
            self.original_type,
            plain.as_bytes(),
        )
        .map_err(|_| "the APIv3 key must have 32 bytes".to_owned())?;
        let body = json!({
            "id": self.id,
            "create_time": beijing::rfc3339(self.created_at),
            "resource_type": "encrypt-resource",
            "event_type": self.event_type,
            "summary": self.summary,
            "resource": {
                "original_type": self.original_type,
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": ciphertext,
                "associated_data": self.original_type,
                "nonce": nonce,
            },
        });
        Ok(Bytes::from(body.to_string()))
    }
}

/// A request to `url` with a sealed body, signed for the moment `unix_seconds`.
pub(crate) fn outgoing(
    url: &str,
    body: Bytes,
    key: &PlatformKey,
    flaw: Flaw,
    (unix_seconds, nonce): (i64, &str),
) -> Outgoing {
    let mut headers: Vec<(&'static str, String)> = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("accept", "*/*".to_owned()),
        ("user-agent", "Mozilla/4.0".to_owned()),
        ("request-id", format!("{nonce}-0")),
    ];
    headers.extend(signature_headers(key, unix_seconds, nonce, &body, flaw));
    Outgoing {
        url: url.to_owned(),
        method: http::Method::POST,
        headers,
        body,
    }
}

/// 200 and 204 are acceptance whatever the body says; everything else is not.
pub(crate) fn judge(answer: &Answer) -> Result<(), Refusal> {
    if matches!(answer.status, 200 | 204) {
        return Ok(());
    }
    let reason = format!(
        "the merchant answered {}; WeChat Pay takes only 200 and 204 as acceptance",
        answer.status
    );
    Err(Refusal::new("NOTIFICATION_NOT_ACCEPTED", reason))
}

/// The notification of a payment.
pub(crate) struct PaymentDelivery {
    pub(crate) event_id: String,
    pub(crate) out_trade_no: String,
    pub(crate) url: String,
    pub(crate) created_at: Timestamp,
}

impl Delivery for PaymentDelivery {
    fn provider(&self) -> Provider {
        Provider::WechatPay
    }

    fn label(&self) -> String {
        format!("TRANSACTION.SUCCESS {}", self.out_trade_no)
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn schedule(&self) -> Schedule {
        SCHEDULE
    }

    fn outgoing(&self, sandbox: &Sandbox, attempt: Attempt) -> Result<Outgoing, String> {
        let plain = {
            let book = sandbox.wechat_pay().book.lock();
            let order = book.find(&self.out_trade_no).ok_or("the order is gone")?;
            let mut plain = order.describe(sandbox.kit().mchid);
            // The event tells of the payment; a refund made before a late delivery does not change it.
            plain["trade_state"] = Value::from("SUCCESS");
            plain["trade_state_desc"] = Value::from("支付成功");
            plain
        };
        let event = Event {
            id: &self.event_id,
            event_type: "TRANSACTION.SUCCESS",
            summary: "支付成功",
            original_type: "transaction",
            plain: &plain,
            created_at: self.created_at,
        };
        sign(sandbox, &self.url, &event, attempt)
    }

    fn judge(&self, _sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        judge(answer)
    }
}

/// The notification of what became of a refund.
pub(crate) struct RefundDelivery {
    pub(crate) out_refund_no: String,
    pub(crate) url: String,
}

impl Delivery for RefundDelivery {
    fn provider(&self) -> Provider {
        Provider::WechatPay
    }

    fn label(&self) -> String {
        format!("REFUND {}", self.out_refund_no)
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn schedule(&self) -> Schedule {
        SCHEDULE
    }

    fn outgoing(&self, sandbox: &Sandbox, attempt: Attempt) -> Result<Outgoing, String> {
        let now = sandbox.environment().now();
        let (event_id, plain, state, settled_at) = {
            let mut book = sandbox.wechat_pay().book.lock();
            // Sent before its time by hand: then the bank is done now.
            book.settle_early(&self.out_refund_no, now);
            let (order, refund) = book
                .find_refund(&self.out_refund_no)
                .ok_or("the refund is gone")?;
            let plain = refund.describe_for_notification(order, sandbox.kit().mchid, now);
            (
                format!("EV-{}", refund.refund_id),
                plain,
                refund.state(now),
                refund.settles_at,
            )
        };
        let (event_type, summary) = match state {
            RefundState::Success | RefundState::Processing => ("REFUND.SUCCESS", "退款成功"),
            RefundState::Abnormal => ("REFUND.ABNORMAL", "退款异常"),
            RefundState::Closed => ("REFUND.CLOSED", "退款关闭"),
        };
        let event = Event {
            id: &event_id,
            event_type,
            summary,
            original_type: "refund",
            plain: &plain,
            created_at: settled_at,
        };
        sign(sandbox, &self.url, &event, attempt)
    }

    fn judge(&self, _sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal> {
        judge(answer)
    }
}

/// Seals and signs with the key the settings choose.
fn sign(
    sandbox: &Sandbox,
    url: &str,
    event: &Event<'_>,
    attempt: Attempt,
) -> Result<Outgoing, String> {
    let pay = sandbox.wechat_pay();
    let environment = sandbox.environment();
    let (signer, probe) = {
        let mut settings = pay.settings.lock();
        (
            settings.notification_key,
            settings.draw_notification_probe(),
        )
    };
    let flaw = match (attempt.badly_signed, probe) {
        (true, _) => Flaw::Bad,
        (false, true) => Flaw::Probe,
        (false, false) => Flaw::None,
    };
    let body = event.seal(sandbox.kit().api_v3_key, environment)?;
    let signed_at = (environment.now().as_second(), environment.alphanumeric(32));
    Ok(outgoing(
        url,
        body,
        signer.of(&pay.keys),
        flaw,
        (signed_at.0, &signed_at.1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa::PrivateKey;

    fn vectors(name: &str) -> serde_json::Value {
        let text = match name {
            "notifications" => include_str!("../../tests/vectors/wechatpay_notifications.json"),
            _ => include_str!("../../tests/vectors/wechatpay_responses.json"),
        };
        serde_json::from_str(text).unwrap()
    }

    fn key(serial: &str) -> Option<PlatformKey> {
        let vectors = vectors("notifications");
        let pem = vectors["platform_private_keys_for_fake_provider"][serial]
            .as_str()?
            .to_owned();
        Some(PlatformKey {
            serial: serial.to_owned().leak(),
            key: PrivateKey::from_pem(&pem).unwrap(),
        })
    }

    /// Signs the body of a vector anew and compares all five headers.
    fn compare(case: &serde_json::Value) {
        let header = |name: &str| case["headers"][name].as_str().unwrap();
        let body = Bytes::from(case["body"].as_str().unwrap().to_owned());
        let moment = header("Wechatpay-Timestamp").parse().unwrap();
        let key = key(header("Wechatpay-Serial")).unwrap();
        for (name, value) in
            signature_headers(&key, moment, header("Wechatpay-Nonce"), &body, Flaw::None)
        {
            let foreign = case["headers"]
                .as_object()
                .unwrap()
                .iter()
                .find(|(other, _)| other.eq_ignore_ascii_case(name));
            assert_eq!(
                foreign.unwrap().1.as_str().unwrap(),
                value,
                "{} {name}",
                case["name"]
            );
        }
    }

    #[test]
    fn notifications_are_signed_and_sealed_as_foreign_libraries_do_it() {
        let vectors = vectors("notifications");
        let mut compared = 0;
        for case in vectors["cases"].as_array().unwrap() {
            if !case["expect"].as_str().unwrap().starts_with("accept") {
                continue;
            }
            compare(case);
            let body: Value = serde_json::from_str(case["body"].as_str().unwrap()).unwrap();
            let part = |name: &str| body["resource"][name].as_str().unwrap_or_default();
            let plain = case["plaintext"].as_str().unwrap().as_bytes();
            let api_v3_key = vectors["apiv3_key"].as_str().unwrap().as_bytes();
            let sealed = sealed::seal(api_v3_key, part("nonce"), part("associated_data"), plain);
            assert_eq!(sealed.unwrap(), part("ciphertext"), "{}", case["name"]);
            compared += 1;
        }
        assert!(compared >= 8, "{compared}");
    }

    #[test]
    fn answers_are_signed_as_foreign_libraries_do_it_also_empty_ones() {
        let vectors = vectors("responses");
        let cases = vectors["cases"].as_array().unwrap();
        cases.iter().for_each(compare);
        assert!(cases.iter().any(|case| case["body"] == ""));
    }

    #[test]
    fn the_status_alone_decides_whether_a_notification_is_accepted() {
        let answer = |status, body: &'static str| Answer {
            status,
            body: Bytes::from(body),
        };
        assert!(judge(&answer(200, "{\"code\":\"FAIL\"}")).is_ok());
        assert!(judge(&answer(204, "")).is_ok());
        for status in [201, 202, 301, 401, 500] {
            assert!(
                judge(&answer(status, "{\"code\":\"SUCCESS\"}")).is_err(),
                "{status}"
            );
        }
    }

    #[test]
    fn the_retries_take_a_day_and_four_minutes() {
        assert_eq!(
            SCHEDULE.retry_seconds.iter().sum::<u32>(),
            24 * 3_600 + 4 * 60
        );
        assert_eq!(SCHEDULE.retry_seconds.len(), 15);
    }
}
