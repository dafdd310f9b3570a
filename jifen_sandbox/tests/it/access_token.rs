//! `/cgi-bin/stable_token` and `/cgi-bin/token`.

use jifen_sandbox::Kit;
use serde_json::{Value, json};

use crate::harness::TestSandbox;

async fn stable(sandbox: &TestSandbox, forced: bool) -> Value {
    let kit = Kit::builtin();
    let body = json!({
        "grant_type": "client_credential", "appid": kit.official_account_appid,
        "secret": kit.official_account_secret, "force_refresh": forced,
    });
    sandbox.post("/cgi-bin/stable_token", body).await.json()
}

async fn plain(sandbox: &TestSandbox) -> Value {
    let kit = Kit::builtin();
    let (appid, secret) = (kit.official_account_appid, kit.official_account_secret);
    let query = format!("grant_type=client_credential&appid={appid}&secret={secret}");
    sandbox.get(&format!("/cgi-bin/token?{query}")).await.json()
}

/// The `errcode` of a call with that token; 40003 is what a good token gets for an unknown openid.
async fn errcode_of_call(sandbox: &TestSandbox, token: &Value) -> i64 {
    let token = token["access_token"].as_str().unwrap();
    let answer = sandbox
        .get(&format!(
            "/cgi-bin/user/info?access_token={token}&openid=nobody"
        ))
        .await
        .json();
    answer["errcode"].as_i64().unwrap()
}

const GOOD: i64 = 40003;

#[tokio::test]
async fn the_stable_token_stays_until_five_minutes_before_its_end() {
    let sandbox = TestSandbox::start().await;
    let first = stable(&sandbox, false).await;
    assert_eq!(first["expires_in"], 7200);
    sandbox.clock.advance(6_899);
    let same = stable(&sandbox, false).await;
    assert_eq!(
        (&same["access_token"], &same["expires_in"]),
        (&first["access_token"], &json!(301))
    );
    sandbox.clock.advance(1);
    let renewed = stable(&sandbox, false).await;
    assert_ne!(renewed["access_token"], first["access_token"]);
    assert_eq!(errcode_of_call(&sandbox, &first).await, GOOD);
    sandbox.clock.advance(300);
    assert_eq!(errcode_of_call(&sandbox, &first).await, 42001);
    assert_eq!(errcode_of_call(&sandbox, &renewed).await, GOOD);
}

#[tokio::test]
async fn a_forced_refresh_ends_the_old_token_at_once_and_is_allowed_every_thirty_seconds() {
    let sandbox = TestSandbox::start().await;
    let first = stable(&sandbox, false).await;
    let forced = stable(&sandbox, true).await;
    assert_eq!(errcode_of_call(&sandbox, &first).await, 40001);
    assert_eq!(errcode_of_call(&sandbox, &forced).await, GOOD);
    assert_eq!(stable(&sandbox, true).await["errcode"], 45011);
    sandbox.clock.advance(30);
    assert!(stable(&sandbox, true).await["access_token"].is_string());
}

#[tokio::test]
async fn the_plain_url_always_issues_a_new_token_and_does_not_touch_the_stable_one() {
    let sandbox = TestSandbox::start().await;
    let kept = stable(&sandbox, false).await;
    let (first, second) = (plain(&sandbox).await, plain(&sandbox).await);
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(errcode_of_call(&sandbox, &first).await, GOOD);
    sandbox.clock.advance(300);
    assert_eq!(errcode_of_call(&sandbox, &first).await, 42001);
    assert_eq!(errcode_of_call(&sandbox, &second).await, GOOD);
    assert_eq!(errcode_of_call(&sandbox, &kept).await, GOOD);
}

#[tokio::test]
async fn wrong_credentials_and_wrong_tokens_have_their_codes() {
    let sandbox = TestSandbox::start().await;
    let kit = Kit::builtin();
    let wrong = json!({"grant_type": "client_credential", "appid": kit.official_account_appid, "secret": "x"});
    assert_eq!(
        sandbox.post("/cgi-bin/stable_token", wrong).await.json()["errcode"],
        40125
    );
    assert_eq!(
        sandbox
            .post("/cgi-bin/stable_token", json!({"grant_type": "x"}))
            .await
            .json()["errcode"],
        40002
    );
    assert_eq!(
        sandbox
            .get("/cgi-bin/token?grant_type=client_credential")
            .await
            .json()["errcode"],
        41002
    );
    assert_eq!(
        sandbox.get("/cgi-bin/user/info").await.json()["errcode"],
        41001
    );
    assert_eq!(
        errcode_of_call(&sandbox, &json!({"access_token": "abc"})).await,
        40014
    );
    let token = stable(&sandbox, false).await;
    sandbox
        .send(
            sandbox
                .http
                .delete(sandbox.url("/sandbox/api/access-tokens")),
        )
        .await;
    assert_eq!(errcode_of_call(&sandbox, &token).await, 40001);
    assert_eq!(
        errcode_of_call(&sandbox, &stable(&sandbox, false).await).await,
        GOOD
    );
}
