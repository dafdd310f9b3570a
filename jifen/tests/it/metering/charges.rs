//! `/api/v2/metering/charges`.

use jifen_app::operator::Gift;
use jifen_app::{Maintenance, Paging};
use jifen_domain::{Time, UserId};
use jifen_store::Engine;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Answer, Request, Token, World, on_both_engines};

const CHARGES: &str = "/api/v2/metering/charges";

on_both_engines!(
    a_charge_is_answered_field_by_field_and_kept_in_the_history,
    a_repeated_charge_gets_the_first_answer,
    a_key_used_for_something_else_is_refused,
    a_charge_beyond_the_balance_changes_nothing,
    points_that_expire_first_are_spent_first,
    a_key_that_is_not_usable_is_refused,
    a_service_credential_is_needed,
    maintenance_stops_charges_only_when_told_to,
    charges_on_two_nodes_never_overdraw,
    the_same_charge_on_two_nodes_is_made_once,
);

/// Somebody with points, a key and a gateway.
struct Holder {
    token: Token,
    user: UserId,
    key_id: String,
    key: String,
    gateway: Token,
}

async fn holder(world: &World, points: i64) -> Holder {
    let login = world.log_in_answer("xiaoming").await;
    let token = Token(login["data"]["token"].as_str().unwrap().to_owned());
    let user = UserId::parse(login["data"]["userInfo"]["userId"].as_str().unwrap()).unwrap();
    give(world, user, points, None).await;
    let (key_id, key) = world.api_key(&token, "my program").await;
    Holder {
        token,
        user,
        key_id,
        key,
        gateway: world.gateway().await,
    }
}

async fn give(world: &World, user: UserId, points: i64, validity_days: Option<i64>) {
    let gift = Gift {
        user,
        points,
        validity_days,
        reason: "a gift".to_owned(),
        key: None,
    };
    world.app.give_points(&gift).await.unwrap();
}

fn request(world: &World, holder: &Holder, idempotency_key: &str, body: &Value) -> Request {
    world
        .post(CHARGES, body)
        .token(&holder.gateway)
        .header("idempotency-key", idempotency_key)
}

impl Holder {
    fn body(&self, points: i64) -> Value {
        json!({ "apiKey": self.key, "points": points, "title": "OCR" })
    }
}

/// RFC 9457, with exactly the members that the interface describes.
fn assert_problem(answer: &Answer, status: u16, code: &str, more: &Value) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, "application/problem+json"),
        "{}",
        answer.text
    );
    let mut expected = json!({
        "type": format!("urn:jifen:problem:{code}"),
        "title": code.replace('_', " "),
        "status": status,
        "code": code,
        "detail": answer.body["detail"],
    });
    expected
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    assert_eq!(answer.body, expected);
    assert!(!answer.body["detail"].as_str().unwrap().is_empty());
}

async fn a_charge_is_answered_field_by_field_and_kept_in_the_history(world: World) {
    let holder = holder(&world, 100).await;
    let body = json!({ "apiKey": holder.key, "points": 30, "title": " OCR ", "description": "  one page ", "unknown": 1 });
    let answer = request(&world, &holder, "call-1", &body).send().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{}",
        answer.text
    );
    let id = answer.body["id"].as_str().unwrap();
    let charged =
        json!({ "id": id, "points": 30, "balance": 70, "chargedAt": "2026-01-15T04:00:00Z" });
    assert_eq!(answer.body, charged);
    assert_eq!(answer.header("idempotency-hit"), "");
    assert_eq!(answer.header("cache-control"), "no-store");

    let history = world
        .get("/api/v1/points/consumption-history")
        .token(&holder.token)
        .send()
        .await;
    assert_eq!(history.body["data"]["total"], 1);
    let entry = &history.body["data"]["list"][0];
    assert_eq!(
        (&entry["points"], &entry["title"], &entry["apiKeyName"]),
        (&json!(30), &json!("OCR"), &json!("my program"))
    );
    assert_eq!(entry["id"], id, "{entry}");
    assert_eq!(entry["description"], "one page");
    let keys = world
        .get("/api/v1/api-keys")
        .token(&holder.token)
        .send()
        .await;
    assert!(
        keys.text.contains("2026-01-15T04:00:00Z"),
        "the last use is told: {}",
        keys.text
    );
    world.assert_audit_is_clean().await;
}

