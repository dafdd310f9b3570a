//! An API call that somebody wants paid: whose key it uses, whether it may, and what it costs.

use std::net::IpAddr;
use std::sync::Arc;

use jifen_domain::key::ApiKey;
use jifen_domain::ledger::{
    ChargeDetail, DESCRIPTION_CHARS_MAX, Request, TITLE_CHARS_MAX, TariffUse,
};
use jifen_domain::tariff::Route;
use jifen_domain::{AccountId, Points, Time, text};
use jifen_store::ServiceCredential;
use quick_cache::sync::Cache;

use crate::App;
use crate::error::{Error, Limit, Result, Text};
use crate::pipeline::{Answer, Declined, Operation, Outcome, Settled};
use crate::rate_limits::{Limited, Rates};

/// Bytes of an idempotency key.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// What a gateway wants to be paid for.
#[derive(Clone, PartialEq, Eq)]
pub struct ChargeRequest {
    /// The secret of the key that was used.
    pub api_key: String,
    /// What it costs.
    pub cost: Cost,
    /// Which route of the operator's API was called: sets the price of units, and is held against the key's scopes.
    pub route: Option<Route>,
    /// For the holder's history; without, the tariff's.
    pub title: Option<String>,
    /// More about it.
    pub description: Option<String>,
    /// Where the call came from: held against the key's ranges.
    pub ip: Option<IpAddr>,
}

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So many points.
    Points(i64),
    /// What the tariff of its route says for so many units.
    Units(i64),
}

impl std::fmt::Debug for ChargeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChargeRequest")
            .field("cost", &self.cost)
            .field("route", &self.route)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

/// A call that may be charged.
pub(crate) struct Call {
    pub(crate) key: Arc<ApiKey>,
    pub(crate) points: Points,
    pub(crate) detail: ChargeDetail,
    pub(crate) rates: Rates,
}

impl App {
    /// Whether a call may be made with its key, and what it costs.
    pub(crate) async fn admit(
        &self,
        gateway: &ServiceCredential,
        request: &ChargeRequest,
    ) -> Result<Call> {
        let described = Described::check(request)?;
        let key = self.find_api_key(&request.api_key).await?;
        let now = self.now();
        if let Err(refused) = key.allows(now, request.ip, request.route.as_ref()) {
            return Err(self.refused(&key, refused.into(), None).await);
        }
        let (points, title, tariff) = self.price_of(request, described.title).await?;
        let rates = match self.rate_limits.take(&key, gateway, now) {
            Ok(rates) => rates,
            Err(limited) => {
                return Err(self.refused(&key, Limit::Rate, Some(limited)).await);
            }
        };
        let detail = ChargeDetail {
            api_key_id: key.id.clone(),
            title,
            description: described.description,
            tariff,
        };
        Ok(Call {
            key,
            points,
            detail,
            rates,
        })
    }

    /// The first answer to a request that is repeated when it would be refused: what was done stays done. Else the refusal.
    pub(crate) async fn first_answer(
        &self,
        api_key: &str,
        request: Request,
        refused: Error,
    ) -> Result<(Arc<ApiKey>, Answer)> {
        if refused.is_ours() {
            return Err(refused);
        }
        let Ok(key) = self.find_api_key(api_key).await else {
            return Err(refused);
        };
        match self.recorded(key.account(), request).await? {
            Some(first) => Ok((key, first)),
            None => Err(refused),
        }
    }

    async fn price_of(
        &self,
        request: &ChargeRequest,
        title: Option<String>,
    ) -> Result<(Points, String, Option<TariffUse>)> {
        match request.cost {
            Cost::Points(points) => {
                let title = title.ok_or_else(|| missing("title"))?;
                Ok((movable(points)?, title, None))
            }
            Cost::Units(units) => {
                let route = request.route.as_ref().ok_or_else(|| missing("route"))?;
                let priced = self.price(route, units).await?;
                let tariff = TariffUse {
                    id: priced.tariff_id,
                    units,
                };
                Ok((priced.points, title.unwrap_or(priced.title), Some(tariff)))
            }
        }
    }

