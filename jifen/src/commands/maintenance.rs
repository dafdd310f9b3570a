//! `jifen maintenance`.

use anyhow::Context as _;
use clap::Subcommand;
use jifen_app::{App, Maintenance};
use jifen_domain::Time;
use serde_json::json;

use super::output::Output;

/// Closing the mall for a while.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Close the mall within a second on every node. Provider notifications go on being booked.
    Start {
        /// Why, for the users.
        #[arg(long)]
        message: String,
        /// The expected end, such as 2026-01-31T06:00:00+08:00.
        #[arg(long)]
        until: Option<String>,
        /// Refuse charges of API keys too.
        #[arg(long)]
        stop_charges: bool,
    },
    /// Open the mall.
    End,
    /// Say whether it is closed.
    Status,
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Start {
            message,
            until,
            stop_charges,
        } => {
            let ends_at = until.as_deref().map(moment).transpose()?;
            app.start_maintenance(&Maintenance {
                message,
                ends_at,
                charges_stopped: stop_charges,
            })
            .await?;
            output.done("the mall is closed", &json!({ "maintenance": true }))
        }
        Command::End => {
            let was_closed = app.end_maintenance().await?;
            let sentence = if was_closed {
                "the mall is open"
            } else {
                "the mall was open already"
            };
            output.done(sentence, &json!({ "maintenance": false }))
        }
        Command::Status => match app.maintenance().await? {
            None => output.done("the mall is open", &json!({ "maintenance": false })),
            Some(state) => {
                let until = state.ends_at.map(Time::to_rfc3339);
                let charges = if state.charges_stopped {
                    "charges are stopped too"
                } else {
                    "charges go on"
                };
                let end = until.as_deref().unwrap_or("unknown");
                let sentence = format!(
                    "the mall is closed: {} (expected end {end}; {charges})",
                    state.message
                );
                let object = json!({ "maintenance": true, "message": state.message, "until": until, "chargesStopped": state.charges_stopped });
                output.done(&sentence, &object)
            }
        },
    }
}

/// A moment as people write it.
pub(super) fn moment(text: &str) -> anyhow::Result<Time> {
    Time::parse_rfc3339(text)
        .with_context(|| format!("{text:?} is not a moment such as 2026-01-31T06:00:00+08:00"))
}
