//! `/sandbox/faults`: what goes wrong.

use askama::Template;
use axum::{
    Form,
    extract::State,
    response::{Html, Redirect},
};
use serde::Deserialize;

use super::render;
use crate::{
    faults::{Fault, FaultKind, NewFault},
    payments::ActionError,
    provider::Provider,
    sandbox::Sandbox,
};

#[derive(Template)]
#[template(path = "faults.html")]
struct FaultsPage {
    faults: Vec<Fault>,
    kinds: [(FaultKind, &'static str, &'static str); 9],
    providers: [Provider; 4],
}

/// Every kind with its names in both languages.
const KINDS: [(FaultKind, &str, &str); 9] = [
    (FaultKind::NotificationLost, "通知丢失", "Notification lost"),
    (
        FaultKind::NotificationLate { seconds: 5 },
        "通知延迟",
        "Notification late",
    ),
    (
        FaultKind::NotificationDoubled,
        "通知重复",
        "Notification doubled",
    ),
    (
        FaultKind::NotificationReordered,
        "通知乱序",
        "Notification reordered",
    ),
    (
        FaultKind::NotificationBadlySigned,
        "通知签名错误",
        "Notification badly signed",
    ),
    (
        FaultKind::ProviderSlow { seconds: 5 },
        "接口缓慢",
        "Provider slow",
    ),
    (
        FaultKind::ProviderDown,
        "接口不可用 (502)",
        "Provider down (502)",
    ),
    (
        FaultKind::ProviderClosesConnection,
        "执行后断开连接",
        "Carried out, then connection closed",
    ),
    (
        FaultKind::ProviderNonsense,
        "执行后返回乱码",
        "Carried out, then a nonsense answer",
    ),
];

impl FaultsPage {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "askama hands over fields by reference"
    )]
    fn name(&self, kind: &FaultKind) -> &'static str {
        let found = self
            .kinds
            .iter()
            .find(|(known, ..)| known.name() == kind.name());
        found.map_or(kind.name(), |(_, chinese, english)| {
            super::t(chinese, english)
        })
    }
}

pub(super) async fn show(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    render(&FaultsPage {
        faults: sandbox.faults().all(),
        kinds: KINDS,
        providers: Provider::ALL,
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Submitted {
    action: String,
    kind: String,
    provider: String,
    seconds: String,
    count: String,
    id: u64,
}

pub(super) async fn change(
    State(sandbox): State<Sandbox>,
    Form(form): Form<Submitted>,
) -> Result<Redirect, ActionError> {
    match form.action.as_str() {
        "add" => {
            sandbox.faults().add(&read(&form)?)?;
        }
        "remove" => sandbox.faults().remove(form.id)?,
        "clear" => sandbox.faults().clear(),
        _ => return Err(ActionError::Invalid("unknown action".into())),
    }
    Ok(Redirect::to("/sandbox/faults"))
}

fn read(form: &Submitted) -> Result<NewFault, ActionError> {
    let number = |name: &str, text: &str| {
        text.trim()
            .parse::<u32>()
            .map_err(|_| ActionError::Invalid(format!("{name} must be a whole number")))
    };
    let known = KINDS
        .iter()
        .map(|(kind, ..)| *kind)
        .find(|kind| kind.name() == form.kind);
    let kind = match known.ok_or_else(|| ActionError::Invalid("unknown kind".into()))? {
        FaultKind::NotificationLate { .. } => FaultKind::NotificationLate {
            seconds: number("seconds", &form.seconds)?,
        },
        FaultKind::ProviderSlow { .. } => FaultKind::ProviderSlow {
            seconds: number("seconds", &form.seconds)?,
        },
        other => other,
    };
    let provider = match form.provider.as_str() {
        "" => None,
        name => Some(
            Provider::from_name(name)
                .ok_or_else(|| ActionError::Invalid("unknown provider".into()))?,
        ),
    };
    let count = if form.count.trim().is_empty() {
        None
    } else {
        Some(number("count", &form.count)?)
    };
    Ok(NewFault {
        provider,
        kind,
        count,
    })
}
