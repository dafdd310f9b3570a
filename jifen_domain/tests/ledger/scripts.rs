//! One line a movement, then what must be true.

use std::collections::BTreeMap;

use jifen_domain::key::{Caps, Spending};
use jifen_domain::ledger::{
    Account, Capture, Entry, HoldState, Movement, OPEN_HOLDS_MAX, Refused, State,
};
use jifen_domain::{AccountId, Points};

use super::shelf::Shelf;
use super::{at, call, gift, points, refund_of};

/// Seconds for which refunded points of an expired lot are good.
const GRACE: i64 = 100;

/// An account told to do one thing after the other, and stored and read back in between.
struct Player {
    shelf: Shelf,
    /// Of each charge, what was refunded.
    refunded: BTreeMap<i64, i64>,
}

/// Runs a script of lines `SECOND: COMMAND`, and writes what each did: its entries, the refusal, what can be spent then and what
/// is held. The commands: `grant POINTS [EXPIRY]`, `charge POINTS`, `hold POINTS UNTIL`, `extend HOLD POINTS UNTIL`,
/// `capture HOLD COST`, `release HOLD`, `refund CHARGE [POINTS]`, `expire`; holds and charges are named by their entries.
///
/// Before each line the account is read back with its state alone when that decides it (marked `~`), else with its lots.
fn play(script: &str) -> String {
    let mut player = Player {
        shelf: Shelf::new(AccountId(1), Caps::default()),
        refunded: BTreeMap::new(),
    };
    let lines = script.lines().map(str::trim);
    let told = lines
        .filter(|line| !line.is_empty())
        .map(|line| player.play(line));
    told.collect::<Vec<String>>().join("\n")
}

impl Player {
    fn play(&mut self, line: &str) -> String {
        let (second, command) = line.split_once(": ").unwrap();
        let second = second.parse().unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        let mut account = self.shelf.state_alone();
        let mut outcome = self.run(&mut account, &words, second);
        let mark = if outcome == Err(Refused::LotsNeeded) {
            assert_eq!(account, self.shelf.state_alone());
            account = self.shelf.whole();
            outcome = self.run(&mut account, &words, second);
            ""
        } else {
            "~ "
        };
        if words[0] == "refund" && outcome.is_ok() {
            let given = account.journal().last().unwrap().signed_points();
            *self.refunded.entry(words[1].parse().unwrap()).or_default() += given;
        }
        self.shelf.store(&account);
        let mut told: Vec<String> = account.journal().iter().map(tell).collect();
        told.extend(outcome.err().map(|refused| refused.to_string()));
        let whole = self.shelf.whole();
        let left = whole.available(at(second)).unwrap().get();
        let held = whole.held().get();
        let told = format!("{mark}{} = {left} ({held})", told.join(", "));
        told.trim_start().to_owned()
    }

    fn run(&self, account: &mut Account, words: &[&str], second: i64) -> Result<(), Refused> {
        let number = |place: usize| -> Option<i64> { Some(words.get(place)?.parse().unwrap()) };
        let (now, first) = (at(second), number(1).unwrap_or_default());
        match words[0] {
            "grant" => account.grant(gift(first, number(2)), now),
            "charge" => account.charge(points(first), call(), None, now).map(drop),
            "hold" => {
                let until = at(number(2).unwrap());
                account
                    .hold(points(first), call(), until, None, now)
                    .map(drop)
            }
            "extend" => {
                let (more, until) = (points(number(2).unwrap()), at(number(3).unwrap()));
                account.extend(first, more, until, None, now).map(drop)
            }
            "capture" => {
                let capture = Capture {
                    hold: first,
                    cost: points(number(2).unwrap()),
                    tariff: None,
                };
                let captured = account.capture(capture, None, now)?;
                let hold = account
                    .changed_holds()
                    .find(|hold| hold.entry == first)
                    .unwrap();
                assert_eq!(hold.state, HoldState::Captured);
                assert_eq!(hold.end_entry, Some(captured.entry.number));
                assert_eq!(hold.shortfall, Some(captured.shortfall));
                Ok(())
            }
            "release" => account.release(first, None, now).map(drop),
            "refund" => {
                let charge = self
                    .shelf
                    .entries
                    .iter()
                    .find(|entry| entry.number == first);
                let refunded = self.refunded.get(&first).copied().unwrap_or_default();
                let mut refund = refund_of(AccountId(1), charge.unwrap(), refunded, number(2));
                refund.draws = self.shelf.in_draw_order(&refund.draws);
                refund.lots = self.shelf.lots().cloned().collect();
                refund.grace_until = at(second + GRACE);
                account.refund(&refund, None, now).map(drop)
            }
            "expire" => account.expire(now),
            other => panic!("unknown command {other}"),
        }
    }
}

