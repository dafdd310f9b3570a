//! A ledger as years of use leave it, written row by row in the layout of the migrations: every account was given points
//! once and has spent them a few at a time, in the same moments as all the others.

use std::collections::BTreeMap;

use jifen_app::{Environment as _, SystemEnvironment};

use crate::database::{Cell, Database, Rows};
use crate::progress;
use crate::requests::scramble;

/// Entries whose positions make one block of an account.
const BLOCK: usize = 32;
/// Points each account was given.
const GIVEN: i64 = 1_000_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// Of China, ahead of UTC.
const ZONE_MICROS: i64 = 28_800_000_000;
/// The account with a history of its own length.
pub(crate) const LONG_ACCOUNT: u32 = 1;
const TITLES: [&str; 4] = ["OCR", "chat/completions", "embeddings", "images"];

/// What to write. Accounts and users are numbered from 1.
#[derive(Clone, Copy)]
pub(crate) struct Ledger {
    pub(crate) accounts: u32,
    sizes: Sizes,
    /// Entries of [`LONG_ACCOUNT`], when it is to have more than others; otherwise 0.
    long_entries: u32,
    /// Of all accounts.
    pub(crate) entries: u64,
    /// Microseconds since 1970; the entries lie in the 400 days before.
    now: i64,
}

/// How many entries accounts have.
#[derive(Clone, Copy)]
enum Sizes {
    /// 1 to 32, so that their blocks do not become full in one moment.
    Few,
    /// From 3 to 370, 19 on average: most people come seldom, a few all the time.
    Mixed,
}

/// What the first pass over the entries leaves for the tables that follow from them.
struct Written {
    /// Of each account's entries, in order; the accounts begin at 1.
    positions: Vec<Vec<u32>>,
    balances: Vec<i64>,
}

impl Ledger {
    /// Of accounts that have few entries each.
    pub(crate) fn few(accounts: u32) -> Self {
        Self::new(accounts, Sizes::Few, 0)
    }

    /// Of accounts that have few or many entries, and one that has so many.
    pub(crate) fn mixed(accounts: u32, long_entries: u32) -> Self {
        Self::new(accounts, Sizes::Mixed, long_entries)
    }

    fn new(accounts: u32, sizes: Sizes, long_entries: u32) -> Self {
        let mut ledger = Self {
            accounts,
            sizes,
            long_entries,
            entries: 0,
            now: SystemEnvironment.now().micros(),
        };
        let entries = (1..=accounts).map(|account| u64::from(ledger.entries_of(account)));
        ledger.entries = entries.sum();
        ledger
    }

    fn entries_of(&self, account: u32) -> u32 {
        if account == LONG_ACCOUNT && self.long_entries > 0 {
            return self.long_entries;
        }
        match (self.sizes, account % 100) {
            (Sizes::Few, _) => 1 + account % BLOCK as u32,
            (Sizes::Mixed, 0..60) => 3,
            (Sizes::Mixed, 60..90) => 15,
            (Sizes::Mixed, 90..99) => 100,
            (Sizes::Mixed, _) => 370,
        }
    }

