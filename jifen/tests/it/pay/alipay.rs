//! `/api/v1/alipay`.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jifen::config::{RequireLogin, SandboxMode};
use jifen_app::Maintenance;
use jifen_domain::order::OrderState;
use jifen_domain::{Time, UserId};
use jifen_sandbox::Kit;
use jifen_store::Engine;
use serde_json::{Value, json};

use crate::world::{Answer, Form, World, on_both_engines};

const ORDER: &str = "/api/v1/alipay/create_pay_order";
const NOTIFY: &str = "/api/v1/alipay/alipay_notify_url";

on_both_engines!(
    an_order_is_answered_with_alipays_form,
    an_order_that_waits_has_the_same_form_each_time,
    a_user_id_and_every_openid_name_the_same_buyer,
    an_id_that_was_merged_orders_for_the_older_record,
    unknown_users_and_products_are_named,
    an_authentic_notification_is_booked_once_whatever_its_charset,
    a_notification_that_is_not_quite_right_changes_nothing,
);

/// The pay document's failure: HTTP 200, no data.
fn assert_refused(answer: &Answer, code: &str, info_part: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.body["code"], code, "{}", answer.text);
    assert!(
        answer.body["info"].as_str().unwrap().contains(info_part),
        "{info_part:?} is not in {}",
        answer.text
    );
    assert_eq!(
        answer.body.get("data"),
        Some(&Value::Null),
        "{}",
        answer.text
    );
    assert_eq!(answer.body.as_object().unwrap().len(), 3, "{}", answer.text);
}

async fn order(world: &World, body: Value) -> Answer {
    world.post(ORDER, &body).send().await
}