fn tell(entry: &Entry) -> String {
    let draws: Vec<String> = entry
        .draws()
        .iter()
        .map(|draw| format!("{}:{}", draw.lot, draw.points.get()))
        .collect();
    let draws = draws.join(" ");
    let what = match &entry.movement {
        Movement::Grant { lot, .. } => format!("+{} lot {}", lot.points.get(), lot.number),
        Movement::Charge {
            number, hold: None, ..
        } => format!("charge {number} {draws}"),
        Movement::Charge {
            number,
            hold: Some(hold),
            ..
        } => {
            format!("charge {number} of #{hold} {draws}")
        }
        Movement::Refund {
            source, lot: None, ..
        } => {
            format!("refund of #{} {draws}", source.charge)
        }
        Movement::Refund {
            source,
            lot: Some(lot),
            ..
        } => {
            let (account, charge) = (source.account.0, source.charge);
            format!(
                "refund of {account}#{charge} +{} lot {}",
                lot.points.get(),
                lot.number
            )
        }
        Movement::Hold { .. } => "hold".to_owned(),
        Movement::Extend { hold, .. } => format!("extend #{hold}"),
        Movement::Release { hold } => format!("release #{hold}"),
        Movement::Expiry { .. } => format!("expired {draws}"),
        Movement::MergeOut { .. } => format!("merged {draws}"),
    };
    format!("#{} {}", entry.number, what.trim_end())
}

/// What a script tells, without the indentation of this file.
fn told(lines: &str) -> String {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<&str>>().join("\n")
}

#[test]
fn charges_draw_on_what_expires_soonest_then_on_the_oldest() {
    let script = "
        1: grant 10
        2: grant 10 100
        3: grant 10 50
        4: grant 10 50
        5: charge 9
        6: charge 16
        7: charge 15
        8: charge 1";
    assert_eq!(
        play(script),
        told(
            "
        #1 +10 lot 1 = 10 (0)
        #2 +10 lot 2 = 20 (0)
        #3 +10 lot 3 = 30 (0)
        #4 +10 lot 4 = 40 (0)
        ~ #5 charge 1 3:9 = 31 (0)
        #6 charge 2 3:1 4:10 2:5 = 15 (0)
        #7 charge 3 2:5 1:10 = 0 (0)
        the balance of 0 points is too low = 0 (0)"
        )
    );
}

#[test]
fn expired_points_are_neither_spent_nor_counted_even_before_they_are_swept() {
    let script = "
        1: grant 10 50
        2: grant 5
        49: charge 1
        50: charge 6
        51: charge 5";
    assert_eq!(
        play(script),
        told(
            "
        #1 +10 lot 1 = 10 (0)
        #2 +5 lot 2 = 15 (0)
        ~ #3 charge 1 1:1 = 14 (0)
        #4 expired 1:9, the balance of 5 points is too low = 5 (0)
        #5 charge 2 2:5 = 0 (0)"
        )
    );
}

