//! `/api/v1/login`.

use jifen::config::SandboxMode;
use jifen_app::Maintenance;
use jifen_domain::Time;
use jifen_domain::session::REFRESH_WINDOW_SECONDS;
use jifen_store::Engine;
use serde_json::{Value, json};

use crate::world::{Answer, World, encode, on_both_engines};

const TICKET: &str = "/api/v1/login/weixin_qrcode_ticket";
const INFO: &str = "/api/v1/user/info";

on_both_engines!(
    a_ticket_is_the_data_of_the_documents_envelope,
    the_openid_is_told_as_often_as_asked_until_the_ticket_expires,
    the_session_goes_once_to_the_browser_that_asked_for_the_ticket,
    a_session_cookie_opens_the_mall_but_not_to_foreign_pages,
    a_ticket_is_found_with_its_plus_as_it_is,
);

fn not_logged_in() -> Value {
    json!({ "code": "0003", "info": "未登录", "data": null })
}

async fn check_as(world: &World, ticket: &str, cookie: &str) -> Answer {
    world
        .get(&format!(
            "/api/v1/login/check_login?ticket={}",
            encode(ticket)
        ))
        .header("cookie", cookie)
        .send()
        .await
}

async fn a_ticket_is_the_data_of_the_documents_envelope(world: World) {
    let answer = world.get(TICKET).send().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(
        answer.body,
        json!({ "code": "0000", "info": "调用成功", "data": answer.body["data"] })
    );
    let ticket = answer.body["data"].as_str().unwrap();
    let image = format!(
        "{}/cgi-bin/showqrcode?ticket={}",
        world.sandbox,
        encode(ticket)
    );
    assert_eq!(world.app.qr_image_url(ticket).unwrap(), image);
    assert_eq!(
        world.sandbox_get("/official-account/qr-codes").await[0]["ticket"],
        ticket
    );

    let cookie = answer.header("set-cookie");
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert!(
        value.starts_with("jifen_qr=") && value.len() == "jifen_qr=".len() + 43,
        "{cookie}"
    );
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=600");
    assert_eq!(answer.header("cache-control"), "no-store");

    let kept = world.get(TICKET).header("cookie", value).send().await;
    assert!(
        kept.header("set-cookie").starts_with(value),
        "one browser may show several codes"
    );
    assert_ne!(kept.body["data"], answer.body["data"]);
    let chosen = world
        .get(TICKET)
        .header("cookie", "jifen_qr=chosen-by-somebody")
        .send()
        .await;
    assert!(
        !chosen.header("set-cookie").contains("chosen"),
        "only our own secrets are kept"
    );
}

#[tokio::test]
async fn cookies_are_secure_under_https() {
    let https = |config: &mut jifen::config::Config| {
        config.server.public_base_url = "https://mall.example".to_owned();
    };
    let world = World::start_with(Engine::Sqlite, https).await;
    // Only the address by which the world reaches the mall is another one.
    let address = format!("http://{}", world.config.server.listen);
    let answer = world.get_from(&address, TICKET).send().await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Lax; Max-Age=600; Secure"),
        "{cookie}"
    );
}

async fn the_openid_is_told_as_often_as_asked_until_the_ticket_expires(world: World) {
    let (ticket, cookie) = world.qr_ticket().await;
    assert_eq!(world.check_login(&ticket).await.body, not_logged_in());
    world.clock.advance_seconds(300);
    world.scan("xiaoming", &ticket).await;
    let openid = world.sandbox_get("/people/xiaoming").await["official_account_openid"].clone();
    for _ in 0..3 {
        let answer = world.check_login(&ticket).await;
        assert_eq!(
            answer.body,
            json!({ "code": "0000", "info": "调用成功", "data": openid })
        );
        assert_eq!(
            check_as(&world, &ticket, &cookie).await.body["data"],
            openid
        );
    }
    world.clock.advance_seconds(299);
    assert_eq!(world.check_login(&ticket).await.body["data"], openid);
    world.clock.advance_seconds(1);
    assert_eq!(world.check_login(&ticket).await.body, not_logged_in());
    assert_eq!(
        check_as(&world, &ticket, &cookie).await.body,
        not_logged_in()
    );
}

