//! Somebody who knows the rules of the ledger only as people tell them, and follows a history by requests and answers.
//!
//! The rules:
//!
//! 1. Points come in lots. A lot is spent until its expiry; those without one last for ever. All that is spent, set aside or
//!    moved comes from the lot that expires soonest, among those from the oldest, among those from the lowest number.
//! 2. A hold sets points of certain lots aside. They are neither spent by others nor do they expire while it is open. It ends
//!    by capture, by release, or by itself at its time; then what it did not spend is free again.
//! 3. A sweep ends the holds whose time has come, in the order they were made, then takes out what is free of each expired
//!    lot. Every movement sweeps its account before anything else, with one exception: a charge of less than what is free of the
//!    first lot that has anything free, when that lot has not expired, is paid by that lot and nothing else is looked at.
//!    A refused movement has swept all the same, unless it asked for a number of points that no hold or charge can have, or to
//!    give back more than is left of a charge.
//! 4. A capture charges any cost: first from what its hold has set aside, then from what is free, as far as that goes; the rest
//!    is the shortfall. The rest of the hold is free again, and gone at once where its lot has expired.
//! 5. A refund gives back to the charge's lots what they paid, the highest number first, never more than the charge in all. A
//!    lot that has expired is good again until the end of the grace. A charge of an account merged into another is given back
//!    there as a new lot, which lasts as long as the longest of the lots it stands for, and at least for the grace.
//! 6. A merge sweeps both accounts. Then the open holds of the younger end, all its lots move, with their expiry and their
//!    age, and each of the holds is made again, on the same points, in the order they were made. From then on the younger
//!    does nothing but repeat its answers, and sends everybody who asks for a charge, a hold or a refund to the older one.
//! 7. Each movement is an entry with the account's next number: a grant, a charge, a hold, an extension, a release (by itself
//!    too, and in a merge), a refund, what expired of a lot, all that was moved out. Charges are counted besides, and lots.
//! 8. A request is done once in its account, and in the one into which that is merged. Its repetition gets the answer again, and is marked; the shortfall may be left
//!    out. With another input it is told so. What was refused was not done: its repetition is judged anew.
//! 9. An answer says what was free right after the movement, a refusal what can be spent then.

use std::collections::{BTreeMap, HashMap};

/// The most points that move at once.
pub(super) const POINTS_MAX: i64 = 1_000_000_000_000;

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) account: i64,
    pub(super) key: u128,
    pub(super) input: u64,
    pub(super) action: Action,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Charge {
        points: i64,
        what: usize,
    },
    Hold {
        points: i64,
        what: usize,
        until: i64,
    },
    Extend {
        hold: i64,
        more: i64,
        until: i64,
    },
    Capture {
        hold: i64,
        cost: i64,
    },
    Release {
        hold: i64,
    },
    Refund {
        charged: i64,
        charge: i64,
        points: Option<i64>,
        grace: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done(Done),
    /// With what can be spent.
    Refused(Why, i64),
    Reused,
    NoAccount,
    NoSuchCharge,
    /// Into that account.
    Moved(i64),
}

impl Verdict {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) account: i64,
    pub(super) entry: i64,
    pub(super) points: i64,
    pub(super) free: i64,
    pub(super) at: i64,
    /// Of a hold that was made or extended: its points, and its end.
    pub(super) until: Option<(i64, i64)>,
    pub(super) shortfall: Option<i64>,
    pub(super) is_replay: bool,
}

/// What was answered, or what is no answer at all.
pub(super) type Judged = Result<Verdict, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    TooFew,
    OutOfRange,
    NoSuchHold,
    /// So many are left of the charge.
    MoreThanCharged(i64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Auditor {
    pub(super) accounts: BTreeMap<i64, Account>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) entries: i64,
    pub(super) lots: Vec<Lot>,
    pub(super) holds: BTreeMap<i64, Hold>,
    pub(super) charges: BTreeMap<i64, Charge>,
    /// Charges and points by day, and what for.
    pub(super) usage: BTreeMap<(i64, usize), (i64, i64)>,
    requests: HashMap<u128, (u64, Done)>,
    /// Into which it was merged.
    pub(super) merged_into: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Lot {
    pub(super) points: i64,
    pub(super) left: i64,
    pub(super) aside: i64,
    pub(super) expires: Option<i64>,
    pub(super) granted: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// Points of lots, by their numbers.
    pub(super) parts: BTreeMap<i64, i64>,
    pub(super) until: i64,
    pub(super) what: usize,
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Captured {
        entry: i64,
        shortfall: i64,
    },
    Released {
        entry: i64,
    },
    Expired {
        entry: i64,
    },
    /// To that account, and its entry there.
    Moved {
        entry: i64,
        to: (i64, i64),
    },
}

#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub(super) parts: BTreeMap<i64, i64>,
    pub(super) back: i64,
    pub(super) what: usize,
}

