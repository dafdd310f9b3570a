//! Rules that hold whatever is done in whatever order.
//!
//! Two accounts of one person are moved by random steps, twice: once in memory, never stored, all lots known; and once as the
//! charge pipeline does it, in groups, each account read with its state alone as long as that decides, else with its lots,
//! written, and read again. Both must tell exactly the same.

use std::collections::BTreeMap;

use jifen_domain::key::{Caps, Spending};
use jifen_domain::ledger::{
    Account, Capture, Entry, Hold, HoldState, Movement, Refund, RefundSource, Refused,
};
use jifen_domain::{AccountId, Points, Time};
use proptest::prelude::*;

use super::shelf::Shelf;
use super::{at, call, gift, points};

/// One random step; each kind makes of the numbers what it needs.
#[derive(Clone, Debug)]
struct Step {
    account: usize,
    kind: u8,
    points: i64,
    seconds: i64,
    pick: usize,
    /// The clock jumps, also backwards.
    jump: i64,
    group_ends: bool,
    /// The lots are added to what was decided so far, instead of deciding it again.
    loads_late: bool,
}

/// What a step asks for, with everything it needs to know.
#[derive(Clone, Debug)]
enum Asked {
    Grant(i64, Option<i64>),
    Charge(Points),
    Hold(Points, Time),
    Extend(i64, Points, Time),
    Capture(i64, Points),
    Release(i64),
    Refund(Box<Refund>),
    Expire,
}

/// What came of it: the entry it names, and what a capture could not take.
type Told = Result<Option<(i64, Points)>, Refused>;

fn ask(account: &mut Account, asked: &Asked, now: Time) -> Told {
    let named = |entry: &Entry| Some((entry.number, Points::ZERO));
    match asked {
        Asked::Grant(n, expiry) => account.grant(gift(*n, *expiry), now).map(|()| None),
        Asked::Charge(points) => account.charge(*points, call(), None, now).map(named),
        Asked::Hold(points, until) => account.hold(*points, call(), *until, None, now).map(named),
        Asked::Extend(hold, more, until) => {
            account.extend(*hold, *more, *until, None, now).map(named)
        }
        Asked::Capture(hold, cost) => {
            let capture = Capture {
                hold: *hold,
                cost: *cost,
                tariff: None,
            };
            let captured = account.capture(capture, None, now)?;
            Ok(Some((captured.entry.number, captured.shortfall)))
        }
        Asked::Release(hold) => account.release(*hold, None, now).map(|entry| named(&entry)),
        Asked::Refund(refund) => account.refund(refund, None, now).map(named),
        Asked::Expire => account.expire(now).map(|()| None),
    }
}

/// The two ways side by side.
struct Books {
    /// In memory, never stored.
    kept: [Account; 2],
    shelves: [Shelf; 2],
    /// What was asked since the shelves were written, for each account, and what was told.
    group: [Vec<(Asked, Told)>; 2],
    now: i64,
    /// Of each charge, what was refunded.
    refunded: BTreeMap<(usize, i64), i64>,
}

/// So narrow that the key is refused now and then.
fn caps() -> Caps {
    Caps {
        daily: Points::new(300),
        monthly: Points::new(500),
        total: None,
    }
}

const IDS: [AccountId; 2] = [AccountId(1), AccountId(2)];