    /// A refusal of a key, with what its account holds.
    pub(crate) async fn refused(
        &self,
        key: &ApiKey,
        limit: Limit,
        limited: Option<Limited>,
    ) -> Error {
        let balance = match limit {
            Limit::Unknown => Ok(None),
            _ => self.spendable(key.account()).await.map(Some),
        };
        match balance {
            Ok(balance) => Error::KeyRefused {
                limit,
                balance,
                limited,
            },
            Err(error) => error,
        }
    }

    pub(crate) async fn spendable(&self, account: AccountId) -> Result<Points> {
        let now = self.now();
        let holdings = self.store.read().await?.holdings(account, now).await?;
        Ok(holdings.available)
    }

    /// Puts an operation through the pipeline: on an account, or on the one into which that was merged.
    pub(crate) async fn submit(&self, operation: Operation) -> Result<Outcome> {
        let settled = self.pipeline.submit(operation).await?;
        self.follow(settled).await
    }

    /// What becomes of an operation that has been through the pipeline: done where it was asked for or, when a merge has come in
    /// between, elsewhere. Remembers the use that was noted with it.
    pub(crate) async fn follow(&self, settled: Settled) -> Result<Outcome> {
        let Settled {
            mut operation,
            mut outcome,
        } = settled;
        // Each is older than the one before, so this ends.
        while let Err(Declined::Moved(older)) = outcome {
            operation.account = older;
            Settled { operation, outcome } = self.pipeline.submit(operation).await?;
        }
        if let (Ok(_), Some(key_id)) = (&outcome, operation.used_key) {
            self.noted_uses.noted(key_id, self.now());
        }
        if outcome == Err(Declined::Reused) {
            // The survivor has used the key for itself; so may have the one who asks.
            let first = self.recorded(operation.account, operation.request).await?;
            return Ok(first.ok_or(Declined::Reused));
        }
        Ok(outcome)
    }

    async fn recorded(&self, account: AccountId, request: Request) -> Result<Option<Answer>> {
        let mut reader = self.store.read().await?;
        let first = reader.recorded_request_of_person(account, request).await?;
        Ok(first.as_ref().map(Answer::replayed))
    }
}

/// What people will read of a call.
struct Described {
    title: Option<String>,
    description: Option<String>,
}

impl Described {
    fn check(request: &ChargeRequest) -> Result<Self> {
        let title = request.title.as_deref().map(|title| {
            text::line(title, TITLE_CHARS_MAX)
                .map(str::to_owned)
                .map_err(|error| Error::from_text("title", error))
        });
        let description = request.description.as_deref().map(str::trim);
        let description = description.filter(|description| !description.is_empty());
        let description = description.map(|description| {
            text::line(description, DESCRIPTION_CHARS_MAX)
                .map(str::to_owned)
                .map_err(|error| Error::from_text("description", error))
        });
        Ok(Self {
            title: title.transpose()?,
            description: description.transpose()?,
        })
    }
}

/// Seconds to which a key's last use is exact.
const LAST_USED_EXACT_SECONDS: i64 = 60;
/// Keys whose last noted use is remembered.
const NOTED_MAX: usize = 50_000;

/// When this node last noted the use of a key, by its id: to the minute, so that not every charge writes the key's row.
pub(crate) struct NotedUses(Cache<String, Time>);

impl Default for NotedUses {
    fn default() -> Self {
        Self(Cache::new(NOTED_MAX))
    }
}

impl NotedUses {
    /// The key's id when its use is to be noted.
    pub(crate) fn to_note(&self, key: &ApiKey, now: Time) -> Option<String> {
        let lately = |at: Time| now < at.plus_seconds(LAST_USED_EXACT_SECONDS);
        let is_known =
            key.last_used_at.is_some_and(lately) || self.0.get(&key.id).is_some_and(lately);
        (!is_known).then(|| key.id.clone())
    }

    /// Remembers that a use was noted.
    pub(crate) fn noted(&self, id: String, now: Time) {
        self.0.insert(id, now);
    }
}