impl Auditor {
    /// Where the points of an account are today.
    pub(super) fn today(&self, account: i64) -> i64 {
        let merged = self
            .accounts
            .get(&account)
            .and_then(|known| known.merged_into);
        merged.map_or(account, |older| self.today(older))
    }

    pub(super) fn grant(&mut self, account: i64, points: i64, expires: Option<i64>, now: i64) {
        let account = self.accounts.get_mut(&account).expect("it was opened");
        account.entries += 1;
        account.add_lot(points, expires, now);
    }

    pub(super) fn sweep(&mut self, account: i64, now: i64) {
        let account = self.accounts.get_mut(&account).expect("it was opened");
        account.sweep(now);
    }

    /// Whether a sweep has something to do.
    pub(super) fn wants_sweep(&self, account: i64, now: i64) -> bool {
        let known = &self.accounts[&account];
        let due = |hold: &Hold| hold.end.is_none() && hold.until <= now;
        let over = |lot: &Lot| lot.free() > 0 && lot.is_over(now);
        known.holds.values().any(due) || known.lots.iter().any(over)
    }

    /// With the accounts for test keys, where there are any.
    pub(super) fn merge(&mut self, younger: i64, older: i64, now: i64) {
        if self.accounts.contains_key(&-younger) {
            self.merge_one(-younger, -older, now);
        }
        self.merge_one(younger, older, now);
    }

    fn merge_one(&mut self, younger: i64, older: i64, now: i64) {
        let mut from = self.accounts.remove(&younger).expect("it was opened");
        let to = self.accounts.entry(older).or_default();
        from.sweep(now);
        to.sweep(now);
        let open = from.holds.iter().filter(|(_, hold)| hold.end.is_none());
        let open: Vec<(i64, Hold)> = open.map(|(entry, hold)| (*entry, hold.clone())).collect();
        let mut ends = Vec::new();
        for (hold, _) in &open {
            from.free(*hold);
            from.entries += 1;
            ends.push(from.entries);
        }
        let mut numbers = BTreeMap::new();
        for number in from.in_order() {
            let lot = from.lot(number);
            to.add_lot(lot.left, lot.expires, lot.granted);
            to.entries += 1;
            lot.left = 0;
            numbers.insert(number, i64::try_from(to.lots.len()).expect("few lots"));
        }
        from.entries += i64::from(!numbers.is_empty());
        for ((hold, mut known), entry) in open.into_iter().zip(ends) {
            let parts = known.parts.iter();
            known.parts = parts.map(|(lot, points)| (numbers[lot], *points)).collect();
            for (lot, points) in known.parts.clone() {
                to.lot(lot).aside += points;
            }
            to.entries += 1;
            to.holds.insert(to.entries, known);
            let there = (older, to.entries);
            from.end(hold, End::Moved { entry, to: there });
        }
        for (key, answer) in &from.requests {
            to.requests.entry(*key).or_insert_with(|| answer.clone());
        }
        from.merged_into = Some(older);
        self.accounts.insert(younger, from);
    }

    /// Holds an answer against what must be answered.
    pub(super) fn hear(&mut self, asked: &Asked, heard: &Judged, now: i64) -> Result<(), String> {
        let mut expected = self.judge(asked, now);
        if let (Verdict::Done(expected), Ok(Verdict::Done(heard))) = (&mut expected, heard)
            && expected.is_replay
            && heard.shortfall.is_none()
        {
            expected.shortfall = None;
        }
        if heard.as_ref() == Ok(&expected) {
            return Ok(());
        }
        Err(format!(
            "{asked:?} was answered {heard:?}, expected {expected:?}"
        ))
    }

