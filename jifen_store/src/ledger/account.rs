//! Accounts with their lots and open holds, locked.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use jifen_domain::key::{Caps, Spending};
use jifen_domain::ledger::{
    Account, ChargeDetail, Counts, Draw, Front, Hold, HoldState, Lot, LotSource, State,
};
use jifen_domain::{AccountId, Time, UserId};

use super::tail::Tail;
use super::tail_usage::TailUsage;
use super::{points, time};
use crate::engine::{Column, Row};
use crate::{Error, Result, Tx};

/// An account that nobody else changes until the transaction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedAccount {
    pub(super) account: Account,
    pub(super) tail: Tail,
    pub(super) tail_usage: TailUsage,
    /// Some of its keys have caps.
    has_capped_keys: bool,
    merged_into: Option<AccountId>,
    /// As it was when it was locked.
    pub(super) as_locked: Account,
}

impl LockedAccount {
    /// The account it was merged into. It is empty since, and nothing but what was done before is found in it.
    pub fn merged_into(&self) -> Option<AccountId> {
        self.merged_into
    }

    /// Takes back what was moved since it was locked with its state alone.
    pub fn forget_journal(&mut self) {
        self.account = self.as_locked.clone();
    }
}

impl Deref for LockedAccount {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

impl DerefMut for LockedAccount {
    fn deref_mut(&mut self) -> &mut Account {
        &mut self.account
    }
}

impl Tx {
    pub(crate) async fn insert_account(&mut self, id: AccountId, user: UserId) -> Result<()> {
        self.execute(
            "INSERT INTO accounts (id, user_id, balance, held, entry_count, charge_count, lot_count, tail, tail_usage, has_capped_keys) \
             VALUES ($1, $2, 0, 0, 0, 0, 0, $3, $3, 0) ON CONFLICT (id) DO NOTHING",
            &[id.0.into(), user.0.into(), [].as_slice().into()],
        )
        .await
        .map(drop)
    }

    /// The account of a user's test keys, made when there is none.
    pub async fn ensure_test_account(&mut self, user: UserId) -> Result<AccountId> {
        let id = AccountId::of_tests(user);
        self.insert_account(id, user).await?;
        Ok(id)
    }

    /// An account with its open lots and holds, locked until the transaction ends. Lock several in the order of their ids.
    pub async fn lock_account(&mut self, id: AccountId) -> Result<Option<LockedAccount>> {
        let mut accounts = self.lock_accounts(&[id]).await?;
        self.load_lots(&mut accounts).await?;
        Ok(accounts.pop())
    }

    /// The states of accounts, locked until the transaction ends; those that do not exist are left out. `ids` are in order
    /// and distinct.
    pub async fn lock_accounts(&mut self, ids: &[AccountId]) -> Result<Vec<LockedAccount>> {
        debug_assert!(
            ids.is_sorted(),
            "accounts are locked in the order of their ids"
        );
        let mut accounts = self
            .lock_rows(
                "SELECT id, balance, held, entry_count, charge_count, lot_count, front_lot, front_remaining, front_held, \
                 front_expires_at, tail, tail_usage, has_capped_keys, merged_into FROM accounts WHERE id {in each} ORDER BY id",
                &[Column::ints(ids.iter().map(|id| id.0))],
                read_account,
            )
            .await?;
        self.load_spending(&mut accounts).await?;
        Ok(accounts)
    }

    /// An account's state, not locked: only to read with.
    pub(super) async fn look_at_account(&mut self, id: AccountId) -> Result<Option<LockedAccount>> {
        self.fetch_optional(
            "SELECT id, balance, held, entry_count, charge_count, lot_count, front_lot, front_remaining, front_held, \
             front_expires_at, tail, tail_usage, has_capped_keys, merged_into FROM accounts WHERE id = $1",
            &[id.0.into()],
            read_account,
        )
        .await
    }

    async fn load_spending(&mut self, accounts: &mut [LockedAccount]) -> Result<()> {
        let capped = accounts.iter().filter(|account| account.has_capped_keys);
        let spending = self
            .fetch_rows(
                "SELECT s.account_id, s.api_key_id, s.daily_cap, s.monthly_cap, s.total_cap, s.day, s.day_points, s.month, \
                 s.month_points, s.total_points FROM {each} (SELECT x.*, k.daily_cap, k.monthly_cap, k.total_cap \
                 FROM key_spending x JOIN api_keys k ON k.id = x.api_key_id WHERE x.account_id = $1) s",
                &[Column::ints(capped.map(|account| account.id().0))],
                |row| Ok((AccountId(row.get(0)?), row.get::<String>(1)?, read_caps(row, 2)?, read_spending(row, 5)?)),
            )
            .await?;
        for (id, key, caps, spent) in spending {
            if let Ok(place) = accounts.binary_search_by_key(&id, |account| account.id()) {
                accounts[place].account.load_spending(key, caps, spent);
            }
        }
        for account in accounts {
            account.as_locked = account.account.clone();
        }
        Ok(())
    }

