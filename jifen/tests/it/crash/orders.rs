//! Killed at random moments of purchases; afterwards every paid order is credited exactly once.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jifen::instance;
use jifen_sandbox::Sandbox;
use jifen_store::Engine;
use jifen_store::testing::{TestStore, fresh};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::database_url;

const ROUNDS: u64 = 50;
const ROUNDS_MAX: u64 = 500;
/// Fewer payments prove nothing.
const PAID_MIN: usize = 5;
const BUYERS: usize = 6;
/// The longest life of a process. Short enough to fall into every part of a purchase, long enough for some to succeed.
const LIFE_MICROS_MAX: u64 = 120_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_credits_every_paid_order_once_after_fifty_kills() {
    credits_every_paid_order_once_after_fifty_kills(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_credits_every_paid_order_once_after_fifty_kills() {
    credits_every_paid_order_once_after_fifty_kills(Engine::Postgres).await;
}

async fn credits_every_paid_order_once_after_fifty_kills(engine: Engine) {
    let stage = Stage::set(engine).await;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut rounds = 0;
    // On a machine with little time to spare some more, until enough has come through.
    while rounds < ROUNDS || (rounds < ROUNDS_MAX && stage.paid_orders().await.len() < PAID_MIN) {
        rounds += 1;
        let mut mall = stage.start().await;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_micros((random >> 33) % LIFE_MICROS_MAX);
        // The purchases end by themselves, or, mostly, by the kill.
        let _ = tokio::time::timeout(life, stage.purchases()).await;
        mall.kill().unwrap();
        mall.wait().unwrap();
    }

    let mut mall = stage.start().await;
    let paid = stage.paid_orders().await;
    assert!(
        paid.len() >= PAID_MIN,
        "too few payments ({}) to prove anything",
        paid.len()
    );
    for order in &paid {
        stage.assert_is_delivered(order);
    }
    let points: i64 = stage
        .command(&["users", "list", "--json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["balance"].as_i64().unwrap())
        .sum();
    assert_eq!(
        points,
        100 * i64::try_from(paid.len()).unwrap(),
        "every paid order gave 100 points, once"
    );
    assert_eq!(stage.command(&["audit", "--json"])["findings"], json!([]));
    mall.kill().unwrap();
    mall.wait().unwrap();
}

/// The sandbox and the database, which outlive the processes.
struct Stage {
    mall: String,
    sandbox: String,
    http: reqwest::Client,
    store: TestStore,
}

impl Stage {
    async fn set(engine: Engine) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let store = fresh(engine).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = format!("http://{}", listener.local_addr().unwrap());
        let mut config = jifen_sandbox::Config::new(&sandbox, instance::outgoing_client().unwrap());
        // Notifications come again quickly after a kill: 15 s become 15 ms.
        config.time_compression = 1_000;
        tokio::spawn(Sandbox::new(config).serve(listener, std::future::pending()));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mall = format!("http://{}", free.local_addr().unwrap());
        Self {
            mall,
            sandbox,
            http: instance::outgoing_client().unwrap(),
            store,
        }
    }

    fn jifen(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jifen"));
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        command
            .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
            .env("JIFEN__SERVER__LISTEN", address(&self.mall))
            .env("JIFEN__SANDBOX__MODE", "outside")
            .env("JIFEN__SANDBOX__LISTEN", address(&self.sandbox))
            .env("JIFEN__LOG__LEVEL", "error")
            .env("JIFEN__DATABASE__URL", database_url(self.store.config()))
            .stdin(Stdio::null());
        command
    }

    /// Starts the mall and waits until it answers.
    ///
    /// While no mall runs its port is anybody's, for a moment: an outgoing connection of a test beside this one may
    /// have it, so a mall that cannot listen is started again.
    async fn start(&self) -> Child {
        const STARTS_MAX: usize = 100;
        for _ in 0..STARTS_MAX {
            if let Some(child) = self.try_start().await {
                return child;
            }
        }
        panic!("the mall did not start");
    }

    async fn try_start(&self) -> Option<Child> {
        let mut child = self
            .jifen()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("{}/readyz", self.mall);
        loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Some(child);
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Value {
        // The sandbox answers the command meanwhile.
        let output = tokio::task::block_in_place(|| self.jifen().args(arguments).output().unwrap());
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Several people buy through both providers, again and again, as far as the process lets them.
    async fn purchases(&self) {
        let mut buyers = JoinSet::new();
        for number in 0..BUYERS {
            let buyer = Buyer {
                mall: self.mall.clone(),
                sandbox: self.sandbox.clone(),
                http: self.http.clone(),
            };
            buyers.spawn(async move {
                let bought = if number % 2 == 0 {
                    buyer.buys_with_wechat().await
                } else {
                    buyer.buys_with_alipay().await
                };
                // Nobody answers once the process is killed.
                bought.unwrap_or_default();
            });
        }
        buyers.join_all().await;
    }

    /// The orders for which the providers have taken money.
    async fn paid_orders(&self) -> Vec<String> {
        let mut orders = Vec::new();
        for provider in ["wechat-pay", "alipay"] {
            let url = format!("{}/sandbox/api/{provider}/transactions", self.sandbox);
            let list: Value = serde_json::from_str(
                &self
                    .http
                    .get(url)
                    .send()
                    .await
                    .unwrap()
                    .text()
                    .await
                    .unwrap(),
            )
            .unwrap();
            let paid = list
                .as_array()
                .unwrap()
                .iter()
                .filter(|payment| is_paid(&payment["state"]));
            orders.extend(paid.map(|payment| payment["out_trade_no"].as_str().unwrap().to_owned()));
        }
        orders
    }

    /// By a repeated notification, or by asking the provider as an operator can.
    fn assert_is_delivered(&self, order: &str) {
        let shown = self.command(&["orders", "query", order, "--json"]);
        assert_eq!(shown["state"], "delivered", "order {order}");
    }
}

fn is_paid(state: &Value) -> bool {
    state == "SUCCESS" || state == "TRADE_SUCCESS"
}

struct Buyer {
    mall: String,
    sandbox: String,
    http: reqwest::Client,
}

impl Buyer {
    async fn buys_with_wechat(&self) -> Option<()> {
        let person = "xiaoming";
        let login = self
            .post(
                &format!("{}/sandbox/api/people/{person}/login-code", self.sandbox),
                &json!({}),
                "",
            )
            .await?;
        let url = format!("{}/api/v1/auth/wechat-login", self.mall);
        let login = self
            .post(&url, &json!({ "code": login["code"] }), "")
            .await?;
        let token = login["data"]["token"].as_str()?;
        let url = format!("{}/api/v1/points/create-order", self.mall);
        let order = self
            .post(&url, &json!({ "packageId": "100001" }), token)
            .await?;
        let pay = format!(
            "{}/sandbox/api/wechat-pay/transactions/{}/pay",
            self.sandbox,
            order["data"]["orderId"].as_str()?
        );
        self.post(&pay, &json!({}), "").await?;
        let check = format!(
            "{}/api/v1/points/check-payment?orderId={}",
            self.mall,
            order["data"]["orderId"].as_str()?
        );
        self.http
            .get(check)
            .header("authorization", format!("Bearer {token}"))
            .send()
            .await
            .ok()?;
        Some(())
    }

    async fn buys_with_alipay(&self) -> Option<()> {
        let url = format!("{}/api/v1/alipay/create_pay_order", self.mall);
        let order = self
            .post(
                &url,
                &json!({ "userId": "10001", "productId": "100001" }),
                "",
            )
            .await?;
        let form = crate::world::Form::read(order["data"].as_str()?);
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form.fields)
            .finish();
        let submit = self
            .http
            .post(&form.action)
            .header("content-type", "application/x-www-form-urlencoded");
        submit.body(body).send().await.ok()?;
        let pay = format!(
            "{}/sandbox/api/alipay/transactions/{}/pay",
            self.sandbox,
            form.order_id()
        );
        self.post(&pay, &json!({}), "").await.map(drop)
    }

    async fn post(&self, url: &str, body: &Value, token: &str) -> Option<Value> {
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        let request = if token.is_empty() {
            request
        } else {
            request.header("authorization", format!("Bearer {token}"))
        };
        serde_json::from_str(&request.send().await.ok()?.text().await.ok()?).ok()
    }
}
