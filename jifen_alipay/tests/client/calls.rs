//! The calls, over real HTTP.

use std::time::Duration;

use jifen_alipay::{
    AnswerError, ConfigurationFault, Error, FailureKind, KeyMode, Refund, RefundState,
    RequestError, TradeStatus, TransportError,
};

use crate::scripted::{Gateway, Reply, client_of, config, scripted, signed, text, vectors};

const QUERY: &str = "alipay_trade_query_response";
const ORDER: &str = "4816273950182736";
const PAID: &str = r#"{"code":"10000","msg":"Success","out_trade_no":"4816273950182736","trade_no":"2024","trade_status":"TRADE_SUCCESS","total_amount":"1.68","send_pay_date":"2024-01-15 12:05:09","buyer_user_id":"2088622958327844"}"#;

fn paid() -> Reply {
    signed(QUERY, PAID.as_bytes())
}

fn system_error() -> Reply {
    signed(
        QUERY,
        br#"{"code":"40004","msg":"Business Failed","sub_code":"ACQ.SYSTEM_ERROR","sub_msg":"x"}"#,
    )
}

#[tokio::test]
async fn requests_are_those_of_the_official_sdks() {
    let (alipay, gateway) = scripted(Vec::new()).await;
    let refund = Refund {
        out_trade_no: ORDER,
        out_request_no: "RF202401160000000000000000000001",
        refund_fen: 68,
        reason: Some("用户申请退款"),
    };
    let status = |error| {
        assert!(
            matches!(
                error,
                Error::Transport(TransportError::Status { status: 410 })
            ),
            "{error}"
        );
    };
    status(alipay.query(ORDER).await.unwrap_err());
    status(alipay.close(ORDER).await.unwrap_err());
    status(alipay.refund(&refund).await.unwrap_err());
    let refunded = alipay.refund_query(ORDER, refund.out_request_no).await;
    status(refunded.unwrap_err());
    status(alipay.bill_url("2024-01-15").await.unwrap_err());

    let file = vectors("alipay_request_signing.json");
    let cases = file["cases"].as_array().unwrap();
    let names = [
        "trade_query",
        "trade_close",
        "trade_refund_partial",
        "refund_query",
        "bill_download_url",
    ];
    let requests = gateway.requests();
    assert_eq!(requests.len(), names.len());
    for (request, name) in requests.iter().zip(names) {
        let case = cases
            .iter()
            .find(|case| text(case, "name") == name)
            .unwrap();
        let mut expected = case["params"].as_object().unwrap().clone();
        expected.insert("sign".into(), case["sign"].clone());
        let parameters = serde_json::to_value(request.parameters()).unwrap();
        assert_eq!(parameters, serde_json::Value::Object(expected), "{name}");
        assert!(request.target.contains("charset=utf-8"));
        assert!(request.body.starts_with("biz_content="));
    }
}

#[tokio::test]
async fn calls_can_be_made_from_any_task() {
    let (alipay, _gateway) = scripted(vec![paid()]).await;
    let task = tokio::spawn(async move { alipay.query(ORDER).await });
    assert!(task.await.unwrap().unwrap().status.is_paid());
}

#[tokio::test]
async fn a_paid_trade_is_known_by_its_status_alone() {
    let waiting = PAID.replace("TRADE_SUCCESS", "WAIT_BUYER_PAY");
    let (alipay, _gateway) = scripted(vec![paid(), signed(QUERY, waiting.as_bytes())]).await;
    let trade = alipay.query(ORDER).await.unwrap();
    assert_eq!(trade.status, TradeStatus::Success);
    assert!(trade.status.is_paid());
    assert_eq!(trade.total_fen, 168);
    assert_eq!(trade.paid_at, Some(1_705_291_509));
    assert!(!format!("{trade:?}").contains("2088622958327844"));
    let trade = alipay.query(ORDER).await.unwrap();
    assert!(!trade.status.is_paid());
}

#[tokio::test]
async fn an_unsigned_success_is_refused_and_not_repeated() {
    let body = format!("{{\"{QUERY}\":{PAID}}}").into_bytes();
    let (alipay, gateway) = scripted(vec![Reply::Body(body), paid()]).await;
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(AnswerError::Unsigned)),
        "{error}"
    );
    assert!(error.may_have_been_processed());
    assert_eq!(gateway.requests().len(), 1);
}

