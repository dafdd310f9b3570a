//! Notifications on their way to the integrator: built and signed anew for each attempt, repeated on the provider's schedule.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::Notify;

use crate::{
    exchanges::Refusal, faults::FaultKind, locked::Locked, payments::ActionError,
    provider::Provider, sandbox::Sandbox,
};

mod attempt;
mod courier;

pub(crate) use attempt::send;
pub(crate) use courier::{FlushResult, deliver_due, flush, resend, run};

/// A notification. It must not hold a [`Sandbox`]; it is handed one.
pub(crate) trait Delivery: Send + Sync + 'static {
    fn provider(&self) -> Provider;
    /// What it is, for a person: the event and the order number.
    fn label(&self) -> String;
    fn url(&self) -> String;
    fn schedule(&self) -> Schedule;
    /// Builds and signs the request of one attempt. `Err` is a sentence for the log; the attempt counts as failed.
    fn outgoing(&self, sandbox: &Sandbox, attempt: Attempt) -> Result<Outgoing, String>;
    /// Whether the provider takes the answer as acceptance; if not, why not.
    fn judge(&self, sandbox: &Sandbox, answer: &Answer) -> Result<(), Refusal>;
    /// Whether an answer that was not accepted ends the schedule all the same.
    fn is_final(&self, _answer: &Answer) -> bool {
        false
    }
    /// Called when no attempt is left.
    fn given_up(&self, _sandbox: &Sandbox) {}
}

/// When a notification is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Seconds between one attempt and the next, as the provider documents them (uncompressed). The first attempt is at once.
    pub(crate) retry_seconds: &'static [u32],
    /// How long the provider waits for an answer (never compressed).
    pub(crate) answer_seconds_max: u32,
}

/// What is special about one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// A fault asks for a signature that does not verify.
    pub(crate) badly_signed: bool,
}

/// A request to the integrator.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) url: String,
    pub(crate) method: http::Method,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// The integrator's answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// A notification as the control API and the pages show it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NotificationView {
    pub(crate) id: u64,
    pub(crate) provider: Provider,
    pub(crate) label: String,
    pub(crate) url: String,
    pub(crate) state: NotificationState,
    pub(crate) created_at: Timestamp,
    /// When it is sent next, if it is.
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) attempts: Vec<AttemptView>,
}

/// How far a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotificationState {
    Waiting,
    Delivering,
    Delivered,
    /// Every attempt of the schedule failed.
    GivenUp,
}

/// One attempt that was made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AttemptView {
    pub(crate) at: Timestamp,
    pub(crate) accepted: bool,
    /// Why not accepted, or which fault was applied.
    pub(crate) note: Option<String>,
    /// Its entry in the exchange log; none where a fault kept it from being sent.
    pub(crate) exchange_id: Option<u64>,
}

/// All notifications remembered.
pub(crate) struct Outbox {
    notifications_max: usize,
    queue: Locked<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    last_id: u64,
    notifications: VecDeque<Notification>,
}

struct Notification {
    id: u64,
    delivery: Arc<dyn Delivery>,
    state: NotificationState,
    created_at: Timestamp,
    due_at: Timestamp,
    /// Attempts made because the schedule said so (a resend by hand does not count).
    scheduled_attempts: usize,
    attempts: VecDeque<AttemptView>,
    /// Faults drawn for the coming attempt, once it has been put off by one of them.
    planned: Option<Vec<FaultKind>>,
    /// Waits for another delivery of its provider.
    held: bool,
}

/// Attempts remembered of one notification; a schedule has at most 16, the rest is room for resending by hand.
const ATTEMPTS_REMEMBERED_MAX: usize = 50;

impl Outbox {
    pub(crate) fn new(notifications_max: usize) -> Self {
        Self {
            notifications_max,
            queue: Locked::default(),
            changed: Notify::new(),
        }
    }

    /// Puts a notification in line, due at once; returns its id. The oldest finished one gives way when the outbox is full, the
    /// oldest of all when none is finished.
    pub(crate) fn enqueue(&self, delivery: Arc<dyn Delivery>, now: Timestamp) -> u64 {
        self.enqueue_at(delivery, now, now)
    }

    /// Like [`Outbox::enqueue`], due at a later moment.
    pub(crate) fn enqueue_at(
        &self,
        delivery: Arc<dyn Delivery>,
        now: Timestamp,
        due_at: Timestamp,
    ) -> u64 {
        let mut queue = self.queue.lock();
        while queue.notifications.len() >= self.notifications_max.max(1) {
            let finished = queue
                .notifications
                .iter()
                .position(Notification::is_finished);
            if finished.is_none() {
                tracing::warn!(
                    notifications_max = self.notifications_max,
                    "outbox full: the oldest notification is dropped"
                );
            }
            queue.notifications.remove(finished.unwrap_or(0));
        }
        queue.last_id += 1;
        let id = queue.last_id;
        queue.notifications.push_back(Notification {
            id,
            delivery,
            state: NotificationState::Waiting,
            created_at: now,
            due_at,
            scheduled_attempts: 0,
            attempts: VecDeque::new(),
            planned: None,
            held: false,
        });
        drop(queue);
        self.changed.notify_one();
        id
    }