#[tokio::test]
async fn tickets_that_do_not_fit_are_refused() {
    let world = World::start(Engine::Sqlite).await;
    for query in [
        "",
        "?",
        "?ticket=",
        "?ticket=%20%09",
        "?ticket=a&ticket=b",
        "?Ticket=a",
    ] {
        let answer = world
            .get(&format!("/api/v1/login/check_login{query}"))
            .send()
            .await;
        assert_eq!(
            (answer.status, &answer.body["code"], &answer.body["data"]),
            (200, &json!("0002"), &Value::Null),
            "{query}: {}",
            answer.text
        );
        assert!(
            answer.body["info"].as_str().unwrap().contains("ticket"),
            "{}",
            answer.text
        );
    }
    let long = "a".repeat(5_000);
    for ticket in [
        "a",
        "gQH47joAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL2aFo2Z3",
        "' OR 1=1 --",
        "%",
        "票",
        "a\u{0}b",
        &long,
    ] {
        assert_eq!(
            world.check_login(ticket).await.body,
            not_logged_in(),
            "{ticket:.20}"
        );
    }
}

async fn the_session_goes_once_to_the_browser_that_asked_for_the_ticket(world: World) {
    let (ticket, cookie) = world.qr_ticket().await;
    let (_, other_cookie) = world.qr_ticket().await;
    assert_eq!(
        check_as(&world, &ticket, &cookie)
            .await
            .header("set-cookie"),
        "",
        "nobody has scanned yet"
    );
    world.scan("xiaoming", &ticket).await;
    for passer_by in [
        "",
        "jifen_qr=",
        "jifen_qr=x",
        other_cookie.as_str(),
        "jifen_session=x",
    ] {
        let answer = check_as(&world, &ticket, passer_by).await;
        assert_eq!(
            (&answer.body["code"], answer.header("set-cookie")),
            (&json!("0000"), ""),
            "{passer_by}"
        );
    }
    let answer = check_as(&world, &ticket, &cookie).await;
    let (value, attributes) = answer.header("set-cookie").split_once("; ").unwrap();
    assert!(
        value.starts_with("jifen_session=") && value.len() > "jifen_session=".len() + 40,
        "{value}"
    );
    assert_eq!(
        attributes,
        format!("Path=/; HttpOnly; SameSite=Lax; Max-Age={REFRESH_WINDOW_SECONDS}")
    );
    assert_eq!(
        check_as(&world, &ticket, &cookie)
            .await
            .header("set-cookie"),
        "",
        "once"
    );
    assert_eq!(
        world.get(INFO).header("cookie", value).send().await.status,
        200
    );
}

async fn a_session_cookie_opens_the_mall_but_not_to_foreign_pages(world: World) {
    let (_, cookie) = world.web_login("xiaoming").await;
    let info = world.get(INFO).header("cookie", &cookie).send().await;
    assert_eq!(
        (info.status, &info.body["data"]["points"]),
        (200, &json!(0)),
        "{}",
        info.text
    );

    let create = || {
        world
            .post("/api/v1/api-keys/create", &json!({ "name": "k" }))
            .header("cookie", &cookie)
    };
    let host = world.config.server.listen;
    for (headers, why) in [
        (
            vec![("origin", "https://evil.example".to_owned())],
            "another origin",
        ),
        (vec![("origin", "null".to_owned())], "a sandboxed page"),
        (
            vec![("origin", format!("http://evil.{host}"))],
            "a host that only ends alike",
        ),
        (
            vec![("sec-fetch-site", "cross-site".to_owned())],
            "another site",
        ),
        (
            vec![
                ("sec-fetch-site", "same-site".to_owned()),
                ("origin", "http://other.127.0.0.1".to_owned()),
            ],
            "a neighbour",
        ),
    ] {
        let request = headers.iter().fold(create(), |request, (name, value)| {
            request.header(name, value)
        });
        let answer = request.send().await;
        assert_eq!(answer.status, 403, "{why}: {}", answer.text);
    }
    for (headers, why) in [
        (vec![("origin", world.mall.clone())], "our own page"),
        (
            vec![("sec-fetch-site", "same-origin".to_owned())],
            "our own page",
        ),
        (vec![], "no browser"),
    ] {
        let request = headers.iter().fold(create(), |request, (name, value)| {
            request.header(name, value)
        });
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{why}: {}", answer.text);
    }
    let out = world
        .post("/api/v1/auth/logout", &json!({}))
        .header("cookie", &cookie)
        .send()
        .await;
    assert_eq!(out.status, 200, "{}", out.text);
    assert_eq!(
        world
            .get(INFO)
            .header("cookie", &cookie)
            .send()
            .await
            .status,
        401
    );
}

