//! `/sandbox/kit`: what an integrator configures, to copy.

use askama::Template;
use axum::{extract::State, response::Html};
use serde_json::{Value, json};

use super::render;
use crate::{payments::ActionError, sandbox::Sandbox};

#[derive(Template)]
#[template(path = "kit.html")]
struct KitPage {
    /// Name and value, as `GET /sandbox/api/kit` names them.
    entries: Vec<(String, String)>,
    base_url: String,
}

pub(super) async fn show(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    let entries = match json!(sandbox.kit()) {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    };
    let text = |value: Value| value.as_str().unwrap_or_default().trim_end().to_owned();
    let entries = entries
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect();
    render(&KitPage {
        entries,
        base_url: sandbox.url(""),
    })
}
