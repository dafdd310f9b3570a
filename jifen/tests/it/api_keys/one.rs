//! `/api/v2/api-keys/{id}`.

use serde_json::{Value, json};

use super::collection::misfits;
use super::{KEYS, assert_problem, change, key, list};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

on_both_engines!(
    what_is_named_changes_and_everything_else_stays,
    a_deleted_key_is_gone,
    an_expired_key_cannot_be_switched_on,
);

on_sqlite!(
    another_persons_key_is_as_if_it_were_not_there,
    what_does_not_fit_changes_nothing,
    a_session_is_needed,
    other_methods_are_refused_with_those_that_work,
);

async fn get(world: &World, token: &Token, id: &str) -> Answer {
    world.get(&format!("{KEYS}/{id}")).token(token).send().await
}

async fn what_is_named_changes_and_everything_else_stays(world: World) {
    let token = world.log_in("xiaoming").await;
    let (id, _) = key(&world, &token, &json!({ "name": "k" })).await;
    let mut known = get(&world, &token, &id).await.body;
    for (sent, told) in [
        (json!({}), json!({})),
        (
            json!({ "name": " renamed ", "unknown": 1 }),
            json!({ "name": "renamed" }),
        ),
        (json!({ "active": false }), json!({ "status": "inactive" })),
        (json!({ "active": false }), json!({})),
        (json!({ "active": true }), json!({ "status": "active" })),
        (json!({ "dailyCap": 5 }), json!({ "dailyCap": 5 })),
        (
            json!({ "monthlyCap": 6, "totalCap": 7, "dailyCap": 4 }),
            json!({ "monthlyCap": 6, "totalCap": 7, "dailyCap": 4 }),
        ),
        (json!({ "dailyCap": null }), json!({ "dailyCap": null })),
        (
            json!({ "rateLimit": { "requests": 1, "seconds": 2 } }),
            json!({ "rateLimit": { "requests": 1, "seconds": 2 } }),
        ),
        (json!({ "rateLimit": null }), json!({ "rateLimit": null })),
        (
            json!({ "ipRanges": ["203.0.113.7"], "scopes": ["GET /v1/a", "* /v1/*"] }),
            json!({ "ipRanges": ["203.0.113.7/32"], "scopes": ["GET /v1/a", "* /v1/*"] }),
        ),
        (
            json!({ "ipRanges": null, "scopes": [] }),
            json!({ "ipRanges": [], "scopes": [] }),
        ),
        (
            json!({ "monthlyCap": null, "totalCap": null }),
            json!({ "monthlyCap": null, "totalCap": null }),
        ),
    ] {
        let answer = change(&world, &token, &id, &sent).await;
        for (field, value) in told.as_object().unwrap() {
            known[field] = value.clone();
        }
        assert_eq!((answer.status, &answer.body), (200, &known), "{sent}");
        assert_eq!(get(&world, &token, &id).await.body, known, "{sent}");
    }
    assert_eq!(list(&world, &token).await, json!([known]));
}

async fn a_deleted_key_is_gone(world: World) {
    let token = world.log_in("xiaoming").await;
    let capped = json!({ "name": "gone", "totalCap": 5 });
    let (id, secret) = key(&world, &token, &capped).await;
    let (kept, _) = key(&world, &token, &json!({ "name": "kept" })).await;
    let delete = async || {
        let request = world.request("DELETE", &format!("{KEYS}/{id}"));
        request.token(&token).send().await
    };
    let deleted = delete().await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    assert_problem(&delete().await, 404, "not_found", None);
    assert_problem(&get(&world, &token, &id).await, 404, "not_found", None);
    let changed = change(&world, &token, &id, &json!({ "active": true })).await;
    assert_problem(&changed, 404, "not_found", None);
    let keys = list(&world, &token).await;
    assert_eq!(
        (keys.as_array().unwrap().len(), &keys[0]["id"]),
        (1, &json!(kept))
    );
    let spent = world.charge(&world.gateway().await, "1", &secret, 1).await;
    assert_eq!(spent.body["code"], "unknown_api_key", "{}", spent.text);
}

