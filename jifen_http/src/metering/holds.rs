//! `/api/v2/metering/holds`: points set aside for a call whose price is known only afterwards.

use axum::extract::{FromRequestParts, Path, State};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use jifen_app::{App, ChargeRequest, Cost, Ended, Error, Held, Rates, Text};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{CallFields, IDEMPOTENCY_HIT, cost, idempotency_key, read_call};
use crate::envelope::problem::Problem;
use crate::envelope::{Failure, json};
use crate::request::authority::{CountedService, HoldScope, ServiceKey};
use crate::request::body::JsonBody;
use crate::request::fields::{Fields, FromFields, is_plausible_id, missing};
use crate::request::rates::rate_headers;
use crate::web::Web;

/// Set points aside · 预占积分
///
/// For calls whose price is known only when they are over. Held points are neither spent nor do they expire until the hold is
/// captured or released, or its time is over. Name the points, or the route with the most units the call may take.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "hold", security(("service" = [])),
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, different for every hold", example = "call-4711")),
    request_body = HoldFields,
    responses(
        (status = 200, description = "Set aside, now or by the same request before", body = Hold),
        (status = 402, description = "`insufficient_points` or `key_cap_reached`, with the `balance`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`api_key_not_usable`: see `limit`; `forbidden`: the credential lacks the scope `hold`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`too_many_holds`: 1,000 are open, capture or release some", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field, `unknown_api_key`, `unknown_route`, `idempotency_key_reused`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`busy` or `maintenance`: repeat with the same key", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn hold(
    State(app): State<App>,
    gateway: ServiceKey<HoldScope>,
    headers: HeaderMap,
    JsonBody(NewHold(request, seconds)): JsonBody<NewHold>,
) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let (held, rates) = app
        .hold(&gateway.credential, key, &request, seconds)
        .await?;
    Ok(answer_held(held, &rates))
}

/// Extend a hold · 追加预占
///
/// More points, more time from now, or both: for long streams. A hold never gets shorter.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "extend_hold", security(("service" = [])),
    params(
        ("id" = String, Path, description = "The hold"),
        ("Idempotency-Key" = String, Header, description = "Different for every extension", example = "call-4711-2"),
    ),
    request_body = Extension,
    responses(
        (status = 200, description = "Extended, now or by the same request before", body = Hold),
        (status = 402, description = "`insufficient_points`, with the `balance`: the hold stays as it was", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`hold_ended`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`: the rate limit of the credential", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn extend(
    State(app): State<App>,
    CountedService { gateway, rates }: CountedService<HoldScope>,
    HoldId(id): HoldId,
    headers: HeaderMap,
    JsonBody(Extension { points, seconds }): JsonBody<Extension>,
) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let held = app
        .extend_hold(&gateway.credential, key, &id, points, seconds)
        .await?;
    Ok(answer_held(held, &rates))
}

/// Capture a hold · 结算预占
///
/// Charges what the call cost; the rest of the hold is free again. More than the hold is taken from the balance as far as that
/// goes, and the `shortfall` says what could not be taken. Final: the same cost again gets the same answer.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "capture_hold", security(("service" = [])),
    params(("id" = String, Path, description = "The hold")),
    request_body = CaptureCost,
    responses(
        (status = 200, description = "Charged, now or by the same request before", body = EndedHold),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`hold_ended`: released, expired, or captured for another cost", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request` naming the field", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn capture(
    State(app): State<App>,
    gateway: ServiceKey<HoldScope>,
    HoldId(id): HoldId,
    JsonBody(CaptureCost(cost)): JsonBody<CaptureCost>,
) -> Result<Response, Failure> {
    let ended = app.capture_hold(&id, cost).await?;
    let rates = app.note_gateway_request(&gateway.credential);
    Ok(answer_ended(ended, &rates))
}

/// Release a hold · 释放预占
///
/// All of it is free again. Final: again gets the same answer.
#[utoipa::path(
    post, path = "", tag = "metering", operation_id = "release_hold", security(("service" = [])),
    params(("id" = String, Path, description = "The hold")),
    responses(
        (status = 200, description = "Released, now or before", body = EndedHold),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`hold_ended`: captured or expired", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn release(
    State(app): State<App>,
    gateway: ServiceKey<HoldScope>,
    HoldId(id): HoldId,
) -> Result<Response, Failure> {
    let ended = app.release_hold(&id).await?;
    let rates = app.note_gateway_request(&gateway.credential);
    Ok(answer_ended(ended, &rates))
}

fn answer_held(held: Held, rates: &Rates) -> Response {
    answer(held.is_replay, rates, &Hold::from(held))
}

fn answer_ended(ended: Ended, rates: &Rates) -> Response {
    answer(ended.is_replay, rates, &EndedHold::from(ended))
}

fn answer(is_replay: bool, rates: &Rates, body: &impl Serialize) -> Response {
    let hit = is_replay.then_some((IDEMPOTENCY_HIT, "true"));
    let rates = AppendHeaders(rate_headers(rates));
    let answer = json(StatusCode::OK, "application/json", body);
    (AppendHeaders(hit), rates, answer).into_response()
}

/// The hold's id in the path; one that cannot exist is answered like one that does not.
pub(crate) struct HoldId(String);

impl FromRequestParts<Web> for HoldId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Failure> {
        let id = Path::<String>::from_request_parts(parts, web).await;
        match id {
            Ok(Path(id)) if is_plausible_id(&id) => Ok(Self(id)),
            _ => Err(Error::NotFound(Text::new("没有这笔预占", "no such hold")).into()),
        }
    }
}

