//! What every URL of the mall has in common: languages, headers, CORS, unknown paths and methods, limits.

use jifen_store::Engine;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{NEEDS_SESSION, assert_refused, everything};
use crate::world::{Answer, World, on_sqlite};

on_sqlite!(
    errors_are_in_the_readers_language,
    answers_are_json_that_nobody_stores,
    a_request_keeps_its_id,
    nothing_is_at_other_paths,
    other_methods_are_refused_with_those_that_work,
    a_body_over_the_limit_is_refused_unread,
    a_head_that_cannot_be_read_ends_only_its_connection,
    any_page_may_call_the_mall_in_development,
);

const ENGLISH: [&str; 5] = [
    "en",
    "en-GB",
    "EN-us,en;q=0.9",
    "fr,en;q=0.8,zh;q=0.7",
    "zh;q=0.1, en;q=0.2",
];
const CHINESE: [&str; 9] = [
    "",
    "zh",
    "zh-CN,zh;q=0.9,en;q=0.8",
    "zh-TW",
    "fr",
    "*",
    "en;q=0",
    "garbage;;;=,,",
    "zh,en",
];

async fn errors_are_in_the_readers_language(world: World) {
    let token = world.log_in("xiaoming").await;
    for (path, body, zh, en) in [
        (
            "/points/create-order",
            json!({}),
            "packageId: 缺少该字段",
            "packageId: is missing",
        ),
        (
            "/points/create-order",
            json!({ "packageId": "x" }),
            "packageId: 没有这个套餐，或已下架",
            "packageId: no such package, or it is off sale",
        ),
        (
            "/api-keys/create",
            json!({ "name": "k", "expiryMonths": 2 }),
            "expiryMonths: 只能是 1、3、6 或 12",
            "expiryMonths: must be 1, 3, 6 or 12",
        ),
        (
            "/auth/wechat-login",
            json!({ "code": "x" }),
            "code: code 无效或已使用，请重新获取",
            "code: the code is invalid or used: get a new one",
        ),
    ] {
        let told = async |language: &str| {
            let request = world.post(&format!("/api/v1{path}"), &body).token(&token);
            request.header("accept-language", language).send().await
        };
        for language in ENGLISH {
            assert_refused(&told(language).await, 422, en);
        }
        for language in CHINESE {
            assert_refused(&told(language).await, 422, zh);
        }
    }
    let english = world
        .get("/api/v1/user/info")
        .header("accept-language", "en")
        .send()
        .await;
    assert_refused(&english, 401, "not logged in: log in first");
    let success = world
        .get("/api/v1/api-keys")
        .token(&token)
        .header("accept-language", "en")
        .send()
        .await;
    assert_eq!(
        success.body,
        json!({ "code": 0, "message": "success", "data": { "list": [] } })
    );
}

async fn answers_are_json_that_nobody_stores(world: World) {
    let token = world.log_in("xiaoming").await;
    for (method, path, body) in NEEDS_SESSION {
        for request in [
            world.request(method, path).body(body),
            world.request(method, path).body(body).token(&token),
        ] {
            let answer = request.send().await;
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            let members: Vec<_> = answer.body.as_object().unwrap().keys().cloned().collect();
            assert_eq!(members.len(), 3, "{}", answer.text);
            let status = if answer.body["code"] == 0 {
                200
            } else {
                answer.body["code"].as_u64().unwrap()
            };
            assert_eq!(u64::from(answer.status), status, "{path}");
        }
    }
}

async fn a_request_keeps_its_id(world: World) {
    let id_of = async |given: &str| {
        let answer = world
            .get("/api/v1/system/status")
            .header("x-request-id", given)
            .send()
            .await;
        answer.header("x-request-id").to_owned()
    };
    for given in ["abc", "0190-a_B.c", &"x".repeat(64)] {
        assert_eq!(id_of(given).await, given);
    }
    let mut made = Vec::new();
    for refused in ["", "with space", "a/b", "<script>", &"x".repeat(65)] {
        let id = id_of(refused).await;
        assert!(!id.is_empty() && id != refused, "{refused}: {id}");
        made.push(id);
    }
    made.push(
        world
            .get("/api/v1/nowhere")
            .send()
            .await
            .header("x-request-id")
            .to_owned(),
    );
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 6, "each request has an id of its own: {made:?}");
}

