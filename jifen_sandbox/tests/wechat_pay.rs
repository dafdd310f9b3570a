//! WeChat Pay over real HTTP, called by a merchant that shares no code with the sandbox.

#![expect(
    clippy::unwrap_used,
    reason = "the merchant around the tests fails a test by panicking"
)]

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use axum::{body::Bytes, extract::State, http::HeaderMap};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jifen_sandbox::{Config, Environment, Kit, Sandbox, outgoing_client};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const JSAPI: &str = "/v3/pay/transactions/jsapi";
const NATIVE: &str = "/v3/pay/transactions/native";
const REFUNDS: &str = "/v3/refund/domestic/refunds";

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one script, read from top to bottom")]
async fn a_jsapi_order_is_paid_queried_and_notified() {
    let shop = Shop::open().await;
    let openid = shop
        .openid("xiaoming", Kit::builtin().mini_program_appid)
        .await;
    let order = shop.order("PM000001", &openid);
    let prepay_id = shop.ok(JSAPI, &order).await["prepay_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        prepay_id.starts_with("wx") && prepay_id.len() == 36,
        "{prepay_id}"
    );

    let unpaid = shop.query("PM000001").await;
    assert_eq!(
        (unpaid.status, &unpaid.body["trade_state"]),
        (200, &json!("NOTPAY"))
    );
    assert_eq!(unpaid.body.get("transaction_id"), None);

    let info = shop.payment_info(&prepay_id);
    let mut wrong = info.clone();
    wrong["openid"] = json!(openid);
    wrong["timeStamp"] = json!("1705291201");
    let refused = shop
        .control(
            Method::POST,
            "/sandbox/api/wechat-pay/request-payment",
            Some(&wrong),
        )
        .await;
    assert_eq!(refused.0, 422, "{}", refused.1);
    let mut right = info;
    right["openid"] = json!(openid);
    let paid = shop
        .control(
            Method::POST,
            "/sandbox/api/wechat-pay/request-payment",
            Some(&right),
        )
        .await;
    assert_eq!(
        (paid.0, &paid.1["state"]),
        (200, &json!("SUCCESS")),
        "{}",
        paid.1
    );

    let found = shop.query("PM000001").await.body;
    assert_eq!(found["trade_state"], "SUCCESS");
    assert_eq!(
        found["amount"],
        json!({"total": 168, "payer_total": 168, "currency": "CNY", "payer_currency": "CNY"})
    );
    assert_eq!(found["payer"]["openid"], json!(openid));
    assert_eq!(found["attach"], "pkg=basic");
    assert_eq!(found["success_time"], "2024-01-15T12:00:00+08:00");
    let id = found["transaction_id"].as_str().unwrap();
    let by_id = shop
        .call(
            Method::GET,
            &format!(
                "/v3/pay/transactions/id/{id}?mchid={}",
                Kit::builtin().mchid
            ),
            "",
        )
        .await;
    assert_eq!(by_id.body, found);

    shop.flush().await;
    let notices = shop.notices();
    assert_eq!(notices.len(), 1);
    let (event, plain) = Shop::opened(&notices[0]);
    assert_eq!(event["event_type"], "TRANSACTION.SUCCESS");
    assert_eq!(plain, found);
}

