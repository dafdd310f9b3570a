//! Who is not let in, at every URL that asks who is calling.

use serde_json::json;

use super::{LOGIN_EXPIRED, NEEDS_SESSION, NOT_LOGGED_IN, assert_refused, everything};
use crate::world::{Token, World, on_both_engines, on_sqlite};

on_both_engines!(nobody_is_let_in_without_a_token_that_counts);
on_sqlite!(
    another_persons_order_and_keys_are_as_if_they_were_not_there,
    a_header_counts_before_a_cookie
);

async fn nobody_is_let_in_without_a_token_that_counts(world: World) {
    let expired = world.log_in("laowang").await;
    world.clock.advance_seconds(7_200);
    let replaced = world.log_in("xiaohong").await;
    world
        .request("POST", "/api/v1/auth/refresh-token")
        .token(&replaced)
        .send()
        .await;
    world.clock.advance_seconds(60);
    let token = world.log_in("xiaoming").await;
    let (_, api_key) = world.api_key(&token, "key").await;
    let gateway = world.gateway().await;
    let before = everything(&world, &token).await;

    let mut headers = uncounted(&token);
    for secret in [&expired.0, &api_key, &gateway.0] {
        headers.push((format!("Bearer {secret}"), LOGIN_EXPIRED));
    }
    for (method, path, body) in NEEDS_SESSION {
        let without = world.request(method, path).body(body).send().await;
        assert_refused(&without, 401, NOT_LOGGED_IN);
        assert_eq!(without.header("www-authenticate"), "Bearer");
        for (header, message) in &headers {
            let answer = world
                .request(method, path)
                .body(body)
                .header("authorization", header)
                .send()
                .await;
            assert_refused(&answer, 401, message);
        }
        let in_query = format!(
            "{path}{}token={}",
            if path.contains('?') { '&' } else { '?' },
            token.0
        );
        assert_refused(
            &world.request(method, &in_query).body(body).send().await,
            401,
            NOT_LOGGED_IN,
        );
    }
    assert_eq!(everything(&world, &token).await, before);
    // Last, because it ends that session.
    for (method, path, body) in NEEDS_SESSION {
        assert_refused(
            &world
                .request(method, path)
                .body(body)
                .token(&replaced)
                .send()
                .await,
            401,
            LOGIN_EXPIRED,
        );
    }
}

/// Headers that a good token does not make good, and what they are told.
fn uncounted(token: &Token) -> Vec<(String, &'static str)> {
    let token = &token.0;
    let cut = &token[1..];
    let lower = token.to_lowercase();
    let headers = [
        (String::new(), NOT_LOGGED_IN),
        ("Bearer".to_owned(), NOT_LOGGED_IN),
        ("Bearer ".to_owned(), NOT_LOGGED_IN),
        (token.clone(), NOT_LOGGED_IN),
        (format!("Basic {token}"), NOT_LOGGED_IN),
        (format!("Token {token}"), NOT_LOGGED_IN),
        (format!("Bearer:{token}"), NOT_LOGGED_IN),
        (format!("Bearer {token} {token}"), NOT_LOGGED_IN),
        (format!("Bearer {}", "x".repeat(513)), NOT_LOGGED_IN),
        ("Bearer garbage".to_owned(), LOGIN_EXPIRED),
        ("Bearer null".to_owned(), LOGIN_EXPIRED),
        ("Bearer {token}".to_owned(), LOGIN_EXPIRED),
        (format!("Bearer {cut}"), LOGIN_EXPIRED),
        (format!("Bearer {lower}"), LOGIN_EXPIRED),
        (format!("Bearer {token}="), LOGIN_EXPIRED),
    ];
    headers.into()
}

async fn another_persons_order_and_keys_are_as_if_they_were_not_there(world: World) {
    let owner = world.log_in("xiaoming").await;
    let order = world.create_order(&owner, "100001").await;
    let (id, _) = world.api_key(&owner, "key").await;
    let before = everything(&world, &owner).await;

    let stranger = world.log_in("xiaohong").await;
    let check = format!(
        "/api/v1/points/check-payment?orderId={}",
        order["orderId"].as_str().unwrap()
    );
    assert_refused(
        &world.get(&check).token(&stranger).send().await,
        404,
        "没有这个订单",
    );
    for (path, body) in [
        ("/api/v1/api-keys/delete", json!({ "id": id })),
        (
            "/api/v1/api-keys/update-status",
            json!({ "id": id, "status": "inactive" }),
        ),
        (
            "/api/v1/api-keys/update-status",
            json!({ "id": id, "status": "active" }),
        ),
    ] {
        assert_refused(
            &world.post(path, &body).token(&stranger).send().await,
            404,
            "没有这个 API Key",
        );
    }
    for path in ["/points/purchase-history", "/points/consumption-history"] {
        let history = world
            .get(&format!("/api/v1{path}"))
            .token(&stranger)
            .send()
            .await;
        assert_eq!(history.body["data"], json!({ "total": 0, "list": [] }));
    }
    assert_eq!(
        world
            .get("/api/v1/api-keys")
            .token(&stranger)
            .send()
            .await
            .body["data"],
        json!({ "list": [] })
    );

    world.log_in("xiaohong").await;
    let mut after = everything(&world, &owner).await;
    after["users"] = before["users"].clone();
    assert_eq!(after, before);
}

async fn a_header_counts_before_a_cookie(world: World) {
    let token = world.log_in_on_the_web("xiaoming").await;
    let cookie = format!("jifen_session={}", token.0);
    let path = "/api/v1/user/info";
    assert_eq!(
        world
            .get(path)
            .header("cookie", &cookie)
            .send()
            .await
            .status,
        200
    );
    let garbage = Token("garbage".to_owned());
    assert_refused(
        &world
            .get(path)
            .header("cookie", &cookie)
            .token(&garbage)
            .send()
            .await,
        401,
        LOGIN_EXPIRED,
    );
    assert_refused(
        &world
            .get(path)
            .header("cookie", "jifen_session=")
            .send()
            .await,
        401,
        NOT_LOGGED_IN,
    );
    assert_refused(
        &world
            .get(path)
            .header("cookie", "jifen_session=garbage")
            .send()
            .await,
        401,
        LOGIN_EXPIRED,
    );

    let create = |origin: &str| {
        let request = world.post("/api/v1/api-keys/create", &json!({ "name": "key" }));
        request.header("cookie", &cookie).header("origin", origin)
    };
    assert_refused(
        &create("https://evil.example").send().await,
        403,
        "不接受其他网站带 Cookie 的请求",
    );
    assert_refused(
        &create("null").send().await,
        403,
        "不接受其他网站带 Cookie 的请求",
    );
    assert_eq!(create(&world.mall).send().await.status, 200);
}
