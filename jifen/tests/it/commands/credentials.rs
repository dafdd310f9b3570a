//! `jifen credentials`.

use serde_json::json;

use crate::world::{Token, World, on_both_engines};

on_both_engines!(
    a_credential_works_until_it_is_revoked_and_is_shown_once,
    a_credential_has_the_scopes_and_the_rate_it_was_made_with,
);

async fn a_credential_has_the_scopes_and_the_rate_it_was_made_with(world: World) {
    let made = world
        .jifen_json(&[
            "credentials",
            "create",
            "reader",
            "--scopes",
            "verify,refund",
            "--rate",
            "100/60",
        ])
        .await;
    let listed = world.jifen_json(&["credentials", "list"]).await;
    assert_eq!(
        (&listed[0]["scopes"], &listed[0]["rate"]),
        (&json!(["verify", "refund"]), &json!("100/60"))
    );
    let table = world.jifen(&["credentials", "list"]).await;
    assert!(
        table.text().contains("verify,refund") && table.text().contains("100/60"),
        "{}",
        table.stdout
    );
    let secret = Token(made["secret"].as_str().unwrap().to_owned());
    let refused = world.charge(&secret, "1", "jf_live_x", 1).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (403, &json!("forbidden"))
    );
}

async fn a_credential_works_until_it_is_revoked_and_is_shown_once(world: World) {
    let status = async |secret: &str| {
        world
            .charge(&Token(secret.to_owned()), "1", "jf_live_x", 1)
            .await
            .status
    };
    let made = world
        .jifen_json(&["credentials", "create", "上海 gateway"])
        .await;
    let (id, secret) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    assert_eq!(made["name"], "上海 gateway");
    assert!(secret.starts_with("sk_"), "{secret}");
    assert_eq!(
        status(secret).await,
        422,
        "the gateway is known, the API key is not"
    );

    let words = world.jifen(&["credentials", "create", "second"]).await;
    assert!(
        words.text().starts_with("sk_") && words.text().contains("the secret is not shown again"),
        "{}",
        words.stdout
    );
    let listed = world.jifen(&["credentials", "list", "--json"]).await;
    assert!(!listed.stdout.contains("sk_"), "{}", listed.stdout);
    let listed = listed.json();
    assert_eq!(
        (listed[0]["name"].as_str(), listed[1]["name"].as_str()),
        (Some("上海 gateway"), Some("second"))
    );
    assert!(listed[0]["created_at"].is_string() && listed[0]["revoked_at"].is_null());
    assert_eq!(
        (&listed[0]["scopes"], &listed[0]["rate"]),
        (&json!(["verify", "charge", "hold", "refund"]), &json!(null))
    );

    assert_eq!(
        world.jifen(&["credentials", "revoke", id]).await.text(),
        "revoked\n"
    );
    // The mall is another process: it believes what it knows for a few seconds.
    world.clock.advance_seconds(5);
    assert_eq!(status(secret).await, 401);
    assert!(world.jifen_json(&["credentials", "list"]).await[0]["revoked_at"].is_string());
    for (arguments, reason) in [
        (vec!["credentials", "revoke", id], "revoked already"),
        (
            vec!["credentials", "revoke", "unknown"],
            "no such credential",
        ),
        (vec!["credentials", "create", " "], "name"),
        (
            vec!["credentials", "create", "x", "--scopes", "charge,all"],
            "verify,charge,hold,refund",
        ),
        (
            vec!["credentials", "create", "x", "--scopes", ""],
            "verify,charge,hold,refund",
        ),
        (
            vec!["credentials", "create", "x", "--rate", "100"],
            "like 100/1",
        ),
        (
            vec!["credentials", "create", "x", "--rate", "0/1"],
            "like 100/1",
        ),
        (vec!["credentials", "create"], "NAME"),
    ] {
        let ran = world.jifen(&arguments).await;
        assert!(
            ran.error().contains(reason),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
}