async fn a_repeated_charge_gets_the_first_answer(world: World) {
    let holder = holder(&world, 100).await;
    let first = request(&world, &holder, "call-1", &holder.body(30))
        .send()
        .await;
    assert_eq!(
        request(&world, &holder, "call-2", &holder.body(30))
            .send()
            .await
            .body["balance"],
        40
    );
    world.clock.advance_seconds(3_600);
    for _ in 0..2 {
        let again = request(&world, &holder, "call-1", &holder.body(30))
            .send()
            .await;
        assert_eq!(
            (again.status, again.text.as_str()),
            (200, first.text.as_str()),
            "byte for byte"
        );
        assert_eq!(again.header("idempotency-hit"), "true");
    }
    assert_eq!(world.points(&holder.token).await, 40);

    // What was refused was not made, so the same key may try again.
    assert_eq!(
        request(&world, &holder, "call-3", &holder.body(50))
            .send()
            .await
            .status,
        402
    );
    give(&world, holder.user, 10, None).await;
    let now = request(&world, &holder, "call-3", &holder.body(50))
        .send()
        .await;
    assert_eq!(
        (
            now.status,
            &now.body["balance"],
            now.header("idempotency-hit")
        ),
        (200, &json!(0), "")
    );
    // Another gateway counts for itself.
    let other = Holder {
        gateway: world.gateway().await,
        key: holder.key.clone(),
        key_id: String::new(),
        ..holder
    };
    assert_eq!(
        request(&world, &other, "call-1", &other.body(30))
            .send()
            .await
            .status,
        402
    );
    world.assert_audit_is_clean().await;
}

async fn a_key_used_for_something_else_is_refused(world: World) {
    let holder = holder(&world, 100).await;
    let body = holder.body(30);
    assert_eq!(
        request(&world, &holder, "call-1", &body)
            .send()
            .await
            .status,
        200
    );
    let (_, other_key) = world.api_key(&holder.token, "another").await;
    for (member, value) in [
        ("points", json!(31)),
        ("title", json!("TTS")),
        ("description", json!("x")),
        ("apiKey", json!(other_key)),
    ] {
        let mut other = body.clone();
        other[member] = value;
        let answer = request(&world, &holder, "call-1", &other).send().await;
        assert_problem(&answer, 422, "idempotency_key_reused", &json!({}));
        assert_eq!(answer.header("idempotency-hit"), "");
    }
    assert_eq!(
        request(&world, &holder, "CALL-1", &body).send().await.body["balance"],
        40,
        "case matters"
    );
    assert_eq!(world.points(&holder.token).await, 40);
}

async fn a_charge_beyond_the_balance_changes_nothing(world: World) {
    let holder = holder(&world, 100).await;
    let answer = request(&world, &holder, "1", &holder.body(101))
        .send()
        .await;
    assert_problem(
        &answer,
        402,
        "insufficient_points",
        &json!({ "balance": 100 }),
    );
    assert!(
        answer.body["detail"].as_str().unwrap().contains("100"),
        "{}",
        answer.text
    );
    let english = request(&world, &holder, "1", &holder.body(101))
        .header("accept-language", "en")
        .send()
        .await;
    assert_eq!(
        english.body["detail"],
        "not enough points: 100 left, buy more first"
    );
    assert_eq!(
        request(&world, &holder, "2", &holder.body(100))
            .send()
            .await
            .body["balance"],
        0
    );
    assert_problem(
        &request(&world, &holder, "3", &holder.body(1)).send().await,
        402,
        "insufficient_points",
        &json!({ "balance": 0 }),
    );
    world.assert_audit_is_clean().await;
}

async fn points_that_expire_first_are_spent_first(world: World) {
    let holder = holder(&world, 100).await;
    give(&world, holder.user, 100, Some(30)).await;
    give(&world, holder.user, 100, Some(1)).await;
    assert_eq!(
        request(&world, &holder, "1", &holder.body(150))
            .send()
            .await
            .body["balance"],
        150
    );
    let info = world
        .get("/api/v1/user/info")
        .token(&holder.token)
        .send()
        .await;
    assert_eq!(
        info.body["data"]["pointsExpiryDate"], "2026-02-14T04:00:00Z",
        "those of one day are spent: {}",
        info.text
    );
    // Half of those of thirty days are gone too: when they expire, 50 are lost, not 100.
    world.clock.advance_seconds(30 * 86_400 - 1);
    assert_eq!(
        world.app.profile(holder.user).await.unwrap().points.get(),
        150
    );
    world.clock.advance_seconds(1);
    assert_eq!(
        world.app.profile(holder.user).await.unwrap().points.get(),
        100,
        "expired points do not count at once"
    );
    let answer = request(&world, &holder, "2", &holder.body(101))
        .send()
        .await;
    assert_problem(
        &answer,
        402,
        "insufficient_points",
        &json!({ "balance": 100 }),
    );
    assert_eq!(
        request(&world, &holder, "3", &holder.body(100))
            .send()
            .await
            .body["balance"],
        0
    );
    world.do_jobs().await;
    world.assert_audit_is_clean().await;
}

