//! Holds: points set aside for a call whose price is known only afterwards.

use jifen_domain::ledger::{Capture, Hold, HoldState, Refused, Request, TariffUse};
use jifen_domain::{AccountId, Points, Time};
use jifen_store::ServiceCredential;

use crate::App;
use crate::call::{self, ChargeRequest, Cost, declined};
use crate::charge::{charge_id, parse_charge_id};
use crate::error::{Error, Result, Text};
use crate::pipeline::{Action, Answer, Declined, Operation};
use crate::rate_limits::Rates;

/// Seconds a hold lasts when nothing is said.
const HOLD_SECONDS_DEFAULT: i64 = 300;
/// Most seconds a hold lasts from now.
const HOLD_SECONDS_MAX: i64 = 86_400;

/// Points set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Names the hold for ever.
    pub id: String,
    /// Points set aside in all.
    pub points: i64,
    /// What could be spent right after it.
    pub balance: Points,
    /// When it ends by itself.
    pub expires_at: Time,
    /// The same request had been answered before; this is its first answer.
    pub is_replay: bool,
}

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The charge, when it was captured.
    pub charge_id: Option<String>,
    /// Points charged.
    pub points: i64,
    /// How much of the cost could not be taken: the account held no more.
    pub shortfall: Points,
    /// What could be spent right after it.
    pub balance: Points,
    /// When.
    pub at: Time,
    /// It had been ended in the same way before; this is the first answer.
    pub is_replay: bool,
}

impl App {
    /// Sets points aside for a call. Returns also how often the key and the gateway may go on calling.
    pub async fn hold(
        &self,
        gateway: &ServiceCredential,
        idempotency_key: &str,
        request: &ChargeRequest,
        seconds: Option<i64>,
    ) -> Result<(Held, Rates)> {
        let seconds = check_seconds(seconds.unwrap_or(HOLD_SECONDS_DEFAULT))?;
        let lasting = seconds.to_string();
        let input = call::input_of(request);
        let mut input: Vec<&str> = input.iter().map(String::as_str).collect();
        input.extend(["hold", &lasting]);
        let named = call::request(gateway, idempotency_key, &input)?;
        self.require_charges_open().await?;
        let call = match self.admit(gateway, request).await {
            Ok(call) => call,
            Err(refused) => {
                let (_, answer) = self.first_answer(&request.api_key, named, refused).await?;
                let id = charge_id(answer.account, answer.entry);
                return Ok((held(id, &answer)?, Rates::default()));
            }
        };
        let now = self.now();
        let expires_at = now.plus_seconds(seconds);
        let outcome = self
            .submit(Operation {
                account: call.key.account(),
                request: named,
                action: Action::Hold {
                    points: call.points,
                    detail: call.detail,
                    expires_at,
                },
                used_key: self.noted_uses.to_note(&call.key, now),
            })
            .await?;
        let answer = outcome.map_err(declined)?;
        let id = charge_id(answer.account, answer.entry);
        Ok((held(id, &answer)?, call.rates))
    }

    /// Gives an open hold more points, more time, or both.
    pub async fn extend_hold(
        &self,
        gateway: &ServiceCredential,
        idempotency_key: &str,
        id: &str,
        points: Option<i64>,
        seconds: Option<i64>,
    ) -> Result<Held> {
        let first = hold_id(id)?;
        let more = points.map_or(Ok(Points::ZERO), call::movable)?;
        let until = match seconds {
            Some(seconds) => self.now().plus_seconds(check_seconds(seconds)?),
            // It never gets shorter.
            None => Time::from_micros(0),
        };
        let parts = [
            "extend".to_owned(),
            id.to_owned(),
            more.get().to_string(),
            seconds.map_or_else(String::new, |seconds| seconds.to_string()),
        ];
        let named = call::request(
            gateway,
            idempotency_key,
            &parts.each_ref().map(String::as_str),
        )?;
        self.require_charges_open().await?;
        let action = |hold| Action::Extend {
            hold,
            more,
            expires_at: until,
        };
        let answer = self.on_hold(first, named, action).await?.0;
        held(id.to_owned(), &answer)
    }

    /// Charges what a held call cost; the rest of the hold is free again. Once: the same cost again gets the same answer.
    pub async fn capture_hold(&self, id: &str, cost: Cost) -> Result<Ended> {
        let first = hold_id(id)?;
        let (cost, tariff) = self.cost_of_capture(first, cost).await?;
        let amount = cost.get().to_string();
        let named = call::request_of(&format!("{id}/end"), &["capture", &amount]);
        let action = |hold| Action::Capture(Capture { hold, cost, tariff });
        let (answer, today) = self.on_hold(first, named, action).await?;
        let shortfall = match answer.shortfall {
            Some(shortfall) => shortfall,
            None => self.stored_hold(today).await?.shortfall.unwrap_or_default(),
        };
        Ok(Ended {
            charge_id: Some(charge_id(answer.account, answer.entry)),
            points: answer.points,
            shortfall,
            balance: self.settled(&answer).await?,
            at: answer.at,
            is_replay: answer.is_replay,
        })
    }

