//! `wechatpay_*.json`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jifen_wechat::pay::{
    ApiV3Key, EncryptedResource, Merchant, Notification, NotificationRefusal, OrderExpectation,
    OrderMismatch, Pay, PayConfig, PlatformKeyPem, PlatformKeys, RefundStatus, RequestSigner,
    SignatureHeaders, SignatureRefusal, TradeState,
};
use jifen_wechat::{MerchantKey, PlatformKey, SettingError, certificate_serial};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::environment::{FixedEnvironment, http_client};
use crate::{load, text};

fn headers(case: &Value) -> HeaderMap {
    case["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
            )
        })
        .collect()
}

fn platform_key_pems(file: &Value) -> Vec<PlatformKeyPem> {
    file["platform_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| match key["certificate_pem"].as_str() {
            Some(pem) => PlatformKeyPem::Certificate { pem: pem.into() },
            None => PlatformKeyPem::PublicKey {
                id: text(key, "serial").into(),
                pem: text(key, "public_key_pem").into(),
            },
        })
        .collect()
}

fn platform_keys(file: &Value) -> PlatformKeys {
    let keys = platform_key_pems(file).into_iter().map(|key| match key {
        PlatformKeyPem::PublicKey { id, pem } => {
            PlatformKey::from_public_key_pem(&id, &pem).unwrap()
        }
        PlatformKeyPem::Certificate { pem } => PlatformKey::from_certificate_pem(&pem).unwrap(),
    });
    let keys = PlatformKeys::new(keys);
    let mut serials: Vec<&str> = file["platform_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| text(key, "serial"))
        .collect();
    serials.sort_unstable();
    assert_eq!(keys.serials(), serials);
    keys
}

fn pay(
    keys: Vec<PlatformKeyPem>,
    api_v3_key: &str,
    environment: FixedEnvironment,
) -> Result<Pay, SettingError> {
    let signing = load("wechatpay_request_signing.json");
    let merchant = Merchant {
        mch_id: text(&signing, "mchid").into(),
        app_id: "wxd678efh567hg6787".into(),
        serial: text(&signing, "merchant_serial_no").into(),
        private_key: text(&signing, "merchant_private_key_pkcs8_pem").into(),
        api_v3_key: api_v3_key.into(),
    };
    let notify_url = "https://shop.example/notify".parse().unwrap();
    let config = PayConfig::new(merchant, notify_url, keys);
    Pay::new(config, http_client(), Arc::new(environment))
}

fn body(case: &Value) -> Vec<u8> {
    let body = text(case, "body").as_bytes().to_vec();
    if let Some(encoded) = case["body_base64"].as_str() {
        assert_eq!(STANDARD.decode(encoded).unwrap(), body);
    }
    body
}

pub(crate) fn request_signing(file: &Value, case: &Value) {
    let serial = text(file, "merchant_serial_no");
    assert_eq!(
        certificate_serial(text(file, "merchant_certificate_pem")).as_deref(),
        Ok(serial)
    );
    let key = MerchantKey::from_pem(text(file, "merchant_private_key_pkcs8_pem")).unwrap();
    let signature = key.sign(text(case, "message").as_bytes());
    assert_eq!(signature.as_deref(), Some(text(case, "signature")));
    let signer = RequestSigner::new(text(file, "mchid"), serial, key);
    let authorization = signer
        .authorization(
            (text(case, "method"), text(case, "canonical_url")),
            text(case, "timestamp").parse().unwrap(),
            text(case, "nonce_str"),
            text(case, "body").as_bytes(),
        )
        .unwrap();
    let fields = authorization
        .strip_prefix("WECHATPAY2-SHA256-RSA2048 ")
        .unwrap();
    let fields: serde_json::Map<String, Value> = fields
        .split(',')
        .map(|field| field.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').into()))
        .collect();
    // Trimming quotes would hide a missing one.
    assert_eq!(authorization.matches('"').count(), 10);
    // The padding of base64 is not taken for a separator: split_once splits at the first.
    assert_eq!(Value::Object(fields), case["authorization_fields"]);
    // The key that belongs to it accepts it.
    let public = PlatformKey::from_public_key_pem(
        "PUB_KEY_ID_MERCHANT",
        text(file, "merchant_public_key_pem"),
    )
    .unwrap();
    let signature = STANDARD.decode(text(case, "signature")).unwrap();
    assert!(public.verify(text(case, "message").as_bytes(), &signature));
}

pub(crate) fn pay_sign(file: &Value, case: &Value) {
    let info = &case["paymentInfo"];
    let key = MerchantKey::from_pem(text(file, "merchant_private_key_pkcs8_pem")).unwrap();
    assert_eq!(
        key.sign(text(case, "message").as_bytes()).as_deref(),
        Some(text(info, "paySign"))
    );
    let pay_sign = RequestSigner::new("1900000109", "00", key).pay_sign(
        text(case, "appId"),
        text(info, "timeStamp").parse().unwrap(),
        text(info, "nonceStr"),
        text(info, "package"),
    );
    assert_eq!(pay_sign.as_deref(), Some(text(info, "paySign")));
    assert_eq!(text(info, "signType"), "RSA");
}

pub(crate) fn response(file: &Value, case: &Value) {
    let keys = platform_keys(file);
    let headers = headers(case);
    let body = body(case);
    let now = case["now_unix"].as_i64().unwrap();
    let signed = SignatureHeaders::from_headers(&headers).unwrap();
    assert_eq!(keys.verify(&signed, &body, now), Ok(()));
    let changed = [&body[..], b" "].concat();
    assert_eq!(
        keys.verify(&signed, &changed, now),
        Err(SignatureRefusal::Mismatch)
    );
    let message = format!(
        "{}\n{}\n{}\n",
        text(&case["headers"], "Wechatpay-Timestamp"),
        text(&case["headers"], "Wechatpay-Nonce"),
        text(case, "body")
    );
    assert_eq!(message, text(case, "message"));
    if text(case, "name") != "certificates_list" {
        return;
    }
    let list: Value = serde_json::from_slice(&body).unwrap();
    let key = ApiV3Key::new(&text(file, "apiv3_key").into()).unwrap();
    for listed in list["data"].as_array().unwrap() {
        let resource: EncryptedResource =
            serde_json::from_value(listed["encrypt_certificate"].clone()).unwrap();
        let pem = String::from_utf8(key.decrypt(&resource).unwrap()).unwrap();
        let certificate = PlatformKey::from_certificate_pem(&pem).unwrap();
        assert_eq!(certificate.serial(), text(listed, "serial_no"));
    }
}

pub(crate) fn notification(file: &Value, case: &Value) {
    let now = case["now_unix"].as_i64().unwrap();
    let pay = pay(
        platform_key_pems(file),
        text(file, "apiv3_key"),
        FixedEnvironment::at(now),
    )
    .unwrap();
    let outcome = pay.verify_and_decrypt(&headers(case), &body(case), now);
    let refused = |refusal: &NotificationRefusal, status| {
        assert_eq!(outcome.as_ref(), Err(refusal));
        assert_eq!(refusal.http_status(), status);
    };
    match text(case, "expect") {
        "accept" | "accept_and_deduplicate" => {
            accepted(file, case, outcome.unwrap(), None);
        }
        "accept_signature_then_reject_business_amount" => {
            accepted(file, case, outcome.unwrap(), Some(OrderMismatch("amount")));
        }
        "accept_signature_then_reject_business_appid" => {
            accepted(file, case, outcome.unwrap(), Some(OrderMismatch("AppID")));
        }
        "reject_signature" if text(case, "name") == "signature_header_missing" => {
            refused(
                &SignatureRefusal::HeaderMissing("Wechatpay-Signature").into(),
                401,
            );
        }
        "reject_signature" => refused(&SignatureRefusal::Mismatch.into(), 401),
        "reject_unknown_serial" => {
            let serial = text(&case["headers"], "Wechatpay-Serial").to_owned();
            refused(&SignatureRefusal::UnknownSerial { serial }.into(), 401);
        }
        "reject_signature_probe" => {
            refused(&SignatureRefusal::Probe.into(), 401);
            assert!(outcome.unwrap_err().is_probe());
        }
        "reject_timestamp" => {
            let difference_seconds = 301;
            refused(
                &SignatureRefusal::Timestamp { difference_seconds }.into(),
                401,
            );
        }
        "reject_decrypt" => refused(&NotificationRefusal::Decrypt, 500),
        other => panic!("unknown expectation {other}"),
    }
}

fn accepted(
    file: &Value,
    case: &Value,
    notification: Notification,
    mismatch: Option<OrderMismatch>,
) {
    let envelope: Value = serde_json::from_str(text(case, "body")).unwrap();
    let plain: Value = serde_json::from_str(text(case, "plaintext")).unwrap();
    let debug = format!("{notification:?}");
    let order = &file["order_expectation"];
    match notification {
        Notification::Transaction { id, transaction } => {
            assert_eq!(id, text(&envelope, "id"));
            assert_eq!(transaction.trade_state, TradeState::Success);
            assert_eq!(
                transaction.transaction_id.as_deref(),
                plain["transaction_id"].as_str()
            );
            assert_eq!(transaction.attach.as_deref(), plain["attach"].as_str());
            let openid = text(&plain["payer"], "openid");
            assert_eq!(transaction.payer_openid().unwrap().as_str(), openid);
            assert!(!debug.contains(openid));
            let amount = transaction.amount.as_ref().unwrap();
            assert_eq!(Some(amount.total_fen), plain["amount"]["total"].as_i64());
            assert_eq!(
                amount.payer_total_fen,
                plain["amount"]["payer_total"].as_i64()
            );
            let promotions = plain["promotion_detail"].as_array().map_or(0, Vec::len);
            assert_eq!(transaction.promotion_detail.len(), promotions);
            let expectation = OrderExpectation {
                app_id: text(order, "appid"),
                mch_id: text(order, "mchid"),
                out_trade_no: text(order, "out_trade_no"),
                total_fen: order["amount_total_fen"].as_i64().unwrap(),
            };
            assert_eq!(transaction.check(&expectation).err(), mismatch);
        }
        Notification::Refund { id, refund } => {
            assert_eq!(id, text(&envelope, "id"));
            assert_eq!(mismatch, None);
            assert_eq!(refund.out_refund_no, text(&plain, "out_refund_no"));
            assert_eq!(refund.out_trade_no, text(order, "out_trade_no"));
            assert_eq!(refund.amount.refund_fen, 68);
            let status = match text(&envelope, "event_type") {
                "REFUND.SUCCESS" => RefundStatus::Success,
                "REFUND.ABNORMAL" => RefundStatus::Abnormal,
                "REFUND.CLOSED" => RefundStatus::Closed,
                other => panic!("unknown event {other}"),
            };
            assert_eq!(refund.status, status);
            assert_eq!(
                refund.success_time.is_some(),
                status == RefundStatus::Success
            );
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn official_fixture(_: &Value, case: &Value) {
    match text(case, "name") {
        "wechatpay_go_notification" => {
            let keys = vec![PlatformKeyPem::Certificate {
                pem: text(case, "platform_certificate_pem").into(),
            }];
            let now = case["now_unix"].as_i64().unwrap();
            let environment = || FixedEnvironment::at(now);
            let other_key = "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb";
            let pay_client = pay(keys.clone(), other_key, environment()).unwrap();
            assert_eq!(pay_client.platform_keys().serials(), [text(case, "serial")]);
            // The signature holds. The fixture's key has 16 bytes, a real one always 32: it is refused as a setting.
            assert_eq!(
                pay_client.verify_and_decrypt(&headers(case), &body(case), now),
                Err(NotificationRefusal::Decrypt)
            );
            let error = pay(keys, text(case, "apiv3_key"), environment()).unwrap_err();
            assert_eq!(
                (error.setting, error.found.as_str()),
                ("API v3 key", "16 bytes")
            );
        }
        "wechatpay_java_aead_aes_256_gcm" => {
            let key = ApiV3Key::new(&text(case, "apiv3_key").into()).unwrap();
            let mut resource = EncryptedResource {
                algorithm: "AEAD_AES_256_GCM".into(),
                nonce: text(case, "nonce").into(),
                associated_data: Some(text(case, "associated_data").into()),
                ciphertext: text(case, "ciphertext_base64").into(),
            };
            let plaintext = text(case, "plaintext").as_bytes();
            assert_eq!(key.decrypt(&resource).as_deref(), Some(plaintext));
            resource.associated_data = None;
            assert_eq!(key.decrypt(&resource), None);
        }
        "wechatpay_java_rsa_verify" => {
            let key = PlatformKey::from_certificate_pem(text(case, "certificate_pem")).unwrap();
            assert_eq!(key.serial(), text(case, "certificate_serial_hex"));
            let signature = STANDARD.decode(text(case, "signature_base64")).unwrap();
            assert!(key.verify(text(case, "message").as_bytes(), &signature));
            assert!(!key.verify(b"another message", &signature));
        }
        other => panic!("unknown case {other}"),
    }
}