#[test]
fn a_hold_keeps_its_points_from_being_spent_and_from_expiring() {
    let script = "
        1: grant 10 50
        2: grant 5
        3: hold 8 200
        4: charge 8
        5: charge 6
        60: capture 3 7";
    assert_eq!(
        play(script),
        told(
            "
        #1 +10 lot 1 = 10 (0)
        #2 +5 lot 2 = 15 (0)
        #3 hold = 7 (8)
        the balance of 7 points is too low = 7 (8)
        #4 charge 1 1:2 2:4 = 1 (8)
        #5 charge 2 of #3 1:7, #6 expired 1:1 = 1 (0)"
        )
    );
}

#[test]
fn a_capture_takes_any_cost_up_to_the_hold_and_beyond_it_what_is_there() {
    let script = "
        1: grant 20
        2: hold 5 100
        3: capture 2 3
        4: hold 5 100
        5: capture 4 5
        6: hold 5 100
        7: capture 6 8
        8: hold 3 100
        9: capture 8 9
        10: capture 8 9";
    assert_eq!(
        play(script),
        told(
            "
        #1 +20 lot 1 = 20 (0)
        #2 hold = 15 (5)
        #3 charge 1 of #2 1:3 = 17 (0)
        #4 hold = 12 (5)
        #5 charge 2 of #4 1:5 = 12 (0)
        #6 hold = 7 (5)
        #7 charge 3 of #6 1:8 = 4 (0)
        #8 hold = 1 (3)
        #9 charge 4 of #8 1:4 = 0 (0)
        there is no such hold = 0 (0)"
        )
    );
}

#[test]
fn a_capture_of_nothing_charges_nothing() {
    let script = "
        1: grant 20 50
        2: hold 5 100
        60: capture 2 0
        61: refund 4";
    assert_eq!(
        play(script),
        told(
            "
        #1 +20 lot 1 = 20 (0)
        #2 hold = 15 (5)
        #3 expired 1:15, #4 charge 1 of #2, #5 expired 1:5 = 0 (0)
        ~ only 0 points of the charge are left to refund = 0 (0)"
        )
    );
}

#[test]
fn a_hold_ends_by_itself_or_is_released_once() {
    let script = "
        1: grant 10
        2: hold 4 30
        3: hold 4 40
        4: release 3
        5: release 3
        30: release 2
        31: capture 2 1
        32: release 99";
    assert_eq!(
        play(script),
        told(
            "
        #1 +10 lot 1 = 10 (0)
        #2 hold = 6 (4)
        #3 hold = 2 (8)
        #4 release #3 = 6 (4)
        there is no such hold = 6 (4)
        #5 release #2, there is no such hold = 10 (0)
        there is no such hold = 10 (0)
        there is no such hold = 10 (0)"
        )
    );
}

#[test]
fn a_charge_that_the_front_pays_for_leaves_what_is_due_to_the_next_sweep() {
    let script = "
        1: grant 4 90
        2: grant 10
        3: hold 4 30
        40: charge 3
        41: charge 10";
    assert_eq!(
        play(script),
        told(
            "
        #1 +4 lot 1 = 4 (0)
        #2 +10 lot 2 = 14 (0)
        #3 hold = 10 (4)
        ~ #4 charge 1 2:3 = 7 (4)
        #5 release #3, #6 charge 2 1:4 2:6 = 1 (0)"
        )
    );
}

#[test]
fn a_hold_is_extended_in_points_and_time_but_never_shortened() {
    let script = "
        1: grant 10
        2: grant 4 80
        3: hold 3 30
        4: extend 3 0 60
        5: extend 3 4 20
        50: extend 3 8 90
        59: extend 3 1 70
        65: capture 3 6
        66: extend 3 1 99";
    assert_eq!(
        play(script),
        told(
            "
        #1 +10 lot 1 = 10 (0)
        #2 +4 lot 2 = 14 (0)
        #3 hold = 11 (3)
        #4 extend #3 = 11 (3)
        #5 extend #3 = 7 (7)
        the balance of 7 points is too low = 7 (7)
        #6 extend #3 = 6 (8)
        #7 charge 1 of #3 2:4 1:2 = 8 (0)
        there is no such hold = 8 (0)"
        )
    );
}