async fn a_key_that_is_not_usable_is_refused(world: World) {
    let holder = holder(&world, 100).await;
    let charge = async |number: &str| {
        request(&world, &holder, number, &holder.body(1))
            .send()
            .await
    };
    let set = async |status: &str| {
        let body = json!({ "id": holder.key_id, "status": status });
        let answer = world
            .post("/api/v1/api-keys/update-status", &body)
            .token(&holder.token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    set("inactive").await;
    assert_problem(&charge("1").await, 403, "api_key_not_usable", &json!({}));
    set("active").await;
    assert_eq!(charge("1").await.status, 200, "at once");

    let (mut changed, last) = (
        holder.key.clone(),
        if holder.key.ends_with('A') { "B" } else { "A" },
    );
    changed.replace_range(changed.len() - 1.., last);
    for unknown in [
        changed.as_str(),
        "jf_live_",
        "x",
        &"x".repeat(128),
        &holder.key.to_uppercase(),
        &holder.gateway.0,
        "键",
    ] {
        let body = json!({ "apiKey": unknown, "points": 1, "title": "OCR" });
        let answer = request(&world, &holder, "2", &body).send().await;
        assert_problem(&answer, 422, "unknown_api_key", &json!({}));
        assert!(
            !answer.text.contains(unknown) || unknown == "x",
            "a key is not repeated: {}",
            answer.text
        );
    }
    world.clock.advance_seconds(200 * 86_400);
    assert_problem(&charge("3").await, 403, "api_key_not_usable", &json!({}));
    let again = charge("1").await;
    assert_eq!(
        (again.status, again.header("idempotency-hit")),
        (200, "true"),
        "what was charged stays charged"
    );

    let token = world.log_in("xiaoming").await;
    let (id, key) = world.api_key(&token, "another").await;
    let deleted = world
        .post("/api/v1/api-keys/delete", &json!({ "id": id }))
        .token(&token)
        .send()
        .await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    let body = json!({ "apiKey": key, "points": 1, "title": "OCR" });
    assert_problem(
        &request(&world, &holder, "4", &body).send().await,
        422,
        "unknown_api_key",
        &json!({}),
    );
    world.assert_audit_is_clean().await;
}

async fn a_service_credential_is_needed(world: World) {
    let holder = holder(&world, 100).await;
    let send = async |authorization: &str| {
        let request = world
            .post(CHARGES, &holder.body(1))
            .header("idempotency-key", "1");
        let request = if authorization.is_empty() {
            request
        } else {
            request.header("authorization", authorization)
        };
        request.send().await
    };
    let (own, session, key) = (&holder.gateway.0, &holder.token.0, &holder.key);
    for authorization in [
        String::new(),
        "Bearer ".to_owned(),
        "Bearer sk_nonsense".to_owned(),
        format!("Basic {own}"),
        own.clone(),
        format!("Bearer {own}x"),
        format!("Bearer {}", own.to_lowercase()),
        format!("Bearer {session}"),
        format!("Bearer {key}"),
    ] {
        let answer = send(&authorization).await;
        assert_problem(&answer, 401, "unauthenticated", &json!({}));
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer",
            "{authorization}"
        );
    }
    let web = world.web_login("xiaoming").await.1;
    let by_cookie = world
        .post(CHARGES, &holder.body(1))
        .header("idempotency-key", "1")
        .header("cookie", &web);
    assert_problem(&by_cookie.send().await, 401, "unauthenticated", &json!({}));

    assert_eq!(send(&format!("Bearer {own}")).await.status, 200);
    let id = world.app.service_credentials().await.unwrap()[0].id.clone();
    world.app.revoke_service_credential(&id).await.unwrap();
    assert_problem(
        &send(&format!("Bearer {own}")).await,
        401,
        "unauthenticated",
        &json!({}),
    );
    assert_eq!(world.points(&holder.token).await, 99);
}

async fn maintenance_stops_charges_only_when_told_to(world: World) {
    let holder = holder(&world, 100).await;
    let ends_at = Some(Time::parse_rfc3339("2026-01-15T05:00:00Z").unwrap());
    let mut maintenance = Maintenance {
        message: "升级".to_owned(),
        ends_at,
        charges_stopped: false,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    assert_eq!(
        request(&world, &holder, "1", &holder.body(1))
            .send()
            .await
            .status,
        200
    );
    maintenance.charges_stopped = true;
    world.app.start_maintenance(&maintenance).await.unwrap();
    let stopped = request(&world, &holder, "2", &holder.body(1)).send().await;
    assert_problem(&stopped, 503, "maintenance", &json!({}));
    assert_eq!(stopped.header("retry-after"), "3600");
    assert_eq!(
        stopped.body["detail"],
        "系统维护中：升级（预计 2026-01-15T05:00:00Z 结束）"
    );
    world.app.end_maintenance().await.unwrap();
    assert_eq!(
        request(&world, &holder, "2", &holder.body(1))
            .send()
            .await
            .body["balance"],
        98
    );
}

#[tokio::test]
async fn an_idempotency_key_is_needed_and_is_visible_ascii() {
    let world = World::start(Engine::Sqlite).await;
    let holder = holder(&world, 100).await;
    let missing = world
        .post(CHARGES, &holder.body(1))
        .token(&holder.gateway)
        .send()
        .await;
    assert_problem(
        &missing,
        422,
        "invalid_request",
        &json!({ "field": "Idempotency-Key" }),
    );
    for key in ["", " ", "a b", "a\tb", "钥匙", "é", &"x".repeat(256)] {
        let answer = request(&world, &holder, key, &holder.body(1)).send().await;
        assert_problem(
            &answer,
            422,
            "invalid_request",
            &json!({ "field": "Idempotency-Key" }),
        );
    }
    let longest = "x".repeat(255);
    for (balance, key) in [(99, longest.as_str()), (98, "!"), (97, "~;\"'`$(){}")] {
        assert_eq!(
            request(&world, &holder, key, &holder.body(1))
                .send()
                .await
                .body["balance"],
            balance,
            "{key}"
        );
    }
    assert_eq!(world.app.consumptions_count(&holder).await, 3);
}

#[tokio::test]
async fn points_are_a_whole_number_from_one() {
    let world = World::start(Engine::Sqlite).await;
    let holder = holder(&world, 100).await;
    for points in [
        "0",
        "-1",
        "1000000000001",
        "9223372036854775807",
        "9223372036854775808",
        "1e400",
        "1.0",
        "1.5",
        "1e1",
        "\"5\"",
        "true",
        "null",
        "[1]",
    ] {
        let body = format!(
            "{{\"apiKey\":\"{}\",\"points\":{points},\"title\":\"OCR\"}}",
            holder.key
        );
        let request = world.post_text(CHARGES, body).token(&holder.gateway);
        let answer = request
            .header("idempotency-key", "1")
            .header("content-type", "application/json")
            .send()
            .await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (422, &json!("invalid_request")),
            "{points}: {}",
            answer.text
        );
        // What is no number at all to JSON is a mistake of the body.
        let field = if points == "1e400" { "body" } else { "points" };
        assert_eq!(answer.body["field"], field, "{points}: {}", answer.text);
    }
    let answer = request(&world, &holder, "1", &holder.body(1_000_000_000_000))
        .send()
        .await;
    assert_problem(
        &answer,
        402,
        "insufficient_points",
        &json!({ "balance": 100 }),
    );
}

#[tokio::test]
async fn title_and_description_are_lines() {
    let world = World::start(Engine::Sqlite).await;
    let holder = holder(&world, 100).await;
    let body = |title: Value, description: Value| json!({ "apiKey": holder.key, "points": 1, "title": title, "description": description });
    for title in [
        Value::Null,
        json!(""),
        json!(" \u{3000}"),
        json!("a\nb"),
        json!("a\u{7}"),
        json!(1),
        json!("长".repeat(129)),
        json!("x".repeat(5_000)),
    ] {
        let answer = request(&world, &holder, "1", &body(title.clone(), Value::Null))
            .send()
            .await;
        assert_problem(
            &answer,
            422,
            "invalid_request",
            &json!({ "field": "title" }),
        );
    }
    for description in [
        json!(1),
        json!("a\nb"),
        json!("长".repeat(513)),
        json!({}),
        json!("x".repeat(5_000)),
    ] {
        let answer = request(&world, &holder, "1", &body(json!("t"), description))
            .send()
            .await;
        assert_problem(
            &answer,
            422,
            "invalid_request",
            &json!({ "field": "description" }),
        );
    }
    for (number, (title, description)) in [
        (json!("长".repeat(128)), json!("述".repeat(512))),
        (json!("🙂"), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = request(
            &world,
            &holder,
            &number.to_string(),
            &body(title, description),
        )
        .send()
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_request_that_is_no_charge_is_a_problem() {
    let world = World::start(Engine::Sqlite).await;
    let holder = holder(&world, 100).await;
    let send = async |body: String, content_type: &str| {
        let request = world
            .post_text(CHARGES, body)
            .token(&holder.gateway)
            .header("idempotency-key", "1");
        request.header("content-type", content_type).send().await
    };
    for body in ["", "{", "[]", "null"] {
        assert_problem(
            &send(body.to_owned(), "application/json").await,
            422,
            "invalid_request",
            &json!({ "field": "body" }),
        );
    }
    let good = holder.body(1).to_string();
    assert_problem(
        &send(good, "text/plain").await,
        422,
        "invalid_request",
        &json!({ "field": "Content-Type" }),
    );
    assert_problem(
        &send("{}".to_owned(), "application/json").await,
        422,
        "invalid_request",
        &json!({ "field": "apiKey" }),
    );
    assert_problem(
        &send(" ".repeat(140_000), "application/json").await,
        413,
        "body_too_large",
        &json!({}),
    );
    assert_problem(
        &world.get(CHARGES).send().await,
        405,
        "method_not_allowed",
        &json!({}),
    );
    assert_problem(
        &world.get("/api/v2/nothing").send().await,
        404,
        "not_found",
        &json!({}),
    );
    world
        .raw("ALTER TABLE charge_requests RENAME TO lost")
        .await;
    let broken = request(&world, &holder, "1", &holder.body(1)).send().await;
    assert_problem(&broken, 500, "internal_error", &json!({}));
    assert!(
        !broken.text.contains("charge_requests"),
        "what failed is for the log: {}",
        broken.text
    );
    world
        .raw("ALTER TABLE lost RENAME TO charge_requests")
        .await;
    assert_eq!(
        request(&world, &holder, "1", &holder.body(1))
            .send()
            .await
            .body["balance"],
        99
    );
}

async fn all_at_once(requests: impl IntoIterator<Item = Request>) -> Vec<Answer> {
    let mut running = JoinSet::new();
    for request in requests {
        running.spawn(request.send());
    }
    running.join_all().await
}

async fn charges_on_two_nodes_never_overdraw(world: World) {
    let holder = holder(&world, 100).await;
    let nodes = [world.mall.clone(), world.another_node().await];
    let charge = |number: usize| {
        let request = world
            .post_to(&nodes[number % 2], CHARGES, &holder.body(7))
            .token(&holder.gateway);
        request.header("idempotency-key", &number.to_string())
    };
    let answers = all_at_once((0..40).map(charge)).await;
    let count = |status: u16| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    // A node that is too busy says so, and nothing was taken.
    assert_eq!(count(200) + count(402) + count(503), 40, "{answers:?}");
    for number in 0..40 {
        let again = charge(number).send().await;
        assert!([200, 402].contains(&again.status), "{}", again.text);
    }
    assert_eq!(
        world.points(&holder.token).await,
        2,
        "14 charges of 7 fit into 100"
    );
    assert_eq!(world.app.consumptions_count(&holder).await, 14);
    world.assert_audit_is_clean().await;
}

async fn the_same_charge_on_two_nodes_is_made_once(world: World) {
    let holder = holder(&world, 100).await;
    let nodes = [world.mall.clone(), world.another_node().await];
    let charge = |number: usize| {
        let request = world
            .post_to(&nodes[number % 2], CHARGES, &holder.body(7))
            .token(&holder.gateway);
        request.header("idempotency-key", "one-and-the-same")
    };
    let answers = all_at_once((0..20).map(charge)).await;
    let made: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert!(
        !made.is_empty() && made.iter().all(|answer| answer.text == made[0].text),
        "{answers:?}"
    );
    assert_eq!(
        made.iter()
            .filter(|answer| answer.header("idempotency-hit").is_empty())
            .count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|answer| [200, 503].contains(&answer.status)),
        "{answers:?}"
    );
    assert_eq!(world.points(&holder.token).await, 93);
}

/// Charges in the holder's history.
trait Consumptions {
    async fn consumptions_count(&self, holder: &Holder) -> i64;
}

impl Consumptions for jifen_app::App {
    async fn consumptions_count(&self, holder: &Holder) -> i64 {
        self.consumption(holder.user, Paging { page: 1, size: 1 })
            .await
            .unwrap()
            .total
    }
}
