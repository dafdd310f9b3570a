//! Every URL of the mall.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use http::header::{ACCEPT_LANGUAGE, LOCATION, RETRY_AFTER};
use http::{HeaderName, Method};
use jifen_app::App;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use crate::api_keys::{collection, one, rotate};
use crate::callbacks::{wechat_pay, weixin_portal};
use crate::config::{Cors, HttpConfig};
use crate::envelope::{Failure, render};
use crate::exchange::{Observer, Places, RequestIds, X_REQUEST_ID, observe, protect};
use crate::holder::{balance, usage};
use crate::mall::{self, api_keys, auth, points, system, user};
use crate::metering::{authorize, batch, charges, holds, refunds, verify};
use crate::pay::{alipay, login};
use crate::request::rates::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::service::{docs, health, landing, metrics};
use crate::web::Web;

/// The mall document's URLs that close in maintenance.
fn mall_urls() -> Urls {
    Urls::new()
        .at("/api/v1/auth/wechat-login", routes!(auth::wechat_login))
        .at("/api/v1/auth/refresh-token", routes!(auth::refresh_token))
        .at("/api/v1/auth/logout", routes!(auth::logout))
        .at("/api/v1/user/info", routes!(user::info))
        .at("/api/v1/user/bind-phone", routes!(user::bind_phone))
        .at("/api/v1/user/bind-email", routes!(user::bind_email))
        .at("/api/v1/user/confirm-email", routes!(user::confirm_email))
        .at("/api/v1/points/packages", routes!(points::packages))
        .at("/api/v1/points/create-order", routes!(points::create_order))
        .at(
            "/api/v1/points/check-payment",
            routes!(points::check_payment),
        )
        .at(
            "/api/v1/points/purchase-history",
            routes!(points::purchase_history),
        )
        .at(
            "/api/v1/points/consumption-history",
            routes!(points::consumption_history),
        )
        .at("/api/v1/api-keys", routes!(api_keys::list))
        .at("/api/v1/api-keys/create", routes!(api_keys::create))
        .at("/api/v1/api-keys/delete", routes!(api_keys::delete))
        .at(
            "/api/v1/api-keys/update-status",
            routes!(api_keys::update_status),
        )
        .at(
            "/api/v2/api-keys",
            routes!(collection::list, collection::create),
        )
        .at(
            "/api/v2/api-keys/{id}",
            routes!(one::get, one::change, one::delete),
        )
        .at("/api/v2/api-keys/{id}/rotate", routes!(rotate::rotate))
}

/// URLs that stay open.
fn open_urls() -> Urls {
    Urls::new()
        .at("/api/v1/system/status", routes!(system::status))
        .at("/api/v1/system/notice", routes!(system::notice))
        .at(
            "/api/v1/login/weixin_qrcode_ticket",
            routes!(login::weixin_qrcode_ticket),
        )
        .at("/api/v1/login/check_login", routes!(login::check_login))
        .at(
            "/api/v1/alipay/create_pay_order",
            routes!(alipay::create_pay_order),
        )
        .at("/api/v1/alipay/alipay_notify_url", routes!(alipay::notify))
        .at(
            "/api/v1/weixin/portal/receive",
            routes!(weixin_portal::verify, weixin_portal::receive),
        )
        .at("/api/v1/wechat-pay/notify", routes!(wechat_pay::notify))
        .at("/api/v2/metering/verify", routes!(verify::verify))
        .at("/api/v2/metering/charges", routes!(charges::charge))
        .at("/api/v2/metering/charges/batch", routes!(batch::charge))
        .at("/api/v2/metering/holds", routes!(holds::hold))
        .at(
            "/api/v2/metering/holds/{id}/capture",
            routes!(holds::capture),
        )
        .at("/api/v2/metering/holds/{id}/extend", routes!(holds::extend))
        .at(
            "/api/v2/metering/holds/{id}/release",
            routes!(holds::release),
        )
        .at("/api/v2/metering/refunds", routes!(refunds::refund))
        .at("/api/v2/balance", routes!(balance::balance))
        .at("/api/v2/usage", routes!(usage::usage))
}

