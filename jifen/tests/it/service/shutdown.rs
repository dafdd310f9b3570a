//! How the process ends.

use jifen_store::Engine;
use jifen_store::testing::{TestStore, fresh};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::{Process, operate};

const CHARGES: usize = 10;

#[tokio::test]
async fn sqlite_finishes_what_is_in_flight_when_it_is_told_to_stop() {
    finishes_what_is_in_flight_when_it_is_told_to_stop(Engine::Sqlite).await;
}

#[tokio::test]
async fn postgres_finishes_what_is_in_flight_when_it_is_told_to_stop() {
    finishes_what_is_in_flight_when_it_is_told_to_stop(Engine::Postgres).await;
}

async fn finishes_what_is_in_flight_when_it_is_told_to_stop(engine: Engine) {
    let store = fresh(engine).await;
    let process = Process::start(&store, &[]);
    let (user, api_key) = user_with_points(&process, &store).await;
    let secret = operate(&store, &["credentials", "create", "gateway"])["secret"]
        .as_str()
        .unwrap()
        .to_owned();

    let body = json!({ "apiKey": api_key, "points": 3, "title": "OCR" }).to_string();
    let (first_half, second_half) = body.split_at(body.len() / 2);
    let mut streams = Vec::new();
    for number in 0..CHARGES {
        let mut stream = TcpStream::connect(process.address()).await.unwrap();
        let head = format!(
            "POST /api/v2/metering/charges HTTP/1.1\r\nhost: mall\r\nauthorization: Bearer {secret}\r\nidempotency-key: {number}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{first_half}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let in_flight = format!("jifen_http_requests_in_flight {}", CHARGES + 1);
    process
        .until("/metrics", |answer| {
            answer.text.lines().any(|line| line == in_flight)
        })
        .await;

    process.signal("TERM");
    while TcpStream::connect(process.address()).await.is_ok() {}
    for stream in &mut streams {
        stream.write_all(second_half.as_bytes()).await.unwrap();
    }
    for mut stream in streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.logged);
    let shown = operate(&store, &["users", "show", &user]);
    assert_eq!(
        shown["points"],
        100 - 3 * CHARGES,
        "what was answered is on disk"
    );
    assert_eq!(operate(&store, &["audit"])["findings"], json!([]));
}

/// `(user id, API key)` of somebody with 100 points.
async fn user_with_points(process: &Process, store: &TestStore) -> (String, String) {
    let code = process
        .sandbox_post("/people/xiaoming/login-code", &json!({}))
        .await;
    let login = process
        .post(
            "/api/v1/auth/wechat-login",
            &json!({ "code": code["code"] }),
        )
        .send()
        .await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let user = text(&login.body["data"]["userInfo"]["userId"]);
    let token = crate::world::Token(text(&login.body["data"]["token"]));
    operate(
        store,
        &["users", "grant", &user, "100", "--reason", "to spend"],
    );
    let key = process
        .post("/api/v1/api-keys/create", &json!({ "name": "k" }))
        .token(&token)
        .send()
        .await;
    (user, text(&key.body["data"]["key"]))
}

#[tokio::test]
async fn an_idle_process_ends_at_once_on_either_signal_although_clients_stay_connected() {
    for signal in ["TERM", "INT"] {
        let store = fresh(Engine::Sqlite).await;
        let process = Process::start(&store, &[]);
        // The client keeps its connection.
        assert_eq!(process.get("/healthz").send().await.status, 200);
        let silent = TcpStream::connect(process.address()).await.unwrap();
        process.signal(signal);
        let ended = process.wait();
        assert_eq!(ended.status.code(), Some(0), "{signal}: {}", ended.logged);
        assert!(
            !ended.logged.contains("cut off"),
            "{signal}: {}",
            ended.logged
        );
        drop(silent);
    }
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_after_the_configured_time() {
    let store = fresh(Engine::Sqlite).await;
    let process = Process::start(&store, &[("JIFEN__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "1")]);
    let mut stream = TcpStream::connect(process.address()).await.unwrap();
    let head = "POST /api/v1/auth/wechat-login HTTP/1.1\r\nhost: mall\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    process
        .until("/metrics", |answer| {
            answer.text.contains("jifen_http_requests_in_flight 2")
        })
        .await;
    process.signal("TERM");
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.logged.contains("cut off"), "{}", ended.logged);
}

#[tokio::test]
async fn a_load_balancer_is_told_before_the_door_closes() {
    let store = fresh(Engine::Sqlite).await;
    let process = Process::start(&store, &[("JIFEN__SERVER__DRAIN_DELAY_SECONDS", "600")]);
    process.signal("TERM");
    let told = process
        .until("/readyz", |answer| answer.status != 200)
        .await;
    assert_eq!((told.status, told.text.as_str()), (503, "shutting down"));
    assert_eq!(
        process.get("/api/v1/system/status").send().await.status,
        200,
        "requests are still answered"
    );
}

#[tokio::test]
async fn a_port_in_use_is_told_and_nothing_was_touched() {
    let store = fresh(Engine::Sqlite).await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_jifen"))
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env(
            "JIFEN__SERVER__LISTEN",
            taken.local_addr().unwrap().to_string(),
        )
        .env("JIFEN__SANDBOX__LISTEN", "127.0.0.1:0")
        .env(
            "JIFEN__DATABASE__URL",
            crate::world::database_url(store.config()),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("error: server.listen: ") && told.contains("is another Jifen running?"),
        "{told}"
    );
}
