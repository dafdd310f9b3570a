//! `/api/v1/auth`: logging in, staying logged in, logging out.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::SET_COOKIE;
use jifen_app::{App, EncryptedProfile, Error, Text};
use jifen_domain::session::REFRESH_WINDOW_SECONDS;
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::Failure;
use crate::envelope::mall::{Envelope, Nothing, Reply, Success};
use crate::request::authority::SessionToken;
use crate::request::body::JsonBody;
use crate::request::cookies::{SESSION, set_cookie};
use crate::request::fields::{Fields, FromFields};
use crate::web::Web;

/// 微信登录 · Log in with the code of `wx.login()`
#[utoipa::path(
    post, path = "", tag = "auth", operation_id = "wechatLogin",
    request_body = WechatLogin,
    responses((status = 200, description = "已登录 · Logged in", body = Envelope<Login>)),
)]
pub(crate) async fn wechat_login(
    State(app): State<App>,
    JsonBody(login): JsonBody<WechatLogin>,
) -> Reply<Login> {
    let profile = login.encrypted_data.as_deref().zip(login.iv.as_deref());
    let profile = profile.map(|(encrypted_data, iv)| EncryptedProfile { encrypted_data, iv });
    let signed_in = app.wechat_login(&login.code, profile).await?;
    Ok(Success(Login {
        token: signed_in.token.token,
        expires_in: signed_in.token.expires_in_seconds,
        user_info: Person {
            user_id: signed_in.user.id.to_string(),
            nick_name: signed_in.user.nickname,
            avatar_url: signed_in.user.avatar_url,
        },
        points: signed_in.points.get(),
        is_new_user: signed_in.is_new_user,
    }))
}

/// 刷新登录态 · Exchange a current token, or one expired up to 30 days ago, for a new one
///
/// 旧 token 在 60 秒后失效；之后再次使用会吊销整个登录态。 The old token goes on working for 60 seconds; used later, it
/// revokes the whole session.
#[utoipa::path(
    post, path = "", tag = "auth", operation_id = "refreshToken", security(("session" = []), ("cookie" = [])),
    responses((status = 200, description = "新的登录令牌 · The new token", body = Envelope<Token>)),
)]
pub(crate) async fn refresh_token(
    State(web): State<Web>,
    token: SessionToken,
) -> Result<Response, Failure> {
    let issued = web.app.refresh_session(&token.value).await?;
    let cookie = token.is_cookie.then(|| {
        (
            SET_COOKIE,
            set_cookie(
                SESSION,
                &issued.token,
                REFRESH_WINDOW_SECONDS,
                web.secure_cookies,
            ),
        )
    });
    let answer = Success(Token {
        token: issued.token,
        expires_in: issued.expires_in_seconds,
    });
    Ok((AppendHeaders(cookie), answer).into_response())
}

/// 退出登录 · Log out: ends the session with all its tokens
#[utoipa::path(
    post, path = "", tag = "auth", operation_id = "logout", security(("session" = []), ("cookie" = [])),
    responses((status = 200, description = "已退出 · Logged out", body = Envelope<Nothing>)),
)]
pub(crate) async fn logout(
    State(web): State<Web>,
    token: SessionToken,
) -> Result<Response, Failure> {
    web.app.log_out(&token.value).await?;
    let cookie = token
        .is_cookie
        .then(|| (SET_COOKIE, set_cookie(SESSION, "", 0, web.secure_cookies)));
    Ok((AppendHeaders(cookie), Success(())).into_response())
}

/// Bytes of a code of `wx.login()` or of the phone button.
pub(super) const CODE_BYTES_MAX: usize = 512;
/// Bytes of the encrypted profile, as base64.
const ENCRYPTED_DATA_BYTES_MAX: usize = 64 * 1024;
/// Bytes of its initial vector, as base64: 16 bytes make 24.
const IV_BYTES_MAX: usize = 64;

/// 微信登录 · A login from the mini program
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct WechatLogin {
    /// `wx.login()` 获取的临时 code，只能使用一次 · The code of `wx.login()`, good for one call.
    #[schema(example = "0e3Vd0ll2kXbHe4qYTnl2gbXyN0Vd0lO", max_length = 512)]
    code: String,
    /// `wx.getUserProfile()` 的加密数据，须与 iv 一起提供 · With `iv` or not at all.
    #[schema(max_length = 65536)]
    encrypted_data: Option<String>,
    /// 加密算法的初始向量 · With `encryptedData` or not at all.
    iv: Option<String>,
}

impl FromFields for WechatLogin {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        const TOGETHER: Text = Text::new(
            "encryptedData 与 iv 须一起提供",
            "encryptedData and iv go together",
        );
        let code = fields.text("code", CODE_BYTES_MAX)?;
        let encrypted_data = fields.optional_text("encryptedData", ENCRYPTED_DATA_BYTES_MAX)?;
        let iv = fields.optional_text("iv", IV_BYTES_MAX)?;
        match (&encrypted_data, &iv) {
            (Some(_), None) => Err(Error::invalid("iv", TOGETHER)),
            (None, Some(_)) => Err(Error::invalid("encryptedData", TOGETHER)),
            _ => Ok(Self {
                code,
                encrypted_data,
                iv,
            }),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Login {
    /// 登录令牌 · To be sent as `Authorization: Bearer {token}`.
    #[schema(example = "kZ0pW3rT6uX9aB2dE5gH8jK1mN4qS7vY0zC3fI6lO9w")]
    token: String,
    /// token 有效期（秒） · Seconds the token is good for.
    #[schema(example = 7200)]
    expires_in: i64,
    user_info: Person,
    /// 用户积分 · Points that can be spent.
    #[schema(example = 0)]
    points: i64,
    /// 是否为新用户 · Whether this was the first login.
    is_new_user: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Person {
    #[schema(example = "4503599627370496")]
    user_id: String,
    /// 用户昵称
    #[schema(example = "微信用户")]
    nick_name: String,
    /// 用户头像；未知时为空 · Empty until known.
    #[schema(example = "https://thirdwx.qlogo.cn/mmopen/vi_32/example/132")]
    avatar_url: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Token {
    /// 新的登录令牌 · The new token.
    #[schema(example = "kZ0pW3rT6uX9aB2dE5gH8jK1mN4qS7vY0zC3fI6lO9w")]
    token: String,
    /// token 有效期（秒） · Seconds the token is good for.
    #[schema(example = 7200)]
    expires_in: i64,
}
