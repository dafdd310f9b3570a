//! `/api/v2/api-keys/{id}`: one key of the caller.

use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use jifen_app::{App, Error, Text};

use super::body::{ApiKeyChange, ApiKeyInfo};
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::SignedIn;
use crate::request::body::JsonBody;
use crate::request::fields::is_plausible_id;
use crate::web::Web;

/// One API key · 获取 API Key
#[utoipa::path(
    get, path = "", tag = "api-keys", operation_id = "getApiKey", security(("session" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The key's id", example = "5f2b8c1e9a7d4036b1c2d3e4")),
    responses(
        (status = 200, description = "The key", body = ApiKeyInfo),
        (status = 404, description = "`not_found`: no such key of the caller", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    user: SignedIn,
    KeyId(id): KeyId,
) -> Result<Response, Failure> {
    let key = app.api_key(user.id, &id).await?;
    let body = ApiKeyInfo::at(key, app.now());
    Ok(json(StatusCode::OK, "application/json", &body))
}

/// Change an API key, at once · 修改 API Key
///
/// What is not named stays as it is; null removes a cap, the rate limit, all IP ranges or all scopes. A first cap counts what
/// the key has spent already.
#[utoipa::path(
    patch, path = "", tag = "api-keys", operation_id = "changeApiKey", security(("session" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The key's id", example = "5f2b8c1e9a7d4036b1c2d3e4")),
    request_body = ApiKeyChange,
    responses(
        (status = 200, description = "The key as it is now", body = ApiKeyInfo),
        (status = 404, description = "`not_found`: no such key of the caller", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn change(
    State(app): State<App>,
    user: SignedIn,
    KeyId(id): KeyId,
    JsonBody(ApiKeyChange(change)): JsonBody<ApiKeyChange>,
) -> Result<Response, Failure> {
    let key = app.change_api_key(user.id, &id, change).await?;
    let body = ApiKeyInfo::at(key, app.now());
    Ok(json(StatusCode::OK, "application/json", &body))
}

/// Delete an API key for good, at once · 删除 API Key
#[utoipa::path(
    delete, path = "", tag = "api-keys", operation_id = "removeApiKey", security(("session" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The key's id", example = "5f2b8c1e9a7d4036b1c2d3e4")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "`not_found`: no such key of the caller", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    user: SignedIn,
    KeyId(id): KeyId,
) -> Result<StatusCode, Failure> {
    app.remove_api_key(user.id, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key's id in the path; one that cannot exist is answered like one that does not.
pub(crate) struct KeyId(pub(crate) String);

impl FromRequestParts<Web> for KeyId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let id = Path::<String>::from_request_parts(parts, web).await;
        match id {
            Ok(Path(id)) if is_plausible_id(&id) => Ok(Self(id)),
            _ => Err(Error::NotFound(Text::new("没有这个 API Key", "no such API key")).into()),
        }
    }
}
