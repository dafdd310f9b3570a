//! What a client can ask of the server, at most.

use jifen::config::Config;
use jifen_store::Engine;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::World;

/// A connection to the mall, to say things no HTTP client says.
async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.config.server.listen)
        .await
        .unwrap()
}

/// Everything the mall says until it closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// A request whose body is announced, but never sent.
async fn unfinished_request(world: &World) -> TcpStream {
    let mut stream = connect(world).await;
    let head = "POST /api/v1/auth/wechat-login HTTP/1.1\r\nhost: mall\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Waits until so many requests are in hand, the one that asks included.
async fn until_in_flight(world: &World, requests: usize) {
    let line = format!("jifen_http_requests_in_flight {requests}");
    while !world
        .get("/metrics")
        .send()
        .await
        .text
        .lines()
        .any(|found| found == line)
    {}
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_the_envelope_of_its_group() {
    let world = World::start_with(Engine::Sqlite, |config| {
        config.server.body_bytes_max = 2_000;
    })
    .await;
    let body = json!({ "padding": "x".repeat(2_000) }).to_string();
    let send = async |path: &str| {
        world
            .post_text(path, body.clone())
            .header("content-type", "application/json")
            .send()
            .await
    };
    let mall = send("/api/v1/auth/wechat-login").await;
    assert_eq!(
        (mall.status, &mall.body["code"]),
        (413, &json!(413)),
        "{}",
        mall.text
    );
    assert!(
        mall.body["message"].as_str().unwrap().contains("2000"),
        "{}",
        mall.text
    );
    let pay = send("/api/v1/alipay/create_pay_order").await;
    assert_eq!(
        (pay.status, &pay.body["code"]),
        (200, &json!("0002")),
        "{}",
        pay.text
    );
    let token = world.gateway().await;
    let charge = world
        .post_text("/api/v2/metering/charges", body.clone())
        .header("content-type", "application/json");
    let charge = charge
        .header("idempotency-key", "1")
        .token(&token)
        .send()
        .await;
    assert_eq!(
        (charge.status, &charge.body["code"]),
        (413, &json!("body_too_large")),
        "{}",
        charge.text
    );
    assert_eq!(send("/api/v1/alipay/alipay_notify_url").await.text, "false");
    assert_eq!(send("/api/v1/wechat-pay/notify").await.status, 413);

    // A body whose length is not announced is counted as it comes.
    let mut stream = connect(&world).await;
    let head = "POST /api/v1/auth/wechat-login HTTP/1.1\r\nhost: mall\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream
        .write_all(format!("{head}7d1\r\n{}\r\n", "x".repeat(2_001)).as_bytes())
        .await
        .unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    let exactly = format!("{{\"code\":\"{}\"}}", "x".repeat(2_000 - 11));
    let exactly = world
        .post_text("/api/v1/auth/wechat-login", exactly)
        .header("content-type", "application/json")
        .send()
        .await;
    assert_eq!(
        exactly.status, 422,
        "a body of the limit is read: {}",
        exactly.text
    );
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_wants_is_closed() {
    let impatient = |config: &mut Config| config.server.header_read_timeout_seconds = 1;
    let world = World::start_with(Engine::Sqlite, impatient).await;
    let mut slow = connect(&world).await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: ma")
        .await
        .unwrap();
    let mut silent = connect(&world).await;
    let (slow, silent) = tokio::join!(rest(&mut slow), rest(&mut silent));
    assert!(
        !slow.contains("200 OK") && !silent.contains("200 OK"),
        "{slow}{silent}"
    );
    assert_eq!(world.get("/healthz").send().await.status, 200);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_given_up() {
    let world = World::start_with(Engine::Sqlite, |config| {
        config.server.request_timeout_seconds = 1;
    })
    .await;
    let mut stream = unfinished_request(&world).await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 503");
    drop(stream);
    until_in_flight(&world, 1).await;
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once_except_health_checks() {
    let world = World::start_with(Engine::Sqlite, |config| config.server.concurrency_max = 2).await;
    let first = unfinished_request(&world).await;
    let mut second = unfinished_request(&world).await;
    until_in_flight(&world, 3).await;

    let mall = world.get("/api/v1/system/status").send().await;
    assert_eq!(
        (mall.status, &mall.body["code"], mall.header("retry-after")),
        (503, &json!(503), "1"),
        "{}",
        mall.text
    );
    let pay = world.get("/api/v1/login/check_login?ticket=x").send().await;
    assert_eq!(
        (pay.status, &pay.body["code"]),
        (200, &json!("0001")),
        "{}",
        pay.text
    );
    let charge = world
        .post("/api/v2/metering/charges", &json!({}))
        .send()
        .await;
    assert_eq!(
        (charge.status, &charge.body["code"]),
        (503, &json!("busy")),
        "{}",
        charge.text
    );
    assert_eq!(
        world
            .post_text("/api/v1/alipay/alipay_notify_url", "")
            .send()
            .await
            .text,
        "false"
    );
    assert_eq!(
        world
            .post_text("/api/v1/wechat-pay/notify", "")
            .send()
            .await
            .status,
        503
    );
    assert_eq!(
        world
            .post_text("/api/v1/weixin/portal/receive", "")
            .send()
            .await
            .status,
        503
    );
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(world.get(path).send().await.status, 200, "{path}");
    }

    drop(first);
    until_in_flight(&world, 2).await;
    assert_eq!(
        world.get("/api/v1/system/status").send().await.status,
        200,
        "the place is free again"
    );
    second.write_all(b"         ").await.unwrap();
    let mut start = [0; 12];
    second.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 422", "the other one went on");
}

#[tokio::test]
async fn a_head_that_is_too_long_or_no_http_is_refused() {
    let world = World::start(Engine::Sqlite).await;
    for (request, why) in [
        (
            format!(
                "GET /healthz HTTP/1.1\r\nhost: mall\r\nx: {}\r\n\r\n",
                "x".repeat(70_000)
            ),
            "a long header",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nhost: mall\r\n\r\n", "x".repeat(70_000)),
            "a long path",
        ),
        (
            format!(
                "GET /healthz HTTP/1.1\r\nhost: mall\r\n{}\r\n",
                "x: 1\r\n".repeat(500)
            ),
            "many headers",
        ),
        ("nonsense\r\n\r\n".to_owned(), "no HTTP"),
        ("\u{16}\u{3}\u{1}\0\u{1}\r\n\r\n".to_owned(), "TLS"),
    ] {
        let mut stream = connect(&world).await;
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{why}: {answer}"
        );
    }
    assert_eq!(world.get("/healthz").send().await.status, 200);
}
