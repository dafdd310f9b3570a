//! Taking a charge back, in part or whole.

use jifen_domain::{Points, Time};
use jifen_store::ServiceCredential;

use crate::App;
use crate::call::{self, declined};
use crate::charge::{charge_id, parse_charge_id};
use crate::error::{Error, Result, Text};
use crate::pipeline::{Action, Declined, Operation};

/// A refund that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundedCharge {
    /// Names the refund for ever.
    pub id: String,
    /// Points given back.
    pub points: i64,
    /// What could be spent right after it.
    pub balance: Points,
    /// When.
    pub at: Time,
    /// The same request had been answered before; this is its first answer.
    pub is_replay: bool,
}

impl App {
    /// Gives points of a charge back to the lots they came from: so many, or all that were not given back yet. Points whose
    /// lot has expired since are good again for the operator's grace.
    pub async fn refund_charge(
        &self,
        gateway: &ServiceCredential,
        idempotency_key: &str,
        id: &str,
        points: Option<i64>,
    ) -> Result<RefundedCharge> {
        let unknown = || {
            let text = Text::new("没有这笔扣费", "no such charge");
            Error::NotFound(text)
        };
        let (charged, charge) = parse_charge_id(id).ok_or_else(unknown)?;
        let points = points.map(call::movable).transpose()?;
        let amount = points.map_or_else(String::new, |points| points.get().to_string());
        let named = call::request(gateway, idempotency_key, &["refund", id, &amount])?;
        let grace_until = self.now().plus_days(self.settings.refund_grace_days);
        let outcome = self
            .submit(Operation {
                account: charged,
                request: named,
                action: Action::Refund {
                    charged,
                    charge,
                    points,
                    grace_until,
                },
                used_key: None,
            })
            .await?;
        let answer = outcome.map_err(|refused| match refused {
            Declined::NoAccount => unknown(),
            other => declined(other),
        })?;
        Ok(RefundedCharge {
            id: charge_id(answer.account, answer.entry),
            points: answer.points,
            balance: answer.available,
            at: answer.at,
            is_replay: answer.is_replay,
        })
    }
}
