//! One group: lock, decide, write, commit, answer.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt as _;
use jifen_domain::ledger::{Refund, RefundSource, Refused, Request};
use jifen_domain::{AccountId, Points, Time};
use jifen_store::{Error as StoreError, LockedAccount, Recorded, StoredCharge, Tx};

use super::operation::{Action, Answer, Declined, Operation, Outcome};
use super::{Context, Seat};

/// Accounts that are written together: bounds what lies in buffers on its way to the database.
pub(super) const ACCOUNTS_AT_ONCE: usize = 1_000;

/// Does a group and says how each operation ended. When the group fails as a whole, each account's operations are done by
/// themselves, so that one bad account does not fail the others.
pub(super) async fn settle(
    context: &Context,
    operations: &[Operation],
    seat: Seat,
) -> Vec<Outcome> {
    let all: Vec<usize> = (0..operations.len()).collect();
    let failure = match attempt(context, operations, &all, seat).await {
        Ok(outcomes) => return outcomes.into_iter().map(|(_, outcome)| outcome).collect(),
        Err(failure) => failure,
    };
    let accounts: BTreeSet<AccountId> = operations.iter().map(|one| one.account).collect();
    if matches!(failure, Declined::Busy(_)) || accounts.len() == 1 {
        return vec![Err(failure); operations.len()];
    }
    tracing::error!(
        ?failure,
        "a group of charges failed; its accounts are tried one by one"
    );
    let mut outcomes = vec![Err(Declined::Broken(String::new())); operations.len()];
    for account in accounts {
        let own: Vec<usize> = all
            .iter()
            .copied()
            .filter(|place| operations[*place].account == account)
            .collect();
        match attempt(context, operations, &own, seat).await {
            Ok(done) => {
                for (place, outcome) in done {
                    outcomes[place] = outcome;
                }
            }
            Err(failure) => {
                for place in own {
                    outcomes[place] = Err(failure.clone());
                }
            }
        }
    }
    outcomes
}

/// Does the operations at `places` in one transaction, or says why none of them. A bug in it is no end of the worker.
async fn attempt(
    context: &Context,
    operations: &[Operation],
    places: &[usize],
    seat: Seat,
) -> Result<Vec<(usize, Outcome)>, Declined> {
    let began = Instant::now();
    let transaction = AssertUnwindSafe(transact(context, operations, places, seat)).catch_unwind();
    match transaction.await {
        Ok(Ok(outcomes)) => {
            context.counters.committed(places.len(), began.elapsed());
            Ok(outcomes)
        }
        Ok(Err(error)) if is_of_the_database(&error) => {
            context.counters.database_failed();
            Err(Declined::Busy(error.to_string()))
        }
        Ok(Err(error)) => Err(Declined::Broken(error.to_string())),
        // Nothing of it is used after a panic in it; what it said is in the log.
        Err(_) => Err(Declined::Broken("a group of charges panicked".to_owned())),
    }
}

fn is_of_the_database(error: &StoreError) -> bool {
    matches!(error, StoreError::Busy | StoreError::Unavailable(_))
}

async fn transact(
    context: &Context,
    operations: &[Operation],
    places: &[usize],
    seat: Seat,
) -> Result<Vec<(usize, Outcome)>, StoreError> {
    let now = context.environment.now();
    let mut tx = context.store.begin().await?;
    let mut group = Group::lock(&mut tx, operations, places, now).await?;
    group.find_repetitions(&mut tx).await?;
    group.find_charges(&mut tx).await?;
    let undecided = group.decide_all();
    group.load_lots(&mut tx, &undecided).await?;
    for place in undecided {
        group.decide(place);
    }
    for accounts in group.accounts.chunks(ACCOUNTS_AT_ONCE) {
        tx.append_journals(accounts).await?;
    }
    for ((account, entry), charge) in &group.charges {
        if charge.refunded > charge.stored.refunded {
            tx.put_refunded(*account, *entry, charge.stored.points, charge.refunded)
                .await?;
        }
    }
    let used = group.used_keys();
    if !used.is_empty() {
        tx.touch_api_keys(&used, now).await?;
    }
    // Also when nothing was written: an answer may rest on what another member of a shared commit has written.
    match seat {
        Seat::OwnThread => tx.commit_on_this_thread().await?,
        Seat::Shared => tx.commit().await?,
    }
    let none = || Err(Declined::NoAccount);
    Ok(places
        .iter()
        .map(|place| (*place, group.outcomes.remove(place).unwrap_or_else(none)))
        .collect())
}

