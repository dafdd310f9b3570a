//! Who makes the attempts: the background courier, or a test that asks for them.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    NotificationState, NotificationView,
    attempt::{Outcome, Trigger, attempt},
    wait_until,
};
use crate::{payments::ActionError, sandbox::Sandbox};

/// How long the courier sleeps when nothing is due.
const IDLE: Duration = Duration::from_mins(1);
/// Attempts made at the same time by the background courier.
const CONCURRENT_ATTEMPTS_MAX: usize = 16;
/// Attempts of one flush: an integrator that answers each push with a call that causes another one must not make it endless.
const FLUSH_ATTEMPTS_MAX: usize = 1_000;

/// Delivers what is due, for ever.
pub(crate) async fn run(sandbox: Sandbox) {
    let mut attempts = JoinSet::new();
    loop {
        let now = sandbox.environment().now();
        let next_expiry = crate::alipay::close_expired(&sandbox, now);
        for id in sandbox.outbox().waiting(Some(now)) {
            while attempts.len() >= CONCURRENT_ATTEMPTS_MAX {
                attempts.join_next().await;
            }
            let sandbox = sandbox.clone();
            // Looking again before the attempt has begun does no harm: a second attempt finds it under way or no longer due.
            attempts.spawn(async move { attempt(&sandbox, id, Trigger::Due).await });
        }
        let wait = sandbox
            .outbox()
            .next_due()
            .into_iter()
            .chain(next_expiry)
            .min()
            .map_or(IDLE, |due| wait_until(due, now));
        tokio::select! {
            () = sandbox.outbox().changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
            Some(_) = attempts.join_next() => {}
        }
    }
}

/// What a flush did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FlushResult {
    pub(crate) accepted: usize,
    pub(crate) failed: usize,
    /// The notifications concerned, in the order of their attempts.
    pub(crate) notifications: Vec<NotificationView>,
}

/// One attempt for every waiting notification, due or not, and for those that come up meanwhile; late and reordered ones go last.
pub(crate) async fn flush(sandbox: &Sandbox) -> FlushResult {
    let mut queue = VecDeque::from(sandbox.outbox().waiting(None));
    let mut result = FlushResult::default();
    for _ in 0..FLUSH_ATTEMPTS_MAX {
        let next = queue
            .pop_front()
            .or_else(|| never_attempted(sandbox, &result));
        let Some(id) = next else { break };
        let outcome = attempt(sandbox, id, Trigger::Flush).await;
        if matches!(outcome, Outcome::PutOff) {
            queue.push_back(id);
        }
        result.add(sandbox, id, &outcome);
    }
    result
}

/// One attempt for every notification that is due by the sandbox's clock.
pub(crate) async fn deliver_due(sandbox: &Sandbox) -> FlushResult {
    let now = sandbox.environment().now();
    crate::alipay::close_expired(sandbox, now);
    let mut result = FlushResult::default();
    for id in sandbox.outbox().waiting(Some(now)) {
        let outcome = attempt(sandbox, id, Trigger::Due).await;
        result.add(sandbox, id, &outcome);
    }
    result
}

impl FlushResult {
    fn add(&mut self, sandbox: &Sandbox, id: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::PutOff | Outcome::NotDone => return,
        }
        self.notifications.extend(sandbox.outbox().find(id));
    }
}

/// A notification that came up during the flush.
fn never_attempted(sandbox: &Sandbox, result: &FlushResult) -> Option<u64> {
    let newest_done = result.notifications.iter().map(|view| view.id).max()?;
    let views = sandbox.outbox().all();
    let new = |view: &&NotificationView| view.id > newest_done && view.attempts.is_empty();
    views
        .iter()
        .rev()
        .filter(new)
        .find(|view| view.state == NotificationState::Waiting)
        .map(|view| view.id)
}

/// One more attempt now, whatever the state; the schedule stays as it is.
pub(crate) async fn resend(sandbox: &Sandbox, id: u64) -> Result<NotificationView, ActionError> {
    sandbox.outbox().find(id)?;
    match attempt(sandbox, id, Trigger::Hand).await {
        Outcome::NotDone => Err(ActionError::Conflict(
            "it is being delivered at this moment".into(),
        )),
        _ => sandbox.outbox().find(id),
    }
}
