//! `/api/v1/login`: logging in on the web by scanning a QR code.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;
use jifen_app::{Error, Text};
use jifen_domain::session::REFRESH_WINDOW_SECONDS;

use crate::envelope::Failure;
use crate::envelope::pay::{Response0000, Success};
use crate::request::cookies::{QR_BROWSER, SESSION, cookie, set_cookie};
use crate::request::query::{QueryFields, ticket};
use crate::web::Web;

/// 生成微信登录二维码 · A ticket for a login QR code
///
/// 二维码图片：`https://mp.weixin.qq.com/cgi-bin/showqrcode?ticket={ticket}`（ticket 须 URL 编码）。
#[utoipa::path(
    get, path = "", tag = "login", operation_id = "weixinQrcodeTicket",
    responses((
        status = 200, description = "二维码 ticket · The ticket", body = Response0000<Option<String>>,
        examples(
            ("0000" = (value = json!({"code": "0000", "info": "调用成功", "data": "gQH47joAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL2aFo2Z3mTdSNDhXVFI5bkpWcjB6AAIE2ahZWAUEsAcAenQd"}))),
            ("0001" = (value = json!({"code": "0001", "info": "微信暂时不可用，请稍后重试", "data": null}))),
        ),
    )),
)]
pub(crate) async fn weixin_qrcode_ticket(
    State(web): State<Web>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    web.app.require_open().await?;
    let browser = cookie(&headers, QR_BROWSER).filter(|value| is_browser_secret(value));
    let made = web.app.create_qr_ticket(browser).await?;
    let browser = set_cookie(
        QR_BROWSER,
        &made.browser,
        made.expires_in_seconds,
        web.secure_cookies,
    );
    Ok((AppendHeaders([(SET_COOKIE, browser)]), Success(made.ticket)).into_response())
}

/// 检查登录状态 · Whether a ticket was scanned, and by whom
///
/// 扫码后返回 openid，直到 ticket 过期。申请二维码的浏览器首次查询成功时，同时获得网页登录态（Cookie）。
#[utoipa::path(
    get, path = "", tag = "login", operation_id = "checkLogin",
    params(("ticket" = String, Query, description = "二维码 ticket", example = "gQH47joAAAAAAAAAASxodHRwOi8vd2VpeGluLnFxLmNvbS9xL2aFo2Z3")),
    responses((
        status = 200, description = "已扫码：openid；未登录：0003 · The openid once scanned", body = Response0000<Option<String>>,
        examples(
            ("0000" = (value = json!({"code": "0000", "info": "调用成功", "data": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}))),
            ("0002" = (value = json!({"code": "0002", "info": "ticket: 缺少该字段", "data": null}))),
            ("0003" = (value = json!({"code": "0003", "info": "未登录", "data": null}))),
        ),
    )),
)]
pub(crate) async fn check_login(
    State(web): State<Web>,
    query: QueryFields,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let ticket = ticket(query.required("ticket")?);
    if !ticket.bytes().all(|byte| byte.is_ascii_graphic()) {
        // Not a ticket of WeChat's, and not to be looked up: databases refuse some characters.
        return Err(Error::Unauthenticated(Text::new("未登录", "not logged in")).into());
    }
    let login = web
        .app
        .check_qr_login(&ticket, cookie(&headers, QR_BROWSER))
        .await?;
    let session = login.session.map(|session| {
        (
            SET_COOKIE,
            set_cookie(
                SESSION,
                &session.token,
                REFRESH_WINDOW_SECONDS,
                web.secure_cookies,
            ),
        )
    });
    Ok((AppendHeaders(session), Success(login.openid)).into_response())
}

/// Whether a cookie can be one of ours: 43 characters of base64url.
fn is_browser_secret(value: &str) -> bool {
    value.len() == 43
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
