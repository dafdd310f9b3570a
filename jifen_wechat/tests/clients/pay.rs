//! WeChat Pay: what is sent, what is believed, what is repeated.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jifen_wechat::pay::{
    Closed, Merchant, NotificationRefusal, Pay, PayConfig, PayError, PayRefusalKind,
    PlatformKeyPem, Prepay, RefundRequest, RefundStatus, RefundedOrder, SignatureRefusal,
    TradeState,
};
use jifen_wechat::{MerchantKey, PlatformKey, Private, TransportError};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::advance;
use crate::environment::{FixedEnvironment, http_client};
use crate::server::{Received, Scripted, Server};

pub(crate) const NOW: i64 = 1_705_291_512;
const PUBLIC_KEY_ID: &str = "PUB_KEY_ID_0119000001092024010100000000000001";
const CERTIFICATE_SERIAL: &str = "6A1F3C57D0E94B28A5C7E1903D4F86B2C9E05A17";
const NUMBER: &str = "PM202401150000000000000000000001";
const JSAPI: &str = "/v3/pay/transactions/jsapi";
const CERTIFICATES: &str = "/v3/certificates";

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn public_key() -> PlatformKeyPem {
    let file = vectors("wechatpay_notifications.json");
    PlatformKeyPem::PublicKey {
        id: PUBLIC_KEY_ID.into(),
        pem: text(&file["platform_keys"][0], "public_key_pem").into(),
    }
}

pub(crate) fn config(server: &Server) -> PayConfig {
    let signing = vectors("wechatpay_request_signing.json");
    let merchant = Merchant {
        mch_id: "1900000109".into(),
        app_id: "wxd678efh567hg6787".into(),
        serial: text(&signing, "merchant_serial_no").into(),
        private_key: text(&signing, "merchant_private_key_pkcs8_pem").into(),
        api_v3_key: "TestOnlyApiV3Key0123456789abcdef".into(),
    };
    let notify_url = "https://api.example.com/api/v1/callbacks/wechat-pay";
    let mut config = PayConfig::new(merchant, notify_url.parse().unwrap(), vec![public_key()]);
    config.api_base = server.base.clone();
    config.limits.retry_delay = Duration::ZERO;
    config
}

pub(crate) fn client(server: &Server, change: impl FnOnce(&mut PayConfig)) -> Pay {
    client_at(server, Arc::new(FixedEnvironment::at(NOW)), change)
}

fn client_at(
    server: &Server,
    environment: Arc<FixedEnvironment>,
    change: impl FnOnce(&mut PayConfig),
) -> Pay {
    let mut config = config(server);
    change(&mut config);
    Pay::new(config, http_client(), environment).unwrap()
}

/// A case of `wechatpay_responses.json` as an answer.
fn recorded(name: &str) -> Scripted {
    let file = vectors("wechatpay_responses.json");
    let case = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["name"] == name)
        .unwrap();
    Scripted::Answer {
        status: u16::try_from(case["status"].as_u64().unwrap()).unwrap(),
        headers: case["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        body: text(case, "body").as_bytes().to_vec(),
    }
}