    /// Whether accounts have as many entries as they should.
    pub(super) fn check_entries(&self, written: &BTreeMap<i64, i64>) -> Result<(), String> {
        let own = written.keys();
        let expected = own
            .map(|account| (*account, self.accounts[account].entries))
            .collect();
        if *written == expected {
            return Ok(());
        }
        Err(format!(
            "so many entries are written: {written:?}, expected {expected:?}"
        ))
    }

    /// What must be answered.
    pub(super) fn judge(&mut self, asked: &Asked, now: i64) -> Verdict {
        let Some(account) = self.accounts.get(&asked.account) else {
            return Verdict::NoAccount;
        };
        if let Some((input, done)) = account.requests.get(&asked.key) {
            if *input != asked.input {
                return Verdict::Reused;
            }
            return Verdict::Done(Done {
                is_replay: true,
                ..done.clone()
            });
        }
        let on_hold = matches!(
            asked.action,
            Action::Extend { .. } | Action::Capture { .. } | Action::Release { .. }
        );
        if let Some(older) = account.merged_into.filter(|_| !on_hold) {
            return Verdict::Moved(older);
        }
        let mut verdict = self.act(asked, now);
        if let Verdict::Done(done) = &mut verdict {
            done.account = asked.account;
            let account = self.accounts.get_mut(&asked.account).expect("it was there");
            account
                .requests
                .insert(asked.key, (asked.input, done.clone()));
        }
        verdict
    }

    fn act(&mut self, asked: &Asked, now: i64) -> Verdict {
        if let Action::Refund {
            charged,
            charge,
            points,
            grace,
        } = asked.action
        {
            return self.refund((charged, charge), asked.account, points, grace, now);
        }
        let account = self.accounts.get_mut(&asked.account).expect("it was there");
        let done = match asked.action {
            Action::Charge { points, what } => account.charge(points, what, now),
            Action::Hold {
                points,
                what,
                until,
            } => account.hold(points, what, until, now),
            Action::Extend { hold, more, until } => account.extend(hold, more, until, now),
            Action::Capture { hold, cost } => account.capture(hold, cost, now),
            Action::Release { hold } | Action::Refund { charge: hold, .. } => {
                account.release(hold, now)
            }
        };
        let mut verdict = account.verdict(done, now);
        if let Verdict::Done(done) = &mut verdict {
            done.until = match asked.action {
                Action::Hold { .. } => Some(account.until(done.entry)),
                Action::Extend { hold, .. } => Some(account.until(hold)),
                _ => None,
            };
        }
        if matches!(
            asked.action,
            Action::Capture { .. } | Action::Release { .. }
        ) && verdict.is_done()
        {
            account.sweep(now);
        }
        verdict
    }

    fn refund(
        &mut self,
        charge: (i64, i64),
        account: i64,
        points: Option<i64>,
        grace: i64,
        now: i64,
    ) -> Verdict {
        let charged = self.accounts.get(&charge.0);
        let Some(known) = charged.and_then(|charged| charged.charges.get(&charge.1)) else {
            return Verdict::NoSuchCharge;
        };
        let known = known.clone();
        let left = known.parts.values().sum::<i64>() - known.back;
        let points = points.unwrap_or(left);
        let lots: BTreeMap<i64, Option<i64>> = known
            .parts
            .keys()
            .map(|number| {
                (
                    *number,
                    charged.expect("it has the charge").lots[index(*number)].expires,
                )
            })
            .collect();

        let to = self.accounts.get_mut(&account).expect("it was there");
        if points > left || left == 0 {
            return to.verdict(Err(Why::MoreThanCharged(left)), now);
        }
        if points < 1 {
            return to.verdict(Err(Why::OutOfRange), now);
        }
        to.sweep(now);
        let returned = returns(&known, points);
        if account == charge.0 {
            for (number, points) in returned {
                let lot = to.lot(number);
                lot.left += points;
                if lot.is_over(now) {
                    lot.expires = Some(grace);
                }
            }
        } else {
            let lasting = returned.keys().map(|number| lots[number]);
            let lasting = lasting.map(|expires| expires.unwrap_or(i64::MAX));
            let longest = lasting
                .filter(|expires| *expires > now)
                .max()
                .unwrap_or(grace);
            let longest = longest.max(grace);
            to.add_lot(points, (longest < i64::MAX).then_some(longest), now);
        }
        to.entries += 1;
        to.usage.entry((china_day(now), known.what)).or_default().1 -= points;
        let verdict = to.verdict(Ok((points, None)), now);
        let charged = self.accounts.get_mut(&charge.0).expect("it has the charge");
        charged
            .charges
            .get_mut(&charge.1)
            .expect("it was there")
            .back += points;
        verdict
    }
}

