//! What is made and checked without calling anybody: forms, notifications, return URLs.

use jifen_alipay::{Alipay, NotificationEvent, PagePay, Refusal, RequestError, TradeStatus};

use crate::scripted::{NOW, alipay_private_key, client_of, config};

fn alipay() -> Alipay {
    client_of(config(
        &"https://gateway.example/gateway.do".parse().unwrap(),
    ))
    .unwrap()
}

const ORDER: PagePay<'_> = PagePay {
    out_trade_no: "4816273950182736",
    total_fen: 168,
    subject: "积分 <b>&quot;A\"</b>",
    time_expire: Some(NOW + 1800),
    timestamp: NOW,
    notify_url: None,
    return_url: None,
};

/// A body signed by the pretended Alipay, parameters in the order given (which must be sorted).
fn signed_body(parameters: &[(&str, &str)], covers_empty: bool) -> String {
    let content: Vec<String> = parameters
        .iter()
        .filter(|(_, value)| covers_empty || !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let sign = alipay_private_key()
        .sign(content.join("&").as_bytes())
        .unwrap();
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .append_pair("sign", &sign)
        .append_pair("sign_type", "RSA2")
        .finish()
}

const CLOSED: [(&str, &str); 9] = [
    ("app_id", "9021000122671080"),
    ("gmt_close", "2024-01-15 12:34:52"),
    ("gmt_payment", ""),
    ("notify_id", "1"),
    ("notify_type", "trade_status_sync"),
    ("out_trade_no", "4816273950182736"),
    ("total_amount", "1.68"),
    ("trade_no", "2024"),
    ("trade_status", "TRADE_CLOSED"),
];

#[test]
fn the_same_order_gives_the_same_form_and_a_browser_reads_what_was_signed() {
    let alipay = alipay();
    let form = alipay.page_pay_form(&ORDER).unwrap();
    assert_eq!(form, alipay.page_pay_form(&ORDER).unwrap());
    let (_, value) = form.split_once("name=\"biz_content\" value=\"").unwrap();
    let (value, _) = value.split_once('"').unwrap();
    let read = value
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    assert_eq!(
        read,
        r#"{"out_trade_no":"4816273950182736","product_code":"FAST_INSTANT_TRADE_PAY","subject":"积分 ＜b＞＆quot;A\"＜／b＞","time_expire":"2024-01-15 12:30:00","total_amount":"1.68"}"#
    );
    let url = alipay.page_pay_url(&ORDER).unwrap();
    let url = url::Url::parse(&url).unwrap();
    let biz_content = url.query_pairs().find(|(name, _)| name == "biz_content");
    assert_eq!(biz_content.unwrap().1, read);
}

#[test]
fn an_order_alipay_would_refuse_gives_no_form() {
    let alipay = alipay();
    let refused_for = |change: fn(&mut PagePay<'_>)| {
        let mut order = ORDER;
        change(&mut order);
        match alipay.page_pay_form(&order) {
            Err(RequestError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused_for(|order| order.out_trade_no = ""), "out_trade_no");
    assert_eq!(
        refused_for(|order| order.out_trade_no = "a&b"),
        "out_trade_no"
    );
    assert_eq!(refused_for(|order| order.total_fen = 0), "total_amount");
    assert_eq!(
        refused_for(|order| order.total_fen = 10_000_000_001),
        "total_amount"
    );
    assert_eq!(refused_for(|order| order.subject = " \n"), "subject");
    assert_eq!(
        refused_for(|order| order.time_expire = Some(NOW + 59)),
        "time_expire"
    );
    assert_eq!(
        refused_for(|order| order.time_expire = Some(NOW + 1_296_001)),
        "time_expire"
    );
    assert_eq!(
        refused_for(|order| order.time_expire = Some(i64::MAX)),
        "time_expire"
    );
    assert_eq!(refused_for(|order| order.timestamp = i64::MIN), "timestamp");
    assert_eq!(
        refused_for(|order| order.notify_url = Some("/notify")),
        "notify_url"
    );
    assert_eq!(
        refused_for(|order| order.return_url = Some("https://x.cn/ä")),
        "return_url"
    );
}

#[test]
fn empty_values_verify_under_either_rule_and_count_as_absent() {
    for covers_empty in [true, false] {
        let body = signed_body(&CLOSED, covers_empty);
        let notification = alipay().parse_notification(body.as_bytes()).unwrap();
        assert_eq!(notification.paid_at, None);
        assert_eq!(notification.get("gmt_payment"), None);
        assert_eq!(notification.event(), NotificationEvent::Closed);
    }
}

#[test]
fn a_trade_closed_after_its_payment_is_a_refund_in_full() {
    let mut parameters = CLOSED;
    parameters[2].1 = "2024-01-15 12:05:09";
    let body = signed_body(&parameters, true);
    let notification = alipay().parse_notification(body.as_bytes()).unwrap();
    assert_eq!(
        notification.event(),
        NotificationEvent::Refunded {
            refunded_total_fen: 168
        }
    );
}

#[test]
fn authentic_messages_of_another_kind_or_without_a_field_are_told_apart() {
    let mut other_kind = CLOSED;
    other_kind[4].1 = "servicewindow";
    let mut no_amount = CLOSED;
    no_amount[6].1 = "1e2";
    for (parameters, expected) in [
        (other_kind, Refusal::OtherKind),
        (no_amount, Refusal::Field("total_amount")),
    ] {
        let body = signed_body(&parameters, true);
        let refusal = alipay().parse_notification(body.as_bytes()).unwrap_err();
        assert_eq!(refusal, expected);
        assert!(refusal.is_authentic());
        // A notification is no return URL.
        assert_eq!(alipay().verify_return(&body), Err(Refusal::OtherKind));
    }
}

#[test]
fn an_unknown_status_is_no_payment() {
    let mut parameters = CLOSED;
    parameters[8].1 = "TRADE_PENDING";
    let body = signed_body(&parameters, true);
    let notification = alipay().parse_notification(body.as_bytes()).unwrap();
    assert_eq!(
        notification.status,
        TradeStatus::Other("TRADE_PENDING".into())
    );
    assert_eq!(notification.event(), NotificationEvent::Nothing);
}

#[test]
fn foreign_bodies_are_refused_without_harm() {
    let alipay = alipay();
    let many: Vec<String> = (0..200).map(|number| format!("a{number}=b")).collect();
    for (body, expected) in [
        (Vec::new(), Refusal::Unsigned),
        (b"&&=&%".to_vec(), Refusal::Unsigned),
        (
            b"\xff=%f&sign=%zz&sign_type=RSA2".to_vec(),
            Refusal::Signature,
        ),
        (b"sign=AAAA&sign_type=RSA".to_vec(), Refusal::SignType),
        (b"sign=AAAA".to_vec(), Refusal::SignType),
        (b"sign=AAAA&sign_type=RSA2".to_vec(), Refusal::Signature),
        (b"a=1&%61=2&sign=AAAA".to_vec(), Refusal::RepeatedParameter),
        (many.join("&").into_bytes(), Refusal::TooLarge),
        (vec![b'a'; 70_000], Refusal::TooLarge),
    ] {
        let refusal = alipay.parse_notification(&body).unwrap_err();
        assert_eq!(refusal, expected);
        assert!(!refusal.is_authentic());
    }
}