async fn an_order_is_answered_with_alipays_form(world: World) {
    let answer = order(&world, json!({ "userId": "10001", "productId": "100001" })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.body,
        json!({ "code": "0000", "info": "调用成功", "data": answer.body["data"] })
    );

    let form = Form::read(answer.body["data"].as_str().unwrap());
    assert!(
        form.html
            .starts_with("<form name=\"punchout_form\" method=\"post\" action=\""),
        "{}",
        form.html
    );
    assert!(
        form.html
            .contains("<input type=\"hidden\" name=\"biz_content\""),
        "{}",
        form.html
    );
    let action = url::Url::parse(&form.action).unwrap();
    assert_eq!(
        format!("{}{}", action.origin().ascii_serialization(), action.path()),
        format!("{}/gateway.do", world.sandbox)
    );
    let parameter = |name: &str| {
        action
            .query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    for (name, value) in [
        ("app_id", Kit::builtin().alipay_app_id),
        ("method", "alipay.trade.page.pay"),
        ("charset", "utf-8"),
        ("sign_type", "RSA2"),
        ("version", "1.0"),
        ("timestamp", "2026-01-15 12:00:00"),
        ("notify_url", &format!("{}{NOTIFY}", world.mall)),
    ] {
        assert_eq!(parameter(name).as_deref(), Some(value), "{name}");
    }
    assert!(parameter("sign").is_some_and(|sign| STANDARD.decode(sign).unwrap().len() == 256));
    assert_eq!(parameter("biz_content"), None, "it is a hidden field");

    let biz_content = form.biz_content();
    assert_eq!(biz_content["total_amount"], "1.68");
    assert_eq!(biz_content["subject"], "体验包 100 点");
    assert_eq!(biz_content["product_code"], "FAST_INSTANT_TRADE_PAY");
    assert_eq!(
        biz_content["time_expire"], "2026-01-15 12:30:00",
        "half an hour, Beijing time"
    );
    let id = form.order_id();
    assert!(
        (6..=32).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
        "{id}"
    );
    assert_eq!(world.submit(&form).await.status, 302, "Alipay takes it");
    assert_eq!(
        world.app.find_order(&id).await.unwrap().state,
        OrderState::Waiting
    );
}

async fn an_order_that_waits_has_the_same_form_each_time(world: World) {
    let first = world.alipay_form("10001", "100001").await;
    world.clock.advance_seconds(28 * 60);
    assert_eq!(world.alipay_form("10001", "100001").await.html, first.html);
    let other_product = world.alipay_form("10001", "100010090091").await.order_id();
    let other_user = world.alipay_form("10002", "100001").await.order_id();
    assert!(
        first.order_id() != other_product
            && first.order_id() != other_user
            && other_product != other_user
    );

    // Nobody pays in the last minute.
    world.clock.advance_seconds(61);
    let next = world.alipay_form("10001", "100001").await;
    assert_ne!(next.order_id(), first.order_id());
    assert_eq!(
        world.app.find_order(&first.order_id()).await.unwrap().state,
        OrderState::Closed
    );
}

async fn a_user_id_and_every_openid_name_the_same_buyer(world: World) {
    world.log_in("xiaoming").await;
    let (openid, _) = world.web_login("xiaoming").await;
    let person = world.sandbox_get("/people/xiaoming").await;
    assert_eq!(person["official_account_openid"], openid.as_str());
    let user = world.user_of(&openid).await.to_string();
    let form = world.alipay_form(&openid, "100001").await.html;
    assert_eq!(world.alipay_form(&user, "100001").await.html, form);
    assert_eq!(
        world
            .alipay_form(person["mini_program_openid"].as_str().unwrap(), "100001")
            .await
            .html,
        form
    );
}

async fn an_id_that_was_merged_orders_for_the_older_record(world: World) {
    world
        .sandbox_patch("/people/xiaohong", &json!({ "unionid_shared": false }))
        .await;
    let token = world.log_in("xiaohong").await;
    world.clock.advance_seconds(1);
    let (openid, _) = world.web_login("xiaohong").await;
    let younger = world.user_of(&openid).await;
    world
        .sandbox_patch("/people/xiaohong", &json!({ "unionid_shared": true }))
        .await;
    world.log_in("xiaohong").await;
    world.web_login("xiaohong").await;
    let older = world.user_of(&openid).await;
    assert_ne!(older, younger);

    let form = world.alipay_form(&younger.to_string(), "100001").await;
    assert_eq!(
        world.app.find_order(&form.order_id()).await.unwrap().user,
        older
    );
    world.pay_with_alipay(&form).await;
    world.deliver_notifications().await;
    assert_eq!(world.points(&token).await, 100);
}

async fn unknown_users_and_products_are_named(world: World) {
    for user in [
        "10003",
        "9223372036854775807",
        "-1",
        "0",
        "010001",
        "oNobodyHasThisOpenid",
        "10001 ",
        "' OR 1=1 --",
        "小明",
    ] {
        assert_refused(
            &order(&world, json!({ "userId": user, "productId": "100001" })).await,
            "0002",
            "userId",
        );
    }
    for product in ["100002", "100001 ", "%", "套餐"] {
        assert_refused(
            &order(&world, json!({ "userId": "10001", "productId": product })).await,
            "0002",
            "productId",
        );
    }
    world
        .app
        .change_package("100001", |package| package.on_sale = false)
        .await
        .unwrap();
    assert_refused(
        &order(&world, json!({ "userId": "10001", "productId": "100001" })).await,
        "0002",
        "productId",
    );
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn fields_that_do_not_fit_are_named() {
    let world = World::start(Engine::Sqlite).await;
    let long = "1".repeat(129);
    for (field, user, product) in [
        ("userId", Value::Null, json!("100001")),
        ("userId", json!(""), json!("100001")),
        ("userId", json!(" \t"), json!("100001")),
        ("userId", json!(10001), json!("100001")),
        ("userId", json!(["10001"]), json!("100001")),
        ("userId", json!(long), json!("100001")),
        ("userId", json!("1000\u{0}1"), json!("100001")),
        ("productId", json!("10001"), Value::Null),
        ("productId", json!("10001"), json!("")),
        ("productId", json!("10001"), json!(100_001)),
        ("productId", json!("10001"), json!(true)),
        ("productId", json!("10001"), json!(long)),
    ] {
        let answer = order(&world, json!({ "userId": user, "productId": product })).await;
        assert_refused(&answer, "0002", field);
    }
    assert_refused(
        &order(&world, json!({ "productId": "100001" })).await,
        "0002",
        "userId",
    );
    assert_refused(
        &order(&world, json!({ "userId": "10001" })).await,
        "0002",
        "productId",
    );
    let more = json!({ "userId": "10001", "productId": "100001", "price": "0.01", "total_amount": "0.01" });
    let form = Form::read(order(&world, more).await.body["data"].as_str().unwrap());
    assert_eq!(
        form.biz_content()["total_amount"],
        "1.68",
        "what nobody asked for is ignored"
    );
}

#[tokio::test]
async fn bodies_that_are_not_json_are_refused_in_the_documents_envelope() {
    let world = World::start(Engine::Sqlite).await;
    let send = async |content_type: &str, body: String| {
        world
            .post_text(ORDER, body)
            .header("content-type", content_type)
            .send()
            .await
    };
    let good = json!({ "userId": "10001", "productId": "100001" }).to_string();
    for body in [
        "{",
        "",
        "[]",
        "null",
        "\"10001\"",
        "userId=10001&productId=100001",
        "{\"userId\":\"10001\",}",
    ] {
        assert_refused(
            &send("application/json", body.to_owned()).await,
            "0002",
            "body",
        );
    }
    assert_refused(
        &send("application/x-www-form-urlencoded", good.clone()).await,
        "0002",
        "Content-Type",
    );
    assert_refused(
        &send("text/plain", good.clone()).await,
        "0002",
        "Content-Type",
    );
    assert_refused(
        &send("application/json", " ".repeat(524_289)).await,
        "0002",
        "524288",
    );
    assert_eq!(
        send("application/json; charset=UTF-8", good).await.body["code"],
        "0000"
    );
    let no_body = world.request("POST", ORDER).send().await;
    assert_refused(&no_body, "0002", "body");
}

#[tokio::test]
async fn a_path_or_method_that_does_not_exist_says_so_in_its_status_too() {
    let world = World::start(Engine::Sqlite).await;
    let wrong_method = world.get(ORDER).send().await;
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, "POST"),
        "{}",
        wrong_method.text
    );
    assert_eq!(
        (&wrong_method.body["code"], &wrong_method.body["data"]),
        (&json!("0001"), &Value::Null)
    );
    let no_path = world.get("/api/v1/alipay/nothing").send().await;
    assert_eq!(
        (no_path.status, &no_path.body["code"]),
        (404, &json!("0001")),
        "{}",
        no_path.text
    );
}