#[tokio::test]
async fn headers_and_signature_are_checked_and_the_log_says_what_was_built() {
    let shop = Shop::open().await;
    let url = format!(
        "/v3/pay/transactions/out-trade-no/PM000001?mchid={}",
        Kit::builtin().mchid
    );
    let authorization = shop.authorization("GET", &url, "");
    let get = |headers: &[(&str, String)]| {
        let mut request = shop.client.get(format!("{}{url}", shop.base));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        async move { Answer::of(request.send().await.unwrap()).await }
    };
    let accept = ("accept", "application/json".to_owned());
    let agent = ("user-agent", "test".to_owned());
    let without_accept = get(&[
        agent.clone(),
        ("authorization", authorization.clone()),
        ("accept", String::new()),
    ])
    .await;
    assert_eq!(
        (without_accept.status, &without_accept.body["code"]),
        (400, &json!("PARAM_ERROR"))
    );
    let without_agent = get(&[accept.clone(), ("authorization", authorization.clone())]).await;
    assert_eq!(without_agent.status, 400);
    let unsigned = get(&[accept.clone(), agent.clone()]).await;
    assert_eq!(
        (unsigned.status, &unsigned.body["code"]),
        (401, &json!("SIGN_ERROR"))
    );
    // Errors are signed like answers; without a wish with the platform certificate.
    assert_eq!(
        unsigned.serial(),
        Kit::builtin().wechat_pay_platform_certificate_serial
    );

    let other = shop.authorization("GET", &format!("{url}&x=1"), "");
    let wrong = get(&[accept.clone(), agent.clone(), ("authorization", other)]).await;
    assert_eq!(wrong.status, 401);
    let built = wrong.body["detail"]["sign_information"]["truncated_sign_message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(built.starts_with(&format!("GET\n{url}\n")), "{built}");
    let log = shop
        .control(
            Method::GET,
            "/sandbox/api/exchanges?provider=wechat_pay&count=1",
            None,
        )
        .await
        .1;
    let text = log.to_string();
    assert!(
        text.contains("string_to_sign") && text.contains("sign not match"),
        "{text}"
    );

    let right = [accept, agent, ("authorization", authorization)];
    assert_eq!(get(&right).await.body["code"], "ORDER_NOT_EXIST");
    let replayed = get(&right).await;
    assert_eq!(
        (replayed.status, replayed.body["code"].as_str()),
        (401, Some("SIGN_ERROR"))
    );

    let form = shop
        .send(Method::POST, JSAPI, "{}", &[("content-type", "text/plain")])
        .await;
    assert_eq!(form.status, 415);
}

#[tokio::test]
async fn every_field_rule_of_a_prepay_names_the_field_it_refuses() {
    let shop = Shop::open().await;
    let kit = Kit::builtin();
    let openid = shop.openid("xiaoming", kit.mini_program_appid).await;
    let other_app = shop.openid("xiaoming", kit.official_account_appid).await;
    let order = shop.order("PM000001", &openid);
    let cases = [
        ("/amount/total", json!(1.5), 400, "PARAM_ERROR"),
        ("/amount/total", json!("168"), 400, "PARAM_ERROR"),
        ("/amount/total", json!(0), 400, "PARAM_ERROR"),
        ("/amount/currency", json!("USD"), 400, "PARAM_ERROR"),
        ("/description", json!("积分😀"), 400, "PARAM_ERROR"),
        ("/description", json!(null), 400, "PARAM_ERROR"),
        ("/description", json!("分".repeat(128)), 400, "PARAM_ERROR"),
        ("/out_trade_no", json!("PM001"), 400, "PARAM_ERROR"),
        ("/out_trade_no", json!("PM000/01"), 400, "PARAM_ERROR"),
        (
            "/notify_url",
            json!("http://127.0.0.1:1/n?a=1"),
            400,
            "PARAM_ERROR",
        ),
        (
            "/notify_url",
            json!("ftp://127.0.0.1/n"),
            400,
            "PARAM_ERROR",
        ),
        ("/attach", json!("a".repeat(129)), 400, "PARAM_ERROR"),
        (
            "/time_expire",
            json!("2024-01-15 12:30:00"),
            400,
            "PARAM_ERROR",
        ),
        (
            "/time_expire",
            json!("2024-03-15T12:30:00+08:00"),
            400,
            "PARAM_ERROR",
        ),
        ("/payer/openid", json!("oNobody"), 400, "PARAM_ERROR"),
        ("/payer/openid", json!(other_app), 500, "OPENID_MISMATCH"),
        (
            "/appid",
            json!("wx0000000000000000"),
            400,
            "APPID_MCHID_NOT_MATCH",
        ),
        ("/mchid", json!("1900000109"), 400, "MCH_NOT_EXISTS"),
    ];
    for (field, value, status, code) in cases {
        let mut changed = order.clone();
        *changed.pointer_mut(field).unwrap() = value.clone();
        let answer = shop.post(JSAPI, &changed).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (status, Some(code)),
            "{field} {value}: {}",
            answer.body
        );
        if code == "PARAM_ERROR" {
            assert_eq!(answer.body["detail"]["field"], field, "{value}");
        }
    }
    let garbage = shop.send(Method::POST, JSAPI, "{", &[]).await;
    assert_eq!(
        (garbage.status, garbage.body["code"].as_str()),
        (400, Some("PARAM_ERROR"))
    );
    assert_eq!(shop.post(JSAPI, &order).await.status, 200);
}

