//! `/api/v1/auth/refresh-token` and `/logout`: how long a login lasts, and how it ends.

use serde_json::json;

use super::{LOGIN_EXPIRED, NOT_LOGGED_IN, all_at_once, assert_refused, assert_success, text};
use crate::world::{Answer, Token, World, on_both_engines, on_sqlite};

const REFRESH: &str = "/api/v1/auth/refresh-token";
const LOGOUT: &str = "/api/v1/auth/logout";
const DAY_SECONDS: i64 = 86_400;

on_both_engines!(
    a_token_lasts_two_hours_and_is_exchanged_for_thirty_days_more,
    a_replaced_token_works_for_a_minute,
    a_replaced_token_used_later_ends_the_whole_chain,
    a_replaced_token_refreshed_later_ends_the_whole_chain,
    refreshes_at_once_all_succeed_and_stay_one_session,
    logging_out_ends_every_token_of_the_session_and_no_other,
);

on_sqlite!(
    an_expired_token_can_log_out,
    no_body_is_needed_and_any_is_ignored,
    a_session_in_a_cookie_is_renewed_there_but_not_by_a_foreign_page,
);

async fn refresh(world: &World, token: &Token) -> Token {
    let answer = world.request("POST", REFRESH).token(token).send().await;
    let new = text(&answer.body["data"]["token"]);
    assert_success(&answer, &json!({ "token": new, "expiresIn": 7200 }));
    Token(new)
}

async fn info(world: &World, token: &Token) -> Answer {
    world.get("/api/v1/user/info").token(token).send().await
}

async fn a_token_lasts_two_hours_and_is_exchanged_for_thirty_days_more(world: World) {
    let token = world.log_in("xiaoming").await;
    world.clock.advance_seconds(7_199);
    let user = info(&world, &token).await.body["data"]["userInfo"].clone();
    world.clock.advance_seconds(1);
    assert_refused(&info(&world, &token).await, 401, LOGIN_EXPIRED);

    world.clock.advance_seconds(30 * DAY_SECONDS - 1);
    // What is forgotten is only what nobody can use any more.
    world.app.ensure_recurring_jobs().await.unwrap();
    world.do_jobs().await;
    let renewed = refresh(&world, &token).await;
    assert_ne!(renewed.0, token.0);
    assert_eq!(info(&world, &renewed).await.body["data"]["userInfo"], user);

    // The second one is used up to its last second, too, and then it is too late.
    world.clock.advance_seconds(7_200 + 30 * DAY_SECONDS);
    let answer = world.request("POST", REFRESH).token(&renewed).send().await;
    assert_refused(&answer, 401, LOGIN_EXPIRED);
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

async fn a_replaced_token_works_for_a_minute(world: World) {
    let old = world.log_in("xiaoming").await;
    let new = refresh(&world, &old).await;
    world.clock.advance_seconds(59);
    assert_eq!(info(&world, &old).await.status, 200);
    let sibling = refresh(&world, &old).await;
    assert!(sibling.0 != new.0 && sibling.0 != old.0);
    for token in [&new, &sibling] {
        assert_eq!(info(&world, token).await.status, 200);
    }
    world.clock.advance_seconds(1);
    assert_refused(&info(&world, &old).await, 401, LOGIN_EXPIRED);
}

async fn a_replaced_token_used_later_ends_the_whole_chain(world: World) {
    let first = world.log_in("xiaoming").await;
    let other_login = world.log_in("xiaoming").await;
    let second = refresh(&world, &first).await;
    world.clock.advance_seconds(61);
    let third = refresh(&world, &second).await;
    assert_refused(&info(&world, &first).await, 401, LOGIN_EXPIRED);
    for token in [&second, &third] {
        assert_refused(&info(&world, token).await, 401, LOGIN_EXPIRED);
        assert_refused(
            &world.request("POST", REFRESH).token(token).send().await,
            401,
            LOGIN_EXPIRED,
        );
    }
    assert_eq!(
        info(&world, &other_login).await.status,
        200,
        "another login of the same person goes on"
    );
}

async fn a_replaced_token_refreshed_later_ends_the_whole_chain(world: World) {
    let first = world.log_in("xiaoming").await;
    let second = refresh(&world, &first).await;
    world.clock.advance_seconds(60);
    assert_refused(
        &world.request("POST", REFRESH).token(&first).send().await,
        401,
        LOGIN_EXPIRED,
    );
    assert_refused(&info(&world, &second).await, 401, LOGIN_EXPIRED);
}

async fn refreshes_at_once_all_succeed_and_stay_one_session(world: World) {
    let token = world.log_in("xiaoming").await;
    let answers = all_at_once((0..20).map(|_| world.request("POST", REFRESH).token(&token))).await;
    let mut tokens: Vec<String> = answers
        .iter()
        .map(|answer| text(&answer.body["data"]["token"]))
        .collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 20, "each has a token of its own");
    for token in &tokens {
        assert_eq!(info(&world, &Token(token.clone())).await.status, 200);
    }
    world
        .request("POST", LOGOUT)
        .token(&Token(tokens[0].clone()))
        .send()
        .await;
    for token in &tokens {
        assert_refused(
            &info(&world, &Token(token.clone())).await,
            401,
            LOGIN_EXPIRED,
        );
    }
}

