//! Gateways that keep many connections busy with everything that spends points, and remember what they were answered.
//!
//! A request that gets no answer, or 503, is repeated as it is until it gets one.

mod caller;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jifen::config::{Config, SandboxMode};
use jifen::instance;
use jifen_app::operator::Gift;
use jifen_app::{App, Paging, SystemEnvironment};
use jifen_domain::user::User;
use jifen_domain::{AccountId, UserId};
use jifen_store::Store;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use caller::Caller;

/// The longest that answers may fail to come; a test that waits longer has found a mall that does not recover.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// Every so many people have few points, so that some calls are refused.
const POOR_EVERY: usize = 4;
const POINTS: i64 = 1_000_000;
const POINTS_OF_THE_POOR: i64 = 150;

/// People with points and keys, on a database.
pub(crate) struct Town {
    pub(crate) app: App,
    pub(crate) people: Arc<People>,
}

/// What gateways know.
pub(crate) struct People {
    /// The secret of the gateways' service credential.
    pub(crate) gateway: String,
    pub(crate) holders: Vec<Holder>,
}

pub(crate) struct Holder {
    pub(crate) user: UserId,
    /// The key's secret.
    pub(crate) key: String,
    /// Points that were given to them.
    pub(crate) given: i64,
}

impl Town {
    pub(crate) async fn settle(store: Store, people: usize) -> Self {
        let mut town = Self::empty(store).await;
        for number in 0..people {
            let points = if number % POOR_EVERY == POOR_EVERY - 1 {
                POINTS_OF_THE_POOR
            } else {
                POINTS
            };
            town.add_holder(points).await;
        }
        town
    }

    /// One with so many points.
    pub(crate) async fn of_one(store: Store, points: i64) -> Self {
        let mut town = Self::empty(store).await;
        town.add_holder(points).await;
        town
    }

    async fn empty(store: Store) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::development().unwrap();
        config.sandbox.mode = SandboxMode::Off;
        let app = instance::app(&config, Arc::new(SystemEnvironment), store).unwrap();
        let (_, gateway) = app.create_service_credential("gateway").await.unwrap();
        let people = People {
            gateway,
            holders: Vec::new(),
        };
        Self {
            app,
            people: Arc::new(people),
        }
    }

    /// The points come in several lots, which expire on different days.
    async fn add_holder(&mut self, points: i64) {
        let people = Arc::get_mut(&mut self.people).expect("nobody calls yet");
        let number = i64::try_from(people.holders.len()).unwrap();
        let id = UserId(70_000 + number);
        let user = User {
            id,
            nickname: "somebody".to_owned(),
            avatar_url: String::new(),
            unionid: None,
            phone: None,
            email: None,
            created_at: self.app.now(),
        };
        let mut tx = self.app.store().begin().await.unwrap();
        tx.insert_user(&user).await.unwrap();
        tx.commit().await.unwrap();
        let few = points / 5;
        for (points, validity_days) in [(points - 2 * few, None), (few, Some(9)), (few, Some(3))] {
            if points == 0 {
                continue;
            }
            let gift = Gift {
                user: id,
                points,
                validity_days,
                reason: "to spend".to_owned(),
                key: None,
            };
            self.app.give_points(&gift).await.unwrap();
        }
        let key = self.app.create_api_key(id, "k", 12).await.unwrap();
        people.holders.push(Holder {
            user: id,
            key: key.secret,
            given: points,
        });
    }

    /// The ledger holds what was answered, all of it once, and nothing else.
    pub(crate) async fn assert_is_all_there_is(&self, done: &Done) {
        assert!(!done.charges.is_empty(), "nothing was charged");
        for holder in &self.people.holders {
            let account = AccountId::from(holder.user);
            let answered: BTreeMap<i64, Charge> = done.of(account);
            let stored = self.stored_charges(holder.user).await;
            let expected: BTreeMap<i64, i64> = answered
                .iter()
                .map(|(entry, charge)| (*entry, charge.points))
                .collect();
            assert_eq!(stored, expected, "the charges of {account}");

            let mut tx = self.app.store().read().await.unwrap();
            for (entry, charge) in answered.iter().filter(|(_, charge)| charge.refunded > 0) {
                let stored = tx.charge(account, *entry).await.unwrap().unwrap();
                assert_eq!(stored.refunded.get(), charge.refunded, "{account}-{entry}");
            }
            let held: i64 = done
                .open_holds
                .iter()
                .filter(|hold| hold.account == account)
                .map(|hold| hold.points)
                .sum();
            let spent: i64 = answered
                .values()
                .map(|charge| charge.points - charge.refunded)
                .sum();
            let holdings = tx.holdings(account, self.app.now()).await.unwrap();
            assert_eq!(
                holdings.available.get(),
                holder.given - spent - held,
                "the balance of {account}: {} given, {spent} spent, {held} held",
                holder.given
            );
        }
    }

    /// Number and points of every charge in the history.
    async fn stored_charges(&self, user: UserId) -> BTreeMap<i64, i64> {
        let mut stored = BTreeMap::new();
        for page in 1.. {
            let paging = Paging { page, size: 100 };
            let found = self.app.consumption(user, paging).await.unwrap();
            for line in &found.list {
                let before = stored.insert(line.entry, line.points);
                assert_eq!(
                    before, None,
                    "charge {} of {user} is listed twice",
                    line.entry
                );
            }
            if found.list.is_empty() {
                assert_eq!(found.total, i64::try_from(stored.len()).unwrap());
                break;
            }
        }
        stored
    }
}