#[tokio::test]
async fn a_repeated_prepay_is_the_same_order_and_a_changed_one_is_refused() {
    let shop = Shop::open().await;
    let openid = shop
        .openid("xiaoming", Kit::builtin().mini_program_appid)
        .await;
    let order = shop.order("PM000001", &openid);
    let first = shop.ok(JSAPI, &order).await;
    assert_eq!(shop.ok(JSAPI, &order).await, first);

    let mut other_words = order.clone();
    other_words["description"] = json!("other");
    assert_eq!(
        shop.post(JSAPI, &other_words).await.refused(),
        (400, "INVALID_REQUEST".to_owned())
    );
    let mut other_amount = order.clone();
    other_amount["amount"]["total"] = json!(169);
    assert_eq!(
        shop.post(JSAPI, &other_amount).await.refused(),
        (403, "OUT_TRADE_NO_USED".to_owned())
    );
    let mut native = order.clone();
    native.as_object_mut().unwrap().remove("payer");
    assert_eq!(
        shop.post(NATIVE, &native).await.refused(),
        (403, "OUT_TRADE_NO_USED".to_owned())
    );

    shop.advance(2 * 3600 + 1);
    assert_eq!(shop.pay("PM000001", &json!({})).await.0, 409);
    let renewed = shop.ok(JSAPI, &order).await;
    assert_ne!(renewed, first);
    assert_eq!(shop.pay("PM000001", &json!({})).await.0, 200);
    assert_eq!(
        shop.post(JSAPI, &order).await.refused(),
        (400, "ORDERPAID".to_owned())
    );
    assert_eq!(
        shop.close("PM000001").await.refused(),
        (400, "ORDERPAID".to_owned())
    );

    let second = shop.order("PM000002", &openid);
    shop.ok(JSAPI, &second).await;
    let closed = shop.close("PM000002").await;
    assert_eq!((closed.status, closed.text.as_str()), (204, ""));
    assert_eq!(shop.close("PM000002").await.status, 204);
    assert_eq!(shop.query("PM000002").await.body["trade_state"], "CLOSED");
    assert_eq!(
        shop.post(JSAPI, &second).await.refused(),
        (400, "ORDER_CLOSED".to_owned())
    );
    assert_eq!(shop.pay("PM000002", &json!({})).await.0, 409);
    assert_eq!(
        shop.close("PM000003").await.refused(),
        (404, "ORDER_NOT_EXIST".to_owned())
    );
}

#[tokio::test]
async fn after_time_expire_nobody_can_pay_but_the_order_is_not_closed() {
    let shop = Shop::open().await;
    let openid = shop
        .openid("xiaoming", Kit::builtin().mini_program_appid)
        .await;
    let mut order = shop.order("PM000001", &openid);
    order["time_expire"] = json!("2024-01-15T12:00:01+08:00");
    shop.ok(JSAPI, &order).await;
    shop.advance(59);
    let failed = shop
        .control(
            Method::POST,
            "/sandbox/api/wechat-pay/transactions/PM000001/fail",
            None,
        )
        .await;
    assert_eq!(
        failed.1["state"], "PAYERROR",
        "an early time_expire is moved to one minute"
    );
    shop.advance(2);
    assert_eq!(shop.pay("PM000001", &json!({})).await.0, 409);
    assert_eq!(shop.query("PM000001").await.body["trade_state"], "PAYERROR");
}

