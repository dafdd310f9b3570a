//! One attempt to deliver one notification: faults, the request, the judgement, the log.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};

use super::{Answer, Attempt, AttemptView, Delivery, NotificationState, Outgoing, later};
use crate::{
    exchanges::{Direction, Exchange, Refusal, redact_body, redact_target},
    faults::FaultKind,
    sandbox::Sandbox,
};

/// A notification that waits for another one to overtake it goes anyway after this long.
const HELD_SECONDS_MAX: i64 = 30;

/// Who asked for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The schedule: only if it is still due.
    Due,
    /// A flush: due or not.
    Flush,
    /// A person: finished or not, and without effect on the schedule.
    Hand,
}

/// What became of an attempt.
pub(super) enum Outcome {
    Accepted,
    Failed,
    /// A fault put it off; it is waiting again.
    PutOff,
    /// It was not there, or already being delivered.
    NotDone,
}

/// Makes one attempt.
pub(super) async fn attempt(sandbox: &Sandbox, id: u64, trigger: Trigger) -> Outcome {
    let outbox = sandbox.outbox();
    let now = sandbox.environment().now();
    let scheduled = trigger != Trigger::Hand;
    let begun = outbox.change(id, |notification| {
        let too_early = trigger == Trigger::Due && notification.due_at > now;
        let busy = notification.state == NotificationState::Delivering;
        if busy || too_early || (scheduled && notification.is_finished()) {
            return None;
        }
        notification.state = NotificationState::Delivering;
        notification.held = false;
        Some((notification.delivery.clone(), notification.planned.take()))
    });
    let Some(Some((delivery, planned))) = begun else {
        return Outcome::NotDone;
    };

    let was_planned = planned.is_some();
    let faults = planned.unwrap_or_else(|| sandbox.faults().take_for_delivery(delivery.provider()));
    let may_wait = scheduled && !was_planned;
    if let Some((due_at, held)) = put_off_until(&faults, now).filter(|_| may_wait) {
        outbox.change(id, |notification| {
            notification.state = NotificationState::Waiting;
            notification.planned = Some(faults);
            notification.due_at = due_at;
            notification.held = held;
        });
        return Outcome::PutOff;
    }

    let (view, is_final) = deliver(sandbox, id, &delivery, &faults, now).await;
    let accepted = view.accepted;
    let compression = sandbox.config().time_compression;
    let state = outbox.change(id, |notification| {
        notification.conclude(view, scheduled, is_final, compression);
        notification.state
    });
    if state == Some(NotificationState::GivenUp) && !is_final {
        delivery.given_up(sandbox);
    }
    outbox.release_held(delivery.provider(), id, sandbox.environment().now());
    if accepted {
        Outcome::Accepted
    } else {
        Outcome::Failed
    }
}

/// Until when faults put an attempt off, and whether another delivery may end the wait.
fn put_off_until(faults: &[FaultKind], now: Timestamp) -> Option<(Timestamp, bool)> {
    faults.iter().find_map(|fault| match fault {
        FaultKind::NotificationLate { seconds } => Some((
            later(now, SignedDuration::from_secs(i64::from(*seconds))),
            false,
        )),
        FaultKind::NotificationReordered => Some((
            later(now, SignedDuration::from_secs(HELD_SECONDS_MAX)),
            true,
        )),
        _ => None,
    })
}

