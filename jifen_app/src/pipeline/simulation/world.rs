//! The real thing: two nodes with the pipeline on one database, asked what a history says and held against the auditor.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jifen_domain::ledger::{Grant, LotSource};
use jifen_domain::user::User;
use jifen_domain::{AccountId, Points, Time, UserId};
use jifen_store::{Engine, Store, StoreConfig};
use tokio::runtime::Runtime;

use super::auditor::{self, Asked, Auditor};
use super::history::{NOBODYS, OF_TESTS, PEOPLE, Step};
use super::words::time;
use crate::environment::Environment;
use crate::pipeline::{Pipeline, PipelineSettings};

/// When every history begins.
const BEGINNING: i64 = 1_800_000_000;

pub(super) type Checked = Result<(), String>;

pub(super) struct World {
    config: StoreConfig,
    /// The account of the first person; the others follow.
    first: i64,
    clock: Arc<Clock>,
    running: Running,
    pub(super) auditor: Auditor,
    /// The node at which an account is served.
    pub(super) node: BTreeMap<i64, usize>,
    /// Every request so far.
    pub(super) asked: Vec<Asked>,
    gifts: i64,
    /// What was done, in words.
    pub(super) told: Vec<String>,
}

/// What a restart begins anew.
struct Running {
    nodes: [Pipeline; 2],
    store: Store,
    runtime: Runtime,
}

struct Clock(AtomicI64);