/// The request a gateway names by its idempotency key.
///
/// # Errors
/// The key is not 1 to 255 visible ASCII characters.
pub(crate) fn request(
    gateway: &ServiceCredential,
    idempotency_key: &str,
    input: &[&str],
) -> Result<Request> {
    let printable = idempotency_key.bytes().all(|byte| byte.is_ascii_graphic());
    if idempotency_key.is_empty() || idempotency_key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !printable
    {
        let text = Text::new(
            "须为 1 至 255 个可见 ASCII 字符",
            "must be 1 to 255 visible ASCII characters",
        );
        return Err(Error::invalid("Idempotency-Key", text));
    }
    Ok(Request {
        key: hash_start(&[gateway.id.as_str(), "/", idempotency_key]),
        input: hash_input(input),
    })
}

/// A request that is named by what it does, because that can be done once only.
pub(crate) fn request_of(what: &str, input: &[&str]) -> Request {
    Request {
        key: hash_start(&["/", what]),
        input: hash_input(input),
    }
}

/// Each part with its length, so that no two different inputs are one text.
fn hash_input(parts: &[&str]) -> [u8; 8] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    start(context.finish().as_ref())
}

fn hash_start<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    start(context.finish().as_ref())
}

fn start<const N: usize>(hash: &[u8]) -> [u8; N] {
    *hash.first_chunk().expect("a SHA-256 is longer")
}

/// The parts of a charge that make it the same when it is repeated.
pub(crate) fn input_of(request: &ChargeRequest) -> [String; 6] {
    let (points, units) = match request.cost {
        Cost::Points(points) => (points.to_string(), String::new()),
        Cost::Units(units) => (String::new(), units.to_string()),
    };
    // What was sent before there were routes hashes as it did then.
    let route = match (&request.route, request.cost) {
        (Some(route), Cost::Units(_)) => route.to_string(),
        _ => String::new(),
    };
    [
        request.api_key.clone(),
        points,
        request.title.clone().unwrap_or_default(),
        request.description.clone().unwrap_or_default(),
        units,
        route,
    ]
}

pub(crate) fn movable(points: i64) -> Result<Points> {
    Points::new(points)
        .filter(|points| points.is_movable())
        .ok_or_else(out_of_range)
}

pub(crate) fn out_of_range() -> Error {
    let max = Points::MOVEMENT_MAX.get();
    Error::Invalid {
        field: "points",
        text: Text::owned(
            format!("须为 1 至 {max} 的整数"),
            format!("must be a whole number from 1 to {max}"),
        ),
    }
}

pub(crate) fn missing(field: &'static str) -> Error {
    Error::invalid(field, Text::new("缺少此字段", "is missing"))
}

fn limit_reached(limit: Limit, balance: Points) -> Error {
    Error::KeyRefused {
        limit,
        balance: Some(balance),
        limited: None,
    }
}

/// What a caller is told about an operation that was not done.
pub(crate) fn declined(declined: Declined) -> Error {
    use jifen_domain::ledger::Refused;
    match declined {
        Declined::Refused(refused, balance) => match refused {
            Refused::Insufficient { available } => Error::Insufficient { available },
            Refused::CapReached(_) => limit_reached(Limit::KeyCap, balance),
            Refused::TooManyHolds => limit_reached(Limit::Holds, balance),
            Refused::OutOfRange => out_of_range(),
            Refused::NoSuchHold | Refused::HoldEnded => {
                Error::NotFound(Text::new("没有这笔预占", "no such hold"))
            }
            Refused::MoreThanCharged { left } => Error::Invalid {
                field: "points",
                text: Text::owned(
                    format!("最多还能退 {}", left.get()),
                    format!("at most {} are left to refund", left.get()),
                ),
            },
            Refused::LotsNeeded => Error::internal(refused.to_string()),
        },
        Declined::Reused => Error::Conflict(Text::new(
            "这个 Idempotency-Key 已用于另一个请求，请换一个",
            "this Idempotency-Key was used for another request: choose a new one",
        )),
        Declined::NoAccount => Error::internal("a key without an account"),
        Declined::Moved(_) => Error::internal("an account that was merged was not followed"),
        Declined::NoSuchCharge => Error::NotFound(Text::new("没有这笔扣费", "no such charge")),
        Declined::Busy(cause) => Error::Busy(cause.into()),
        Declined::Broken(cause) => Error::internal(cause),
    }
}