#[tokio::test]
async fn without_alipay_and_in_maintenance_an_order_fails_with_its_reason() {
    let world = World::start_with(Engine::Sqlite, |config| {
        config.sandbox.mode = SandboxMode::Off;
    })
    .await;
    assert_refused(
        &order(&world, json!({ "userId": "10001", "productId": "100001" })).await,
        "0001",
        "支付宝",
    );
    let ends_at = Some(Time::parse_rfc3339("2026-01-15T06:00:00Z").unwrap());
    let maintenance = Maintenance {
        message: "升级".to_owned(),
        ends_at,
        charges_stopped: false,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    let closed = order(&world, json!({ "userId": "10001", "productId": "100001" })).await;
    assert_refused(&closed, "0001", "升级");
    assert_refused(&closed, "0001", "2026-01-15T06:00:00Z");
    assert_eq!(closed.header("retry-after"), "7200");
}

mod login_required {
    use super::*;

    #[tokio::test]
    async fn sqlite() {
        an_order_needs_the_session_of_the_user_it_names(Engine::Sqlite).await;
    }

    #[tokio::test]
    async fn postgres() {
        an_order_needs_the_session_of_the_user_it_names(Engine::Postgres).await;
    }
}

async fn an_order_needs_the_session_of_the_user_it_names(engine: Engine) {
    let world = World::start_with(engine, |config| {
        config.alipay.require_login = RequireLogin::Yes;
    })
    .await;
    let (openid, cookie) = world.web_login("xiaoming").await;
    let token = world.log_in("xiaoming").await;
    let other = world.log_in("xiaohong").await;
    let body = json!({ "userId": openid, "productId": "100001" });
    let request = || world.post(ORDER, &body);

    assert_refused(&request().send().await, "0003", "登录");
    assert_refused(&request().token(&other).send().await, "0003", "登录");
    assert_refused(
        &request()
            .header("authorization", "Bearer nonsense")
            .send()
            .await,
        "0003",
        "登录",
    );
    assert_refused(
        &request()
            .header("cookie", "jifen_session=nonsense")
            .send()
            .await,
        "0003",
        "登录",
    );
    let foreign_page = request()
        .header("cookie", &cookie)
        .header("origin", "https://evil.example");
    assert_refused(&foreign_page.send().await, "0003", "登录");
    let foreign_page = request()
        .header("cookie", &cookie)
        .header("sec-fetch-site", "cross-site");
    assert_refused(&foreign_page.send().await, "0003", "登录");
    assert_eq!(world.app.list_orders(None, 10).await.unwrap().len(), 0);

    let by_token = request().token(&token).send().await;
    assert_eq!(by_token.body["code"], "0000", "{}", by_token.text);
    let by_cookie = request()
        .header("cookie", &cookie)
        .header("sec-fetch-site", "same-origin")
        .send()
        .await;
    assert_eq!(by_cookie.body, by_token.body);
    let nobody = json!({ "userId": "oNobody", "productId": "100001" });
    assert_refused(
        &world.post(ORDER, &nobody).token(&token).send().await,
        "0002",
        "userId",
    );
    world.clock.advance_seconds(31 * 86_400);
    assert_refused(&request().token(&token).send().await, "0003", "登录");
}

/// A notification under construction: what Alipay says of an order that was paid.
#[derive(Clone)]
struct Notification(Vec<(String, Vec<u8>)>);

impl Notification {
    fn paid(order_id: &str) -> Self {
        let kit = Kit::builtin();
        let fields = [
            ("notify_time", "2026-01-15 12:00:01"),
            ("notify_type", "trade_status_sync"),
            ("notify_id", "2026011500222120000000000000000001"),
            ("app_id", kit.alipay_app_id),
            ("charset", "utf-8"),
            ("version", "1.0"),
            ("sign_type", "RSA2"),
            ("trade_no", "2026011522001400000000000001"),
            ("out_trade_no", order_id),
            ("seller_id", kit.alipay_seller_id),
            ("trade_status", "TRADE_SUCCESS"),
            ("total_amount", "1.68"),
            ("subject", "体验包 100 点 +&=%"),
            (
                "fund_bill_list",
                "[{\"amount\":\"1.68\",\"fundChannel\":\"ALIPAYACCOUNT\"}]",
            ),
            ("gmt_payment", "2026-01-15 11:59:58"),
        ];
        Self(
            fields
                .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                .to_vec(),
        )
    }

    /// With another value, or with one field more.
    fn with(&self, name: &str, value: &[u8]) -> Self {
        let mut changed = self.without(name);
        changed.0.push((name.to_owned(), value.to_vec()));
        changed
    }

    fn without(&self, name: &str) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(field, _)| field != name)
                .cloned()
                .collect(),
        )
    }

    /// The body, with Alipay's signature.
    fn signed(&self) -> String {
        let mut fields: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _)| name != "sign_type")
            .collect();
        fields.sort();
        let pairs = fields
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value].concat());
        let text = pairs.collect::<Vec<_>>().join(b"&".as_slice());
        format!(
            "{}&sign={}",
            self.unsigned(),
            encoded(STANDARD.encode(alipay_signature(&text)).as_bytes())
        )
    }

    fn unsigned(&self) -> String {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn encoded(bytes: &[u8]) -> String {
    url::form_urlencoded::byte_serialize(bytes).collect()
}

fn alipay_signature(text: &[u8]) -> Vec<u8> {
    let pem = include_str!("../../../../jifen_sandbox/keys/alipay_key.pem");
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = KeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text,
        &mut signature,
    )
    .unwrap();
    signature
}

