//! `alipay_notifications.json`

use jifen_alipay::{
    Alipay, Expectation, Mismatch, Notification, NotificationEvent, Refusal, parse_yuan,
};
use serde_json::Value;

use super::{File, text, verifier};

pub(crate) fn run(file: &mut File) {
    let alipay = verifier(&file.text("alipay_public_key_bare_base64"));
    let order = file.object("order_expectation");
    let expectation = Expectation {
        app_id: text(&order, "app_id"),
        seller_id: Some(text(&order, "seller_id")),
        out_trade_no: text(&order, "out_trade_no"),
        total_fen: parse_yuan(text(&order, "total_amount")).unwrap(),
    };
    file.single("official_fixture", |case| {
        let alipay = verifier(text(case, "alipay_public_key_bare_base64"));
        assert_eq!(text(case, "expect"), "accept");
        let notification = accepted(case, &alipay);
        assert_eq!(notification.event(), NotificationEvent::Paid);
        assert_eq!(notification.total_fen, 10);
    });
    file.cases("cases", |case| check(case, &alipay, &expectation));
    file.cases("return_url_cases", |case| {
        let result = alipay.verify_return(text(case, "query"));
        match text(case, "expect") {
            "accept_for_display_only" => {
                assert_eq!(result.unwrap().check(&expectation), Ok(()));
            }
            "reject_signature" => assert_eq!(result.unwrap_err(), Refusal::Signature),
            other => panic!("unknown expectation {other}"),
        }
    });
}

fn check(case: &Value, alipay: &Alipay, expectation: &Expectation<'_>) {
    let refusal = || {
        alipay
            .parse_notification(text(case, "raw_body").as_bytes())
            .unwrap_err()
    };
    let business = || accepted(case, alipay).check(expectation).unwrap_err();
    match text(case, "expect") {
        "accept" | "accept_if_gbk_is_supported" => {
            let notification = accepted(case, alipay);
            assert_eq!(notification.check(expectation), Ok(()));
            assert_eq!(notification.event(), NotificationEvent::Paid);
        }
        "accept_signature_not_a_payment" => {
            let event = match text(case, "name") {
                "wait_buyer_pay" => NotificationEvent::Nothing,
                _ => NotificationEvent::Closed,
            };
            let notification = accepted(case, alipay);
            assert_eq!(notification.check(expectation), Ok(()));
            assert_eq!(notification.event(), event);
        }
        "accept_signature_refund_event" => {
            let notification = accepted(case, alipay);
            let refunded_total_fen = parse_yuan(text(&case["params"], "refund_fee")).unwrap();
            assert_eq!(notification.check(expectation), Ok(()));
            assert_eq!(
                notification.event(),
                NotificationEvent::Refunded { refunded_total_fen }
            );
            assert_eq!(
                notification.out_request_no.as_deref(),
                Some(text(&case["params"], "out_biz_no"))
            );
            assert!(notification.refunded_at > notification.paid_at);
        }
        "accept_signature_then_reject_business_amount" => {
            assert_eq!(
                business(),
                Mismatch::Amount {
                    expected_fen: 168,
                    found_fen: 1
                }
            );
        }
        "accept_signature_then_reject_business_order" => {
            assert_eq!(business(), Mismatch::OutTradeNo);
        }
        "accept_signature_then_reject_business_seller" => assert_eq!(business(), Mismatch::Seller),
        "accept_signature_then_reject_business_app_id" => assert_eq!(business(), Mismatch::AppId),
        "reject_signature" => {
            let expected = match text(case, "name") {
                "sign_removed" | "sign_empty" => Refusal::Unsigned,
                _ => Refusal::Signature,
            };
            assert_eq!(refusal(), expected);
        }
        "reject_duplicate_parameter" => assert_eq!(refusal(), Refusal::RepeatedParameter),
        "reject_sign_type" => assert_eq!(refusal(), Refusal::SignType),
        other => panic!("unknown expectation {other}"),
    }
}

/// The notification, after every parameter was read as the vector has it.
fn accepted(case: &Value, alipay: &Alipay) -> Notification {
    let notification = alipay
        .parse_notification(text(case, "raw_body").as_bytes())
        .unwrap();
    // The charset cases give the bytes alone.
    if let Some(parameters) = case["params"].as_object() {
        assert!(parameters.len() > 10);
        for (name, value) in parameters {
            assert_eq!(notification.get(name), value.as_str(), "{name}");
        }
    } else {
        assert_eq!(text(case, "name"), "gbk_charset");
        assert_eq!(notification.get("subject"), Some("积分套餐"));
    }
    notification
}
