//! The description of the interfaces as a whole. Each handler describes itself and its own refusals; what any request of a
//! group may be answered is added here.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, Response, ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::envelope::Group;
use crate::envelope::mall::MallError;
use crate::envelope::problem::Problem;
use crate::request::cookies::SESSION;

const DESCRIPTION: &str = "API 积分商城：登录、购买积分、API Key、按次扣费。 A mall that sells API access as prepaid points.\n\n\
    - `/api/v1` 小程序接口返回 `{code, message, data}`，HTTP 状态码与 code 一致（成功为 0）。\n\
    - `/api/v1/alipay`、`/api/v1/login` 返回 `{code, info, data}`，HTTP 状态码恒为 200，结果见 code：0000 成功、0001 失败、0002 参数非法、0003 未登录。\n\
    - `/api/v2` answers plain JSON; errors are RFC 9457 problem details.";

/// Everything but the paths.
pub(crate) fn base() -> OpenApi {
    let tags = [
        ("auth", "用户认证 · Logging in"),
        ("user", "用户信息 · The user"),
        ("points", "积分 · Buying points"),
        ("api-keys", "API Key"),
        ("system", "系统 · The mall's state"),
        ("login", "微信扫码登录 · Logging in on the web"),
        ("alipay", "支付宝支付 · Paying on the web"),
        ("metering", "计量扣费 · Charging API keys"),
        ("holder", "API Key 持有人 · With an API key itself"),
        ("callbacks", "平台回调 · Called by WeChat and Alipay"),
        ("service", "运维 · For those who run the mall"),
    ];
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        SESSION,
        "网页登录态，由 check_login 设置 · The web session",
    ));
    let bearer = |description: &str| {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some(description.to_owned());
        SecurityScheme::Http(bearer)
    };
    let components = ComponentsBuilder::new()
        .security_scheme(
            "session",
            bearer("登录令牌 · The token of wechat-login or refresh-token"),
        )
        .security_scheme(
            "service",
            bearer("服务凭证 sk_… · A service credential of the operator's gateways"),
        )
        .security_scheme(
            "api_key",
            bearer("API Key jf_live_… 或 jf_test_… · The API key itself"),
        )
        .security_scheme("cookie", SecurityScheme::ApiKey(cookie))
        .build();
    let info = InfoBuilder::new()
        .title("Jifen 积分")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let tags = tags.map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    });
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

/// Adds to every operation what its group answers when a request goes wrong before or beside its handler.
pub(crate) fn complete(api: &mut OpenApi) {
    let schemas = &mut api.components.get_or_insert_default().schemas;
    schemas.insert(MallError::name().into_owned(), MallError::schema());
    schemas.insert(Problem::name().into_owned(), Problem::schema());
    for (path, item) in &mut api.paths.paths {
        let group = Group::of(path);
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            for (status, description) in general_refusals(group, operation) {
                let refusal = || RefOr::T(refusal(group, description));
                operation
                    .responses
                    .responses
                    .entry(status.to_owned())
                    .or_insert_with(refusal);
            }
        }
    }
}

/// What an operation may answer for reasons that are not its own.
fn general_refusals(group: Group, operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let mut refusals = match group {
        Group::Mall => vec![
            (
                "500",
                "服务器内部错误，或微信暂时不可用 · Our fault, or WeChat's",
            ),
            (
                "503",
                "系统繁忙或维护中，见 Retry-After · Busy or in maintenance",
            ),
        ],
        Group::V2 => vec![
            ("500", "`internal_error`"),
            (
                "503",
                "`busy`, `maintenance`: see Retry-After, repeat with the same key",
            ),
        ],
        // The pay group is always 200, and the callbacks speak their provider's language.
        _ => return Vec::new(),
    };
    if operation.security.is_some() {
        refusals.push((
            "401",
            "未登录或登录已过期 · Not logged in, or the login has expired",
        ));
        refusals.push((
            "403",
            "权限不足，或该功能未开通 · Not allowed, or not configured",
        ));
    }
    if operation.request_body.is_some() || operation.parameters.is_some() {
        refusals.push(("422", "参数错误，message 指出字段 · A field is missing, mistyped or out of range; it is named"));
    }
    if operation.request_body.is_some() {
        refusals.push(("413", "请求体过大 · The body is too large"));
        refusals.push(("429", "请求过于频繁，见 Retry-After · Too many requests"));
    }
    refusals
}

fn refusal(group: Group, description: &str) -> Response {
    let (content_type, schema) = match group {
        Group::V2 => ("application/problem+json", Problem::name()),
        _ => ("application/json", MallError::name()),
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content(content_type, content)
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    fn description() -> Value {
        serde_json::to_value(crate::openapi()).unwrap()
    }

    fn operations(api: &Value) -> Vec<(String, Value)> {
        let paths = api["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
        });
        all.collect()
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(
                    members
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_url_of_both_documents_is_described() {
        let api = description();
        assert_eq!(api["openapi"], "3.1.0");
        let described: BTreeSet<String> =
            operations(&api).into_iter().map(|(name, _)| name).collect();
        for documented in [
            "post /api/v1/auth/wechat-login",
            "post /api/v1/auth/refresh-token",
            "get /api/v1/user/info",
            "get /api/v1/points/packages",
            "post /api/v1/points/create-order",
            "get /api/v1/points/check-payment",
            "get /api/v1/points/purchase-history",
            "get /api/v1/points/consumption-history",
            "get /api/v1/api-keys",
            "post /api/v1/api-keys/create",
            "post /api/v1/api-keys/delete",
            "post /api/v1/api-keys/update-status",
            "get /api/v1/system/status",
            "get /api/v1/system/notice",
            "post /api/v1/alipay/create_pay_order",
            "post /api/v1/alipay/alipay_notify_url",
            "get /api/v1/login/weixin_qrcode_ticket",
            "get /api/v1/login/check_login",
            "get /api/v1/weixin/portal/receive",
            "post /api/v1/weixin/portal/receive",
        ] {
            assert!(described.contains(documented), "{documented}");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_a_known_tag_and_answers() {
        let api = description();
        let tags: BTreeSet<&str> = api["tags"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|tag| tag["name"].as_str())
            .collect();
        let mut names = BTreeSet::new();
        for (place, operation) in operations(&api) {
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{place}"
            );
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|summary| !summary.is_empty()),
                "{place}"
            );
            assert!(
                tags.contains(operation["tags"][0].as_str().unwrap()),
                "{place}"
            );
            let answers = operation["responses"].as_object().unwrap();
            assert!(
                answers.keys().any(|status| status.starts_with('2')),
                "{place}"
            );
            let has_statuses =
                place.contains("/api/v2/") || operation["security"][0]["session"].is_array();
            if has_statuses && !place.contains("alipay") {
                assert!(
                    ["401", "403", "500", "503"]
                        .iter()
                        .all(|status| answers.contains_key(*status)),
                    "{place}"
                );
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let api = description();
        let mut found = BTreeSet::new();
        references(&api, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(api.pointer(pointer).is_some(), "{reference}");
        }
    }
}
