//! A web page that others wrote for the published interface goes on working: it is served from another origin than the mall and
//! driven in a real browser, from the login code to the cashier.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use jifen::instance;
use jifen_store::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::World;

#[tokio::test]
async fn a_page_of_another_origin_logs_in_by_scanning_orders_and_leads_to_the_cashier() {
    let world = World::on_real_time(Engine::Sqlite).await;
    let browser = Browser::start().await;
    browser.open(&serve_shop(&world).await).await;

    browser.find("#qr[src]").await;
    let image = browser
        .script("qr.decode().then(() => done(qr.src), problem => done(`${problem} ${qr.src}`))")
        .await;
    let image =
        url::Url::parse(image.as_str().unwrap()).unwrap_or_else(|_| panic!("not shown: {image}"));
    let (_, ticket) = image.query_pairs().next().unwrap();
    world
        .sandbox_post("/people/xiaoming/scan", &json!({ "ticket": ticket }))
        .await;
    world.deliver_notifications().await;

    let buy = browser.find("#goods:not([hidden]) #buy").await;
    let person = world.sandbox_get("/people/xiaoming").await;
    let openid = person["official_account_openid"].as_str().unwrap();
    assert_eq!(
        browser.script("done(document.cookie)").await,
        format!("loginToken={openid}")
    );
    browser.click(&buy).await;

    let log_in = browser.find("button[value=login]").await;
    assert!(
        browser
            .location()
            .await
            .starts_with(&format!("{}/sandbox/alipay/cashier/", world.sandbox))
    );
    browser.click(&log_in).await;
    let pay = browser.find("button[value=pay]").await;
    browser.click(&pay).await;
    browser.find(".success").await;

    world.deliver_notifications().await;
    let user = world
        .store()
        .read()
        .await
        .unwrap()
        .user_by_any_openid(openid)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.app.profile(user.id).await.unwrap().points.get(), 100);
    world.assert_audit_is_clean().await;
}

/// Serves the page on an origin of its own and returns its address.
async fn serve_shop(world: &World) -> String {
    let page = include_str!("../foreign/shop.html");
    let addresses = [
        ("http://localhost:8080", &world.mall),
        ("https://mp.weixin.qq.com", &world.sandbox),
    ];
    let page = addresses
        .into_iter()
        .fold(page.to_owned(), |page, (documented, here)| {
            assert_eq!(page.matches(documented).count(), 1, "{documented}");
            page.replace(documented, here)
        });
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\ncontent-length:";
    let answer = format!("{head} {}\r\n\r\n{page}", page.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            // Whatever is asked for, the page is the answer. A browser also opens connections that it then does not use.
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if connection
                    .read(&mut request)
                    .await
                    .is_ok_and(|bytes| bytes > 0)
                {
                    let _ = connection.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    format!("http://{address}/shop.html")
}

/// How long the browser waits for what a test looks for.
const WAIT: Duration = Duration::from_secs(30);

/// A headless Chromium, driven over the `WebDriver` protocol (W3C recommendation). It ends with the value.
struct Browser {
    driver: Child,
    /// Held open: the driver would end when it cannot write.
    _output: BufReader<ChildStdout>,
    port: u16,
    session: String,
    profile: PathBuf,
    http: reqwest::Client,
}

impl Browser {
    async fn start() -> Self {
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = spawned.unwrap_or_else(|error| {
            panic!("chromedriver: {error}; jifen/tests/foreign/prepare says what to install")
        });
        let mut output = BufReader::new(driver.stdout.take().expect("it is piped"));
        let port = tokio::task::spawn_blocking(move || {
            let port = port_in(&mut output);
            (port, output)
        });
        let (port, output) = port.await.unwrap();
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("chromium-{}-{port}", std::process::id()));
        let http = instance::outgoing_client().unwrap();
        let mut browser = Self {
            driver,
            _output: output,
            port,
            session: String::new(),
            profile,
            http,
        };
        let session = browser
            .call("/session", capabilities(&browser.profile))
            .await;
        session["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        browser
    }

    async fn open(&self, url: &str) {
        self.command("url", json!({ "url": url })).await;
    }

    /// The first element that a CSS selector selects, as soon as there is one, on this page or the one that follows.
    async fn find(&self, selector: &str) -> String {
        let element = self
            .command(
                "element",
                json!({ "using": "css selector", "value": selector }),
            )
            .await;
        let (_, id) = element
            .as_object()
            .and_then(|element| element.iter().next())
            .expect("an element has an id");
        id.as_str().unwrap().to_owned()
    }

    async fn click(&self, element: &str) {
        self.command(&format!("element/{element}/click"), json!({}))
            .await;
    }

    /// Runs a script and waits until it calls `done(value)`.
    async fn script(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.command("execute/async", json!({ "script": script, "args": [] }))
            .await
    }

    async fn location(&self) -> String {
        self.script("done(location.href)")
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        self.call(&format!("/session/{}/{path}", self.session), body)
            .await
    }

    async fn call(&self, path: &str, body: Value) -> Value {
        let request = self
            .http
            .post(format!("http://127.0.0.1:{}{path}", self.port))
            .body(body.to_string());
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path} {body}: {status} {text}");
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        answer["value"].take()
    }
}

impl Drop for Browser {
    /// Ends the browser first, then its driver: the other way round the browser would stay.
    fn drop(&mut self) {
        if let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
                self.session
            );
            let _ = connection.set_read_timeout(Some(WAIT));
            let _ = connection.write_all(request.as_bytes());
            // Answered once the browser is gone.
            let _ = connection.read(&mut [0; 1024]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// The port the driver says it listens on.
fn port_in(output: &mut impl BufRead) -> u16 {
    let mut lines = output.lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        line.split_once(" successfully on port ")?
            .1
            .trim_end_matches('.')
            .parse()
            .ok()
    });
    port.expect("chromedriver did not start")
}

fn capabilities(profile: &Path) -> Value {
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &format!("--user-data-dir={}", profile.display()),
    ];
    let wait = u64::try_from(WAIT.as_millis()).unwrap();
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "timeouts": { "implicit": wait, "script": wait, "pageLoad": wait },
        "goog:chromeOptions": { "args": arguments },
    } } })
}
