//! `/api/v1/weixin/portal/receive`: the official account's server address.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jifen_app::{App, PushAnswer, PushQuery};

use crate::envelope::{Failure, text};
use crate::request::body::ExactBody;
use crate::request::query::QueryFields;

/// 微信服务器验证 · WeChat's check of the server address
#[utoipa::path(
    get, path = "", tag = "callbacks", operation_id = "verifyWeixinPortal",
    params(
        ("signature" = String, Query, description = "微信加密签名"),
        ("timestamp" = String, Query, description = "时间戳"),
        ("nonce" = String, Query, description = "随机数"),
        ("echostr" = String, Query, description = "随机字符串"),
    ),
    responses(
        (status = 200, description = "echostr 原样返回", body = String, content_type = "text/plain"),
        (status = 403, description = "签名错误", body = String, content_type = "text/plain"),
    ),
)]
pub(crate) async fn verify(
    State(app): State<App>,
    query: QueryFields,
) -> Result<Response, Failure> {
    let query = push_query(&query);
    Ok(text(StatusCode::OK, app.verify_portal(&query)?.to_owned()))
}

/// 接收微信消息 · A message or event pushed by WeChat
///
/// 扫码（SCAN）与扫码关注（subscribe）都会登录；明文与加密模式均支持；微信重试的消息只处理一次。
#[utoipa::path(
    post, path = "", tag = "callbacks", operation_id = "receiveWeixinMessage",
    params(
        ("signature" = String, Query, description = "微信加密签名"),
        ("timestamp" = String, Query, description = "时间戳"),
        ("nonce" = String, Query, description = "随机数"),
        ("openid" = String, Query, description = "用户 openid"),
        ("encrypt_type" = Option<String>, Query, description = "加密类型"),
        ("msg_signature" = Option<String>, Query, description = "消息签名（加密模式）"),
    ),
    request_body(content = String, content_type = "application/xml", description = "微信消息"),
    responses(
        (status = 200, description = "回复消息；无回复时为文本 `success`", body = String, content_type = "application/xml"),
        (status = 403, description = "签名错误", body = String, content_type = "text/plain"),
    ),
)]
pub(crate) async fn receive(
    State(app): State<App>,
    query: QueryFields,
    ExactBody(body): ExactBody,
) -> Result<Response, Failure> {
    Ok(match app.receive_push(&push_query(&query), &body).await? {
        PushAnswer::Acknowledged(answer) => text(StatusCode::OK, answer),
        PushAnswer::Reply(xml) => {
            ([(CONTENT_TYPE, "application/xml; charset=UTF-8")], xml).into_response()
        }
    })
}

fn push_query(query: &QueryFields) -> PushQuery {
    let text = |name| query.first(name).map(str::to_owned);
    PushQuery {
        signature: text("signature").unwrap_or_default(),
        timestamp: text("timestamp").unwrap_or_default(),
        nonce: text("nonce").unwrap_or_default(),
        echostr: text("echostr"),
        openid: text("openid").map(Into::into),
        encrypt_type: text("encrypt_type"),
        msg_signature: text("msg_signature"),
    }
}