#[tokio::test]
async fn a_native_order_is_paid_at_the_cashier_by_anybody_with_a_coupon() {
    let shop = Shop::open().await;
    let mut order = shop.order("PM000001", "");
    order.as_object_mut().unwrap().remove("payer");
    let code_url = shop.ok(NATIVE, &order).await["code_url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(code_url.starts_with("weixin://wxpay/bizpayurl?pr="));

    let list = shop.page("/sandbox/wechat-pay/cashier").await;
    let link = list
        .split("href=\"")
        .find(|part| part.starts_with("/sandbox/wechat-pay/cashier/wx"))
        .unwrap();
    let link = link.split('"').next().unwrap().to_owned();
    let page = shop.page(&link).await;
    assert!(
        page.contains("PM000001") && page.contains("¥1.68") && page.contains("小红"),
        "{page}"
    );
    let form = [
        ("action", "pay"),
        ("person_id", "xiaohong"),
        ("coupon_fen", "68"),
    ];
    let body: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = shop.client.post(format!("{}{link}", shop.base));
    let submitted = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(submitted.status(), 303);

    let paid = shop.query("PM000001").await.body;
    assert_eq!(
        (&paid["amount"]["total"], &paid["amount"]["payer_total"]),
        (&json!(168), &json!(100))
    );
    assert_eq!(paid["promotion_detail"][0]["amount"], 68);
    let expected = shop
        .openid("xiaohong", Kit::builtin().mini_program_appid)
        .await;
    assert_eq!(paid["payer"]["openid"], json!(expected));
}

#[tokio::test]
async fn refunds_are_idempotent_bounded_by_the_payment_and_by_the_balance() {
    let shop = Shop::open().await;
    shop.paid("PM000001").await;
    shop.flush().await;
    let refund = |number: &str, fen: i64| {
        json!({"out_trade_no": "PM000001", "out_refund_no": number, "notify_url": shop.notify_url(),
               "amount": {"refund": fen, "total": 168, "currency": "CNY"}})
    };
    let first = shop.ok(REFUNDS, &refund("RF01", 68)).await;
    assert_eq!(first["status"], "PROCESSING");
    assert_eq!(first["amount"]["payer_refund"], 68);
    assert_eq!(
        shop.ok(REFUNDS, &refund("RF01", 68)).await["refund_id"],
        first["refund_id"]
    );
    assert_eq!(
        shop.post(REFUNDS, &refund("RF01", 69)).await.refused(),
        (400, "INVALID_REQUEST".to_owned())
    );
    assert_eq!(
        shop.post(REFUNDS, &refund("RF02", 10)).await.refused(),
        (429, "FREQUENCY_LIMITED".to_owned())
    );
    assert_eq!(shop.query("PM000001").await.body["trade_state"], "REFUND");

    shop.advance(61);
    assert_eq!(shop.refund_status("RF01").await, "SUCCESS");
    assert_eq!(
        shop.post(REFUNDS, &refund("RF03", 101)).await.refused(),
        (400, "INVALID_REQUEST".to_owned())
    );
    let settings = "/sandbox/api/wechat-pay/settings";
    shop.control(Method::PATCH, settings, Some(&json!({"balance_fen": 99})))
        .await;
    assert_eq!(
        shop.post(REFUNDS, &refund("RF04", 100)).await.refused(),
        (403, "NOT_ENOUGH".to_owned())
    );
    shop.control(Method::PATCH, settings, Some(&json!({"balance_fen": 100})))
        .await;
    shop.ok(REFUNDS, &refund("RF04", 100)).await;
    let settle = "/sandbox/api/wechat-pay/refunds/RF04/settle";
    assert_eq!(
        shop.control(Method::POST, settle, Some(&json!({"status": "ABNORMAL"})))
            .await
            .0,
        200
    );
    assert_eq!(shop.refund_status("RF04").await, "ABNORMAL");
    let unknown = shop.call(Method::GET, &format!("{REFUNDS}/RF99"), "").await;
    assert_eq!(unknown.refused(), (404, "RESOURCE_NOT_EXISTS".to_owned()));

    shop.flush().await;
    let events: Vec<_> = shop.notices().iter().skip(1).map(Shop::opened).collect();
    let told: Vec<_> = events
        .iter()
        .map(|(event, plain)| {
            (
                event["event_type"].as_str().unwrap(),
                plain["out_refund_no"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("REFUND.SUCCESS", "RF01"), ("REFUND.ABNORMAL", "RF04")]
    );
    assert_eq!(
        events[0].1["amount"],
        json!({"total": 168, "refund": 68, "payer_total": 168, "payer_refund": 68})
    );
}

#[tokio::test]
async fn an_unpaid_order_cannot_be_refunded_and_a_closed_refund_gives_the_money_back() {
    let shop = Shop::open().await;
    let openid = shop
        .openid("xiaoming", Kit::builtin().mini_program_appid)
        .await;
    shop.ok(JSAPI, &shop.order("PM000001", &openid)).await;
    let refund = json!({"out_trade_no": "PM000001", "out_refund_no": "RF01", "amount": {"refund": 168, "total": 168, "currency": "CNY"}});
    assert_eq!(
        shop.post(REFUNDS, &refund).await.refused(),
        (404, "RESOURCE_NOT_EXISTS".to_owned())
    );
    shop.pay("PM000001", &json!({})).await;
    shop.ok(REFUNDS, &refund).await;
    let settle = "/sandbox/api/wechat-pay/refunds/RF01/settle";
    shop.control(Method::POST, settle, Some(&json!({"status": "CLOSED"})))
        .await;
    let again = shop
        .control(Method::POST, settle, Some(&json!({"status": "SUCCESS"})))
        .await;
    assert_eq!(again.0, 409);
    shop.advance(60);
    let mut second = refund.clone();
    second["out_refund_no"] = json!("RF02");
    assert_eq!(shop.post(REFUNDS, &second).await.status, 200);
}

#[tokio::test]
async fn certificates_are_sealed_rotated_and_chosen_by_serial() {
    let shop = Shop::open().await;
    let kit = Kit::builtin();
    let list = shop.call(Method::GET, "/v3/certificates", "").await;
    let data = list.body["data"].as_array().unwrap().clone();
    assert_eq!(data.len(), 1);
    assert_eq!(
        data[0]["serial_no"],
        kit.wechat_pay_platform_certificate_serial
    );
    assert_eq!(
        Shop::unseal(&data[0]["encrypt_certificate"]),
        kit.wechat_pay_platform_certificate.as_bytes()
    );
    Shop::verify(&list);

    let unknown = shop
        .send(
            Method::GET,
            "/v3/certificates",
            "",
            &[("wechatpay-serial", "00")],
        )
        .await;
    assert_eq!(unknown.refused(), (400, "PARAM_ERROR".to_owned()));
    let settings = "/sandbox/api/wechat-pay/settings";
    shop.control(
        Method::PATCH,
        settings,
        Some(&json!({"rotating_certificates": true})),
    )
    .await;
    let data = shop.call(Method::GET, "/v3/certificates", "").await.body["data"]
        .as_array()
        .unwrap()
        .clone();
    let next = data[1]["serial_no"].as_str().unwrap().to_owned();
    for serial in [
        &next,
        kit.wechat_pay_public_key_id,
        kit.wechat_pay_platform_certificate_serial,
    ] {
        let answer = shop
            .send(
                Method::GET,
                "/v3/certificates",
                "",
                &[("wechatpay-serial", serial)],
            )
            .await;
        assert_eq!(answer.serial(), serial);
        Shop::verify(&answer);
    }

    shop.control(
        Method::PATCH,
        settings,
        Some(&json!({"answer_probe_every": 2})),
    )
    .await;
    let signatures = [
        shop.call(Method::GET, "/v3/certificates", "")
            .await
            .header("wechatpay-signature"),
        shop.call(Method::GET, "/v3/certificates", "")
            .await
            .header("wechatpay-signature"),
    ];
    let probes: Vec<bool> = signatures
        .iter()
        .map(|signature| signature.starts_with("WECHATPAY/SIGNTEST/"))
        .collect();
    assert_eq!(probes, [false, true]);
}

#[tokio::test]
async fn the_bill_of_a_day_is_ready_the_next_morning_and_hashes_to_its_value() {
    let shop = Shop::open().await;
    shop.paid("PM000001").await;
    let refund = json!({"out_trade_no": "PM000001", "out_refund_no": "RF01", "amount": {"refund": 68, "total": 168, "currency": "CNY"}});
    shop.ok(REFUNDS, &refund).await;
    let bill = "/v3/bill/tradebill?bill_date=2024-01-15&bill_type=ALL&tar_type=GZIP";
    assert_eq!(
        shop.call(Method::GET, bill, "").await.refused(),
        (400, "NO_STATEMENT_EXIST".to_owned())
    );
    shop.advance(20 * 3600);
    assert_eq!(
        shop.call(Method::GET, bill, "").await.refused(),
        (400, "STATEMENT_CREATING".to_owned())
    );
    shop.advance(2 * 3600);
    let answer = shop.call(Method::GET, bill, "").await.body;
    let url = answer["download_url"].as_str().unwrap();
    let target = url.strip_prefix(&shop.base).unwrap();
    let file = shop
        .send(Method::GET, target, "", &[("accept", "*/*")])
        .await;
    assert_eq!(
        (file.status, file.headers.get("wechatpay-signature")),
        (200, None)
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(file.bytes.as_ref())
        .read_to_string(&mut text)
        .unwrap();
    let hash: String = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes())
        .as_ref()
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(answer["hash_value"], json!(hash));
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(lines[0].starts_with("\u{FEFF}交易时间,公众账号ID"));
    assert!(
        lines[1].contains(",`PM000001,")
            && lines[1].contains(",`SUCCESS,")
            && lines[1].contains(",`1.68,")
    );
    assert!(lines[2].contains(",`RF01,") && lines[2].contains(",`0.68,"));
    assert_eq!(lines[4], "`2,`1.68,`0.68,`0.00,`0.01,`1.68,`0.68");

    let none = "/v3/bill/tradebill?bill_date=2024-01-14";
    assert_eq!(
        shop.call(Method::GET, none, "").await.refused(),
        (400, "NO_STATEMENT_EXIST".to_owned())
    );
    shop.advance(301);
    let late = shop
        .send(Method::GET, target, "", &[("accept", "*/*")])
        .await;
    assert_eq!(late.status, 400);
}

#[tokio::test]
async fn a_refused_notification_comes_again_freshly_signed_after_fifteen_seconds() {
    let shop = Shop::open().await;
    shop.answer_with(&[500, 200]);
    shop.paid("PM000001").await;
    shop.deliver_due().await;
    shop.advance(14);
    shop.deliver_due().await;
    assert_eq!(shop.notices().len(), 1);
    shop.advance(1);
    shop.deliver_due().await;
    shop.advance(100_000);
    shop.deliver_due().await;
    let notices = shop.notices();
    assert_eq!(notices.len(), 2);
    let (first, second) = (Shop::opened(&notices[0]), Shop::opened(&notices[1]));
    assert_eq!(first.0["id"], second.0["id"]);
    assert_eq!(first.1, second.1);
    for name in [
        "wechatpay-timestamp",
        "wechatpay-nonce",
        "wechatpay-signature",
    ] {
        assert_ne!(notices[0].0.get(name), notices[1].0.get(name), "{name}");
    }
}

#[tokio::test]
async fn forged_notifications_differ_in_what_was_asked_and_go_out_in_parallel() {
    let shop = Shop::open().await;
    let openid = shop
        .openid("xiaoming", Kit::builtin().mini_program_appid)
        .await;
    shop.ok(JSAPI, &shop.order("PM000001", &openid)).await;
    let notify = "/sandbox/api/wechat-pay/notify";
    let cheap = json!({"out_trade_no": "PM000001", "amount_fen": 1, "repeat": 3});
    let answer = shop.control(Method::POST, notify, Some(&cheap)).await;
    let attempts = answer.1["attempts"].as_array().unwrap().clone();
    assert_eq!(attempts.len(), 3);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt["accepted"] == true && attempt["status"] == 200),
        "{attempts:?}"
    );
    for notice in shop.notices() {
        assert_eq!(Shop::opened(&notice).1["amount"]["total"], 1);
    }
    assert_eq!(
        shop.query("PM000001").await.body["trade_state"],
        "NOTPAY",
        "a forgery changes nothing here"
    );

    for (flaw, verifies) in [
        (
            json!({"out_trade_no": "PM000001", "bad_signature": true}),
            false,
        ),
        (
            json!({"out_trade_no": "PM000001", "signature_probe": true}),
            false,
        ),
        (json!({"out_trade_no": "PM000001", "serial": "0011"}), false),
        (
            json!({"out_trade_no": "PM000001", "timestamp_skew_seconds": -400}),
            true,
        ),
    ] {
        assert_eq!(shop.control(Method::POST, notify, Some(&flaw)).await.0, 200);
        let (headers, body) = shop.notices().pop().unwrap();
        assert_eq!(Shop::signature_holds(&headers, &body), verifies, "{flaw}");
    }
    let too_many = json!({"out_trade_no": "PM000001", "repeat": 51});
    assert_eq!(
        shop.control(Method::POST, notify, Some(&too_many)).await.0,
        422
    );
}

// The merchant.

type Notice = (HeaderMap, Bytes);

#[derive(Clone, Default)]
struct Merchant {
    notices: Arc<Mutex<Vec<Notice>>>,
    /// Statuses of the coming answers; 200 when there are none left.
    statuses: Arc<Mutex<Vec<u16>>>,
}

struct StillClock {
    now: Mutex<Timestamp>,
    drawn: AtomicU64,
}

impl Environment for StillClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn fill(&self, bytes: &mut [u8]) {
        let seed = self.drawn.fetch_add(1, Ordering::Relaxed);
        let stretched = digest::digest(&digest::SHA512, &seed.to_be_bytes());
        for (byte, random) in bytes.iter_mut().zip(stretched.as_ref().iter().cycle()) {
            *byte = *random;
        }
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Bytes,
    text: String,
    body: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self {
            status,
            headers,
            bytes,
            text,
            body,
        }
    }

    fn refused(&self) -> (u16, String) {
        (
            self.status,
            self.body["code"].as_str().unwrap_or_default().to_owned(),
        )
    }

    fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    fn serial(&self) -> String {
        self.header("wechatpay-serial")
    }
}

