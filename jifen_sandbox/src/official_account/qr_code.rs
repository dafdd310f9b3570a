//! QR codes with a parameter: made by the integrator, shown as an image, scanned by a person.

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{OfficialAccount, check_token, png};
use crate::{
    access_token::Query,
    environment::Environment,
    exchanges::Refusal,
    sandbox::Sandbox,
    wechat_errcode::{Errcode, answer},
};

const EXPIRE_SECONDS_DEFAULT: i64 = 60;
const EXPIRE_SECONDS_MAX: i64 = 30 * 24 * 60 * 60;

/// A code that was made.
#[derive(Debug, Clone)]
pub(crate) struct QrCode {
    pub(crate) ticket: String,
    /// The part of the content's URL that tells codes apart.
    pub(crate) slug: String,
    /// The scene string, or the scene number as text.
    pub(crate) scene: String,
    /// `None`: permanent.
    pub(crate) ends_at: Option<Timestamp>,
}

impl QrCode {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= now)
    }

    /// What the image contains: the page on which a person scans it.
    pub(crate) fn content(&self, sandbox: &Sandbox) -> String {
        sandbox.url(&format!("/sandbox/qr/{}", self.slug))
    }
}

impl OfficialAccount {
    /// By ticket, by slug, or by the URL that contains the slug.
    pub(crate) fn find_qr_code(&self, name: &str) -> Option<QrCode> {
        let slug = name
            .rsplit_once("/sandbox/qr/")
            .map_or(name, |(_, slug)| slug);
        self.state
            .lock()
            .qr_codes
            .iter()
            .find(|code| code.ticket == name || code.slug == slug)
            .cloned()
    }

    /// Newest first.
    pub(crate) fn qr_codes(&self) -> Vec<QrCode> {
        self.state.lock().qr_codes.iter().rev().cloned().collect()
    }

    fn add_qr_code(&self, wanted: Wanted, environment: &dyn Environment) -> QrCode {
        // Tickets of WeChat contain the characters that must be encoded in a URL; so do these, always.
        let code = QrCode {
            ticket: format!(
                "gQH+{}/{}==",
                environment.alphanumeric(44),
                environment.alphanumeric(45)
            ),
            slug: environment.alphanumeric(24),
            scene: wanted.scene,
            ends_at: wanted.expire_seconds.map(|seconds| {
                let now = environment.now();
                now.checked_add(SignedDuration::from_secs(seconds))
                    .unwrap_or(now)
            }),
        };
        let mut state = self.state.lock();
        while state.qr_codes.len() >= self.limits.codes_max.max(1) {
            state.qr_codes.pop_front();
        }
        state.qr_codes.push_back(code.clone());
        code
    }
}

/// What a request asks for.
struct Wanted {
    scene: String,
    expire_seconds: Option<i64>,
}

pub(super) async fn create(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let wanted = check_token(&sandbox, &Query::parse(query.as_deref())).and_then(|()| read(&body));
    match wanted {
        Ok(wanted) => {
            let expire_seconds = wanted.expire_seconds;
            let code = sandbox
                .official_account()
                .add_qr_code(wanted, sandbox.environment());
            let mut body = json!({"ticket": code.ticket, "url": code.content(&sandbox)});
            if let (Some(seconds), Some(object)) = (expire_seconds, body.as_object_mut()) {
                object.insert("expire_seconds".into(), seconds.into());
            }
            answer(&body)
        }
        Err(error) => error.respond(sandbox.environment()),
    }
}

fn read(body: &[u8]) -> Result<Wanted, Errcode> {
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        Errcode::new(
            47001,
            "data format error",
            format!("the body is not JSON: {error}"),
        )
    })?;
    let invalid = |reason: String| Errcode::new(40053, "invalid action info", reason);
    let action = body
        .get("action_name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let scene = body.pointer("/action_info/scene");
    let number = scene
        .and_then(|scene| scene.get("scene_id"))
        .and_then(Value::as_i64);
    let text = scene
        .and_then(|scene| scene.get("scene_str"))
        .and_then(Value::as_str);
    let (temporary, scene) = match action {
        "QR_SCENE" | "QR_LIMIT_SCENE" => {
            let temporary = action == "QR_SCENE";
            let number_max = if temporary {
                i64::from(u32::MAX)
            } else {
                100_000
            };
            // A scene_id that is not nested under `scene` is not refused: the events then carry 0.
            let number = number.or_else(|| body.pointer("/action_info/scene_id").map(|_| 0));
            let number =
                number.ok_or_else(|| invalid("action_info.scene.scene_id is missing".into()))?;
            if number > number_max || (number < 1 && scene.is_some()) {
                return Err(invalid(format!("scene_id must be 1..={number_max}")));
            }
            (temporary, number.to_string())
        }
        "QR_STR_SCENE" | "QR_LIMIT_STR_SCENE" => {
            let text =
                text.ok_or_else(|| invalid("action_info.scene.scene_str is missing".into()))?;
            if text.is_empty() || text.chars().count() > 64 {
                return Err(invalid("scene_str must have 1..=64 characters".into()));
            }
            (action == "QR_STR_SCENE", text.to_owned())
        }
        _ => {
            let known = "QR_SCENE, QR_STR_SCENE, QR_LIMIT_SCENE or QR_LIMIT_STR_SCENE";
            return Err(invalid("unknown action_name".into()).compare(
                "action_name",
                known,
                action,
            ));
        }
    };
    let expire_seconds = match body.get("expire_seconds") {
        _ if !temporary => None,
        None => Some(EXPIRE_SECONDS_DEFAULT),
        Some(value) => {
            let seconds = value
                .as_i64()
                .filter(|seconds| (1..=EXPIRE_SECONDS_MAX).contains(seconds));
            Some(seconds.ok_or_else(|| {
                invalid(format!(
                    "expire_seconds must be a number, 1..={EXPIRE_SECONDS_MAX}"
                ))
            })?)
        }
    };
    Ok(Wanted {
        scene,
        expire_seconds,
    })
}

/// The image, without a token: whoever has the ticket may see it.
pub(super) async fn show(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    let ticket = query.get("ticket");
    let Some(code) = sandbox.official_account().find_qr_code(ticket) else {
        let mut refusal = Refusal::new("404", "the sandbox did not make this ticket");
        if ticket.contains(' ') {
            "the ticket was not URL-encoded: its + arrived as a space"
                .clone_into(&mut refusal.reason);
        }
        let refusal = refusal.compare("ticket", "a ticket of /cgi-bin/qrcode/create", ticket);
        return refusal.attach(StatusCode::NOT_FOUND.into_response());
    };
    match png::qr_code(&code.content(&sandbox)) {
        Some(image) => ([(header::CONTENT_TYPE, "image/png")], image).into_response(),
        None => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the public base URL is too long for a QR code",
        )
            .into_response(),
    }
}