/// The operations of a transaction, and how far they are decided.
struct Group<'a> {
    operations: &'a [Operation],
    now: Time,
    accounts: Vec<LockedAccount>,
    /// For each account the operations on it, in the order of arrival.
    queues: Vec<Vec<usize>>,
    recorded: HashMap<usize, Recorded>,
    charges: HashMap<(AccountId, i64), RefundedCharge>,
    outcomes: HashMap<usize, Outcome>,
}

/// A charge that operations of the group refund.
struct RefundedCharge {
    stored: StoredCharge,
    lots: Vec<jifen_domain::ledger::Lot>,
    refunded: Points,
}

impl RefundedCharge {
    fn refund(
        &self,
        (account, charge): (AccountId, i64),
        points: Option<Points>,
        grace_until: Time,
    ) -> Refund {
        Refund {
            source: RefundSource {
                account,
                charge,
                api_key_id: self.stored.api_key_id.clone(),
                title: self.stored.title.clone(),
            },
            draws: self.stored.draws.clone(),
            lots: self.lots.clone(),
            charged_at: self.stored.at,
            refunded: self.refunded,
            points,
            grace_until,
        }
    }
}

impl<'a> Group<'a> {
    async fn lock(
        tx: &mut Tx,
        operations: &'a [Operation],
        places: &[usize],
        now: Time,
    ) -> Result<Self, StoreError> {
        let ids: BTreeSet<AccountId> = places
            .iter()
            .flat_map(|place| {
                let operation = &operations[*place];
                let charged = match operation.action {
                    Action::Refund { charged, .. } => Some(charged),
                    _ => None,
                };
                [Some(operation.account), charged]
            })
            .flatten()
            .collect();
        let ids: Vec<AccountId> = ids.into_iter().collect();
        let accounts = tx.lock_accounts(&ids).await?;
        let by_id: HashMap<AccountId, usize> = accounts
            .iter()
            .enumerate()
            .map(|(place, account)| (account.id(), place))
            .collect();
        let mut queues = vec![Vec::new(); accounts.len()];
        for place in places {
            if let Some(account) = by_id.get(&operations[*place].account) {
                queues[*account].push(*place);
            }
        }
        Ok(Self {
            operations,
            now,
            accounts,
            queues,
            recorded: HashMap::new(),
            charges: HashMap::new(),
            outcomes: HashMap::with_capacity(places.len()),
        })
    }

    async fn find_repetitions(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let asked: Vec<(usize, usize)> = self
            .queues
            .iter()
            .enumerate()
            .flat_map(|(account, queue)| queue.iter().map(move |place| (account, *place)))
            .collect();
        let requests: Vec<(usize, Request)> = asked
            .iter()
            .map(|(account, place)| (*account, self.operations[*place].request))
            .collect();
        let recorded = tx.recorded_requests(&self.accounts, &requests).await?;
        for ((_, place), recorded) in asked.into_iter().zip(recorded) {
            if let Some(recorded) = recorded {
                self.recorded.insert(place, recorded);
            }
        }
        Ok(())
    }

    /// Reads the charges to be refunded.
    async fn find_charges(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let places = self.queues.iter().flatten();
        let wanted: BTreeSet<(AccountId, i64)> = places
            .filter_map(|place| match self.operations[*place].action {
                Action::Refund {
                    charged, charge, ..
                } => Some((charged, charge)),
                _ => None,
            })
            .collect();
        for (account, entry) in wanted {
            if let Some(stored) = tx.charge(account, entry).await? {
                let numbers: Vec<i64> = stored.draws.iter().map(|draw| draw.lot).collect();
                let charge = RefundedCharge {
                    lots: tx.lots(account, &numbers).await?,
                    refunded: stored.refunded,
                    stored,
                };
                self.charges.insert((account, entry), charge);
            }
        }
        Ok(())
    }