fn signature_headers(serial: &str, body: &str, now: i64) -> Vec<(String, String)> {
    let file = vectors("wechatpay_notifications.json");
    let pem = text(&file["platform_private_keys_for_fake_provider"], serial);
    let message = format!("{now}\nnonce\n{body}\n");
    let signature = MerchantKey::from_pem(pem)
        .unwrap()
        .sign(message.as_bytes())
        .unwrap();
    [
        ("Wechatpay-Timestamp", now.to_string()),
        ("Wechatpay-Nonce", "nonce".into()),
        ("Wechatpay-Serial", serial.into()),
        ("Wechatpay-Signature", signature),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn signed_by(serial: &str, status: u16, body: &str) -> Scripted {
    Scripted::Answer {
        status,
        headers: signature_headers(serial, body, NOW),
        body: body.as_bytes().to_vec(),
    }
}

pub(crate) fn signed(status: u16, body: &str) -> Scripted {
    signed_by(PUBLIC_KEY_ID, status, body)
}

fn order() -> Prepay {
    Prepay {
        out_trade_no: NUMBER.into(),
        description: "积分套餐-基础版 1000点".into(),
        total_fen: 168,
        expires_at_unix_seconds: Some(1_705_293_000),
        attach: Some("pkg=basic&u=10001".into()),
    }
}

fn payer() -> Private {
    "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o".into()
}

async fn prepay(pay: &Pay) -> Result<String, PayError> {
    pay.prepay_jsapi(&order(), &payer()).await
}

/// Verifies a request as WeChat Pay would, with the merchant's public key, and returns its nonce.
pub(crate) fn assert_signed(received: &Received) -> String {
    let signing = vectors("wechatpay_request_signing.json");
    let authorization = received.headers["authorization"]
        .strip_prefix("WECHATPAY2-SHA256-RSA2048 ")
        .unwrap();
    let field = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let message = format!(
        "{}\n{}\n{}\n{}\n{}\n",
        received.method,
        received.target,
        field("timestamp"),
        field("nonce_str"),
        received.body
    );
    let key = PlatformKey::from_public_key_pem(
        "PUB_KEY_ID_MERCHANT",
        text(&signing, "merchant_public_key_pem"),
    )
    .unwrap();
    let signature = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        field("signature"),
    )
    .unwrap();
    assert!(key.verify(message.as_bytes(), &signature), "{message}");
    assert_eq!(field("mchid"), "1900000109");
    assert_eq!(field("serial_no"), text(&signing, "merchant_serial_no"));
    assert_eq!(field("timestamp"), NOW.to_string());
    assert_eq!(received.headers["wechatpay-serial"], PUBLIC_KEY_ID);
    assert_eq!(received.headers["accept"], "application/json");
    assert!(received.headers.contains_key("user-agent"));
    field("nonce_str")
}

#[tokio::test]
async fn a_jsapi_order_is_prepaid_with_the_documented_body() {
    let server = Server::start(|_, _| recorded("jsapi_prepay_ok")).await;
    let prepay_id = prepay(&client(&server, |_| {})).await.unwrap();
    assert_eq!(prepay_id, "wx15120000000000a1b2c3d4e5f6a7b80000");
    let received = &server.received()[0];
    assert_signed(received);
    // Byte for byte what the vector signs.
    let signing = vectors("wechatpay_request_signing.json");
    assert_eq!(received.target, text(&signing["cases"][0], "canonical_url"));
    assert_eq!(received.body, text(&signing["cases"][0], "body"));
    assert_eq!(received.headers["content-type"], "application/json");
}

#[tokio::test]
async fn the_path_of_a_proxy_is_signed_too() {
    let server = Server::start(|_, _| recorded("native_prepay_ok")).await;
    let pay = client(&server, |config| {
        config.api_base = config.api_base.join("/wechat/").unwrap();
    });
    let code_url = pay.prepay_native(&order()).await.unwrap();
    assert_eq!(code_url, "weixin://wxpay/bizpayurl?pr=p4lpSuKzz");
    let received = &server.received()[0];
    assert_eq!(received.target, "/wechat/v3/pay/transactions/native");
    assert_signed(received);
    assert!(received.json().get("payer").is_none());
}

#[tokio::test]
async fn orders_are_queried_and_closed_at_the_documented_paths() {
    let server = Server::start(|_, before| {
        recorded(
            [
                "query_success",
                "query_notpay",
                "close_ok_204_empty_body",
                "query_success",
            ][before],
        )
    })
    .await;
    let pay = client(&server, |_| {});
    let paid = pay.query(NUMBER).await.unwrap();
    assert!(paid.trade_state.is_paid());
    assert_eq!(paid.amount.as_ref().unwrap().total_fen, 168);
    assert_eq!(paid.payer_openid(), Some(&payer()));
    assert_eq!(paid.success_time.unwrap().as_second(), 1_705_291_509);
    assert!(!format!("{paid:?}").contains(payer().as_str()));
    let unpaid = pay.query(NUMBER).await.unwrap();
    assert_eq!(unpaid.trade_state, TradeState::NotPay);
    assert_eq!(pay.close(NUMBER).await.unwrap(), Closed::Now);
    let id = "4200002100202401150000000001";
    pay.query_by_transaction_id(id).await.unwrap();
    let received = server.received();
    for received in &received {
        assert_signed(received);
    }
    let targets: Vec<&str> = received.iter().map(|received| &*received.target).collect();
    assert_eq!(
        targets,
        [
            "/v3/pay/transactions/out-trade-no/PM202401150000000000000000000001?mchid=1900000109",
            "/v3/pay/transactions/out-trade-no/PM202401150000000000000000000001?mchid=1900000109",
            "/v3/pay/transactions/out-trade-no/PM202401150000000000000000000001/close",
            "/v3/pay/transactions/id/4200002100202401150000000001?mchid=1900000109",
        ]
    );
    assert_eq!(received[2].body, r#"{"mchid":"1900000109"}"#);
}

#[tokio::test]
async fn unusual_order_numbers_are_signed_as_they_are_sent() {
    let body = r#"{"appid":"a","mchid":"1900000109","out_trade_no":"PM-ab_1*|","trade_state":"NEW_STATE"}"#;
    let server = Server::start(move |_, _| signed(200, body)).await;
    let found = client(&server, |_| {}).query("PM-ab_1*|").await.unwrap();
    assert_eq!(found.trade_state, TradeState::Other("NEW_STATE".into()));
    let received = &server.received()[0];
    assert_eq!(
        received.path(),
        "/v3/pay/transactions/out-trade-no/PM-ab_1%2A%7C"
    );
    assert_signed(received);
}

#[tokio::test]
async fn an_answer_about_another_order_is_not_taken_for_this_one() {
    for (number, merchant) in [("OTHER-NUMBER", "1900000109"), (NUMBER, "1900000110")] {
        let body =
            json!({"appid":"a","mchid":merchant,"out_trade_no":number,"trade_state":"SUCCESS"})
                .to_string();
        let server = Server::start(move |_, _| signed(200, &body)).await;
        let error = client(&server, |_| {}).query(NUMBER).await.unwrap_err();
        assert!(matches!(error, PayError::Answer { .. }));
    }
}

#[tokio::test]
async fn a_refund_is_asked_for_and_queried() {
    let server = Server::start(|_, _| recorded("refund_processing")).await;
    let pay = client(&server, |config| {
        config.refund_notify_url = Some(
            "https://api.example.com/api/v1/callbacks/wechat-refund"
                .parse()
                .unwrap(),
        );
    });
    let request = RefundRequest {
        order: RefundedOrder::OutTradeNo(NUMBER.into()),
        out_refund_no: "RF202401160000000000000000000001".into(),
        reason: Some("用户申请退款".into()),
        refund_fen: 68,
        total_fen: 168,
    };
    let refund = pay.refund(&request).await.unwrap();
    assert_eq!(refund.status, RefundStatus::Processing);
    assert_eq!(refund.amount.refund_fen, 68);
    assert_eq!(
        pay.query_refund(&request.out_refund_no).await.unwrap(),
        refund
    );
    let too_much = RefundRequest {
        refund_fen: 169,
        ..request.clone()
    };
    assert!(matches!(
        pay.refund(&too_much).await.unwrap_err(),
        PayError::Argument { .. }
    ));
    let signing = vectors("wechatpay_request_signing.json");
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, text(&signing["cases"][5], "body"));
    assert_eq!(
        received[1].target,
        text(&signing["cases"][6], "canonical_url")
    );
}

#[tokio::test]
async fn success_without_a_signature_is_not_believed() {
    let server = Server::start(|_, _| Scripted::json(r#"{"prepay_id":"wxFORGED"}"#)).await;
    let error = prepay(&client(&server, |_| {})).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert!(matches!(
        error,
        PayError::Unverified {
            reason: SignatureRefusal::HeaderMissing("Wechatpay-Signature"),
            ..
        }
    ));
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_changed_answer_is_not_believed() {
    let server = Server::start(|_, _| {
        let Scripted::Answer {
            status, headers, ..
        } = recorded("jsapi_prepay_ok")
        else {
            unreachable!()
        };
        let body = br#"{"prepay_id":"wxFORGED"}"#.to_vec();
        Scripted::Answer {
            status,
            headers,
            body,
        }
    })
    .await;
    let error = prepay(&client(&server, |_| {})).await.unwrap_err();
    assert!(matches!(
        error,
        PayError::Unverified {
            reason: SignatureRefusal::Mismatch,
            ..
        }
    ));
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn an_old_answer_is_not_believed() {
    let server = Server::start(|_, _| recorded("jsapi_prepay_ok")).await;
    let environment = Arc::new(FixedEnvironment::at(NOW + 300));
    let error = prepay(&client_at(&server, environment, |_| {}))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        PayError::Unverified {
            reason: SignatureRefusal::Timestamp {
                difference_seconds: 302
            },
            ..
        }
    ));
}

#[tokio::test]
async fn a_probe_is_recognised_and_the_same_bytes_are_sent_again() {
    let server = Server::start(|_, before| {
        let Scripted::Answer {
            status,
            mut headers,
            body,
        } = recorded("jsapi_prepay_ok")
        else {
            unreachable!()
        };
        if before == 0 {
            for (name, value) in &mut headers {
                if name == "Wechatpay-Signature" {
                    value.insert_str(0, "WECHATPAY/SIGNTEST/");
                }
            }
        }
        Scripted::Answer {
            status,
            headers,
            body,
        }
    })
    .await;
    prepay(&client(&server, |_| {})).await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, received[1].body);
    // A fresh nonce each time: WeChat Pay refuses a repeated one.
    assert_ne!(assert_signed(&received[0]), assert_signed(&received[1]));
}

#[tokio::test]
async fn unknown_outcomes_are_repeated_with_the_same_bytes_and_bounded() {
    let server = Server::start(|_, before| match before {
        0 => signed(500, r#"{"code":"SYSTEM_ERROR","message":"busy"}"#),
        1 => Scripted::HangUp,
        _ => Scripted::Silence,
    })
    .await;
    let error = prepay(&client(&server, |config| {
        config.limits.timeout = Duration::from_millis(300);
    }))
    .await
    .unwrap_err();
    assert!(error.is_outcome_unknown());
    assert!(matches!(
        error,
        PayError::Transport(TransportError::TimedOut {
            timeout_milliseconds: 300
        })
    ));
    let received = server.received();
    assert_eq!(received.len(), 3);
    assert!(
        received
            .iter()
            .all(|attempt| attempt.body == received[0].body)
    );
}

#[tokio::test]
async fn an_unreachable_wechat_pay_has_certainly_done_nothing() {
    let server = Server::start(|_, _| Scripted::Silence).await;
    let pay = client(&server, |config| {
        config.api_base = "http://127.0.0.1:1".parse().unwrap();
    });
    assert!(!prepay(&pay).await.unwrap_err().is_outcome_unknown());
}

#[tokio::test]
async fn an_answer_too_large_is_not_read_to_its_end() {
    let server = Server::start(|_, _| signed(200, &"x".repeat(2000))).await;
    let pay = client(&server, |config| config.limits.answer_bytes_max = 1000);
    assert!(matches!(
        prepay(&pay).await.unwrap_err(),
        PayError::Transport(TransportError::AnswerTooLarge {
            answer_bytes_max: 1000
        })
    ));
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn refusals_are_sorted_by_what_to_do() {
    let server = Server::start(|received, _| match received.path() {
        JSAPI => recorded("error_400_param"),
        _ => recorded("error_404_order_not_exist"),
    })
    .await;
    let pay = client(&server, |_| {});
    let error = pay.query(NUMBER).await.unwrap_err();
    assert_eq!(error.refusal_kind(), Some(PayRefusalKind::NotExist));
    assert!(!error.is_outcome_unknown());
    assert_eq!(pay.close(NUMBER).await.unwrap(), Closed::NeverExisted);
    let PayError::Refused(refusal) = prepay(&pay).await.unwrap_err() else {
        panic!("a refusal")
    };
    assert_eq!(refusal.kind(), PayRefusalKind::Parameter);
    assert_eq!(refusal.field.as_deref(), Some("/amount/total"));
    assert!(refusal.request_id.starts_with("08F78BB5AF"));
    assert_eq!(server.received().len(), 3, "refusals are not repeated");
}

#[tokio::test]
async fn an_unsigned_error_does_not_say_that_an_order_does_not_exist() {
    let server =
        Server::start(|_, _| Scripted::status(404, r#"{"code":"ORDER_NOT_EXIST","message":"x"}"#))
            .await;
    let pay = client(&server, |_| {});
    for error in [
        pay.query(NUMBER).await.unwrap_err(),
        pay.close(NUMBER).await.unwrap_err(),
    ] {
        assert_eq!(error.refusal_kind(), Some(PayRefusalKind::Unproven));
        assert!(error.is_outcome_unknown());
    }
}

#[tokio::test]
async fn closing_a_paid_order_is_an_error_and_closing_a_closed_one_is_not() {
    let server = Server::start(|_, before| match before {
        0 => signed(400, r#"{"code":"ORDERPAID","message":"x"}"#),
        _ => signed(400, r#"{"code":"ORDER_CLOSED","message":"x"}"#),
    })
    .await;
    let pay = client(&server, |_| {});
    let error = pay.close(NUMBER).await.unwrap_err();
    assert_eq!(error.refusal_kind(), Some(PayRefusalKind::AlreadyPaid));
    assert_eq!(pay.close(NUMBER).await.unwrap(), Closed::Before);
}

#[tokio::test]
async fn the_probe_passes_only_on_an_authentic_answer() {
    let server = Server::start(|_, _| recorded("error_404_order_not_exist")).await;
    client(&server, |_| {}).probe().await.unwrap();
    let received = &server.received()[0];
    assert!(
        received
            .target
            .starts_with("/v3/pay/transactions/out-trade-no/PROBE-")
    );
    assert_signed(received);
    let server = Server::start(|_, _| signed(401, r#"{"code":"SIGN_ERROR","message":"x"}"#)).await;
    let error = client(&server, |_| {}).probe().await.unwrap_err();
    assert_eq!(error.refusal_kind(), Some(PayRefusalKind::Configuration));
}

#[tokio::test]
async fn what_wechat_pay_would_refuse_is_not_sent() {
    let server = Server::start(|_, _| Scripted::Silence).await;
    let pay = client(&server, |_| {});
    let wrong = [
        Prepay {
            total_fen: 0,
            ..order()
        },
        Prepay {
            out_trade_no: "a/b/c/d".into(),
            ..order()
        },
        Prepay {
            description: "🎉".into(),
            ..order()
        },
        Prepay {
            attach: Some("🎉".into()),
            ..order()
        },
        Prepay {
            attach: Some("a".repeat(129)),
            ..order()
        },
    ];
    for order in wrong {
        let error = pay.prepay_jsapi(&order, &payer()).await.unwrap_err();
        assert!(matches!(error, PayError::Argument { .. }), "{order:?}");
        assert!(!error.is_outcome_unknown());
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn an_unknown_key_is_downloaded_once() {
    let body = r#"{"prepay_id":"wx1"}"#;
    let server = Server::start(move |received, _| match received.path() {
        CERTIFICATES => recorded("certificates_list"),
        _ => signed_by(CERTIFICATE_SERIAL, 200, body),
    })
    .await;
    let pay = client(&server, |_| {});
    prepay(&pay).await.unwrap();
    prepay(&pay).await.unwrap();
    assert_eq!(server.count(CERTIFICATES), 1);
    assert_eq!(
        pay.platform_keys().serials(),
        [CERTIFICATE_SERIAL, PUBLIC_KEY_ID]
    );
}

#[tokio::test]
async fn without_any_key_the_first_download_proves_itself() {
    let server = Server::start(|received, _| match received.path() {
        CERTIFICATES => recorded("certificates_list"),
        _ => signed_by(CERTIFICATE_SERIAL, 200, r#"{"prepay_id":"wx1"}"#),
    })
    .await;
    let pay = client(&server, |config| config.platform_keys.clear());
    prepay(&pay).await.unwrap();
    assert_eq!(pay.refresh_certificates().await.unwrap(), 1);
    assert!(
        !server.received()[0]
            .headers
            .contains_key("wechatpay-serial")
    );
}

#[tokio::test]
async fn a_list_of_certificates_for_another_key_or_with_another_signature_is_refused() {
    let server = Server::start(|_, _| recorded("certificates_list")).await;
    let pay = client(&server, |config| {
        config.platform_keys.clear();
        config.api_v3_key = "another-key-0123456789abcdef0123".into();
    });
    let error = pay.refresh_certificates().await.unwrap_err();
    assert!(matches!(error, PayError::Answer { .. }));
    let server = Server::start(|_, _| {
        let Scripted::Answer {
            status,
            headers,
            mut body,
        } = recorded("certificates_list")
        else {
            unreachable!()
        };
        body.push(b' ');
        Scripted::Answer {
            status,
            headers,
            body,
        }
    })
    .await;
    let pay = client(&server, |config| config.platform_keys.clear());
    let error = pay.refresh_certificates().await.unwrap_err();
    assert!(matches!(
        error,
        PayError::Unverified {
            reason: SignatureRefusal::Mismatch,
            ..
        }
    ));
    assert!(pay.platform_keys().serials().is_empty());
}

fn notification(name: &str) -> (HeaderMap, Vec<u8>) {
    let file = vectors("wechatpay_notifications.json");
    let case = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["name"] == name)
        .unwrap();
    let headers = case["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
            )
        })
        .collect();
    (headers, text(case, "body").as_bytes().to_vec())
}

#[tokio::test]
async fn strangers_cannot_make_the_client_download_certificates_at_will() {
    let server = Server::start(|_, _| recorded("certificates_list")).await;
    let environment = Arc::new(FixedEnvironment::at(NOW));
    let pay = client_at(&server, environment.clone(), |config| {
        config.certificate_download_interval_seconds = 100;
    });
    let (headers, body) = notification("unknown_serial");
    for _ in 0..3 {
        let refusal = pay.notification(&headers, &body).await.unwrap_err();
        assert!(matches!(
            refusal,
            NotificationRefusal::Signature(SignatureRefusal::UnknownSerial { .. })
        ));
    }
    assert_eq!(server.count(CERTIFICATES), 1);
    advance(&environment, 100);
    assert!(pay.notification(&headers, &body).await.is_err());
    assert_eq!(server.count(CERTIFICATES), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_with_a_new_certificate_in_parallel_download_it_once() {
    let server = Server::start(|_, _| recorded("certificates_list")).await;
    let pay = Arc::new(client(&server, |_| {}));
    let deliveries: Vec<_> = (0..20)
        .map(|_| {
            let pay = Arc::clone(&pay);
            let (headers, body) = notification("pay_success_certificate_mode");
            tokio::spawn(async move { pay.notification(&headers, &body).await })
        })
        .collect();
    for delivery in deliveries {
        delivery.await.unwrap().unwrap();
    }
    assert_eq!(server.count(CERTIFICATES), 1);
}

#[tokio::test]
async fn where_certificates_are_not_downloaded_an_unknown_key_is_refused_without_a_call() {
    let server = Server::start(|_, _| recorded("certificates_list")).await;
    let pay = client(&server, |config| config.certificates_downloaded = false);
    let (headers, body) = notification("pay_success_certificate_mode");
    let refusal = pay.notification(&headers, &body).await.unwrap_err();
    assert_eq!(refusal.http_status(), 401);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn the_parameters_for_the_client_have_the_names_it_wants() {
    let server = Server::start(|_, _| Scripted::Silence).await;
    let params = client(&server, |_| {})
        .request_payment_params("wx1")
        .unwrap();
    let json = serde_json::to_value(&params).unwrap();
    let mut names: Vec<&String> = json.as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["nonceStr", "package", "paySign", "signType", "timeStamp"]
    );
    assert_eq!(params.time_stamp, NOW.to_string());
    assert_eq!(params.package, "prepay_id=wx1");
    assert_eq!(params.nonce_str.len(), 32);
    let signing = vectors("wechatpay_request_signing.json");
    let key = MerchantKey::from_pem(text(&signing, "merchant_private_key_pkcs8_pem")).unwrap();
    let message = format!(
        "wxd678efh567hg6787\n{NOW}\n{}\nprepay_id=wx1\n",
        params.nonce_str
    );
    assert_eq!(key.sign(message.as_bytes()), Some(params.pay_sign));
}

type Change = Box<dyn Fn(&mut PayConfig)>;

#[tokio::test]
async fn unusable_settings_are_named_without_being_shown() {
    let server = Server::start(|_, _| Scripted::Silence).await;
    let certificate = text(
        &vectors("wechatpay_request_signing.json"),
        "merchant_certificate_pem",
    )
    .to_owned();
    let changes: [(&str, Change); 7] = [
        (
            "API v3 key",
            Box::new(|config| config.api_v3_key = "short-SECRET".into()),
        ),
        (
            "merchant private key",
            Box::new(move |config| config.merchant_private_key = certificate.clone().into()),
        ),
        (
            "merchant private key",
            Box::new(|config| config.merchant_private_key = "SECRET".into()),
        ),
        (
            "merchant number",
            Box::new(|config| config.mch_id = "wx1".into()),
        ),
        (
            "merchant certificate serial number",
            Box::new(|config| config.merchant_serial = "xyz".into()),
        ),
        (
            "notification URL",
            Box::new(|config| config.notify_url = "https://a.example/?b=c".parse().unwrap()),
        ),
        (
            "WeChat Pay public key",
            Box::new(|config| {
                config.platform_keys = vec![PlatformKeyPem::PublicKey {
                    id: CERTIFICATE_SERIAL.into(),
                    pem: "SECRET".into(),
                }];
            }),
        ),
    ];
    for (setting, change) in changes {
        let mut config = config(&server);
        change(&mut config);
        let environment = Arc::new(FixedEnvironment::at(NOW));
        let error = Pay::new(config, http_client(), environment).unwrap_err();
        assert_eq!(error.setting, setting);
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }
}

#[test]
fn a_pkcs1_key_is_accepted_too() {
    let signing = vectors("wechatpay_request_signing.json");
    let pkcs8 = text(&signing, "merchant_private_key_pkcs8_pem");
    let base64: String = pkcs8
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let engine = &base64::engine::general_purpose::STANDARD;
    let der = base64::Engine::decode(engine, base64).unwrap();
    // PKCS#8 of an RSA key is 26 bytes of header around PKCS#1.
    let pkcs1 = base64::Engine::encode(engine, &der[26..]);
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{pkcs1}\n-----END RSA PRIVATE KEY-----\n");
    let (left, right) = (
        MerchantKey::from_pem(&pem).unwrap(),
        MerchantKey::from_pem(pkcs8).unwrap(),
    );
    assert_eq!(left.sign(b"message"), right.sign(b"message"));
}
