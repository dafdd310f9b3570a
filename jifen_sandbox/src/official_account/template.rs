//! Template messages: delivered to a follower's chat, their result pushed afterwards.

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use bytes::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Author, ChatMessage, check_token, find_person, push};
use crate::{
    access_token::Query,
    sandbox::Sandbox,
    wechat_errcode::{Errcode, answer},
};

/// The same `client_msg_id` for the same openid is sent once within this time.
const DEDUPLICATION: SignedDuration = SignedDuration::from_mins(10);
const SENT_REMEMBERED_MAX: usize = 1_000;

pub(super) async fn send(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let sent = check_token(&sandbox, &Query::parse(query.as_deref()))
        .and_then(|()| deliver(&sandbox, &body));
    match sent {
        Ok(msg_id) => answer(&json!({"errcode": 0, "errmsg": "ok", "msgid": msg_id})),
        Err(error) => error.respond(sandbox.environment()),
    }
}

fn deliver(sandbox: &Sandbox, body: &[u8]) -> Result<u64, Errcode> {
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        Errcode::new(
            47001,
            "data format error",
            format!("the body is not JSON: {error}"),
        )
    })?;
    let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let person = find_person(sandbox, field("touser"))?;
    let template_id = sandbox.kit().official_account_template_id;
    if field("template_id") != template_id {
        let error = Errcode::new(
            40037,
            "invalid template_id",
            "the account has only the template of the kit",
        );
        return Err(error.compare("template_id", template_id, field("template_id")));
    }
    let text = read_data(body.get("data"))?;
    if !person.follows() {
        return Err(Errcode::new(
            43004,
            "require subscribe",
            format!("{} does not follow the account", person.nickname),
        ));
    }
    let account = sandbox.official_account();
    let now = sandbox.environment().now();
    let client_msg_id = field("client_msg_id");
    let mut state = account.state.lock();
    state
        .sent_templates
        .retain(|(_, _, at, _)| now.duration_since(*at) < DEDUPLICATION);
    let repeated = state.sent_templates.iter().find(|(to, id, ..)| {
        !client_msg_id.is_empty() && to == field("touser") && id == client_msg_id
    });
    if let Some((.., msg_id)) = repeated {
        return Ok(*msg_id);
    }
    state.last_msg_id += 1;
    let msg_id = state.last_msg_id;
    if state.sent_templates.len() >= SENT_REMEMBERED_MAX {
        state.sent_templates.pop_front();
    }
    state.sent_templates.push_back((
        field("touser").to_owned(),
        client_msg_id.to_owned(),
        now,
        msg_id,
    ));
    drop(state);
    let mini_program_path = body
        .pointer("/miniprogram/pagepath")
        .and_then(Value::as_str);
    let url = mini_program_path.unwrap_or(field("url")).to_owned();
    let url = (!url.is_empty()).then_some(url);
    account.write(
        &person.id,
        ChatMessage {
            at: now,
            from: Author::Template,
            text,
            url,
        },
    );
    push::push(sandbox, &person, &push::Event::TemplateFinished { msg_id });
    Ok(msg_id)
}

/// The values as lines `key: value`; the keys are the template's, whose wording only the account's operator sees.
fn read_data(data: Option<&Value>) -> Result<String, Errcode> {
    let invalid = |reason: &str| {
        Errcode::new(
            47003,
            "argument invalid! data must match the template",
            reason,
        )
    };
    let data = data
        .and_then(Value::as_object)
        .ok_or_else(|| invalid("data must be an object"))?;
    let mut lines = Vec::new();
    for (key, member) in data {
        let value = member.get("value").and_then(Value::as_str);
        let value =
            value.ok_or_else(|| invalid(&format!("data.{key} must be {{\"value\": \"text\"}}")))?;
        lines.push(format!("{key}: {value}"));
    }
    if lines.is_empty() {
        return Err(invalid("data is empty"));
    }
    Ok(lines.join("\n"))
}
