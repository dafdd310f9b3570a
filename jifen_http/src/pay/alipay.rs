//! `/api/v1/alipay`: ordering on the web, and Alipay's word that it was paid.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use jifen_app::{App, Error};
use utoipa::ToSchema;

use crate::envelope::pay::{Reply, Response0000, Success};
use crate::envelope::{Failure, text};
use crate::request::authority::MaybeToken;
use crate::request::body::{ExactBody, JsonBody};
use crate::request::fields::{Fields, FromFields};

/// 创建支付订单 · Order a package, to be paid at Alipay
///
/// 返回支付宝支付表单：放入页面后执行 `document.forms[0].submit()`。同一用户、同一商品未支付的订单会被复用，表单不变。
/// Returns Alipay's form: put it into the page and submit it. An unpaid order of the same user and product is used again.
#[utoipa::path(
    post, path = "", tag = "alipay", operation_id = "createPayOrder", security((), ("session" = []), ("cookie" = [])),
    request_body = CreatePayRequest,
    responses((
        status = 200, description = "支付表单 HTML；失败时 data 为 null · The form", body = Response0000<Option<String>>,
        examples(
            ("0000" = (value = json!({"code": "0000", "info": "调用成功", "data": "<form name=\"punchout_form\" method=\"post\" action=\"https://openapi-sandbox.dl.alipaydev.com/gateway.do?charset=utf-8&method=alipay.trade.page.pay&sign=...\">...</form>"}))),
            ("0001" = (value = json!({"code": "0001", "info": "系统繁忙，请稍后重试", "data": null}))),
            ("0002" = (value = json!({"code": "0002", "info": "productId: 没有这个套餐，或已下架", "data": null}))),
            ("0003" = (value = json!({"code": "0003", "info": "请以该用户登录后再下单", "data": null}))),
        ),
    )),
)]
pub(crate) async fn create_pay_order(
    State(app): State<App>,
    MaybeToken(session): MaybeToken,
    JsonBody(wanted): JsonBody<CreatePayRequest>,
) -> Reply<String> {
    app.require_open().await?;
    Ok(Success(
        app.create_alipay_order(&wanted.user_id, &wanted.product_id, session.as_deref())
            .await?,
    ))
}

/// 支付宝支付回调 · Alipay's notification
///
/// 由支付宝服务器调用；验签、金额、应用与商户全部一致后才入账。 Called by Alipay; answered with exactly `success` or `false`.
#[utoipa::path(
    post, path = "", tag = "callbacks", operation_id = "alipayNotification",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "支付宝异步通知参数"),
    responses((status = 200, description = "`success` 或 `false`", body = String, content_type = "text/plain")),
)]
pub(crate) async fn notify(
    State(app): State<App>,
    ExactBody(body): ExactBody,
) -> Result<Response, Failure> {
    Ok(text(
        StatusCode::OK,
        app.alipay_notified(&body).await?.text(),
    ))
}

/// Bytes of a user id, or of an openid.
const USER_ID_BYTES_MAX: usize = 128;
/// Bytes of a product id.
const PRODUCT_ID_BYTES_MAX: usize = 64;

/// 创建支付订单的请求
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CreatePayRequest {
    /// 用户 ID，或已登录过的 openid · A user id, or an openid that has logged in.
    #[schema(example = "10001", max_length = 128)]
    user_id: String,
    /// 商品 ID，即套餐 ID
    #[schema(example = "100001", max_length = 64)]
    product_id: String,
}

impl FromFields for CreatePayRequest {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            user_id: fields.text("userId", USER_ID_BYTES_MAX)?,
            product_id: fields.text("productId", PRODUCT_ID_BYTES_MAX)?,
        })
    }
}
