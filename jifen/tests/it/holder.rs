//! What the holder of an API key asks with it.

mod balance;
mod usage;

use serde_json::json;

use crate::metering::{Shop, assert_problem};
use crate::world::{Answer, Request, Token, World, on_both_engines};

on_both_engines!(only_an_api_key_opens_them);

const BALANCE: &str = "/api/v2/balance";
const USAGE: &str = "/api/v2/usage?from=2026-01-01&to=2026-01-31";

async fn ask(shop: &Shop, path: &str) -> Answer {
    request(shop, path).send().await
}

fn request(shop: &Shop, path: &str) -> Request {
    shop.world.get(path).token(&Token(shop.key.clone()))
}

async fn only_an_api_key_opens_them(world: World) {
    let shop = Shop::new(world, 100).await;
    let (_, cookie) = shop.world.web_login("xiaoming").await;
    let key = &shop.key;
    let typo = format!(
        "{}{}",
        &key[..41],
        if key.ends_with('a') { 'b' } else { 'a' }
    );
    for path in [BALANCE, USAGE] {
        assert_eq!(ask(&shop, path).await.status, 200);
        let get = || shop.world.get(path);
        let bearer = |token: &str| get().header("authorization", &format!("Bearer {token}"));
        for request in [
            get(),
            get().header("cookie", &cookie),
            get().header("x-jifen-credential", &shop.gateway.0),
            get().header("x-jifen-credential", key),
            get().header("authorization", key),
            get().header("authorization", &format!("Basic {key}")),
            bearer(""),
            bearer("x"),
            bearer(&typo),
            bearer(&key.to_lowercase()),
            bearer(&shop.token.0),
            bearer(&shop.gateway.0),
            bearer(&"x".repeat(5_000)),
        ] {
            let answer = request.send().await;
            assert_problem(&answer, 401, "unauthenticated", &json!({}));
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        let query = format!("{BALANCE}?key={key}");
        assert_eq!(shop.world.get(&query).send().await.status, 401);
        let post = shop.world.post(path, &json!({}));
        let post = post.token(&Token(key.clone())).send().await;
        assert_problem(&post, 405, "method_not_allowed", &json!({}));
    }
    // Where it may spend from and for what does not matter here: nothing is spent.
    shop.change_key(json!({ "ipRanges": ["10.0.0.0/8"], "scopes": ["GET /x"] }))
        .await;
    assert_eq!(ask(&shop, BALANCE).await.status, 200);
    shop.change_key(json!({ "active": false })).await;
    for path in [BALANCE, USAGE] {
        let told = json!({ "limit": "inactive" });
        assert_problem(&ask(&shop, path).await, 403, "api_key_not_usable", &told);
    }
    shop.change_key(json!({ "active": true })).await;
    shop.world.clock.advance_seconds(400 * 86_400);
    for path in [BALANCE, USAGE] {
        let told = json!({ "limit": "expired" });
        assert_problem(&ask(&shop, path).await, 403, "api_key_not_usable", &told);
    }
    let (id, deleted) = {
        let token = shop.world.log_in("xiaoming").await;
        let made = shop.key_of(&token, json!({})).await;
        let request = shop
            .world
            .request("DELETE", &format!("/api/v2/api-keys/{}", made.0));
        assert_eq!(request.token(&token).send().await.status, 204);
        made
    };
    let gone = shop.world.get(BALANCE).token(&Token(deleted)).send().await;
    assert_problem(&gone, 401, "unauthenticated", &json!({}));
    assert!(!gone.text.contains(&id));
}
