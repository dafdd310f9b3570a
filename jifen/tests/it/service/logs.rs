//! What the process writes about itself: never a secret, at any level.

use jifen_sandbox::Kit;
use jifen_store::Engine;
use jifen_store::testing::{TestStore, fresh};
use serde_json::{Value, json};

use super::process::{Process, operate};
use crate::world::{Token, encode};

#[tokio::test]
async fn the_log_of_sqlite_at_its_finest_holds_no_secret() {
    the_log_at_its_finest_holds_no_secret(Engine::Sqlite, "text").await;
}

#[tokio::test]
async fn the_log_of_postgres_at_its_finest_holds_no_secret_in_json() {
    the_log_at_its_finest_holds_no_secret(Engine::Postgres, "json").await;
}

async fn the_log_at_its_finest_holds_no_secret(engine: Engine, format: &str) {
    let store = fresh(engine).await;
    let process = Process::start(
        &store,
        &[
            ("JIFEN__LOG__LEVEL", "trace"),
            ("JIFEN__LOG__FORMAT", format),
        ],
    );
    let mut secrets = Secrets::of_the_configuration();
    buy_and_spend_on_the_phone(&process, &store, &mut secrets).await;
    log_in_on_the_web(&process, &mut secrets).await;
    let failures = fail(&process, &mut secrets).await;
    secrets.of_the_database(&store).await;
    process.signal("TERM");
    let ended = process.wait();

    assert!(ended.status.success());
    for part in [
        "answered",
        "order delivered",
        "/api/v2/metering/charges",
        failures,
    ] {
        assert!(
            ended.logged.contains(part),
            "{part:?} is not logged: {}",
            ended.logged
        );
    }
    if format == "json" {
        for line in ended.logged.lines() {
            assert!(
                serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string()),
                "no JSON: {line}"
            );
        }
    }
    assert!(secrets.0.len() > 25);
    for (what, secret) in &secrets.0 {
        assert!(
            secret.len() >= 6,
            "{what} is too short to look for: {secret}"
        );
        for (place, text) in [("log", &ended.logged), ("standard output", &ended.printed)] {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{what} is in the {place}");
        }
    }
}

/// What must not be found, and what it is.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn of_the_configuration() -> Self {
        let kit = Kit::builtin();
        let mut secrets = Self(Vec::new());
        for (what, secret) in [
            ("the mini program's secret", kit.mini_program_secret),
            ("the account's secret", kit.official_account_secret),
            ("the account's token", kit.official_account_token),
            ("the account's key", kit.official_account_encoding_aes_key),
            ("the APIv3 key", kit.api_v3_key),
            ("the secret of the mall", jifen::development::SECRET),
        ] {
            secrets.add(what, secret);
        }
        for (what, pem) in [
            ("the merchant's private key", kit.merchant_private_key),
            ("the application's private key", kit.alipay_app_private_key),
        ] {
            secrets.add(what, pem.lines().nth(3).unwrap());
        }
        secrets
    }

    fn add(&mut self, what: &str, secret: &str) {
        self.0.push((what.to_owned(), secret.to_owned()));
    }

    /// Adds a member of an answer, which must be there, and returns it.
    fn add_member<'a>(&mut self, what: &str, value: &'a Value) -> &'a str {
        let secret = value.as_str().unwrap_or_else(|| panic!("{what}: {value}"));
        self.add(what, secret);
        secret
    }

    async fn of_the_database(&mut self, store: &TestStore) {
        for app_id in [
            Kit::builtin().mini_program_appid,
            Kit::builtin().official_account_appid,
        ] {
            let (_, token) = store
                .read()
                .await
                .unwrap()
                .access_token(app_id)
                .await
                .unwrap();
            self.add("an access token", &token.unwrap().token);
        }
    }
}

