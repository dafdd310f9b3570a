//! Alipay over real HTTP, called by a merchant and a buyer's browser that share no code with the sandbox.

#![expect(
    clippy::unwrap_used,
    reason = "the merchant around the tests fails a test by panicking"
)]

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use axum::{body::Bytes, extract::State};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use encoding_rs::GBK;
use jifen_sandbox::{Config, Environment, Kit, Sandbox, outgoing_client};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

const ORDER: &str = "4816273950182736";

#[tokio::test]
async fn no_trade_exists_until_the_buyer_logs_in_and_then_it_is_paid_returned_and_notified() {
    let shop = Shop::open().await;
    let cashier = shop.open_cashier(&shop.page_pay(&json!({}))).await;
    assert_eq!(shop.query().await["sub_code"], "ACQ.TRADE_NOT_EXIST");
    let page = shop.page(&cashier).await;
    assert!(
        page.contains("积分套餐") && page.contains("¥1.68") && page.contains("value=\"login\""),
        "{page}"
    );

    let login = shop
        .submit(&cashier, &[("action", "login"), ("person_id", "xiaohong")])
        .await;
    assert_eq!(login.0, 303);
    let waiting = shop.query().await;
    assert_eq!(
        (&waiting["code"], &waiting["trade_status"]),
        (&json!("10000"), &json!("WAIT_BUYER_PAY"))
    );
    assert_eq!(
        (&waiting["total_amount"], &waiting["buyer_pay_amount"]),
        (&json!("1.68"), &json!("0.00"))
    );
    let failed = shop.submit(&cashier, &[("action", "fail")]).await;
    assert_eq!(failed.0, 200);
    assert_eq!(shop.query().await["trade_status"], "WAIT_BUYER_PAY");

    let paid = shop.submit(&cashier, &[("action", "pay")]).await;
    let (address, query) = paid.1.as_deref().unwrap().split_once('?').unwrap();
    assert_eq!(address, "https://www.example.com/pay/return");
    let back = Shop::verified(query.strip_prefix("from=alipay&").unwrap().as_bytes());
    assert_eq!(
        (back["out_trade_no"].as_str(), back["total_amount"].as_str()),
        (ORDER, "1.68")
    );
    assert!(!back.contains_key("trade_status"));

    let found = shop.query().await;
    assert_eq!(
        (&found["trade_status"], &found["send_pay_date"]),
        (&json!("TRADE_SUCCESS"), &json!("2024-01-15 12:00:00"))
    );
    shop.flush().await;
    let notices = shop.notices();
    assert_eq!(notices.len(), 1);
    let notice = Shop::verified(&notices[0]);
    for (name, value) in [
        ("notify_type", "trade_status_sync"),
        ("trade_status", "TRADE_SUCCESS"),
        ("app_id", Kit::builtin().alipay_app_id),
        ("auth_app_id", Kit::builtin().alipay_app_id),
        ("seller_id", Kit::builtin().alipay_seller_id),
        ("out_trade_no", ORDER),
        ("total_amount", "1.68"),
        ("receipt_amount", "1.68"),
        ("point_amount", "0.00"),
        ("subject", "积分套餐 1000点 + 赠送"),
        ("passback_params", "pkg%3Dbasic"),
        ("gmt_payment", "2024-01-15 12:00:00"),
        ("notify_time", "2024-01-15 12:00:00"),
        (
            "fund_bill_list",
            "[{\"amount\":\"1.68\",\"fundChannel\":\"ALIPAYACCOUNT\"}]",
        ),
        ("charset", "utf-8"),
        ("version", "1.0"),
    ] {
        assert_eq!(notice.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(json!(notice["trade_no"]), found["trade_no"]);
    assert_eq!(json!(notice["buyer_id"]), found["buyer_user_id"]);

    let again = shop.submit(&cashier, &[("action", "pay")]).await;
    assert_eq!(again.0, 409);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one script, read from top to bottom")]
async fn the_gateway_refuses_without_a_signature_and_shows_the_string_it_built() {
    let shop = Shop::open().await;
    let base = shop.public("alipay.trade.query", &json!({"out_trade_no": ORDER}));
    let refused = async |change: &dyn Fn(&mut Parameters), resign: bool| {
        let mut parameters = base.clone();
        change(&mut parameters);
        if resign {
            shop.sign(&mut parameters);
        }
        let answer = shop.post(&parameters).await;
        let error = serde_json::from_str::<Value>(&answer).unwrap()["error_response"].clone();
        assert!(!answer.contains("\"sign\""), "{answer}");
        (
            error["code"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}"))
                .to_owned(),
            error["sub_code"].as_str().unwrap().to_owned(),
            error["sub_msg"].to_string(),
        )
    };
    let set = |name: &'static str, value: &'static str| {
        move |parameters: &mut Parameters| {
            parameters.insert(name.into(), value.into());
        }
    };
    let remove = |name: &'static str| {
        move |parameters: &mut Parameters| {
            parameters.remove(name);
        }
    };
    let (code, sub_code, shown) = refused(&set("biz_content", "{}"), false).await;
    assert_eq!(
        (code.as_str(), sub_code.as_str()),
        ("40002", "isv.invalid-signature")
    );
    assert!(shown.contains("app_id=9021000100736100&biz_content={}&charset=utf-8&method=alipay.trade.query&sign_type=RSA2"), "{shown}");
    for (name, value, expected) in [
        ("app_id", "2021000000000000", "isv.invalid-app-id"),
        ("method", "alipay.trade.create.new", "isv.invalid-method"),
        ("version", "2.0", "isv.invalid-version"),
        ("format", "XML", "isv.invalid-format"),
        ("sign_type", "RSA", "isv.invalid-signature-type"),
        ("timestamp", "2024-01-15T12:00:00", "isv.invalid-timestamp"),
        ("timestamp", "2024-01-14 11:59:59", "isv.invalid-timestamp"),
        ("timestamp", "2024-01-16 12:00:01", "isv.invalid-timestamp"),
        ("charset", "latin1", "isv.invalid-charset"),
        (
            "notify_url",
            "http://127.0.0.1/n?a=1",
            "isv.invalid-parameter",
        ),
        ("app_cert_sn", "0123", "isv.invalid-app-cert-sn"),
    ] {
        let (code, sub_code, _) = refused(&set(name, value), true).await;
        assert_eq!(
            (code.as_str(), sub_code.as_str()),
            ("40002", expected),
            "{name}={value}"
        );
    }
    for (name, expected) in [
        ("app_id", "isv.missing-app-id"),
        ("method", "isv.missing-method"),
        ("version", "isv.missing-version"),
        ("timestamp", "isv.missing-timestamp"),
        ("sign_type", "isv.missing-signature-type"),
    ] {
        let (code, sub_code, _) = refused(&remove(name), true).await;
        assert_eq!(
            (code.as_str(), sub_code.as_str()),
            ("40001", expected),
            "{name}"
        );
    }
    assert_eq!(
        refused(&remove("sign"), false).await.1,
        "isv.missing-signature"
    );
    let log = shop
        .control(
            Method::GET,
            "/sandbox/api/exchanges?provider=alipay&count=200",
            None,
        )
        .await
        .1
        .to_string();
    assert!(log.contains("string_to_sign"), "{log}");
}

#[tokio::test]
async fn parameters_may_stand_in_the_query_in_the_body_or_in_both() {
    let shop = Shop::open().await;
    shop.paid().await;
    let mut parameters = shop.public("alipay.trade.query", &json!({"out_trade_no": ORDER}));
    shop.sign(&mut parameters);
    let encoded = encode(&parameters);
    let get = shop
        .client
        .get(format!("{}/gateway.do?{encoded}", shop.base))
        .send()
        .await
        .unwrap();
    assert_eq!(
        Shop::node(&get.text().await.unwrap())["trade_status"],
        "TRADE_SUCCESS"
    );

    // Without charset in the query the gateway speaks GBK, also in its answer.
    let request = shop.client.post(format!("{}/gateway.do", shop.base));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let unknown = shop.public("alipay.trade.query", &json!({"out_trade_no": "none"}));
    let mut unknown = unknown;
    shop.sign(&mut unknown);
    let answer = request.body(encode(&unknown)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/html;charset=GBK");
    let bytes = answer.bytes().await.unwrap();
    assert!(std::str::from_utf8(&bytes).is_err());
    let text = GBK.decode(&bytes).0.into_owned();
    assert!(text.contains("交易不存在"), "{text}");
    let node = node_text(&text, "alipay_trade_query_response");
    let sign = serde_json::from_str::<Value>(&text).unwrap()["sign"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(signed_by_alipay(&GBK.encode(node).0, &sign));
}

#[tokio::test]
async fn certificate_mode_is_checked_and_answered_with_alipays_number() {
    let shop = Shop::open().await;
    shop.paid().await;
    // Computed outside of the sandbox from what `openssl x509 -issuer -nameopt RFC2253 -serial` says of the kit's files.
    let mut parameters = shop.public("alipay.trade.query", &json!({"out_trade_no": ORDER}));
    parameters.insert(
        "app_cert_sn".into(),
        "2e58fddaac03ed66af9f08d3a22b6ea0".into(),
    );
    shop.sign(&mut parameters);
    let half: Value = serde_json::from_str(&shop.post(&parameters).await).unwrap();
    assert_eq!(
        half["error_response"]["sub_code"],
        "isv.missing-alipay-root-cert-sn"
    );
    parameters.insert(
        "alipay_root_cert_sn".into(),
        "187271b538e933da62a331f7afb12c83".into(),
    );
    shop.sign(&mut parameters);
    let answer = shop.post(&parameters).await;
    assert_eq!(Shop::node(&answer)["trade_status"], "TRADE_SUCCESS");
    let whole: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(whole["alipay_cert_sn"], "dac804b35da5ba69e54f5e5df9ca32c3");
}

#[tokio::test]
async fn a_wrong_page_pay_form_shows_the_browser_an_error_and_opens_no_cashier() {
    let shop = Shop::open().await;
    for (name, value) in [
        ("out_trade_no", json!("has-dash")),
        ("out_trade_no", json!("")),
        ("total_amount", json!("0")),
        ("total_amount", json!("1.681")),
        ("total_amount", json!("100000000.01")),
        ("subject", json!("a=b")),
        ("subject", json!("a".repeat(257))),
        ("product_code", json!("QUICK_WAP_WAY")),
        ("timeout_express", json!("1.5h")),
        ("time_expire", json!("2024-01-15 11:00:00")),
    ] {
        let (status, location, page) = shop.browse(&shop.page_pay(&json!({name: value}))).await;
        assert_eq!((status, location), (200, None), "{name} {value}");
        assert!(
            page.contains("ACQ.INVALID_PARAMETER") && page.contains(name),
            "{name} {value}: {page}"
        );
    }
    let mut tampered = shop.page_pay(&json!({}));
    tampered.insert("biz_content".into(), "{}".into());
    let (_, location, page) = shop.browse(&tampered).await;
    assert!(
        location.is_none() && page.contains("isv.invalid-signature"),
        "{page}"
    );

    let mut old = shop.page_pay(&json!({}));
    shop.advance(24 * 3600 - 1);
    assert_eq!(shop.browse(&old).await.0, 302);
    shop.advance(2);
    assert_eq!(shop.browse(&old).await.0, 200);
    old.insert("timestamp".into(), shop.now_text());
    shop.sign(&mut old);
    assert_eq!(shop.browse(&old).await.0, 302);
}

#[tokio::test]
async fn one_number_is_one_trade_whatever_the_form_says_later() {
    let shop = Shop::open().await;
    shop.paid().await;
    let page = async |change: Value| shop.browse(&shop.page_pay(&change)).await.2;
    assert!(
        page(json!({"total_amount": "1.69"}))
            .await
            .contains("ACQ.CONTEXT_INCONSISTENT")
    );
    assert!(page(json!({})).await.contains("ACQ.TRADE_HAS_SUCCESS"));
    let other = json!({"out_trade_no": "CLOSED_1"});
    shop.open_cashier(&shop.page_pay(&other)).await;
    assert_eq!(
        shop.close("CLOSED_1").await["sub_code"],
        "ACQ.TRADE_NOT_EXIST"
    );
    shop.control(
        Method::POST,
        "/sandbox/api/alipay/transactions/CLOSED_1/login",
        None,
    )
    .await;
    assert_eq!(shop.close("CLOSED_1").await["code"], "10000");
    assert_eq!(
        shop.close("CLOSED_1").await["sub_code"],
        "ACQ.TRADE_HAS_CLOSE"
    );
    assert_eq!(
        shop.close(ORDER).await["sub_code"],
        "ACQ.TRADE_STATUS_ERROR"
    );
    assert!(page(other).await.contains("ACQ.TRADE_HAS_CLOSE"));
}

#[tokio::test]
async fn an_unpaid_trade_closes_when_its_time_is_over_and_the_merchant_is_told() {
    let shop = Shop::open().await;
    let cashier = shop
        .open_cashier(&shop.page_pay(&json!({"timeout_express": "30m"})))
        .await;
    // The time runs from the log-in.
    shop.advance(3600);
    assert_eq!(shop.submit(&cashier, &[("action", "login")]).await.0, 303);
    shop.advance(30 * 60 - 1);
    shop.deliver_due().await;
    assert_eq!(shop.query().await["trade_status"], "WAIT_BUYER_PAY");
    shop.advance(1);
    shop.deliver_due().await;
    let notice = Shop::verified(&shop.notices()[0]);
    assert_eq!(
        (
            notice["trade_status"].as_str(),
            notice["gmt_close"].as_str()
        ),
        ("TRADE_CLOSED", "2024-01-15 13:30:00")
    );
    assert!(!notice.contains_key("gmt_payment"));
    assert_eq!(shop.query().await["trade_status"], "TRADE_CLOSED");
    assert_eq!(shop.submit(&cashier, &[("action", "pay")]).await.0, 409);

    let absolute = json!({"out_trade_no": "LATE_1", "time_expire": "2024-01-15 14:00:00"});
    let cashier = shop.open_cashier(&shop.page_pay(&absolute)).await;
    shop.advance(1800);
    assert_eq!(shop.submit(&cashier, &[("action", "login")]).await.0, 409);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one script, read from top to bottom")]
async fn refunds_are_idempotent_cumulative_and_bounded() {
    let shop = Shop::open().await;
    shop.paid().await;
    shop.flush().await;
    let refund = async |number: &str, amount: &str| {
        let biz = json!({"out_trade_no": ORDER, "refund_amount": amount, "out_request_no": number, "refund_reason": "退款"});
        shop.call("alipay.trade.refund", &biz).await
    };
    let first = refund("RF1", "0.68").await;
    assert_eq!(
        (&first["fund_change"], &first["refund_fee"]),
        (&json!("Y"), &json!("0.68"))
    );
    let repeated = refund("RF1", "0.68").await;
    assert_eq!(
        (&repeated["fund_change"], &repeated["refund_fee"]),
        (&json!("N"), &json!("0.68"))
    );
    assert_eq!(
        refund("RF1", "0.69").await["sub_code"],
        "ACQ.DISCORDANT_REPEAT_REQUEST"
    );
    assert_eq!(
        refund("RF2", "0.10").await["sub_code"],
        "ACQ.SYSTEM_ERROR",
        "two within three seconds"
    );
    shop.advance(3);
    assert_eq!(
        refund("RF3", "1.01").await["sub_code"],
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"
    );
    assert_eq!(
        refund("RF3", "1.69").await["sub_code"],
        "ACQ.REASON_TRADE_REFUND_FEE_ERR"
    );
    let settings = "/sandbox/api/alipay/settings";
    shop.control(Method::PATCH, settings, Some(&json!({"balance_fen": 99})))
        .await;
    assert_eq!(
        refund("RF4", "1.00").await["sub_code"],
        "ACQ.SELLER_BALANCE_NOT_ENOUGH"
    );
    shop.control(Method::PATCH, settings, Some(&json!({"balance_fen": 100})))
        .await;
    assert_eq!(refund("RF4", "1.00").await["refund_fee"], "1.68");
    assert_eq!(shop.query().await["trade_status"], "TRADE_CLOSED");
    assert_eq!(refund("RF4", "1.00").await["fund_change"], "N");
    assert_eq!(
        refund("RF5", "1.00").await["sub_code"],
        "ACQ.TRADE_STATUS_ERROR"
    );

    let ask = async |number: &str| {
        let biz = json!({"out_trade_no": ORDER, "out_request_no": number, "query_options": ["gmt_refund_pay"]});
        shop.call("alipay.trade.fastpay.refund.query", &biz).await
    };
    let done = ask("RF1").await;
    assert_eq!(
        (&done["refund_status"], &done["refund_amount"]),
        (&json!("REFUND_SUCCESS"), &json!("0.68"))
    );
    assert_eq!(done["gmt_refund_pay"], "2024-01-15 12:00:00");
    assert_eq!(ask("RF9").await.get("refund_status"), None);

    shop.flush().await;
    let notices: Vec<_> = shop
        .notices()
        .iter()
        .skip(1)
        .map(|notice| Shop::verified(notice))
        .collect();
    let told: Vec<_> = notices
        .iter()
        .map(|notice| {
            (
                notice["trade_status"].as_str(),
                notice["refund_fee"].as_str(),
                notice["out_biz_no"].as_str(),
                notice["gmt_refund"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("TRADE_SUCCESS", "0.68", "RF1", "2024-01-15 12:00:00.000"),
            ("TRADE_CLOSED", "1.68", "RF4", "2024-01-15 12:00:03.000"),
        ]
    );
}

#[tokio::test]
async fn a_finished_trade_is_told_and_cannot_be_refunded() {
    let shop = Shop::open().await;
    shop.paid().await;
    let state = format!("/sandbox/api/alipay/transactions/{ORDER}/state");
    assert_eq!(
        shop.control(
            Method::POST,
            &state,
            Some(&json!({"state": "TRADE_FINISHED"}))
        )
        .await
        .0,
        200
    );
    let biz = json!({"out_trade_no": ORDER, "refund_amount": "1.68"});
    assert_eq!(
        shop.call("alipay.trade.refund", &biz).await["sub_code"],
        "ACQ.TRADE_HAS_FINISHED"
    );
    assert_eq!(
        shop.close(ORDER).await["sub_code"],
        "ACQ.TRADE_HAS_FINISHED"
    );
    shop.flush().await;
    let statuses: Vec<_> = shop
        .notices()
        .iter()
        .map(|notice| Shop::verified(notice)["trade_status"].clone())
        .collect();
    assert_eq!(statuses, ["TRADE_SUCCESS", "TRADE_FINISHED"]);
}

#[tokio::test]
async fn only_the_word_success_ends_the_retries_and_each_has_the_same_id() {
    let shop = Shop::open().await;
    *shop.merchant.bodies.lock().unwrap() = vec!["false", "success\n", "success"];
    shop.paid().await;
    for (seconds, sent) in [
        (0, 1),
        (239, 1),
        (1, 2),
        (599, 2),
        (1, 3),
        (600, 3),
        (100_000, 3),
    ] {
        shop.advance(seconds);
        shop.deliver_due().await;
        assert_eq!(shop.notices().len(), sent);
    }
    let notices: Vec<_> = shop
        .notices()
        .iter()
        .map(|notice| Shop::verified(notice))
        .collect();
    assert_eq!(notices[0]["notify_id"], notices[2]["notify_id"]);
    assert_eq!(notices[2]["notify_time"], "2024-01-15 12:14:00");
}

#[tokio::test]
async fn the_bill_is_a_zip_of_gbk_behind_a_link_of_thirty_seconds() {
    let shop = Shop::open().await;
    shop.paid().await;
    let ask = async || {
        let biz = json!({"bill_type": "trade", "bill_date": "2024-01-15"});
        shop.call("alipay.data.dataservice.bill.downloadurl.query", &biz)
            .await
    };
    assert_eq!(ask().await["sub_code"], "isp.bill_not_exist");
    shop.advance(22 * 3600);
    let url = ask().await["bill_download_url"]
        .as_str()
        .unwrap()
        .to_owned();
    shop.advance(30);
    let file = shop.client.get(&url).send().await.unwrap();
    assert_eq!(file.status(), 200);
    let mut archive = zip::ZipArchive::new(Cursor::new(file.bytes().await.unwrap())).unwrap();
    assert_eq!(archive.len(), 2);
    let mut bytes = Vec::new();
    archive
        .by_index(0)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let (text, _, broken) = GBK.decode(&bytes);
    assert!(!broken && std::str::from_utf8(&bytes).is_err());
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "#支付宝业务明细查询");
    assert!(lines[4].starts_with("支付宝交易号,商户订单号,"), "{text}");
    let cells: Vec<&str> = lines[5].split(',').map(str::trim).collect();
    assert_eq!(
        (cells[1], cells[2], cells[11], cells.len()),
        (ORDER, "交易", "1.68", 25)
    );
    assert!(text.contains("#交易合计：1笔，商家实收共1.68元"));
    shop.advance(1);
    assert_eq!(shop.client.get(&url).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn forged_notifications_differ_in_what_was_asked() {
    let shop = Shop::open().await;
    shop.open_cashier(&shop.page_pay(&json!({}))).await;
    let notify = "/sandbox/api/alipay/notify";
    let cheap = json!({"out_trade_no": ORDER, "fields": {"total_amount": "0.01", "seller_id": "2088000000000001"}, "repeat": 3});
    let answer = shop.control(Method::POST, notify, Some(&cheap)).await;
    let attempts = answer.1["attempts"].as_array().unwrap().clone();
    assert!(
        attempts.len() == 3 && attempts.iter().all(|attempt| attempt["body"] == "success"),
        "{attempts:?}"
    );
    let notice = Shop::verified(&shop.notices()[2]);
    assert_eq!(
        (
            notice["total_amount"].as_str(),
            notice["trade_status"].as_str()
        ),
        ("0.01", "TRADE_SUCCESS")
    );
    assert_eq!(
        shop.query().await["sub_code"],
        "ACQ.TRADE_NOT_EXIST",
        "a forgery changes nothing here"
    );
    for flaw in [
        json!({"out_trade_no": ORDER, "bad_signature": true}),
        json!({"out_trade_no": ORDER, "tampered": {"total_amount": "0.01"}}),
    ] {
        assert_eq!(shop.control(Method::POST, notify, Some(&flaw)).await.0, 200);
        let notice = shop.notices().pop().unwrap();
        assert!(!Shop::signature_holds(&notice), "{flaw}");
    }
    let unknown = json!({"out_trade_no": ORDER, "fields": {"colour": "red"}});
    assert_eq!(
        shop.control(Method::POST, notify, Some(&unknown)).await.0,
        422
    );
}

// The merchant.

type Parameters = BTreeMap<String, String>;

#[derive(Clone, Default)]
struct Merchant {
    notices: Arc<Mutex<Vec<Bytes>>>,
    /// Bodies of the coming answers; `success` when there are none left.
    bodies: Arc<Mutex<Vec<&'static str>>>,
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

struct Shop {
    base: String,
    own: String,
    client: reqwest::Client,
    clock: Arc<StillClock>,
    merchant: Merchant,
    key: KeyPair,
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
        let key = KeyPair::from_pkcs8(&der(Kit::builtin().alipay_app_private_key)).unwrap();
        Self {
            base,
            own,
            client: outgoing_client().unwrap(),
            clock,
            merchant,
            key,
        }
    }

    fn advance(&self, seconds: i64) {
        let mut now = self.clock.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn now_text(&self) -> String {
        let local = jiff::tz::offset(8).to_datetime(self.clock.now());
        local.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// The public parameters and the business of a call, without signature.
    fn public(&self, method: &str, biz: &Value) -> Parameters {
        let parameters = [
            ("app_id", Kit::builtin().alipay_app_id.to_owned()),
            ("method", method.to_owned()),
            ("charset", "utf-8".to_owned()),
            ("sign_type", "RSA2".to_owned()),
            ("timestamp", self.now_text()),
            ("version", "1.0".to_owned()),
            ("biz_content", biz.to_string()),
        ];
        let mut parameters: Parameters = parameters
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        self.sign(&mut parameters);
        parameters
    }

    fn sign(&self, parameters: &mut Parameters) {
        parameters.remove("sign");
        let pairs: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        let content = pairs.join("&");
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                content.as_bytes(),
                &mut signature,
            )
            .unwrap();
        parameters.insert("sign".into(), BASE64_STANDARD.encode(signature));
    }

    /// A signed page-pay form with some members of its `biz_content` replaced.
    fn page_pay(&self, change: &Value) -> Parameters {
        let mut biz = json!({
            "out_trade_no": ORDER,
            "total_amount": "1.68",
            "subject": "积分套餐 1000点 + 赠送",
            "product_code": "FAST_INSTANT_TRADE_PAY",
            "passback_params": "pkg%3Dbasic",
        });
        biz.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let mut parameters = self.public("alipay.trade.page.pay", &biz);
        parameters.insert("notify_url".into(), format!("{}/notify", self.own));
        parameters.insert(
            "return_url".into(),
            "https://www.example.com/pay/return?from=alipay".into(),
        );
        self.sign(&mut parameters);
        parameters
    }

    /// As the SDKs send: everything but `biz_content` in the query.
    async fn raw(&self, parameters: &Parameters) -> reqwest::Response {
        let mut query = parameters.clone();
        let biz = query
            .remove("biz_content")
            .map(|biz| Parameters::from([("biz_content".to_owned(), biz)]));
        let request = self
            .client
            .post(format!("{}/gateway.do?{}", self.base, encode(&query)));
        let request = request.header(
            "content-type",
            "application/x-www-form-urlencoded;charset=utf-8",
        );
        request
            .body(encode(&biz.unwrap_or_default()))
            .send()
            .await
            .unwrap()
    }

    async fn post(&self, parameters: &Parameters) -> String {
        self.raw(parameters).await.text().await.unwrap()
    }

    async fn browse(&self, form: &Parameters) -> (u16, Option<String>, String) {
        let response = self.raw(form).await;
        let location = response
            .headers()
            .get("location")
            .map(|location| location.to_str().unwrap().to_owned());
        (
            response.status().as_u16(),
            location,
            response.text().await.unwrap(),
        )
    }

    /// The cashier's path to which a good form leads.
    async fn open_cashier(&self, form: &Parameters) -> String {
        let (status, location, page) = self.browse(form).await;
        assert_eq!(status, 302, "{page}");
        location
            .unwrap()
            .strip_prefix(&self.base)
            .unwrap()
            .to_owned()
    }

    async fn paid(&self) {
        let cashier = self.open_cashier(&self.page_pay(&json!({}))).await;
        let id = cashier.rsplit('/').next().unwrap();
        let pay = format!("/sandbox/api/alipay/transactions/{id}/pay");
        let paid = self
            .control(Method::POST, &pay, Some(&json!({"person_id": "xiaoming"})))
            .await;
        assert_eq!(
            (paid.0, paid.1["state"].as_str()),
            (200, Some("TRADE_SUCCESS")),
            "{}",
            paid.1
        );
    }

    async fn call(&self, method: &str, biz: &Value) -> Value {
        let answer = self.post(&self.public(method, biz)).await;
        let root = format!("{}_response", method.replace('.', "_"));
        assert!(answer.starts_with(&format!("{{\"{root}\":")), "{answer}");
        Self::node(&answer)
    }

    async fn query(&self) -> Value {
        self.call("alipay.trade.query", &json!({"out_trade_no": ORDER}))
            .await
    }

    async fn close(&self, out_trade_no: &str) -> Value {
        self.call("alipay.trade.close", &json!({"out_trade_no": out_trade_no}))
            .await
    }

    /// The node of an answer, its signature verified over the exact text.
    fn node(answer: &str) -> Value {
        let whole: Value = serde_json::from_str(answer).unwrap();
        let root = whole
            .as_object()
            .unwrap()
            .keys()
            .find(|key| key.ends_with("_response"))
            .unwrap();
        let text = node_text(answer, root);
        assert!(
            !text.replace("\\/", "").contains('/'),
            "slashes are escaped: {text}"
        );
        assert!(
            signed_by_alipay(text.as_bytes(), whole["sign"].as_str().unwrap()),
            "{answer}"
        );
        serde_json::from_str(text).unwrap()
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

    async fn submit(&self, path: &str, form: &[(&str, &str)]) -> (u16, Option<String>) {
        let body: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self.client.post(format!("{}{path}", self.base));
        let response = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap();
        let location = response
            .headers()
            .get("location")
            .map(|location| location.to_str().unwrap().to_owned());
        (response.status().as_u16(), location)
    }

    async fn control(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(json!(text)))
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

    fn notices(&self) -> Vec<Bytes> {
        self.merchant.notices.lock().unwrap().clone()
    }

    /// The fields of a signed form, verified as the documentation says.
    fn verified(form: &[u8]) -> Parameters {
        assert!(
            Self::signature_holds(form),
            "{}",
            String::from_utf8_lossy(form)
        );
        form_urlencoded::parse(form).into_owned().collect()
    }

    fn signature_holds(form: &[u8]) -> bool {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
        let mut fields: Parameters = pairs.iter().cloned().collect();
        assert_eq!(fields.len(), pairs.len(), "no field twice");
        let sign = fields.remove("sign").unwrap();
        assert_eq!(fields.remove("sign_type").as_deref(), Some("RSA2"));
        let content: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        signed_by_alipay(content.join("&").as_bytes(), &sign)
    }
}

async fn receive(State(merchant): State<Merchant>, body: Bytes) -> &'static str {
    merchant.notices.lock().unwrap().push(body);
    let mut bodies = merchant.bodies.lock().unwrap();
    if bodies.is_empty() {
        "success"
    } else {
        bodies.remove(0)
    }
}

/// A server for the merchant's side: one task per connection.
async fn serve(listener: tokio::net::TcpListener, router: axum::Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

fn encode(parameters: &Parameters) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
}

/// The text from the node's `{` to the end of it, which in these answers is where `,"alipay_cert_sn"` or `,"sign"` begins.
fn node_text<'a>(answer: &'a str, root: &str) -> &'a str {
    let start = answer.find(&format!("\"{root}\":")).unwrap() + root.len() + 3;
    let end = answer
        .rfind("},\"alipay_cert_sn\"")
        .or_else(|| answer.rfind("},\"sign\""))
        .unwrap()
        + 1;
    &answer[start..end]
}

fn signed_by_alipay(message: &[u8], sign: &str) -> bool {
    let key = der(Kit::builtin().alipay_public_key);
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
    key.verify(message, &BASE64_STANDARD.decode(sign).unwrap())
        .is_ok()
}

fn der(pem: &str) -> Vec<u8> {
    let bare: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    BASE64_STANDARD.decode(bare).unwrap()
}
