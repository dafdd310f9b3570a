//! `/gateway.do`: verifies a request's public parameters and signature and hands it to its method.

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{Method, header},
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;

use super::{
    answer::{self, Failure, GatewayError, Members},
    bill,
    biz_content::BizContent,
    cashier, page_pay,
    parameters::{Parameters, Unreadable},
    refund, trades,
};
use crate::{beijing, exchanges, sandbox::Sandbox};

const PAGE_PAY: &str = "alipay.trade.page.pay";
/// How far a request's timestamp may be from the clock. A day and not minutes: official SDKs write the local time of their
/// machine instead of Beijing's, and a page-pay form may lie in a browser before it is sent.
const SKEW_SECONDS_MAX: i64 = 24 * 3600;
const SIGN_CHARACTERS_MAX: usize = 344;

type Business = fn(&Sandbox, &BizContent, Timestamp) -> Result<Members, Failure>;

fn business(method: &str) -> Option<Business> {
    match method {
        "alipay.trade.query" => Some(trades::query),
        "alipay.trade.close" => Some(trades::close),
        "alipay.trade.refund" => Some(refund::refund),
        "alipay.trade.fastpay.refund.query" => Some(refund::query),
        "alipay.data.dataservice.bill.downloadurl.query" => Some(bill::download_url),
        _ => None,
    }
}

/// A request the gateway refused, and what the log shall compare.
struct Rejected {
    error: GatewayError,
    compared: Vec<(&'static str, String, String)>,
}

impl From<GatewayError> for Rejected {
    fn from(error: GatewayError) -> Self {
        Self {
            error,
            compared: Vec::new(),
        }
    }
}

/// `GET` and `POST /gateway.do`
pub(crate) async fn receive(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let is_form = form.is_some_and(|kind| {
        kind.trim_start()
            .starts_with("application/x-www-form-urlencoded")
    });
    let body = if parts.method == Method::POST && is_form {
        match to_bytes(body, sandbox.config().limits.body_bytes_max).await {
            Ok(body) => body,
            Err(_) => {
                return refuse(
                    &GatewayError::invalid("parameter", "请求体过大").into(),
                    false,
                    None,
                );
            }
        }
    } else {
        bytes::Bytes::new()
    };
    let parameters = match Parameters::read(parts.uri.query().unwrap_or_default().as_bytes(), &body)
    {
        Ok(parameters) => parameters,
        Err(unreadable) => return refuse(&unreadable_error(unreadable).into(), false, None),
    };
    let now = sandbox.environment().now();
    trades::close_expired(&sandbox, now);
    let is_page = parameters.get("method") == Some(PAGE_PAY);
    match verify(&sandbox, &parameters, now) {
        Err(rejected) => refuse(&rejected, is_page, Some(&parameters)),
        Ok(_) if is_page => open_cashier(&sandbox, &parameters, now),
        Ok(method) => call(&sandbox, method, &parameters, now),
    }
}

fn call(sandbox: &Sandbox, method: &str, parameters: &Parameters, now: Timestamp) -> Response {
    let Some(business) = business(method) else {
        let error = GatewayError::invalid("method", format!("不存在的方法名：{method}"));
        return refuse(&error.into(), false, Some(parameters));
    };
    let outcome = BizContent::parse(parameters.get("biz_content"))
        .and_then(|biz| business(sandbox, &biz, now));
    let refusal = outcome.as_ref().err().map(explain);
    let certificate_mode = parameters.get("app_cert_sn").is_some();
    let node = answer::node(outcome);
    let response = answer::signed(
        method,
        &node,
        &sandbox.alipay().keys,
        certificate_mode,
        parameters.wire,
    );
    match refusal {
        Some(refusal) => refusal.attach(response),
        None => response,
    }
}

/// Page pay does not answer the merchant but the buyer's browser: it is sent on to the cashier.
fn open_cashier(sandbox: &Sandbox, parameters: &Parameters, now: Timestamp) -> Response {
    let opened = page_pay::parse(parameters, now).and_then(|ordered| {
        sandbox
            .alipay()
            .book
            .lock()
            .open(ordered, sandbox.environment(), now)
    });
    match opened {
        Ok(id) => {
            let mut response = Redirect::to(&sandbox.url(&format!("/sandbox/alipay/cashier/{id}")))
                .into_response();
            *response.status_mut() = http::StatusCode::FOUND;
            response
        }
        Err(failure) => {
            explain(&failure).attach(cashier::error_page(failure.sub_code, &failure.sub_msg))
        }
    }
}

fn explain(failure: &Failure) -> exchanges::Refusal {
    exchanges::Refusal::new(failure.sub_code, failure.sub_msg.clone())
}

fn refuse(rejected: &Rejected, is_page: bool, parameters: Option<&Parameters>) -> Response {
    let error = &rejected.error;
    let mut refusal = exchanges::Refusal::new(error.sub_code.clone(), error.sub_msg.clone());
    for (what, expected, received) in &rejected.compared {
        refusal = refusal.compare(*what, expected.clone(), received.clone());
    }
    let wire = parameters.map_or(super::charset::Charset::Utf8, |parameters| parameters.wire);
    let response = if is_page {
        cashier::error_page(&error.sub_code, &error.sub_msg)
    } else {
        answer::unsigned(error, wire)
    };
    refusal.attach(response)
}

fn unreadable_error(unreadable: Unreadable) -> GatewayError {
    match unreadable {
        Unreadable::Charset(name) => {
            GatewayError::invalid("charset", format!("字符集错误：{name}"))
        }
        Unreadable::Repeated(name) => {
            GatewayError::invalid("parameter", format!("参数重复：{name}"))
        }
        Unreadable::TooMany => GatewayError::invalid("parameter", "参数过多"),
    }
}

/// Every check the gateway makes before a method sees the request; the answer is the method's name.
fn verify<'a>(
    sandbox: &Sandbox,
    parameters: &'a Parameters,
    now: Timestamp,
) -> Result<&'a str, Rejected> {
    let required = |name: &str, what: &str| {
        parameters
            .get(name)
            .ok_or_else(|| GatewayError::missing(what, format!("缺少{name}参数")))
    };
    let method = required("method", "method")?;
    if method != PAGE_PAY && business(method).is_none() {
        return Err(GatewayError::invalid("method", format!("不存在的方法名：{method}")).into());
    }
    let app_id = required("app_id", "app-id")?;
    if app_id != sandbox.kit().alipay_app_id {
        let error = GatewayError::invalid("app-id", "无效的AppID参数");
        let compared = vec![(
            "app_id",
            sandbox.kit().alipay_app_id.to_owned(),
            app_id.to_owned(),
        )];
        return Err(Rejected { error, compared });
    }
    if required("version", "version")? != "1.0" {
        return Err(GatewayError::invalid("version", "version必须为1.0").into());
    }
    if parameters
        .get("format")
        .is_some_and(|format| !format.eq_ignore_ascii_case("json"))
    {
        return Err(GatewayError::invalid("format", "format仅支持JSON").into());
    }
    if let Some(charset) = parameters.get("charset")
        && super::charset::Charset::from_name(charset).is_none()
    {
        return Err(GatewayError::invalid("charset", format!("字符集错误：{charset}")).into());
    }
    if required("sign_type", "signature-type")? != "RSA2" {
        return Err(GatewayError::invalid("signature-type", "sign_type必须为RSA2").into());
    }
    timestamp(required("timestamp", "timestamp")?, now)?;
    urls(parameters)?;
    let sign = required("sign", "signature")?;
    signature(sandbox, parameters, sign)?;
    certificates(sandbox, parameters)?;
    Ok(method)
}

