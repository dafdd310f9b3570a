//! `jifen credentials`.

use clap::Subcommand;
use jifen_app::{App, ServiceCredential};
use jifen_domain::Time;
use jifen_domain::key::{RateLimit, Scope, Scopes};
use serde::Serialize;
use serde_json::json;

use super::output::{Output, Row};

/// What your gateways authenticate with.
#[derive(Subcommand)]
pub(super) enum Command {
    /// All credentials, oldest first.
    List,
    /// Make one. Its secret is shown once.
    Create {
        /// Which gateway it is for.
        name: String,
        /// What it may do.
        #[arg(long, value_name = "SCOPES", default_value = "verify,charge,hold,refund", value_parser = read_scopes)]
        scopes: Scopes,
        /// Requests in so many seconds, like 100/1; no limit when it is left out.
        #[arg(long, value_name = "REQUESTS/SECONDS", value_parser = read_rate)]
        rate: Option<RateLimit>,
    },
    /// Refuse one from now on.
    Revoke {
        /// Its id.
        id: String,
    },
}

#[derive(Serialize)]
struct Line {
    id: String,
    name: String,
    scopes: Vec<&'static str>,
    rate: Option<String>,
    created_at: String,
    revoked_at: Option<String>,
}

impl Row for Line {
    const HEAD: &'static [&'static str] = &["ID", "NAME", "SCOPES", "RATE", "CREATED", "REVOKED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.scopes.join(","),
            self.rate.clone().unwrap_or_default(),
            self.created_at.clone(),
            self.revoked_at.clone().unwrap_or_default(),
        ]
    }
}

impl From<ServiceCredential> for Line {
    fn from(credential: ServiceCredential) -> Self {
        Self {
            id: credential.id,
            name: credential.name,
            scopes: credential.scopes.iter().map(Scope::as_str).collect(),
            rate: credential
                .rate
                .map(|rate| format!("{}/{}", rate.requests(), rate.seconds())),
            created_at: credential.created_at.to_rfc3339(),
            revoked_at: credential.revoked_at.map(Time::to_rfc3339),
        }
    }
}

pub(super) async fn run(command: Command, app: &App, output: Output) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let lines: Vec<Line> = app
                .service_credentials()
                .await?
                .into_iter()
                .map(Line::from)
                .collect();
            output.list(&lines)
        }
        Command::Create { name, scopes, rate } => {
            let (credential, secret) = app.create_limited_credential(&name, scopes, rate).await?;
            let sentence = format!(
                "{secret}  (id {}; the secret is not shown again)",
                credential.id
            );
            output.done(
                &sentence,
                &json!({ "id": credential.id, "name": credential.name, "secret": secret }),
            )
        }
        Command::Revoke { id } => {
            app.revoke_service_credential(&id).await?;
            output.done("revoked", &json!({ "revoked": id }))
        }
    }
}

/// `verify,charge`
fn read_scopes(text: &str) -> Result<Scopes, String> {
    Scopes::parse(&text.replace(',', " "))
        .filter(|scopes| !scopes.is_empty())
        .ok_or_else(|| {
            let words = Scope::ALL.map(Scope::as_str).join(",");
            format!("write one or more of {words} with commas between them")
        })
}

/// `100/1`
fn read_rate(text: &str) -> Result<RateLimit, String> {
    text.split_once('/')
        .and_then(|(requests, seconds)| {
            RateLimit::new(requests.parse().ok()?, seconds.parse().ok()?)
        })
        .ok_or_else(|| {
            format!(
                "write requests and seconds, like 100/1: at most {} in {}",
                RateLimit::REQUESTS_MAX,
                RateLimit::SECONDS_MAX
            )
        })
}
