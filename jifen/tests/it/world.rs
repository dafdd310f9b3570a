//! A mall and a sandbox on a clock that only the test moves. Nothing happens by itself: notifications are delivered by
//! [`World::deliver_notifications`], follow-up work is done by [`World::do_jobs`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jifen::config::Config;
use jifen::{development, instance};
use jifen_app::{App, Environment, SystemEnvironment};
use jifen_domain::{Time, UserId};
use jifen_sandbox::Sandbox;
use jifen_store::testing::{TestStore, fresh};
use jifen_store::{Engine, Store, StoreConfig};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// When every test begins.
pub(crate) const START: &str = "2026-01-15T04:00:00Z";

/// Stamps a test for each engine: `on_both_engines!(name)` runs `async fn name(world: World)`.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name($crate::world::World::start(jifen_store::Engine::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$name($crate::world::World::start(jifen_store::Engine::Postgres).await).await;
            }
        })+
    };
}
pub(crate) use on_both_engines;

/// The same for what does not depend on the engine: on SQLite only.
macro_rules! on_sqlite {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name($crate::world::World::start(jifen_store::Engine::Sqlite).await).await;
            }
        })+
    };
}
pub(crate) use on_sqlite;

/// A mall, its database, and the providers it believes in.
pub(crate) struct World {
    pub(crate) mall: String,
    pub(crate) sandbox: String,
    pub(crate) app: App,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) config: Config,
    http: reqwest::Client,
    store: TestStore,
}