    /// Ends a hold without a charge. Once: again gets the same answer.
    pub async fn release_hold(&self, id: &str) -> Result<Ended> {
        let named = call::request_of(&format!("{id}/end"), &["release"]);
        let action = |hold| Action::Release { hold };
        let answer = self.on_hold(hold_id(id)?, named, action).await?.0;
        Ok(Ended {
            charge_id: None,
            points: 0,
            shortfall: Points::ZERO,
            balance: self.settled(&answer).await?,
            at: answer.at,
            is_replay: answer.is_replay,
        })
    }

    /// What could be spent right after a hold had ended.
    async fn settled(&self, answer: &Answer) -> Result<Points> {
        if let Some(settled) = answer.settled {
            return Ok(settled);
        }
        let mut reader = self.store.read().await?;
        let settled = reader.settled_after(answer.account, answer.entry).await?;
        Ok(settled.unwrap_or(answer.available))
    }

    async fn cost_of_capture(
        &self,
        hold: HoldId,
        cost: Cost,
    ) -> Result<(Points, Option<TariffUse>)> {
        match cost {
            Cost::Points(points) => {
                let cost = Points::new(points).filter(|points| *points <= Points::MOVEMENT_MAX);
                Ok((cost.ok_or_else(call::out_of_range)?, None))
            }
            Cost::Units(units) => {
                let tariff = self.stored_hold(hold).await?.detail.tariff;
                let tariff = tariff.ok_or_else(|| {
                    let text = Text::new(
                        "预占未按资费计价，请改用 points",
                        "the hold was not priced by a tariff: name points instead",
                    );
                    Error::invalid("units", text)
                })?;
                let points = self.price_under(tariff.id, units).await?;
                let id = tariff.id;
                Ok((points, Some(TariffUse { id, units })))
            }
        }
    }

    /// Does something with a hold where it is today: in the account that made it, or in the one into which that was merged
    /// meanwhile. Returns the answer, and where that was.
    async fn on_hold(
        &self,
        mut place: HoldId,
        request: Request,
        action: impl Fn(i64) -> Action,
    ) -> Result<(Answer, HoldId)> {
        loop {
            let (account, hold) = place;
            let operation = Operation {
                account,
                request,
                action: action(hold),
                used_key: None,
            };
            let ends = !matches!(operation.action, Action::Extend { .. });
            match self.pipeline.submit(operation).await?.outcome {
                Ok(answer) => return Ok((answer, place)),
                Err(Declined::Refused(Refused::NoSuchHold, _)) => {}
                Err(Declined::Reused) if ends => {}
                Err(Declined::NoAccount) => return Err(no_such_hold()),
                Err(other) => return Err(declined(other)),
            }
            let known = self.stored_hold(place).await?;
            if known.state != HoldState::Moved {
                return Err(why_not(known.state));
            }
            let moved = self.store.read().await?.moved_hold(account, hold).await?;
            // Each account is of an older record than the one before, so this ends.
            place = moved.ok_or_else(|| Error::internal("a hold was lost in a merge"))?;
        }
    }

    async fn stored_hold(&self, (account, entry): HoldId) -> Result<Hold> {
        let stored = self.store.read().await?.hold(account, entry).await?;
        stored.ok_or_else(no_such_hold)
    }
}

/// The account that made it, and its entry there.
type HoldId = (AccountId, i64);

fn held(id: String, answer: &Answer) -> Result<Held> {
    let until = answer.until;
    let until = until.ok_or_else(|| Error::internal("an answer about a hold without one"))?;
    Ok(Held {
        id,
        points: until.points.get(),
        balance: answer.available,
        expires_at: until.expires_at,
        is_replay: answer.is_replay,
    })
}

/// Why nothing more can be done with a hold.
fn why_not(state: HoldState) -> Error {
    match state {
        HoldState::Captured => ended("已扣费", "was captured"),
        HoldState::Released => ended("已释放", "was released"),
        // One whose time is over ends with the next operation on its account.
        HoldState::Expired | HoldState::Held | HoldState::Moved => ended("已过期", "has expired"),
    }
}

fn hold_id(id: &str) -> Result<HoldId> {
    parse_charge_id(id).ok_or_else(no_such_hold)
}

fn no_such_hold() -> Error {
    Error::NotFound(Text::new("没有这笔预占", "no such hold"))
}

fn ended(zh: &str, en: &str) -> Error {
    Error::Ended(Text::owned(
        format!("这笔预占{zh}，不能再改"),
        format!("the hold {en}: nothing more can be done with it"),
    ))
}

fn check_seconds(seconds: i64) -> Result<i64> {
    if (1..=HOLD_SECONDS_MAX).contains(&seconds) {
        return Ok(seconds);
    }
    let text = Text::owned(
        format!("须为 1 至 {HOLD_SECONDS_MAX} 的整数"),
        format!("must be a whole number from 1 to {HOLD_SECONDS_MAX}"),
    );
    Err(Error::Invalid {
        field: "seconds",
        text,
    })
}