    /// The keys whose use is to be noted.
    fn used_keys(&self) -> Vec<&'a str> {
        let done = self.outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
        let used: BTreeSet<&str> = done
            .filter_map(|(place, _)| self.operations[*place].used_key.as_deref())
            .collect();
        used.into_iter().collect()
    }

    /// Decides what the accounts' rows alone can decide. Returns the accounts that need their lots.
    fn decide_all(&mut self) -> Vec<usize> {
        (0..self.accounts.len())
            .filter(|account| !self.decide(*account))
            .collect()
    }

    async fn load_lots(&mut self, tx: &mut Tx, accounts: &[usize]) -> Result<(), StoreError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let mut loading: Vec<LockedAccount> = accounts
            .iter()
            .map(|place| self.accounts[*place].clone())
            .collect();
        tx.load_lots(&mut loading).await?;
        for (place, account) in accounts.iter().zip(loading) {
            self.accounts[*place] = account;
        }
        Ok(())
    }

    /// Decides the operations on one account in the order of arrival. `false`, and nothing has changed, when that needs
    /// its lots.
    fn decide(&mut self, account: usize) -> bool {
        let queue = std::mem::take(&mut self.queues[account]);
        // A repetition within the group is answered like a later one.
        let mut first: HashMap<[u8; 16], usize> = HashMap::with_capacity(queue.len());
        let has_lots = self.accounts[account].has_lots();
        for (done, place) in queue.iter().enumerate() {
            let request = &self.operations[*place].request;
            let known = self.recorded.get(place).map(|recorded| {
                let answer = Answer::replayed(recorded);
                (recorded.input, Ok(answer))
            });
            let known = known.or_else(|| {
                let before = first.get(&request.key)?;
                let outcome = self.outcomes.get(before)?.clone();
                let input = self.operations[*before].request.input;
                // What was refused before may be possible now.
                outcome.is_ok().then_some((input, outcome))
            });
            let outcome = match known {
                Some((input, Ok(answer))) if input == request.input => Ok(Answer {
                    is_replay: true,
                    ..answer
                }),
                Some(_) => Err(Declined::Reused),
                None => match self.apply(account, *place) {
                    Err(Declined::Refused(Refused::LotsNeeded, _)) if !has_lots => {
                        for undone in &queue[..done] {
                            self.outcomes.remove(undone);
                        }
                        self.accounts[account].forget_journal();
                        self.queues[account] = queue;
                        return false;
                    }
                    outcome => {
                        if outcome.is_ok() {
                            first.insert(request.key, *place);
                        }
                        outcome
                    }
                },
            };
            self.outcomes.insert(*place, outcome);
        }
        true
    }

    fn apply(&mut self, account: usize, place: usize) -> Outcome {
        let operation = &self.operations[place];
        // Of its holds, each says for itself where it goes on.
        if let Some(older) = self.accounts[account].merged_into()
            && !operation.action.is_on_hold()
        {
            return Err(Declined::Moved(older));
        }
        let (request, now) = (Some(operation.request), self.now);
        let account = &mut self.accounts[account];
        let id = account.id();
        let mut shortfall = None;
        let done = match &operation.action {
            Action::Charge { points, detail } => account
                .charge(*points, detail.clone(), request, now)
                .map(|entry| Answer::new(id, entry)),
            Action::Hold {
                points,
                detail,
                expires_at,
            } => account
                .hold(*points, detail.clone(), *expires_at, request, now)
                .map(|entry| Answer::new(id, entry)),
            Action::Extend {
                hold,
                more,
                expires_at,
            } => account
                .extend(*hold, *more, *expires_at, request, now)
                .map(|entry| Answer::new(id, entry)),
            Action::Capture(capture) => account.capture(*capture, request, now).map(|captured| {
                shortfall = Some(captured.shortfall);
                Answer::new(id, &captured.entry)
            }),
            Action::Release { hold } => account
                .release(*hold, request, now)
                .map(|entry| Answer::new(id, &entry)),
            Action::Refund {
                charged,
                charge,
                points,
                grace_until,
            } => {
                let Some(known) = self.charges.get_mut(&(*charged, *charge)) else {
                    return Err(Declined::NoSuchCharge);
                };
                let refund = known.refund((*charged, *charge), *points, *grace_until);
                account.refund(&refund, request, now).map(|entry| {
                    let answer = Answer::new(id, entry);
                    let sum = Points::new(answer.points)
                        .and_then(|points| points.checked_add(known.refunded));
                    known.refunded = sum.unwrap_or(known.stored.points);
                    answer
                })
            }
        };
        let ends_hold = matches!(
            operation.action,
            Action::Capture(_) | Action::Release { .. }
        );
        let settled = ends_hold.then(|| account.available(now)).flatten();
        let done = done.map(|answer| Answer {
            shortfall,
            settled,
            ..answer
        });
        done.map_err(|refused| match account.available(now) {
            Some(available) => Declined::Refused(refused, available),
            // To say what can be spent, if nothing else.
            None => Declined::Refused(Refused::LotsNeeded, Points::ZERO),
        })
    }
}
