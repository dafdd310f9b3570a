//! Charging API keys: exact, durable before it is answered, once per idempotency key.

use std::sync::Arc;

use jifen_domain::key::ApiKey;
use jifen_domain::{AccountId, Points, Time, UserId};
use jifen_store::ServiceCredential;

use crate::App;
use crate::call::{self, ChargeRequest, declined};
use crate::error::{Error, Result, Text};
use crate::pipeline::{Action, Answer, Operation};
use crate::rate_limits::Rates;

/// Charges in a batch.
pub const BATCH_MAX: usize = 1_000;

/// A charge that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// Names the charge for ever.
    pub id: String,
    /// Whose points.
    pub user: UserId,
    /// With which key.
    pub key_id: String,
    /// Points taken.
    pub points: i64,
    /// What could be spent right after it.
    pub balance: Points,
    /// When.
    pub at: Time,
    /// The tariff that set the price.
    pub tariff_id: Option<i64>,
    /// The charge had been made before under the same idempotency key; this is its first answer.
    pub is_replay: bool,
    /// How often the key and the gateway may go on calling.
    pub rates: Rates,
}

impl Charged {
    pub(crate) fn new(key: &ApiKey, answer: &Answer, rates: Rates) -> Self {
        Self {
            id: charge_id(answer.account, answer.entry),
            user: answer.account.user(),
            key_id: key.id.clone(),
            points: answer.points,
            balance: answer.available,
            at: answer.at,
            tariff_id: answer.tariff_id,
            is_replay: answer.is_replay,
            rates,
        }
    }
}

/// The public id of a charge or a hold: its account and its number there.
pub fn charge_id(account: AccountId, entry: i64) -> String {
    format!("{account}-{entry}")
}

/// What [`charge_id`] wrote. `None` for anything else.
pub(crate) fn parse_charge_id(id: &str) -> Option<(AccountId, i64)> {
    let (account, entry) = id.rsplit_once('-')?;
    let (account, entry) = (account.parse().ok()?, entry.parse().ok()?);
    let known = (AccountId(account), entry);
    // Exactly one text for each.
    (entry > 0 && charge_id(known.0, entry) == id).then_some(known)
}

impl App {
    /// Charges a key.
    pub async fn charge(
        &self,
        gateway: &ServiceCredential,
        idempotency_key: &str,
        request: &ChargeRequest,
    ) -> Result<Charged> {
        let input = call::input_of(request);
        let named = call::request(
            gateway,
            idempotency_key,
            &input.each_ref().map(String::as_str),
        )?;
        self.require_charges_open().await?;
        let call = match self.admit(gateway, request).await {
            Ok(call) => call,
            Err(refused) => {
                let (key, answer) = self.first_answer(&request.api_key, named, refused).await?;
                return Ok(Charged::new(&key, &answer, Rates::default()));
            }
        };
        let outcome = self
            .submit(Operation {
                account: call.key.account(),
                request: named,
                action: Action::Charge {
                    points: call.points,
                    detail: call.detail,
                },
                used_key: self.noted_uses.to_note(&call.key, self.now()),
            })
            .await?;
        let answer = outcome.map_err(declined)?;
        Ok(Charged::new(&call.key, &answer, call.rates))
    }

    /// Makes up to [`BATCH_MAX`] charges, each with its own idempotency key and its own outcome. On one account they are made in
    /// the order given; one that is refused does not keep the others from being made.
    ///
    /// # Errors
    /// When none of them was tried: too many or none, charges stopped, the pipeline full. Whether some were made before the
    /// pipeline failed shows when the batch is repeated.
    pub async fn charge_batch(
        &self,
        gateway: &ServiceCredential,
        charges: Vec<(String, ChargeRequest)>,
    ) -> Result<Vec<Result<Charged>>> {
        require_batch_size(charges.len())?;
        self.require_charges_open().await?;
        let now = self.now();
        let mut results: Vec<Option<Result<Charged>>> = Vec::with_capacity(charges.len());
        let mut calls = Vec::with_capacity(charges.len());
        let mut operations = Vec::with_capacity(charges.len());
        for (place, (idempotency_key, request)) in charges.into_iter().enumerate() {
            let input = call::input_of(&request);
            let input = input.each_ref().map(String::as_str);
            let admitted = match call::request(gateway, &idempotency_key, &input) {
                Ok(named) => match self.admit(gateway, &request).await {
                    Ok(call) => Ok((named, call)),
                    Err(error) => Err((Some(named), error)),
                },
                Err(error) => Err((None, error)),
            };
            match admitted {
                Ok((named, call)) => {
                    let used_key = self.noted_uses.to_note(&call.key, now);
                    calls.push((place, Arc::clone(&call.key), call.rates));
                    operations.push(Operation {
                        account: call.key.account(),
                        request: named,
                        action: Action::Charge {
                            points: call.points,
                            detail: call.detail,
                        },
                        used_key,
                    });
                    results.push(None);
                }
                Err((named, error)) => {
                    let first = match named {
                        Some(named) => self.first_answer(&request.api_key, named, error).await,
                        None => Err(error),
                    };
                    let first =
                        first.map(|(key, answer)| Charged::new(&key, &answer, Rates::default()));
                    results.push(Some(first));
                }
            }
        }
        let settled = self.pipeline.submit_all(operations).await?;
        for ((place, key, rates), settled) in calls.into_iter().zip(settled) {
            let followed = self.follow(settled).await;
            let made = followed.and_then(|outcome| outcome.map_err(declined));
            let result = made.map(|answer| Charged::new(&key, &answer, rates));
            results[place] = Some(result);
        }
        let nothing = || Err(Error::internal("a charge of a batch without an outcome"));
        Ok(results
            .into_iter()
            .map(|result| result.unwrap_or_else(nothing))
            .collect())
    }
}

fn require_batch_size(charges: usize) -> Result<()> {
    if (1..=BATCH_MAX).contains(&charges) {
        return Ok(());
    }
    let text = Text::owned(
        format!("须为 1 至 {BATCH_MAX} 项"),
        format!("must have 1 to {BATCH_MAX} items"),
    );
    Err(Error::Invalid {
        field: "charges",
        text,
    })
}
