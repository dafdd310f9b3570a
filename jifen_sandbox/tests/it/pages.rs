//! Pages and control API: they exist, in both languages, and only for pages of the same origin.

use jifen_sandbox::Kit;
use serde_json::{Value, json};

use crate::harness::TestSandbox;

const PAGES: [&str; 9] = [
    "/sandbox",
    "/sandbox/people/xiaoming",
    "/sandbox/official-account",
    "/sandbox/faults",
    "/sandbox/exchanges",
    "/sandbox/exchanges/1",
    "/sandbox/notifications",
    "/sandbox/mails",
    "/sandbox/kit",
];

#[tokio::test]
async fn every_page_exists_in_both_languages_without_foreign_resources() {
    let sandbox = TestSandbox::start().await;
    let _integrator = sandbox.integrator("plain").await;
    sandbox
        .post(
            "/sandbox/api/people/xiaoming/messages",
            json!({"text": "<script>alert(1)</script>"}),
        )
        .await;
    sandbox
        .post(
            "/sandbox/api/mails",
            json!({"to": "a@b.example", "text": "hello"}),
        )
        .await;
    sandbox.post("/sandbox/api/outbox/flush", json!({})).await;
    for page in PAGES {
        for (language, attribute) in [
            ("zh-CN", "<html lang=\"zh\">"),
            ("en", "<html lang=\"en\">"),
        ] {
            let answer = sandbox
                .send(
                    sandbox
                        .http
                        .get(sandbox.url(page))
                        .header("accept-language", language),
                )
                .await;
            let text = answer.text();
            assert_eq!(answer.status, 200, "{page}: {text}");
            assert!(text.contains(attribute), "{page}");
            assert!(
                !text.contains("src=\"http") && !text.contains("<script>alert"),
                "{page}"
            );
        }
    }
    let chosen = sandbox.get("/sandbox?lang=en").await;
    assert!(
        chosen.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("language=en")
    );
    assert_eq!(
        sandbox
            .get("/sandbox/people/xiaoming/avatar.svg")
            .await
            .headers["content-type"],
        "image/svg+xml"
    );
    assert_eq!(sandbox.get("/sandbox/nothing-here").await.status, 404);
}

#[tokio::test]
async fn forms_of_other_origins_are_refused() {
    let sandbox = TestSandbox::start().await;
    let form = || {
        let request = sandbox.http.post(sandbox.url("/sandbox/people/xiaoming"));
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body("action=unfollow")
    };
    assert_eq!(
        sandbox
            .send(form().header("origin", "http://evil.example"))
            .await
            .status,
        403
    );
    assert_eq!(
        sandbox
            .send(form().header("sec-fetch-site", "cross-site"))
            .await
            .status,
        403
    );
    let api = sandbox
        .http
        .delete(sandbox.url("/sandbox/api/mails"))
        .header("origin", "null");
    assert_eq!(sandbox.send(api).await.status, 403);
    assert_eq!(
        sandbox
            .send(form().header("origin", &sandbox.base_url))
            .await
            .status,
        303
    );
    assert_eq!(
        sandbox.get("/sandbox/api/people/xiaoming").await.json()["follows_since"],
        Value::Null
    );
}

#[tokio::test]
async fn the_forms_of_the_pages_do_what_they_say() {
    let sandbox = TestSandbox::start().await;
    let submit = |path: &'static str, body: &'static str| {
        let request = sandbox.http.post(sandbox.url(path));
        sandbox.send(
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body),
        )
    };
    let created = submit("/sandbox/people", "nickname=Anna&phone=&follows=1").await;
    assert_eq!(
        (created.status, &created.headers["location"]),
        (303, &"/sandbox/people/anna".parse().unwrap())
    );
    let login = submit("/sandbox/people/anna", "action=login&real_profile=1").await;
    assert!(login.status == 200 && login.text().contains("encryptedData"));
    assert_eq!(
        submit(
            "/sandbox/faults",
            "action=add&kind=provider_slow&provider=alipay&seconds=3&count=2"
        )
        .await
        .status,
        303
    );
    let faults = sandbox.get("/sandbox/api/faults").await.json();
    assert_eq!(
        faults[0],
        json!({"id": 1, "kind": "provider_slow", "seconds": 3, "provider": "alipay", "remaining": 2})
    );
    assert_eq!(
        submit("/sandbox/faults", "action=add&kind=provider_slow&seconds=x")
            .await
            .status,
        422
    );
    let saved = submit(
        "/sandbox/official-account",
        "action=save&push_url=http%3A%2F%2F127.0.0.1%3A9%2F&mode=secure",
    )
    .await;
    assert_eq!(saved.status, 200);
    let settings = sandbox.get("/sandbox/api/official-account").await.json();
    assert_eq!(
        settings,
        json!({"push_url": "http://127.0.0.1:9/", "mode": "secure"})
    );
    assert_eq!(
        submit(
            "/sandbox/official-account",
            "action=save&push_url=ftp%3A%2F%2Fx&mode=plain"
        )
        .await
        .status,
        422
    );
}

#[tokio::test]
async fn every_route_the_control_api_describes_exists() {
    let sandbox = TestSandbox::start().await;
    let described = sandbox.get("/sandbox/api").await.json();
    let routes = described["routes"].as_array().unwrap();
    assert!(routes.len() > 30);
    for route in routes {
        let method: http::Method = route["method"].as_str().unwrap().parse().unwrap();
        let path = route["path"]
            .as_str()
            .unwrap()
            .replace("/people/{id}", "/people/xiaoming")
            .replace("{id}", "1");
        let answer = sandbox.send_json(method, &path, &json!({})).await;
        assert_ne!(answer.status, 405, "{route}");
        assert!(!answer.text().contains("page not found"), "{route}");
    }
}

#[tokio::test]
async fn the_kit_tells_the_integrators_side_and_no_key_of_the_platforms() {
    let sandbox = TestSandbox::start().await;
    let kit = sandbox.get("/sandbox/api/kit").await.json();
    assert_eq!(kit["mchid"], Kit::builtin().mchid);
    assert!(
        kit["merchant_private_key"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----")
    );
    let private: Vec<_> = kit
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.contains("private_key"))
        .collect();
    assert_eq!(private, ["alipay_app_private_key", "merchant_private_key"]);
}

#[tokio::test]
async fn a_url_no_provider_has_is_logged_as_such() {
    let sandbox = TestSandbox::start().await;
    assert_eq!(
        sandbox.get("/v3/pay/transactions/unheard-of").await.status,
        404
    );
    let log = sandbox
        .get("/sandbox/api/exchanges?provider=wechat_pay")
        .await
        .json();
    assert_eq!(
        (&log[0]["status"], &log[0]["refusal"]["code"]),
        (&json!(404), &json!("404"))
    );
}
