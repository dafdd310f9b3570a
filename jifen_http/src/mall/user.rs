//! `/api/v1/user`: what the mall knows of the caller, and what they bind to it.

use axum::extract::State;
use jifen_app::{App, Error};
use jifen_domain::Time;
use jifen_domain::user::EMAIL_BYTES_MAX;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::CODE_BYTES_MAX;
use crate::envelope::mall::{Envelope, Nothing, Reply, Success};
use crate::request::authority::SignedIn;
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields};

/// 获取用户信息 · The caller, and their points
#[utoipa::path(
    get, path = "", tag = "user", operation_id = "userInfo", security(("session" = []), ("cookie" = [])),
    responses((status = 200, description = "用户信息 · The caller", body = Envelope<Info>)),
)]
pub(crate) async fn info(State(app): State<App>, user: SignedIn) -> Reply<Info> {
    let profile = app.profile(user.id).await?;
    Ok(Success(Info {
        user_info: UserInfo {
            user_id: profile.user.id.to_string(),
            nick_name: profile.user.nickname,
            avatar_url: profile.user.avatar_url,
            binding_status: BindingStatus {
                phone: profile.user.phone.is_some(),
                email: profile.user.email.is_some(),
            },
        },
        points: profile.points.get(),
        points_expiry_date: profile.next_expiry.map(Time::to_rfc3339),
    }))
}

/// 绑定手机 · Bind the phone number behind the code of the mini program's phone button (`getPhoneNumber`)
#[utoipa::path(
    post, path = "", tag = "user", operation_id = "bindPhone", security(("session" = []), ("cookie" = [])),
    request_body = PhoneCode,
    responses((status = 200, description = "已绑定 · Bound", body = Envelope<Nothing>)),
)]
pub(crate) async fn bind_phone(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(phone): JsonBody<PhoneCode>,
) -> Reply<()> {
    app.bind_phone(user.id, &phone.code).await?;
    Ok(Success(()))
}

/// 绑定邮箱（第一步） · Mail a code to an address
#[utoipa::path(
    post, path = "", tag = "user", operation_id = "bindEmail", security(("session" = []), ("cookie" = [])),
    request_body = EmailAddress,
    responses((status = 200, description = "验证码已发送，15 分钟内有效 · The code is on its way, good for 15 minutes", body = Envelope<Nothing>)),
)]
pub(crate) async fn bind_email(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(address): JsonBody<EmailAddress>,
) -> Reply<()> {
    app.bind_email(user.id, &address.email).await?;
    Ok(Success(()))
}

/// 绑定邮箱（第二步） · Bind the address the code was mailed to
#[utoipa::path(
    post, path = "", tag = "user", operation_id = "confirmEmail", security(("session" = []), ("cookie" = [])),
    request_body = EmailCode,
    responses((status = 200, description = "已绑定 · Bound", body = Envelope<Nothing>)),
)]
pub(crate) async fn confirm_email(
    State(app): State<App>,
    user: SignedIn,
    JsonBody(confirmation): JsonBody<EmailCode>,
) -> Reply<()> {
    app.confirm_email(user.id, &confirmation.code).await?;
    Ok(Success(()))
}

/// Bytes of a mailed code, with some room for spaces around it.
const EMAIL_CODE_BYTES_MAX: usize = 32;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the contract's names")]
pub(crate) struct Info {
    user_info: UserInfo,
    /// 可用积分，不含已过期的 · Points that can be spent, never expired ones.
    #[schema(example = 1000)]
    points: i64,
    /// 未用积分中最早的过期时间；没有会过期的积分时为 null · The earliest expiry among points still unspent, null when none
    /// will expire.
    #[schema(example = "2024-12-31T23:59:59Z", format = DateTime)]
    points_expiry_date: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserInfo {
    #[schema(example = "4503599627370496")]
    user_id: String,
    /// 用户昵称
    #[schema(example = "微信用户")]
    nick_name: String,
    /// 用户头像；未知时为空 · Empty until known.
    #[schema(example = "https://thirdwx.qlogo.cn/mmopen/vi_32/example/132")]
    avatar_url: String,
    binding_status: BindingStatus,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct BindingStatus {
    /// 是否已绑定手机
    phone: bool,
    /// 是否已绑定邮箱
    email: bool,
}

#[derive(ToSchema)]
pub(crate) struct PhoneCode {
    /// 手机号按钮回调中的 code · The code in the phone button's event.
    #[schema(
        example = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144",
        max_length = 512
    )]
    code: String,
}

impl FromFields for PhoneCode {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            code: fields.text("code", CODE_BYTES_MAX)?,
        })
    }
}

#[derive(ToSchema)]
pub(crate) struct EmailAddress {
    #[schema(example = "li@example.com", max_length = 254)]
    email: String,
}

impl FromFields for EmailAddress {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            email: fields.text("email", EMAIL_BYTES_MAX)?,
        })
    }
}

#[derive(ToSchema)]
pub(crate) struct EmailCode {
    /// 邮件中的 6 位验证码 · The six digits in the mail.
    #[schema(example = "042917")]
    code: String,
}

impl FromFields for EmailCode {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            code: fields.text("code", EMAIL_CODE_BYTES_MAX)?,
        })
    }
}
