//! What the requests of gateways have in common: the call that is to be paid for, and the idempotency key.

use http::{HeaderMap, HeaderName};
use jifen_app::{ChargeRequest, Cost, Error, Question, Text};
use jifen_domain::tariff::Route;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::request::fields::{Fields, FromFields, missing};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that had been given before.
pub(crate) const IDEMPOTENCY_HIT: HeaderName = HeaderName::from_static("idempotency-hit");

/// Bytes of an API key; ours have 42.
const API_KEY_BYTES_MAX: usize = 128;
/// Bytes of title and description; the use case counts characters.
const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of an IP address as text.
const IP_BYTES_MAX: usize = 64;
/// Bytes of a method and a path.
const ROUTE_BYTES_MAX: usize = 2 * 1024;

/// The idempotency key of a request.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<&str, Error> {
    let key = headers.get(IDEMPOTENCY_KEY);
    let key = key.ok_or(missing("Idempotency-Key"))?;
    // What is not ASCII is refused like the empty text.
    Ok(key.to_str().unwrap_or_default())
}

/// An API call that is to be paid for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct CallFields {
    /// The secret of the key, as its holder sent it to the gateway.
    #[schema(example = "jf_live_…")]
    api_key: String,
    /// Points to take, 1 to 1,000,000,000,000. Without, the tariff of the route sets the price.
    #[schema(example = 5, minimum = 1)]
    points: Option<i64>,
    /// Which route of your API was called: needed where the tariff sets the price or the key has scopes.
    route: Option<RouteFields>,
    /// What the tariff counts, 1 without: tokens, pages, seconds.
    #[schema(example = 1500, minimum = 0)]
    units: Option<i64>,
    /// Shown in the holder's history, at most 128 characters; without, the tariff's.
    #[schema(example = "OCR", max_length = 128)]
    title: Option<String>,
    /// Shown below it, at most 512 characters.
    #[schema(example = "one page", max_length = 512)]
    description: Option<String>,
    /// Where the call came from: needed where the key has IP ranges.
    #[schema(example = "203.0.113.7")]
    ip: Option<String>,
}

/// A route of the operator's API.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct RouteFields {
    #[schema(example = "POST")]
    method: String,
    #[schema(example = "/v1/ocr")]
    path: String,
}

/// Reads [`CallFields`].
pub(crate) fn read_call(fields: &Fields) -> Result<ChargeRequest, Error> {
    let Question {
        api_key,
        cost,
        route,
        ip,
    } = read_question(fields)?;
    let cost = match (cost, &route) {
        (Some(cost), _) => cost,
        (None, Some(_)) => Cost::Units(1),
        (None, None) => return Err(missing("points")),
    };
    Ok(ChargeRequest {
        api_key,
        cost,
        route,
        title: fields.optional_text("title", TEXT_BYTES_MAX)?,
        description: fields.optional_text("description", TEXT_BYTES_MAX)?,
        ip,
    })
}

/// Reads what of [`CallFields`] tells a key, what the call costs, and where it comes from.
pub(crate) fn read_question(fields: &Fields) -> Result<Question, Error> {
    let api_key = fields.text("apiKey", API_KEY_BYTES_MAX)?;
    let route = fields.optional_object("route")?;
    let route = route.map(|route| read_route(&route)).transpose()?;
    let cost = cost(fields)?;
    let ip = fields.optional_text("ip", IP_BYTES_MAX)?;
    let ip = ip.map(|ip| ip.trim().parse()).transpose().map_err(|_| {
        let text = Text::new("须为 IPv4 或 IPv6 地址", "must be an IPv4 or IPv6 address");
        Error::invalid("ip", text)
    })?;
    Ok(Question {
        api_key,
        cost,
        route,
        ip,
    })
}

/// Points or units, never both.
pub(crate) fn cost(fields: &Fields) -> Result<Option<Cost>, Error> {
    let units = fields.optional_integer("units")?;
    match (fields.optional_integer("points")?, units) {
        (Some(_), Some(_)) => {
            let text = Text::new(
                "不能与 points 同时使用",
                "must not be given together with points",
            );
            Err(Error::invalid("units", text))
        }
        (Some(points), None) => Ok(Some(Cost::Points(points))),
        (None, units) => Ok(units.map(Cost::Units)),
    }
}

fn read_route(fields: &Fields) -> Result<Route, Error> {
    let method = fields.text("method", ROUTE_BYTES_MAX)?;
    let path = fields.text("path", ROUTE_BYTES_MAX)?;
    Route::new(&method, &path).map_err(Error::from_route)
}

/// A call to be paid for.
#[derive(ToSchema)]
#[schema(value_type = CallFields)]
pub(crate) struct NewCall(pub(crate) ChargeRequest);

impl FromFields for NewCall {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        read_call(fields).map(Self)
    }
}