/// What each lot gets back.
fn returns(charge: &Charge, points: i64) -> BTreeMap<i64, i64> {
    let (mut before, mut missing) = (charge.back, points);
    let mut returned = BTreeMap::new();
    for (number, paid) in charge.parts.iter().rev() {
        let had = before.min(*paid);
        let given = missing.min(paid - had);
        before -= had;
        missing -= given;
        if given > 0 {
            returned.insert(*number, given);
        }
    }
    returned
}

/// What a movement moved, and what it fell short of.
type Moved = Result<(i64, Option<i64>), Why>;

impl Account {
    pub(super) fn balance(&self) -> i64 {
        self.lots.iter().map(|lot| lot.left).sum()
    }

    pub(super) fn held(&self) -> i64 {
        self.lots.iter().map(|lot| lot.aside).sum()
    }

    pub(super) fn spendable(&self, now: i64) -> i64 {
        let lots = self.lots.iter().filter(|lot| !lot.is_over(now));
        lots.map(Lot::free).sum()
    }

    /// The numbers of the lots with something left, in the order of spending.
    pub(super) fn in_order(&self) -> Vec<i64> {
        let mut lots: Vec<_> = self
            .lots
            .iter()
            .zip(1..)
            .filter(|(lot, _)| lot.left > 0)
            .map(|(lot, number)| (lot.expires.unwrap_or(i64::MAX), lot.granted, number))
            .collect();
        lots.sort_unstable();
        lots.into_iter().map(|(.., number)| number).collect()
    }

    fn lot(&mut self, number: i64) -> &mut Lot {
        &mut self.lots[index(number)]
    }

    fn add_lot(&mut self, points: i64, expires: Option<i64>, granted: i64) {
        self.lots.push(Lot {
            points,
            left: points,
            aside: 0,
            expires,
            granted,
        });
    }

    fn verdict(&self, moved: Moved, now: i64) -> Verdict {
        match moved {
            Ok((points, shortfall)) => Verdict::Done(Done {
                account: 0,
                until: None,
                entry: self.entries,
                points,
                free: self.balance() - self.held(),
                at: now,
                shortfall,
                is_replay: false,
            }),
            Err(why) => Verdict::Refused(why, self.spendable(now)),
        }
    }

    fn sweep(&mut self, now: i64) {
        let due = self
            .holds
            .iter()
            .filter(|(_, hold)| hold.end.is_none() && hold.until <= now);
        let due: Vec<i64> = due.map(|(entry, _)| *entry).collect();
        for hold in due {
            self.entries += 1;
            self.free(hold);
            self.end(
                hold,
                End::Expired {
                    entry: self.entries,
                },
            );
        }
        for number in self.in_order() {
            let lot = self.lot(number);
            if lot.is_over(now) && lot.free() > 0 {
                lot.left = lot.aside;
                self.entries += 1;
            }
        }
    }

    /// What is taken of which lots for so many points; fewer when there are no more.
    fn choose(&self, mut points: i64) -> BTreeMap<i64, i64> {
        let mut parts = BTreeMap::new();
        for number in self.in_order() {
            let taken = self.lots[index(number)].free().min(points);
            points -= taken;
            if taken > 0 {
                parts.insert(number, taken);
            }
        }
        parts
    }

    fn book(&mut self, parts: BTreeMap<i64, i64>, what: usize, now: i64) -> i64 {
        let points = parts.values().sum();
        for (number, points) in &parts {
            self.lot(*number).left -= points;
        }
        self.entries += 1;
        let usage = self.usage.entry((china_day(now), what)).or_default();
        usage.0 += 1;
        usage.1 += points;
        let charge = Charge {
            parts,
            back: 0,
            what,
        };
        self.charges.insert(self.entries, charge);
        points
    }