impl World {
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, |_| {}).await
    }

    /// With a changed configuration.
    pub(crate) async fn start_with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(engine, TestClock::new(START), change).await
    }

    /// On the machine's clock, for software that reads it, too.
    pub(crate) async fn on_real_time(engine: Engine) -> Self {
        Self::start_at(engine, TestClock::real(), |_| {}).await
    }

    async fn start_at(engine: Engine, clock: TestClock, change: impl FnOnce(&mut Config)) -> Self {
        // Several TLS providers could be compiled in by test tools; the first one asked for stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Arc::new(clock);
        let store = fresh(engine).await;
        let (mall_listener, sandbox_listener) = (listener().await, listener().await);
        let mut config = Config::development().unwrap();
        config.server.listen = mall_listener.local_addr().unwrap();
        config.sandbox.listen = sandbox_listener.local_addr().unwrap();
        change(&mut config);
        let config = development::complete(config);

        let environment: Arc<dyn Environment> = clock.clone();
        let app = instance::app(&config, environment, store.store()).unwrap();
        development::seed(&app).await.unwrap();
        let http_config = jifen::commands::http_config(&config).unwrap();
        let router = jifen_http::router(app.clone(), &http_config);
        tokio::spawn(async move {
            jifen_http::serve(mall_listener, router, &http_config, std::future::pending()).await;
        });
        start_sandbox(&config, clock.clone(), sandbox_listener);
        Self {
            mall: config.public_base_url(),
            sandbox: config.sandbox_base_url(),
            app,
            clock,
            config,
            http: instance::outgoing_client().unwrap(),
            store,
        }
    }

    /// The database, to look behind the mall.
    pub(crate) fn store(&self) -> Store {
        self.store.store()
    }

    /// What another process needs to open the same database.
    pub(crate) fn database_url(&self) -> String {
        database_url(self.store.config())
    }

    /// A change behind the mall's back.
    pub(crate) async fn raw(&self, sql: &str) {
        self.store.raw(sql).await;
    }

    /// Another node on the same database, with its own listener, that hears what others change: returns its base URL.
    pub(crate) async fn another_node(&self) -> String {
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        let store = Store::open(self.store.config()).await.unwrap();
        let environment: Arc<dyn Environment> = self.clock.clone();
        let app = instance::app(&self.config, environment, store).unwrap();
        tokio::spawn(app.follow_key_changes());
        app.store().listen();
        let http_config = jifen::commands::http_config(&self.config).unwrap();
        let router = jifen_http::router(app, &http_config);
        tokio::spawn(async move {
            jifen_http::serve(listener, router, &http_config, std::future::pending()).await;
        });
        format!("http://{address}")
    }

    /// A request to the mall; `path` begins with a slash.
    pub(crate) fn get(&self, path: &str) -> Request {
        Request(self.http.get(format!("{}{path}", self.mall)))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Request {
        self.post_text(path, body.to_string())
            .header("content-type", "application/json")
    }

    pub(crate) fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Request {
        Request(self.http.post(format!("{}{path}", self.mall)).body(body))
    }

    /// The same request to another node.
    pub(crate) fn get_from(&self, node: &str, path: &str) -> Request {
        Request(self.http.get(format!("{node}{path}")))
    }

    pub(crate) fn post_to(&self, node: &str, path: &str, body: &Value) -> Request {
        let request = self
            .http
            .post(format!("{node}{path}"))
            .header("content-type", "application/json");
        Request(request.body(body.to_string()))
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        self.request_at(&self.mall, method, path)
    }

    /// A request to another node.
    pub(crate) fn request_at(&self, node: &str, method: &str, path: &str) -> Request {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        Request(self.http.request(method, format!("{node}{path}")))
    }

    pub(crate) async fn sandbox_get(&self, path: &str) -> Value {
        self.sandbox_call("GET", path, None).await
    }

    pub(crate) async fn sandbox_post(&self, path: &str, body: &Value) -> Value {
        self.sandbox_call("POST", path, Some(body)).await
    }

    pub(crate) async fn sandbox_patch(&self, path: &str, body: &Value) {
        self.sandbox_call("PATCH", path, Some(body)).await;
    }

    pub(crate) async fn sandbox_put(&self, path: &str, body: &Value) {
        self.sandbox_call("PUT", path, Some(body)).await;
    }

    pub(crate) async fn sandbox_delete(&self, path: &str) {
        self.sandbox_call("DELETE", path, None).await;
    }

    /// A call of the sandbox's control API; it must succeed.
    async fn sandbox_call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}/sandbox/api", self.sandbox);
        let mut request = self.request_at(&url, method, path);
        if let Some(body) = body {
            request = request.body(&body.to_string());
        }
        let answer = request.send().await;
        assert!(
            answer.status < 300,
            "sandbox {method} {path}: {} {}",
            answer.status,
            answer.text
        );
        answer.body
    }

    /// Every notification that waits is delivered once, now.
    pub(crate) async fn deliver_notifications(&self) {
        self.sandbox_post("/outbox/flush", &json!({})).await;
    }

    /// All follow-up work that is due is done.
    pub(crate) async fn do_jobs(&self) {
        self.app.run_due_jobs().await.unwrap();
    }

    /// Logs one of the sandbox's people in from the mini program.
    pub(crate) async fn log_in(&self, person: &str) -> Token {
        let answer = self.log_in_answer(person).await;
        Token(answer["data"]["token"].as_str().unwrap().to_owned())
    }

    /// The whole answer to that login.
    pub(crate) async fn log_in_answer(&self, person: &str) -> Value {
        let login = self
            .sandbox_post(&format!("/people/{person}/login-code"), &json!({}))
            .await;
        let answer = self
            .post(
                "/api/v1/auth/wechat-login",
                &json!({ "code": login["code"] }),
            )
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    /// The user's points as the mall tells them.
    pub(crate) async fn points(&self, token: &Token) -> i64 {
        self.get("/api/v1/user/info").token(token).send().await.body["data"]["points"]
            .as_i64()
            .unwrap()
    }

    /// Makes a WeChat Pay order and returns the data of the answer.
    pub(crate) async fn create_order(&self, token: &Token, package: &str) -> Value {
        let answer = self
            .post(
                "/api/v1/points/create-order",
                &json!({ "packageId": package }),
            )
            .token(token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["data"].clone()
    }

    /// Does what `wx.requestPayment` does with an order's `paymentInfo`, and the person pays.
    pub(crate) async fn pay_with_wechat(&self, person: &str, order: &Value) {
        let mut payment = order["paymentInfo"].clone();
        payment["openid"] =
            self.sandbox_get(&format!("/people/{person}")).await["mini_program_openid"].clone();
        self.sandbox_post("/wechat-pay/request-payment", &payment)
            .await;
    }

    /// Makes an Alipay order and returns its form.
    pub(crate) async fn alipay_form(&self, user: &str, product: &str) -> Form {
        let body = json!({ "userId": user, "productId": product });
        let answer = self
            .post("/api/v1/alipay/create_pay_order", &body)
            .send()
            .await;
        assert_eq!(answer.body["code"], "0000", "{}", answer.text);
        Form::read(answer.body["data"].as_str().unwrap())
    }

    /// Submits a form as a browser does; the buyer arrives at the cashier.
    pub(crate) async fn submit(&self, form: &Form) -> Answer {
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form.fields)
            .finish();
        let request = self
            .http
            .post(&form.action)
            .header("content-type", "application/x-www-form-urlencoded");
        Request(request.body(body)).send().await
    }

    /// Submits a form and pays at the cashier.
    pub(crate) async fn pay_with_alipay(&self, form: &Form) {
        let answer = self.submit(form).await;
        assert_eq!(answer.status, 302, "{}", answer.text);
        self.sandbox_post(
            &format!("/alipay/transactions/{}/pay", form.order_id()),
            &json!({}),
        )
        .await;
    }

    /// A login QR code's ticket, with the cookie of the browser that asked.
    pub(crate) async fn qr_ticket(&self) -> (String, String) {
        let answer = self.get("/api/v1/login/weixin_qrcode_ticket").send().await;
        assert_eq!(answer.body["code"], "0000", "{}", answer.text);
        let cookie = answer
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        (answer.body["data"].as_str().unwrap().to_owned(), cookie)
    }

    /// Scans a login QR code, and WeChat tells the mall.
    pub(crate) async fn scan(&self, person: &str, ticket: &str) {
        self.sandbox_post(
            &format!("/people/{person}/scan"),
            &json!({ "ticket": ticket }),
        )
        .await;
        self.deliver_notifications().await;
    }

    /// Logs in on the web: the openid that `check_login` tells, and the session cookie (`name=value`).
    pub(crate) async fn web_login(&self, person: &str) -> (String, String) {
        let (ticket, browser) = self.qr_ticket().await;
        self.scan(person, &ticket).await;
        let check = self.get(&format!(
            "/api/v1/login/check_login?ticket={}",
            encode(&ticket)
        ));
        let login = check.header("cookie", &browser).send().await;
        assert_eq!(login.body["code"], "0000", "{}", login.text);
        let cookie = login
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        (login.body["data"].as_str().unwrap().to_owned(), cookie)
    }

    /// The user an openid belongs to.
    pub(crate) async fn user_of(&self, openid: &str) -> UserId {
        self.store()
            .read()
            .await
            .unwrap()
            .user_by_any_openid(openid)
            .await
            .unwrap()
            .unwrap()
            .id
    }

    /// The same; the session in the browser's cookie.
    pub(crate) async fn log_in_on_the_web(&self, person: &str) -> Token {
        let (_, cookie) = self.web_login(person).await;
        Token(cookie.strip_prefix("jifen_session=").unwrap().to_owned())
    }

    pub(crate) async fn check_login(&self, ticket: &str) -> Answer {
        self.get(&format!(
            "/api/v1/login/check_login?ticket={}",
            encode(ticket)
        ))
        .send()
        .await
    }

    /// Makes a service credential and returns its secret.
    pub(crate) async fn gateway(&self) -> Token {
        Token(
            self.app
                .create_service_credential("gateway")
                .await
                .unwrap()
                .1,
        )
    }

    /// Makes an API key of a user: `(id, secret)`.
    pub(crate) async fn api_key(&self, token: &Token, name: &str) -> (String, String) {
        let answer = self
            .post("/api/v1/api-keys/create", &json!({ "name": name }))
            .token(token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let text = |field: &str| answer.body["data"][field].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    pub(crate) async fn charge(
        &self,
        gateway: &Token,
        idempotency_key: &str,
        api_key: &str,
        points: i64,
    ) -> Answer {
        let body = json!({ "apiKey": api_key, "points": points, "title": "OCR" });
        let request = self.post("/api/v2/metering/charges", &body).token(gateway);
        request
            .header("idempotency-key", idempotency_key)
            .send()
            .await
    }

    /// The ledger adds up, everywhere.
    pub(crate) async fn assert_audit_is_clean(&self) {
        let report = self.app.audit(|_, _| {}).await.unwrap();
        assert_eq!(report.findings, []);
    }
}

/// What authenticates a request: a session token or a service credential.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) String);

/// A request under construction.
pub(crate) struct Request(pub(crate) reqwest::RequestBuilder);

impl Request {
    pub(crate) fn body(self, json: &str) -> Self {
        Self(
            self.0
                .header("content-type", "application/json")
                .body(json.to_owned()),
        )
    }

    pub(crate) fn token(self, token: &Token) -> Self {
        self.header("authorization", &format!("Bearer {}", token.0))
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub(crate) async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// The same, where perhaps nobody answers.
    pub(crate) async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.0.send().await?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    value.to_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            headers,
            text,
            body,
        })
    }
}