    /// Writes all of it into a database that has its tables and nothing in them.
    pub(crate) fn write(&self, database: &Database) {
        let table = |name: &'static str, write: &mut dyn FnMut(&mut Rows<'_>)| {
            progress::quietly(name, || database.fill(name, |rows| write(rows)));
        };
        table("users", &mut |rows| self.users(rows));
        table("api_keys", &mut |rows| self.api_keys(rows));
        let mut written = Written {
            positions: vec![Vec::new(); self.accounts as usize + 1],
            balances: vec![0; self.accounts as usize + 1],
        };
        table("entries", &mut |rows| self.entry_rows(rows, &mut written));
        table("accounts", &mut |rows| self.account_rows(rows, &written));
        table("lots", &mut |rows| self.lots(rows, &written));
        table("entry_blocks", &mut |rows| written.entry_blocks(rows));
        table("request_keys", &mut |rows| written.request_keys(rows));
        table("usage_days", &mut |rows| self.usage_days(rows, &written));
        progress::quietly("settling", || database.run("after filling"));
    }

    fn users(&self, rows: &mut Rows<'_>) {
        for id in 1..=i64::from(self.accounts) {
            let created_at = Cell::Number(self.begin());
            rows.add(&[
                Cell::Number(id),
                Cell::Text("user"),
                Cell::Text(""),
                created_at,
            ]);
        }
    }

    /// A key for each, whose secret nobody knows: the one its entries name.
    fn api_keys(&self, rows: &mut Rows<'_>) {
        for account in 1..=self.accounts {
            rows.add(&[
                Cell::Text(&api_key_id(account)),
                Cell::Number(i64::from(account)),
                Cell::Text("production"),
                Cell::Number(1),
                Cell::Number(0),
                Cell::Number(self.begin()),
                Cell::Number(self.now + 365 * DAY_MICROS),
                Cell::Text(""),
                Cell::Text(""),
            ]);
        }
    }

    /// The accounts take turns; those with more entries go on when the others have had all of theirs. The long account
    /// has a turn wherever its share of all entries says, so that its history is as scattered as it can be.
    fn entry_rows(&self, rows: &mut Rows<'_>, written: &mut Written) {
        let long = if self.long_entries > 0 {
            u64::from(self.long_entries)
        } else {
            self.entries
        };
        let long_every = self.entries.div_ceil(long).max(2) as u32;
        let mut position = 0;
        let mut turn = |account: u32, written: &mut Written| {
            position += 1;
            self.entry(account, position, rows, written);
            position
        };
        let others = 1 + u32::from(self.long_entries > 0);
        let mut taking_turns: Vec<u32> = (others..=self.accounts).collect();
        let mut long_left = self.long_entries;
        while !taking_turns.is_empty() || long_left > 0 {
            let mut last = 0;
            for account in &taking_turns {
                last = turn(*account, written);
                if last % long_every == 0 && long_left > 0 {
                    last = turn(LONG_ACCOUNT, written);
                    long_left -= 1;
                }
            }
            if last == 0 {
                turn(LONG_ACCOUNT, written);
                long_left -= 1;
            }
            taking_turns.retain(|account| {
                written.positions[*account as usize].len() < self.entries_of(*account) as usize
            });
        }
    }

    fn entry(&self, account: u32, position: u32, rows: &mut Rows<'_>, written: &mut Written) {
        let positions = &mut written.positions[account as usize];
        let balance = &mut written.balances[account as usize];
        let number = positions.len() as i64 + 1;
        positions.push(position);
        let charge = Charge::at(position);
        let is_grant = number == 1;
        let points = if is_grant { GIVEN } else { -charge.points };
        *balance += points;
        let of_charge = |cell| if is_grant { Cell::Null } else { cell };
        rows.add(&[
            Cell::Number(i64::from(position)),
            Cell::Number(i64::from(account)),
            Cell::Number(number),
            Cell::Text(if is_grant { "grant" } else { "charge" }),
            Cell::Number(points),
            Cell::Number(*balance),
            Cell::Number(0),
            Cell::Number(self.time_of(position)),
            of_charge(Cell::Number(number - 1)),
            Cell::Number(1),
            of_charge(Cell::Text(&api_key_id(account))),
            Cell::Text(if is_grant { "a gift" } else { charge.title }),
            of_charge(Cell::Bytes(&charge.request_key)),
            of_charge(Cell::Bytes(&charge.request_hash)),
        ]);
    }

    fn lots(&self, rows: &mut Rows<'_>, written: &Written) {
        for account in 1..=self.accounts {
            rows.add(&[
                Cell::Number(i64::from(account)),
                Cell::Number(1),
                Cell::Text("gift"),
                Cell::Text(&format!("gift-{account}")),
                Cell::Number(GIVEN),
                Cell::Number(written.balances[account as usize]),
                Cell::Number(0),
                Cell::Number(self.time_of(written.positions[account as usize][0])),
            ]);
        }
    }

    fn account_rows(&self, rows: &mut Rows<'_>, written: &Written) {
        for (account, positions) in written.each() {
            let mut tail = Vec::with_capacity(16 * BLOCK);
            let whole = whole_blocks(positions).len();
            for (index, position) in positions.iter().enumerate().skip(whole) {
                tail.extend(i64::from(*position).to_be_bytes());
                // The grant was not asked for by a request.
                let request = (index > 0).then(|| Charge::at(*position).fingerprint());
                tail.extend(request.unwrap_or_default());
            }
            let latest = positions.iter().skip(whole.max(1));
            let tail_usage = self.tail_usage(account as u32, latest);
            let balance = Cell::Number(written.balances[account as usize]);
            rows.add(&[
                Cell::Number(account),
                Cell::Number(account),
                balance,
                Cell::Number(0),
                Cell::Number(positions.len() as i64),
                Cell::Number(positions.len() as i64 - 1),
                Cell::Number(1),
                Cell::Number(1),
                balance,
                Cell::Number(0),
                Cell::Bytes(&tail),
                Cell::Bytes(&tail_usage),
                Cell::Number(0),
            ]);
        }
    }

    fn tail_usage<'a>(&self, account: u32, charges: impl Iterator<Item = &'a u32>) -> Vec<u8> {
        let key = api_key_id(account);
        let mut bytes = Vec::new();
        for ((day, title), (charges, points)) in self.usage_of(charges) {
            bytes.extend((day as i32).to_be_bytes());
            bytes.push(charges as u8);
            bytes.extend(points.to_be_bytes());
            bytes.extend((key.len() as u16).to_be_bytes());
            bytes.extend((title.len() as u16).to_be_bytes());
            bytes.extend(key.bytes());
            bytes.extend(title.bytes());
        }
        bytes
    }

    /// How many charges there are, and their points, by day and title.
    fn usage_of<'a>(
        &self,
        charges: impl Iterator<Item = &'a u32>,
    ) -> BTreeMap<(i64, &'static str), (i64, i64)> {
        let mut usage = BTreeMap::new();
        for position in charges {
            let charge = Charge::at(*position);
            let day = (self.time_of(*position) + ZONE_MICROS) / DAY_MICROS;
            let sum: &mut (i64, i64) = usage.entry((day, charge.title)).or_default();
            *sum = (sum.0 + 1, sum.1 + charge.points);
        }
        usage
    }

    /// What was spent by the entries in whole blocks.
    fn usage_days(&self, rows: &mut Rows<'_>, written: &Written) {
        for (account, positions) in written.each() {
            let charges = whole_blocks(positions).iter().skip(1);
            for ((day, title), (charges, points)) in self.usage_of(charges) {
                rows.add(&[
                    Cell::Number(account),
                    Cell::Number(day),
                    Cell::Text(&api_key_id(account as u32)),
                    Cell::Text(title),
                    Cell::Number(charges),
                    Cell::Number(points),
                ]);
            }
        }
    }

    fn begin(&self) -> i64 {
        self.now - 400 * DAY_MICROS
    }

    fn time_of(&self, position: u32) -> i64 {
        self.begin() + 399 * DAY_MICROS / self.entries as i64 * i64::from(position)
    }
}