#[test]
fn a_capture_takes_what_expires_soonest_whenever_it_was_set_aside() {
    let script = "
        1: grant 5 100
        2: hold 5 900
        3: grant 5 50
        4: extend 2 5 0
        5: capture 2 6";
    assert_eq!(
        play(script),
        told(
            "
        #1 +5 lot 1 = 5 (0)
        #2 hold = 0 (5)
        #3 +5 lot 2 = 5 (5)
        #4 extend #2 = 0 (10)
        #5 charge 1 of #2 2:5 1:1 = 4 (0)"
        )
    );
}

#[test]
fn a_refund_gives_points_back_to_their_lots_and_expired_ones_are_good_for_the_grace() {
    let script = "
        1: grant 5 50
        2: grant 5
        3: charge 8
        60: refund 3 2
        61: refund 3 3
        62: refund 3 5
        63: refund 3
        64: refund 3
        160: expire
        163: expire";
    assert_eq!(
        play(script),
        told(
            "
        #1 +5 lot 1 = 5 (0)
        #2 +5 lot 2 = 10 (0)
        #3 charge 1 1:5 2:3 = 2 (0)
        #4 refund of #3 2:2 = 4 (0)
        #5 refund of #3 2:1 1:2 = 7 (0)
        ~ only 3 points of the charge are left to refund = 7 (0)
        #6 refund of #3 1:3 = 10 (0)
        ~ only 0 points of the charge are left to refund = 10 (0)
         = 10 (0)
        #7 expired 1:5 = 5 (0)"
        )
    );
}

#[test]
fn the_parts_of_a_refund_come_back_once_each_also_when_a_grace_changes_the_order_of_the_lots() {
    let script = "
        1: grant 5 50
        2: grant 5 120
        3: charge 10
        100: refund 3 7
        101: refund 3 3
        102: charge 10";
    assert_eq!(
        play(script),
        told(
            "
        #1 +5 lot 1 = 5 (0)
        #2 +5 lot 2 = 10 (0)
        #3 charge 1 1:5 2:5 = 0 (0)
        #4 refund of #3 2:5 1:2 = 7 (0)
        #5 refund of #3 1:3 = 10 (0)
        #6 charge 2 2:5 1:5 = 0 (0)"
        )
    );
}

#[test]
fn what_is_left_of_a_hold_goes_when_its_lot_has_expired() {
    let script = "
        1: grant 10 50
        2: hold 6 200
        3: hold 4 200
        60: capture 2 1
        61: release 3";
    assert_eq!(
        play(script),
        told(
            "
        #1 +10 lot 1 = 10 (0)
        #2 hold = 4 (6)
        #3 hold = 0 (10)
        #4 charge 1 of #2 1:1, #5 expired 1:5 = 0 (4)
        #6 release #3, #7 expired 1:4 = 0 (0)"
        )
    );
}

#[test]
fn points_out_of_range_move_nothing() {
    let mut account = Account::new(AccountId(1));
    account.grant(gift(9, None), at(1)).unwrap();
    let before = account.clone();
    let (now, later) = (at(1), at(9));
    for n in [0, Points::MOVEMENT_MAX.get() + 1, i64::MAX] {
        let out_of_range = Err(Refused::OutOfRange);
        assert_eq!(account.grant(gift(n, None), now), out_of_range);
        let charged = account.charge(points(n), call(), None, now);
        assert_eq!(charged.map(drop), out_of_range);
        let held = account.hold(points(n), call(), later, None, now);
        assert_eq!(held.map(drop), out_of_range);
    }
    assert_eq!(account, before);

    let hold = account
        .hold(points(1), call(), later, None, now)
        .unwrap()
        .number;
    let before = account.clone();
    for n in [Points::MOVEMENT_MAX.get(), i64::MAX] {
        let extended = account.extend(hold, points(n), later, None, now);
        assert_eq!(extended.map(drop), Err(Refused::OutOfRange));
        let capture = Capture {
            hold,
            cost: points(n),
            tariff: None,
        };
        if n > Points::MOVEMENT_MAX.get() {
            assert_eq!(
                account.capture(capture, None, now),
                Err(Refused::OutOfRange)
            );
        }
    }
    assert_eq!(account, before);
}