async fn logging_out_ends_every_token_of_the_session_and_no_other(world: World) {
    let old = world.log_in("xiaoming").await;
    let other_login = world.log_in("xiaoming").await;
    let new = refresh(&world, &old).await;
    assert_success(
        &world.request("POST", LOGOUT).token(&new).send().await,
        &json!(null),
    );
    for token in [&old, &new] {
        assert_refused(&info(&world, token).await, 401, LOGIN_EXPIRED);
        assert_refused(
            &world.request("POST", REFRESH).token(token).send().await,
            401,
            LOGIN_EXPIRED,
        );
        assert_refused(
            &world.request("POST", LOGOUT).token(token).send().await,
            401,
            LOGIN_EXPIRED,
        );
    }
    assert_eq!(info(&world, &other_login).await.status, 200);
}

async fn an_expired_token_can_log_out(world: World) {
    let token = world.log_in("xiaoming").await;
    world.clock.advance_seconds(7_200);
    assert_success(
        &world.request("POST", LOGOUT).token(&token).send().await,
        &json!(null),
    );
    assert_refused(
        &world.request("POST", REFRESH).token(&token).send().await,
        401,
        LOGIN_EXPIRED,
    );
}

async fn no_body_is_needed_and_any_is_ignored(world: World) {
    let token = world.log_in("xiaoming").await;
    for body in ["", "{}", "not json", "{\"token\":1}"] {
        let answer = world.post_text(REFRESH, body).token(&token).send().await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
    }
    for path in [REFRESH, LOGOUT] {
        assert_refused(
            &world.request("POST", path).send().await,
            401,
            NOT_LOGGED_IN,
        );
        let garbage = Token("garbage".to_owned());
        assert_refused(
            &world.request("POST", path).token(&garbage).send().await,
            401,
            LOGIN_EXPIRED,
        );
    }
}

async fn a_session_in_a_cookie_is_renewed_there_but_not_by_a_foreign_page(world: World) {
    let token = world.log_in_on_the_web("xiaoming").await;
    let cookie = format!("jifen_session={}", token.0);
    assert_eq!(
        world
            .get("/api/v1/user/info")
            .header("cookie", &cookie)
            .send()
            .await
            .status,
        200
    );

    let foreign = world
        .request("POST", REFRESH)
        .header("cookie", &cookie)
        .header("origin", "https://evil.example");
    assert_refused(&foreign.send().await, 403, "不接受其他网站带 Cookie 的请求");
    let answer = world
        .request("POST", REFRESH)
        .header("cookie", &cookie)
        .header("sec-fetch-site", "same-origin")
        .send()
        .await;
    let new = text(&answer.body["data"]["token"]);
    assert_success(&answer, &json!({ "token": new, "expiresIn": 7200 }));
    let expected = format!("jifen_session={new}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000");
    assert_eq!(answer.header("set-cookie"), expected);

    let cookie = format!("jifen_session={new}");
    let answer = world
        .request("POST", LOGOUT)
        .header("cookie", &cookie)
        .send()
        .await;
    assert_success(&answer, &json!(null));
    assert_eq!(
        answer.header("set-cookie"),
        "jifen_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
    assert_refused(&info(&world, &Token(new)).await, 401, LOGIN_EXPIRED);
}