impl Written {
    fn entry_blocks(&self, rows: &mut Rows<'_>) {
        for (account, positions) in self.each() {
            for (block, positions) in (0..).zip(positions.chunks_exact(BLOCK)) {
                let bytes: Vec<u8> = positions
                    .iter()
                    .flat_map(|position| i64::from(*position).to_be_bytes())
                    .collect();
                // All but the first entry are charges.
                let charges_before = (BLOCK as i64 * block - 1).max(0);
                rows.add(&[
                    Cell::Number(account),
                    Cell::Number(block),
                    Cell::Number(charges_before),
                    Cell::Bytes(&bytes),
                ]);
            }
        }
    }

    fn request_keys(&self, rows: &mut Rows<'_>) {
        for (account, positions) in self.each() {
            let charges = whole_blocks(positions).iter().skip(1);
            let mut keys: Vec<_> = charges
                .map(|position| (Charge::at(*position).fingerprint(), *position))
                .collect();
            keys.sort_unstable();
            for (fingerprint, position) in keys {
                let position = Cell::Number(i64::from(position));
                rows.add(&[Cell::Number(account), Cell::Bytes(&fingerprint), position]);
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = (i64, &[u32])> {
        (1..).zip(self.positions.iter().skip(1).map(Vec::as_slice))
    }
}

/// What the position of a charge says about it.
struct Charge {
    points: i64,
    title: &'static str,
    request_key: [u8; 16],
    request_hash: [u8; 8],
}

impl Charge {
    fn at(position: u32) -> Self {
        let random = scramble(u64::from(position));
        let more = scramble(random);
        let mut request_key = [0; 16];
        request_key[..8].copy_from_slice(&random.to_be_bytes());
        request_key[8..].copy_from_slice(&more.to_be_bytes());
        Self {
            points: 1 + (random % 9) as i64,
            title: TITLES[(random >> 32) as usize % TITLES.len()],
            request_key,
            request_hash: scramble(more).to_be_bytes(),
        }
    }

    /// Both halves of the request key in one.
    fn fingerprint(&self) -> [u8; 8] {
        std::array::from_fn(|byte| self.request_key[byte] ^ self.request_key[byte + 8])
    }
}

fn whole_blocks(positions: &[u32]) -> &[u32] {
    &positions[..positions.len() / BLOCK * BLOCK]
}

fn api_key_id(account: u32) -> String {
    format!("{account:024x}")
}