async fn a_ticket_is_found_with_its_plus_as_it_is(world: World) {
    let (ticket, _) = world.qr_ticket().await;
    // WeChat's tickets are base64 and often contain one.
    let with_plus = format!("+{}+=", &ticket[2..]);
    world
        .raw(&format!(
            "UPDATE qr_logins SET ticket = '{with_plus}' WHERE ticket = '{ticket}'"
        ))
        .await;
    let user = world.user_of(&world.web_login("xiaoming").await.0).await;
    world
        .raw(&format!(
            "UPDATE qr_logins SET openid = 'o-1', user_id = {user} WHERE ticket = '{with_plus}'"
        ))
        .await;
    let raw = world
        .get(&format!("/api/v1/login/check_login?ticket={with_plus}"))
        .send()
        .await;
    assert_eq!(raw.body["data"], "o-1", "{}", raw.text);
    assert_eq!(world.check_login(&with_plus).await.body["data"], "o-1");
}

#[tokio::test]
async fn when_no_ticket_can_be_made_the_answer_says_why() {
    let world = World::start(Engine::Sqlite).await;
    world
        .sandbox_post(
            "/faults",
            &json!({ "kind": "provider_down", "provider": "official_account" }),
        )
        .await;
    let down = world.get(TICKET).send().await;
    assert_eq!(down.status, 200);
    assert_eq!(
        down.body,
        json!({ "code": "0001", "info": "微信暂时不可用，请稍后重试", "data": null })
    );
    assert_eq!(down.header("set-cookie"), "");
    world.sandbox_delete("/faults").await;
    assert_eq!(world.get(TICKET).send().await.body["code"], "0000");

    let ends_at = Some(Time::parse_rfc3339("2026-01-15T06:00:00Z").unwrap());
    let maintenance = Maintenance {
        message: "升级".to_owned(),
        ends_at,
        charges_stopped: false,
    };
    world.app.start_maintenance(&maintenance).await.unwrap();
    let closed = world.get(TICKET).send().await;
    assert_eq!(
        closed.body,
        json!({ "code": "0001", "info": "系统维护中：升级（预计 2026-01-15T06:00:00Z 结束）", "data": null })
    );

    let world = World::start_with(Engine::Sqlite, |config| {
        config.sandbox.mode = SandboxMode::Off;
    })
    .await;
    let absent = world.get(TICKET).send().await;
    assert_eq!(
        (absent.status, &absent.body["code"]),
        (200, &json!("0001")),
        "{}",
        absent.text
    );
    assert_eq!(world.post_text(TICKET, "").send().await.status, 405);
}

#[tokio::test]
async fn the_access_token_is_shared_by_nodes_and_fetched_again_when_wechat_refuses_it() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::start(engine).await;
        let other = world.another_node().await;
        let fetched = async || {
            let exchanges = world.sandbox_get("/exchanges?count=1000").await;
            let is_fetch = |exchange: &&Value| {
                exchange["target"].as_str().is_some_and(|target| {
                    target.contains("token") && !target.contains("access_token=")
                })
            };
            exchanges
                .as_array()
                .unwrap()
                .iter()
                .filter(is_fetch)
                .count()
        };
        for _ in 0..3 {
            world.qr_ticket().await;
        }
        let elsewhere = world.get_from(&other, TICKET).send().await;
        assert_eq!(elsewhere.body["code"], "0000", "{}", elsewhere.text);
        assert_eq!(fetched().await, 1, "{engine:?}: once for everybody");
        world.sandbox_delete("/access-tokens").await;
        world.qr_ticket().await;
        world.qr_ticket().await;
        assert_eq!(fetched().await, 2, "{engine:?}: once more");
        world.clock.advance_seconds(7_200);
        world.qr_ticket().await;
        assert_eq!(fetched().await, 3, "{engine:?}: and when it has expired");
    }
}
