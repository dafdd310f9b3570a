//! The cashier: what a person sees of the orders waiting to be paid, and what they can do with one.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::Uri,
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    book::Payer,
    notification::PaymentDelivery,
    pay_sign::RequestPayment,
    prepay::TradeType,
    transaction::{PayError, Transaction},
};
use crate::{
    beijing,
    payments::{ActionError, CashierAction, Payment},
    people::Person,
    provider::Provider,
    sandbox::Sandbox,
};

/// Orders the list page shows.
const LISTED_MAX: usize = 100;

/// All orders, newest first.
pub(crate) fn payments(sandbox: &Sandbox) -> Vec<Payment> {
    let book = sandbox.wechat_pay().book.lock();
    book.newest(usize::MAX)
        .into_iter()
        .map(|order| describe(sandbox, order))
        .collect()
}

/// One order, by its `prepay_id`, `out_trade_no`, `transaction_id` or `code_url`.
pub(crate) fn payment(sandbox: &Sandbox, id: &str) -> Result<Payment, ActionError> {
    let book = sandbox.wechat_pay().book.lock();
    book.find_by_any(id)
        .map(|order| describe(sandbox, order))
        .ok_or(ActionError::NotFound("payment"))
}

/// Does what a person does at the cashier.
pub(crate) fn act(
    sandbox: &Sandbox,
    id: &str,
    action: CashierAction,
) -> Result<Payment, ActionError> {
    match action {
        CashierAction::Pay { person_id } => pay(sandbox, id, person_id.as_deref(), 0),
        CashierAction::Fail => {
            let number = payment(sandbox, id)?.out_trade_no;
            let now = sandbox.environment().now();
            sandbox
                .wechat_pay()
                .book
                .lock()
                .fail(&number, now)
                .map_err(conflict)?;
            payment(sandbox, &number)
        }
        // WeChat Pay never learns that a cashier was left.
        CashierAction::Abandon => payment(sandbox, id),
    }
}

/// Pays as a person (`None`: the payer of the order, else the first demo person) with a coupon worth `coupon_fen`.
pub(crate) fn pay(
    sandbox: &Sandbox,
    id: &str,
    person_id: Option<&str>,
    coupon_fen: i64,
) -> Result<Payment, ActionError> {
    let pay = sandbox.wechat_pay();
    let environment = sandbox.environment();
    let now = environment.now();
    let mut book = pay.book.lock();
    let order = book
        .find_by_any(id)
        .ok_or(ActionError::NotFound("payment"))?;
    if coupon_fen < 0 || coupon_fen > order.total_fen() {
        return Err(ActionError::Invalid(
            "coupon_fen must be between 0 and the amount of the order".to_owned(),
        ));
    }
    let payer = payer(sandbox, order, person_id, coupon_fen)?;
    let (number, url) = (
        order.prepay.out_trade_no.clone(),
        order.prepay.notify_url.clone(),
    );
    book.pay(&number, payer, environment, now)
        .map_err(conflict)?;
    drop(book);
    let delivery = PaymentDelivery {
        event_id: format!("EV-{}", environment.hex(32)),
        out_trade_no: number.clone(),
        url,
        created_at: now,
    };
    sandbox.outbox().enqueue(Arc::new(delivery), now);
    payment(sandbox, &number)
}

/// Verifies what a page would hand to `wx.requestPayment`, as the WeChat client does, before the money moves.
pub(crate) fn request_payment(
    sandbox: &Sandbox,
    fields: &RequestPayment,
    openid: &str,
) -> Result<Payment, ActionError> {
    let prepay_id = fields.prepay_id().map_err(ActionError::Invalid)?;
    let pay_service = sandbox.wechat_pay();
    let (appid, expected) = {
        let book = pay_service.book.lock();
        let order = book
            .find_by_prepay_id(prepay_id)
            .ok_or(ActionError::NotFound("prepay_id"))?;
        if order.prepay.trade_type != TradeType::Jsapi {
            return Err(ActionError::Invalid(
                "the prepay_id is not one of a JSAPI order".to_owned(),
            ));
        }
        (order.prepay.appid.clone(), order.prepay.openid.clone())
    };
    fields
        .verify(&appid, &pay_service.keys.merchant)
        .map_err(ActionError::Invalid)?;
    if expected.as_deref() != Some(openid) {
        return Err(ActionError::Invalid(
            "the order was made for another openid".to_owned(),
        ));
    }
    pay(sandbox, prepay_id, None, 0)
}

fn payer(
    sandbox: &Sandbox,
    order: &Transaction,
    person_id: Option<&str>,
    coupon_fen: i64,
) -> Result<Payer, ActionError> {
    let people = sandbox.people();
    let appid = &order.prepay.appid;
    let chosen = match person_id {
        Some(id) => Some(people.find(id).ok_or(ActionError::NotFound("person"))?),
        None => None,
    };
    if let Some(openid) = &order.prepay.openid {
        if chosen
            .as_ref()
            .is_some_and(|person| person.openid(appid) != *openid)
        {
            return Err(ActionError::Invalid(
                "the order was made for another person".to_owned(),
            ));
        }
        let person_id = people.find_by_openid(appid, openid).map(|person| person.id);
        return Ok(Payer {
            openid: openid.clone(),
            person_id,
            coupon_fen,
        });
    }
    let person = chosen
        .or_else(|| people.all().into_iter().next())
        .ok_or(ActionError::NotFound("person"))?;
    Ok(Payer {
        openid: person.openid(appid),
        person_id: Some(person.id),
        coupon_fen,
    })
}

