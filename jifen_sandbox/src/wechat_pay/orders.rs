//! `/v3/pay/transactions/…`: ordering, asking, closing.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Map, Value, json};

use super::{
    answer::Refused,
    book::order_not_exist,
    fields::Fields,
    prepay::{Prepay, TradeType},
    refusal::Refusal,
    verified::Verified,
};
use crate::sandbox::Sandbox;

/// `POST /v3/pay/transactions/jsapi`
pub(crate) async fn jsapi(
    State(sandbox): State<Sandbox>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    let prepay_id = prepay(&sandbox, &call, TradeType::Jsapi)?;
    Ok(Json(json!({"prepay_id": prepay_id})))
}

/// `POST /v3/pay/transactions/native`
pub(crate) async fn native(
    State(sandbox): State<Sandbox>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    let prepay_id = prepay(&sandbox, &call, TradeType::Native)?;
    let book = sandbox.wechat_pay().book.lock();
    let code_url = book
        .find_by_prepay_id(&prepay_id)
        .and_then(super::transaction::Transaction::code_url);
    Ok(Json(json!({"code_url": code_url})))
}

/// `GET /v3/pay/transactions/out-trade-no/{out_trade_no}?mchid=`
pub(crate) async fn by_out_trade_no(
    State(sandbox): State<Sandbox>,
    Path(out_trade_no): Path<String>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    own_mchid_in_query(&sandbox, &call)?;
    let book = sandbox.wechat_pay().book.lock();
    let order = book.find(&out_trade_no).ok_or_else(order_not_exist)?;
    Ok(Json(order.describe(sandbox.kit().mchid)))
}

/// `GET /v3/pay/transactions/id/{transaction_id}?mchid=`
pub(crate) async fn by_transaction_id(
    State(sandbox): State<Sandbox>,
    Path(transaction_id): Path<String>,
    call: Verified,
) -> Result<Json<Value>, Refused> {
    own_mchid_in_query(&sandbox, &call)?;
    let book = sandbox.wechat_pay().book.lock();
    let order = book
        .find_by_transaction_id(&transaction_id)
        .ok_or_else(order_not_exist)?;
    Ok(Json(order.describe(sandbox.kit().mchid)))
}

/// `POST /v3/pay/transactions/out-trade-no/{out_trade_no}/close`
pub(crate) async fn close(
    State(sandbox): State<Sandbox>,
    Path(out_trade_no): Path<String>,
    call: Verified,
) -> Result<StatusCode, Refused> {
    own_mchid(&sandbox, &call.json()?)?;
    sandbox.wechat_pay().book.lock().close(&out_trade_no)?;
    Ok(StatusCode::NO_CONTENT)
}

fn prepay(sandbox: &Sandbox, call: &Verified, trade_type: TradeType) -> Result<String, Refusal> {
    let body = call.json()?;
    let prepay = Prepay::parse(trade_type, &body, call.now)?;
    own_mchid(sandbox, &body)?;
    let kit = sandbox.kit();
    let appids = [kit.mini_program_appid, kit.official_account_appid];
    if !appids.contains(&prepay.appid.as_str()) {
        let message = "商户号mchid与appid不匹配";
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "APPID_MCHID_NOT_MATCH",
            message,
        ));
    }
    if let Some(openid) = &prepay.openid {
        payer_of_app(sandbox, &prepay.appid, openid, &appids)?;
    }
    sandbox
        .wechat_pay()
        .book
        .lock()
        .prepay(prepay, sandbox.environment(), call.now)
}

/// The openid must be someone's, and under the very `appid` of the order.
fn payer_of_app(
    sandbox: &Sandbox,
    appid: &str,
    openid: &str,
    appids: &[&str],
) -> Result<(), Refusal> {
    let people = sandbox.people();
    if people.find_by_openid(appid, openid).is_some() {
        return Ok(());
    }
    if appids
        .iter()
        .any(|other| people.find_by_openid(other, openid).is_some())
    {
        let message = "openid与appid不匹配";
        return Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "OPENID_MISMATCH",
            message,
        ));
    }
    Err(Refusal::parameter(
        "/payer/openid",
        Value::from(openid),
        "无效的openid",
    ))
}

fn own_mchid(sandbox: &Sandbox, body: &Map<String, Value>) -> Result<(), Refusal> {
    let mchid = Fields::of(body).text("mchid", 1, 32)?;
    if mchid == sandbox.kit().mchid {
        Ok(())
    } else {
        Err(foreign_mchid())
    }
}

fn own_mchid_in_query(sandbox: &Sandbox, call: &Verified) -> Result<(), Refusal> {
    match call.query("mchid") {
        Some(mchid) if mchid == sandbox.kit().mchid => Ok(()),
        Some(_) => Err(foreign_mchid()),
        None => Err(Refusal::parameter_in(
            "uri",
            "mchid",
            Value::Null,
            "缺少必填参数",
        )),
    }
}

fn foreign_mchid() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "MCH_NOT_EXISTS",
        "请求中的商户号与签名的商户号不一致",
    )
}
