//! The ledger of one account: told as scripts, and as rules that hold for whatever is done.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod properties;
mod scripts;
mod shelf;

use jifen_domain::ledger::{ChargeDetail, Entry, Grant, LotSource, Movement, Refund, RefundSource};
use jifen_domain::{AccountId, Points, Time};

fn points(n: i64) -> Points {
    Points::new(n).unwrap()
}

fn at(second: i64) -> Time {
    Time::from_seconds(second).unwrap()
}

fn gift(n: i64, expires: Option<i64>) -> Grant {
    Grant {
        source: LotSource::Gift { key: "g".into() },
        points: points(n),
        expires_at: expires.map(at),
        title: "gift".into(),
    }
}

fn call() -> ChargeDetail {
    ChargeDetail {
        api_key_id: "k".into(),
        title: "OCR".into(),
        description: None,
        tariff: None,
    }
}

/// A refund of a charge that `account` made, of which `refunded` were given back before.
fn refund_of(account: AccountId, charge: &Entry, refunded: i64, now: Option<i64>) -> Refund {
    assert!(matches!(charge.movement, Movement::Charge { .. }));
    Refund {
        source: RefundSource {
            account,
            charge: charge.number,
            api_key_id: "k".into(),
            title: "OCR".into(),
        },
        draws: charge.draws().to_vec(),
        lots: Vec::new(),
        charged_at: charge.at,
        refunded: points(refunded),
        points: now.map(points),
        grace_until: at(0),
    }
}