fn timestamp(text: &str, now: Timestamp) -> Result<(), GatewayError> {
    let Some(moment) = beijing::parse_plain(text) else {
        return Err(GatewayError::invalid(
            "timestamp",
            "非法的时间戳参数：必须是yyyy-MM-dd HH:mm:ss格式的北京时间",
        ));
    };
    if (now.as_second() - moment.as_second()).abs() > SKEW_SECONDS_MAX {
        let message = format!("非法的时间戳参数：{text}，网关时间{}", beijing::plain(now));
        return Err(GatewayError::invalid("timestamp", message));
    }
    Ok(())
}

fn urls(parameters: &Parameters) -> Result<(), GatewayError> {
    for name in ["notify_url", "return_url"] {
        let Some(text) = parameters.get(name) else {
            continue;
        };
        let url = url::Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url.filter(|_| text.len() <= 256) else {
            return Err(GatewayError::invalid(
                "parameter",
                format!("{name}必须是不超过256个字符的http(s)地址"),
            ));
        };
        if name == "notify_url" && (url.query().is_some() || url.fragment().is_some()) {
            return Err(GatewayError::invalid(
                "parameter",
                "notify_url不能携带自定义参数",
            ));
        }
    }
    Ok(())
}

/// The signature covers the text in the charset the request says it is in.
fn signature(sandbox: &Sandbox, parameters: &Parameters, sign: &str) -> Result<(), Rejected> {
    let content = parameters.sign_content();
    let charset = parameters
        .get("charset")
        .and_then(super::charset::Charset::from_name)
        .unwrap_or(parameters.wire);
    let bytes = charset.encode(&content);
    if sign.len() <= SIGN_CHARACTERS_MAX && sandbox.alipay().keys.app.verifies_base64(&bytes, sign)
    {
        return Ok(());
    }
    let message = format!(
        "验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配，网关生成的验签字符串为：{content}"
    );
    let compared = vec![
        ("string_to_sign", content, String::new()),
        (
            "sign",
            "a signature of string_to_sign by the application's private key".to_owned(),
            sign.to_owned(),
        ),
        (
            "charset",
            charset.name().to_owned(),
            parameters.wire.name().to_owned(),
        ),
    ];
    Err(Rejected {
        error: GatewayError::invalid("signature", message),
        compared,
    })
}

/// Certificate mode: both numbers or none, and the right ones.
fn certificates(sandbox: &Sandbox, parameters: &Parameters) -> Result<(), Rejected> {
    let keys = &sandbox.alipay().keys;
    let sent = [
        ("app_cert_sn", "app-cert-sn", &keys.app_cert_sn),
        (
            "alipay_root_cert_sn",
            "alipay-root-cert-sn",
            &keys.alipay_root_cert_sn,
        ),
    ];
    if sent
        .iter()
        .all(|(name, _, _)| parameters.get(name).is_none())
    {
        return Ok(());
    }
    for (name, what, expected) in sent {
        let Some(received) = parameters.get(name) else {
            return Err(GatewayError::missing(what, format!("证书模式缺少{name}参数")).into());
        };
        if received != expected {
            let error = GatewayError::invalid(what, format!("{name}与应用上传的证书不匹配"));
            return Err(Rejected {
                error,
                compared: vec![(name, expected.clone(), received.to_owned())],
            });
        }
    }
    Ok(())
}