/// Posts a body as Alipay does; the answer's form is always the same.
async fn notify(world: &World, body: impl Into<reqwest::Body>) -> String {
    let request = world.post_text(NOTIFY, body).header(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    let answer = request.send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    answer.text
}

async fn an_authentic_notification_is_booked_once_whatever_its_charset(world: World) {
    let user = UserId(10001);
    let points = async || world.app.profile(user).await.unwrap().points.get();
    let id = world.alipay_form("10001", "100001").await.order_id();
    let paid = Notification::paid(&id);
    for status in ["WAIT_BUYER_PAY", "TRADE_PENDING"] {
        assert_eq!(
            notify(
                &world,
                paid.with("trade_status", status.as_bytes()).signed()
            )
            .await,
            "success"
        );
        assert_eq!(points().await, 0, "{status}");
    }
    for _ in 0..3 {
        assert_eq!(notify(&world, paid.signed()).await, "success");
        assert_eq!(points().await, 100);
    }
    let order = world.app.find_order(&id).await.unwrap();
    let payment = order.payment.unwrap();
    assert_eq!(
        payment.paid_at.to_rfc3339(),
        "2026-01-15T03:59:58Z",
        "Beijing time, converted"
    );
    assert_eq!(payment.transaction_id, "2026011522001400000000000001");

    let id = world.alipay_form("10001", "100001").await.order_id();
    let gbk = Notification::paid(&id)
        .with("charset", b"GBK")
        .with("trade_no", b"2026011522001400000000000002")
        .with("subject", b"\xcc\xe5\xd1\xe9\xb0\xfc 100 \xb5\xe3");
    assert_eq!(notify(&world, gbk.signed()).await, "success");
    assert_eq!(points().await, 200);
    world.assert_audit_is_clean().await;
}

async fn a_notification_that_is_not_quite_right_changes_nothing(world: World) {
    let id = world.alipay_form("10001", "100001").await.order_id();
    let paid = Notification::paid(&id);
    for field in [
        "notify_type",
        "notify_id",
        "app_id",
        "out_trade_no",
        "trade_no",
        "trade_status",
        "total_amount",
        "seller_id",
        "sign_type",
    ] {
        assert_eq!(
            notify(&world, paid.without(field).signed()).await,
            "false",
            "without {field}"
        );
        assert_eq!(
            notify(&world, paid.with(field, b"").signed()).await,
            "false",
            "with an empty {field}"
        );
    }
    for amount in [
        "0.01",
        "1.67",
        "1.69",
        "168",
        "-1.68",
        "1.68e0",
        " 1.68",
        "1,68",
        "NaN",
        "99999999999999999999",
    ] {
        assert_eq!(
            notify(
                &world,
                paid.with("total_amount", amount.as_bytes()).signed()
            )
            .await,
            "false",
            "{amount}"
        );
    }
    for (field, value) in [
        ("sign_type", "RSA"),
        ("app_id", "2021000000000000"),
        ("seller_id", "2088000000000000"),
        ("out_trade_no", "nothing_of_ours"),
        ("notify_type", "dut_user_sign"),
        ("charset", "UTF-7"),
    ] {
        assert_eq!(
            notify(&world, paid.with(field, value.as_bytes()).signed()).await,
            "false",
            "{field}={value}"
        );
    }
    assert_eq!(
        notify(&world, paid.with("subject", b"\xff\xfe").signed()).await,
        "false",
        "broken UTF-8"
    );

    let good = paid.signed();
    let json = json!({ "out_trade_no": id, "trade_status": "TRADE_SUCCESS" }).to_string();
    for (body, why) in [
        (paid.unsigned(), "unsigned"),
        (format!("{}&sign=", paid.unsigned()), "an empty signature"),
        (
            format!("{}&sign=bm90aGluZw%3D%3D", paid.unsigned()),
            "another signature",
        ),
        (
            good.replace("total_amount=1.68", "total_amount=16.8"),
            "tampered with",
        ),
        (format!("{good}&more=1"), "a field more than was signed"),
        (
            format!("{good}&trade_status=TRADE_SUCCESS"),
            "a repeated key",
        ),
        (format!("total_amount=0.01&{good}"), "a key given twice"),
        (good.replace("&sign_type=RSA2", ""), "without its type"),
        (String::new(), "an empty body"),
        (json, "JSON"),
        ("%%%=&&&==&%zz".to_owned(), "nonsense"),
        (
            (0..200)
                .map(|n| format!("k{n}=1"))
                .collect::<Vec<_>>()
                .join("&"),
            "too many fields",
        ),
        (
            format!("{good}&padding={}", "x".repeat(70_000)),
            "longer than a notification",
        ),
        (
            format!("{good}&padding={}", "x".repeat(140_000)),
            "longer than any body",
        ),
    ] {
        assert_eq!(notify(&world, body).await, "false", "{why}");
    }
    assert_eq!(
        notify(&world, vec![0xff, 0xfe, 0x00]).await,
        "false",
        "bytes"
    );
    assert!(world.app.find_order(&id).await.unwrap().state.is_open());
    assert_eq!(
        world.app.profile(UserId(10001)).await.unwrap().points.get(),
        0
    );

    assert_eq!(
        notify(&world, good).await,
        "success",
        "the true one still is"
    );
    assert_eq!(world.get(NOTIFY).send().await.status, 405);
}

#[tokio::test]
async fn notifications_are_booked_in_maintenance() {
    let world = World::start(Engine::Sqlite).await;
    let id = world.alipay_form("10001", "100001").await.order_id();
    let maintenance = Maintenance {
        message: "升级".to_owned(),
        ends_at: None,
        charges_stopped: true,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    assert_eq!(
        notify(&world, Notification::paid(&id).signed()).await,
        "success"
    );
    assert_eq!(
        world.app.profile(UserId(10001)).await.unwrap().points.get(),
        100
    );
}

#[tokio::test]
async fn when_the_database_fails_alipay_is_told_to_come_again() {
    let world = World::start(Engine::Sqlite).await;
    let paid = Notification::paid(&world.alipay_form("10001", "100001").await.order_id()).signed();
    world.raw("ALTER TABLE orders RENAME TO lost").await;
    assert_eq!(notify(&world, paid.clone()).await, "false");
    world.raw("ALTER TABLE lost RENAME TO orders").await;
    assert_eq!(notify(&world, paid).await, "success");
    world.assert_audit_is_clean().await;
}