async fn nothing_is_at_other_paths(world: World) {
    let token = world.log_in("xiaoming").await;
    for path in [
        "/api/v1/nowhere",
        "/api/v1/",
        "/api/v1/points",
        "/api/v1/points/packages/",
        "/api/v1//points/packages",
        "/api/v1/points/Packages",
        "/api/v1/points/packages/1",
        "/api/v1/api-keys/",
        "/api/v1/points%2Fpackages",
        "/api/v1/%00",
        "/api/v1/用户",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            assert_refused(
                &world.request(method, path).token(&token).send().await,
                404,
                "没有这个接口，请检查路径",
            );
        }
        let english = world.get(path).header("accept-language", "en").send().await;
        assert_refused(&english, 404, "there is nothing at this path");
    }
}

async fn other_methods_are_refused_with_those_that_work(world: World) {
    let token = world.log_in("xiaoming").await;
    let before = everything(&world, &token).await;
    let open = [
        ("POST", "/api/v1/auth/wechat-login", "{}"),
        ("POST", "/api/v1/auth/refresh-token", ""),
        ("POST", "/api/v1/auth/logout", ""),
        ("GET", "/api/v1/system/status", ""),
        ("GET", "/api/v1/system/notice", ""),
    ];
    for (works, path, _) in NEEDS_SESSION.into_iter().chain(open) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"] {
            if method == works {
                continue;
            }
            for request in [
                world.request(method, path),
                world.request(method, path).token(&token),
            ] {
                let answer = request.send().await;
                assert_refused(&answer, 405, "请求方式不支持，见 Allow 响应头");
                let allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
                assert!(
                    allowed.contains(&works) && !allowed.contains(&method),
                    "{method} {path}: {allowed:?}"
                );
            }
        }
    }
    let head = world.request("HEAD", "/api/v1/system/status").send().await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(everything(&world, &token).await, before);
}

async fn a_body_over_the_limit_is_refused_unread(world: World) {
    const TOO_LARGE: &str = "请求体不能超过 524288 字节";
    assert_eq!(world.config.server.body_bytes_max, 524_288);
    let token = world.log_in("xiaoming").await;
    let before = everything(&world, &token).await;
    for (method, path, _) in NEEDS_SESSION
        .into_iter()
        .filter(|(method, ..)| *method == "POST")
    {
        let padded = |bytes: usize| format!("{{\"padding\":\"{}\"}}", "x".repeat(bytes - 14));
        for bytes in [524_289, 1 << 20] {
            let request = world
                .request(method, path)
                .body(&padded(bytes))
                .token(&token);
            assert_refused(&request.send().await, 413, TOO_LARGE);
        }
        let fits = world
            .request(method, path)
            .body(&padded(524_288))
            .token(&token)
            .send()
            .await;
        assert_eq!(fits.status, 422, "{}", fits.text);
    }
    // A body that does not say how long it will be.
    let head = format!(
        "POST /api/v1/auth/wechat-login HTTP/1.1\r\nhost: mall\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
        token.0
    );
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let answer = converse(&world, &format!("{head}{}0\r\n\r\n", chunk.repeat(17))).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains(TOO_LARGE),
        "{answer}"
    );
    assert_eq!(everything(&world, &token).await, before);
}

