//! `/v3/refund/domestic/refunds`: asking for a refund and asking about it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::Value;

use super::{
    answer::Refused, notification::RefundDelivery, refund::RefundRequest, refusal::Refusal,
    verified::Verified,
};
use crate::sandbox::Sandbox;

/// `POST /v3/refund/domestic/refunds`
pub(crate) async fn create(
    State(sandbox): State<Sandbox>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    let request = RefundRequest::parse(&call.json()?)?;
    let now = call.now;
    let mut book = sandbox.wechat_pay().book.lock();
    let (out_refund_no, new) = book.refund(&request, sandbox.environment(), now)?;
    let (order, refund) = book.find_refund(&out_refund_no).ok_or_else(unknown)?;
    let answer = refund.describe(order, now);
    let (settles_at, url) = (refund.settles_at, refund.notify_url.clone());
    drop(book);
    if let (true, Some(url)) = (new, url) {
        let delivery = Arc::new(RefundDelivery { out_refund_no, url });
        sandbox.outbox().enqueue_at(delivery, now, settles_at);
    }
    Ok(Json(answer))
}

/// `GET /v3/refund/domestic/refunds/{out_refund_no}`
pub(crate) async fn query(
    State(sandbox): State<Sandbox>,
    Path(out_refund_no): Path<String>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    let book = sandbox.wechat_pay().book.lock();
    let (order, refund) = book.find_refund(&out_refund_no).ok_or_else(unknown)?;
    Ok(Json(refund.describe(order, call.now)))
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_EXISTS", "退款单不存在")
}