async fn an_expired_key_cannot_be_switched_on(world: World) {
    let token = world.log_in("xiaoming").await;
    let (id, _) = key(&world, &token, &json!({ "name": "k", "expiryMonths": 1 })).await;
    world.clock.advance_seconds(31 * 86_400);
    let token = world.log_in("xiaoming").await;
    let status = async || get(&world, &token, &id).await.body["status"].clone();
    assert_eq!(status().await, "expired");
    let answer = change(&world, &token, &id, &json!({ "active": true })).await;
    assert_problem(&answer, 422, "invalid_request", Some("active"));
    let rotate = world.post(&format!("{KEYS}/{id}/rotate"), &json!({}));
    let answer = rotate.token(&token).send().await;
    assert_problem(&answer, 422, "invalid_request", Some("id"));
    let answer = change(
        &world,
        &token,
        &id,
        &json!({ "active": false, "name": "old" }),
    )
    .await;
    assert_eq!(
        (answer.status, &answer.body["status"], &answer.body["name"]),
        (200, &json!("expired"), &json!("old"))
    );
}

/// Every way to do something with a key.
const WAYS: [(&str, &str, &str); 4] = [
    ("GET", "", ""),
    ("PATCH", "", "{\"name\":\"x\"}"),
    ("DELETE", "", ""),
    ("POST", "/rotate", "{}"),
];

async fn another_persons_key_is_as_if_it_were_not_there(world: World) {
    let (ming, hong) = (
        world.log_in("xiaoming").await,
        world.log_in("xiaohong").await,
    );
    let (id, _) = key(&world, &ming, &json!({ "name": "ming's" })).await;
    let before = list(&world, &ming).await;
    let mut answers: Vec<Value> = Vec::new();
    for id in [
        id.as_str(),
        "unknown",
        "5f2b8c1e9a7d4036b1c2d3e4",
        "%E4%B8%80",
        "%FF",
        "a%2Fb",
        &"x".repeat(65),
    ] {
        for (method, rest, body) in WAYS {
            let request = world.request(method, &format!("{KEYS}/{id}{rest}"));
            let answer = request.body(body).token(&hong).send().await;
            assert_problem(&answer, 404, "not_found", None);
            answers.push(answer.body);
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(list(&world, &ming).await, before);
}

async fn what_does_not_fit_changes_nothing(world: World) {
    let token = world.log_in("xiaoming").await;
    let (id, _) = key(&world, &token, &json!({ "name": "k", "dailyCap": 5 })).await;
    let before = list(&world, &token).await;
    let more = [("active", json!(null)), ("active", json!("yes"))];
    for (field, value) in misfits().into_iter().chain(more) {
        // Beside changes that would be fine.
        let mut sent = json!({ "name": "x", "active": false, "dailyCap": null });
        sent[field.split('.').next().unwrap()] = value;
        let answer = change(&world, &token, &id, &sent).await;
        assert_problem(&answer, 422, "invalid_request", Some(field));
    }
    assert_eq!(list(&world, &token).await, before);
}

async fn a_session_is_needed(world: World) {
    let token = world.log_in("xiaoming").await;
    let (id, secret) = key(&world, &token, &json!({ "name": "k" })).await;
    let gateway = world.gateway().await;
    let before = list(&world, &token).await;
    let ways = WAYS.map(|(method, rest, body)| (method, format!("{KEYS}/{id}{rest}"), body));
    let all = [
        ("GET", KEYS.to_owned(), ""),
        ("POST", KEYS.to_owned(), "{\"name\":\"x\"}"),
    ];
    for (method, path, body) in ways.into_iter().chain(all) {
        let request = || world.request(method, &path).body(body);
        for request in [
            request(),
            request().token(&Token(secret.clone())),
            request().token(&gateway),
        ] {
            assert_problem(&request.send().await, 401, "unauthenticated", None);
        }
        if method != "GET" {
            let foreign = request()
                .header("cookie", &format!("jifen_session={}", token.0))
                .header("sec-fetch-site", "cross-site");
            assert_problem(&foreign.send().await, 403, "forbidden", None);
        }
    }
    assert_eq!(list(&world, &token).await, before);
}

async fn other_methods_are_refused_with_those_that_work(world: World) {
    for (path, method, allowed) in [
        (KEYS.to_owned(), "PUT", "GET,HEAD,POST"),
        (format!("{KEYS}/k"), "POST", "DELETE,GET,HEAD,PATCH"),
        (format!("{KEYS}/k/rotate"), "GET", "POST"),
    ] {
        let answer = world.request(method, &path).send().await;
        assert_problem(&answer, 405, "method_not_allowed", None);
        let mut allow: Vec<&str> = answer.header("allow").split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{path}");
    }
}