#[test]
fn a_refund_of_more_than_the_charge_or_of_nothing_moves_nothing() {
    let mut account = Account::new(AccountId(1));
    account.grant(gift(9, None), at(1)).unwrap();
    let charge = account
        .charge(points(5), call(), None, at(2))
        .unwrap()
        .clone();
    let before = account.clone();
    let mut refused = |refunded, now| {
        let mut refund = refund_of(AccountId(1), &charge, refunded, now);
        refund.lots = before.open_lots().to_vec();
        account.refund(&refund, None, at(3)).unwrap_err()
    };
    assert_eq!(
        refused(0, Some(6)),
        Refused::MoreThanCharged { left: points(5) }
    );
    assert_eq!(
        refused(2, Some(i64::MAX)),
        Refused::MoreThanCharged { left: points(3) }
    );
    assert_eq!(
        refused(5, None),
        Refused::MoreThanCharged { left: points(0) }
    );
    assert_eq!(refused(0, Some(0)), Refused::OutOfRange);
    assert_eq!(refused(6, None), Refused::OutOfRange);
    assert_eq!(account, before);
}

#[test]
fn no_more_holds_are_open_than_the_limit() {
    let mut account = Account::new(AccountId(1));
    account.grant(gift(9_999, None), at(1)).unwrap();
    for _ in 0..OPEN_HOLDS_MAX {
        account
            .hold(points(1), call(), at(50), None, at(2))
            .unwrap();
    }
    let one_more = |account: &mut Account, second| {
        let held = account.hold(points(1), call(), at(90), None, at(second));
        held.map(drop)
    };
    assert_eq!(one_more(&mut account, 49), Err(Refused::TooManyHolds));
    assert_eq!(one_more(&mut account, 50), Ok(()));
    assert_eq!(account.held(), points(1));
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
        .map(|lot| (lot.remaining.get(), lot.expires_at, lot.granted_at))
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
fn a_merge_moves_open_holds_with_what_they_have_set_aside() {
    let (mut younger, mut older) = (Account::new(AccountId(2)), Account::new(AccountId(1)));
    older.grant(gift(5, None), at(1)).unwrap();
    younger.grant(gift(10, Some(100)), at(1)).unwrap();
    younger.grant(gift(3, None), at(1)).unwrap();
    let caps = Caps {
        total: Some(points(20)),
        ..Caps::NONE
    };
    let hold = younger
        .hold(points(12), call(), at(500), None, at(2))
        .unwrap()
        .number;
    // The first lot has expired but for what is held of it.
    younger.merge_into(&mut older, at(200)).unwrap();
    assert_eq!(younger.state().balance, Points::ZERO);
    assert_eq!(younger.state().held, Points::ZERO);
    let ended: Vec<_> = younger.changed_holds().map(|hold| hold.state).collect();
    assert_eq!(ended, [HoldState::Moved]);
    assert_eq!((older.balance(), older.held()), (points(18), points(12)));
    assert_eq!(older.available(at(200)), Some(points(6)));

    let moved = older.changed_holds().next().unwrap().clone();
    assert_eq!(moved.origin, Some((AccountId(2), hold)));
    assert_eq!((moved.created_at, moved.expires_at), (at(2), at(500)));
    // It goes on: what its key has spent is counted here, and what is beyond it is taken from what is free here.
    let mut spent = Spending::none(at(2));
    spent.add(points(12), at(2));
    older.load_spending(call().api_key_id, caps, spent);
    let capture = Capture {
        hold: moved.entry,
        cost: points(20),
        tariff: None,
    };
    let captured = older.capture(capture, None, at(201)).unwrap();
    assert_eq!(captured.entry.signed_points(), -18);
    assert_eq!(captured.shortfall, points(2));
    let (_, spent) = older.changed_spending().next().unwrap();
    assert_eq!(spent.total_points, points(18));

    let entries = younger.counts().entries;
    younger.merge_into(&mut older, at(202)).unwrap();
    assert_eq!(younger.counts().entries, entries, "nothing moves twice");
}

#[test]
fn a_charge_of_a_merged_account_is_refunded_as_a_new_lot_that_lasts_as_long_as_the_longest() {
    let (mut younger, mut older) = (Account::new(AccountId(2)), Account::new(AccountId(1)));
    younger.grant(gift(5, Some(50)), at(1)).unwrap();
    younger.grant(gift(5, Some(300)), at(1)).unwrap();
    younger.grant(gift(5, None), at(1)).unwrap();
    let charge = younger
        .charge(points(12), call(), None, at(2))
        .unwrap()
        .clone();
    let lots: Vec<_> = younger.changed_lots().cloned().collect();
    younger.merge_into(&mut older, at(3)).unwrap();

    // The newest lots first: 2 that never expire, 5 until 300, then 5 that have expired.
    let mut refunded = 0;
    for (part, expires_at) in [(1, None), (4, None), (2, Some(at(300))), (5, Some(at(200)))] {
        let mut refund = refund_of(younger.id(), &charge, refunded, Some(part));
        (refund.lots, refund.grace_until) = (lots.clone(), at(200));
        let entry = older.refund(&refund, None, at(100)).unwrap();
        assert_eq!((entry.signed_points(), entry.draws()), (part, &[][..]));
        let Movement::Refund { lot: Some(lot), .. } = &entry.movement else {
            panic!("{entry:?}");
        };
        assert_eq!((lot.points, lot.expires_at), (points(part), expires_at));
        refunded += part;
    }
    assert_eq!(older.balance(), points(15));
}

#[test]
fn a_stored_account_that_does_not_add_up_is_refused() {
    let mut account = Account::new(AccountId(1));
    account.grant(gift(7, None), at(5)).unwrap();
    account
        .hold(points(2), call(), at(50), None, at(6))
        .unwrap();
    let lots = account.open_lots().to_vec();
    let holds: Vec<_> = account.changed_holds().cloned().collect();
    let load = |state: State, lots: &[_], holds: &[_]| {
        let mut account = Account::from_state(AccountId(1), state);
        account
            .load_lots(lots.to_vec(), holds.to_vec())
            .map_err(|broken| broken.to_string())
    };
    // An account from before it was known which lot is drawn on next.
    let state = State {
        front: None,
        ..account.state()
    };
    assert_eq!(load(state, &lots, &holds), Ok(()));
    assert_eq!(load(account.state(), &lots, &holds), Ok(()));

    let wrong = |broken: Result<(), String>| broken.unwrap_err().contains("account 1");
    let balance = points(8);
    assert!(wrong(load(State { balance, ..state }, &lots, &holds)));
    assert!(wrong(load(
        State {
            held: points(1),
            ..state
        },
        &lots,
        &holds
    )));
    assert!(wrong(load(state, &[], &holds)));
    assert!(wrong(load(state, &lots, &[])));
    let mut lot = lots[0].clone();
    (lot.remaining, lot.held) = (points(7), points(8));
    let mut held = holds[0].clone();
    held.points = points(8);
    let state = State {
        held: points(8),
        ..state
    };
    assert!(wrong(load(state, &[lot], &[held])));
}