fn conflict(error: PayError) -> ActionError {
    ActionError::Conflict(error.to_string())
}

fn describe(sandbox: &Sandbox, order: &Transaction) -> Payment {
    let prepay = &order.prepay;
    let person_id = match &order.paid {
        Some(paid) => paid.person_id.clone(),
        None => prepay
            .openid
            .as_ref()
            .and_then(|openid| sandbox.people().find_by_openid(&prepay.appid, openid))
            .map(|person| person.id),
    };
    Payment {
        provider: Provider::WechatPay,
        id: order.prepay_id.clone(),
        out_trade_no: prepay.out_trade_no.clone(),
        description: prepay.description.clone(),
        amount_fen: prepay.total_fen,
        state: order.state.as_str().to_owned(),
        payable: order.payable(sandbox.environment().now()).is_ok(),
        person_id,
        created_at: beijing::rfc3339(order.created_at),
        notify_url: Some(prepay.notify_url.clone()),
    }
}

#[derive(Template)]
#[template(path = "wechat_pay/cashier_list.html")]
struct ListPage {
    payments: Vec<Payment>,
}

#[derive(Template)]
#[template(path = "wechat_pay/cashier.html")]
struct CashierPage {
    payment: Payment,
    /// Who may pay: the payer of the order, or anybody.
    people: Vec<Person>,
    code_url: Option<String>,
    expires_at: String,
    /// Why it cannot be paid.
    obstacle: Option<String>,
    /// What came of the signature fields in the query, if there were any.
    signature: Option<Result<(), String>>,
}

/// `GET /sandbox/wechat-pay/cashier`
pub(crate) async fn list(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    let waiting = payments(&sandbox)
        .into_iter()
        .filter(|payment| payment.payable);
    crate::pages::render(&ListPage {
        payments: waiting.take(LISTED_MAX).collect(),
    })
}

/// `GET /sandbox/wechat-pay/cashier/{prepay_id}`, optionally with the fields of `wx.requestPayment`.
pub(crate) async fn page(
    State(sandbox): State<Sandbox>,
    Path(prepay_id): Path<String>,
    uri: Uri,
) -> Result<Html<String>, ActionError> {
    let payment = payment(&sandbox, &prepay_id)?;
    let (code_url, expires_at, obstacle, appid) = {
        let book = sandbox.wechat_pay().book.lock();
        let order = book
            .find(&payment.out_trade_no)
            .ok_or(ActionError::NotFound("payment"))?;
        let obstacle = order
            .payable(sandbox.environment().now())
            .err()
            .map(|error| error.to_string());
        (
            order.code_url(),
            beijing::plain(order.prepay.expires_at),
            obstacle,
            order.prepay.appid.clone(),
        )
    };
    let people = sandbox.people().all();
    let people = match (&payment.person_id, &code_url) {
        (Some(payer), None) => people
            .into_iter()
            .filter(|person| person.id == *payer)
            .collect(),
        _ => people,
    };
    let fields = Query::<RequestPayment>::try_from_uri(&uri).ok();
    let signature = fields.map(|Query(fields)| {
        fields
            .verify(&appid, &sandbox.wechat_pay().keys.merchant)
            .and_then(|()| {
                let same = fields.prepay_id()? == payment.id;
                if same {
                    Ok(())
                } else {
                    Err("package names another prepay_id".to_owned())
                }
            })
    });
    crate::pages::render(&CashierPage {
        payment,
        people,
        code_url,
        expires_at,
        obstacle,
        signature,
    })
}

/// What the cashier's form sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Submitted {
    action: String,
    #[serde(default)]
    person_id: String,
    #[serde(default)]
    coupon_fen: String,
}

/// `POST /sandbox/wechat-pay/cashier/{prepay_id}`
pub(crate) async fn submit(
    State(sandbox): State<Sandbox>,
    Path(prepay_id): Path<String>,
    Form(form): Form<Submitted>,
) -> Result<Response, ActionError> {
    let done = match form.action.as_str() {
        "pay" => {
            let coupon = if form.coupon_fen.is_empty() {
                Ok(0)
            } else {
                form.coupon_fen.parse()
            };
            let coupon = coupon.map_err(|_| {
                ActionError::Invalid("coupon_fen must be a whole number".to_owned())
            })?;
            let person = (!form.person_id.is_empty()).then_some(form.person_id.as_str());
            pay(&sandbox, &prepay_id, person, coupon)?
        }
        "fail" => act(&sandbox, &prepay_id, CashierAction::Fail)?,
        "abandon" => {
            act(&sandbox, &prepay_id, CashierAction::Abandon)?;
            return Ok(Redirect::to("/sandbox/wechat-pay/cashier").into_response());
        }
        _ => {
            return Err(ActionError::Invalid(
                "action must be pay, fail or abandon".to_owned(),
            ));
        }
    };
    Ok(Redirect::to(&format!("/sandbox/wechat-pay/cashier/{}", done.id)).into_response())
}