/// What the gateways were answered.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// By account and number.
    pub(crate) charges: BTreeMap<(AccountId, i64), Charge>,
    pub(crate) open_holds: Vec<OpenHold>,
    /// Requests that were refused for lack of points.
    pub(crate) refused: u64,
    /// Requests that were first answered when they were repeated.
    pub(crate) answered_late: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) points: i64,
    pub(crate) refunded: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct OpenHold {
    pub(crate) account: AccountId,
    pub(crate) points: i64,
}

impl Done {
    fn of(&self, account: AccountId) -> BTreeMap<i64, Charge> {
        let all = (account, i64::MIN)..=(account, i64::MAX);
        let charges = self.charges.range(all);
        charges
            .map(|((_, entry), charge)| (*entry, *charge))
            .collect()
    }

    fn add(&mut self, other: Self) {
        for (id, charge) in other.charges {
            let before = self.charges.insert(id, charge);
            assert!(before.is_none(), "{id:?} was the answer to two requests");
        }
        self.open_holds.extend(other.open_holds);
        self.refused += other.refused;
        self.answered_late += other.answered_late;
    }
}

/// The gateways at work.
pub(crate) struct Load {
    callers: JoinSet<Done>,
    plan: watch::Sender<Plan>,
    counted: Arc<Counted>,
}

/// What the gateways are to do.
#[derive(Clone, Default)]
struct Plan {
    /// Where the mall is. A caller goes to the next one when one does not answer.
    nodes: Vec<String>,
    /// Begin nothing new.
    ends: bool,
}

/// What can be watched from outside.
#[derive(Default)]
pub(crate) struct Counted {
    answers: AtomicU64,
    /// Answers 503.
    busy: AtomicU64,
    changed: Notify,
}

impl Counted {
    fn add(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

impl Load {
    pub(crate) fn start(town: &Town, connections: usize, nodes: Vec<String>) -> Self {
        let (plan, watched) = watch::channel(Plan { nodes, ends: false });
        let counted = Arc::new(Counted::default());
        let http = instance::outgoing_client().unwrap();
        let mut callers = JoinSet::new();
        for number in 0..connections {
            let caller = Caller::new(number, &town.people, &watched, &counted, &http);
            callers.spawn(caller.work());
        }
        Self {
            callers,
            plan,
            counted,
        }
    }

    /// From now on the mall is there.
    pub(crate) fn go_to(&self, nodes: Vec<String>) {
        self.plan.send_modify(|plan| plan.nodes = nodes);
    }

    /// Waits for so many more answers that are not 503.
    pub(crate) async fn until_answered(&self, count: u64) {
        let wanted = self.counted.answers.load(Ordering::SeqCst) + count;
        self.until("answers", |counted| {
            counted.answers.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }

    /// Waits for so many more answers 503.
    pub(crate) async fn until_turned_away(&self, count: u64) {
        let wanted = self.counted.busy.load(Ordering::SeqCst) + count;
        self.until("503s", |counted| {
            counted.busy.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }

    async fn until(&self, what: &str, is_there: impl Fn(&Counted) -> bool) {
        let waiting = async {
            loop {
                let changed = self.counted.changed.notified();
                if is_there(&self.counted) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(SILENCE_MAX, waiting).await;
        assert!(waited.is_ok(), "there are no more {what}");
    }

    /// Lets every caller finish what it is at.
    pub(crate) async fn stop(self) -> Done {
        self.plan.send_modify(|plan| plan.ends = true);
        let mut done = Done::default();
        for one in self.callers.join_all().await {
            done.add(one);
        }
        done
    }
}

/// `SplitMix64`: the same numbers from the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0, less than `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// From `least` to `most`.
    fn points(&mut self, least: i64, most: i64) -> i64 {
        least + i64::try_from(self.below((most - least + 1).unsigned_abs())).unwrap()
    }
}
