//! `/api/v2/api-keys`: what an owner can do with API keys, and what the keys can do then.

mod collection;
mod effects;
mod one;
mod rotate;

use serde_json::{Value, json};

use crate::world::{Answer, Token, World};

const KEYS: &str = "/api/v2/api-keys";

async fn create(world: &World, token: &Token, body: &Value) -> Answer {
    world.post(KEYS, body).token(token).send().await
}

/// Makes a key: `(id, secret)`.
async fn key(world: &World, token: &Token, body: &Value) -> (String, String) {
    let answer = create(world, token, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let text = |field: &str| answer.body[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

async fn change(world: &World, token: &Token, id: &str, body: &Value) -> Answer {
    let request = world.request("PATCH", &format!("{KEYS}/{id}"));
    request.body(&body.to_string()).token(token).send().await
}

async fn list(world: &World, token: &Token) -> Value {
    let answer = world.get(KEYS).token(token).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.body.as_object().unwrap().len(), 1, "{}", answer.text);
    answer.body["items"].clone()
}

/// A refusal with exactly these members.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, "application/problem+json"),
        "{}",
        answer.text
    );
    let mut expected = json!({
        "type": format!("urn:jifen:problem:{code}"), "title": code.replace('_', " "), "status": status, "code": code,
        "detail": answer.body["detail"],
    });
    if let Some(field) = field {
        expected["field"] = json!(field);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
    }
    assert_eq!(answer.body, expected);
}
