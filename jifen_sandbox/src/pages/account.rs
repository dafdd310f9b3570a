//! `/sandbox/official-account`: where messages are pushed, in which mode, and the codes that can be scanned.

use askama::Template;
use axum::{Form, extract::State, response::Html};
use jiff::Timestamp;
use serde::Deserialize;

use super::render;
use crate::{
    official_account::{PushMode, QrCode, Settings, Verification, verify_server},
    payments::ActionError,
    sandbox::Sandbox,
};

const QR_CODES_LISTED_MAX: usize = 20;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    settings: Settings,
    modes: [PushMode; 3],
    qr_codes: Vec<QrCode>,
    now: Timestamp,
    verification: Option<Verification>,
    saved: bool,
}

pub(super) async fn show(State(sandbox): State<Sandbox>) -> Result<Html<String>, ActionError> {
    page(&sandbox, None, false)
}

#[derive(Deserialize)]
pub(super) struct Submitted {
    action: String,
    #[serde(default)]
    push_url: String,
    #[serde(default)]
    mode: PushMode,
}

pub(super) async fn change(
    State(sandbox): State<Sandbox>,
    Form(form): Form<Submitted>,
) -> Result<Html<String>, ActionError> {
    match form.action.as_str() {
        "save" => {
            let push_url = Some(form.push_url.trim().to_owned()).filter(|url| !url.is_empty());
            let settings = Settings {
                push_url,
                mode: form.mode,
            };
            sandbox
                .official_account()
                .set(settings)
                .map_err(ActionError::Invalid)?;
            page(&sandbox, None, true)
        }
        "verify" => {
            let verification = verify_server(&sandbox, false).await?;
            page(&sandbox, Some(verification), false)
        }
        "revoke" => {
            sandbox.access_tokens().revoke_all();
            page(&sandbox, None, true)
        }
        _ => Err(ActionError::Invalid("unknown action".into())),
    }
}

fn page(
    sandbox: &Sandbox,
    verification: Option<Verification>,
    saved: bool,
) -> Result<Html<String>, ActionError> {
    let account = sandbox.official_account();
    render(&AccountPage {
        settings: account.settings(),
        modes: [PushMode::Plain, PushMode::Compatible, PushMode::Secure],
        qr_codes: account
            .qr_codes()
            .into_iter()
            .take(QR_CODES_LISTED_MAX)
            .collect(),
        now: sandbox.environment().now(),
        verification,
        saved,
    })
}
