//! Bodies that are not what the document says, at every URL that takes one: refused by the field's name, and nothing changed.

use serde_json::json;

use super::{assert_refused, everything};
use crate::world::{Request, Token, World, on_sqlite};

on_sqlite!(
    a_field_that_does_not_fit_is_named,
    months_that_do_not_fit_are_named,
    a_status_that_does_not_fit_is_named,
    an_id_that_cannot_be_one_is_as_unknown_as_any_other,
    what_is_not_a_json_object_is_refused,
    what_is_not_labelled_as_json_is_refused,
    of_two_fields_of_one_name_the_last_counts_and_unknown_ones_do_not,
);

/// A text field of a URL.
struct Field {
    path: &'static str,
    name: &'static str,
    bytes_max: usize,
    is_optional: bool,
    /// The fields of a body in which this one is the only mistake.
    others: &'static str,
}

const fn field(
    path: &'static str,
    name: &'static str,
    bytes_max: usize,
    others: &'static str,
) -> Field {
    Field {
        path,
        name,
        bytes_max,
        is_optional: false,
        others,
    }
}

const TEXT_FIELDS: [Field; 11] = [
    field("/auth/wechat-login", "code", 512, "{}"),
    Field {
        is_optional: true,
        ..field(
            "/auth/wechat-login",
            "encryptedData",
            65_536,
            r#"{"code":"x","iv":"AAAA"}"#,
        )
    },
    Field {
        is_optional: true,
        ..field(
            "/auth/wechat-login",
            "iv",
            64,
            r#"{"code":"x","encryptedData":"AAAA"}"#,
        )
    },
    field("/user/bind-phone", "code", 512, "{}"),
    field("/user/bind-email", "email", 254, "{}"),
    field("/user/confirm-email", "code", 32, "{}"),
    field("/points/create-order", "packageId", 64, "{}"),
    field("/api-keys/create", "name", 1_024, r#"{"expiryMonths":1}"#),
    field("/api-keys/delete", "id", 1_024, "{}"),
    field(
        "/api-keys/update-status",
        "id",
        1_024,
        r#"{"status":"active"}"#,
    ),
    field("/api-keys/update-status", "status", 8, r#"{"id":"x"}"#),
];

impl Field {
    /// A body in which the field is named `name` and holds the JSON text `value`.
    fn body(&self, name: &str, value: &str) -> String {
        let others = self.others.trim_start_matches('{');
        let comma = if others == "}" { "" } else { "," };
        format!("{{\"{name}\":{value}{comma}{others}")
    }
}

fn post(world: &World, token: &Token, path: &str, body: &str) -> Request {
    world
        .request("POST", &format!("/api/v1{path}"))
        .body(body)
        .token(token)
}

/// Somebody with an order, a key, and something bought and spent: what is not to change.
async fn somebody(world: &World) -> Token {
    let (token, _) = super::buy(world, "xiaoming", "100001").await;
    let (_, key) = world.api_key(&token, "key").await;
    assert_eq!(
        world
            .charge(&world.gateway().await, "1", &key, 1)
            .await
            .status,
        200
    );
    world.create_order(&token, "starter-1000").await;
    token
}

async fn a_field_that_does_not_fit_is_named(world: World) {
    let token = somebody(&world).await;
    let before = everything(&world, &token).await;
    for field in TEXT_FIELDS {
        let name = field.name;
        let refused = async |body: &str, what: &str| {
            let answer = post(&world, &token, field.path, body).send().await;
            assert_refused(&answer, 422, &format!("{name}: {what}"));
        };
        let missing = if field.is_optional {
            "encryptedData 与 iv 须一起提供"
        } else {
            "缺少该字段"
        };
        refused(field.others, missing).await;
        refused(&field.body(name, "null"), missing).await;
        let first = name[..1].to_uppercase();
        for other_case in [
            name.to_uppercase(),
            format!("{first}{}", &name[1..]),
            format!(" {name}"),
            format!("{name}\\u0000"),
        ] {
            refused(&field.body(&other_case, "\"x\""), missing).await;
        }
        for wrong_type in [
            "5",
            "0",
            "-1",
            "1.5",
            "1e3",
            "9223372036854775808",
            "true",
            "false",
            "[]",
            "[\"x\"]",
            "{}",
            "{\"x\":\"y\"}",
        ] {
            refused(&field.body(name, wrong_type), "须为字符串").await;
        }
        for blank in [r#""""#, r#"" ""#, r#""\t\n""#, "\"\u{3000}\""] {
            refused(&field.body(name, blank), "不能为空").await;
        }
        for long in [field.bytes_max + 1, 70 * 1_024] {
            refused(
                &field.body(name, &format!("\"{}\"", "x".repeat(long))),
                &format!("不能超过 {} 字节", field.bytes_max),
            )
            .await;
        }
        if field.bytes_max >= "a\0".len() {
            refused(&field.body(name, r#""a\u0000""#), "不能包含控制字符").await;
        }
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn months_that_do_not_fit_are_named(world: World) {
    let token = somebody(&world).await;
    let before = everything(&world, &token).await;
    let create = async |months: &str| {
        let body = format!("{{\"name\":\"k\",\"expiryMonths\":{months}}}");
        post(&world, &token, "/api-keys/create", &body).send().await
    };
    for months in [
        "0",
        "-1",
        "-6",
        "2",
        "4",
        "5",
        "7",
        "13",
        "24",
        "120",
        "4294967297",
        "9223372036854775807",
        "-9223372036854775808",
    ] {
        assert_refused(
            &create(months).await,
            422,
            "expiryMonths: 只能是 1、3、6 或 12",
        );
    }
    for months in [
        "9223372036854775808",
        "18446744073709551617",
        "1e300",
        "1.5",
        "6.0",
        "6e0",
        "-0",
        "\"6\"",
        "\"\"",
        "\"六\"",
        "true",
        "[]",
        "[6]",
        "{}",
    ] {
        assert_refused(&create(months).await, 422, "expiryMonths: 须为整数");
    }
    // Beyond what a number can be at all, it is told where.
    for (months, column) in [("1e400", 32), ("-1e400", 33)] {
        assert_refused(
            &create(months).await,
            422,
            &format!("body: 不是有效的 JSON（第 1 行第 {column} 列）"),
        );
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn a_status_that_does_not_fit_is_named(world: World) {
    let token = somebody(&world).await;
    let keys = world.get("/api/v1/api-keys").token(&token).send().await;
    let id = &keys.body["data"]["list"][0]["id"];
    let before = everything(&world, &token).await;
    for status in [
        "Active", "ACTIVE", "active ", "on", "enabled", "deleted", "inactiv", "0", "停用",
    ] {
        let body = json!({ "id": id, "status": status }).to_string();
        let answer = post(&world, &token, "/api-keys/update-status", &body)
            .send()
            .await;
        assert_refused(&answer, 422, "status: 只能是 active 或 inactive");
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn an_id_that_cannot_be_one_is_as_unknown_as_any_other(world: World) {
    let token = somebody(&world).await;
    let keys = world.get("/api/v1/api-keys").token(&token).send().await;
    let id = keys.body["data"]["list"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = everything(&world, &token).await;
    let long = "x".repeat(65);
    let longer = "x".repeat(513);
    let padded = format!(" {id} ");
    for unknown in [
        "x",
        "0",
        "-1",
        "🔑",
        "钥匙",
        "../../etc/passwd",
        "a\nb",
        "\u{1}",
        "' OR 1=1 --",
        "%",
        &padded,
        &id.to_uppercase(),
        &id[1..],
        &long,
        &longer,
    ] {
        let delete = json!({ "id": unknown }).to_string();
        assert_refused(
            &post(&world, &token, "/api-keys/delete", &delete)
                .send()
                .await,
            404,
            "没有这个 API Key",
        );
        let update = json!({ "id": unknown, "status": "inactive" }).to_string();
        assert_refused(
            &post(&world, &token, "/api-keys/update-status", &update)
                .send()
                .await,
            404,
            "没有这个 API Key",
        );
    }
    assert_eq!(everything(&world, &token).await, before);
}

/// What is not JSON, and where the reader gives up.
const NOT_JSON: [(&str, &str); 13] = [
    ("", "第 1 行第 0 列"),
    ("{", "第 1 行第 1 列"),
    ("{\"code\":\"x\"", "第 1 行第 11 列"),
    ("{\"code\":\"x\",}", "第 1 行第 13 列"),
    ("{'code':'x'}", "第 1 行第 2 列"),
    ("{code:\"x\"}", "第 1 行第 2 列"),
    ("{\"code\":\"x\"}\n{}", "第 2 行第 1 列"),
    ("{\"code\":01}", "第 1 行第 10 列"),
    ("{\"code\":NaN}", "第 1 行第 9 列"),
    ("{\"code\":\"\\ud800\"}", "第 1 行第 16 列"),
    ("{\"code\":\"\u{1}\"}", "第 1 行第 10 列"),
    ("\u{feff}{\"code\":\"x\"}", "第 1 行第 1 列"),
    ("code=x", "第 1 行第 1 列"),
];

async fn what_is_not_a_json_object_is_refused(world: World) {
    const NOT_AN_OBJECT: &str = "body: 须为 JSON 对象";
    let token = somebody(&world).await;
    let before = everything(&world, &token).await;
    let nested = |open: &str, close: &str| {
        format!(
            "{{\"code\":{}{}}}",
            open.repeat(15_000),
            close.repeat(15_000)
        )
    };
    let mut paths: Vec<_> = TEXT_FIELDS.iter().map(|field| field.path).collect();
    paths.dedup();
    for path in paths {
        for body in ["[]", "null", "\"x\"", "5", "true", "[{\"code\":\"x\"}]"] {
            assert_refused(
                &post(&world, &token, path, body).send().await,
                422,
                NOT_AN_OBJECT,
            );
        }
        for (body, place) in NOT_JSON {
            let message = format!("body: 不是有效的 JSON（{place}）");
            assert_refused(
                &post(&world, &token, path, body).send().await,
                422,
                &message,
            );
        }
        let not_text: [&[u8]; 3] = [
            b"{\"code\":\"\xff\"}",
            b"\xff\xfe{\0}\0",
            b"\x1f\x8b\x08\0\0\0",
        ];
        let deep = [
            nested("[", "]").into_bytes(),
            nested("{\"a\":", "}").into_bytes(),
        ];
        for body in not_text.into_iter().map(<[u8]>::to_vec).chain(deep) {
            let request = world
                .post_text(&format!("/api/v1{path}"), body)
                .header("content-type", "application/json");
            let answer = request.token(&token).send().await;
            let message = answer.body["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            assert!(
                message.starts_with("body: 不是有效的 JSON（第 "),
                "{path}: {}",
                answer.text
            );
            assert_refused(&answer, 422, &message);
        }
    }
    assert_eq!(everything(&world, &token).await, before);
}

async fn what_is_not_labelled_as_json_is_refused(world: World) {
    let token = somebody(&world).await;
    let before = everything(&world, &token).await;
    let body = r#"{"name":"k"}"#;
    let path = "/api/v1/api-keys/create";
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/xml",
        "json",
        "",
        "text/html; charset=utf-8",
    ] {
        let answer = world
            .post_text(path, body)
            .header("content-type", content_type)
            .token(&token)
            .send()
            .await;
        assert_refused(&answer, 422, "Content-Type: 须为 application/json");
    }
    assert_refused(
        &world.post_text(path, body).token(&token).send().await,
        422,
        "Content-Type: 须为 application/json",
    );
    assert_eq!(everything(&world, &token).await, before);
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON;charset=UTF-8",
    ] {
        let answer = world
            .post_text(path, body)
            .header("content-type", content_type)
            .token(&token)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{content_type}: {}", answer.text);
    }
}

async fn of_two_fields_of_one_name_the_last_counts_and_unknown_ones_do_not(world: World) {
    let token = world.log_in("xiaoming").await;
    let create = async |body: &str| post(&world, &token, "/api-keys/create", body).send().await;
    let answer = create(r#"{"name":5,"name":"last","expiryMonths":5,"expiryMonths":12,"status":"inactive","id":"mine","key":{"a":[1]}}"#).await;
    let data = &answer.body["data"];
    assert_eq!(
        (&data["name"], &data["expiresAt"]),
        (&json!("last"), &json!("2027-01-15T04:00:00Z")),
        "{}",
        answer.text
    );
    assert_eq!(data["status"], "active");
    assert_refused(
        &create(r#"{"name":"first","name":null}"#).await,
        422,
        "name: 缺少该字段",
    );
}