#[tokio::test]
async fn an_unsigned_verdict_on_a_trade_is_refused_and_a_signed_one_classified() {
    let node = r#"{"code":"40004","msg":"Business Failed","sub_code":"ACQ.TRADE_NOT_EXIST"}"#;
    let unsigned = format!("{{\"{QUERY}\":{node}}}").into_bytes();
    let (alipay, _gateway) =
        scripted(vec![Reply::Body(unsigned), signed(QUERY, node.as_bytes())]).await;
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(AnswerError::Unsigned)),
        "{error}"
    );
    let error = alipay.query(ORDER).await.unwrap_err();
    assert_eq!(error.failure_kind(), Some(FailureKind::TradeNotExist));
    assert!(!error.may_have_been_processed());
}

#[tokio::test]
async fn a_tampered_answer_and_one_about_another_trade_are_refused() {
    let Reply::Body(tampered) = signed(QUERY, PAID.replace("1.68", "0.01").as_bytes()) else {
        unreachable!("signed answers have a body")
    };
    let tampered = String::from_utf8(tampered).unwrap().replace("0.01", "1.68");
    let other = PAID.replace(ORDER, "9999999999999999");
    let (alipay, _gateway) = scripted(vec![
        Reply::Body(tampered.into_bytes()),
        signed(QUERY, other.as_bytes()),
    ])
    .await;
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(AnswerError::Signature)),
        "{error}"
    );
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(AnswerError::OtherTrade)),
        "{error}"
    );
}

#[tokio::test]
async fn a_system_error_is_repeated_with_the_same_bytes() {
    let script = vec![system_error(), Reply::HangUp, paid()];
    let (alipay, gateway) = scripted(script).await;
    assert!(alipay.query(ORDER).await.unwrap().status.is_paid());
    let requests = gateway.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| *request == requests[0]));
}

#[tokio::test]
async fn repetitions_are_bounded() {
    let script = vec![system_error(), system_error(), system_error(), paid()];
    let (alipay, gateway) = scripted(script).await;
    let error = alipay.query(ORDER).await.unwrap_err();
    assert_eq!(error.failure_kind(), Some(FailureKind::System));
    assert!(error.may_have_been_processed());
    assert_eq!(gateway.requests().len(), 3);
}

#[tokio::test]
async fn a_gateway_that_is_silent_times_out() {
    let gateway = Gateway::start(vec![Reply::Silence, Reply::Silence]).await;
    let mut config = config(&gateway.url);
    config.limits.timeout = Duration::from_millis(250);
    config.limits.attempts_max = 2;
    let alipay = client_of(config).unwrap();
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport(TransportError::TimedOut {
                timeout_milliseconds: 250
            })
        ),
        "{error}"
    );
    assert!(error.may_have_been_processed());
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test]
async fn an_unreachable_gateway_has_processed_nothing() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/gateway.do", port.local_addr().unwrap());
    drop(port);
    let alipay = client_of(config(&url.parse().unwrap())).unwrap();
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(!error.may_have_been_processed(), "{error}");
    assert!(!format!("{error:?}").contains("sign="));
}

#[tokio::test]
async fn a_status_of_something_between_is_repeated_only_when_it_is_5xx() {
    let script = vec![
        Reply::Status("502 Bad Gateway"),
        Reply::Status("403 Forbidden"),
        paid(),
    ];
    let (alipay, gateway) = scripted(script).await;
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport(TransportError::Status { status: 403 })
        ),
        "{error}"
    );
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test]
async fn an_error_in_gbk_is_read() {
    let error = r#"{"error_response":{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-signature","sub_msg":"无效签名"}}"#;
    let (gbk, _, _) = encoding_rs::GBK.encode(error);
    assert!(std::str::from_utf8(&gbk).is_err());
    let (alipay, gateway) = scripted(vec![Reply::Body(gbk.into_owned())]).await;
    let Error::Failed(failure) = alipay.query(ORDER).await.unwrap_err() else {
        panic!("not a refusal")
    };
    assert_eq!(
        failure.kind,
        FailureKind::Configuration(ConfigurationFault::Signature)
    );
    assert_eq!(failure.message, "无效签名");
    assert!(!failure.is_signed);
    assert!(failure.to_string().contains("isv.invalid-signature"));
    assert_eq!(gateway.requests().len(), 1);
}

