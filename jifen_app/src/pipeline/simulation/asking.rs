//! Asking the nodes, in all the ways that happen, and holding the answers against the auditor.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures_util::future::{join_all, maybe_done, poll_fn};
use jifen_domain::AccountId;

use super::auditor::{Action, Asked, End, Judged};
use super::history::{How, Kind, WHATS, Wish};
use super::words::{end_key, key_of, operation, verdict};
use super::world::{Checked, World};

impl World {
    /// Makes a request of a wish; nothing when there is nothing it could name yet.
    pub(super) fn asked(&mut self, wish: &Wish) -> Option<Asked> {
        let own = self.account(wish.account);
        // Now and then by somebody who has not heard of a merge.
        let is_late = wish.back % 4 == 3;
        let account = if is_late {
            own
        } else {
            self.auditor.today(own)
        };
        if wish.elsewhere {
            *self.node.entry(account).or_default() ^= 1;
        }
        let (now, points) = (self.now(), wish.points);
        let what = wish.back % WHATS;
        let known = self.auditor.accounts.get(&account);
        // Mostly one that is open.
        let holds = known.into_iter().flat_map(|known| known.holds.iter().rev());
        let holds = holds.filter(|(_, hold)| hold.end.is_none() || wish.back == 4);
        let hold = holds.map(|(entry, _)| *entry).nth(wish.back);
        // Now and then a hold or a charge that does not exist.
        let hold = hold.or((wish.back > 150).then_some(1));
        let action = match wish.kind {
            Kind::Charge => Action::Charge { points, what },
            Kind::Hold => Action::Hold {
                points,
                what,
                until: now + wish.seconds,
            },
            Kind::Extend => Action::Extend {
                hold: hold?,
                more: points / 4,
                until: now + wish.seconds * 2,
            },
            Kind::Capture => Action::Capture {
                hold: hold?,
                cost: (points - 1).max(0),
            },
            Kind::Release => Action::Release { hold: hold? },
            Kind::Refund { whole } => {
                let known = self.auditor.accounts.get(&own);
                let charge =
                    known.and_then(|known| known.charges.keys().rev().nth(wish.back).copied());
                Action::Refund {
                    charged: own,
                    charge: charge.or((wish.back > 150).then_some(1))?,
                    points: (!whole).then_some(points / 2),
                    grace: now + wish.seconds * 3,
                }
            }
            Kind::Again | Kind::Reuse => return self.once_more(wish),
        };
        let number = u64::try_from(self.asked.len()).unwrap_or(0);
        let (mut key, mut input) = (key_of(self.asked.len(), wish.back), number);
        // Whatever ends a hold is one request, so that it ends once.
        match action {
            Action::Capture { hold, cost } if wish.seconds > 20 => {
                (key, input) = (
                    end_key(account, hold),
                    u64::try_from(cost).unwrap_or(0) << 1,
                );
            }
            Action::Release { hold } if wish.seconds > 20 => {
                (key, input) = (end_key(account, hold), 1);
            }
            _ => {}
        }
        let asked = Asked {
            account,
            key,
            input,
            action,
        };
        self.asked.push(asked.clone());
        Some(asked)
    }

    fn once_more(&self, wish: &Wish) -> Option<Asked> {
        let place = self.asked.len().checked_sub(1 + wish.back)?;
        let mut again = self.asked[place].clone();
        if wish.kind == Kind::Reuse {
            again.input ^= 0xFF << 40;
        }
        if wish.points % 2 == 0 {
            self.follow(&mut again);
        }
        Some(again)
    }

    /// Asks where what is asked for is today.
    fn follow(&self, asked: &mut Asked) {
        match &mut asked.action {
            Action::Charge { .. } | Action::Hold { .. } | Action::Refund { .. } => {
                asked.account = self.auditor.today(asked.account);
            }
            Action::Extend { hold, .. }
            | Action::Capture { hold, .. }
            | Action::Release { hold } => {
                let end = |account: i64, hold: i64| {
                    self.auditor.accounts.get(&account)?.holds.get(&hold)?.end
                };
                while let Some(End::Moved { to, .. }) = end(asked.account, *hold) {
                    (asked.account, *hold) = to;
                }
            }
        }
    }

    pub(super) fn ask(&mut self, asked: &[Asked], how: How) -> Checked {
        if asked.is_empty() {
            return Ok(());
        }
        self.told.push(format!("{} requests, {how:?}", asked.len()));
        match how {
            How::InTurn => asked.iter().try_for_each(|one| self.ask_one(one)),
            How::AtOnce => {
                let heard = self.block_on(join_all(asked.iter().map(|one| self.submit(one))));
                self.hear_all(asked, &heard)
            }
            How::Batch => self.ask_batch(asked),
            How::Impatiently { moment } => self.ask_impatiently(asked, moment),
            How::Dying { moment } => self.ask_dying(asked, moment),
        }
    }

    fn ask_one(&mut self, asked: &Asked) -> Checked {
        let heard = self.block_on(self.submit(asked));
        self.hear_all(std::slice::from_ref(asked), &[heard])
    }

    /// A batch is taken by one node.
    fn ask_batch(&mut self, asked: &[Asked]) -> Checked {
        let node = self
            .node
            .get(&asked[0].account)
            .copied()
            .unwrap_or_default();
        let accounts = asked.iter().map(|one| one.account);
        self.node.extend(accounts.map(|account| (account, node)));
        let operations = asked.iter().map(operation).collect();
        let settled = self.block_on(self.nodes()[node].submit_all(operations));
        let settled = settled.map_err(|error| format!("the batch: {error:?}"))?;
        let heard: Vec<Judged> = settled.into_iter().map(|one| verdict(Ok(one))).collect();
        self.hear_all(asked, &heard)
    }