struct Shop {
    base: String,
    own: String,
    client: reqwest::Client,
    clock: Arc<StillClock>,
    merchant: Merchant,
    key: KeyPair,
    nonce: AtomicU64,
}

impl Shop {
    async fn open() -> Self {
        // Fails when another test of this process was first, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Arc::new(StillClock {
            now: Mutex::new(Timestamp::from_second(1_705_291_200).unwrap()),
            drawn: AtomicU64::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut config = Config::new(base.clone(), outgoing_client().unwrap());
        config.environment = clock.clone();
        config.automatic_delivery = false;
        config.time_compression = 1;
        tokio::spawn(async move {
            Sandbox::new(config)
                .serve(listener, std::future::pending())
                .await;
        });
        let merchant = Merchant::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .route("/notify", axum::routing::post(receive))
            .with_state(merchant.clone());
        tokio::spawn(serve(listener, router));
        let key = KeyPair::from_pkcs8(&der(Kit::builtin().merchant_private_key)).unwrap();
        Self {
            base,
            own,
            client: outgoing_client().unwrap(),
            clock,
            merchant,
            key,
            nonce: AtomicU64::default(),
        }
    }

    fn notify_url(&self) -> String {
        format!("{}/notify", self.own)
    }

    fn advance(&self, seconds: i64) {
        let mut now = self.clock.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn order(&self, out_trade_no: &str, openid: &str) -> Value {
        json!({
            "appid": Kit::builtin().mini_program_appid,
            "mchid": Kit::builtin().mchid,
            "description": "积分套餐 1000点",
            "out_trade_no": out_trade_no,
            "notify_url": self.notify_url(),
            "time_expire": "2024-01-15T20:00:00+08:00",
            "attach": "pkg=basic",
            "amount": {"total": 168, "currency": "CNY"},
            "payer": {"openid": openid},
        })
    }

    async fn paid(&self, out_trade_no: &str) {
        let openid = self
            .openid("xiaoming", Kit::builtin().mini_program_appid)
            .await;
        self.ok(JSAPI, &self.order(out_trade_no, &openid)).await;
        assert_eq!(self.pay(out_trade_no, &json!({})).await.0, 200);
    }

    async fn pay(&self, id: &str, wish: &Value) -> (u16, Value) {
        self.control(
            Method::POST,
            &format!("/sandbox/api/wechat-pay/transactions/{id}/pay"),
            Some(wish),
        )
        .await
    }

    async fn openid(&self, person: &str, appid: &str) -> String {
        let person = self
            .control(Method::GET, &format!("/sandbox/api/people/{person}"), None)
            .await
            .1;
        let kit = Kit::builtin();
        let app = if appid == kit.mini_program_appid {
            "mini_program"
        } else {
            "official_account"
        };
        let found = person["openids"][app]
            .as_str()
            .or_else(|| person[format!("{app}_openid")].as_str());
        found
            .unwrap_or_else(|| panic!("no openid in {person}"))
            .to_owned()
    }

    fn sign(&self, message: &[u8]) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .unwrap();
        BASE64_STANDARD.encode(signature)
    }

