//! The description of the interfaces as a whole; each handler describes itself.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

use crate::request::cookies::SESSION;

const DESCRIPTION: &str = "API 积分商城：登录、购买积分、API Key、按次扣费。 A mall that sells API access as prepaid points.\n\n\
    - `/api/v1` 小程序接口返回 `{code, message, data}`，HTTP 状态码与 code 一致（成功为 0）。\n\
    - `/api/v1/alipay`、`/api/v1/login` 返回 `{code, info, data}`，HTTP 状态码恒为 200。\n\
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
        ("callbacks", "平台回调 · Called by WeChat and Alipay"),
    ];
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(SESSION, "Web login; set by check_login"));
    let components = ComponentsBuilder::new()
        .security_scheme("session", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .security_scheme("service", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .security_scheme("cookie", SecurityScheme::ApiKey(cookie))
        .build();
    let info = InfoBuilder::new()
        .title("Jifen 积分")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let tags = tags.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    OpenApiBuilder::new().info(info).components(Some(components)).tags(Some(tags)).build()
}
