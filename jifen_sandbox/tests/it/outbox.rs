//! Notifications by themselves, by hand, and bounded.

use serde_json::json;

use crate::harness::{Integrator, TestSandbox};

#[tokio::test]
async fn notifications_are_sent_by_themselves_and_repeated_on_a_compressed_schedule() {
    let integrator = Integrator::start().await;
    let url = integrator.url.clone();
    let sandbox = TestSandbox::start_with(|config| {
        config.automatic_delivery = true;
        config.time_compression = 1_000_000;
        config.environment = std::sync::Arc::new(jifen_sandbox::SystemEnvironment);
        config.official_account_push_url = Some(url);
    })
    .await;
    let mut integrator = integrator;
    integrator.will_answer(503, "");
    sandbox
        .post("/sandbox/api/people/xiaohong/follow", json!({}))
        .await;
    let (first, second) = (integrator.gets().await, integrator.gets().await);
    assert_eq!(
        (first.element("Event"), second.element("Event")),
        ("subscribe", "subscribe")
    );
    assert_ne!(first.parameter("nonce"), second.parameter("nonce"));
}

#[tokio::test]
async fn a_delivered_notification_can_be_sent_again_by_hand() {
    let sandbox = TestSandbox::start().await;
    let mut integrator = sandbox.integrator("plain").await;
    let pushed = sandbox
        .post("/sandbox/api/people/xiaoming/unfollow", json!({}))
        .await
        .json();
    sandbox.post("/sandbox/api/outbox/flush", json!({})).await;
    let id = &pushed["notification_id"];
    let again = sandbox
        .post(
            &format!("/sandbox/api/notifications/{id}/resend"),
            json!({}),
        )
        .await
        .json();
    assert_eq!(
        (&again["state"], again["attempts"].as_array().unwrap().len()),
        (&json!("delivered"), 2)
    );
    assert_eq!(
        (
            integrator.got().element("Event"),
            integrator.got().element("Event")
        ),
        ("unsubscribe", "unsubscribe")
    );
    assert_eq!(
        sandbox
            .post("/sandbox/api/notifications/999/resend", json!({}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn an_unreachable_integrator_is_a_failed_attempt_with_its_reason() {
    let sandbox = TestSandbox::start().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings =
        json!({"push_url": format!("http://{}/", nobody.local_addr().unwrap()), "mode": "plain"});
    drop(nobody);
    sandbox
        .send_json(
            http::Method::PUT,
            "/sandbox/api/official-account",
            &settings,
        )
        .await;
    sandbox
        .post("/sandbox/api/people/xiaoming/unfollow", json!({}))
        .await;
    let done = sandbox
        .post("/sandbox/api/outbox/flush", json!({}))
        .await
        .json();
    assert_eq!(done["failed"], 1);
    let refusal = sandbox.newest_refusal().await;
    assert_eq!(refusal["code"], "NO_ANSWER");
    assert!(
        refusal["reason"]
            .as_str()
            .unwrap()
            .starts_with("cannot connect"),
        "{refusal}"
    );
}

#[tokio::test]
async fn everything_that_grows_is_bounded() {
    let sandbox = TestSandbox::start_with(|config| {
        config.limits.notifications_max = 3;
        config.limits.exchanges_max = 4;
        config.limits.mails_max = 2;
        config.limits.body_bytes_max = 200;
    })
    .await;
    let _integrator = sandbox.integrator("plain").await;
    for number in 0..6 {
        sandbox
            .post(
                "/sandbox/api/people/xiaoming/messages",
                json!({"text": "hello"}),
            )
            .await;
        sandbox.get("/cgi-bin/user/info").await;
        sandbox
            .post(
                "/sandbox/api/mails",
                json!({"to": "a@b.example", "subject": number.to_string()}),
            )
            .await;
    }
    let length = |list: serde_json::Value| list.as_array().unwrap().len();
    assert_eq!(
        length(sandbox.get("/sandbox/api/notifications").await.json()),
        3
    );
    assert_eq!(
        length(sandbox.get("/sandbox/api/exchanges").await.json()),
        4
    );
    let mails = sandbox
        .get("/sandbox/api/mails?to=A@B.example")
        .await
        .json();
    assert_eq!(
        (length(mails.clone()), &mails[0]["subject"]),
        (2, &json!("5"))
    );
    let long = sandbox
        .http
        .post(sandbox.url("/cgi-bin/stable_token"))
        .body("x".repeat(201));
    assert_eq!(sandbox.send(long).await.status, 413);
}