/// A call whose price is not known yet, and how long to hold.
pub(crate) struct NewHold(ChargeRequest, Option<i64>);

/// A hold to be made.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct HoldFields {
    /// How long, 1 to 86,400; 300 without.
    #[schema(example = 300, minimum = 1, maximum = 86400)]
    seconds: Option<i64>,
    #[schema(inline)]
    #[serde(flatten)]
    call: CallFields,
}

impl FromFields for NewHold {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        Ok(Self(
            read_call(fields)?,
            fields.optional_integer("seconds")?,
        ))
    }
}

/// What to add to a hold.
#[derive(ToSchema)]
pub(crate) struct Extension {
    /// More points.
    #[schema(example = 50, minimum = 1)]
    points: Option<i64>,
    /// How long from now, 1 to 86,400.
    #[schema(example = 300, minimum = 1, maximum = 86400)]
    seconds: Option<i64>,
}

impl FromFields for Extension {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        let (points, seconds) = (
            fields.optional_integer("points")?,
            fields.optional_integer("seconds")?,
        );
        if points.is_none() && seconds.is_none() {
            return Err(missing("points"));
        }
        Ok(Self { points, seconds })
    }
}

/// What the call cost: one of the two.
#[derive(ToSchema)]
#[schema(value_type = CostFields)]
pub(crate) struct CaptureCost(Cost);

/// What a held call cost: one of the two.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(crate) struct CostFields {
    /// In points; zero is allowed.
    #[schema(example = 37, minimum = 0)]
    points: Option<i64>,
    /// In units of the tariff the hold was priced by, at its price then.
    #[schema(example = 812, minimum = 0)]
    units: Option<i64>,
}

impl FromFields for CaptureCost {
    fn from_fields(fields: &Fields) -> Result<Self, Error> {
        match cost(fields)? {
            Some(cost) => Ok(Self(cost)),
            None => Err(missing("points")),
        }
    }
}

/// Points set aside.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hold {
    /// Names the hold for ever.
    #[schema(example = "4503599627370496-8")]
    id: String,
    /// Points set aside in all.
    #[schema(example = 100)]
    points: i64,
    /// What can still be spent.
    #[schema(example = 900)]
    balance: i64,
    /// When it ends by itself.
    #[schema(example = "2024-06-25T08:05:00Z", format = DateTime)]
    expires_at: String,
}

impl From<Held> for Hold {
    fn from(held: Held) -> Self {
        Self {
            id: held.id,
            points: held.points,
            balance: held.balance.get(),
            expires_at: held.expires_at.to_rfc3339(),
        }
    }
}

/// A hold that has ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndedHold {
    /// The charge, of a captured hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "4503599627370496-9", nullable = false)]
    charge_id: Option<String>,
    /// Points charged.
    #[schema(example = 37)]
    points: i64,
    /// How much of the cost could not be taken, because the account held no more.
    #[schema(example = 0)]
    shortfall: i64,
    /// What could be spent right after it.
    #[schema(example = 963)]
    balance: i64,
    #[schema(example = "2024-06-25T08:01:00Z", format = DateTime)]
    ended_at: String,
}

impl From<Ended> for EndedHold {
    fn from(ended: Ended) -> Self {
        Self {
            charge_id: ended.charge_id,
            points: ended.points,
            shortfall: ended.shortfall.get(),
            balance: ended.balance.get(),
            ended_at: ended.at.to_rfc3339(),
        }
    }
}
