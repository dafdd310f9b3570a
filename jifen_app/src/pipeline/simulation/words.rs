//! The same in the pipeline's words and in the auditor's.

use jifen_domain::ledger::{Capture, ChargeDetail, Refused, Request};
use jifen_domain::{AccountId, Points, Time};

use super::auditor::{self, Asked, Done, Judged, Verdict, Why};
use crate::error::Result;
use crate::pipeline::{Action, Declined, Operation, Settled};

pub(super) fn time(second: i64) -> Time {
    Time::from_seconds(second).expect("histories are short")
}

/// The key and the title of a charge.
pub(super) fn names(what: usize) -> (String, String) {
    (format!("key-{what}"), format!("title-{what}"))
}

/// One in four begins like all the others of its kind, as far as an account's row tells.
pub(super) fn key_of(number: usize, back: usize) -> u128 {
    let number = number as u128 + 1;
    if back.is_multiple_of(4) {
        number
    } else {
        number << 64 | number
    }
}

pub(super) fn end_key(account: i64, hold: i64) -> u128 {
    1 << 127 | u128::from(account.unsigned_abs()) << 64 | u128::from(hold.unsigned_abs())
}

pub(super) fn operation(asked: &Asked) -> Operation {
    let points = |points: i64| Points::new(points).expect("not negative");
    let detail = |what: usize| {
        let (api_key_id, title) = names(what);
        ChargeDetail {
            api_key_id,
            title,
            description: None,
            tariff: None,
        }
    };
    let action = match asked.action {
        auditor::Action::Charge { points: n, what } => Action::Charge {
            points: points(n),
            detail: detail(what),
        },
        auditor::Action::Hold {
            points: n,
            what,
            until,
        } => Action::Hold {
            points: points(n),
            detail: detail(what),
            expires_at: time(until),
        },
        auditor::Action::Extend { hold, more, until } => Action::Extend {
            hold,
            more: points(more),
            expires_at: time(until),
        },
        auditor::Action::Capture { hold, cost } => Action::Capture(Capture {
            hold,
            cost: points(cost),
            tariff: None,
        }),
        auditor::Action::Release { hold } => Action::Release { hold },
        auditor::Action::Refund {
            charged,
            charge,
            points: n,
            grace,
        } => Action::Refund {
            charged: AccountId(charged),
            charge,
            points: n.map(points),
            grace_until: time(grace),
        },
    };
    Operation {
        account: AccountId(asked.account),
        request: Request {
            key: asked.key.to_be_bytes(),
            input: asked.input.to_be_bytes(),
        },
        used_key: None,
        action,
    }
}

/// An answer in the auditor's words.
pub(super) fn verdict(heard: Result<Settled>) -> Judged {
    let declined = match heard.map_err(|error| format!("{error:?}"))?.outcome {
        Ok(answer) => {
            let until = answer.until;
            return Ok(Verdict::Done(Done {
                account: answer.account.0,
                until: until.map(|until| (until.points.get(), until.expires_at.seconds())),
                entry: answer.entry,
                points: answer.points,
                free: answer.available.get(),
                at: answer.at.seconds(),
                shortfall: answer.shortfall.map(Points::get),
                is_replay: answer.is_replay,
            }));
        }
        Err(declined) => declined,
    };
    let (refused, spendable) = match declined {
        Declined::Refused(refused, spendable) => (refused, spendable),
        Declined::Reused => return Ok(Verdict::Reused),
        Declined::NoAccount => return Ok(Verdict::NoAccount),
        Declined::NoSuchCharge => return Ok(Verdict::NoSuchCharge),
        Declined::Moved(older) => return Ok(Verdict::Moved(older.0)),
        other => return Err(format!("{other:?}")),
    };
    let why = match refused {
        Refused::Insufficient { available } if available == spendable => Why::TooFew,
        Refused::OutOfRange => Why::OutOfRange,
        Refused::NoSuchHold => Why::NoSuchHold,
        Refused::MoreThanCharged { left } => Why::MoreThanCharged(left.get()),
        other => return Err(format!("{other:?} with {spendable}")),
    };
    Ok(Verdict::Refused(why, spendable.get()))
}
