//! `/api/v2/api-keys/{id}/rotate`: a new secret for a key.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use jifen_app::{App, Error, RotatedKey};
use jifen_domain::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::ApiKeyInfo;
use super::one::KeyId;
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::SignedIn;
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields};

/// Give an API key a new secret · 轮换 API Key
///
/// Id, name, caps and history stay. The old secret works until the grace ends; one that was replaced before it ends now.
#[utoipa::path(
    post, path = "", tag = "api-keys", operation_id = "rotateApiKey", security(("session" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The key's id", example = "5f2b8c1e9a7d4036b1c2d3e4")),
    request_body = Rotation,
    responses(
        (status = 200, description = "The key with its new secret, told once", body = RotatedApiKey),
        (status = 404, description = "`not_found`: no such key of the caller", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    user: SignedIn,
    KeyId(id): KeyId,
    JsonBody(wanted): JsonBody<Rotation>,
) -> Result<Response, Failure> {
    let rotated = app
        .rotate_api_key(user.id, &id, wanted.grace_seconds)
        .await?;
    let body = RotatedApiKey::new(rotated, app.now());
    Ok(json(StatusCode::OK, "application/json", &body))
}

const GRACE_SECONDS_DEFAULT: i64 = 86_400;

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Rotation {
    /// For how long the old secret goes on working.
    #[schema(
        example = 86_400,
        default = 86_400,
        minimum = 0,
        maximum = 604_800,
        required = false
    )]
    grace_seconds: i64,
}

impl FromFields for Rotation {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        let grace_seconds = fields.optional_integer("graceSeconds")?;
        Ok(Self {
            grace_seconds: grace_seconds.unwrap_or(GRACE_SECONDS_DEFAULT),
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RotatedApiKey {
    #[serde(flatten)]
    key: ApiKeyInfo,
    /// What the holder sends from now on.
    #[schema(example = "jf_live_4TnDq0QvHk7mW2xYb9RzLc3sEa1u0k3Fh2")]
    secret: String,
    /// The end of the old secret.
    #[schema(example = "2024-06-26T08:00:00Z", format = DateTime)]
    old_secret_valid_until: String,
}

impl RotatedApiKey {
    fn new(rotated: RotatedKey, now: Time) -> Self {
        Self {
            key: ApiKeyInfo::at(rotated.key, now),
            secret: rotated.secret,
            old_secret_valid_until: rotated.old_valid_until.to_rfc3339(),
        }
    }
}
