//! Sends a notification at once, several times in parallel and outside the outbox: for the forged ones of the control API.

use std::sync::Arc;

use axum::Json;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    outbox::{self, Attempt, Delivery},
    payments::ActionError,
    sandbox::Sandbox,
};

const COPIES_MAX: u32 = 50;

/// Sends copies at the same time; answers with what the integrator answered to each.
pub(crate) async fn send_copies(
    sandbox: &Sandbox,
    delivery: Arc<dyn Delivery>,
    copies: u32,
) -> Result<Json<Value>, ActionError> {
    if !(1..=COPIES_MAX).contains(&copies) {
        return Err(ActionError::Invalid(format!(
            "repeat must be 1..={COPIES_MAX}"
        )));
    }
    let mut sending = JoinSet::new();
    for copy in 1..=copies {
        let (sandbox, delivery) = (sandbox.clone(), delivery.clone());
        sending.spawn(async move {
            let attempt = Attempt {
                badly_signed: false,
            };
            let note = format!("forged notification, copy {copy}");
            let sent = outbox::send(&sandbox, &*delivery, attempt, note).await;
            let exchange = sent.exchange_id.and_then(|id| sandbox.exchanges().find(id));
            json!({
                "accepted": sent.reason.is_none(),
                "status": exchange.as_ref().and_then(|exchange| exchange.status),
                "body": exchange.map(|exchange| exchange.response_body),
                "note": sent.reason,
                "exchange_id": sent.exchange_id,
            })
        });
    }
    Ok(Json(json!({"attempts": sending.join_all().await})))
}
