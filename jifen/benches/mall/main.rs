//! How fast the mall answers, in ratios of one run on one machine. `./scripts/bench mall` writes `docs/benchmarks.md`.
//!
//! The mall runs as a process of its own (release build, SQLite, `synchronous=FULL`); this process is the client and plays the
//! providers. The *empty request* is `GET /healthz` on the same server through the same middleware.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a benchmark may panic, prints, and divides"
)]

mod load;
#[path = "../shared/process.rs"]
mod process;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jifen::{config::Config, development, instance};
use jifen_sandbox::Sandbox;
use serde_json::{Value, json};

use load::{Load, Measured};
use process::Mall;

const USERS: usize = 10_000;
const CONNECTIONS: usize = 64;
const SECONDS: Duration = Duration::from_secs(5);

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench());
}

async fn bench() {
    let folder = process::Folder::new("jifen-bench");
    let sandbox = start_sandbox().await;
    let mut mall = Mall::start(serve(&folder, sandbox)).await;
    eprintln!("logging {USERS} users in …");
    let tokens = log_everyone_in(&mall, sandbox).await;
    let memory_megabytes = mall.memory_bytes() / 1_000_000;
    mall.stop().await;

    let started = Instant::now();
    mall = Mall::start(serve(&folder, sandbox)).await;
    let start_millis = started.elapsed().as_millis();
    let ticket = scanned_ticket(&mall, sandbox).await;
    let signature = raw_signature_micros(sandbox);

    let load = |name| Load {
        name,
        address: mall.address,
        connections: CONNECTIONS,
        duration: SECONDS,
    };
    // Everything once to warm up, then for the record.
    load("warm-up").run(&mall, |_| get("/healthz", None)).await;
    let empty = load("empty request")
        .run(&mall, |_| get("/healthz", None))
        .await;
    let info = load("user/info")
        .run(&mall, |n| {
            get("/api/v1/user/info", Some(&tokens[n % tokens.len()].1))
        })
        .await;
    let path = format!("/api/v1/login/check_login?ticket={ticket}");
    let check = load("check_login").run(&mall, |_| get(&path, None)).await;
    let order = load("create_pay_order")
        .run(&mall, |n| order(&tokens, n))
        .await;
    let empty_again = load("empty request, again")
        .run(&mall, |_| get("/healthz", None))
        .await;
    mall.stop().await;

    println!(
        "| what | requests/s | of the empty request | server CPU per request | median | p99 |"
    );
    println!("|---|---|---|---|---|---|");
    for measured in [&empty, &info, &check, &order, &empty_again] {
        println!("{}", row(measured, &empty));
    }
    println!();
    println!("- A raw RSA-2048 signature with the same key: {signature:.0} µs of CPU on one core.");
    println!(
        "- An order costs {:.2} signatures of server CPU (aim: 1.5 or less).",
        order.cpu_micros() / signature
    );
    println!(
        "- From start to the first answer on a database of {USERS} users: {start_millis} ms (aim: under 100)."
    );
    println!("- Memory after {USERS} logins: {memory_megabytes} MB resident (aim: under 60).");
}

/// The mall on the database in `folder`.
fn serve(folder: &process::Folder, sandbox: std::net::SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jifen"));
    command
        .env("JIFEN__DATABASE__URL", folder.0.join("bench.db"))
        .env("JIFEN__SANDBOX__MODE", "outside")
        .env("JIFEN__SANDBOX__LISTEN", sandbox.to_string());
    command
}

fn row(measured: &Measured, empty: &Measured) -> String {
    format!(
        "| {} | {:.0} | {:.2} | {:.0} µs | {:.2} ms | {:.2} ms |",
        measured.name,
        measured.per_second(),
        measured.per_second() / empty.per_second(),
        measured.cpu_micros(),
        measured.percentile_millis(50),
        measured.percentile_millis(99),
    )
}

fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: jifen\r\n{authorization}\r\n").into_bytes()
}