    /// Newest first.
    pub(crate) fn all(&self) -> Vec<NotificationView> {
        self.queue
            .lock()
            .notifications
            .iter()
            .rev()
            .map(Notification::view)
            .collect()
    }

    pub(crate) fn find(&self, id: u64) -> Result<NotificationView, ActionError> {
        let queue = self.queue.lock();
        let found = queue
            .notifications
            .iter()
            .find(|notification| notification.id == id);
        found
            .map(Notification::view)
            .ok_or(ActionError::NotFound("notification"))
    }

    /// Ids of the notifications waiting, in the order in which they are due; with `until`, only those due by then.
    fn waiting(&self, until: Option<Timestamp>) -> Vec<u64> {
        let queue = self.queue.lock();
        let mut waiting: Vec<_> = queue
            .notifications
            .iter()
            .filter(|notification| notification.state == NotificationState::Waiting)
            .filter(|notification| until.is_none_or(|until| notification.due_at <= until))
            .map(|notification| (notification.due_at, notification.id))
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, id)| id).collect()
    }

    fn next_due(&self) -> Option<Timestamp> {
        let queue = self.queue.lock();
        let waiting = queue
            .notifications
            .iter()
            .filter(|notification| notification.state == NotificationState::Waiting);
        waiting.map(|notification| notification.due_at).min()
    }

    /// Changes one notification under the lock and wakes the courier.
    fn change<T>(&self, id: u64, change: impl FnOnce(&mut Notification) -> T) -> Option<T> {
        let mut queue = self.queue.lock();
        let changed = queue
            .notifications
            .iter_mut()
            .find(|notification| notification.id == id)
            .map(change);
        drop(queue);
        self.changed.notify_one();
        changed
    }

    /// Lets the notifications go that were held back until another one of this provider had been sent.
    fn release_held(&self, provider: Provider, sent: u64, now: Timestamp) {
        let mut queue = self.queue.lock();
        let others = queue
            .notifications
            .iter_mut()
            .filter(|other| other.id != sent && other.held);
        for other in others.filter(|other| other.delivery.provider() == provider) {
            other.held = false;
            other.due_at = now;
        }
        drop(queue);
        self.changed.notify_one();
    }
}

impl Notification {
    fn is_finished(&self) -> bool {
        matches!(
            self.state,
            NotificationState::Delivered | NotificationState::GivenUp
        )
    }

    fn view(&self) -> NotificationView {
        NotificationView {
            id: self.id,
            provider: self.delivery.provider(),
            label: self.delivery.label(),
            url: self.delivery.url(),
            state: self.state,
            created_at: self.created_at,
            due_at: (self.state == NotificationState::Waiting).then_some(self.due_at),
            attempts: self.attempts.iter().cloned().collect(),
        }
    }

    /// Books the outcome of an attempt that began at `began` and decides what follows.
    fn conclude(
        &mut self,
        attempt: AttemptView,
        scheduled: bool,
        is_final: bool,
        time_compression: u32,
    ) {
        let (accepted, began) = (attempt.accepted, attempt.at);
        if self.attempts.len() >= ATTEMPTS_REMEMBERED_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
        self.planned = None;
        if scheduled {
            self.scheduled_attempts += 1;
        }
        let gap = self
            .scheduled_attempts
            .checked_sub(1)
            .map_or(Some(&0), |done| {
                self.delivery.schedule().retry_seconds.get(done)
            });
        self.state = match gap {
            _ if accepted => NotificationState::Delivered,
            _ if is_final => NotificationState::GivenUp,
            Some(_) => NotificationState::Waiting,
            None => NotificationState::GivenUp,
        };
        if let (Some(seconds), true) = (gap, scheduled) {
            let gap_ms = i64::from(*seconds) * 1_000 / i64::from(time_compression.max(1));
            self.due_at = later(began, SignedDuration::from_millis(gap_ms));
        }
    }
}

/// `from` + `by`, or `from` at the end of time.
fn later(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.checked_add(by).unwrap_or(from)
}

/// The wait until `due`, at least a few milliseconds so that a clock that stands still does not make the courier spin.
fn wait_until(due: Timestamp, now: Timestamp) -> Duration {
    let remaining = due.duration_since(now).max(SignedDuration::from_millis(5));
    Duration::try_from(remaining).unwrap_or(Duration::from_millis(5))
}
