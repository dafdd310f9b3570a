//! `/api/v1/wechat-pay/notify`: WeChat Pay's word that an order was paid.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use jifen_app::{App, WechatPayAnswer};

use crate::envelope::Failure;
use crate::envelope::callback::wechat_pay_refused;
use crate::request::body::ExactBody;

/// 微信支付通知 · WeChat Pay's notification
///
/// 由微信支付服务器调用（APIv3）；签名覆盖原始请求体。 Called by WeChat Pay; only the status of the answer counts there.
#[utoipa::path(
    post, path = "", tag = "callbacks", operation_id = "wechatPayNotification",
    request_body(content = String, content_type = "application/json", description = "加密的通知 · The encrypted notification"),
    responses(
        (status = 204, description = "已接收 · Accepted"),
        (status = 401, description = "不是微信支付的签名 · Not signed by WeChat Pay"),
        (status = 422, description = "签名有效，但不是本商城的订单、金额或商户 · Authentic, but not for an order of ours"),
    ),
)]
pub(crate) async fn notify(
    State(app): State<App>,
    headers: HeaderMap,
    ExactBody(body): ExactBody,
) -> Result<Response, Failure> {
    Ok(match app.wechat_pay_notified(&headers, &body).await? {
        WechatPayAnswer::Accepted => StatusCode::NO_CONTENT.into_response(),
        WechatPayAnswer::Refused { status, message } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            wechat_pay_refused(status, &message)
        }
    })
}