async fn a_head_that_cannot_be_read_ends_only_its_connection(world: World) {
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let get = |headers: &str| {
        format!(
            "GET /api/v1/user/info HTTP/1.1\r\nhost: mall\r\nconnection: close\r\n{headers}\r\n"
        )
    };
    assert_eq!(
        status(&converse(&world, &get("authorization: Bearer 令牌\r\n")).await),
        "401"
    );
    assert_eq!(
        status(
            &converse(
                &world,
                &get("authorization: Bearer a\r\nauthorization: Bearer b\r\n")
            )
            .await
        ),
        "401"
    );
    assert_eq!(
        status(
            &converse(
                &world,
                &get(&format!("x-long: {}\r\n", "x".repeat(200_000)))
            )
            .await
        ),
        "431"
    );
    assert_eq!(status(&converse(&world, "GARBAGE\r\n\r\n").await), "400");
    assert_eq!(
        status(&converse(&world, &get("content-length: -1\r\n")).await),
        "400"
    );
    world.log_in("xiaoming").await;
}

/// Sends these very bytes and reads what comes until the mall closes the connection.
async fn converse(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.mall.trim_start_matches("http://"))
        .await
        .unwrap();
    // The mall may stop reading before the end.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn preflight(world: &World, path: &str, origin: &str) -> Answer {
    world
        .request("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-request-id",
        )
        .send()
        .await
}

async fn any_page_may_call_the_mall_in_development(world: World) {
    let token = world.log_in("xiaoming").await;
    for (method, path, body) in NEEDS_SESSION {
        let path = path.split('?').next().unwrap();
        let asked = preflight(&world, path, "http://localhost:5173").await;
        assert_eq!((asked.status, asked.text.as_str()), (200, ""), "{path}");
        assert_eq!(asked.header("access-control-allow-origin"), "*");
        assert_eq!(
            asked.header("access-control-allow-headers"),
            "authorization,content-type,x-request-id"
        );
        assert_eq!(
            asked.header("access-control-allow-methods"),
            "GET,POST,PATCH,DELETE"
        );
        assert_eq!(
            asked.header("access-control-allow-credentials"),
            "",
            "any page, but without cookies"
        );
        // Errors can be read by the page, too.
        for request in [
            world.request(method, path).body(body),
            world.request(method, path).body(body).token(&token),
        ] {
            let answer = request.header("origin", "null").send().await;
            assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
            assert!(
                answer
                    .header("access-control-expose-headers")
                    .contains("x-request-id"),
                "{path}"
            );
        }
    }
    let unknown = world
        .get("/api/v1/nowhere")
        .header("origin", "https://a.example")
        .send()
        .await;
    assert_eq!(
        (
            unknown.status,
            unknown.header("access-control-allow-origin")
        ),
        (404, "*")
    );
}

#[tokio::test]
async fn only_listed_pages_may_call_the_mall_when_there_is_a_list() {
    let ours = ["https://www.example.com", "https://m.example.com"];
    let world = World::start_with(Engine::Sqlite, |config| {
        config.server.cors_origins = ours.map(str::to_owned).to_vec();
    })
    .await;
    let path = "/api/v1/points/packages";
    for origin in ours {
        for answer in [
            preflight(&world, path, origin).await,
            world.get(path).header("origin", origin).send().await,
        ] {
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert_eq!(answer.header("access-control-allow-credentials"), "true");
            assert!(answer.header("vary").to_lowercase().contains("origin"));
        }
    }
    for origin in [
        "https://evil.example",
        "http://www.example.com",
        "https://www.example.com.evil.example",
        "https://www.example.com:8443",
        "null",
    ] {
        for answer in [
            preflight(&world, path, origin).await,
            world.get(path).header("origin", origin).send().await,
        ] {
            assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        }
    }
    // Pages of the list may bring the cookie along.
    let token = world.log_in_on_the_web("xiaoming").await;
    let cookie = format!("jifen_session={}", token.0);
    let create = |origin: &str| {
        let request = world.post("/api/v1/api-keys/create", &json!({ "name": "k" }));
        request
            .header("cookie", &cookie)
            .header("origin", origin)
            .header("sec-fetch-site", "cross-site")
    };
    assert_eq!(create(ours[0]).send().await.status, 200);
    assert_refused(
        &create("https://evil.example").send().await,
        403,
        "不接受其他网站带 Cookie 的请求",
    );
}