/// An answer; `body` is null when it is not JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }
}

/// The form of Alipay's page pay, as a browser reads it.
pub(crate) struct Form {
    pub(crate) html: String,
    pub(crate) action: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Form {
    pub(crate) fn read(html: &str) -> Self {
        let inputs = html.split("<input ").skip(1);
        Self {
            html: html.to_owned(),
            action: attribute(html, "action").unwrap(),
            fields: inputs
                .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
                .collect(),
        }
    }

    pub(crate) fn biz_content(&self) -> Value {
        let field = self
            .fields
            .iter()
            .find(|(name, _)| name == "biz_content")
            .unwrap();
        serde_json::from_str(&field.1).unwrap()
    }

    pub(crate) fn order_id(&self) -> String {
        self.biz_content()["out_trade_no"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// A clock that stands still until it is moved, or shows the machine's time, and reproducible "random" bytes.
pub(crate) struct TestClock {
    /// Since the epoch, or, on real time, ahead of the machine.
    micros: AtomicI64,
    is_real: bool,
    seed: AtomicU64,
}

impl TestClock {
    fn new(start: &str) -> Self {
        let start = Time::parse_rfc3339(start).unwrap();
        Self {
            micros: AtomicI64::new(start.micros()),
            is_real: false,
            seed: AtomicU64::new(1),
        }
    }

    fn real() -> Self {
        Self {
            micros: AtomicI64::new(0),
            is_real: true,
            seed: AtomicU64::new(1),
        }
    }

    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.micros.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Time {
        let machine = if self.is_real {
            SystemEnvironment.now().micros()
        } else {
            0
        };
        Time::from_micros(machine + self.micros.load(Ordering::SeqCst))
    }

    /// `SplitMix64`: enough to make ids differ.
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut z = self
                .seed
                .fetch_add(1, Ordering::SeqCst)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (z ^ (z >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

impl Environment for TestClock {
    fn now(&self) -> Time {
        TestClock::now(self)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.fill(bytes);
    }
}

/// The sandbox's side of the same clock.
struct SandboxClock(Arc<TestClock>);

impl jifen_sandbox::Environment for SandboxClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0.now().micros()).unwrap()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

fn start_sandbox(config: &Config, clock: Arc<TestClock>, listener: TcpListener) {
    let mut sandbox = jifen_sandbox::Config::new(
        config.sandbox_base_url(),
        instance::outgoing_client().unwrap(),
    );
    sandbox.official_account_push_url = Some(format!(
        "{}/api/v1/weixin/portal/receive",
        config.public_base_url()
    ));
    sandbox.automatic_delivery = false;
    sandbox.environment = Arc::new(SandboxClock(clock));
    let sandbox = Sandbox::new(sandbox);
    tokio::spawn(async move { sandbox.serve(listener, std::future::pending()).await });
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// As the configuration writes it.
pub(crate) fn database_url(config: &StoreConfig) -> String {
    match config {
        StoreConfig::Sqlite { path } => path.to_string_lossy().into_owned(),
        StoreConfig::Postgres { url, .. } => url.expose_secret().to_owned(),
    }
}

fn attribute(html: &str, name: &str) -> Option<String> {
    let (_, rest) = html.split_once(&format!("{name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&#39;", "'")
            .replace("&amp;", "&"),
    )
}

pub(crate) fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