    /// Adds open lots and holds to accounts that were locked with their states alone.
    pub async fn load_lots(&mut self, accounts: &mut [LockedAccount]) -> Result<()> {
        let ids = || Column::ints(accounts.iter().map(|account| account.id().0));
        let lots = self
            .fetch_rows(
                "SELECT l.account_id, l.number, l.source, l.order_id, l.gift_key, l.origin_account, l.origin_lot, l.origin_charge, \
                 l.points, l.remaining, l.held, l.expires_at, l.granted_at \
                 FROM {each} (SELECT * FROM lots WHERE account_id = $1 AND remaining > 0) l",
                &[ids()],
                |row| Ok((row.get::<i64>(0)?, read_lot(row)?)),
            )
            .await?;
        let holding = accounts.iter().filter(|account| account.held().get() > 0);
        let holding: Vec<i64> = holding.map(|account| account.id().0).collect();
        let mut holds = self.open_holds(&holding).await?;
        let mut by_account: BTreeMap<i64, Vec<Lot>> = BTreeMap::new();
        for (account, lot) in lots {
            by_account.entry(account).or_default().push(lot);
        }
        for account in accounts {
            let id = account.id().0;
            let lots = by_account.remove(&id).unwrap_or_default();
            let holds = holds.remove(&id).unwrap_or_default();
            account
                .account
                .load_lots(lots, holds)
                .map_err(|broken| Error::Corrupt(broken.to_string()))?;
        }
        Ok(())
    }

    async fn open_holds(&mut self, accounts: &[i64]) -> Result<BTreeMap<i64, Vec<Hold>>> {
        let mut holds: BTreeMap<i64, Vec<Hold>> = BTreeMap::new();
        let ids = || Column::ints(accounts.iter().copied());
        let open = self
            .fetch_rows(
                "SELECT h.account_id, h.entry_number, h.points, h.state, h.expires_at, h.api_key_id, h.tariff_id, h.title, \
                 h.description, h.end_entry, h.shortfall, h.created_at, h.origin_account, h.origin_entry \
                 FROM {each} (SELECT * FROM holds WHERE account_id = $1 AND state = 'held') h",
                &[ids()],
                |row| Ok((row.get::<i64>(0)?, read_hold(row)?)),
            )
            .await?;
        for (account, hold) in open {
            holds.entry(account).or_default().push(hold);
        }
        let lots = self
            .fetch_rows(
                "SELECT p.account_id, p.entry_number, p.lot_number, p.points \
                 FROM {each} (SELECT x.* FROM holds h JOIN hold_lots x ON x.account_id = h.account_id \
                 AND x.entry_number = h.entry_number JOIN lots l ON l.account_id = x.account_id AND l.number = x.lot_number \
                 WHERE h.account_id = $1 AND h.state = 'held' \
                 ORDER BY x.entry_number, COALESCE(l.expires_at, 9223372036854775807), l.granted_at, l.number) p",
                &[ids()],
                |row| {
                    let draw = Draw { lot: row.get(2)?, points: points(row.get(3)?)? };
                    Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, draw))
                },
            )
            .await?;
        for (account, entry, draw) in lots {
            let of_account = holds.entry(account).or_default();
            if let Some(hold) = of_account.iter_mut().find(|hold| hold.entry == entry) {
                hold.lots.push(draw);
            }
        }
        Ok(holds)
    }

    /// A hold, open or not, without its lots.
    pub async fn hold(&mut self, account: AccountId, entry: i64) -> Result<Option<Hold>> {
        self.fetch_optional(
            "SELECT account_id, entry_number, points, state, expires_at, api_key_id, tariff_id, title, description, end_entry, \
             shortfall, created_at, origin_account, origin_entry FROM holds WHERE account_id = $1 AND entry_number = $2",
            &[account.0.into(), entry.into()],
            read_hold,
        )
        .await
    }

    /// Where a hold goes on that was open when its account was merged into another: that account, and its entry there.
    pub async fn moved_hold(
        &mut self,
        account: AccountId,
        entry: i64,
    ) -> Result<Option<(AccountId, i64)>> {
        self.fetch_optional(
            "SELECT account_id, entry_number FROM holds WHERE origin_account = $1 AND origin_entry = $2",
            &[account.0.into(), entry.into()],
            |row| Ok((AccountId(row.get(0)?), row.get(1)?)),
        )
        .await
    }

    /// Lots of an account by their numbers, whatever is left of them.
    pub async fn lots(&mut self, account: AccountId, numbers: &[i64]) -> Result<Vec<Lot>> {
        self.fetch_rows(
            "SELECT l.account_id, l.number, l.source, l.order_id, l.gift_key, l.origin_account, l.origin_lot, l.origin_charge, \
             l.points, l.remaining, l.held, l.expires_at, l.granted_at \
             FROM {each} (SELECT * FROM lots WHERE account_id = $1 AND number = $2) l",
            &[
                Column::ints(numbers.iter().map(|_| account.0)),
                Column::ints(numbers.iter().copied()),
            ],
            read_lot,
        )
        .await
    }
}