    /// Every third requester leaves after a moment, and asks again when the others are answered. What they asked for was done
    /// in its turn, or not at all: one way of it must explain all the answers and the number of entries.
    fn ask_impatiently(&mut self, asked: &[Asked], moment: usize) -> Checked {
        let leaving: Vec<usize> = (0..asked.len()).filter(|place| place % 3 == 1).collect();
        let heard: Vec<Option<Judged>> = self.block_on(async {
            let answers = asked.iter().map(|one| maybe_done(self.submit(one)));
            let mut answers: Vec<_> = answers.map(|answer| Some(Box::pin(answer))).collect();
            poll_all(answers.iter_mut().flatten()).await;
            wait(moment).await;
            for place in &leaving {
                answers[*place] = None;
            }
            let mut heard = Vec::new();
            for answer in answers {
                heard.push(match answer {
                    Some(mut answer) => {
                        answer.as_mut().await;
                        answer.as_mut().take_output()
                    }
                    None => None,
                });
            }
            heard
        });
        let again: Vec<&Asked> = leaving.iter().map(|place| &asked[*place]).collect();
        let heard_again: Vec<Judged> = again
            .iter()
            .map(|one| self.block_on(self.submit(one)))
            .collect();
        let written = self.block_on(self.entries_written(asked));

        for (one, heard) in asked.iter().zip(&heard) {
            let heard = heard
                .as_ref()
                .map_or("left".to_owned(), |heard| format!("{heard:?}"));
            self.told.push(format!("{one:?}: {heard}"));
        }
        for (one, heard) in again.iter().zip(&heard_again) {
            self.told.push(format!("again {one:?}: {heard:?}"));
        }
        let (mut problems, now) = (Vec::new(), self.now());
        for ways in 0..1_usize << leaving.len() {
            let was_done = |place: usize| ways >> (place / 3) & 1 == 1;
            let mut auditor = self.auditor.clone();
            let explained =
                asked
                    .iter()
                    .zip(&heard)
                    .enumerate()
                    .try_for_each(|(place, (one, heard))| match heard {
                        Some(heard) => auditor.hear(one, heard, now),
                        None if was_done(place) => {
                            let _ = auditor.judge(one, now);
                            Ok(())
                        }
                        None => Ok(()),
                    });
            let again = again.iter().zip(&heard_again);
            let explained = explained
                .and_then(|()| {
                    again
                        .into_iter()
                        .try_for_each(|(one, heard)| auditor.hear(one, heard, now))
                })
                .and_then(|()| auditor.check_entries(&written));
            if let Err(problem) = explained {
                problems.push(problem);
            } else {
                self.auditor = auditor;
                return Ok(());
            }
        }
        Err(format!("nothing explains this:\n{}", problems.join("\n")))
    }

    /// Whether it was done before the end shows only afterwards: of each account, everything up to some request.
    fn ask_dying(&mut self, asked: &[Asked], moment: usize) -> Checked {
        let now = self.now();
        self.block_on(async {
            let mut answers: Vec<_> = asked.iter().map(|one| Box::pin(self.submit(one))).collect();
            poll_all(&mut answers).await;
            wait(moment).await;
        });
        self.restart();
        let written = self.block_on(self.entries_written(asked));
        for one in asked {
            let known = self.auditor.accounts.get(&one.account);
            if known.is_some_and(|known| known.entries < written[&one.account]) {
                let verdict = self.auditor.judge(one, now);
                self.told
                    .push(format!("{one:?}: done before the end, {verdict:?}"));
            }
        }
        self.auditor.check_entries(&written)?;
        asked.iter().try_for_each(|one| self.ask_one(one))
    }

    async fn submit(&self, asked: &Asked) -> Judged {
        let node = self.node.get(&asked.account).copied().unwrap_or_default();
        verdict(self.nodes()[node].submit(operation(asked)).await)
    }

    fn hear_all(&mut self, asked: &[Asked], heard: &[Judged]) -> Checked {
        let now = self.now();
        for (one, heard) in asked.iter().zip(heard) {
            self.told.push(format!("{one:?}: {heard:?}"));
        }
        let mut pairs = asked.iter().zip(heard);
        pairs.try_for_each(|(one, heard)| self.auditor.hear(one, heard, now))
    }

    /// How many entries the accounts have, once whatever was under way has ended.
    async fn entries_written(&self, asked: &[Asked]) -> BTreeMap<i64, i64> {
        let ids: BTreeSet<AccountId> = asked.iter().map(|one| AccountId(one.account)).collect();
        let ids: Vec<AccountId> = ids.into_iter().collect();
        let mut tx = self.store().begin().await.expect("a transaction begins");
        let accounts = tx.lock_accounts(&ids).await.expect("accounts are locked");
        let entries = accounts.iter();
        entries
            .map(|account| (account.id().0, account.counts().entries))
            .collect()
    }
}

/// Polls each once, in order.
async fn poll_all<'a, F>(futures: impl IntoIterator<Item = &'a mut Pin<Box<F>>>)
where
    F: Future + 'a,
{
    let mut futures: Vec<_> = futures.into_iter().collect();
    poll_fn(|context| {
        for future in &mut futures {
            drop(future.as_mut().poll(context));
        }
        Poll::Ready(())
    })
    .await;
}

/// A while in which the workers go on.
async fn wait(moment: usize) {
    for _ in 0..moment {
        tokio::task::yield_now().await;
    }
}