/// URLs for who looks after the server.
fn service_urls() -> Urls {
    Urls::new()
        .at("/healthz", routes!(health::alive))
        .at("/readyz", routes!(health::ready))
        .at("/metrics", routes!(metrics::scrape))
}

/// Asked by proxies about calls of every method, so that the description of one operation would not do.
fn gateway_urls() -> Router<Web> {
    Router::new()
        .route("/api/v2/metering/authorize", any(authorize::authorize))
        .route("/api/v2/metering/authorize/", any(authorize::authorize))
        .route(
            "/api/v2/metering/authorize/{*path}",
            any(authorize::authorize),
        )
}

/// Pages.
fn pages() -> Router<Web> {
    Router::new()
        .route("/", get(landing::landing))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::docs))
        .route("/docs/start.js", get(docs::start_script))
        .route("/docs/swagger-ui-bundle.js", get(docs::bundle_script))
        .route("/docs/swagger-ui.css", get(docs::style))
}

/// The mall, ready to be served.
pub fn router(app: App, config: &HttpConfig) -> Router {
    router_with(app, config, Router::new())
}

/// The mall with more routes behind the same middleware: what a benchmark compares it with.
#[doc(hidden)]
pub fn router_with(app: App, config: &HttpConfig, more: Router) -> Router {
    let ids = Arc::new(RequestIds::new(app.random_id()));
    let web = Web::new(app, config);
    let places = Places::new(config.concurrency_max, config.request_timeout);
    let observer = Observer {
        web: web.clone(),
        ids,
    };
    Router::new()
        .merge(
            mall_urls()
                .router
                .route_layer(from_fn_with_state(web.clone(), mall::require_open)),
        )
        .merge(open_urls().router)
        .merge(service_urls().router)
        .merge(pages())
        .merge(more.with_state(()))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        // The last layer is the outermost.
        .layer(from_fn_with_state(places.clone(), protect))
        .layer(from_fn_with_state(web.clone(), render))
        .layer(cors(&config.cors))
        // Outside of CORS, which answers every OPTIONS with 200 itself: a gateway would let the call pass.
        .merge(
            gateway_urls()
                .layer(from_fn_with_state(places, protect))
                .layer(from_fn_with_state(web.clone(), render)),
        )
        .layer(from_fn_with_state(observer, observe))
        .with_state(web)
}

/// The description of every URL of the API, `OpenAPI` 3.1.
pub fn openapi() -> OpenApi {
    let mut api = crate::openapi::base();
    api.merge(mall_urls().api);
    api.merge(open_urls().api);
    api.merge(service_urls().api);
    crate::openapi::complete(&mut api);
    api
}

fn cors(cors: &Cors) -> CorsLayer {
    const PREFLIGHT_SECONDS: u64 = 86_400;
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        // `*` would not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            X_REQUEST_ID,
            RETRY_AFTER,
            LOCATION,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            HeaderName::from_static("idempotency-hit"),
        ])
        .vary([http::header::ORIGIN, ACCEPT_LANGUAGE])
        .max_age(std::time::Duration::from_secs(PREFLIGHT_SECONDS));
    match cors {
        Cors::Any => layer.allow_origin(Any),
        Cors::List(origins) => {
            let origins = origins.iter().map(|origin| origin.header().clone());
            layer
                .allow_origin(AllowOrigin::list(origins))
                .allow_credentials(true)
        }
    }
}

/// Routes together with their description.
struct Urls {
    router: Router<Web>,
    api: OpenApi,
}

impl Urls {
    fn new() -> Self {
        Self {
            router: Router::new(),
            api: OpenApi::default(),
        }
    }

    /// Puts handlers at a URL, and their description beside the others.
    fn at(
        mut self,
        url: &'static str,
        (schemas, paths, handlers): UtoipaMethodRouter<Web>,
    ) -> Self {
        self.router = self.router.route(url, handlers);
        for item in paths.paths.into_values() {
            match self.api.paths.paths.get_mut(url) {
                Some(known) => known.merge_operations(item),
                None => drop(self.api.paths.paths.insert(url.to_owned(), item)),
            }
        }
        self.api
            .components
            .get_or_insert_default()
            .schemas
            .extend(schemas);
        self
    }
}
