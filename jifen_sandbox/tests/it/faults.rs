//! Faults of notifications and of providers.

use jifen_sandbox::Kit;
use serde_json::{Value, json};

use crate::harness::{TestSandbox, sha1_sorted};

async fn fault(sandbox: &TestSandbox, fault: Value) {
    let answer = sandbox.post("/sandbox/api/faults", fault).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn say(sandbox: &TestSandbox, text: &str) {
    sandbox
        .post(
            "/sandbox/api/people/xiaoming/messages",
            json!({"text": text}),
        )
        .await;
}

async fn flush(sandbox: &TestSandbox) -> Value {
    sandbox
        .post("/sandbox/api/outbox/flush", json!({}))
        .await
        .json()
}

#[tokio::test]
async fn a_lost_notification_is_not_sent_and_comes_with_the_next_attempt() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    fault(
        &sandbox,
        json!({"kind": "notification_lost", "provider": "official_account", "count": 1}),
    )
    .await;
    say(&sandbox, "one").await;
    assert_eq!(flush(&sandbox).await["failed"], 1);
    assert!(integrator.got_nothing_more());
    assert_eq!(flush(&sandbox).await["accepted"], 1);
    assert_eq!(integrator.got().element("Content"), "one");
    assert_eq!(sandbox.get("/sandbox/api/faults").await.json(), json!([]));
}

#[tokio::test]
async fn a_doubled_notification_arrives_twice() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    fault(
        &sandbox,
        json!({"kind": "notification_doubled", "count": 1}),
    )
    .await;
    say(&sandbox, "one").await;
    flush(&sandbox).await;
    assert_eq!(
        (
            integrator.got().element("Content"),
            integrator.got().element("Content")
        ),
        ("one", "one")
    );
    assert!(integrator.got_nothing_more());
}

#[tokio::test]
async fn a_reordered_notification_is_overtaken_by_the_next_one() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    fault(
        &sandbox,
        json!({"kind": "notification_reordered", "count": 1}),
    )
    .await;
    say(&sandbox, "one").await;
    sandbox
        .post("/sandbox/api/outbox/deliver-due", json!({}))
        .await;
    assert!(integrator.got_nothing_more());
    say(&sandbox, "two").await;
    sandbox
        .post("/sandbox/api/outbox/deliver-due", json!({}))
        .await;
    sandbox
        .post("/sandbox/api/outbox/deliver-due", json!({}))
        .await;
    assert_eq!(
        (
            integrator.got().element("Content"),
            integrator.got().element("Content")
        ),
        ("two", "one")
    );
}

#[tokio::test]
async fn a_late_notification_waits_for_its_time() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    fault(
        &sandbox,
        json!({"kind": "notification_late", "seconds": 20, "count": 1}),
    )
    .await;
    say(&sandbox, "one").await;
    for (after, arrived) in [(0, false), (19, false), (1, true)] {
        sandbox.clock.advance(after);
        sandbox
            .post("/sandbox/api/outbox/deliver-due", json!({}))
            .await;
        assert_eq!(!integrator.got_nothing_more(), arrived, "after {after} s");
    }
}

#[tokio::test]
async fn a_badly_signed_notification_does_not_verify() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    fault(
        &sandbox,
        json!({"kind": "notification_badly_signed", "count": 1}),
    )
    .await;
    say(&sandbox, "one").await;
    flush(&sandbox).await;
    let received = integrator.got();
    let parts = [
        Kit::builtin().official_account_token,
        received.parameter("timestamp"),
        received.parameter("nonce"),
    ];
    assert_ne!(received.parameter("signature"), sha1_sorted(&parts));
}

#[tokio::test]
async fn a_provider_can_be_down_silent_or_nonsensical_and_only_that_one() {
    let sandbox = TestSandbox::start().await;
    let call = || sandbox.http.get(sandbox.url("/sns/jscode2session"));
    for kind in [
        "provider_down",
        "provider_nonsense",
        "provider_closes_connection",
    ] {
        fault(
            &sandbox,
            json!({"kind": kind, "provider": "mini_program", "count": 1}),
        )
        .await;
    }
    // All three apply to the first request: down wins, since nothing is carried out.
    assert_eq!(sandbox.send(call()).await.status, 502);
    assert_eq!(sandbox.send(call()).await.json()["errcode"], 41002);

    fault(
        &sandbox,
        json!({"kind": "provider_nonsense", "provider": "mini_program", "count": 1}),
    )
    .await;
    let nonsense = sandbox.send(call()).await;
    assert_eq!(
        (
            nonsense.status,
            serde_json::from_slice::<Value>(&nonsense.body).is_err()
        ),
        (200, true)
    );

    fault(
        &sandbox,
        json!({"kind": "provider_closes_connection", "provider": "mini_program"}),
    )
    .await;
    assert_eq!(
        sandbox.get("/cgi-bin/user/info").await.json()["errcode"],
        41001
    );
    assert!(call().send().await.is_err());
    assert!(call().send().await.is_err());
    sandbox
        .send(sandbox.http.delete(sandbox.url("/sandbox/api/faults")))
        .await;
    assert_eq!(sandbox.send(call()).await.json()["errcode"], 41002);
    let log = sandbox
        .get("/sandbox/api/exchanges?provider=mini_program")
        .await
        .json();
    assert_eq!(
        (&log[1]["status"], &log[1]["note"]),
        (&Value::Null, &json!("fault: provider_closes_connection"))
    );
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused() {
    let sandbox = TestSandbox::start().await;
    for wrong in [
        json!({"kind": "provider_slow", "seconds": 0}),
        json!({"kind": "provider_slow", "seconds": 601}),
        json!({"kind": "provider_slow"}),
        json!({"kind": "unknown"}),
        json!({"kind": "provider_down", "count": 0}),
        json!({"kind": "provider_down", "provider": "nobody"}),
    ] {
        let answer = sandbox.post("/sandbox/api/faults", wrong.clone()).await;
        assert_eq!(
            (answer.status, answer.json()["error"].is_string()),
            (422, true),
            "{wrong}"
        );
    }
}
