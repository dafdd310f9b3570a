//! The ledger told as scripts: one line a movement, then what must be true.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jifen_domain::ledger::{Account, ChargeDetail, Entry, Grant, LotSource, Movement, Refused};
use jifen_domain::{AccountId, Points, Time};
use proptest::prelude::*;

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
    }
}

/// Runs a script of `grant POINTS [EXPIRY]`, `charge POINTS`, each at the second before the colon, and writes what
/// each line did: the draws as `lot:points`, or the refusal.
fn play(script: &str) -> String {
    let mut account = Account::new(AccountId(1));
    let mut told = Vec::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (second, command) = line.split_once(": ").unwrap();
        let now = at(second.parse().unwrap());
        let words: Vec<&str> = command.split(' ').collect();
        let number = words[1].parse().unwrap();
        let before = account.journal().len();
        let outcome = match words[0] {
            "grant" => account.grant(gift(number, words.get(2).map(|s| s.parse().unwrap())), now),
            "charge" => account.charge(points(number), call(), now).map(|_| ()),
            other => panic!("unknown command {other}"),
        };
        let entries: Vec<String> = account.journal()[before..].iter().map(tell).collect();
        told.push(format!(
            "{} {:?} = {}",
            entries.join(", "),
            outcome,
            account.available(now).get()
        ));
    }
    told.join("\n")
}

fn tell(entry: &Entry) -> String {
    let draws: Vec<String> = entry
        .draws()
        .iter()
        .map(|d| format!("{}:{}", d.lot, d.points.get()))
        .collect();
    match &entry.movement {
        Movement::Grant { lot, .. } => {
            format!("#{} +{} lot {}", entry.number, lot.points.get(), lot.number)
        }
        Movement::Charge { number, .. } => {
            format!("#{} charge {number} {}", entry.number, draws.join(" "))
        }
        Movement::Expiry { .. } => format!("#{} expired {}", entry.number, draws.join(" ")),
        Movement::MergeOut { .. } => format!("#{} merged {}", entry.number, draws.join(" ")),
    }
}

#[test]
fn charges_draw_on_what_expires_soonest_then_on_the_oldest() {
    let told = play(
        "1: grant 10
         2: grant 10 100
         3: grant 10 50
         4: grant 10 50
         5: charge 25
         6: charge 15
         7: charge 1",
    );
    assert_eq!(
        told,
        "#1 +10 lot 1 Ok(()) = 10\n\
         #2 +10 lot 2 Ok(()) = 20\n\
         #3 +10 lot 3 Ok(()) = 30\n\
         #4 +10 lot 4 Ok(()) = 40\n\
         #5 charge 1 3:10 4:10 2:5 Ok(()) = 15\n\
         #6 charge 2 2:5 1:10 Ok(()) = 0\n \
         Err(Insufficient { available: Points(0) }) = 0"
    );
}

#[test]
fn expired_points_are_neither_spent_nor_counted_even_before_they_are_swept() {
    let told = play(
        "1: grant 10 50
         2: grant 5
         49: charge 1
         50: charge 6
         51: charge 5",
    );
    assert_eq!(
        told,
        "#1 +10 lot 1 Ok(()) = 10\n\
         #2 +5 lot 2 Ok(()) = 15\n\
         #3 charge 1 1:1 Ok(()) = 14\n\
         #4 expired 1:9 Err(Insufficient { available: Points(5) }) = 5\n\
         #5 charge 2 2:5 Ok(()) = 0"
    );
}

#[test]
fn points_out_of_range_move_nothing() {
    let mut account = Account::new(AccountId(1));
    for n in [0, Points::MOVEMENT_MAX.get() + 1, i64::MAX] {
        assert_eq!(
            account.grant(gift(n, None), at(1)),
            Err(Refused::OutOfRange)
        );
        assert_eq!(
            account.charge(points(n), call(), at(1)),
            Err(Refused::OutOfRange)
        );
    }
    assert_eq!(account, Account::new(AccountId(1)));
}

#[test]
fn a_merge_moves_every_lot_with_its_expiry_and_age() {
    let (mut younger, mut older) = (Account::new(AccountId(2)), Account::new(AccountId(1)));
    older.grant(gift(7, None), at(5)).unwrap();
    younger.grant(gift(10, Some(100)), at(6)).unwrap();
    younger.grant(gift(3, None), at(4)).unwrap();
    younger.grant(gift(99, Some(7)), at(6)).unwrap();
    younger.merge_into(&mut older, at(8)).unwrap();

    assert_eq!(younger.balance(), Points::ZERO);
    assert_eq!(older.balance(), points(20));
    let lots: Vec<_> = older
        .open_lots()
        .iter()
        .map(|l| (l.remaining.get(), l.expires_at, l.granted_at))
        .collect();
    assert_eq!(
        lots,
        [
            (10, Some(at(100)), at(6)),
            (3, None, at(4)),
            (7, None, at(5))
        ]
    );
}

#[test]
fn a_stored_account_that_does_not_add_up_is_refused() {
    let mut account = Account::new(AccountId(1));
    account.grant(gift(7, None), at(5)).unwrap();
    let load = |balance| {
        Account::load(
            AccountId(1),
            points(balance),
            account.counts(),
            account.open_lots().to_vec(),
        )
    };
    assert!(load(7).is_ok());
    assert!(load(8).unwrap_err().to_string().contains("account 1"));
}

proptest! {
    /// Whatever is done in whatever order: entries are numbered without gaps and add up to the balance after each,
    /// the lots add up to the balance, nothing is drawn twice, and what is available is exactly what can be charged.
    #[test]
    fn the_books_always_balance(steps in prop::collection::vec((0..3u8, 1..50i64, 0..40i64), 1..60)) {
        let mut account = Account::new(AccountId(1));
        let mut now = 0;
        for (kind, number, time) in steps {
            now += time % 5;
            match kind {
                0 => account.grant(gift(number, (time % 2 == 0).then_some(now + time)), at(now)).unwrap(),
                1 => {
                    let available = account.available(at(now));
                    let charged = account.charge(points(number), call(), at(now)).is_ok();
                    prop_assert_eq!(charged, points(number) <= available);
                }
                _ => account.expire(at(now)),
            }
            let mut sum = 0;
            for (index, entry) in account.journal().iter().enumerate() {
                sum += entry.signed_points();
                prop_assert_eq!(entry.number, i64::try_from(index).unwrap() + 1);
                prop_assert_eq!(entry.balance_after.get(), sum);
            }
            let lots: i64 = account.open_lots().iter().map(|lot| lot.remaining.get()).sum();
            prop_assert_eq!(account.balance().get(), sum);
            prop_assert_eq!(lots, sum);
            let drawn: i64 = account.journal().iter().flat_map(Entry::draws).map(|d| d.points.get()).sum();
            let granted: i64 = account.journal().iter().map(Entry::signed_points).filter(|p| *p > 0).sum();
            prop_assert_eq!(granted - drawn, sum);
        }
    }
}