/// The attempt as remembered, and whether its answer ends the schedule.
async fn deliver(
    sandbox: &Sandbox,
    id: u64,
    delivery: &Arc<dyn Delivery>,
    faults: &[FaultKind],
    at: Timestamp,
) -> (AttemptView, bool) {
    let applied = faults
        .iter()
        .map(|fault| fault.name())
        .collect::<Vec<_>>()
        .join(", ");
    let fault_note = (!applied.is_empty()).then(|| format!("fault: {applied}"));
    if faults.contains(&FaultKind::NotificationLost) {
        return (
            AttemptView {
                at,
                accepted: false,
                note: fault_note,
                exchange_id: None,
            },
            false,
        );
    }
    let attempt = Attempt {
        badly_signed: faults.contains(&FaultKind::NotificationBadlySigned),
    };
    let note = format!(
        "notification {id}{}",
        fault_note
            .as_ref()
            .map(|note| format!(", {note}"))
            .unwrap_or_default()
    );
    let first = send(sandbox, &**delivery, attempt, note.clone());
    let sent = if faults.contains(&FaultKind::NotificationDoubled) {
        let (first, second) = tokio::join!(
            first,
            send(
                sandbox,
                &**delivery,
                attempt,
                format!("{note} (second copy)")
            )
        );
        if first.reason.is_none() {
            first
        } else {
            second
        }
    } else {
        first.await
    };
    let accepted = sent.reason.is_none();
    let notes: Vec<String> = fault_note.into_iter().chain(sent.reason).collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    (
        AttemptView {
            at,
            accepted,
            note,
            exchange_id: sent.exchange_id,
        },
        sent.is_final,
    )
}

/// What became of one request to the integrator.
pub(crate) struct Sent {
    /// Why the answer was not accepted; `None`: it was.
    pub(crate) reason: Option<String>,
    pub(crate) exchange_id: Option<u64>,
    is_final: bool,
}

/// Sends once and logs the exchange.
pub(crate) async fn send(
    sandbox: &Sandbox,
    delivery: &dyn Delivery,
    attempt: Attempt,
    note: String,
) -> Sent {
    let outgoing = match delivery.outgoing(sandbox, attempt) {
        Ok(outgoing) => outgoing,
        Err(reason) => {
            return Sent {
                reason: Some(reason),
                exchange_id: None,
                is_final: false,
            };
        }
    };
    let began = sandbox.environment().now();
    let answer_seconds_max = delivery.schedule().answer_seconds_max;
    let deadline = Duration::from_secs(u64::from(answer_seconds_max));
    let answered = tokio::time::timeout(deadline, exchange(sandbox, &outgoing))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {answer_seconds_max} s")));
    let refusal = match &answered {
        Ok(answer) => delivery.judge(sandbox, answer).err(),
        Err(reason) => Some(Refusal::new("NO_ANSWER", reason.clone())),
    };
    let is_final = answered
        .as_ref()
        .is_ok_and(|answer| refusal.is_some() && delivery.is_final(answer));
    let reason = refusal.as_ref().map(|refusal| refusal.reason.clone());
    let body_bytes_max = sandbox.config().limits.exchange_body_bytes_max;
    let exchange_id = sandbox.exchanges().record(Exchange {
        id: 0,
        at: began,
        provider: delivery.provider(),
        direction: Direction::Sent,
        method: outgoing.method.to_string(),
        target: redact_target(&outgoing.url),
        request_headers: outgoing
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        request_body: redact_body(&outgoing.body, body_bytes_max),
        status: answered.as_ref().ok().map(|answer| answer.status),
        response_headers: Vec::new(),
        response_body: answered
            .as_ref()
            .map(|answer| redact_body(&answer.body, body_bytes_max))
            .unwrap_or_default(),
        duration_ms: elapsed_ms(began, sandbox.environment().now()),
        note: Some(note),
        refusal,
    });
    Sent {
        reason,
        exchange_id: Some(exchange_id),
        is_final,
    }
}

async fn exchange(sandbox: &Sandbox, outgoing: &Outgoing) -> Result<Answer, String> {
    let mut request = sandbox
        .config()
        .client
        .request(outgoing.method.clone(), &outgoing.url)
        .body(outgoing.body.clone());
    for (name, value) in &outgoing.headers {
        request = request.header(*name, value);
    }
    let mut response = request.send().await.map_err(|error| describe(&error))?;
    let status = response.status().as_u16();
    let mut body = BytesMut::new();
    let body_bytes_max = sandbox.config().limits.body_bytes_max;
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        if body.len() + chunk.len() > body_bytes_max {
            return Err(format!("the answer is longer than {body_bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        body: Bytes::from(body),
    })
}

/// The chain of causes without the URL, whose query may hold what the log redacts.
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_connect() {
        "cannot connect"
    } else {
        "the exchange broke off"
    };
    let mut text = kind.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn elapsed_ms(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond().saturating_sub(from.as_millisecond())
}