    fn authorization(&self, method: &str, target: &str, body: &str) -> String {
        let kit = Kit::builtin();
        let timestamp = self.clock.now().as_second();
        let nonce = format!("nonce{:027}", self.nonce.fetch_add(1, Ordering::Relaxed));
        let signature =
            self.sign(format!("{method}\n{target}\n{timestamp}\n{nonce}\n{body}\n").as_bytes());
        format!(
            "WECHATPAY2-SHA256-RSA2048 mchid=\"{}\",nonce_str=\"{nonce}\",signature=\"{signature}\",timestamp=\"{timestamp}\",serial_no=\"{}\"",
            kit.mchid, kit.merchant_certificate_serial,
        )
    }

    /// Signs and sends; `headers` replace the usual ones.
    async fn send(
        &self,
        method: Method,
        target: &str,
        body: &str,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let mut all = HeaderMap::new();
        all.insert("accept", "application/json".parse().unwrap());
        all.insert("user-agent", "test".parse().unwrap());
        all.insert(
            "authorization",
            self.authorization(method.as_str(), target, body)
                .parse()
                .unwrap(),
        );
        if method == Method::POST {
            all.insert("content-type", "application/json".parse().unwrap());
        }
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        let request = self
            .client
            .request(method, format!("{}{target}", self.base))
            .headers(all);
        Answer::of(request.body(body.to_owned()).send().await.unwrap()).await
    }