fn read_account(row: &Row<'_>) -> Result<LockedAccount> {
    let counts = Counts {
        entries: row.get(3)?,
        charges: row.get(4)?,
        lots: row.get(5)?,
    };
    let front = match row.get::<Option<i64>>(6)? {
        Some(lot) => Some(Front {
            lot,
            remaining: points(row.get(7)?)?,
            held: points(row.get(8)?)?,
            expires_at: time(row, 9)?,
        }),
        None => None,
    };
    let state = State {
        balance: points(row.get(1)?)?,
        held: points(row.get(2)?)?,
        counts,
        front,
    };
    let account = Account::from_state(AccountId(row.get(0)?), state);
    Ok(LockedAccount {
        as_locked: account.clone(),
        account,
        tail: Tail::read(row.get(10)?, counts.entries)?,
        tail_usage: TailUsage::read(row.get(11)?)?,
        has_capped_keys: row.get(12)?,
        merged_into: row.get::<Option<i64>>(13)?.map(AccountId),
    })
}

pub(crate) fn read_caps(row: &Row<'_>, first: usize) -> Result<Caps> {
    let cap = |index| row.get::<Option<i64>>(index)?.map(points).transpose();
    Ok(Caps {
        daily: cap(first)?,
        monthly: cap(first + 1)?,
        total: cap(first + 2)?,
    })
}

pub(crate) fn read_spending(row: &Row<'_>, first: usize) -> Result<Spending> {
    Ok(Spending {
        day: row.get(first)?,
        day_points: points(row.get(first + 1)?)?,
        month: row.get(first + 2)?,
        month_points: points(row.get(first + 3)?)?,
        total_points: points(row.get(first + 4)?)?,
    })
}

/// From the second column on.
fn read_lot(row: &Row<'_>) -> Result<Lot> {
    let source: String = row.get(2)?;
    let (order_id, gift_key) = (row.get::<Option<String>>(3)?, row.get::<Option<String>>(4)?);
    let account = row.get::<Option<i64>>(5)?.map(AccountId);
    let (lot, charge) = (row.get::<Option<i64>>(6)?, row.get::<Option<i64>>(7)?);
    let source = match (source.as_str(), order_id, gift_key, account, lot, charge) {
        ("purchase", Some(order_id), None, None, None, None) => LotSource::Purchase { order_id },
        ("gift", None, Some(key), None, None, None) => LotSource::Gift { key },
        ("merge", None, None, Some(account), Some(lot), None) => LotSource::Merge { account, lot },
        ("refund", None, None, Some(account), None, Some(charge)) => {
            LotSource::Refund { account, charge }
        }
        _ => {
            return Err(Error::Corrupt(format!(
                "a lot of source {source} without what it names"
            )));
        }
    };
    Ok(Lot {
        number: row.get(1)?,
        source,
        points: points(row.get(8)?)?,
        remaining: points(row.get(9)?)?,
        held: points(row.get(10)?)?,
        expires_at: time(row, 11)?,
        granted_at: Time::from_micros(row.get(12)?),
    })
}

/// From the second column on; without its lots.
fn read_hold(row: &Row<'_>) -> Result<Hold> {
    let shortfall = row.get::<Option<i64>>(10)?.map(points).transpose()?;
    let tariff = row.get::<Option<i64>>(6)?;
    let origin_account = row.get::<Option<i64>>(12)?.map(AccountId);
    Ok(Hold {
        entry: row.get(1)?,
        points: points(row.get(2)?)?,
        lots: Vec::new(),
        created_at: Time::from_micros(row.get(11)?),
        expires_at: Time::from_micros(row.get(4)?),
        detail: ChargeDetail {
            api_key_id: row.get(5)?,
            title: row.get(7)?,
            description: row.get(8)?,
            tariff: tariff.map(|id| jifen_domain::ledger::TariffUse { id, units: 0 }),
        },
        state: hold_state(&row.get::<String>(3)?)?,
        origin: origin_account.zip(row.get(13)?),
        end_entry: row.get(9)?,
        shortfall,
    })
}

pub(super) fn hold_state_name(state: HoldState) -> &'static str {
    match state {
        HoldState::Held => "held",
        HoldState::Captured => "captured",
        HoldState::Released => "released",
        HoldState::Expired => "expired",
        HoldState::Moved => "moved",
    }
}

fn hold_state(name: &str) -> Result<HoldState> {
    [
        HoldState::Held,
        HoldState::Captured,
        HoldState::Released,
        HoldState::Expired,
        HoldState::Moved,
    ]
    .into_iter()
    .find(|state| hold_state_name(*state) == name)
    .ok_or_else(|| Error::Corrupt(format!("a hold in the state {name}")))
}
