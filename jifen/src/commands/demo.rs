//! `jifen demo`: the whole story against a throw-away instance, over the providers' real protocols. Every step prints its
//! request and its answer, and is held against what must be true; the first that does not hold ends it.

mod teller;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::serve::Mall;
use crate::config::Config;
use crate::{instance, telemetry};
use teller::{Form, Teller, encode, hold, number, text};

pub(super) async fn run() -> anyhow::Result<ExitCode> {
    let folder = Folder::new()?;
    let mut config = Config::development()?;
    "warn".clone_into(&mut config.log.level);
    telemetry::init(&config.log)?;
    config.database.url = folder.0.join("demo.db").to_string_lossy().into_owned();
    config.server.listen.set_port(0);
    config.sandbox.listen.set_port(0);
    let mall = Mall::start(config).await?;
    let (_, gateway_secret) = mall.app.create_service_credential("demo gateway").await?;
    println!(
        "A throw-away mall at {}, its sandbox at {}",
        mall.config.public_base_url(),
        mall.config.sandbox_base_url()
    );
    let story = Story {
        mall: mall.config.public_base_url(),
        sandbox: mall.config.sandbox_base_url(),
        http: instance::outgoing_client()?,
        gateway_secret,
    };
    let played = story.play().await;
    let report = mall.app.audit(|_, _| {}).await;
    mall.stop().await?;
    let steps = played.context("the demo stopped at the step above")?;
    let report = report?;
    anyhow::ensure!(
        report.findings.is_empty(),
        "the ledger does not add up: {:?}",
        report.findings
    );
    println!(
        "\nAll {steps} steps held, and the ledger of {} entries adds up.",
        report.audited.entries
    );
    Ok(ExitCode::SUCCESS)
}

/// A folder that is removed when the demo ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("jifen-demo-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} was left behind: {error}", self.0.display());
        }
    }
}

struct Story {
    mall: String,
    sandbox: String,
    http: reqwest::Client,
    gateway_secret: String,
}

const PERSON: &str = "xiaoming";
const PACKAGE: &str = "100001";

impl Story {
    async fn play(&self) -> anyhow::Result<usize> {
        let mut teller = Teller {
            http: &self.http,
            steps: 0,
        };
        let token = self.log_in(&mut teller).await?;
        let after_wechat = self.buy_with_wechat_pay(&mut teller, &token).await?;
        hold(after_wechat == 100, "100 points were bought")?;
        let openid = self.scan_to_log_in(&mut teller).await?;
        self.buy_with_alipay(&mut teller, &openid, &token).await?;
        self.spend(&mut teller, &token).await?;
        self.look_back(&mut teller, &token).await?;
        Ok(teller.steps)
    }

    async fn log_in(&self, teller: &mut Teller<'_>) -> anyhow::Result<String> {
        let code = format!("{}/sandbox/api/people/{PERSON}/login-code", self.sandbox);
        let wx_login = teller
            .post(
                "The phone asks WeChat for a login code (wx.login)",
                &code,
                &json!({}),
                None,
            )
            .await?;
        let url = format!("{}/api/v1/auth/wechat-login", self.mall);
        let body = json!({ "code": wx_login["code"], "encryptedData": wx_login["encryptedData"], "iv": wx_login["iv"] });
        let login = teller
            .post("The mini program logs in to the mall", &url, &body, None)
            .await?;
        hold(
            login["code"] == 0 && login["data"]["isNewUser"] == true,
            "a new user is logged in",
        )?;
        text(&login["data"]["token"])
    }

    async fn buy_with_wechat_pay(
        &self,
        teller: &mut Teller<'_>,
        token: &str,
    ) -> anyhow::Result<i64> {
        let packages = format!("{}/api/v1/points/packages", self.mall);
        let packages = teller
            .get("What is for sale", &packages, Some(token))
            .await?;
        let listed = packages["data"]["packages"]
            .as_array()
            .is_some_and(|list| list.iter().any(|p| p["id"] == PACKAGE));
        hold(listed, "the demo package is on sale")?;

        let url = format!("{}/api/v1/points/create-order", self.mall);
        let order = teller
            .post(
                "An order for WeChat Pay",
                &url,
                &json!({ "packageId": PACKAGE }),
                Some(token),
            )
            .await?;
        let order_id = text(&order["data"]["orderId"])?;
        let again = teller
            .post(
                "Ordering again finds the same order",
                &url,
                &json!({ "packageId": PACKAGE }),
                Some(token),
            )
            .await?;
        hold(
            again["data"]["orderId"] == order_id,
            "an unpaid order is reused",
        )?;

        let mut payment = again["data"]["paymentInfo"].clone();
        let person = format!("{}/sandbox/api/people/{PERSON}", self.sandbox);
        payment["openid"] = teller
            .get("The phone knows whose it is", &person, None)
            .await?["mini_program_openid"]
            .clone();
        let pay = format!("{}/sandbox/api/wechat-pay/request-payment", self.sandbox);
        teller
            .post(
                "The person pays (wx.requestPayment verifies paySign)",
                &pay,
                &payment,
                None,
            )
            .await?;
        let url = format!(
            "{}/api/v1/points/check-payment?orderId={order_id}",
            self.mall
        );
        let paid = teller
            .get(
                "The mall has been notified by WeChat Pay",
                &url,
                Some(token),
            )
            .await?;
        hold(paid["data"]["isPaid"] == true, "the order is paid")?;
        number(&paid["data"]["points"])
    }

