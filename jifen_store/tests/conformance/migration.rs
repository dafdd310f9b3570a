//! A ledger of the first schema reads the same after the second.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use jifen_domain::key::china_day;
use jifen_domain::ledger::{LotSource, Request};
use jifen_domain::{AccountId, UserId};
use jifen_store::testing::{TestStore, at_version};
use jifen_store::{Consumption, Engine};

use crate::samples::{account, at, call, charge_fast, findings, points};

#[tokio::test]
async fn sqlite_keeps_the_ledger_of_the_first_schema() {
    a_ledger_of_the_first_schema_is_kept(&at_version(Engine::Sqlite, 1).await).await;
}

#[tokio::test]
async fn postgres_keeps_the_ledger_of_the_first_schema() {
    a_ledger_of_the_first_schema_is_kept(&at_version(Engine::Postgres, 1).await).await;
}

fn sha256(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

/// The rows of one account as the first schema kept them.
struct Old {
    id: i64,
    entries: i64,
    charges: i64,
    balance: i64,
    /// Number, points, left, expiry.
    lots: Vec<(i64, i64, i64, Option<i64>)>,
    statements: Vec<String>,
    history: Vec<Consumption>,
    /// Idempotency key, entry.
    requests: Vec<(String, i64)>,
}

impl Old {
    fn new(id: i64) -> Self {
        let micros = at(id).micros();
        let statements = vec![
            format!(
                "INSERT INTO users (id, nickname, avatar_url, created_at) VALUES ({id}, 'user {id}', '', {micros})"
            ),
            format!(
                "INSERT INTO accounts (id, balance, entry_count, charge_count, lot_count) VALUES ({id}, 0, 0, 0, 0)"
            ),
        ];
        Self {
            id,
            entries: 0,
            charges: 0,
            balance: 0,
            lots: Vec::new(),
            statements,
            history: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn entry(&mut self, kind: &str, points: i64, columns: &str, values: &str) {
        self.entries += 1;
        self.balance += points;
        let (id, number, balance) = (self.id, self.entries, self.balance);
        let at = at(number).micros();
        self.statements.push(format!(
            "INSERT INTO entries (account_id, number, kind, points, balance_after, at, {columns}) \
             VALUES ({id}, {number}, '{kind}', {points}, {balance}, {at}, {values})"
        ));
    }

    fn grant(&mut self, points: i64, expires_at: Option<i64>) {
        let number = i64::try_from(self.lots.len()).unwrap() + 1;
        self.lots.push((number, points, points, expires_at));
        let values = format!("{number}, 'welcome'");
        self.entry("grant", points, "lot_number, title", &values);
    }

    fn draw(&mut self, mut missing: i64) -> Vec<String> {
        let (id, entry) = (self.id, self.entries + 1);
        let mut draws = Vec::new();
        for (number, _, left, _) in &mut self.lots {
            let taken = missing.min(*left);
            *left -= taken;
            missing -= taken;
            if taken > 0 {
                draws.push(format!(
                    "INSERT INTO draws (account_id, entry_number, lot_number, points) VALUES ({id}, {entry}, {number}, {taken})"
                ));
            }
        }
        assert_eq!(missing, 0);
        draws
    }

    fn charge(&mut self, points: i64, title: &str, idempotency_key: Option<String>) {
        let draws = self.draw(points);
        self.charges += 1;
        let (charge, key) = (self.charges, format!("k{}", self.charges % 3));
        let values = format!("{charge}, '{key}', '{title}', '说明'");
        let columns = "charge_number, api_key_id, title, description";
        self.entry("charge", -points, columns, &values);
        self.statements.extend(draws);
        let entry = self.entries;
        if let Some(idempotency_key) = idempotency_key {
            self.requests.push((idempotency_key, entry));
        }
        self.history.insert(
            0,
            Consumption {
                account: AccountId(self.id),
                entry,
                title: title.to_owned(),
                description: Some("说明".to_owned()),
                points,
                at: at(entry),
                api_key_id: key,
                api_key_name: None,
            },
        );
    }

    /// Writes everything into a database of the first schema.
    async fn write(&mut self, store: &TestStore) {
        let (id, entries, charges, balance) = (self.id, self.entries, self.charges, self.balance);
        for (number, points, left, expires_at) in &self.lots {
            let expires_at =
                expires_at.map_or("NULL".to_owned(), |second| at(second).micros().to_string());
            let granted_at = at(granted(*number)).micros();
            self.statements.insert(
                2,
                format!(
                    "INSERT INTO lots (account_id, number, source, gift_key, points, remaining, expires_at, granted_at) \
                     VALUES ({id}, {number}, 'gift', '{id}/{number}', {points}, {left}, {expires_at}, {granted_at})"
                ),
            );
        }
        let lots = self.lots.len();
        self.statements.push(format!(
            "UPDATE accounts SET balance = {balance}, entry_count = {entries}, charge_count = {charges}, lot_count = {lots} \
             WHERE id = {id}"
        ));
        for (key, entry) in &self.requests {
            let hash = bytes(store.engine(), &sha256(&format!("{id} {entry}")));
            self.statements.push(format!(
                "INSERT INTO charge_requests (credential_id, idempotency_key, input_hash, account_id, entry_number) \
                 VALUES ('gateway', '{key}', {hash}, {id}, {entry})"
            ));
        }
        for statement in &self.statements {
            assert_eq!(store.raw(statement).await, 1, "{statement}");
        }
    }
}

/// Lot n was granted by entry n.
fn granted(lot: i64) -> i64 {
    lot
}

fn bytes(engine: Engine, bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    match engine {
        Engine::Sqlite => format!("x'{text}'"),
        Engine::Postgres => format!("decode('{text}', 'hex')"),
    }
}

/// Accounts with no entry, one, exactly a block, exactly two, and many with draws on one and on several lots.
fn accounts() -> Vec<Old> {
    let empty = Old::new(1);
    let mut one = Old::new(2);
    one.grant(7, Some(5_000));
    let mut block = Old::new(3);
    let mut two_blocks = Old::new(4);
    for (old, charges) in [(&mut block, 31), (&mut two_blocks, 63)] {
        old.grant(1_000, None);
        for number in 1..=charges {
            let key = (number % 2 == 0).then(|| format!("{}-钥匙-{number}", old.id));
            old.charge(1 + number % 5, "OCR", key);
        }
    }
    let mut many = Old::new(5);
    for (points, expires_at) in [
        (20, Some(100_000)),
        (30, Some(200_000)),
        (500, None),
        (9, None),
    ] {
        many.grant(points, expires_at);
    }
    for number in 1..=90 {
        let title = if number % 4 == 0 { "翻译" } else { "OCR" };
        let key = (number % 3 != 0).then(|| format!("5-key-{number}"));
        many.charge(1 + number % 7, title, key);
    }
    vec![empty, one, block, two_blocks, many]
}

async fn a_ledger_of_the_first_schema_is_kept(store: &TestStore) {
    let micros = at(0).micros();
    let credential = "INSERT INTO service_credentials (id, name, secret_hash, created_at)";
    let hash = bytes(store.engine(), b"secret");
    let statement = format!("{credential} VALUES ('gateway', 'gateway', {hash}, {micros})");
    assert_eq!(store.raw(&statement).await, 1);
    let mut accounts = accounts();
    for old in &mut accounts {
        old.write(store).await;
    }
    assert_eq!(store.migrate().await.unwrap(), ["0002_metering"]);
    assert_eq!(findings(store).await, []);
    for old in &accounts {
        check_account(store, old).await;
    }
    // And it goes on from there.
    for old in accounts.iter_mut().skip(2) {
        for number in 0..40 {
            let second = 1_000 + number;
            charge_fast(store, old.id, 1, call("k"), None, at(second))
                .await
                .unwrap();
        }
        let mut tx = store.read().await.unwrap();
        let (total, page) = tx.consumption(UserId(old.id), 40, 1_000).await.unwrap();
        assert_eq!((total, page), (old.charges + 40, old.history.clone()));
    }
    assert_eq!(findings(store).await, []);
}

async fn check_account(store: &TestStore, old: &Old) {
    let mut tx = store.begin().await.unwrap();
    let account = account(&mut tx, old.id).await;
    assert_eq!(
        (account.balance().get(), account.held().get()),
        (old.balance, 0)
    );
    let counts = account.counts();
    assert_eq!((counts.entries, counts.charges), (old.entries, old.charges));
    for lot in account.open_lots() {
        let place = usize::try_from(lot.number).unwrap() - 1;
        let (_, granted, left, expires_at) = old.lots[place];
        assert_eq!((lot.points.get(), lot.remaining.get()), (granted, left));
        assert_eq!(lot.expires_at, expires_at.map(at));
        let key = format!("{}/{}", old.id, lot.number);
        assert_eq!(lot.source, LotSource::Gift { key });
    }
    for (skip, rows_max) in [(0, 1_000), (0, 10), (29, 3), (31, 33), (60, 10)] {
        let page = tx.consumption(UserId(old.id), skip, rows_max).await;
        let part = old.history.iter().skip(usize::try_from(skip).unwrap());
        let part: Vec<_> = part
            .take(usize::try_from(rows_max).unwrap())
            .cloned()
            .collect();
        assert_eq!(page.unwrap(), (old.charges, part));
    }
    let accounts = tx.lock_accounts(&[AccountId(old.id)]).await.unwrap();
    for (key, entry) in &old.requests {
        let request = Request {
            key: *sha256(&format!("gateway/{key}")).first_chunk().unwrap(),
            input: [0; 8],
        };
        let found = tx.recorded_requests(&accounts, &[(0, request)]).await;
        let found = found.unwrap().remove(0).unwrap();
        assert_eq!(found.entry, *entry);
        let input = sha256(&format!("{} {entry}", old.id));
        assert_eq!(found.input, *input.first_chunk().unwrap());
    }
    for line in &old.history {
        let charge = tx
            .charge(AccountId(old.id), line.entry)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((charge.points.get(), charge.at), (line.points, line.at));
        let drawn: i64 = charge.draws.iter().map(|draw| draw.points.get()).sum();
        assert_eq!(drawn, line.points);
    }
    let day = china_day(at(0));
    let usage = tx
        .usage(AccountId(old.id), day, day + 1, 1_000)
        .await
        .unwrap();
    let sums = usage.iter().fold((0, 0), |sum, line| {
        (sum.0 + line.charges, sum.1 + line.points)
    });
    let spent: i64 = old.history.iter().map(|line| line.points).sum();
    assert_eq!(sums, (old.charges, spent));
    assert_eq!(points(old.balance), account.balance());
}