impl Books {
    fn new() -> Self {
        Self {
            kept: IDS.map(|id| {
                let mut account = Account::new(id);
                account.load_spending("k".to_owned(), caps(), Spending::none(at(1_000)));
                account
            }),
            shelves: IDS.map(|id| Shelf::new(id, caps())),
            group: [Vec::new(), Vec::new()],
            now: 1_000,
            refunded: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        if step.kind == 9 {
            self.settle(step.loads_late);
            self.merge();
            self.settle(step.loads_late);
        } else if let Some(asked) = self.asked(step) {
            self.ask(step.account, asked);
        }
        if step.group_ends {
            self.settle(step.loads_late);
            self.now = (self.now + step.jump).max(0);
        }
        self.kept.iter().for_each(check_sums);
    }

    fn asked(&self, step: &Step) -> Option<Asked> {
        let rows = &self.shelves[step.account];
        let until = at(self.now + step.seconds);
        let holds = rows.entries.iter();
        let holds = holds.filter(|entry| matches!(entry.movement, Movement::Hold { .. }));
        let hold = holds.rev().nth(step.pick % 4).map(|entry| entry.number);
        Some(match step.kind {
            0 | 1 => {
                let expires = !step.pick.is_multiple_of(3);
                Asked::Grant(step.points, expires.then_some(self.now + step.seconds))
            }
            2 | 3 => Asked::Charge(points(step.points / 2)),
            4 => Asked::Hold(points(step.points), until),
            5 => Asked::Extend(hold?, points(step.points / 3), until),
            6 => Asked::Capture(hold?, points(step.points - 1)),
            7 => Asked::Release(hold?),
            8 => Asked::Refund(Box::new(self.refund(step)?)),
            _ => Asked::Expire,
        })
    }

    /// Of a charge of this account, or of the younger one by the older.
    fn refund(&self, step: &Step) -> Option<Refund> {
        let place = if step.pick.is_multiple_of(5) {
            1
        } else {
            step.account
        };
        let rows = &self.shelves[place];
        let charges = rows.entries.iter();
        let charges = charges.filter(|entry| matches!(entry.movement, Movement::Charge { .. }));
        let charge = charges.rev().nth(step.pick % 7)?;
        let refunded = self.refunded.get(&(place, charge.number)).copied();
        Some(Refund {
            source: RefundSource {
                account: IDS[place],
                charge: charge.number,
                api_key_id: "k".into(),
                title: "OCR".into(),
            },
            draws: rows.in_draw_order(charge.draws()),
            lots: rows.lots().cloned().collect(),
            charged_at: charge.at,
            refunded: points(refunded.unwrap_or_default()),
            points: (step.pick.is_multiple_of(2)).then(|| points(step.points / 4)),
            grace_until: at(self.now + step.seconds),
        })
    }

    /// In memory; the shelves follow when the group ends.
    fn ask(&mut self, place: usize, asked: Asked) {
        let now = at(self.now);
        let account = &mut self.kept[place];
        let (before, available) = (account.clone(), account.available(now).unwrap());
        let told = ask(account, &asked, now);
        match &asked {
            // What is said to be there can be spent, and no more; only a hold whose time is over can free more.
            Asked::Charge(points) if told.is_ok() => {
                let freed = account.journal()[before.journal().len()..]
                    .iter()
                    .any(|entry| matches!(entry.movement, Movement::Release { .. }));
                assert!(freed || *points <= available);
            }
            Asked::Charge(points) => {
                let capped = matches!(told, Err(Refused::CapReached(_)));
                assert!(!points.is_movable() || *points > available || capped);
            }
            Asked::Refund(refund) if told.is_ok() => {
                let given = account.journal().last().unwrap().signed_points();
                let source = (place_of(refund.source.account), refund.source.charge);
                *self.refunded.entry(source).or_default() += given;
            }
            _ => {}
        }
        if told.is_err() {
            let mut swept = before.clone();
            swept.expire(now).unwrap();
            assert!(
                *account == before || *account == swept,
                "{asked:?} was refused, yet changed more"
            );
        }
        self.group[place].push((asked, told));
    }

    fn merge(&mut self) {
        let now = at(self.now);
        let [older, younger] = &mut self.kept;
        younger.merge_into(older, now).unwrap();
        let [mut older, mut younger] = [self.shelves[0].whole(), self.shelves[1].whole()];
        younger.merge_into(&mut older, now).unwrap();
        self.shelves[0].store(&older);
        self.shelves[1].store(&younger);
    }

    /// Does on the shelves what was done in memory, and compares.
    fn settle(&mut self, loads_late: bool) {
        let now = at(self.now);
        for (place, group) in self.group.iter_mut().enumerate() {
            let group = std::mem::take(group);
            let (rows, kept) = (&mut self.shelves[place], &self.kept[place]);
            let mut account = rows.state_alone();
            let mut done = 0;
            while let Some((asked, told)) = group.get(done) {
                let again = ask(&mut account, asked, now);
                if again == Err(Refused::LotsNeeded) && loads_late {
                    rows.load_into(&mut account);
                } else if again == Err(Refused::LotsNeeded) {
                    (account, done) = (rows.whole(), 0);
                } else {
                    assert_eq!(&again, told, "{asked:?}");
                    done += 1;
                }
            }
            if let Some(available) = account.available(now) {
                assert_eq!(Some(available), kept.available(now));
            }
            rows.store(&account);
            assert_eq!(rows.entries, kept.journal());
            assert_eq!(rows.state(), kept.state());
            let spent = kept.changed_spending().next().map(|(_, spent)| spent);
            assert!(spent.is_none_or(|spent| *spent == rows.spent));
            let whole = rows.whole();
            assert_eq!(whole.open_lots(), kept.open_lots());
            let holds = kept.changed_holds();
            let mut open: Vec<Hold> = holds
                .filter(|hold| hold.state == HoldState::Held)
                .cloned()
                .collect();
            let mut stored = rows.open_holds();
            stored.reverse();
            for hold in open.iter_mut().chain(&mut stored) {
                hold.lots.sort_by_key(|draw| draw.lot);
            }
            assert_eq!(stored, open);
        }
    }

    /// No charge is refunded more than once, as a whole and lot by lot.
    fn check_refunds(&self) {
        let entries = self.kept.iter().flat_map(Account::journal);
        let mut back: BTreeMap<(usize, i64), i64> = BTreeMap::new();
        let mut lots: BTreeMap<(usize, i64, i64), i64> = BTreeMap::new();
        for entry in entries {
            if let Movement::Refund {
                source, returns, ..
            } = &entry.movement
            {
                let place = place_of(source.account);
                *back.entry((place, source.charge)).or_default() += entry.signed_points();
                for draw in returns {
                    *lots.entry((place, source.charge, draw.lot)).or_default() += draw.points.get();
                }
            }
        }
        let charge = |place: usize, number: i64| {
            let mut entries = self.kept[place].journal().iter();
            entries.find(|entry| entry.number == number).unwrap()
        };
        for ((place, number), back) in back {
            assert!(back <= -charge(place, number).signed_points());
        }
        for ((place, number, lot), back) in lots {
            let drawn = charge(place, number).draws().iter();
            let drawn: Vec<_> = drawn.filter(|draw| draw.lot == lot).collect();
            assert!(drawn.len() == 1 && back <= drawn[0].points.get());
        }
    }
}

fn place_of(account: AccountId) -> usize {
    IDS.iter().position(|id| *id == account).unwrap()
}

/// The sums and numbers of an account whose whole history is in its journal.
fn check_sums(account: &Account) {
    let (mut sum, mut charges, mut lots) = (0, 0, 0);
    for (entry, number) in account.journal().iter().zip(1..) {
        sum += entry.signed_points();
        assert_eq!(entry.number, number);
        assert_eq!(entry.balance_after.get(), sum);
        assert!(entry.held_after <= entry.balance_after);
        if let Movement::Charge { number, .. } = entry.movement {
            charges += 1;
            assert_eq!(number, charges);
        }
        if let Movement::Grant { lot, .. } | Movement::Refund { lot: Some(lot), .. } =
            &entry.movement
        {
            lots += 1;
            assert_eq!(lot.number, lots);
        }
    }
    let counts = account.counts();
    let entries = i64::try_from(account.journal().len()).unwrap();
    assert_eq!(
        (counts.entries, counts.charges, counts.lots),
        (entries, charges, lots)
    );
    assert_eq!(account.balance().get(), sum);

    let open = account.open_lots();
    assert_eq!(open.iter().map(|lot| lot.remaining.get()).sum::<i64>(), sum);
    assert_eq!(
        open.iter().map(|lot| lot.held.get()).sum::<i64>(),
        account.held().get()
    );
    assert!(
        open.iter()
            .all(|lot| lot.held <= lot.remaining && lot.remaining <= lot.points)
    );
    assert!(account.held() <= account.balance());
    let holds = account
        .changed_holds()
        .filter(|hold| hold.state == HoldState::Held);
    let mut pinned: BTreeMap<i64, i64> = BTreeMap::new();
    for hold in holds {
        assert_eq!(
            hold.lots.iter().map(|draw| draw.points.get()).sum::<i64>(),
            hold.points.get()
        );
        for draw in &hold.lots {
            *pinned.entry(draw.lot).or_default() += draw.points.get();
        }
    }
    let held = open.iter().filter(|lot| lot.held > Points::ZERO);
    let held: BTreeMap<i64, i64> = held.map(|lot| (lot.number, lot.held.get())).collect();
    assert_eq!(pinned, held);
}

fn step() -> impl Strategy<Value = Step> {
    let jump = prop_oneof![6 => Just(0_i64), 6 => 0..8_i64, 2 => 20..90_i64, 1 => -30..0_i64, 1 => Just(86_400)];
    let numbers = (1..60_i64, 0..60_i64, 0..60_usize);
    let group = (jump, prop::bool::weighted(0.4), prop::bool::ANY);
    (0..2_usize, 0..11_u8, numbers, group).prop_map(|(account, kind, numbers, group)| Step {
        account,
        kind,
        points: numbers.0,
        seconds: numbers.1,
        pick: numbers.2,
        jump: group.0,
        group_ends: group.1,
        loads_late: group.2,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn an_account_read_as_little_as_it_needs_tells_the_same_as_one_kept_in_memory(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut books = Books::new();
        for step in &steps {
            books.step(step);
        }
        books.settle(false);
        books.check_refunds();
    }
}