    async fn scan_to_log_in(&self, teller: &mut Teller<'_>) -> anyhow::Result<String> {
        let url = format!("{}/api/v1/login/weixin_qrcode_ticket", self.mall);
        let ticket = teller
            .get("A web page asks for a login QR code", &url, None)
            .await?;
        let ticket = text(&ticket["data"])?;
        let check = format!(
            "{}/api/v1/login/check_login?ticket={}",
            self.mall,
            encode(&ticket)
        );
        let waiting = teller
            .get("Nobody has scanned it yet", &check, None)
            .await?;
        hold(waiting["code"] == "0003", "the page is not logged in")?;
        let scan = format!("{}/sandbox/api/people/{PERSON}/scan", self.sandbox);
        teller
            .post(
                "The same person scans it",
                &scan,
                &json!({ "ticket": ticket }),
                None,
            )
            .await?;
        let login = teller
            .until(
                "The page polls until WeChat has told the mall",
                &check,
                |answer| answer["code"] == "0000",
            )
            .await?;
        text(&login["data"])
    }

    async fn buy_with_alipay(
        &self,
        teller: &mut Teller<'_>,
        openid: &str,
        token: &str,
    ) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/alipay/create_pay_order", self.mall);
        let body = json!({ "userId": openid, "productId": PACKAGE });
        let order = teller
            .post(
                "The page orders with what check_login gave it",
                &url,
                &body,
                None,
            )
            .await?;
        let form = Form::read(&text(&order["data"])?)?;
        let order_id = form.submit(teller).await?;
        let pay = format!(
            "{}/sandbox/api/alipay/transactions/{order_id}/pay",
            self.sandbox
        );
        teller
            .post("The buyer pays at Alipay's cashier", &pay, &json!({}), None)
            .await?;
        let url = format!("{}/api/v1/user/info", self.mall);
        let paid = |answer: &Value| answer["data"]["points"] == 200;
        teller
            .until_as(
                "Alipay's notification credits the same person",
                &url,
                Some(token),
                paid,
            )
            .await?;
        Ok(())
    }

    async fn spend(&self, teller: &mut Teller<'_>, token: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/api-keys/create", self.mall);
        let body = json!({ "name": "my program", "expiryMonths": 6 });
        let key = teller
            .post(
                "An API key for a program of this person",
                &url,
                &body,
                Some(token),
            )
            .await?;
        let url = format!("{}/api/v2/metering/charges", self.mall);
        let body = json!({ "apiKey": text(&key["data"]["key"])?, "points": 5, "title": "OCR", "description": "one page" });
        let charge = "The operator's gateway charges the key for a call";
        let first = teller
            .charge(charge, &url, &body, &self.gateway_secret)
            .await?;
        hold(first["balance"] == 195, "5 points were taken")?;
        let again = teller
            .charge(
                "The same request once more, as after a lost answer",
                &url,
                &body,
                &self.gateway_secret,
            )
            .await?;
        hold(again == first, "the charge was made once")
    }

    async fn look_back(&self, teller: &mut Teller<'_>, token: &str) -> anyhow::Result<()> {
        let url = |path: &str| format!("{}/api/v1/{path}", self.mall);
        let info = teller
            .get("The balance", &url("user/info"), Some(token))
            .await?;
        hold(info["data"]["points"] == 195, "195 points are left")?;
        let bought = teller
            .get(
                "What was bought",
                &url("points/purchase-history"),
                Some(token),
            )
            .await?;
        hold(
            bought["data"]["total"] == 2,
            "two purchases, one through each provider",
        )?;
        let spent = teller
            .get(
                "What was spent",
                &url("points/consumption-history"),
                Some(token),
            )
            .await?;
        hold(
            spent["data"]["total"] == 1 && spent["data"]["list"][0]["points"] == 5,
            "one charge of 5 points",
        )
    }
}