/// A different user and package each time: every request makes an order.
fn order(users: &[(String, String)], number: usize) -> Vec<u8> {
    const PACKAGES: [&str; 4] = ["100001", "100010090091", "starter-1000", "pro-10000"];
    let (user, _) = &users[number % users.len()];
    let package = PACKAGES[(number / users.len()) % PACKAGES.len()];
    let body = json!({ "userId": user, "productId": package }).to_string();
    let length = body.len();
    format!(
        "POST /api/v1/alipay/create_pay_order HTTP/1.1\r\nHost: jifen\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The address of a sandbox with room for everyone.
async fn start_sandbox() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = jifen_sandbox::Config::new(
        format!("http://{address}"),
        instance::outgoing_client().unwrap(),
    );
    config.limits.people_max = USERS + 10;
    config.limits.codes_max = USERS + 10;
    tokio::spawn(Sandbox::new(config).serve(listener, std::future::pending()));
    address
}

/// `(user id, token)` of everyone.
async fn log_everyone_in(mall: &Mall, sandbox: std::net::SocketAddr) -> Vec<(String, String)> {
    let http = instance::outgoing_client().unwrap();
    let mut users = Vec::with_capacity(USERS);
    for number in 0..USERS {
        let person = format!("bench{number}");
        let people = format!("http://{sandbox}/sandbox/api/people");
        post(&http, &people, &json!({ "id": person, "nickname": person })).await;
        let login = post(&http, &format!("{people}/{person}/login-code"), &json!({})).await;
        let url = format!("http://{}/api/v1/auth/wechat-login", mall.address);
        let answer = post(&http, &url, &json!({ "code": login["code"] })).await;
        let text = |value: &Value| value.as_str().expect("a login").to_owned();
        users.push((
            text(&answer["data"]["userInfo"]["userId"]),
            text(&answer["data"]["token"]),
        ));
    }
    users
}

async fn scanned_ticket(mall: &Mall, sandbox: std::net::SocketAddr) -> String {
    let http = instance::outgoing_client().unwrap();
    let push_url = format!("http://{}/api/v1/weixin/portal/receive", mall.address);
    let settings = json!({ "push_url": push_url, "mode": "secure" });
    let account = format!("http://{sandbox}/sandbox/api/official-account");
    http.put(account)
        .header("content-type", "application/json")
        .body(settings.to_string())
        .send()
        .await
        .unwrap();
    let url = format!("http://{}/api/v1/login/weixin_qrcode_ticket", mall.address);
    let answer: Value =
        serde_json::from_str(&http.get(url).send().await.unwrap().text().await.unwrap()).unwrap();
    let ticket = answer["data"].as_str().expect("a ticket");
    post(
        &http,
        &format!("http://{sandbox}/sandbox/api/people/xiaoming/scan"),
        &json!({ "ticket": ticket }),
    )
    .await;
    post(
        &http,
        &format!("http://{sandbox}/sandbox/api/outbox/flush"),
        &json!({}),
    )
    .await;
    url::form_urlencoded::byte_serialize(ticket.as_bytes()).collect()
}

async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Value {
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_string());
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{url}: {text}"))
}

/// CPU time of one bare signature, measured alone.
fn raw_signature_micros(sandbox: std::net::SocketAddr) -> f64 {
    let mut config = Config::development().unwrap();
    config.sandbox.listen = sandbox;
    let config = development::complete(config);
    let key_mode = jifen_alipay::KeyMode::PublicKey {
        alipay_public_key: config.alipay.public_key.clone(),
    };
    let gateway = url::Url::parse(&config.alipay.gateway).unwrap();
    let settings = jifen_alipay::Config::new(
        gateway,
        &config.alipay.app_id,
        config.alipay.private_key.clone().into(),
        key_mode,
    );
    let environment = Arc::new(jifen_alipay::SystemEnvironment);
    let alipay =
        jifen_alipay::Alipay::new(settings, instance::outgoing_client().unwrap(), environment)
            .unwrap();
    let message = [b'x'; 700];
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < Duration::from_secs(2) {
        alipay.sign_raw(&message).unwrap();
        count += 1;
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}
