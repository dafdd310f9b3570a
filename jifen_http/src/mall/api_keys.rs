//! `/api/v1/api-keys`: the keys that spend the caller's points.

use axum::extract::State;
use jifen_app::{App, Error, Text};
use jifen_domain::Time;
use jifen_domain::key::ApiKey;
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::mall::{Envelope, MallError, Nothing, Reply, Success};
use crate::request::authority::SignedIn;
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields, is_plausible_id};

/// 获取 API Key 列表 · The caller's API keys, newest first
#[utoipa::path(
    get, path = "", tag = "api-keys", operation_id = "apiKeys", security(("session" = []), ("cookie" = [])),
    responses((status = 200, description = "API Key 列表 · The keys", body = Envelope<Keys>)),
)]
pub(crate) async fn list(State(app): State<App>, user: SignedIn) -> Reply<Keys> {
    let (keys, now) = (app.api_keys(user.id).await?, app.now());
    Ok(Success(Keys {
        list: keys.into_iter().map(|key| Key::at(key, now)).collect(),
    }))
}

/// 创建 API Key · Make an API key; its secret is told here and never again
#[utoipa::path(
    post, path = "", tag = "api-keys", operation_id = "createApiKey", security(("session" = []), ("cookie" = [])),
    request_body = NewKey,
    responses((status = 200, description = "新的 API Key · The new key", body = Envelope<CreatedKey>)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(wanted): JsonBody<NewKey>,
) -> Reply<CreatedKey> {
    let created = app
        .create_api_key(user.id, &wanted.name, wanted.expiry_months)
        .await?;
    Ok(Success(CreatedKey {
        id: created.key.id,
        name: created.key.name,
        status: KeyStatus::Active,
        created_at: created.key.created_at.to_rfc3339(),
        expires_at: created.key.expires_at.to_rfc3339(),
        key: created.secret,
    }))
}

/// 删除 API Key · Delete a key for good, at once
#[utoipa::path(
    post, path = "", tag = "api-keys", operation_id = "deleteApiKey", security(("session" = []), ("cookie" = [])),
    request_body = KeyId,
    responses(
        (status = 200, description = "已删除 · Deleted", body = Envelope<Nothing>),
        (status = 404, description = "没有这个 API Key，或不属于当前用户 · No such key of the caller", body = MallError),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(key): JsonBody<KeyId>,
) -> Reply<()> {
    app.delete_api_key(user.id, &key.id).await?;
    Ok(Success(()))
}

/// 更新 API Key 状态 · Switch a key on or off, at once
#[utoipa::path(
    post, path = "", tag = "api-keys", operation_id = "updateApiKeyStatus", security(("session" = []), ("cookie" = [])),
    request_body = NewStatus,
    responses(
        (status = 200, description = "已更新 · Done", body = Envelope<Nothing>),
        (status = 404, description = "没有这个 API Key，或不属于当前用户 · No such key of the caller", body = MallError),
    ),
)]
pub(crate) async fn update_status(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(wanted): JsonBody<NewStatus>,
) -> Reply<()> {
    let is_active = matches!(wanted.status, KeyStatus::Active);
    app.set_api_key_active(user.id, &wanted.id, is_active)
        .await?;
    Ok(Success(()))
}

/// Bytes of a name as sent; the rules count 64 characters after trimming.
const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of an id that are read; what cannot be an id is answered like an unknown one.
const ID_BYTES_MAX: usize = 1_024;
const EXPIRY_MONTHS_DEFAULT: i64 = 6;

#[derive(Serialize, ToSchema)]
pub(crate) struct Keys {
    list: Vec<Key>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Key {
    #[schema(example = "5f2b8c1e9a7d4036b1c2d3e4")]
    id: String,
    #[schema(example = "production")]
    name: String,
    /// active 或 inactive；过期后为 inactive · An expired key reads `inactive`.
    status: KeyStatus,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    created_at: String,
    #[schema(example = "2024-12-25T08:00:00Z", format = DateTime)]
    expires_at: String,
    /// 最后使用时间，精确到分钟；未使用为 null · The last charge, to the minute.
    #[schema(example = "2024-06-26T09:30:00Z", format = DateTime)]
    last_used_at: Option<String>,
}

impl Key {
    fn at(key: ApiKey, now: Time) -> Self {
        Self {
            status: if key.usable(now).is_ok() {
                KeyStatus::Active
            } else {
                KeyStatus::Inactive
            },
            id: key.id,
            name: key.name,
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.expires_at.to_rfc3339(),
            last_used_at: key.last_used_at.map(Time::to_rfc3339),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyStatus {
    Active,
    Inactive,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NewKey {
    /// 1 至 64 个字符 · 1 to 64 characters.
    #[schema(example = "production")]
    name: String,
    /// 过期时间（月）：1、3、6 或 12，默认 6 · Calendar months: 1, 3, 6 or 12.
    #[schema(example = 6, default = 6, required = false)]
    expiry_months: i64,
}

impl FromFields for NewKey {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        let name = fields.text("name", NAME_BYTES_MAX)?;
        let expiry_months = fields
            .optional_integer("expiryMonths")?
            .unwrap_or(EXPIRY_MONTHS_DEFAULT);
        Ok(Self {
            name,
            expiry_months,
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedKey {
    #[schema(example = "5f2b8c1e9a7d4036b1c2d3e4")]
    id: String,
    #[schema(example = "production")]
    name: String,
    status: KeyStatus,
    #[schema(example = "2024-06-25T08:00:00Z", format = DateTime)]
    created_at: String,
    #[schema(example = "2024-12-25T08:00:00Z", format = DateTime)]
    expires_at: String,
    /// API Key 值，仅在创建时返回一次 · The secret, told once.
    #[schema(example = "jf_live_4TnDq0QvHk7mW2xYb9RzLc3sEa1u0k3Fh2")]
    key: String,
}

#[derive(ToSchema)]
pub(crate) struct KeyId {
    #[schema(example = "5f2b8c1e9a7d4036b1c2d3e4")]
    id: String,
}

impl FromFields for KeyId {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            id: key_id(fields)?,
        })
    }
}

#[derive(ToSchema)]
pub(crate) struct NewStatus {
    #[schema(example = "5f2b8c1e9a7d4036b1c2d3e4")]
    id: String,
    status: KeyStatus,
}

impl FromFields for NewStatus {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        // The status first: an impossible id is answered 404, but only to a request that makes sense.
        let status = match fields.text("status", "inactive".len())?.as_str() {
            "active" => KeyStatus::Active,
            "inactive" => KeyStatus::Inactive,
            _ => {
                return Err(Error::invalid(
                    "status",
                    Text::new("只能是 active 或 inactive", "must be active or inactive"),
                ));
            }
        };
        Ok(Self {
            id: key_id(fields)?,
            status,
        })
    }
}

/// A key's id; one that cannot exist is answered like one that does not.
fn key_id(fields: &Fields) -> Result<String, Error> {
    let id = fields.text("id", ID_BYTES_MAX)?;
    if is_plausible_id(&id) {
        Ok(id)
    } else {
        Err(Error::NotFound(Text::new(
            "没有这个 API Key",
            "no such API key",
        )))
    }
}