    /// As the public-key mode asks for, and verified.
    async fn call(&self, method: Method, target: &str, body: &str) -> Answer {
        let serial = Kit::builtin().wechat_pay_public_key_id;
        let answer = self
            .send(method, target, body, &[("wechatpay-serial", serial)])
            .await;
        if !answer
            .header("wechatpay-signature")
            .starts_with("WECHATPAY/SIGNTEST/")
        {
            assert_eq!(answer.serial(), serial);
            Self::verify(&answer);
        }
        answer
    }

    async fn post(&self, target: &str, body: &Value) -> Answer {
        self.call(Method::POST, target, &body.to_string()).await
    }

    async fn ok(&self, target: &str, body: &Value) -> Value {
        let answer = self.post(target, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    async fn query(&self, out_trade_no: &str) -> Answer {
        let target = format!(
            "/v3/pay/transactions/out-trade-no/{out_trade_no}?mchid={}",
            Kit::builtin().mchid
        );
        self.call(Method::GET, &target, "").await
    }

    async fn close(&self, out_trade_no: &str) -> Answer {
        let target = format!("/v3/pay/transactions/out-trade-no/{out_trade_no}/close");
        self.post(&target, &json!({"mchid": Kit::builtin().mchid}))
            .await
    }

    async fn refund_status(&self, out_refund_no: &str) -> String {
        let answer = self
            .call(Method::GET, &format!("{REFUNDS}/{out_refund_no}"), "")
            .await;
        answer.body["status"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", answer.text))
            .to_owned()
    }

    fn payment_info(&self, prepay_id: &str) -> Value {
        let (package, appid) = (
            format!("prepay_id={prepay_id}"),
            Kit::builtin().mini_program_appid,
        );
        let signature = self.sign(format!("{appid}\n1705291200\nabc\n{package}\n").as_bytes());
        json!({"timeStamp": "1705291200", "nonceStr": "abc", "package": package, "signType": "RSA", "paySign": signature})
    }

    async fn control(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        (
            answer.status,
            if answer.body.is_null() {
                json!(answer.text)
            } else {
                answer.body
            },
        )
    }

    async fn page(&self, path: &str) -> String {
        let response = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    async fn flush(&self) {
        assert_eq!(
            self.control(Method::POST, "/sandbox/api/outbox/flush", None)
                .await
                .0,
            200
        );
    }

    async fn deliver_due(&self) {
        assert_eq!(
            self.control(Method::POST, "/sandbox/api/outbox/deliver-due", None)
                .await
                .0,
            200
        );
    }

    fn answer_with(&self, statuses: &[u16]) {
        *self.merchant.statuses.lock().unwrap() = statuses.to_vec();
    }

    fn notices(&self) -> Vec<Notice> {
        self.merchant.notices.lock().unwrap().clone()
    }

    fn verify(answer: &Answer) {
        assert!(
            Self::signature_holds(&answer.headers, &answer.bytes),
            "{}",
            answer.text
        );
    }

    fn signature_holds(headers: &HeaderMap, body: &[u8]) -> bool {
        let text = |name: &str| headers[name].to_str().unwrap();
        let kit = Kit::builtin();
        let serial = text("wechatpay-serial");
        let key = if serial == kit.wechat_pay_public_key_id {
            der(kit.wechat_pay_public_key)
        } else if serial == kit.wechat_pay_platform_certificate_serial {
            public_half(include_str!("../keys/wechat_pay_platform_key.pem"))
        } else if serial
            == include_str!("../keys/wechat_pay_next_platform_certificate_serial.txt").trim()
        {
            public_half(include_str!("../keys/wechat_pay_next_platform_key.pem"))
        } else {
            return false;
        };
        let mut message = format!(
            "{}\n{}\n",
            text("wechatpay-timestamp"),
            text("wechatpay-nonce")
        )
        .into_bytes();
        message.extend_from_slice(body);
        message.push(b'\n');
        let Ok(signature) = BASE64_STANDARD.decode(text("wechatpay-signature")) else {
            return false;
        };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(&message, &signature)
            .is_ok()
    }

    /// Verifies and decrypts a notification.
    fn opened((headers, body): &Notice) -> (Value, Value) {
        assert!(Self::signature_holds(headers, body));
        let event: Value = serde_json::from_slice(body).unwrap();
        let plain = serde_json::from_slice(&Self::unseal(&event["resource"])).unwrap();
        (event, plain)
    }

    fn unseal(sealed: &Value) -> Vec<u8> {
        assert_eq!(sealed["algorithm"], "AEAD_AES_256_GCM");
        let key = LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, Kit::builtin().api_v3_key.as_bytes()).unwrap(),
        );
        let nonce =
            Nonce::try_assume_unique_for_key(sealed["nonce"].as_str().unwrap().as_bytes()).unwrap();
        let mut buffer = BASE64_STANDARD
            .decode(sealed["ciphertext"].as_str().unwrap())
            .unwrap();
        let aad = Aad::from(sealed["associated_data"].as_str().unwrap().as_bytes());
        key.open_in_place(nonce, aad, &mut buffer).unwrap().to_vec()
    }
}

async fn receive(
    State(merchant): State<Merchant>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::http::StatusCode {
    merchant.notices.lock().unwrap().push((headers, body));
    let mut statuses = merchant.statuses.lock().unwrap();
    let status = if statuses.is_empty() {
        200
    } else {
        statuses.remove(0)
    };
    axum::http::StatusCode::from_u16(status).unwrap()
}

/// A server for the merchant's side: one task per connection.
async fn serve(listener: tokio::net::TcpListener, router: axum::Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

fn der(pem: &str) -> Vec<u8> {
    let bare: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    BASE64_STANDARD.decode(bare).unwrap()
}

fn public_half(private_pem: &str) -> Vec<u8> {
    KeyPair::from_pkcs8(&der(private_pem))
        .unwrap()
        .public_key()
        .as_ref()
        .to_vec()
}