async fn buy_and_spend_on_the_phone(process: &Process, store: &TestStore, secrets: &mut Secrets) {
    let person = process.sandbox_get("/people/xiaoming").await;
    for member in [
        "mini_program_openid",
        "official_account_openid",
        "unionid",
        "phone",
    ] {
        secrets.add_member(member, &person[member]);
    }
    let login = process
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    let encrypted = ["code", "encryptedData", "iv"]
        .map(|member| secrets.add_member(member, &login[member]).to_owned());
    let [code, encrypted_data, iv] = encrypted;
    let body = json!({ "code": code, "encryptedData": encrypted_data, "iv": iv });
    let login = process
        .post("/api/v1/auth/wechat-login", &body)
        .send()
        .await;
    let token = Token(
        secrets
            .add_member("the session token", &login.body["data"]["token"])
            .to_owned(),
    );
    let renewed = process
        .post("/api/v1/auth/refresh-token", &json!({}))
        .token(&token)
        .send()
        .await;
    let token = Token(
        secrets
            .add_member("the renewed token", &renewed.body["data"]["token"])
            .to_owned(),
    );

    let phone = process
        .sandbox_post("/people/xiaoming/phone-code", &json!({}))
        .await;
    let code = secrets.add_member("the phone code", &phone["code"]);
    let bound = process
        .post("/api/v1/user/bind-phone", &json!({ "code": code }))
        .token(&token)
        .send()
        .await;
    assert_eq!(bound.status, 200, "{}", bound.text);

    let order = process
        .post(
            "/api/v1/points/create-order",
            &json!({ "packageId": "100001" }),
        )
        .token(&token)
        .send()
        .await;
    let id = order.body["data"]["orderId"].as_str().unwrap();
    secrets.add_member("paySign", &order.body["data"]["paymentInfo"]["paySign"]);
    process
        .sandbox_post(&format!("/wechat-pay/transactions/{id}/pay"), &json!({}))
        .await;
    loop {
        let check = process
            .get(&format!("/api/v1/points/check-payment?orderId={id}"))
            .token(&token)
            .send()
            .await;
        if check.body["data"]["isPaid"] == true {
            break;
        }
    }
    let key = process
        .post("/api/v1/api-keys/create", &json!({ "name": "k" }))
        .token(&token)
        .send()
        .await;
    let key = secrets.add_member("the API key", &key.body["data"]["key"]);
    let made = operate(store, &["credentials", "create", "gateway"]);
    let gateway = Token(
        secrets
            .add_member("the service credential", &made["secret"])
            .to_owned(),
    );
    for points in [5, 5_000] {
        let body = json!({ "apiKey": key, "points": points, "title": "OCR" });
        process
            .post("/api/v2/metering/charges", &body)
            .token(&gateway)
            .header("idempotency-key", &points.to_string())
            .send()
            .await;
    }
}

async fn log_in_on_the_web(process: &Process, secrets: &mut Secrets) {
    let answer = process
        .get("/api/v1/login/weixin_qrcode_ticket")
        .send()
        .await;
    let ticket = secrets.add_member("the ticket", &answer.body["data"]);
    let browser = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    secrets.add("the browser's secret", browser.split_once('=').unwrap().1);
    process
        .sandbox_post("/people/xiaoming/scan", &json!({ "ticket": ticket }))
        .await;
    let check = format!("/api/v1/login/check_login?ticket={}", encode(ticket));
    process
        .until(&check, |answer| answer.body["code"] == "0000")
        .await;
    let login = process.get(&check).header("cookie", &browser).send().await;
    let session = login.header("set-cookie").split(';').next().unwrap();
    secrets.add("the web session", session.split_once('=').unwrap().1);
    let openid = login.body["data"].as_str().unwrap();
    let order = process
        .post(
            "/api/v1/alipay/create_pay_order",
            &json!({ "userId": openid, "productId": "100001" }),
        )
        .send()
        .await;
    assert_eq!(order.body["code"], "0000", "{}", order.text);
}

/// Everything that can be refused or fails, with secrets in every place; returns a line that is logged then.
async fn fail(process: &Process, secrets: &mut Secrets) -> &'static str {
    let all: Vec<String> = secrets.0.iter().map(|(_, secret)| secret.clone()).collect();
    for secret in &all {
        let secret = encode(secret);
        process
            .get(&format!("/api/v1/user/info?token={secret}"))
            .header("authorization", &format!("Bearer x{secret}"))
            .send()
            .await;
        process
            .get(&format!("/{secret}?{secret}"))
            .header("cookie", &format!("jifen_session={secret}"))
            .send()
            .await;
        process
            .post("/api/v1/auth/wechat-login", &json!({ "code": secret }))
            .send()
            .await;
        process
            .post(
                "/api/v1/alipay/create_pay_order",
                &json!({ "userId": secret, "productId": secret }),
            )
            .send()
            .await;
        process
            .post(
                &format!("/api/v1/weixin/portal/receive?openid={secret}&signature={secret}"),
                &json!(secret),
            )
            .send()
            .await;
        process
            .post("/api/v1/alipay/alipay_notify_url", &json!(secret))
            .send()
            .await;
    }
    for kind in [
        "provider_down",
        "provider_nonsense",
        "provider_closes_connection",
    ] {
        process
            .sandbox_post("/faults", &json!({ "kind": kind }))
            .await;
        process
            .get("/api/v1/login/weixin_qrcode_ticket")
            .send()
            .await;
        process
            .post("/api/v1/auth/wechat-login", &json!({ "code": all[8] }))
            .send()
            .await;
        process.sandbox_delete("/faults").await;
    }
    "a request failed"
}