    fn charge(&mut self, points: i64, what: usize, now: i64) -> Moved {
        if !(1..=POINTS_MAX).contains(&points) {
            return Err(Why::OutOfRange);
        }
        let mut first = self
            .in_order()
            .into_iter()
            .map(|number| &self.lots[index(number)]);
        let first = first.find(|lot| lot.free() > 0);
        if !first.is_some_and(|first| points < first.free() && !first.is_over(now)) {
            self.sweep(now);
        }
        let parts = self.choose(points);
        if parts.values().sum::<i64>() < points {
            return Err(Why::TooFew);
        }
        Ok((self.book(parts, what, now), None))
    }

    fn hold(&mut self, points: i64, what: usize, until: i64, now: i64) -> Moved {
        if !(1..=POINTS_MAX).contains(&points) {
            return Err(Why::OutOfRange);
        }
        self.sweep(now);
        let hold = Hold {
            parts: BTreeMap::new(),
            until,
            what,
            end: None,
        };
        self.set_aside(points, self.entries + 1, hold)
    }

    fn extend(&mut self, hold: i64, more: i64, until: i64, now: i64) -> Moved {
        self.sweep(now);
        let mut known = self.open(hold)?;
        let points = known.parts.values().sum::<i64>().checked_add(more);
        if points.is_none_or(|points| points > POINTS_MAX) {
            return Err(Why::OutOfRange);
        }
        known.until = known.until.max(until);
        self.set_aside(more, hold, known)
    }

    fn set_aside(&mut self, points: i64, entry: i64, mut hold: Hold) -> Moved {
        let parts = self.choose(points);
        if parts.values().sum::<i64>() < points {
            return Err(Why::TooFew);
        }
        for (number, points) in parts {
            self.lot(number).aside += points;
            *hold.parts.entry(number).or_default() += points;
        }
        self.holds.insert(entry, hold);
        self.entries += 1;
        Ok((0, None))
    }

    fn capture(&mut self, hold: i64, cost: i64, now: i64) -> Moved {
        if cost > POINTS_MAX {
            return Err(Why::OutOfRange);
        }
        self.sweep(now);
        let known = self.open(hold)?;
        let mut missing = cost;
        let mut parts = BTreeMap::new();
        for number in self.in_order() {
            let taken = known
                .parts
                .get(&number)
                .copied()
                .unwrap_or_default()
                .min(missing);
            missing -= taken;
            if taken > 0 {
                parts.insert(number, taken);
            }
        }
        // Beyond the hold only when all of that is taken, so nothing of it is free again.
        for (number, points) in self.choose(missing) {
            missing -= points;
            *parts.entry(number).or_default() += points;
        }
        self.free(hold);
        let points = self.book(parts, known.what, now);
        let entry = self.entries;
        self.end(
            hold,
            End::Captured {
                entry,
                shortfall: missing,
            },
        );
        Ok((points, Some(missing)))
    }

    fn release(&mut self, hold: i64, now: i64) -> Moved {
        self.sweep(now);
        self.open(hold)?;
        self.free(hold);
        self.entries += 1;
        self.end(
            hold,
            End::Released {
                entry: self.entries,
            },
        );
        Ok((0, None))
    }

    fn open(&self, hold: i64) -> Result<Hold, Why> {
        let known = self.holds.get(&hold).filter(|hold| hold.end.is_none());
        known.cloned().ok_or(Why::NoSuchHold)
    }

    fn until(&self, hold: i64) -> (i64, i64) {
        let hold = &self.holds[&hold];
        (hold.parts.values().sum(), hold.until)
    }

    fn free(&mut self, hold: i64) {
        for (number, points) in self.holds[&hold].parts.clone() {
            self.lot(number).aside -= points;
        }
    }

    fn end(&mut self, hold: i64, end: End) {
        self.holds.get_mut(&hold).expect("it was open").end = Some(end);
    }
}

impl Lot {
    pub(super) fn free(&self) -> i64 {
        self.left - self.aside
    }

    fn is_over(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn index(number: i64) -> usize {
    usize::try_from(number - 1).expect("lots are numbered from 1")
}

/// China is eight hours ahead.
fn china_day(second: i64) -> i64 {
    (second + 8 * 3_600).div_euclid(86_400)
}