#[tokio::test]
async fn a_signed_answer_in_gbk_is_verified_over_its_bytes() {
    // 乗 ends with the byte of a backslash in GBK.
    let node = PAID.replace("\"Success\"", "\"交易乗\"");
    let (gbk, _, _) = encoding_rs::GBK.encode(&node);
    assert!(gbk.contains(&b'\\'));
    let (alipay, _gateway) = scripted(vec![signed(QUERY, &gbk)]).await;
    assert!(alipay.query(ORDER).await.unwrap().status.is_paid());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let gateway = Gateway::start(vec![Reply::Body(vec![b' '; 5000])]).await;
    let mut config = config(&gateway.url);
    config.limits.answer_bytes_max = 4096;
    let error = client_of(config).unwrap().query(ORDER).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport(TransportError::AnswerTooLarge { bytes_max: 4096 })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn refunds_say_whether_money_moved() {
    const REFUND: &str = "alipay_trade_refund_response";
    const REFUND_QUERY: &str = "alipay_trade_fastpay_refund_query_response";
    let (alipay, _gateway) = scripted(vec![
        signed(REFUND, br#"{"code":"10000","msg":"Success","fund_change":"Y","out_trade_no":"4816273950182736","refund_fee":"0.68","trade_no":"2024"}"#),
        signed(REFUND, br#"{"code":"10000","msg":"Success","fund_change":"N","out_trade_no":"4816273950182736","refund_fee":"0.68","trade_no":"2024"}"#),
        signed(REFUND, br#"{"code":"40004","msg":"Business Failed","sub_code":"ACQ.DISCORDANT_REPEAT_REQUEST"}"#),
        signed(REFUND_QUERY, br#"{"code":"10000","msg":"Success"}"#),
        signed(REFUND_QUERY, br#"{"code":"10000","msg":"Success","out_trade_no":"4816273950182736","out_request_no":"R1","refund_status":"REFUND_SUCCESS","refund_amount":"0.68","total_amount":"1.68","gmt_refund_pay":"2024-01-16 10:00:03"}"#),
        signed(REFUND_QUERY, br#"{"code":"10000","msg":"Success","out_trade_no":"4816273950182736","out_request_no":"R2","refund_status":"REFUND_SUCCESS","refund_amount":"0.68","total_amount":"1.68"}"#),
    ])
    .await;
    let refund = Refund {
        out_trade_no: ORDER,
        out_request_no: "R1",
        refund_fen: 68,
        reason: None,
    };
    let answer = alipay.refund(&refund).await.unwrap();
    assert!(answer.has_moved_money);
    assert_eq!(answer.refunded_total_fen, 68);
    assert!(!alipay.refund(&refund).await.unwrap().has_moved_money);
    let error = alipay.refund(&refund).await.unwrap_err();
    assert_eq!(error.failure_kind(), Some(FailureKind::RefundNumberReused));

    let state = alipay.refund_query(ORDER, "R1").await.unwrap();
    assert_eq!(state, RefundState::NotDone);
    let state = alipay.refund_query(ORDER, "R1").await.unwrap();
    assert_eq!(
        state,
        RefundState::Done {
            refund_fen: 68,
            total_fen: 168,
            refunded_at: Some(1_705_370_403)
        }
    );
    let error = alipay.refund_query(ORDER, "R1").await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(AnswerError::OtherTrade)),
        "{error}"
    );
}

#[tokio::test]
async fn arguments_are_checked_before_anything_is_sent() {
    let (alipay, gateway) = scripted(Vec::new()).await;
    let field = |error| match error {
        Error::Request(RequestError::Field { field, .. }) => field,
        other => panic!("{other}"),
    };
    assert_eq!(
        field(alipay.query("a b").await.unwrap_err()),
        "out_trade_no"
    );
    assert_eq!(field(alipay.close("").await.unwrap_err()), "out_trade_no");
    let error = alipay.refund_query(ORDER, "ä").await.unwrap_err();
    assert_eq!(field(error), "out_request_no");
    let refund = Refund {
        out_trade_no: ORDER,
        out_request_no: "R1",
        refund_fen: 0,
        reason: None,
    };
    assert_eq!(
        field(alipay.refund(&refund).await.unwrap_err()),
        "refund_amount"
    );
    assert_eq!(
        field(alipay.bill("20240115").await.unwrap_err()),
        "bill_date"
    );
    assert_eq!(gateway.requests(), []);
}

#[tokio::test]
async fn a_probe_expects_a_signed_trade_not_exist_and_explains_everything_else() {
    let not_exist = br#"{"code":"40004","msg":"Business Failed","sub_code":"ACQ.TRADE_NOT_EXIST"}"#;
    let missing = br#"{"error_response":{"code":"40006","msg":"x","sub_code":"isv.insufficient-isv-permissions"}}"#;
    let (alipay, gateway) = scripted(vec![
        signed(QUERY, not_exist),
        Reply::Body(missing.to_vec()),
        Reply::Body(b"<html>".to_vec()),
    ])
    .await;
    alipay.probe().await.unwrap();
    let error = alipay.probe().await.unwrap_err();
    assert!(error.explanation.contains("sign the contract"), "{error}");
    let error = alipay.probe().await.unwrap_err();
    assert!(error.explanation.contains("cannot be read"), "{error}");
    let content = &gateway.requests()[0].parameters()["biz_content"];
    assert!(content.contains("probe_abababab"), "{content}");
}

#[tokio::test]
async fn certificate_mode_sends_its_numbers_and_notices_a_rotation() {
    let file = vectors("alipay_cert_sn.json");
    let case = |name: &str| {
        let cases = file["cases"].as_array().unwrap();
        cases
            .iter()
            .find(|case| text(case, "name") == name)
            .unwrap()
    };
    let body = |sn: &str| {
        let Reply::Body(body) = paid() else {
            unreachable!("signed answers have a body")
        };
        let body = String::from_utf8(body).unwrap();
        let with_sn = body.replacen(
            ",\"sign\"",
            &format!(",\"alipay_cert_sn\":\"{sn}\",\"sign\""),
            1,
        );
        Reply::Body(with_sn.into_bytes())
    };
    let ours = text(case("official_alipay_public_certificate"), "sn");
    let rotated = "00000000000000000000000000000001";
    let gateway = Gateway::start(vec![body(rotated), body(ours)]).await;
    let mut config = config(&gateway.url);
    config.key_mode = KeyMode::Certificate {
        app_certificate: text(case("long_serial"), "pem").into(),
        alipay_certificate: text(case("official_alipay_public_certificate"), "pem").into(),
        alipay_root_certificates: text(case("official_alipay_root_bundle"), "pem").into(),
    };
    let alipay = client_of(config.clone()).unwrap();
    match alipay.query(ORDER).await.unwrap_err() {
        Error::Answer(AnswerError::CertificateRotated { alipay_cert_sn }) => {
            assert_eq!(alipay_cert_sn, rotated);
        }
        other => panic!("{other}"),
    }
    // Named as ours, but not signed by it.
    let error = alipay.query(ORDER).await.unwrap_err();
    assert!(
        matches!(error, Error::Answer(AnswerError::Signature)),
        "{error}"
    );
    let parameters = gateway.requests()[0].parameters();
    assert_eq!(parameters["app_cert_sn"], text(case("long_serial"), "sn"));
    assert_eq!(
        parameters["alipay_root_cert_sn"],
        text(case("official_alipay_root_bundle"), "sn")
    );

    config.key_mode = KeyMode::Certificate {
        app_certificate: text(case("official_app_certificate"), "pem").into(),
        alipay_certificate: text(case("official_alipay_public_certificate"), "pem").into(),
        alipay_root_certificates: text(case("official_alipay_root_bundle"), "pem").into(),
    };
    let error = client_of(config).unwrap_err();
    assert_eq!(error.setting, "app certificate");
    assert_eq!(error.found, "a certificate of another key");
}

#[test]
fn the_app_public_key_in_place_of_alipays_is_named() {
    let mut config = config(&"http://127.0.0.1:1/gateway.do".parse().unwrap());
    let requests = vectors("alipay_request_signing.json");
    config.key_mode = KeyMode::PublicKey {
        alipay_public_key: text(&requests, "app_public_key_bare_base64").into(),
    };
    let error = client_of(config.clone()).unwrap_err();
    assert_eq!(error.setting, "Alipay public key");
    assert!(
        error.found.starts_with("the app's own public key"),
        "{error}"
    );

    config.key_mode = KeyMode::PublicKey {
        alipay_public_key: text(&requests, "app_private_key_pkcs8_bare_base64").into(),
    };
    assert_eq!(
        client_of(config.clone()).unwrap_err().found,
        "a private key"
    );

    config.app_private_key = text(&requests, "app_public_key_bare_base64").into();
    let error = client_of(config.clone()).unwrap_err();
    assert_eq!(error.setting, "app private key");
    assert!(error.found.starts_with("a public key"), "{error}");

    config.gateway.set_query(Some("a=b"));
    assert_eq!(client_of(config).unwrap_err().setting, "gateway");
}