impl Environment for Clock {
    fn now(&self) -> Time {
        Time::from_seconds(self.0.load(Ordering::Relaxed))
            .expect("the clock stays near its beginning")
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

impl Running {
    fn start(config: &StoreConfig, clock: &Arc<Clock>, group_max: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let open = || {
            runtime
                .block_on(Store::open(config))
                .expect("the database opens")
        };
        let store = open();
        // A file has one node; there, two pipelines in it.
        let other = match store.engine() {
            Engine::Sqlite => store.clone(),
            Engine::Postgres => open(),
        };
        let nodes = [(&store, group_max), (&other, group_max + 3)].map(|(store, group_max)| {
            let settings = PipelineSettings {
                group_max,
                waiting_max: 1_000,
                workers: 2,
            };
            let clock = Arc::clone(clock) as Arc<dyn Environment>;
            Pipeline::new(store.clone(), clock, settings)
        });
        Self {
            nodes,
            store,
            runtime,
        }
    }
}

impl World {
    /// `first` is a multiple of 10 that no other history on the same database has.
    pub(super) fn new(config: &StoreConfig, first: i64, group_max: usize) -> Self {
        let clock = Arc::new(Clock(AtomicI64::new(BEGINNING)));
        let mut world = Self {
            config: config.clone(),
            first,
            running: Running::start(config, &clock, group_max),
            clock,
            auditor: Auditor::default(),
            node: BTreeMap::new(),
            asked: Vec::new(),
            gifts: 0,
            told: Vec::new(),
        };
        world.open_accounts();
        world
    }

    fn open_accounts(&mut self) {
        let people: Vec<i64> = (0..PEOPLE).map(|place| self.account(place)).collect();
        let now = self.clock.now();
        self.running.runtime.block_on(async {
            let mut tx = self
                .running
                .store
                .begin()
                .await
                .expect("a transaction begins");
            for id in &people {
                let user = User {
                    id: UserId(*id),
                    nickname: String::new(),
                    avatar_url: String::new(),
                    unionid: None,
                    phone: None,
                    email: None,
                    created_at: now,
                };
                assert!(
                    tx.insert_user(&user).await.expect("a person is added"),
                    "{id} is taken"
                );
            }
            let first = UserId(people[0]);
            tx.ensure_test_account(first)
                .await
                .expect("an account is added");
            tx.commit().await.expect("it is committed");
        });
        for place in 0..=PEOPLE {
            self.auditor
                .accounts
                .insert(self.account(place), auditor::Account::default());
        }
    }

    pub(super) fn account(&self, place: usize) -> i64 {
        match place {
            OF_TESTS => -self.first,
            NOBODYS => self.first + 9,
            person => self.first + i64::try_from(person).unwrap_or(0),
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.0.load(Ordering::Relaxed)
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.running.runtime.block_on(future)
    }

    pub(super) fn nodes(&self) -> &[Pipeline] {
        &self.running.nodes
    }

    pub(super) fn store(&self) -> &Store {
        &self.running.store
    }

    pub(super) fn step(&mut self, step: &Step) -> Checked {
        let now = self.now();
        match step {
            Step::Clock(seconds) => {
                self.clock.0.fetch_add(*seconds, Ordering::Relaxed);
                self.told.push(format!("the clock jumps by {seconds} s"));
                Ok(())
            }
            Step::Grant {
                account,
                points,
                lasts,
            } => {
                let account = self.auditor.today(self.account(*account));
                let expires = lasts.map(|lasts| now + lasts);
                self.told
                    .push(format!("{account} is granted {points} until {expires:?}"));
                self.auditor.grant(account, *points, expires, now);
                self.grant(account, *points, expires)
            }
            Step::Sweep(account) => {
                let account = self.account(*account);
                self.told.push(format!("{account} is swept"));
                self.check_what_wants_sweeping()?;
                self.auditor.sweep(account, now);
                self.sweep(account)
            }
            Step::Merge { younger, older } => {
                let (younger, older) = (self.account(*younger), self.account(*older));
                if self.auditor.today(younger) != younger
                    || self.auditor.today(older) != older
                    || younger == older
                {
                    return Ok(());
                }
                self.told.push(format!("{younger} is merged into {older}"));
                self.auditor.merge(younger, older, now);
                self.merge(younger, older)
            }
            Step::Restart => {
                self.told.push("restart".to_owned());
                self.restart();
                Ok(())
            }
            Step::Ask { wishes, how } => {
                let asked: Vec<Asked> = wishes.iter().filter_map(|wish| self.asked(wish)).collect();
                self.ask(&asked, *how)
            }
        }
    }

    pub(super) fn restart(&mut self) {
        let group_max = 1 + self.asked.len() % 7;
        let next = Running::start(&self.config, &self.clock, group_max);
        let Running {
            nodes,
            store,
            runtime,
        } = std::mem::replace(&mut self.running, next);
        // First what is under way, in the middle of whatever it does.
        drop(runtime);
        drop((nodes, store));
    }

    fn grant(&mut self, account: i64, points: i64, expires: Option<i64>) -> Checked {
        self.gifts += 1;
        let key = format!("{}/{}", self.first, self.gifts);
        let grant = Grant {
            source: LotSource::Gift { key },
            points: Points::new(points).expect("not negative"),
            expires_at: expires.map(time),
            title: String::new(),
        };
        let now = self.clock.now();
        self.block_on(async {
            let mut tx = self.store().begin().await?;
            let account = tx.lock_account(AccountId(account)).await?;
            let mut account = account.expect("it was opened");
            account.grant(grant, now).expect("it may be granted");
            tx.append_journal(&account).await?;
            tx.commit().await
        })
        .map_err(|error| format!("the grant: {error}"))
    }

    fn merge(&self, younger: i64, older: i64) -> Checked {
        let now = self.clock.now();
        self.block_on(async {
            let mut tx = self.store().begin().await?;
            let merged = tx.merge_accounts(UserId(younger), UserId(older), now);
            merged.await?.expect("they may be merged");
            tx.redirect_user(UserId(younger), UserId(older), "", now)
                .await?;
            tx.commit().await
        })
        .map_err(|error| format!("the merge: {error}"))
    }

    fn sweep(&self, account: i64) -> Checked {
        let now = self.clock.now();
        self.block_on(async {
            let mut tx = self.store().begin().await?;
            let account = tx.lock_account(AccountId(account)).await?;
            let mut account = account.expect("it was opened");
            account.expire(now).expect("its lots are known");
            tx.append_journal(&account).await?;
            tx.commit().await
        })
        .map_err(|error| format!("the sweep: {error}"))
    }

    fn check_what_wants_sweeping(&self) -> Checked {
        let now = self.now();
        let own = self.auditor.accounts.keys();
        let expected: BTreeSet<i64> = own
            .copied()
            .filter(|account| self.auditor.wants_sweep(*account, now))
            .collect();
        let found = self.block_on(async {
            let mut tx = self.store().read().await?;
            tx.accounts_to_sweep(time(now), i64::MAX).await
        });
        let found = found.map_err(|error| format!("what wants sweeping: {error}"))?;
        let found: BTreeSet<i64> = found
            .into_iter()
            .map(|account| account.0)
            .filter(|account| self.auditor.accounts.contains_key(account))
            .collect();
        if found == expected {
            return Ok(());
        }
        Err(format!("{found:?} want sweeping, expected {expected:?}"))
    }
}
