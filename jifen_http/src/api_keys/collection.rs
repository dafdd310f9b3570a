//! `/api/v2/api-keys`: all keys of the caller.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::StatusCode;
use http::header::LOCATION;
use jifen_app::App;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{ApiKeyInfo, ApiKeyWithSecret, NewApiKey};
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::SignedIn;
use crate::request::body::JsonBody;

/// The caller's API keys, newest first · 获取全部 API Key
///
/// Live and test keys, 50 at most, without those that were deleted.
#[utoipa::path(
    get, path = "", tag = "api-keys", operation_id = "listApiKeys", security(("session" = []), ("cookie" = [])),
    responses((status = 200, description = "The keys", body = ApiKeys)),
)]
pub(crate) async fn list(State(app): State<App>, user: SignedIn) -> Result<Response, Failure> {
    let (keys, now) = (app.all_api_keys(user.id).await?, app.now());
    let items = keys
        .into_iter()
        .map(|key| ApiKeyInfo::at(key, now))
        .collect();
    Ok(json(StatusCode::OK, "application/json", &ApiKeys { items }))
}

/// Make an API key · 创建 API Key
///
/// Its secret is told here and never again. A test key (`jf_test_…`) spends play points only;
/// making one fills them up to 10,000.
#[utoipa::path(
    post, path = "", tag = "api-keys", operation_id = "makeApiKey", security(("session" = []), ("cookie" = [])),
    request_body = NewApiKey,
    responses(
        (status = 201, description = "The new key; Location is its URL", body = ApiKeyWithSecret),
        (status = 422, description = "`invalid_request` naming the field; `name` when there are 50 keys already", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(NewApiKey(wanted)): JsonBody<NewApiKey>,
) -> Result<Response, Failure> {
    let created = app.make_api_key(user.id, wanted).await?;
    let url = format!("/api/v2/api-keys/{}", created.key.id);
    let body = ApiKeyWithSecret::new(created, app.now());
    let answer = json(StatusCode::CREATED, "application/json", &body);
    Ok((AppendHeaders([(LOCATION, url)]), answer).into_response())
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeys {
    items: Vec<ApiKeyInfo>,
}
