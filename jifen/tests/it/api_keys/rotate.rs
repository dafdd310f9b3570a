//! `/api/v2/api-keys/{id}/rotate`.

use serde_json::{Value, json};

use super::{KEYS, assert_problem, key, list};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

on_both_engines!(
    the_old_secret_works_until_its_grace_ends,
    a_key_has_two_secrets_at_most,
);

on_sqlite!(
    a_grace_that_does_not_fit_is_refused,
    test_keys_stay_test_keys
);

async fn rotate(world: &World, token: &Token, id: &str, body: &Value) -> Answer {
    let request = world.post(&format!("{KEYS}/{id}/rotate"), body);
    request.token(token).send().await
}

/// Whether a secret is known: nobody here has a point.
async fn is_known(world: &World, gateway: &Token, secret: &str) -> bool {
    let answer = world.charge(gateway, "1", secret, 1).await;
    match answer.body["code"].as_str() {
        Some("insufficient_points") => true,
        Some("unknown_api_key") => false,
        _ => panic!("{}", answer.text),
    }
}

async fn the_old_secret_works_until_its_grace_ends(world: World) {
    let gateway = world.gateway().await;
    for (sent, grace_seconds, until) in [
        (json!({ "graceSeconds": 0 }), 0, "2026-01-15T04:00:00Z"),
        (json!({ "graceSeconds": 60 }), 60, "2026-01-15T04:01:00Z"),
        (json!({}), 86_400, "2026-01-16T04:01:00Z"),
    ] {
        let token = world.log_in("xiaoming").await;
        let wanted = json!({ "name": sent.to_string(), "dailyCap": 5 });
        let (id, old) = key(&world, &token, &wanted).await;
        assert!(is_known(&world, &gateway, &old).await);
        let keys = list(&world, &token).await;
        let answer = rotate(&world, &token, &id, &sent).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let new = answer.body["secret"].as_str().unwrap().to_owned();
        assert!(new != old && new.starts_with("jf_live_"), "{new}");

        // All but the secret is as it was.
        let is_this = |key: &&Value| key["id"] == id;
        let mut known = keys
            .as_array()
            .unwrap()
            .iter()
            .find(is_this)
            .unwrap()
            .clone();
        known["hint"] = json!(new[32..36]);
        let keys = list(&world, &token).await;
        assert_eq!(keys.as_array().unwrap().iter().find(is_this), Some(&known));
        known["secret"] = json!(new);
        known["oldSecretValidUntil"] = json!(until);
        assert_eq!(answer.body, known);

        assert!(is_known(&world, &gateway, &new).await);
        if grace_seconds > 0 {
            world.clock.advance_seconds(grace_seconds - 1);
            assert!(is_known(&world, &gateway, &old).await, "{sent}");
            world.clock.advance_seconds(1);
        }
        assert!(!is_known(&world, &gateway, &old).await, "{sent}");
        assert!(is_known(&world, &gateway, &new).await, "{sent}");
    }
}

async fn a_key_has_two_secrets_at_most(world: World) {
    let token = world.log_in("xiaoming").await;
    let gateway = world.gateway().await;
    let (id, first) = key(&world, &token, &json!({ "name": "k" })).await;
    let mut secrets = vec![first];
    for _ in 0..3 {
        let answer = rotate(&world, &token, &id, &json!({})).await;
        secrets.push(answer.body["secret"].as_str().unwrap().to_owned());
        let mut known = Vec::new();
        for secret in &secrets {
            known.push(is_known(&world, &gateway, secret).await);
        }
        let last_two: Vec<bool> = (0..secrets.len())
            .map(|place| place + 2 >= secrets.len())
            .collect();
        assert_eq!(known, last_two);
    }
}

async fn a_grace_that_does_not_fit_is_refused(world: World) {
    let token = world.log_in("xiaoming").await;
    let (id, secret) = key(&world, &token, &json!({ "name": "k" })).await;
    for grace in [
        json!(-1),
        json!(604_801),
        json!(1.5),
        json!("60"),
        json!(i64::MIN),
    ] {
        let answer = rotate(&world, &token, &id, &json!({ "graceSeconds": grace })).await;
        assert_problem(&answer, 422, "invalid_request", Some("graceSeconds"));
    }
    assert!(is_known(&world, &world.gateway().await, &secret).await);
    let longest = json!({ "graceSeconds": 604_800 });
    let answer = rotate(&world, &token, &id, &longest).await;
    assert_eq!(
        answer.body["oldSecretValidUntil"], "2026-01-22T04:00:00Z",
        "{}",
        answer.text
    );
}

async fn test_keys_stay_test_keys(world: World) {
    let token = world.log_in("xiaoming").await;
    let (id, _) = key(&world, &token, &json!({ "name": "k", "test": true })).await;
    let answer = rotate(&world, &token, &id, &json!({})).await;
    let secret = answer.body["secret"].as_str().unwrap();
    assert!(secret.starts_with("jf_test_"), "{}", answer.text);
    assert_eq!(answer.body["test"], true);
}
